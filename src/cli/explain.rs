//! `spillway explain`

use std::fs::File;
use std::io::{self, Read as _};
use std::process::ExitCode;
use std::sync::Arc;

use super::args::Explain;
use super::check::report;
use super::compatibility::Environment;
use super::{WRONG_COMMAND, WRONG_INPUT, complain, print};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config;
use crate::explain::{self, Answered, Explanation, LineOfLog};
use crate::hint::did_you_mean;
use crate::limiter::Limiter;
use crate::model::{Descriptor, Hits, Request};
use crate::policy::Policy;
use crate::rls::{Bound, MOST_REPEATED};
use crate::store::MemoryStore;

/// The most bytes of a log that are read.
const MOST: u64 = 1 << 20;

pub(super) fn run(args: &Explain, environment: &Environment) -> ExitCode {
    let line = match asked(args) {
        Ok(line) => line,
        Err((wrong, code)) => {
            complain(&format!("error: {wrong}\n"));
            return ExitCode::from(code);
        }
    };
    let files = args.config.as_ref().unwrap_or(&environment.config);
    let policy = match config::load(&[files], environment.options(args.merging)) {
        Ok(loaded) => loaded.policy,
        Err(mut diagnostics) => {
            // Nobody named it, and it is not there.
            if args.config.is_none() && !files.exists() {
                let hint = "name the policies with `--config PATH`, a file or a directory";
                for one in &mut diagnostics {
                    one.hint = Some(hint.to_owned());
                }
            }
            complain(&report(&diagnostics, &io::stderr()));
            return ExitCode::from(WRONG_INPUT);
        }
    };
    let Some(domain) = &line.domain else {
        complain(
            "error: the line does not say which domain was asked\n = help: write `--domain NAME` as well\n",
        );
        return ExitCode::from(WRONG_INPUT);
    };
    if policy.domain(domain.as_bytes()).is_none() {
        complain(&format!("error: {}\n", unknown_domain(domain, &policy)));
        return ExitCode::from(WRONG_INPUT);
    }
    for key in line.unknown_values(domain, &policy) {
        complain(&format!(
            "note: the log does not tell the value of `{key}`, so what counts by it is not the counter of this request\n"
        ));
    }
    for note in line.other_hits(args.hits).into_iter().chain(beyond_bounds(&line)) {
        complain(&format!("note: {note}\n"));
    }
    if let Some(answered) = &line.answered {
        complain(&format!("note: {}\n", without_counters(answered)));
    }
    let hits = Hits::charge(args.hits);
    let descriptors = line.descriptors.iter().map(|entries| Descriptor::of_text(entries, hits)).collect();
    let request = Request { domain: domain.as_bytes(), descriptors };
    let now = args.at.unwrap_or_else(|| SystemClock::new().now());
    let limiter = Arc::new(Limiter::new(policy, MemoryStore::default(), ManualClock::at(now)));
    // Counters in memory answer at once.
    let (worker, policy) = (limiter.worker(), limiter.engine.policy());
    let Some(explanation) = explain::decide_and_then(&worker, &policy, &request, line.subject.as_deref())
    else {
        complain("error: the counters cannot be read\n");
        return ExitCode::from(super::FAILED);
    };
    print(&if args.json { json(&explanation) } else { explanation.text() })
}

/// What `serve` says of a request that has more than it takes.
fn beyond_bounds(line: &LineOfLog) -> Option<String> {
    let bound = if line.descriptors.len() > MOST_REPEATED {
        Bound::Descriptors
    } else {
        line.descriptors.iter().any(|entries| entries.len() > MOST_REPEATED).then_some(Bound::Entries)?
    };
    Some(format!(
        "`spillway serve` does not decide this: {}; `--beyond-bounds` says what becomes of it",
        bound.text()
    ))
}

/// What is asked: descriptors as they are typed, or a line of a log. Else what is wrong, and what the program ends with.
fn asked(args: &Explain) -> Result<LineOfLog, (String, u8)> {
    let Some(file) = &args.access_log else {
        let typed = args.descriptors.iter().map(|descriptor| explain::typed(descriptor));
        let descriptors = typed.collect::<Result<_, _>>().map_err(|wrong| (wrong, WRONG_COMMAND))?;
        return Ok(LineOfLog { domain: args.domain.clone(), descriptors, ..LineOfLog::default() });
    };
    let is_input = file.as_os_str() == "-";
    let mut text = String::new();
    let read = if is_input {
        io::stdin().lock().take(MOST).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(MOST).read_to_string(&mut text))
    };
    let name = if is_input { "standard input".to_owned() } else { format!("`{}`", file.display()) };
    read.map_err(|error| (format!("cannot read {name}: {error}"), WRONG_INPUT))?;
    let line = explain::line_of_log(&text).map_err(|why| {
        let hint = why.hint().map(|hint| format!("\n = help: {hint}")).unwrap_or_default();
        (format!("{name}: {why}{hint}"), WRONG_INPUT)
    })?;
    Ok(LineOfLog { domain: line.domain.or_else(|| args.domain.clone()), ..line })
}

/// That what follows is not what was answered, and what was.
fn without_counters(answered: &Answered) -> String {
    let Answered { rule, used, limit, refused } = answered;
    let rule = rule.as_ref().map_or_else(String::new, |rule| format!(" of `{rule}`"));
    let refused = if *refused { ", refused" } else { "" };
    format!(
        "no counters are known here, so these begin at 0; the line says used {used} of {limit}{rule}{refused}"
    )
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
