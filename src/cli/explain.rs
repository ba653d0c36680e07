//! `spillway explain`

mod numbers;
mod way;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::Explain;
use super::check::report;
use super::compatibility::Environment;
use super::{WRONG_INPUT, complain, print};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config;
use crate::engine::{Answer, Decision, Trace, Verdict, answer, trace};
use crate::hint::did_you_mean;
use crate::limiter::Limiter;
use crate::model::{Descriptor, Entry, Few, Hits, Request, Timestamp};
use crate::policy::{Entries, Policy, Reached, Rule};
use crate::store::MemoryStore;
use crate::subjects::{Credential, Directory};
use numbers::{OneLimit, counter, numbers, written};
use way::{at_node, bracketed, entries, lost};

pub(super) fn run(args: &Explain, environment: &Environment) -> ExitCode {
    let typed: Result<Vec<_>, _> = args.descriptors.iter().map(|descriptor| parse(descriptor)).collect();
    let typed = match typed {
        Ok(typed) => typed,
        Err(wrong) => {
            complain(&format!("error: {wrong}\n"));
            return ExitCode::from(super::WRONG_COMMAND);
        }
    };
    let loaded = match config::load(
        &[args.config.as_ref().unwrap_or(&environment.config)],
        environment.options(args.merging),
    ) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            complain(&report(&diagnostics, &io::stderr()));
            return ExitCode::from(WRONG_INPUT);
        }
    };
    let now = args.at.unwrap_or_else(|| SystemClock::new().now());
    let request = Request { domain: args.domain.as_bytes(), descriptors: request_of(&typed, args.hits) };
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
    // Only the first call is too dear, perhaps.
    let of_one = Request { descriptors: request_of(&typed, 1), domain: request.domain };
    let then = if verdict.over_limit && args.hits > 1 {
        worker.decide_now(worker.scratch(), &policy, &of_one).ok()
    } else {
        None
    };
    let first = Explained::new(&policy, &request, &verdict);
    let then = then.as_ref().map(|verdict| Explained::new(&policy, &of_one, verdict));
    print(&if args.json { first.json(then.as_ref()) } else { first.text(then.as_ref()) });
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

fn request_of(typed: &[Typed], hits: u64) -> Vec<Descriptor<'_>> {
    let descriptor =
        |entries| Descriptor { entries: borrowed(entries), hits: Hits::charge(hits), limit: None };
    typed.iter().map(descriptor).collect()
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

impl<'a, 'r, 'p> Explained<'a, 'r, 'p> {
    fn new(policy: &'a Policy, request: &'a Request<'r>, verdict: &'a Verdict<'p>) -> Self
    where
        'p: 'a,
    {
        Self { policy, request, verdict, answer: answer(policy, request, verdict) }
    }

    /// For people; `then` is what a call that costs 1 is told after this one.
    fn text(&self, then: Option<&Self>) -> String {
        let domain = String::from_utf8_lossy(self.request.domain);
        let mut text = format!("domain {domain}, at {}\n", readable(self.verdict.now));
        text += &self.told();
        if let Some(then) = then {
            text += &format!("\nthen, for a call that costs 1\n{}", then.told());
        }
        text
    }

    fn told(&self) -> String {
        let mut text = String::new();
        for (descriptor, decision) in self.request.descriptors.iter().zip(&self.verdict.decisions) {
            let _ = write!(text, "\n{}\n", entries(descriptor, self.policy));
            for (about, said) in self.lines(descriptor, decision) {
                let _ = writeln!(text, "  {about:<9}{said}");
            }
            for one in self.limits(descriptor, decision) {
                let counter = one.counter.iter().map(|counter| ("counter", counter.clone()));
                let lines = [("limit", one.limit)].into_iter().chain(counter);
                for (about, said) in lines.chain([("numbers", numbers(&one.outcome))]) {
                    let _ = writeln!(text, "  {about:<9}{said}");
                }
            }
            let _ = writeln!(text, "  {:<9}{}", "answer", answer_word(is_over(decision)));
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

    /// The same for programs.
    fn json(&self, then: Option<&Self>) -> String {
        let mut explained = self.object();
        explained["domain"] = String::from_utf8_lossy(self.request.domain).into();
        explained["at"] = readable(self.verdict.now).into();
        if let Some(then) = then {
            explained["then"] = then.object();
        }
        format!("{explained:#}\n")
    }

    fn object(&self) -> Value {
        let descriptors =
            self.request.descriptors.iter().zip(&self.verdict.decisions).map(|(descriptor, decision)| {
                let lines = self.lines(descriptor, decision);
                let mut fields: serde_json::Map<_, _> =
                    lines.into_iter().map(|(about, said)| (about.to_owned(), said.into())).collect();
                fields.insert("descriptor".to_owned(), entries(descriptor, self.policy).into());
                let limits = self.limits(descriptor, decision).into_iter().map(OneLimit::object);
                fields.insert("limits".to_owned(), limits.collect());
                fields.insert("answer".to_owned(), answer_word(is_over(decision)).into());
                Value::Object(fields)
            });
        json!({
            "descriptors": descriptors.collect::<Value>(),
            "overall": answer_word(self.verdict.over_limit),
            "response_headers": self.answer.response_headers.iter().collect::<Vec<_>>(),
            "request_headers": self.answer.request_headers.iter().collect::<Vec<_>>(),
            "body": self.answer.body,
        })
    }

    /// Every limit of the rule that was charged, in the order of the policy.
    fn limits(&self, descriptor: &Descriptor<'_>, decision: &Decision<'_>) -> Vec<OneLimit> {
        let Decision::Counted(counted) = decision else { return Vec::new() };
        let way = trace(self.policy, self.request.domain, descriptor, self.verdict.now);
        let entries =
            self.policy.domain(self.request.domain).map(|domain| domain.entries(&descriptor.entries));
        let entries = entries.as_ref().map(Entries::as_slice).unwrap_or_default();
        let each = counted.limits.iter().map(|charged| {
            let (limit, outcome) = (&counted.rule.limits[charged.limit], charged.outcome);
            // Of a bucket the outcome tells the burst, which is what `used` and `left` share.
            let granted = limit.requests.granted(counted.credential.as_ref(), self.verdict.now);
            let belongs_to = match &way {
                Trace::Walked(Reached::Node(landing)) => Some(counter(limit, &entries, landing, self.policy)),
                _ => None,
            };
            let limit = written(limit, granted.unwrap_or(outcome.limit), &counted.rule);
            OneLimit { limit, counter: belongs_to, outcome }
        });
        each.collect()
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
            // The limits of a rule follow.
            Decision::Free | Decision::Counted(_) => {}
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
        }
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

fn answer_word(over_limit: bool) -> &'static str {
    if over_limit { "OVER_LIMIT" } else { "OK" }
}

fn is_over(decision: &Decision<'_>) -> bool {
    matches!(decision, Decision::Counted(counted) if counted.over_limit())
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
