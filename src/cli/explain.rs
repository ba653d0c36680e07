//! `spillway explain`

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::args::Explain;
use super::check::report;
use super::peer::Peer;
use super::{WRONG_INPUT, complain, print};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config::{self, did_you_mean};
use crate::engine::{Answer, Decision, Trace, Verdict, answer, trace};
use crate::limiter::Limiter;
use crate::model::{Descriptor, Entry, Few, Hits, Request, Timestamp, lossy};
use crate::policy::{CountBy, Entries, Landing, Level, Limit, Node, Policy, Reached, Rule};
use crate::store::MemoryStore;
use crate::subjects::{Credential, Directory, strip_scheme};

pub(super) fn run(args: &Explain, peer: &Peer) -> ExitCode {
    let typed: Result<Vec<_>, _> = args.descriptors.iter().map(|descriptor| parse(descriptor)).collect();
    let typed = match typed {
        Ok(typed) => typed,
        Err(wrong) => {
            complain(&format!("error: {wrong}\n"));
            return ExitCode::from(super::WRONG_COMMAND);
        }
    };
    let loaded =
        match config::load(&[args.config.as_ref().unwrap_or(&peer.config)], peer.options(args.merging)) {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                complain(&report(&diagnostics, &io::stderr()));
                return ExitCode::from(WRONG_INPUT);
            }
        };
    let now = args.at.unwrap_or_else(|| SystemClock::new().now());
    let request = Request {
        domain: args.domain.as_bytes(),
        descriptors: typed
            .iter()
            .map(|entries| Descriptor {
                entries: borrowed(entries),
                hits: Hits::charge(args.hits),
                limit: None,
            })
            .collect(),
    };
    if loaded.policy.domain(request.domain).is_none() {
        let names: Vec<&str> = loaded.policy.domains().map(|domain| domain.name.as_str()).collect();
        let hint = did_you_mean(&args.domain, names.iter().copied());
        let hint = hint.unwrap_or_else(|| format!("there is {}", names.join(", ")));
        complain(&format!("error: no domain `{}` is configured; {hint}\n", args.domain));
        return ExitCode::from(WRONG_INPUT);
    }
    let limiter = Arc::new(Limiter::new(loaded.policy, MemoryStore::default(), ManualClock::at(now)));
    let (worker, policy) = (limiter.worker(), limiter.engine.policy());
    // Counters in memory answer at once.
    let Ok(verdict) = worker.decide_now(worker.scratch(), &policy, &request) else {
        complain("error: the counters cannot be read\n");
        return ExitCode::from(super::FAILED);
    };
    let answer = answer(&policy, &request, &verdict);
    let explained = Explained { policy: &policy, request: &request, verdict: &verdict, answer };
    print(&if args.json { explained.json() } else { explained.text() });
    ExitCode::SUCCESS
}

type Typed = Vec<(String, String)>;

/// `key=value,key=value` with `\` before a comma or a backslash that belongs to a value.
fn parse(descriptor: &str) -> Result<Typed, String> {
    let mut parts = vec![String::new()];
    let mut characters = descriptor.chars();
    while let Some(character) = characters.next() {
        match character {
            // Before anything else it is itself, as in `CORP\alice`.
            '\\' if characters.as_str().starts_with([',', '\\']) => {
                parts.last_mut().into_iter().for_each(|part| part.extend(characters.next()));
            }
            ',' => parts.push(String::new()),
            _ => parts.last_mut().into_iter().for_each(|part| part.push(character)),
        }
    }
    let entries = parts.into_iter().map(|part| match part.trim_start().split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{part}` is not an entry; write `key=value,key=value`")),
    });
    entries.collect()
}

fn borrowed(entries: &Typed) -> Few<Entry<'_>> {
    entries.iter().map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() }).collect()
}

fn readable(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(time.as_nanos().into())
        .map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

/// A decision with everything that led to it.
struct Explained<'a, 'r, 'p> {
    policy: &'a Policy,
    request: &'a Request<'r>,
    verdict: &'a Verdict<'p>,
    answer: Answer<'a>,
}

/// One line of an explanation: what it is about, and what there is to say.
type Line = (&'static str, String);

impl Explained<'_, '_, '_> {
    fn text(&self) -> String {
        let domain = String::from_utf8_lossy(self.request.domain);
        let mut text = format!("domain {domain}, at {}\n", readable(self.verdict.now));
        for (descriptor, decision) in self.request.descriptors.iter().zip(&self.verdict.decisions) {
            let _ = write!(text, "\n{}\n", entries(descriptor, self.policy));
            for (about, said) in self.lines(descriptor, decision) {
                let _ = writeln!(text, "  {about:<9}{said}");
            }
        }
        text += &format!("\noverall  {}\n", answer_word(self.verdict.over_limit));
        for (name, value) in self.answer.response_headers.iter() {
            text += &format!("  {name}: {value}\n");
        }
        for (name, value) in self.answer.request_headers.iter() {
            text += &format!("  {name}: {value} (for the upstream)\n");
        }
        if !self.answer.body.is_empty() {
            text += &format!("\n  {}\n", self.answer.body);
        }
        text
    }

    fn json(&self) -> String {
        let descriptors =
            self.request.descriptors.iter().zip(&self.verdict.decisions).map(|(descriptor, decision)| {
                let lines = self.lines(descriptor, decision);
                let mut fields: serde_json::Map<_, _> =
                    lines.into_iter().map(|(about, said)| (about.to_owned(), said.into())).collect();
                fields.insert("descriptor".to_owned(), entries(descriptor, self.policy).into());
                if let Decision::Counted(counted) = decision
                    && let Some((_, outcome)) = counted.told()
                {
                    let numbers = serde_json::json!({
                        "limit": outcome.limit,
                        "used": outcome.used,
                        "remaining": outcome.remaining,
                        "reset_after_ms": millis(outcome.full_after),
                        "retry_after_ms": outcome.retry_after.map(millis),
                    });
                    fields.insert("numbers".to_owned(), numbers);
                }
                serde_json::Value::Object(fields)
            });
        let explained = serde_json::json!({
            "domain": String::from_utf8_lossy(self.request.domain),
            "at": readable(self.verdict.now),
            "descriptors": descriptors.collect::<Vec<_>>(),
            "overall": answer_word(self.verdict.over_limit),
            "response_headers": self.answer.response_headers.iter().collect::<Vec<_>>(),
            "request_headers": self.answer.request_headers.iter().collect::<Vec<_>>(),
            "body": self.answer.body,
        });
        format!("{explained:#}\n")
    }

    fn lines(&self, descriptor: &Descriptor<'_>, decision: &Decision<'_>) -> Vec<Line> {
        let entries =
            self.policy.domain(self.request.domain).map(|domain| domain.entries(&descriptor.entries));
        let entries = entries.as_ref().map(Entries::as_slice).unwrap_or_default();
        let way = trace(self.policy, self.request.domain, descriptor, self.verdict.now);
        let mut lines = match &way {
            Trace::UnknownDomain => vec![("rule", self.no_domain())],
            Trace::Override => vec![("rule", "the limit that Envoy sent along".to_owned())],
            Trace::Walked(Reached::Nothing { at, passed, level }) => {
                vec![("rule", lost((&entries, *at), passed, level, self.policy, self.directory()))]
            }
            Trace::Walked(Reached::Node(landing) | Reached::Exempt(landing)) => {
                let node = landing.node();
                let rule = node.and_then(|node| node.rule.as_ref());
                let who = landing.credential.as_ref().map(|somebody| ("subject", self.who(somebody, rule)));
                node.map(|node| ("rule", at_node(node))).into_iter().chain(who).collect()
            }
        };
        match decision {
            Decision::Free if matches!(&way, Trace::Walked(Reached::Node(landing)) if landing.node().is_some_and(|node| node.rule.is_some())) =>
            {
                lines.push(("limit", "none: the rule has no number for this subject".to_owned()));
            }
            Decision::Free => {}
            Decision::Exempt(_) => lines.push(("limit", "none: the subject is exempt".to_owned())),
            Decision::Replaced(rule) => {
                lines.push(("limit", format!("`{}` is replaced by another rule", rule.label)));
            }
            Decision::PassedOver(rule) => {
                lines.push((
                    "limit",
                    format!("`{}` is not charged: what came before it settles the request", rule.label),
                ));
            }
            Decision::Unlimited(_) => lines.push(("limit", "unlimited".to_owned())),
            Decision::Counted(counted) => {
                for charged in &counted.limits {
                    let (limit, outcome) = (&counted.rule.limits[charged.limit], &charged.outcome);
                    // Of a bucket the outcome tells the burst, which is what `used` and `left` share.
                    let granted = limit.requests.granted(counted.credential.as_ref(), self.verdict.now);
                    lines.push(("limit", written(limit, granted.unwrap_or(outcome.limit), &counted.rule)));
                    if let Trace::Walked(Reached::Node(landing)) = &way {
                        lines.push(("counter", counter(limit, &entries, landing, self.policy)));
                    }
                    let reset = seconds(outcome.full_after);
                    let never = !outcome.admitted && outcome.retry_after.is_none();
                    let never = if never { "; it costs more than the limit, and can never pass" } else { "" };
                    let numbers = format!(
                        "used {} of {}, {} left, resets in {reset}{never}",
                        outcome.used, outcome.limit, outcome.remaining
                    );
                    lines.push(("numbers", numbers));
                }
            }
        }
        let over = matches!(decision, Decision::Counted(counted) if counted.over_limit());
        lines.push(("answer", answer_word(over).to_owned()));
        lines
    }

    /// Who a credential stands for, with the attributes that the rule asks for; never the credential.
    fn who(&self, credential: &Credential<'_>, rule: Option<&Rule>) -> String {
        let asked =
            rule.into_iter().flat_map(|rule| &rule.limits).flat_map(|limit| limit.requests.attributes());
        let asked: BTreeSet<&str> = asked.collect();
        let known = asked.into_iter().filter_map(|name| {
            let value = credential.attribute_at(name, self.verdict.now)?;
            Some(format!("{name}={}", value.as_text()))
        });
        let known: Vec<_> = known.collect();
        let id = credential.subject.id();
        if known.is_empty() { id.to_owned() } else { format!("{id} ({})", known.join(", ")) }
    }

    fn directory(&self) -> Option<&Directory> {
        self.policy.domain(self.request.domain)?.directory.as_ref()
    }

    fn no_domain(&self) -> String {
        let asked = String::from_utf8_lossy(self.request.domain);
        let hint = did_you_mean(&asked, self.policy.domains().map(|domain| domain.name.as_str()));
        format!("none: no domain `{asked}` is configured{}", bracketed(hint))
    }
}

/// A descriptor as it was typed, but for credentials.
fn entries(descriptor: &Descriptor<'_>, policy: &Policy) -> String {
    let each =
        descriptor.entries.iter().map(|entry| format!("{}={}", lossy(entry.key), shown(entry, policy)));
    each.collect::<Vec<_>>().join(", ")
}

/// A value, unless it is a credential in any domain: which one was meant may be the mistake.
fn shown<'a>(entry: &Entry<'a>, policy: &Policy) -> Cow<'a, str> {
    if policy.domains().any(|domain| domain.is_secret(entry.key)) { "…".into() } else { lossy(entry.value) }
}

fn at_node(node: &Node) -> String {
    match &node.rule {
        Some(rule) => format!("{} ({})", rule.label, node.place),
        None => format!("none: `{}` has no limit of its own ({})", node.label, node.place),
    }
}

fn lost(
    (entries, at): (&[Entry<'_>], usize),
    passed: &[&Node],
    level: &Level,
    policy: &Policy,
    directory: Option<&Directory>,
) -> String {
    let Some(entry) = entries.get(at) else {
        return match entries {
            [] => "none: a descriptor without entries reaches no rule".to_owned(),
            _ => "none: the entries are empty, and as if they had not been sent".to_owned(),
        };
    };
    let below = passed.last().map_or_else(
        || "at the top of the domain".to_owned(),
        |node| format!("below `{}` ({})", node.label, node.place),
    );
    let asking = level.nodes().find(|node| node.subject.is_some() && node.label.as_bytes() == entry.key);
    if let Some((node, asked)) = asking.and_then(|node| Some((node, node.subject.as_ref()?))) {
        let value = if asked.strip_scheme { strip_scheme(entry.value) } else { entry.value };
        let somebody = directory.and_then(|directory| directory.resolve(&asked.kind, value));
        let why = match somebody {
            Some(other) => {
                format!("is a credential of `{}`, not of the subject before it", other.subject.id())
            }
            None => format!("is no enabled credential of kind `{}`", asked.kind),
        };
        return format!("none: the value of `{}` {why} ({})", node.label, node.place);
    }
    let typed = format!("{}={}", lossy(entry.key), shown(entry, policy));
    if level.is_empty() {
        return format!("none: there are no descriptors {below}, and `{typed}` is one entry more");
    }
    let mut labels: Vec<&str> = level.nodes().map(|node| node.label.as_str()).collect();
    labels.sort_unstable();
    // A likely slip is one in the key, or one in the value of the same key.
    let (key, value) = (lossy(entry.key), shown(entry, policy));
    let values = labels.iter().filter_map(|label| label.strip_prefix(&format!("{key}=")));
    let keys = labels.iter().map(|label| label.split('=').next().unwrap_or(label));
    let known = keys.clone().any(|known| known == key);
    let slip = if known { did_you_mean(&value, values) } else { did_you_mean(&key, keys) };
    let hint = slip.unwrap_or_else(|| {
        let some = labels.iter().take(8).map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        format!("there {} {some}", if labels.len() == 1 { "is" } else { "are" })
    });
    format!("none: `{typed}` matches nothing {below}{}", bracketed(Some(hint)))
}

fn bracketed(hint: Option<String>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}

/// What a counter belongs to. A credential is not named.
fn counter(limit: &Limit, entries: &[Entry<'_>], landing: &Landing<'_>, policy: &Policy) -> String {
    let on_the_way = || landing.steps(entries);
    let value = |(entry, node): (&Entry<'_>, &Node)| {
        let counted = Entry { key: entry.key, value: node.counted(entry.value) };
        let shown = shown(&counted, policy);
        format!("{}={shown}", lossy(entry.key))
    };
    let parts = limit.count_by.iter().flat_map(|part| match (part, &landing.credential) {
        (CountBy::Entries, _) => on_the_way().map(value).collect(),
        (CountBy::Entry(key), _) => {
            on_the_way().filter(|(entry, _)| entry.key == key.as_bytes()).map(value).collect()
        }
        (CountBy::Subject, Some(credential)) => vec![format!("subject {}", credential.subject.id())],
        (CountBy::Credential, Some(credential)) => {
            vec![format!("a credential of {}", credential.subject.id())]
        }
        (CountBy::Subject | CountBy::Credential, None) => Vec::new(),
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn written(limit: &Limit, granted: u64, rule: &Rule) -> String {
    let name = if limit.name == rule.label { String::new() } else { format!("{}: ", limit.name) };
    let shadow = if rule.shadow { ", shadow mode: never refused" } else { "" };
    let quota = if rule.quota { ", quota: refused only when every quota is used up" } else { "" };
    format!("{name}{granted} per {}{shadow}{quota}", limit.window)
}

fn answer_word(over_limit: bool) -> &'static str {
    if over_limit { "OVER_LIMIT" } else { "OK" }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn descriptors_are_typed_as_entries_with_commas_between() {
        let check = |typed: &str, entries: &[(&str, &str)]| {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(parse(typed), Ok(entries), "{typed}");
        };
        check("a=1", &[("a", "1")]);
        check("a=1, endpoint=GET /x?y=z", &[("a", "1"), ("endpoint", "GET /x?y=z")]);
        check(r"a=1\,2,b=\\", &[("a", "1,2"), ("b", r"\")]);
        check("a=,b=2", &[("a", ""), ("b", "2")]);
        assert_eq!(parse("a"), Err("`a` is not an entry; write `key=value,key=value`".to_owned()));
    }
}
