//! The policies' own tests, in the engine and over gRPC; and what scripts cannot say about them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, UInt64Value};
use spillway::app::{self, Bounds, Listeners};
use spillway::config::{self, Options};
use spillway::model::{Hits, Timestamp};
use spillway::policy::Policy;
use spillway::policy_test::{self, Change, InProcessLimiter, Miss, Script, Seen, Target};
use spillway::telemetry::Metrics;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::rls::descriptor;

pub(crate) fn scripts() -> Vec<(PathBuf, Script)> {
    let files = ["config", "tests/policies"].iter().flat_map(|path| config::test_files(Path::new(path)).0);
    let scripts = files.map(|file| {
        let script = Script::parse(&fs::read_to_string(&file).unwrap());
        let script = script.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (file, script)
    });
    scripts.collect()
}

pub(crate) fn load(policy: &Path) -> Option<Policy> {
    config::load(&[policy], Options::default()).ok().map(|loaded| loaded.policy)
}

fn target(file: &Path, script: &Script) -> InProcessLimiter {
    let policy = file.parent().unwrap().join(&script.policy);
    let loaded = load(&policy).unwrap_or_else(|| panic!("{} has mistakes", policy.display()));
    let domain = script.domain.clone().unwrap_or_else(|| loaded.domains().next().unwrap().name.clone());
    InProcessLimiter::new(&domain, Box::new(move || load(&policy))).unwrap()
}

fn assert_none(file: &Path, misses: &[Miss]) {
    let reported: String = misses.iter().map(ToString::to_string).collect();
    assert!(misses.is_empty(), "{}:\n{reported}", file.display());
}

#[test]
fn every_policy_passes_its_own_tests_in_the_engine() {
    let scripts = scripts();
    assert!(scripts.len() >= 6, "only {} scripts found", scripts.len());
    for (file, script) in scripts {
        assert_none(&file, &policy_test::run(&script, &mut target(&file, &script)));
    }
}

#[test]
fn every_policy_passes_its_own_tests_over_grpc() {
    let runtime = Runtime::new().unwrap();
    for (file, script) in scripts() {
        let mut target = Grpc::serving(target(&file, &script), &runtime);
        assert_none(&file, &policy_test::run(&script, &mut target));
    }
}

/// A server on a real socket that reads the script's clock, and a client of it that knows Envoy's own messages.
struct Grpc<'r> {
    behind: InProcessLimiter,
    client: RateLimitServiceClient<Channel>,
    runtime: &'r Runtime,
    /// Ends the server when it is dropped.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl<'r> Grpc<'r> {
    fn serving(behind: InProcessLimiter, runtime: &'r Runtime) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (limiter, _) = behind.parts();
        let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let client = runtime.block_on(async {
            let listeners = Listeners::bind(any_port, any_port).await.unwrap();
            let address = listeners.grpc.local_addr().unwrap();
            let shutdown = async { stopped.await.unwrap_or_default() };
            tokio::spawn(app::serve(
                limiter,
                Arc::new(Metrics::default()),
                None,
                listeners,
                Bounds::default(),
                Duration::ZERO,
                shutdown,
            ));
            RateLimitServiceClient::connect(format!("http://{address}")).await.unwrap()
        });
        Self { behind, client, runtime, _stop: stop }
    }
}

impl Target for Grpc<'_> {
    fn send(&mut self, now: Timestamp, descriptors: &[Vec<(String, String)>], hits: Option<Hits>) -> Seen {
        self.behind.parts().1.set(now);
        let descriptors = descriptors.iter().map(|entries| {
            let entries: Vec<_> = entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let mut descriptor = descriptor(&entries);
            let amount = |hits| match hits {
                Hits::Look => 0,
                Hits::Charge(amount) | Hits::Refund(amount) => amount.get(),
            };
            descriptor.hits_addend = hits.map(|hits| UInt64Value { value: amount(hits) });
            descriptor.is_negative_hits = matches!(hits, Some(Hits::Refund(_)));
            descriptor
        });
        let request = RateLimitRequest {
            domain: self.behind.domain().to_owned(),
            descriptors: descriptors.collect(),
            hits_addend: 0,
        };
        let answer = self.runtime.block_on(self.client.should_rate_limit(request)).unwrap().into_inner();
        let headers =
            |headers: Vec<HeaderValue>| headers.into_iter().map(|one| (one.key, one.value)).collect();
        Seen {
            over_limit: answer.overall_code() == Code::OverLimit,
            rule: answer.dynamic_metadata.as_ref().and_then(rule),
            headers: headers(answer.response_headers_to_add),
            request_headers: headers(answer.request_headers_to_add),
            body: String::from_utf8(answer.raw_body).unwrap(),
        }
    }

    fn set(&mut self, now: Timestamp, change: &Change) -> Result<(), String> {
        self.behind.set(now, change)
    }
}

fn rule(metadata: &Struct) -> Option<String> {
    match metadata.fields.get("rule")?.kind.as_ref()? {
        Kind::StringValue(rule) => Some(rule.clone()),
        _ => None,
    }
}

/// LDP-3: nothing is queued.
#[test]
fn excess_requests_are_refused_at_once() {
    let policy = Path::new("config/leadping.yaml").to_owned();
    let runtime = Runtime::new().unwrap();
    let behind = InProcessLimiter::new("leadping", Box::new(move || load(&policy))).unwrap();
    let mut target = Grpc::serving(behind, &runtime);
    let now = Timestamp::from_secs(1_800_000_000);
    let b1 = [[("method", "GET"), ("path", "/contacts"), ("business", "b1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()];
    assert!(!target.send(now, &b1, Some(Hits::charge(300))).over_limit);

    let begun = tokio::time::Instant::now();
    let request = RateLimitRequest {
        domain: "leadping".into(),
        descriptors: vec![descriptor(&[("method", "GET"), ("path", "/contacts"), ("business", "b1")])],
        hits_addend: 1,
    };
    let client = target.client.clone();
    let slowest = runtime.block_on(async {
        let calls = (0..100).map(|_| {
            let (mut client, request) = (client.clone(), request.clone());
            tokio::spawn(async move {
                let answer = client.should_rate_limit(request).await.unwrap().into_inner();
                assert_eq!(answer.overall_code(), Code::OverLimit);
                begun.elapsed()
            })
        });
        let mut slowest = std::time::Duration::ZERO;
        for call in calls.collect::<Vec<_>>() {
            slowest = slowest.max(call.await.unwrap());
        }
        slowest
    });
    // A hundred of them on a busy machine; each alone takes well below a millisecond.
    assert!(slowest.as_millis() < 1000, "the slowest of 100 took {slowest:?}");
}
