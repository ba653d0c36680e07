//! A server with its counters on a disk, as whoever runs it meets it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitResponse;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tonic::Status;

use crate::rls::{channel, descriptor, request};
use crate::support::{PATIENCE, Spillway, directory, metric, serve};

fn policy(durable: &str) -> String {
    format!(
        "domain: d\ndescriptors: [{{key: key, rate_limit: {{requests_per_unit: 100, per: 30d, durable: {durable}}}}}]"
    )
}

fn start(config: &Path, store: &Path) -> Spillway {
    let store = format!("disk:{}", store.display());
    // A disk that others use takes its time.
    Spillway::running(serve().arg(config).args([
        "--store",
        &store,
        "--replicas",
        "3",
        "--store-timeout",
        "5s",
    ]))
}

async fn hit(spillway: &Spillway, value: &str) -> Result<RateLimitResponse, Status> {
    let mut client = RateLimitServiceClient::new(channel(spillway).await);
    let answer = client.should_rate_limit(request(vec![descriptor(&[("key", value)])])).await?;
    Ok(answer.into_inner())
}

async fn left(spillway: &Spillway, value: &str) -> u32 {
    hit(spillway, value).await.unwrap().statuses[0].limit_remaining
}

#[tokio::test]
async fn a_reload_that_makes_a_limit_durable_or_not_keeps_its_counts() {
    let (config, store) = (directory(&[("d.yaml", &policy("reserve"))]), tempfile::tempdir().unwrap());
    let mut spillway = start(config.path(), store.path());
    assert_eq!(left(&spillway, "a").await, 99);
    for (durable, generation) in [("none", 2), ("exact", 3), ("none", 4)] {
        let before = 101 - u32::try_from(generation).unwrap();
        let new = config.path().join(".new");
        fs::write(&new, policy(durable)).unwrap();
        fs::rename(new, config.path().join("d.yaml")).unwrap();
        let begun = tokio::time::Instant::now();
        while metric(spillway.http, "spillway_config_generation") < generation {
            assert!(begun.elapsed() < PATIENCE, "{durable}: {:?}", spillway.seen);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(left(&spillway, "a").await, before - 1, "{durable}");
    }
    spillway.signal("TERM");
    assert!(spillway.wait().success());
    let warned =
        spillway.seen.iter().filter(|line| line.contains("`--replicas 3` has no effect on counters")).count();
    assert_eq!(warned, 1, "{:?}", spillway.seen);
}
