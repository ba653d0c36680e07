//! `spillway explain`

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use super::args::Explain;
use super::check::report;
use super::{WRONG_INPUT, complain, peer, print};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config::{self, did_you_mean};
use crate::engine::{Decision, Engine, Trace, Verdict, trace};
use crate::model::{Descriptor, Entry, Hits, Request, Timestamp};
use crate::policy::{Level, Limit, Node, Policy, Rule};
use crate::store::MemoryStore;

pub(super) fn run(args: &Explain) -> ExitCode {
    let typed: Result<Vec<_>, _> = args.descriptors.iter().map(|descriptor| parse(descriptor)).collect();
    let typed = match typed {
        Ok(typed) => typed,
        Err(wrong) => {
            complain(&format!("error: {wrong}\n"));
            return ExitCode::from(WRONG_INPUT);
        }
    };
    let loaded = match config::load(&[&args.config], peer::options(args.merging)) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            complain(&report(&diagnostics));
            return ExitCode::from(WRONG_INPUT);
        }
    };
    let now = args.at.map_or_else(|| SystemClock.now(), timestamp);
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
    let engine = Engine::new(loaded.policy, MemoryStore::default(), ManualClock::at(now));
    let policy = engine.policy();
    // Counters in memory answer at once; there is nothing to wait for.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
        complain("error: cannot start\n");
        return ExitCode::from(super::FAILED);
    };
    match runtime.block_on(engine.decide(&policy, &request)) {
        Ok(verdict) => {
            let explained = Explained { policy: &policy, request: &request, verdict: &verdict };
            print(&if args.json { explained.json() } else { explained.text() });
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("error: {error}\n"));
            ExitCode::from(super::FAILED)
        }
    }
}

type Typed = Vec<(String, String)>;

/// `key=value,key=value` with `\` before a comma or a backslash that belongs to a value.
fn parse(descriptor: &str) -> Result<Typed, String> {
    let mut parts = vec![String::new()];
    let mut characters = descriptor.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => parts.last_mut().into_iter().for_each(|part| part.extend(characters.next())),
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

fn borrowed(entries: &Typed) -> Vec<Entry<'_>> {
    entries.iter().map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() }).collect()
}

fn timestamp(time: jiff::Timestamp) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(time.as_nanosecond()).unwrap_or_default())
}

fn readable(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(time.as_nanos().into())
        .map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

/// A decision with everything that led to it.
struct Explained<'a> {
    policy: &'a Policy,
    request: &'a Request<'a>,
    verdict: &'a Verdict<'a>,
}

/// One line of an explanation: what it is about, and what there is to say.
type Line = (&'static str, String);

impl Explained<'_> {
    fn text(&self) -> String {
        let domain = String::from_utf8_lossy(self.request.domain);
        let mut text = format!("domain {domain}, at {}\n", readable(self.verdict.now));
        for (descriptor, decision) in self.request.descriptors.iter().zip(&self.verdict.decisions) {
            let _ = write!(text, "\n{}\n", entries(descriptor));
            for (about, said) in self.lines(descriptor, decision) {
                let _ = writeln!(text, "  {about:<9}{said}");
            }
        }
        text + &format!("\noverall  {}\n", answer(self.verdict.over_limit))
    }

    fn json(&self) -> String {
        let descriptors =
            self.request.descriptors.iter().zip(&self.verdict.decisions).map(|(descriptor, decision)| {
                let lines = self.lines(descriptor, decision);
                let mut fields: serde_json::Map<_, _> =
                    lines.into_iter().map(|(about, said)| (about.to_owned(), said.into())).collect();
                fields.insert("descriptor".to_owned(), entries(descriptor).into());
                if let Decision::Counted(counted) = decision
                    && let Some((_, outcome)) = counted.told()
                {
                    let numbers = serde_json::json!({
                        "limit": outcome.limit,
                        "used": outcome.used,
                        "remaining": outcome.remaining,
                        "reset_after_ms": millis(outcome.reset_after),
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
            "overall": answer(self.verdict.over_limit),
        });
        format!("{explained:#}\n")
    }

    fn lines(&self, descriptor: &Descriptor<'_>, decision: &Decision<'_>) -> Vec<Line> {
        let way = trace(self.policy, self.request.domain, descriptor);
        let mut lines = match &way {
            Trace::UnknownDomain => vec![("rule", self.no_domain())],
            Trace::Override => vec![("rule", "the limit that Envoy sent along".to_owned())],
            Trace::Lost { passed, level } => vec![("rule", lost(descriptor, passed, level))],
            Trace::Reached(passed) => passed.last().map(|node| ("rule", at_node(node))).into_iter().collect(),
        };
        match decision {
            Decision::Free => {}
            Decision::Replaced(rule) => {
                lines.push(("limit", format!("`{}` is replaced by another rule", rule.label)));
            }
            Decision::Unlimited(_) => lines.push(("limit", "unlimited".to_owned())),
            Decision::Counted(counted) => {
                if let Trace::Reached(passed) = &way {
                    lines.push(("counter", counter(descriptor, passed)));
                }
                for (limit, (_, outcome)) in counted.rule.limits.iter().zip(&counted.outcomes) {
                    lines.push(("limit", written(limit, &counted.rule)));
                    let reset = seconds(outcome.reset_after);
                    let numbers = format!(
                        "used {} of {}, {} left, resets in {reset}",
                        outcome.used, outcome.limit, outcome.remaining
                    );
                    lines.push(("numbers", numbers));
                }
            }
        }
        let over = matches!(decision, Decision::Counted(counted) if counted.over_limit());
        lines.push(("answer", answer(over).to_owned()));
        lines
    }

    fn no_domain(&self) -> String {
        let asked = String::from_utf8_lossy(self.request.domain);
        let hint = did_you_mean(&asked, self.policy.domains().map(|domain| domain.name.as_str()));
        format!("none: no domain `{asked}` is configured{}", bracketed(hint))
    }
}

fn entries(descriptor: &Descriptor<'_>) -> String {
    let each = descriptor.entries.iter().map(|entry| {
        format!("{}={}", String::from_utf8_lossy(entry.key), String::from_utf8_lossy(entry.value))
    });
    each.collect::<Vec<_>>().join(", ")
}

fn at_node(node: &Node) -> String {
    match &node.rule {
        Some(rule) => format!("{} ({})", rule.label, node.place),
        None => format!("none: `{}` at {} has no limit, so it is exempt", node.label, node.place),
    }
}

fn lost(descriptor: &Descriptor<'_>, passed: &[&Node], level: &Level) -> String {
    let Some(entry) = descriptor.entries.get(passed.len()) else {
        return "none: a descriptor without entries reaches no rule".to_owned();
    };
    let typed = format!("{}={}", String::from_utf8_lossy(entry.key), String::from_utf8_lossy(entry.value));
    let below = passed.last().map_or_else(
        || "at the top of the domain".to_owned(),
        |node| format!("below `{}` ({})", node.label, node.place),
    );
    if level.is_empty() {
        return format!("none: there are no descriptors {below}, and `{typed}` is one entry more");
    }
    let mut labels: Vec<&str> = level.nodes().map(|node| node.label.as_str()).collect();
    labels.sort_unstable();
    let hint = did_you_mean(&typed, labels.iter().copied()).unwrap_or_else(|| {
        let some = labels.iter().take(8).map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        format!("there {} {some}", if labels.len() == 1 { "is" } else { "are" })
    });
    format!("none: `{typed}` matches nothing {below}{}", bracketed(Some(hint)))
}

fn bracketed(hint: Option<String>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}

fn counter(descriptor: &Descriptor<'_>, passed: &[&Node]) -> String {
    let parts = descriptor.entries.iter().zip(passed).map(|(entry, node)| {
        let value = node.counted(entry.value);
        format!("{}={}", String::from_utf8_lossy(entry.key), String::from_utf8_lossy(value))
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn written(limit: &Limit, rule: &Rule) -> String {
    let per = match limit.unit_multiplier {
        1 => limit.unit.to_string(),
        many => format!("{many} {}s", limit.unit),
    };
    let shadow = if rule.shadow { ", shadow mode: never refused" } else { "" };
    let quota = if rule.quota { ", quota: refused only when every quota is used up" } else { "" };
    format!("{} per {per}{shadow}{quota}", limit.allowance.limit)
}

fn answer(over_limit: bool) -> &'static str {
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
