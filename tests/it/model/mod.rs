//! The server against a model of it: random policies and random requests, and whatever is reported about them.
//!
//! The model is written from the language's meaning alone and shares no code with what it is compared with: counters are lists
//! of all that was ever asked, and every question is answered by reading them from the beginning. `make model CASES=…` runs as
//! many policies as there is time for; a failure says which seed it was, and the fewest requests that still show it.

mod counter;
mod decide;
mod policy;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use spillway::clock::{Clock, ManualClock};
use spillway::config::{self, Options};
use spillway::engine::{Charged, Decision, Scratch, answer};
use spillway::limiter::Limiter;
use spillway::model::{self, Entry, Hits, LimitOverride, Timestamp, Unit};
use spillway::policy::Limit;
use spillway::store::MemoryStore;

use self::decide::{Answer, Model, Reported, Status};
use self::policy::{Ask, DAY, Descriptor, Evaluate, Policy, Random, Request, SECOND};

/// 2026-01-01T00:00:18Z.
const START: u64 = 1_767_225_618 * SECOND;
/// Policies that are tried when nothing is said, and the requests of each.
const CASES: u64 = 500;
const REQUESTS: usize = 40;

#[test]
fn whatever_is_reported_is_what_the_model_reports() {
    let cases = number("SPILLWAY_MODEL_CASES", CASES);
    let seed = number("SPILLWAY_MODEL_SEED", 1);
    for seed in seed..seed + cases {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let policy = Policy::any(&mut random);
        let requests: Vec<_> = (0..REQUESTS).map(|_| Request::any(&mut random)).collect();
        let Err(wrong) = play(&policy, &requests) else { continue };
        // Those that can be left out are, the earliest first.
        let (mut fewest, mut wrong) = (requests, wrong);
        let mut at = 0;
        while at < fewest.len() {
            let mut fewer = fewest.clone();
            let later = fewer.remove(at).later;
            if let Some(next) = fewer.get_mut(at) {
                next.later += later;
            }
            match play(&policy, &fewer) {
                Err(still) => (fewest, wrong) = (fewer, still),
                Ok(()) => at += 1,
            }
        }
        panic!("SPILLWAY_MODEL_SEED={seed}\n{}\n{wrong}", policy.yaml());
    }
}

#[test]
fn a_clock_that_is_set_back_changes_nothing_but_times_of_day() {
    for seed in 1..=CASES / 2 {
        let mut random = Random(seed);
        let mut policy = Policy::any(&mut random);
        policy.count_from_hits();
        let (right, set_back) = (server(&policy), server(&policy));
        let mut now = START;
        for _ in 0..REQUESTS {
            let mut request = Request::any(&mut random);
            // Those have windows of the clock.
            request.descriptors.iter_mut().for_each(|descriptor| descriptor.sent = None);
            now += request.later;
            for limiter in [&right, &set_back] {
                limiter.clock.advance(Duration::from_nanos(request.later));
            }
            if random.once_in(8) {
                let by = random.one_of(&[SECOND, 600 * SECOND, DAY, 40 * DAY]);
                set_back.clock.set(set_back.clock.now().minus(Duration::from_nanos(random.below(by))));
            }
            let (expected, found) = (ask(&right, &request), ask(&set_back, &request));
            let (expected, found) = ((expected.statuses, expected.retry), (found.statuses, found.retry));
            assert_eq!(found, expected, "seed {seed}\n{}\n{request:?}", policy.yaml());
        }
        assert_eq!(right.clock.now().as_nanos(), now);
    }
}

#[expect(clippy::disallowed_methods, reason = "how long to look for mistakes is not for the code to say")]
fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |number| number.parse().unwrap())
}

fn server(policy: &Policy) -> Arc<Limiter<MemoryStore, ManualClock>> {
    let yaml = policy.yaml();
    let loaded = config::load_text("model.yaml", &yaml, Options::default());
    let loaded = loaded.unwrap_or_else(|wrong| panic!("{}\n{yaml}", config::render(&wrong, false)));
    let clock = ManualClock::at(Timestamp::from_nanos(START));
    Arc::new(Limiter::new(loaded.policy, MemoryStore::default(), clock))
}

/// Asks both the same, and tells where they differ.
fn play(policy: &Policy, requests: &[Request]) -> Result<(), String> {
    let limiter = server(policy);
    let mut model = Model::default();
    let mut now = START;
    let mut asked = String::new();
    for request in requests {
        now += request.later;
        limiter.clock.advance(Duration::from_nanos(request.later));
        let expected = model.decide(policy, request, now);
        let found = ask(&limiter, request);
        let _ = write!(asked, "+{} ns", request.later);
        for Descriptor { entries, ask, sent } in &request.descriptors {
            let _ = write!(asked, "  {entries:?} {ask:?} {sent:?}");
        }
        let _ = writeln!(asked);
        compare(&expected, &found)
            .map_err(|what| format!("{asked}{what}\nmodel:  {expected:#?}\nserver: {found:#?}"))?;
        waited_out(policy, &model, request, &expected, found.retry, now)
            .map_err(|what| format!("{asked}{what}\n{found:#?}"))?;
    }
    Ok(())
}

fn compare(expected: &Answer, found: &Answer) -> Result<(), String> {
    if expected.over_limit != found.over_limit {
        return Err("the codes differ".to_owned());
    }
    if !expected.is_rough {
        if expected.statuses != found.statuses {
            return Err("the statuses differ".to_owned());
        }
        if expected.retry != found.retry {
            return Err("the times to retry differ".to_owned());
        }
        if expected.headers != found.headers {
            return Err("the headers differ".to_owned());
        }
    }
    // What is rough is only when to come back, and what goes by that.
    let counts = |answer: &Answer| {
        let without_times = |status: &Status| match status {
            Status::Counted(reported) => Status::Counted(
                reported
                    .iter()
                    .map(|reported| Reported { reset: 0, retry: None, ..reported.clone() })
                    .collect(),
            ),
            other => other.clone(),
        };
        answer.statuses.iter().map(without_times).collect::<Vec<_>>()
    };
    if counts(expected) == counts(found) { Ok(()) } else { Err("what is counted differs".to_owned()) }
}

/// Where a refusal takes nothing from others, whoever waits as told passes if nobody else asks, and not a nanosecond earlier.
fn waited_out(
    policy: &Policy,
    model: &Model,
    request: &Request,
    expected: &Answer,
    wait: Option<u64>,
    now: u64,
) -> Result<(), String> {
    let takes_nothing = matches!(policy.evaluate, Evaluate::AllOrNothing | Evaluate::FirstMatch);
    let is_sure = (takes_nothing || expected.one_counter) && !expected.settles;
    let (true, Some(wait)) = (expected.over_limit && is_sure, wait) else { return Ok(()) };
    if model.clone().decide(policy, request, now + wait).over_limit {
        return Err(format!("refused again after {wait} ns"));
    }
    if !expected.is_rough && !model.clone().decide(policy, request, now + wait - 1).over_limit {
        return Err(format!("{wait} ns are longer than need be"));
    }
    Ok(())
}

/// What the server tells.
fn ask(limiter: &Arc<Limiter<MemoryStore, ManualClock>>, request: &Request) -> Answer {
    let policy = limiter.engine.policy();
    let descriptors = request.descriptors.iter().map(|descriptor| model::Descriptor {
        entries: descriptor
            .entries
            .iter()
            .map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() })
            .collect(),
        hits: match descriptor.ask {
            Ask::Look => Hits::Look,
            Ask::Charge(hits) => Hits::charge(hits),
            Ask::Refund(hits) => Hits::refund(hits),
        },
        limit: descriptor.sent.map(|(requests_per_unit, (unit, _), unit_multiplier)| LimitOverride {
            requests_per_unit,
            unit: Unit::from_name(unit).unwrap(),
            unit_multiplier,
        }),
    });
    let request = model::Request { domain: b"d", descriptors: descriptors.collect() };
    let verdict = limiter.worker().decide_now(Scratch::default(), &policy, &request).unwrap();
    let statuses = verdict.decisions.iter().map(|decision| match decision {
        Decision::NoLimit => Status::Free,
        Decision::Unlimited(..) => Status::Unlimited,
        Decision::Replaced(_) => Status::Replaced,
        Decision::Skipped(_) => Status::Skipped,
        Decision::Counted(counted) => {
            let reported =
                counted.limits.iter().map(|charged| reported(&counted.rule.limits[charged.limit], charged));
            Status::Counted(reported.collect())
        }
        Decision::Exempt(_) => panic!("there are no subjects"),
    });
    let headers = answer(&request, &verdict).response_headers;
    let headers: BTreeMap<_, _> = headers.to_vec().into_iter().collect();
    Answer {
        over_limit: verdict.over_limit,
        statuses: statuses.collect(),
        retry: verdict.retry_after().map(nanos),
        headers,
        is_rough: false,
        settles: false,
        one_counter: false,
    }
}

fn reported(limit: &Limit, charged: &Charged) -> Reported {
    let outcome = &charged.outcome;
    Reported {
        name: limit.name.clone(),
        admitted: outcome.admitted,
        limit: outcome.limit,
        quota: outcome.quota,
        used: outcome.used,
        attempted: outcome.attempted,
        remaining: outcome.remaining,
        window: nanos(outcome.window),
        reset: nanos(outcome.reset_after),
        full: nanos(outcome.full_after),
        retry: outcome.retry_after.map(nanos),
        refuses: charged.refuses,
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}
