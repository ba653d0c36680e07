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
/// A machine on which a timer is so late is too busy to tell whether 20 ms are kept.
const BUSY: Duration = Duration::from_millis(4);
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
    /// How late a timer was at most.
    late: Duration,
}

impl Seen {
    fn by(&self, mode: usize, is: impl Fn(By) -> bool) -> u64 {
        self.calls.iter().filter(|call| call.mode == mode && is(call.by)).count() as u64
    }

    /// What Redis counted, as its answers tell.
    fn used(&self, mode: usize) -> u64 {
        let left = self.calls.iter().filter(|call| call.mode == mode).filter_map(|call| match call.by {
            By::Redis(left) => Some(left),
            _ => None,
        });
        LIMIT - left.min().unwrap_or(LIMIT)
    }

    /// What is not as it should be.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |is_right: bool, what: String| {
            if !is_right {
                wrong.push(what);
            }
        };
        let slowest = self.calls.iter().max_by_key(|call| call.took).unwrap();
        check(slowest.took <= ENVOY + THE_REST, format!("the slowest call: {slowest:?}"));
        let without = [By::Nobody, By::Refused, By::Here];
        for (mode, name) in MODES.iter().enumerate() {
            let answered_by = without.map(|by| self.by(mode, |found| found == by));
            let all: u64 = answered_by.iter().sum();
            check(
                answered_by[mode] == all,
                format!("{name}: (unlimited, refused, counted here) {answered_by:?}"),
            );
            let held = STALL.as_secs() * 50 / 3;
            check(
                all >= held * 9 / 10,
                format!("{name}: {all} answers without Redis, which stood still for {held} calls"),
            );
            let expected = if *name == "open" { all } else { 0 };
            check(
                self.allowed[mode] == expected,
                format!("{name}: {} passed by Envoy's failure mode, and not {expected}", self.allowed[mode]),
            );
            check(
                self.errors[mode] == expected,
                format!("{name}: {} calls failed, and not {expected}", self.errors[mode]),
            );

            // Answers by Redis were counted, and nothing else was.
            let counted = self.by(mode, |by| matches!(by, By::Redis(_)));
            let used = self.used(mode);
            check(used == counted, format!("{name}: {used} were counted, and {counted} answered"));
            let of_mode = self.calls.iter().filter(|call| call.mode == mode);
            let last = of_mode.max_by_key(|call| call.at).map(|call| call.by);
            check(matches!(last, Some(By::Redis(_))), format!("{name}: Redis was not found again, {last:?}"));
        }
        wrong
    }

    /// The same where Envoy's time may be up before anybody had a chance to answer: such a call passes, and may have been charged.
    fn wrong_on_any_machine(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (mode, name) in MODES.iter().enumerate() {
            let used = self.used(mode);
            let counted = self.by(mode, |by| matches!(by, By::Redis(_)));
            let passed = self.by(mode, |by| by == By::Nobody);
            if used > counted + self.errors[mode] + self.early {
                wrong.push(format!(
                    "{name}: {used} were counted, {counted} answered, and {} failed",
                    self.errors[mode]
                ));
            }
            if passed != self.allowed[mode] {
                wrong.push(format!(
                    "{name}: {passed} passed unlimited, and {} by Envoy's failure mode",
                    self.allowed[mode]
                ));
            }
        }
        wrong
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs it should know what was not checked")]
fn a_stalled_redis_holds_up_no_request_and_charges_for_none(gateway: &Gateway) {
    for _ in 0..TRIES {
        let seen = stall(gateway);
        let wrong = seen.wrong();
        if wrong.is_empty() {
            return;
        }
        let on_any = seen.wrong_on_any_machine();
        let late = seen.late;
        assert!(late >= BUSY, "a timer was {late:?} late at most, and\n{}", wrong.join("\n"));
        assert!(on_any.is_empty(), "on a busy machine, too:\n{}", on_any.join("\n"));
    }
    eprintln!("NOT CHECKED: whether 20 ms are kept while Redis stands still, as this machine is too busy");
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

/// How late a timer is at most, in so much time.
async fn lateness(time: Duration) -> Duration {
    const TICK: Duration = Duration::from_millis(2);
    let begun = Instant::now();
    let mut latest = Duration::ZERO;
    while begun.elapsed() < time {
        let asked = Instant::now();
        tokio::time::sleep(TICK).await;
        // Timers go by whole milliseconds.
        latest = latest.max(asked.elapsed().saturating_sub(TICK + Duration::from_millis(1)));
    }
    latest
}
