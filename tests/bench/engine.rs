//! The engine alone: what one decision costs, and what loading a large policy costs.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use spillway::clock::ManualClock;
use spillway::config::{self, Options};
use spillway::engine::Engine;
use spillway::model::{Descriptor, Entry, Hits, Request, Timestamp};
use spillway::store::MemoryStore;

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
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for rules in [1, 10_000, 100_000] {
        let clock = ManualClock::at(Timestamp::from_secs(1_800_000_000));
        let engine = Engine::new(load(&policy(rules)).policy, MemoryStore::default(), clock);
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
        criterion.bench_function(&format!("decide three entries against {rules} rules"), |bencher| {
            bencher.iter(|| {
                let policy = engine.policy();
                runtime.block_on(engine.decide(&policy, black_box(&request))).expect("decided").over_limit
            });
        });
    }
}

fn loading(criterion: &mut Criterion) {
    let yaml = policy(100_000);
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    group.bench_function("100000 rules", |bencher| bencher.iter(|| load(black_box(&yaml))));
    group.finish();
}

criterion_group!(benches, decide, loading);
criterion_main!(benches);
