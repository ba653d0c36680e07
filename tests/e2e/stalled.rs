//! A Redis that stands still for ten seconds behind two replicas, as Envoy and its clients see it.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Answer, ask};
use crate::gateway::{Gateway, wait_for};
use crate::support::valkey::Valkey;
use crate::support::{Spillway, command, directory};
use crate::tests::Test;

pub(crate) const ALL: &[(&str, Test)] = &[(
    "a_stalled_redis_holds_up_no_request_and_charges_for_none",
    a_stalled_redis_holds_up_no_request_and_charges_for_none,
)];

const LIMIT: u64 = 100_000;
const POLICY: &str = r#"
domain: demo
deny: {content_type: application/json, body: '{"error":"not now","left":{{remaining}}}'}
descriptors:
- {key: mode, value: open, rate_limit: {unit: year, requests_per_unit: 100000}}
- {key: mode, value: closed, rate_limit: {unit: year, requests_per_unit: 100000, on_store_failure: closed}}
- {key: mode, value: local, rate_limit: {unit: year, requests_per_unit: 100000, on_store_failure: local}}
"#;
const MODES: [&str; 3] = ["open", "closed", "local"];

/// Between two calls: 50 a second.
const PACE: Duration = Duration::from_millis(20);
const BEFORE: Duration = Duration::from_secs(1);
const STALL: Duration = Duration::from_secs(10);
/// A worker looks every second whether the store answers again.
const AFTER: Duration = Duration::from_secs(2);
/// Envoy's default timeout for a call to a rate limit service.
const ENVOY: Duration = Duration::from_millis(20);
/// What the rest of a request may take: a connection to Envoy, its worker, the upstream, the way back.
const THE_REST: Duration = Duration::from_millis(30);
/// While a timer is so late, a machine is too busy for Envoy's 20 ms to be kept: a call may pass then before anybody could answer.
const BUSY: Duration = Duration::from_millis(4);
/// How often a request is handed on, from its client to Envoy, Spillway, the upstream and back. Each time a busy machine may be late.
const HANDED_ON: u32 = 6;
/// No machine is so busy that more than one in so many calls is excused.
const MOST_EXCUSED: u64 = 10;
/// Redis answers most of the last calls of a mode.
const LAST: usize = 10;
/// One core may be busy while another one's timers are not.
const TRIES: usize = 2;

/// Who decided on a request, as its answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Redis, with so much left.
    Redis(u64),
    /// The replica, of its half of the limit.
    Here,
    /// Nobody: it passed unlimited.
    Nobody,
    /// Nobody: it was refused in the policy's words.
    Refused,
}

impl By {
    fn of(answer: &Answer) -> Self {
        let number =
            |name| answer.header(name).and_then(|value| value.split(',').next()?.parse::<u64>().ok());
        match (answer.status, number("x-ratelimit-limit"), number("x-ratelimit-remaining")) {
            (200, Some(LIMIT), Some(left)) => Self::Redis(left),
            (200, Some(limit), Some(_)) if limit == LIMIT / 2 => Self::Here,
            (200, None, None) => Self::Nobody,
            (429, None, None) if answer.body == r#"{"error":"not now","left":null}"# => Self::Refused,
            _ => panic!("nobody answers so: {answer:?}"),
        }
    }
}

/// A call and its answer; times are since the first call.
#[derive(Debug)]
struct Call {
    mode: usize,
    at: Duration,
    took: Duration,
    by: By,
}

/// What was seen in one try.
struct Seen {
    calls: Vec<Call>,
    /// How many more requests Envoy let pass by its failure mode, in each mode, and how many calls failed.
    allowed: [u64; 3],
    errors: [u64; 3],
    /// Calls before the first that are not among these, as Redis did not answer them.
    early: u64,
    /// How late each timer was, of one after another while calls were made.
    late: Vec<Duration>,
}

impl Seen {
    /// How many calls of a mode are so.
    fn by(&self, mode: usize, is: impl Fn(&Call) -> bool) -> u64 {
        self.calls.iter().filter(|call| call.mode == mode && is(call)).count() as u64
    }

    /// What Redis counted, as its answers tell.
    fn used(&self, mode: usize) -> u64 {
        let left = self.calls.iter().filter(|call| call.mode == mode).filter_map(|call| match call.by {
            By::Redis(left) => Some(left),
            _ => None,
        });
        LIMIT - left.min().unwrap_or(LIMIT)
    }

    /// What is not as it should be. What the machine was late by is taken off what a call took; and as large a part of the
    /// calls as it was too late for may have been given up by Envoy. Where nothing was late, nothing is excused.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |is_right: bool, what: String| {
            if !is_right {
                wrong.push(what);
            }
        };
        let latest = self.latest();
        let longest = ENVOY + THE_REST + latest * HANDED_ON;
        let slowest = self.calls.iter().max_by_key(|call| call.took).unwrap();
        check(slowest.took <= longest, format!("the slowest call took more than {longest:?}: {slowest:?}"));
        let without = [By::Nobody, By::Refused, By::Here];
        for (mode, name) in MODES.iter().enumerate() {
            let excused = self.excused(self.by(mode, |_| true));
            let passed = self.by(mode, |call| call.by == By::Nobody);
            let given_up = if *name == "open" { 0 } else { passed };
            check(given_up <= excused, format!("{name}: {given_up} passed unlimited, and {excused} may"));
            let expected = [without[mode], By::Nobody];
            let other = self.by(mode, |call| without.contains(&call.by) && !expected.contains(&call.by));
            check(other == 0, format!("{name}: {other} answers were not {:?}", without[mode]));
            let all = self.by(mode, |call| without.contains(&call.by));
            let held = STALL.as_secs() * 50 / 3;
            check(
                all >= held * 9 / 10,
                format!("{name}: {all} answers without Redis, which stood still for {held} calls"),
            );
            let of_envoy = [("passed by Envoy's failure mode", self.allowed), ("failed", self.errors)];
            for (what, counted) in of_envoy {
                let counted = counted[mode];
                check(counted == passed, format!("{name}: {counted} {what}, and {passed} passed unlimited"));
            }

            // Answers by Redis were counted, and nothing else was, but for calls that were given up too early.
            let counted = self.by(mode, |call| matches!(call.by, By::Redis(_)));
            let used = self.used(mode);
            let most = if excused == 0 { counted } else { counted + excused + self.early };
            check(
                (counted..=most).contains(&used),
                format!("{name}: {used} were counted, {counted} answered, and {most} may be counted"),
            );
            let mut of_mode: Vec<_> = self.calls.iter().filter(|call| call.mode == mode).collect();
            of_mode.sort_unstable_by_key(|call| call.at);
            let last = &of_mode[of_mode.len() - LAST..];
            let found = last.iter().filter(|call| matches!(call.by, By::Redis(_))).count();
            check(found * 5 >= LAST * 4, format!("{name}: Redis was not found again: {last:?}"));
        }
        wrong
    }

    /// How many of so many calls a machine as busy as this one was may have held up for too long: as large a part as timers were too
    /// late, each time that a call is handed on.
    fn excused(&self, calls: u64) -> u64 {
        let too_late = self.late.iter().filter(|late| **late >= BUSY).count() as u64;
        let held_up = (calls * too_late * u64::from(HANDED_ON)).div_ceil(self.late.len() as u64);
        held_up.min(calls / MOST_EXCUSED)
    }

    /// How late a timer was at most.
    fn latest(&self) -> Duration {
        self.late.iter().copied().max().unwrap_or_default()
    }
}

fn a_stalled_redis_holds_up_no_request_and_charges_for_none(gateway: &Gateway) {
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        let seen = stall(gateway);
        let wrong = seen.wrong();
        if wrong.is_empty() {
            return;
        }
        tries.push(format!("a timer was {:?} late at most, and\n{}", seen.latest(), wrong.join("\n")));
    }
    panic!("{}", tries.join("\n\nagain "));
}

/// Calls at a steady pace before, while and after Redis stands still.
fn stall(gateway: &Gateway) -> Seen {
    let server = Valkey::start(&[]);
    let config = directory(&[("demo.yaml", POLICY)]);
    let _replicas = gateway.stalled_grpc.map(|address| {
        let address = address.to_string();
        let mut serve =
            command(&["serve", "--replicas", "2", "--grpc-addr", &address, "--http-addr", "127.0.0.1:0"]);
        Spillway::running(serve.args(["--store", &server.url(), "--config"]).arg(config.path()))
    });
    let doors = MODES.map(|mode| gateway.door(&format!("stalled-{mode}")));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Envoy finds both replicas, and they their store; what is asked until then is counted like the rest.
    let warm_up = || -> Vec<Call> {
        let calls = (0..12).map(|call: usize| {
            let by =
                By::of(&runtime.block_on(ask("localhost", "127.0.0.41", doors[call % 3], "GET /", &[], "")));
            Call { mode: call % 3, at: Duration::ZERO, took: Duration::ZERO, by }
        });
        calls.collect()
    };
    let (mut calls, mut early) = (Vec::new(), 0);
    wait_for("answers by Redis", || {
        let more = warm_up();
        let is_found = more.iter().all(|call| matches!(call.by, By::Redis(_)));
        let (answered, other): (Vec<_>, Vec<_>) =
            more.into_iter().partition(|call| matches!(call.by, By::Redis(_)));
        calls.extend(answered);
        early += other.len() as u64;
        is_found.then_some(())
    });

    let statistics =
        |name: &str| MODES.map(|mode| gateway.statistic(&format!("ratelimit.stalled-{mode}.{name}$")));
    let (allowed, errors) = (statistics("failure_mode_allowed"), statistics("error"));
    let (of_calls, late) = runtime.block_on(async {
        let (begun, watch) = (Instant::now(), tokio::spawn(lateness(BEFORE + STALL + AFTER)));
        let mut pace = tokio::time::interval(PACE);
        let mut asked = Vec::new();
        let (mut is_stalled, mut is_over) = (false, false);
        while begun.elapsed() < BEFORE + STALL + AFTER {
            pace.tick().await;
            if !is_stalled && begun.elapsed() >= BEFORE {
                server.signal("STOP");
                is_stalled = true;
            }
            if !is_over && begun.elapsed() >= BEFORE + STALL {
                server.signal("CONT");
                is_over = true;
            }
            let (mode, now) = (asked.len() % 3, Instant::now());
            let (door, at) = (doors[mode], now - begun);
            asked.push(tokio::spawn(async move {
                let answer = ask("localhost", "127.0.0.41", door, "GET /", &[], "").await;
                Call { mode, at, took: now.elapsed(), by: By::of(&answer) }
            }));
        }
        let mut calls = Vec::new();
        for call in asked {
            calls.push(call.await.unwrap());
        }
        (calls, watch.await.unwrap())
    });
    calls.extend(of_calls);
    let more = |before: [u64; 3], after: [u64; 3]| [0, 1, 2].map(|mode| after[mode] - before[mode]);
    Seen {
        calls,
        allowed: more(allowed, statistics("failure_mode_allowed")),
        errors: more(errors, statistics("error")),
        early,
        late,
    }
}

/// How late each timer was, of one after another in so much time.
async fn lateness(time: Duration) -> Vec<Duration> {
    const TICK: Duration = Duration::from_millis(2);
    let begun = Instant::now();
    let mut late = Vec::new();
    while begun.elapsed() < time {
        let asked = Instant::now();
        tokio::time::sleep(TICK).await;
        // Timers go by whole milliseconds.
        late.push(asked.elapsed().saturating_sub(TICK + Duration::from_millis(1)));
    }
    late
}
