//! `spillway explain`

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use super::args::Explain;
use super::check::report;
use super::compatibility::Environment;
use super::{WRONG_INPUT, complain, print};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config;
use crate::explain::{self, Explanation};
use crate::hint::did_you_mean;
use crate::limiter::Limiter;
use crate::model::{Descriptor, Hits, Request};
use crate::policy::Policy;
use crate::store::MemoryStore;

pub(super) fn run(args: &Explain, environment: &Environment) -> ExitCode {
    let typed: Result<Vec<_>, _> = args.descriptors.iter().map(|descriptor| parse(descriptor)).collect();
    let typed = match typed {
        Ok(typed) => typed,
        Err(wrong) => {
            complain(&format!("error: {wrong}\n"));
            return ExitCode::from(super::WRONG_COMMAND);
        }
    };
    let files = args.config.as_ref().unwrap_or(&environment.config);
    let policy = match config::load(&[files], environment.options(args.merging)) {
        Ok(loaded) => loaded.policy,
        Err(diagnostics) => {
            complain(&report(&diagnostics, &io::stderr()));
            return ExitCode::from(WRONG_INPUT);
        }
    };
    if policy.domain(args.domain.as_bytes()).is_none() {
        complain(&format!("error: {}\n", unknown_domain(&args.domain, &policy)));
        return ExitCode::from(WRONG_INPUT);
    }
    let hits = Hits::charge(args.hits);
    let descriptors = typed.iter().map(|entries| Descriptor::of_text(entries, hits)).collect();
    let request = Request { domain: args.domain.as_bytes(), descriptors };
    let now = args.at.unwrap_or_else(|| SystemClock::new().now());
    let limiter = Arc::new(Limiter::new(policy, MemoryStore::default(), ManualClock::at(now)));
    // Counters in memory answer at once.
    let Some(explanation) = explain::decide_and_then(&limiter.worker(), &limiter.engine.policy(), &request)
    else {
        complain("error: the counters cannot be read\n");
        return ExitCode::from(super::FAILED);
    };
    print(&if args.json { json(&explanation) } else { explanation.text() })
}

pub(super) fn json(explanation: &Explanation) -> String {
    // As a value first, which has its keys sorted.
    format!("{:#}\n", serde_json::json!(explanation))
}

pub(super) fn unknown_domain(typed: &str, policy: &Policy) -> String {
    let mut names: Vec<&str> = policy.domains().map(|domain| domain.name.as_str()).collect();
    names.sort_unstable();
    let hint = did_you_mean(typed, names.iter().copied());
    let hint = hint.unwrap_or_else(|| format!("there is {}", names.join(", ")));
    format!("no domain `{typed}` is configured; {hint}")
}

pub(super) type Typed = Vec<(String, String)>;

/// `key=value,key=value` with `\` before a comma or a backslash that belongs to a value.
pub(super) fn parse(descriptor: &str) -> Result<Typed, String> {
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
