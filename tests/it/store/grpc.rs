//! Stores that have to be waited for and stores that fail, as whoever calls the server sees them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use spillway::app::{self, Bounds, Listeners};
use spillway::clock::SystemClock;
use spillway::config::{self, Options};
use spillway::limiter::Limiter;
use spillway::store::Store;
use spillway::telemetry::Metrics;
use tonic::transport::Channel;
use tonic::{Code as GrpcCode, Request, Status};

use crate::rls::{descriptor, request};
use crate::support::stores::{Failing, Fails, Slow};

const POLICY: &str = "
domain: d
headers: {emit: always, Left: remaining}
descriptors:
  - {key: key, rate_limit: {unit: year, requests_per_unit: 100}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: closed, rate_limit: {unit: year, requests_per_unit: 100, on_store_failure: closed}}
  - {key: local, rate_limit: {unit: year, requests_per_unit: 10, on_store_failure: local}}
";

/// A server with counters in `store`.
struct Served {
    client: RateLimitServiceClient<Channel>,
    /// Ends the server when it is dropped.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Served {
    async fn by(store: impl Store) -> Self {
        let policy = config::load_text("d.yaml", POLICY, Options::default()).unwrap().policy;
        let limiter = Arc::new(Limiter::new(policy, store, SystemClock::new()));
        let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners::bind(any_port, any_port).await.unwrap();
        let address = listeners.grpc.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let (metrics, bounds) = (Arc::new(Metrics::default()), Bounds::default());
        tokio::spawn(app::serve(limiter, metrics, None, listeners, bounds, Duration::ZERO, shutdown));
        let client = RateLimitServiceClient::connect(format!("http://{address}")).await.unwrap();
        Self { client, _stop: stop }
    }

    /// Whether a hit of `key` passes, and what is left, if the answer comes within `timeout`.
    async fn hit(&self, key: &str, timeout: Option<Duration>) -> Result<(bool, Option<u64>), Status> {
        let mut call = Request::new(request(vec![descriptor(&[(key, "1")])]));
        if let Some(timeout) = timeout {
            call.set_timeout(timeout);
        }
        let answer = self.client.clone().should_rate_limit(call).await?.into_inner();
        let left = answer.response_headers_to_add.iter().find_map(|header| header.value.parse().ok());
        Ok((answer.overall_code() == Code::Ok, left))
    }
}

#[tokio::test]
async fn calls_of_one_connection_wait_side_by_side_and_each_is_told_its_own_numbers() {
    let served = Served::by(Slow::by(Duration::from_millis(20))).await;
    let begun = tokio::time::Instant::now();
    let answers = futures_util::future::join_all((0..300).map(|_| served.hit("key", None))).await;
    let mut left: Vec<_> = answers.into_iter().map(Result::unwrap).filter(|(passed, _)| *passed).collect();
    left.sort_unstable();
    assert_eq!(left, (0..100).map(|left| (true, Some(left))).collect::<Vec<_>>());
    assert!(begun.elapsed() < Duration::from_secs(6), "one after the other they would take 12 s");
}

#[tokio::test]
async fn a_call_whose_time_is_over_is_given_up_and_others_go_on() {
    let served = Served::by(Slow::by(Duration::from_millis(300))).await;
    let early = served.hit("key", Some(Duration::from_millis(30)));
    let (early, patient, free) = tokio::join!(early, served.hit("key", None), served.hit("free", None));
    let code = early.unwrap_err().code();
    assert!(matches!(code, GrpcCode::Cancelled | GrpcCode::DeadlineExceeded), "{code:?}");
    assert!(patient.unwrap().0 && free.unwrap().0);
    let (_, left) = served.hit("key", None).await.unwrap();
    assert!(matches!(left, Some(97 | 98)), "the one that was given up was counted or not: {left:?}");
}

#[tokio::test]
async fn a_failure_is_unavailable_with_a_sentence_and_the_next_call_is_answered() {
    let served = Served::by(Failing::in_turn(&[Some(Fails::Before), None])).await;
    let failed = served.hit("key", None).await.unwrap_err();
    assert_eq!(failed.code(), GrpcCode::Unavailable);
    assert_eq!(failed.message(), "the counter store at `counters:6379` cannot be reached");
    assert_eq!(served.hit("key", None).await.unwrap(), (true, Some(99)), "nothing was counted for the other");
}

#[tokio::test]
async fn a_closed_limit_refuses_and_a_local_one_counts_while_the_store_fails() {
    let served = Served::by(Failing::in_turn(&[Some(Fails::Before)])).await;
    for left in (0..10).rev() {
        assert_eq!(served.hit("closed", None).await.unwrap(), (false, None), "no number is invented");
        assert_eq!(served.hit("local", None).await.unwrap(), (true, Some(left)));
    }
    assert_eq!(served.hit("local", None).await.unwrap(), (false, Some(0)));
    let open = served.hit("key", None).await.unwrap_err();
    assert_eq!(open.code(), GrpcCode::Unavailable);
    assert_eq!(open.message(), "the counter store failed lately, and is not asked for a moment");
}

#[tokio::test]
async fn what_needs_no_counter_is_answered_whatever_the_store_does() {
    let served = Served::by(Failing::in_turn(&[Some(Fails::ByHanging)])).await;
    assert_eq!(served.hit("free", None).await.unwrap(), (true, None));
    let hanging = served.hit("key", Some(Duration::from_millis(50))).await.unwrap_err();
    assert!(matches!(hanging.code(), GrpcCode::Cancelled | GrpcCode::DeadlineExceeded), "{hanging:?}");
    assert_eq!(served.hit("free", None).await.unwrap(), (true, None));
}
