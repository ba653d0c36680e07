//! A disk that is full: policies change, and limits with `on_store_failure: local` count on from what is known.

use std::fs;
use std::path::Path;
use std::process::Command;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;

use super::disk::directory as store_directory;
use crate::rls::{channel, descriptor, request};
use crate::support::{Spillway, directory, get, serve};

/// Fifty a day, on the disk with each hit: `local` by what is known while the disk is full.
const POLICY: &str = "domain: d\ndescriptors: [{key: few, rate_limit: {requests_per_unit: 50, per: 1d, durable: exact, \
                      on_store_failure: local}}, {key: open, rate_limit: {requests_per_unit: 50, per: 1d, durable: exact}}]";

/// A server in whose directory no file may grow beyond as many bytes; as on a full disk, it may again later.
fn start(config: &Path, store: &Path, room: &str) -> Spillway {
    let program = serve();
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--fsize={room}:unlimited")).arg(program.get_program()).args(program.get_args());
    limited.arg(config).args(["--store-timeout", "10s", "--replicas", "5", "--store"]);
    Spillway::running(limited.arg(format!("disk:{}", store.display())))
}

fn set_room(spillway: &Spillway, room: &str) {
    let mut limited = Command::new("prlimit");
    let limited = limited.args(["--pid", &spillway.id().to_string(), &format!("--fsize={room}:unlimited")]);
    assert!(limited.status().unwrap().success());
}

/// How many of `calls` pass; an error is none.
async fn passed(spillway: &Spillway, key: &str, calls: usize) -> usize {
    let mut client = RateLimitServiceClient::new(channel(spillway).await);
    let mut passed = 0;
    for _ in 0..calls {
        let answer = client.should_rate_limit(request(vec![descriptor(&[(key, "x")])])).await;
        passed += usize::from(answer.is_ok_and(|one| one.into_inner().overall_code() == Code::Ok));
    }
    passed
}

#[tokio::test]
async fn on_a_full_disk_local_limits_count_on_from_what_is_known_and_go_on_from_there_when_it_has_room() {
    let (config, store) = (directory(&[("d.yaml", POLICY)]), store_directory());
    let mut spillway = start(config.path(), store.path(), "unlimited");
    assert_eq!(passed(&spillway, "few", 20).await, 20);
    set_room(&spillway, "1000");
    assert_eq!(passed(&spillway, "open", 1).await, 0, "the disk is full");
    spillway.log_line("the counter store writes nothing any more");
    assert_eq!(passed(&spillway, "few", 15).await, 15, "and of five replicas none counts in this file");
    set_room(&spillway, "unlimited");
    spillway.log_line("the counter store is written again");
    assert_eq!(passed(&spillway, "few", 80).await, 15, "what was counted meanwhile is counted");
}

#[tokio::test]
async fn started_on_a_full_disk_a_server_counts_on_from_what_the_file_has() {
    let (config, store) = (directory(&[("d.yaml", POLICY)]), store_directory());
    let mut spillway = start(config.path(), store.path(), "unlimited");
    assert_eq!(passed(&spillway, "few", 35).await, 35);
    spillway.signal("KILL");
    spillway.wait();
    let mut spillway = start(config.path(), store.path(), "1000");
    // It has failed before anybody asks for the counter.
    assert_eq!(passed(&spillway, "open", 1).await, 0);
    spillway.log_line("the counter store writes nothing any more");
    assert_eq!(passed(&spillway, "few", 60).await, 15);
}

#[tokio::test]
async fn a_policy_is_used_while_the_disk_is_full() {
    let subjects = "subjects: [{id: a, credentials: [{kind: key, value: k}]}]";
    let with_subjects = "domain: s\nsubjects: s.subjects.yaml\ndescriptors: [{key: key, subject: key, rate_limit: \
                         {requests_per_unit: 5, per: 1h}}]";
    let files = [("d.yaml", POLICY), ("s.yaml", with_subjects), ("s.subjects.yaml", subjects)];
    let (config, store) = (directory(&files), store_directory());
    let mut spillway = start(config.path(), store.path(), "unlimited");
    set_room(&spillway, "1000");
    assert_eq!(passed(&spillway, "open", 1).await, 0, "the disk is full");
    spillway.log_line("the counter store writes nothing any more");
    let policy = format!("{POLICY}\nevaluate: in_order\n");
    fs::write(config.path().join("d.yaml"), policy).unwrap();
    spillway.log_line("configuration loaded");
    let metrics = get(spillway.http, "/metrics");
    assert!(metrics.contains("\nspillway_config_refusals_total 0\n"), "{metrics}");
}
