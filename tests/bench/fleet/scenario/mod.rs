//! Replicas of Spillway under load while something breaks: what was let through, beside what is promised.

mod load;
mod replicas;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub(crate) use load::Load;
use load::{Answers, Tally};
pub(crate) use replicas::{Fault, Times};
use replicas::{Fleet, WithoutRedis};

/// What becomes of a request without Redis, in the policy's words.
const MODES: [&str; 3] = ["open", "closed", "local"];

/// A run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) fault: Fault,
    pub(crate) replicas: usize,
    pub(crate) leases: bool,
    pub(crate) load: Load,
    pub(crate) times: Times,
}

/// What came of a run in one of the modes.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) scenario: Scenario,
    pub(crate) mode: &'static str,
    /// The most that may be admitted of a key by an answer, whatever happens.
    pub(crate) promise: u64,
    /// The most that was admitted of a key, and the least of one that was asked for often enough, where Redis answered all calls in time.
    pub(crate) most: u64,
    pub(crate) least: Option<u64>,
    pub(crate) calls: u64,
    /// Calls that failed for want of Redis, and how long after the end of the fault the last of them did.
    pub(crate) failed: u64,
    failures: BTreeMap<String, u64>,
    pub(crate) failed_until: Option<Duration>,
}

impl Row {
    fn of(scenario: Scenario, mode: &'static str, answers: &Answers, without_redis: &[WithoutRedis]) -> Self {
        let all = || answers.keys.values();
        let is_answered = without_redis.iter().all(|one| one.counted + one.refused == 0);
        let enough = |tally: &&Tally| {
            is_answered && tally.failed + tally.late == 0 && tally.asked >= 2 * scenario.load.limit
        };
        Self {
            scenario,
            mode,
            promise: promise(&scenario, mode, without_redis),
            most: all().map(|tally| tally.admitted).max().unwrap_or_default(),
            least: all().filter(enough).map(|tally| tally.admitted).min(),
            calls: all().map(|tally| tally.asked).sum(),
            failed: all().map(|tally| tally.failed).sum(),
            failures: answers.failures.clone(),
            failed_until: answers.last_failure.map(|at| at.saturating_sub(scenario.times.mended)),
        }
    }

    /// What is not as promised.
    pub(crate) fn wrong(&self) -> Option<String> {
        let Scenario { fault, leases, load, .. } = self.scenario;
        // A machine that is too busy for Redis to answer in time is a fault as well.
        let may_fail = self.mode == "open";
        let is_exact = fault == Fault::None && !leases;
        if self.most > self.promise {
            Some(format!("{} of a key were admitted, and {} are promised", self.most, self.promise))
        } else if self.failed > 0 && !may_fail {
            Some(format!("{} calls failed: {:?}", self.failed, self.failures))
        } else {
            let least = self.least.filter(|least| is_exact && *least < load.limit)?;
            Some(format!("{least} of a key were admitted, and {} might have been", load.limit))
        }
    }
}

/// The most that may be admitted of a key: what Redis counted, and with `local` what each replica counted without it, up to its share
/// of the limit. Calls that fail are not admitted by anybody: what becomes of them is for Envoy's failure mode to say.
fn promise(scenario: &Scenario, mode: &str, without_redis: &[WithoutRedis]) -> u64 {
    let Scenario { fault, replicas, load, .. } = scenario;
    // Counts that are lost begin again: those that a replica had not got yet, too, which are few.
    let loses = matches!(fault, Fault::RedisEmptied | Fault::Failover);
    let by_redis = if loses { 2 * load.limit } else { load.limit };
    let share = (load.limit / *replicas as u64).max(1);
    let here = without_redis.iter().map(|replica| share.min(replica.counted)).sum::<u64>();
    by_redis + if mode == "local" { here } else { 0 }
}

/// Runs a scenario; a row for each mode.
pub(crate) fn run(scenario: Scenario) -> Vec<Row> {
    let Scenario { fault, replicas, leases, load, times } = scenario;
    let limit = format!("requests_per_unit: {}, per: 1h", load.limit);
    let rule = |mode: &str| {
        format!(
            "- key: mode\n  value: {mode}\n  descriptors: [{{key: key, rate_limit: {{{limit}, on_store_failure: {mode}}}}}]\n"
        )
    };
    let policy = format!("domain: fleet\ndescriptors:\n{}", MODES.map(rule).concat());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut fleet = Fleet::start(fault, replicas, leases, &policy, runtime.handle());
    let addresses = fleet.addresses();
    let (tell, told) = std::sync::mpsc::channel();
    let (answers, without_redis) = std::thread::scope(|scope| {
        // It waits for processes, while calls go on.
        let breaking = scope.spawn(move || {
            if told.recv().is_ok() {
                fleet.break_something();
            }
            if told.recv().is_ok() {
                fleet.mend_it();
            }
            // Replicas end after the last call.
            let _ = told.recv();
            fleet.without_redis()
        });
        let mut next = vec![times.mended, times.breaks];
        let answers = runtime.block_on(load::ask(load, &addresses, times.ends, |now| {
            if next.pop_if(|next| now >= *next).is_some() {
                let _ = tell.send(());
            }
        }));
        drop(tell);
        (answers, breaking.join().unwrap())
    });
    let row = |(mode, answers)| Row::of(scenario, mode, answers, &without_redis);
    MODES.into_iter().zip(&answers).map(row).collect()
}

/// What a table of rows begins with.
pub(crate) const HEAD: &str = "\
| What happens | Replicas | Counted | Without Redis | Calls | Admitted of a key, at most | Promised, at most | At least | Failed calls |
|---|---|---|---|---|---|---|---|---|";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = if self.scenario.leases { "leases" } else { "exactly" };
        let Self { mode, most, promise, calls, failed, .. } = self;
        let least = self.least.map_or_else(|| "–".to_owned(), |least| least.to_string());
        let (fault, replicas) = (self.scenario.fault.name(), self.scenario.replicas);
        write!(
            f,
            "| {fault} | {replicas} | {counted} | `{mode}` | {calls} | {most} | {promise} | {least} | {failed}"
        )?;
        match self.failed_until {
            Some(until) => write!(f, ", until {:.1} s after |", until.as_secs_f64()),
            None => write!(f, " |"),
        }
    }
}
