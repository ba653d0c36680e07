//! A request as a log has it: a line of Envoy's access log with the dynamic metadata that `--request-metadata` has Spillway answer, or
//! that envoyproxy/ratelimit answers with `RESPONSE_DYNAMIC_METADATA`, or the request itself as JSON.

use serde_json::{Deserializer, Map, Value};

use super::typed::{Typed, typed};
use crate::policy::{Policy, UNKNOWN};

/// How deep in a line a request is looked for.
const DEEPEST: usize = 8;
/// At how many places of a line JSON is looked for.
const PLACES: usize = 64;

/// The names of what a request costs, as protobuf's JSON has them.
const HITS: [&str; 2] = ["hitsAddend", "hits_addend"];

/// What a line says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineOfLog {
    /// The domain that was asked, if the line has it.
    pub domain: Option<String>,
    /// Its descriptors, with `…` for values that the log does not tell.
    pub descriptors: Vec<Typed>,
    /// The id of the subject that it was counted for.
    pub subject: Option<String>,
    /// What it costs, as it is written there.
    pub hits: Option<Value>,
    /// What was answered, if the line has it.
    pub answered: Option<Answered>,
}

/// The numbers of an answer, as a line has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The rule that decided, if the line has it.
    pub rule: Option<String>,
    /// Hits that were counted.
    pub used: u64,
    /// Hits that its limit grants.
    pub limit: u64,
    /// Whether Envoy's response flags say that the request was refused for its rate: `RL`.
    pub refused: bool,
}

/// Why a line says nothing of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// Nothing in it is a list of descriptors.
    #[error("the line has no `descriptors`, so it does not tell what Envoy sent")]
    NoDescriptors,
    /// There is more than one request.
    #[error("there are {0} lines with `descriptors`, and one at a time can be explained")]
    Lines(usize),
    /// They are written otherwise than anybody writes them.
    #[error("`descriptors` are not understood: {0}")]
    NotUnderstood(String),
}

impl NotAsked {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        let hint = "run `spillway serve` with `--request-metadata`, and have Envoy's access log write \
                    `%DYNAMIC_METADATA(envoy.filters.http.ratelimit)%`";
        (*self == Self::NoDescriptors).then_some(hint)
    }
}

impl LineOfLog {
    /// What is to be known where the request is taken to cost `taken` hits, and the line says something else. None where it does not.
    pub fn other_hits(&self, taken: u64) -> Option<String> {
        let written = self.hits.as_ref()?;
        let text = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
        match text.parse::<u32>() {
            // As Envoy has it, 0 is 1.
            Ok(said) if u64::from(said.max(1)) == taken => None,
            Ok(said) => {
                let said = said.max(1);
                Some(format!(
                    "the line says that the request costs {said}, and {taken} is taken; write `--hits {said}` as well"
                ))
            }
            Err(_) => Some(format!(
                "the line says that the request costs `{text}`, which is no whole number from 0 to {}, so {taken} is taken",
                u32::MAX
            )),
        }
    }

    /// The keys whose values it does not tell, and which `policy` does not take for the subject's credential either: what counts
    /// by them is another counter than that of the request.
    pub fn unknown_values(&self, domain: &str, policy: &Policy) -> Vec<String> {
        let is_credential = |key: &str| {
            self.subject.is_some()
                && policy.domain(domain.as_bytes()).is_some_and(|domain| domain.is_secret(key.as_bytes()))
        };
        let entries = self.descriptors.iter().flatten();
        let unknown = entries.filter(|(key, value)| value.ends_with(UNKNOWN) && !is_credential(key));
        let mut keys: Vec<String> = unknown.map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// What `line` says of a request: JSON, or text in which there is some.
///
/// # Errors
///
/// Why it says nothing of one.
pub fn line_of_log(line: &str) -> Result<LineOfLog, NotAsked> {
    let lines = line.lines().filter(|line| line.contains("\"descriptors\"")).count();
    if lines > 1 {
        return Err(NotAsked::Lines(lines));
    }
    let mut found = in_text(line, &LineOfLog::default(), 0).unwrap_or(Err(NotAsked::NoDescriptors))?;
    if let Some(answered) = &mut found.answered {
        answered.refused = line.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == "RL");
    }
    Ok(found)
}

/// The numbers beside a list of descriptors.
fn answered(fields: &Map<String, Value>) -> Option<Answered> {
    // In Envoy's metadata every number is a double, and text formats have none.
    let number = |name: &str| {
        let value = fields.get(name)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.strip_suffix(".0").unwrap_or(&text).parse().ok()
    };
    let rule = fields.get("rule").and_then(Value::as_str).map(str::to_owned);
    Some(Answered { rule, used: number("used")?, limit: number("limit")?, refused: false })
}

type Found = Option<Result<LineOfLog, NotAsked>>;

/// The first request in a text, of which `known` is known from around it.
fn in_text(text: &str, known: &LineOfLog, depth: usize) -> Found {
    if depth > DEEPEST {
        return None;
    }
    let begins = text.match_indices(['{', '[']).map(|(at, _)| at);
    let mut json = begins.take(PLACES).filter_map(|at| {
        let rest = text.get(at..)?;
        Deserializer::from_str(rest).into_iter::<Value>().next()?.ok()
    });
    json.find_map(|value| in_json(&value, known, depth + 1))
}

fn in_json(value: &Value, known: &LineOfLog, depth: usize) -> Found {
    if depth > DEEPEST {
        return None;
    }
    match value {
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
            let known = LineOfLog {
                domain: text("domain").or_else(|| known.domain.clone()),
                subject: text("subject").or_else(|| known.subject.clone()),
                hits: HITS.iter().find_map(|name| fields.get(*name)).or(known.hits.as_ref()).cloned(),
                answered: answered(fields).or_else(|| known.answered.clone()),
                ..LineOfLog::default()
            };
            if let Some(Value::Array(written)) = fields.get("descriptors") {
                return Some(with(written, known));
            }
            fields.values().find_map(|value| in_json(value, &known, depth + 1))
        }
        Value::Array(items) => {
            let is_descriptor = |item: &Value| item.get("entries").is_some();
            if !items.is_empty() && items.iter().all(is_descriptor) {
                return Some(with(items, known.clone()));
            }
            items.iter().find_map(|item| in_json(item, known, depth + 1))
        }
        // As a format has it that is one text, or that writes the descriptors into one.
        Value::String(text) if ["descriptors", "entries"].iter().any(|word| text.contains(word)) => {
            in_text(text, known, depth + 1)
        }
        _ => None,
    }
}

fn with(written: &[Value], known: LineOfLog) -> Result<LineOfLog, NotAsked> {
    let descriptors = written.iter().map(written_descriptor).collect::<Result<Vec<_>, _>>();
    let descriptors = descriptors.map_err(NotAsked::NotUnderstood)?;
    if descriptors.is_empty() { Err(NotAsked::NoDescriptors) } else { Ok(LineOfLog { descriptors, ..known }) }
}

/// A descriptor in JSON: `"key=value,key=value"`, a list of entries, or as the request has it, `{"entries": […]}`. An entry is
/// `{"key": "k", "value": "v"}`, `{"k": "v"}` or `"k=v"`.
///
/// # Errors
///
/// What is none.
pub fn written_descriptor(written: &Value) -> Result<Typed, String> {
    match written {
        Value::String(text) => typed(text),
        Value::Array(entries) => entries.iter().map(|written| entry(written, false)).collect(),
        Value::Object(fields) => match fields.get("entries") {
            Some(Value::Array(entries)) => entries.iter().map(|written| entry(written, true)).collect(),
            _ => Err("a descriptor that is an object has a list of `entries`".to_owned()),
        },
        _ => Err("a descriptor is a text or a list".to_owned()),
    }
}

/// `as_sent` where an empty `value` may be left out, as protobuf's JSON does it.
fn entry(written: &Value, as_sent: bool) -> Result<(String, String), String> {
    let wrong = || "an entry of a descriptor is an object with one key, whose value is a text".to_owned();
    let pair = |fields: &Map<String, Value>| {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let (key, value) = (text("key"), text("value"));
        match (fields.len(), key, value) {
            (2, Some(key), Some(value)) => Some((key, value)),
            (1, Some(key), None) if as_sent => Some((key, String::new())),
            (1, ..) => {
                let (key, value) = fields.iter().next()?;
                Some((key.clone(), value.as_str()?.to_owned()))
            }
            _ => None,
        }
    };
    match written {
        // One entry: what stands behind `=` is its value, commas and all.
        Value::String(text) => match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("`{text}` is not an entry; write `key=value`")),
        },
        Value::Object(fields) => pair(fields).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entries(list: &[(&str, &str)]) -> Typed {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn expected(subject: Option<&str>) -> LineOfLog {
        let descriptors = vec![
            entries(&[("remote_address", "10.0.0.1")]),
            entries(&[("api_key", "…"), ("path", "/a,b=c")]),
        ];
        let (domain, subject) = (Some("shop".to_owned()), subject.map(str::to_owned));
        LineOfLog { domain, descriptors, subject, hits: None, answered: None }
    }

    /// The same of a line with the numbers of [`METADATA`].
    fn counted() -> LineOfLog {
        let rule = Some("leads".to_owned());
        let answered = Some(Answered { rule, used: 5, limit: 5, refused: false });
        LineOfLog { answered, ..expected(Some("acme")) }
    }

    const METADATA: &str = r#"{"domain":"shop","descriptors":[{"entries":["remote_address=10.0.0.1"]},{"entries":["api_key=…","path=/a,b=c"]}],"limit":5,"rule":"leads","subject":"acme","used":5}"#;

    #[test]
    fn a_line_in_json_has_it_as_it_is_or_field_by_field() {
        let whole = format!(r#"{{"time":"2026-01-31T09:30:00Z","status":429,"ratelimit":{METADATA}}}"#);
        assert_eq!(line_of_log(&whole), Ok(counted()));
        let fields = r#"{"status":429,"subject":"acme","domain":"shop","descriptors":[{"entries":["remote_address=10.0.0.1"]},{"entries":["api_key=…","path=/a,b=c"]}]}"#;
        assert_eq!(line_of_log(fields), Ok(expected(Some("acme"))));
        // As Envoy writes a field that has more than the metadata in it.
        let descriptors =
            r#"sent [{"entries":["remote_address=10.0.0.1"]},{"entries":["api_key=…","path=/a,b=c"]}]"#;
        let text = json!({"subject": "acme", "domain": "shop", "descriptors": descriptors}).to_string();
        assert_eq!(line_of_log(&text), Ok(expected(Some("acme"))));
    }

    #[test]
    fn a_line_of_text_has_it_somewhere() {
        let text = format!(
            "2026-01-31T09:30:00Z stdout F [2026-01-31] \"GET /a {{x}} HTTP/1.1\" 429 RL {METADATA} 17\n"
        );
        let mut told = counted();
        told.answered.iter_mut().for_each(|answered| answered.refused = true);
        assert_eq!(line_of_log(&text), Ok(told), "with Envoy's flag");
        let quoted = json!({"log": format!("GET / 429 {METADATA}")}).to_string();
        assert_eq!(line_of_log(&quoted), Ok(counted()));
        let alone = r#"429 [{"entries":["a=1"]}] -"#;
        let found = line_of_log(alone).unwrap();
        assert_eq!((found.domain, found.descriptors), (None, vec![entries(&[("a", "1")])]));
    }

    #[test]
    fn the_request_itself_may_be_pasted() {
        let request = json!({"domain": "shop", "hitsAddend": 1, "descriptors": [
            {"entries": [{"key": "remote_address", "value": "10.0.0.1"}]},
            {"entries": [{"key": "api_key", "value": "…"}, {"key": "path", "value": "/a,b=c"}]},
        ]});
        let expected = LineOfLog { hits: Some(json!(1)), ..expected(None) };
        assert_eq!(line_of_log(&request.to_string()), Ok(expected.clone()));
        assert_eq!(line_of_log(&format!("{request:#}")), Ok(expected), "on several lines");
        let empty = json!({"entries": [{"key": "a"}]});
        assert_eq!(written_descriptor(&empty), Ok(entries(&[("a", "")])));
        assert_eq!(
            written_descriptor(&json!([{"key": "a"}])),
            Ok(entries(&[("key", "a")])),
            "a key called so"
        );
    }

    #[test]
    fn a_cost_that_is_not_taken_is_told() {
        let told =
            |hits: Value, taken| LineOfLog { hits: Some(hits), ..LineOfLog::default() }.other_hits(taken);
        assert_eq!((told(json!(1), 1), told(json!("5"), 5), told(json!(0), 1)), (None, None, None));
        assert_eq!(LineOfLog::default().other_hits(7), None);
        let other = "the line says that the request costs 5, and 1 is taken; write `--hits 5` as well";
        assert_eq!(told(json!(5), 1).as_deref(), Some(other));
        for wrong in [json!(-5), json!(1e99), json!("many"), json!(1.5), json!(4_294_967_296_u64)] {
            let told = told(wrong.clone(), 1).unwrap();
            assert!(told.contains("which is no whole number from 0 to 4294967295, so 1 is taken"), "{told}");
        }
    }

    #[test]
    fn what_says_nothing_of_a_request_is_told_with_what_to_do() {
        for line in
            ["", "GET / 200", "{}", r#"{"status":200,"rule":"leads"}"#, r#"{"descriptors":[]}"#, "{[{["]
        {
            let why = line_of_log(line).unwrap_err();
            assert_eq!(why, NotAsked::NoDescriptors, "{line}");
            assert!(why.hint().unwrap().contains("--request-metadata"));
        }
        assert_eq!(line_of_log(&format!("{METADATA}\n{METADATA}")), Err(NotAsked::Lines(2)));
        let wrong = line_of_log(r#"{"descriptors":[{"entries":["a"]}]}"#).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "`descriptors` are not understood: `a` is not an entry; write `key=value`"
        );
    }

    #[test]
    fn a_hostile_line_takes_no_time_and_no_stack() {
        let deep = "[".repeat(60_000);
        assert_eq!(line_of_log(&deep), Err(NotAsked::NoDescriptors));
        let quoted = (0..12).fold(METADATA.to_owned(), |text, _| json!({ "log": text }).to_string());
        assert_eq!(line_of_log(&quoted), Err(NotAsked::NoDescriptors), "too deep");
    }
}
