//! Playing a script against something that answers, and saying where the answers differ.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::script::{Change, Expect, Script, Step};
use crate::clock::ManualClock;
use crate::engine::answer;
use crate::limiter::{Limiter, Worker};
use crate::model::{Descriptor, Hits, Request, Timestamp};
use crate::policy::Policy;
use crate::store::MemoryStore;

/// What an answer looks like from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether it was a refusal.
    pub over_limit: bool,
    /// Response headers, in order.
    pub headers: Vec<(String, String)>,
    /// Headers for the upstream.
    pub request_headers: Vec<(String, String)>,
    /// The body of a refusal.
    pub body: String,
    /// The rule or the limit whose numbers it reports.
    pub rule: Option<String>,
}

/// Something that answers requests at a time of the script's choice.
pub trait Target {
    /// Answers descriptors that cost `hits`, at `now`.
    fn send(&mut self, now: Timestamp, descriptors: &[Vec<(String, String)>], hits: Option<Hits>) -> Seen;
    /// Changes a subject from `now` on.
    fn set(&mut self, now: Timestamp, change: &Change) -> Result<(), String>;
}

/// An answer that is not what the script says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The line of the step.
    pub line: usize,
    /// What the step shows, or how it begins.
    pub step: String,
    /// What differs: what is about, what was expected, what was found.
    pub differences: Vec<(String, String, String)>,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}: {}", self.line, self.step)?;
        for (about, expected, found) in &self.differences {
            writeln!(f, "  {about}\n    expected  {expected}\n    found     {found}")?;
        }
        Ok(())
    }
}

/// Plays `script` and returns every step whose answer differs.
pub fn run(script: &Script, target: &mut impl Target) -> Vec<Miss> {
    let mut misses = Vec::new();
    let mut now = script.start;
    for (at, step) in script.steps.iter().enumerate() {
        let mut differences = Vec::new();
        now = step.at.map_or(now, |after| script.start.plus(after));
        if let Some(change) = &step.set
            && let Err(wrong) = target.set(now, change)
        {
            differences.push(("set".to_owned(), format!("a subject `{}` to change", change.subject), wrong));
        }
        if step.send.is_some() {
            now = play(step, target, now, &mut differences);
        }
        if !differences.is_empty() {
            let line = script.lines.get(at).copied().unwrap_or_default();
            misses.push(Miss { line, step: name(at, step), differences });
        }
    }
    misses
}

fn name(at: usize, step: &Step) -> String {
    step.shows.clone().unwrap_or_else(|| format!("step {}", at + 1))
}

/// Sends as often as the step says, and compares; returns the time of the last.
fn play(
    step: &Step,
    target: &mut impl Target,
    mut now: Timestamp,
    found: &mut Vec<(String, String, String)>,
) -> Timestamp {
    let descriptors = step.send.as_deref().unwrap_or_default();
    let mut last = Seen::default();
    for time in 0..step.times {
        if time > 0 {
            now = now.plus(step.every.unwrap_or(Duration::ZERO));
        }
        last = target.send(now, descriptors, step.hits);
        if let Some(expect) = step.expect
            && last.over_limit != (expect == Expect::OverLimit)
        {
            let nth =
                if step.times > 1 { format!(", time {} of {}", time + 1, step.times) } else { String::new() };
            found.push((
                format!("answer{nth}"),
                answer_word(expect == Expect::OverLimit),
                answer_word(last.over_limit),
            ));
            break;
        }
    }
    compare(step, &last, found);
    now
}

fn answer_word(over_limit: bool) -> String {
    if over_limit { "over_limit" } else { "ok" }.to_owned()
}

fn compare(step: &Step, seen: &Seen, found: &mut Vec<(String, String, String)>) {
    named("header", &step.headers, &seen.headers, found);
    named("request header", &step.request_headers, &seen.request_headers, found);
    if let Some(all) = &step.all_headers {
        let expected = all.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        named("header", &expected, &seen.headers, found);
        let unexpected = seen
            .headers
            .iter()
            .filter(|(name, _)| !all.keys().any(|expected| expected.eq_ignore_ascii_case(name)));
        found.extend(
            unexpected.map(|(name, value)| (format!("header {name}"), "absent".to_owned(), value.clone())),
        );
    }
    if let Some(body) = &step.body
        && *body != seen.body
    {
        found.push(("body".to_owned(), body.clone(), seen.body.clone()));
    }
    if let Some(rule) = &step.rule
        && Some(rule) != seen.rule.as_ref()
    {
        found.push(("rule".to_owned(), rule.clone(), seen.rule.clone().unwrap_or_else(|| "none".to_owned())));
    }
}

fn named(
    what: &str,
    expected: &BTreeMap<String, Option<String>>,
    present: &[(String, String)],
    found: &mut Vec<(String, String, String)>,
) {
    let absent = || "absent".to_owned();
    for (name, value) in expected {
        let seen: Vec<_> = present.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).collect();
        let seen = match seen.as_slice() {
            [] => None,
            [(_, one)] => Some(one.clone()),
            many => Some(format!("{many:?}")),
        };
        if seen != *value {
            found.push((
                format!("{what} {name}"),
                value.clone().unwrap_or_else(absent),
                seen.unwrap_or_else(absent),
            ));
        }
    }
}

/// The engine itself, with a clock that the script moves. Shared, so that a server can answer from it as well.
pub struct InProcessLimiter {
    limiter: Arc<Limiter<MemoryStore, Arc<ManualClock>>>,
    worker: Worker<MemoryStore, Arc<ManualClock>>,
    clock: Arc<ManualClock>,
    domain: String,
    reload: Reload,
    changes: Vec<Change>,
}

/// Reads a policy from its files; `None` when it cannot be read.
type Reload = Box<dyn Fn() -> Option<Policy>>;

impl fmt::Debug for InProcessLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessLimiter").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl InProcessLimiter {
    /// Enforces `domain` of the policy that `reload` reads, and reads again for each change of a subject. `None` when it
    /// cannot be read.
    pub fn new(domain: &str, reload: Reload) -> Option<Self> {
        let clock = Arc::new(ManualClock::default());
        let limiter = Arc::new(Limiter::new(reload()?, MemoryStore::default(), Arc::clone(&clock)));
        Some(Self {
            worker: limiter.worker(),
            limiter,
            clock,
            domain: domain.to_owned(),
            reload,
            changes: Vec::new(),
        })
    }

    /// What answers, and the clock it reads.
    pub fn parts(&self) -> (Arc<Limiter<MemoryStore, Arc<ManualClock>>>, Arc<ManualClock>) {
        (Arc::clone(&self.limiter), Arc::clone(&self.clock))
    }

    /// Which domain is asked.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    fn changed(&self) -> Result<Policy, String> {
        let mut policy = (self.reload)().ok_or("the policy cannot be read again")?;
        let directory =
            policy.domain_mut(&self.domain).directory_mut().ok_or("the domain has no subjects")?;
        for change in &self.changes {
            directory.edit(&change.subject, &change.attributes).map_err(|error| error.to_string())?;
        }
        Ok(policy)
    }
}

impl Target for InProcessLimiter {
    fn send(&mut self, now: Timestamp, descriptors: &[Vec<(String, String)>], hits: Option<Hits>) -> Seen {
        self.clock.set(now);
        let hits = hits.unwrap_or(Hits::ONE);
        let descriptors = descriptors.iter().map(|entries| Descriptor::of_text(entries, hits));
        let request = Request { domain: self.domain.as_bytes(), descriptors: descriptors.collect() };
        let policy = self.limiter.engine.policy();
        // Counters in memory answer at once.
        let Ok(verdict) = self.worker.decide_now(self.worker.scratch(), &policy, &request) else {
            return Seen::default();
        };
        let answer = answer(&request, &verdict);
        let rule = verdict.reported().map(|(_, limit, _)| limit.name.clone());
        Seen {
            over_limit: verdict.over_limit,
            headers: answer.response_headers.to_vec(),
            request_headers: answer.request_headers.to_vec(),
            body: answer.body,
            rule,
        }
    }

    fn set(&mut self, now: Timestamp, change: &Change) -> Result<(), String> {
        self.clock.set(now);
        self.changes.push(change.clone());
        let changed = self.changed();
        if changed.is_err() {
            self.changes.pop();
        }
        changed.map(|policy| drop(self.limiter.publish(policy)))
    }
}
