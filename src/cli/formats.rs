//! What `check` found, for machines: JSON, SARIF and GitHub's workflow commands.

use serde_json::{Value, json};

use crate::config::{Diagnostic, DiagnosticKind, Related, Severity};
use crate::telemetry::build;

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A list of objects. What has no place has none of `file`, `line` and `column`, which are counted from 1.
pub(super) fn json(diagnostics: &[Diagnostic]) -> String {
    let each = |one: &Diagnostic| {
        let mut object =
            json!({"severity": word(one.severity), "kind": one.kind.id(), "message": one.message});
        if let Some(hint) = &one.hint {
            object["hint"] = hint.as_str().into();
        }
        if let Some(excerpt) = &one.excerpt {
            object["file"] = (*excerpt.place.file).into();
            object["line"] = excerpt.place.line.into();
            object["column"] = excerpt.place.column.into();
        }
        if let Some(related) = &one.related {
            let Related { what, place } = &**related;
            object["related"] =
                json!([{"message": what, "file": *place.file, "line": place.line, "column": place.column}]);
        }
        object
    };
    format!("{:#}\n", diagnostics.iter().map(each).collect::<Value>())
}

/// SARIF 2.1.0 (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/>), which code hosts show beside the lines.
pub(super) fn sarif(diagnostics: &[Diagnostic]) -> String {
    let result = |one: &Diagnostic| {
        let text = one.hint.as_ref().map_or(one.message.clone(), |hint| format!("{}; {hint}", one.message));
        let mut result =
            json!({"ruleId": one.kind.id(), "level": word(one.severity), "message": {"text": text}});
        if let Some(excerpt) = &one.excerpt {
            let place = &excerpt.place;
            result["locations"] = json!([{"physicalLocation": {
                "artifactLocation": {"uri": uri(&place.file)},
                "region": {"startLine": place.line, "startColumn": place.column,
                           "endColumn": place.column + excerpt.length},
            }}]);
        }
        if let Some(related) = &one.related {
            let Related { what, place } = &**related;
            result["relatedLocations"] = json!([{"message": {"text": what}, "physicalLocation": {
                "artifactLocation": {"uri": uri(&place.file)},
                "region": {"startLine": place.line, "startColumn": place.column},
            }}]);
        }
        result
    };
    let rule = |kind: &DiagnosticKind| json!({"id": kind.id(), "shortDescription": {"text": kind.meaning()}});
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "spillway",
                "version": build::VERSION,
                "rules": DiagnosticKind::ALL.iter().map(rule).collect::<Value>(),
            }},
            "results": diagnostics.iter().map(result).collect::<Value>(),
        }],
    });
    format!("{log:#}\n")
}

/// A path as a URI reference: relative ones stay relative.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(byte.into());
            }
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

/// Lines that a workflow of GitHub's shows beside the code.
pub(super) fn github(diagnostics: &[Diagnostic]) -> String {
    // As its toolkit escapes them: no text can begin a command of its own.
    let text = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |name: &str| text(name).replace(':', "%3A").replace(',', "%2C");
    let mut lines = String::new();
    for one in diagnostics {
        let place = one.excerpt.as_ref().map_or(String::new(), |excerpt| {
            let place = &excerpt.place;
            format!(" file={},line={},col={}", property(&place.file), place.line, place.column)
        });
        let hint = one.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
        let place = format!("{place}{}title={}", if place.is_empty() { " " } else { "," }, one.kind.id());
        let related = one.related.as_ref().map_or(String::new(), |related| {
            format!("; {}: {}:{}", related.what, related.place.file, related.place.line)
        });
        let command = if one.severity == Severity::Note { "notice" } else { word(one.severity) };
        lines += &format!("::{command}{place}::{}\n", text(&format!("{}{hint}{related}", one.message)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, load_text};

    fn found() -> Vec<Diagnostic> {
        let yaml = "domain: d\ndescriptors:\n- {key: a, rate_limt: {unit: day, requests_per_unit: 1}}\n";
        let mut found = load_text("a dir/x.yaml", yaml, Options::default()).unwrap_err();
        found.push(Diagnostic::error("100 % wrong\n::error::planted"));
        found
    }

    #[test]
    fn json_has_the_place_the_message_and_the_hint() {
        let printed: Value = serde_json::from_str(&json(&found())).unwrap();
        assert_eq!(
            printed[0],
            json!({"severity": printed[0]["severity"], "kind": "unknown-word", "message": printed[0]["message"], "hint": "did you mean `rate_limit`?",
                   "file": "a dir/x.yaml", "line": 3, "column": 12})
        );
        assert_eq!(
            printed[1],
            json!({"severity": "error", "kind": "other", "message": "100 % wrong\n::error::planted"})
        );
    }

    #[test]
    fn sarif_has_what_its_schema_requires() {
        let log: Value = serde_json::from_str(&sarif(&found())).unwrap();
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "spillway");
        let rules: Vec<_> =
            run["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|rule| &rule["id"]).collect();
        for result in run["results"].as_array().unwrap() {
            assert!(result["message"]["text"].is_string() && rules.contains(&&result["ruleId"]), "{result}");
            assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()));
        }
        let place = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20dir/x.yaml");
        assert_eq!((&place["region"]["startLine"], &place["region"]["startColumn"]), (&3.into(), &12.into()));
    }

    #[test]
    fn github_gets_one_line_each_whatever_the_text_is() {
        let printed = github(&found());
        let lines: Vec<_> = printed.lines().collect();
        assert!(lines[0].contains(" file=a dir/x.yaml,line=3,col=12,title=unknown-word::"), "{printed}");
        assert_eq!(lines[1..], ["::error title=other::100 %25 wrong%0A::error::planted"]);
    }
}
