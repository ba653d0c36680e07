//! The engine alone: what one decision costs, what one charge costs, and what loading a large policy costs.

#![allow(missing_docs, reason = "criterion's macros make public items")]

mod costly;

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Share};
use spillway::clock::{Clock, ManualClock, SystemClock};
use spillway::config::{self, Options};
use spillway::limiter::Limiter;
use spillway::model::{CellKey, Descriptor, Entry, Hits, Request, Timestamp};
use spillway::store::{MemoryStore, Session as _};

/// `rules` rules at the end of ways of three entries: a hundred tenants, any API key, so many endpoints.
fn policy(rules: usize) -> String {
    let tenants = rules.min(100);
    let mut yaml = "domain: bench\ndescriptors:\n".to_owned();
    for tenant in 0..tenants {
        let _ = write!(
            yaml,
            "- key: tenant\n  value: tenant_{tenant}\n  descriptors:\n  - key: api_key\n    descriptors:\n"
        );
        for endpoint in 0..rules / tenants {
            let _ = write!(
                yaml,
                "    - key: endpoint
      value: GET /leads/{endpoint}
      rate_limit:
        unit: minute
        requests_per_unit: 1000000
"
            );
        }
    }
    yaml
}

fn load(yaml: &str) -> config::Loaded {
    config::load_text("bench.yaml", yaml, Options::default()).expect("the policy is sound")
}

fn decide(criterion: &mut Criterion) {
    for rules in [1, 10_000, 100_000] {
        let clock = ManualClock::at(Timestamp::from_secs(1_800_000_000));
        let limiter = Arc::new(Limiter::new(load(&policy(rules)).policy, MemoryStore::default(), clock));
        let worker = limiter.worker();
        let tenant = format!("tenant_{}", rules.min(100) / 2);
        let endpoint = format!("GET /leads/{}", rules / 200);
        let entries = [
            ("tenant", tenant.as_str()),
            ("api_key", "key_live_4f9a2c71d0e84b6f"),
            ("endpoint", endpoint.as_str()),
        ];
        let request = Request {
            domain: b"bench",
            descriptors: [Descriptor {
                entries: entries
                    .iter()
                    .map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() })
                    .collect(),
                hits: Hits::ONE,
                limit: None,
            }]
            .into_iter()
            .collect(),
        };
        // As the server does it: in the same buffers each time.
        criterion.bench_function(&format!("decide three entries against {rules} rules"), |bencher| {
            bencher.iter(|| {
                let policy = limiter.engine.policy();
                let decided = worker.decide_now(worker.scratch(), &policy, black_box(&request));
                let verdict = decided.expect("counters in memory answer at once");
                let over_limit = verdict.over_limit;
                worker.reuse(verdict.into_scratch());
                over_limit
            });
        });
    }
}

/// The `number`th sliding limit of `limit` a minute.
fn sliding(number: u32, stage: u32, limit: u64) -> Charge {
    sliding_per(Duration::from_secs(60), number, stage, limit)
}

fn sliding_per(window: Duration, number: u32, stage: u32, limit: u64) -> Charge {
    let algorithm = Algorithm::sliding_window(window);
    let share = Share {
        algorithm,
        limit,
        hits: Hits::ONE,
        count_denied: false,
        settles: false,
        enforced: true,
        stage,
        cell: 0,
    };
    let hash = |salt: u64| (u64::from(number) ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    let key = CellKey { high: hash(1).wrapping_mul(3), low: hash(2).wrapping_mul(5) };
    Charge { key, durability: Durability::None, share }
}

/// Charges `all` again and again, each time 100 ms later: a log of 600 hits loses one and gains one.
fn apply(bencher: &mut criterion::Bencher<'_>, mode: Mode, all: &[Charge]) {
    apply_every(Duration::from_millis(100), bencher, mode, all);
}

fn apply_every(gap: Duration, bencher: &mut criterion::Bencher<'_>, mode: Mode, all: &[Charge]) {
    let store = MemoryStore::default();
    let mut now = Timestamp::from_secs(1_800_000_000);
    let mut again = || {
        now = now.plus(gap);
        store.apply_now(mode, black_box(all), now).expect("in memory").len()
    };
    (0..700).for_each(|_| {
        black_box(again());
    });
    bencher.iter(again);
}

/// One sliding limit, and a message of 1,024 descriptors with four each.
fn charging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("charge");
    for (what, limit) in [("admitted", 600), ("refused", 100)] {
        group.bench_function(format!("one sliding limit, {what}"), |bencher| {
            apply(bencher, Mode::Each, &[sliding(7, 0, limit)]);
        });
    }
    group.bench_function("one sliding limit of an hour, admitted", |bencher| {
        let hour = Duration::from_secs(3_600);
        apply_every(hour / 600, bencher, Mode::Each, &[sliding_per(hour, 7, 0, 600)]);
    });
    group.throughput(Throughput::Elements(4096)).sample_size(10);
    for (what, cells) in [("different", 4096), ("the same four", 4)] {
        let charges: Vec<_> = (0..4096).map(|n| sliding(n % cells, n / 4, 600)).collect();
        for mode in [Mode::Each, Mode::InOrder, Mode::AllOrNothing] {
            group.bench_function(format!("4096 of {what}, {mode:?}"), |bencher| {
                apply(bencher, mode, &charges);
            });
        }
    }
    group.finish();
}

/// What every request pays to know the time.
fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clock");
    let clock = SystemClock::new();
    group.bench_function("a reading", |bencher| bencher.iter(|| black_box(&clock).read()));
    #[expect(clippy::disallowed_methods, reason = "to compare with")]
    group.bench_function("the wall clock alone", |bencher| bencher.iter(std::time::SystemTime::now));
    group.finish();
}

fn loading(criterion: &mut Criterion) {
    let yaml = policy(100_000);
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    group.bench_function("100000 rules", |bencher| bencher.iter(|| load(black_box(&yaml))));
    group.finish();
}

/// Rows that are many, and are compared with a bound rather than with each other.
fn few_samples() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group!(benches, decide, charging, reading, loading);
criterion_group!(name = bounded; config = few_samples(); targets = costly::costly);
criterion_main!(benches, bounded);
