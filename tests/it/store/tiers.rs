//! Tiers that were reached, and quotas, across a crash and a clean restart of the real program.

use std::fs;
use std::path::Path;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;

use super::disk::directory as store_directory;
use crate::rls::{channel, descriptor, request};
use crate::support::{Spillway, directory, get, serve};

const POLICY: &str = "domain: d\nsubjects: d.subjects.yaml\ndescriptors: [{key: key, subject: key, rate_limit: {requests_per_unit: \
                      {by: tier, values: {0: 100, 1: 200, 2: 400}}, per: calendar_month}}]";

fn subjects(spend: u32) -> String {
    format!(
        "subjects: [{{id: a, facts: {{spend: {spend}}}, credentials: [{{kind: key, value: k}}]}}]\ntiers: {{attribute: tier, \
         rules: [{{tier: 0}}, {{tier: 1, spend: 5}}, {{tier: 2, spend: 50}}]}}"
    )
}

fn start(config: &Path, store: &Path) -> Spillway {
    let store = format!("disk:{}", store.display());
    // The machine may be busy.
    Spillway::running(serve().arg(config).args(["--store-timeout", "10s", "--store", &store]))
}

/// The limit that is told for `key=k`, and how much of it is used, after as many hits.
async fn told(spillway: &Spillway, hits: u64) -> (u32, u32) {
    let mut asked = descriptor(&[("key", "k")]);
    asked.hits_addend = Some(envoy_types::pb::google::protobuf::UInt64Value { value: hits });
    let mut client = RateLimitServiceClient::new(channel(spillway).await);
    let answer = client.should_rate_limit(request(vec![asked])).await.unwrap().into_inner();
    let status = &answer.statuses[0];
    let limit = status.current_limit.as_ref().unwrap().requests_per_unit;
    (limit, limit - status.limit_remaining)
}

/// LDR-11, and «never downgrade».
#[tokio::test]
async fn a_tier_and_a_quota_outlive_kill_9_and_a_clean_restart_whatever_the_file_says_afterwards() {
    let config = directory(&[("d.yaml", POLICY), ("d.subjects.yaml", &subjects(50))]);
    let store = store_directory();
    let mut used = 0;
    for (turn, (spend, signal, expected)) in
        [(50, "KILL", 400), (0, "TERM", 400), (5, "KILL", 400), (0, "KILL", 400), (0, "TERM", 400)]
            .into_iter()
            .enumerate()
    {
        fs::write(config.path().join("d.subjects.yaml"), subjects(spend)).unwrap();
        let mut spillway = start(config.path(), store.path());
        let (limit, before) = told(&spillway, 0).await;
        assert_eq!(limit, expected, "turn {turn}");
        assert!((used..=used + 1).contains(&before), "turn {turn}: {before} are used, {used} were told");
        used = told(&spillway, 3).await.1;
        assert_eq!(used, before + 3);
        spillway.signal(signal);
        spillway.wait();
    }
}

#[tokio::test]
async fn killed_at_any_moment_after_it_answered_by_a_tier_it_has_the_tier() {
    let config = directory(&[("d.yaml", POLICY), ("d.subjects.yaml", &subjects(0))]);
    let store = store_directory();
    let mut highest = 100;
    for (kill, spend) in [5, 0, 50, 5, 0].into_iter().enumerate() {
        let mut spillway = start(config.path(), store.path());
        assert!(told(&spillway, 0).await.0 >= highest, "kill {kill}");
        // It is killed while it loads this, or before or after.
        fs::write(config.path().join("d.subjects.yaml"), subjects(spend)).unwrap();
        for _ in 0..kill * 40 {
            highest = highest.max(told(&spillway, 0).await.0);
        }
        spillway.signal("KILL");
        spillway.wait();
    }
}

#[tokio::test]
async fn a_disk_that_is_full_is_told_of_and_others_go_on() {
    let policy = "domain: d\ndescriptors: [{key: key, rate_limit: {unit: day, requests_per_unit: 5, durable: exact}}, {key: other, \
                  rate_limit: {unit: day, requests_per_unit: 500, durable: none}}]";
    let config = directory(&[("d.yaml", policy)]);
    let (store, program) = (store_directory(), serve());
    let mut limited = std::process::Command::new("prlimit");
    // A file that may grow no more fails as a disk does that is full.
    limited
        .arg("--fsize=200000:unlimited")
        .arg(program.get_program())
        .args(program.get_args())
        .arg(config.path());
    limited.args(["--store-timeout", "10s", "--store"]).arg(format!("disk:{}", store.path().display()));
    let mut spillway = Spillway::running(&mut limited);
    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    let failed = |http| get(http, "/metrics").contains("\nspillway_store_failed 1\n");
    for number in 0..20_000 {
        let key = format!("{number}");
        let answer = client.should_rate_limit(request(vec![descriptor(&[("key", &key)])])).await;
        // A machine that is busy may answer late, too.
        if answer.is_err() && failed(spillway.http) {
            break;
        }
    }
    spillway.log_line("the counter store writes nothing any more");
    assert!(failed(spillway.http), "20,000 counters fit into 200 kB");
    client.should_rate_limit(request(vec![descriptor(&[("other", "x")])])).await.unwrap();

    // It has room again, and nobody starts it anew.
    let id = spillway.id().to_string();
    let mut room = std::process::Command::new("prlimit");
    assert!(room.args(["--pid", &id, "--fsize=unlimited"]).status().unwrap().success());
    spillway.log_line("the counter store is written again");
    assert!(!failed(spillway.http));
    assert!(get(spillway.http, "/metrics").contains("\nspillway_store_reopened_total 1\n"));
    let mut admitted = 1;
    for _ in 0..6 {
        let answer = client.should_rate_limit(request(vec![descriptor(&[("key", "0")])])).await.unwrap();
        admitted += u32::from(answer.into_inner().overall_code() == Code::Ok);
    }
    assert_eq!(admitted, 5, "what was counted before the disk was full is counted");
    let mut left: Vec<_> = fs::read_dir(store.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, ["counters.last-commit", "counters.redb"]);
}

#[tokio::test]
async fn one_customers_counter_is_looked_at_and_reset_while_the_server_is_stopped() {
    let config = directory(&[("d.yaml", POLICY), ("d.subjects.yaml", &subjects(5))]);
    let store = store_directory();
    let run = |action: &str, descriptor: &str| {
        let mut command = crate::support::command(&["store", action]);
        command.arg(store.path()).args(["--domain", "d", descriptor, "--config"]).arg(config.path());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let mut spillway = start(config.path(), store.path());
    assert_eq!(told(&spillway, 42).await, (200, 42));
    let (code, _, said) = run("inspect", "key=k");
    assert!(code == Some(1) && said.contains("is open in another process"), "{said}");
    spillway.signal("TERM");
    spillway.wait();

    // As a server would tell it: by the tier that was reached, though the file says less by now.
    fs::write(config.path().join("d.subjects.yaml"), subjects(0)).unwrap();
    let (code, told_by_inspect, said) = run("inspect", "key=k");
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(told_by_inspect.contains("used 42 of 200, 158 left, resets in "), "{told_by_inspect}");
    let (code, told_by_reset, _) = run("reset", "key=k");
    assert_eq!(code, Some(0));
    assert!(told_by_reset.contains("used 42 of 200"), "{told_by_reset}");
    assert!(
        told_by_reset.ends_with("reset: 1 counter; the numbers are those of before\n"),
        "{told_by_reset}"
    );
    assert!(run("inspect", "key=k").1.contains("used 0 of 200"));
    let (code, _, said) = run("inspect", "k");
    assert!(code == Some(2) && said.contains("is not an entry"), "{said}");
    let mut spillway = start(config.path(), store.path());
    assert_eq!(told(&spillway, 0).await, (200, 0));
    spillway.signal("TERM");
    spillway.wait();

    // A tier that came by mistake.
    let reset = |subject: &str| {
        let mut command = crate::support::command(&["store", "reset"]);
        let output =
            command.arg(store.path()).args(["--domain", "d", "--tier-of", subject]).output().unwrap();
        (
            output.status.code(),
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat(),
        )
    };
    let unknown = "error: no tier of subject `b` of domain `d` is remembered\n".to_owned();
    assert_eq!(reset("b"), (Some(1), unknown));
    assert_eq!(reset("a"), (Some(0), "forgotten: {\"attribute\":\"tier\",\"tier\":1}\n".to_owned()));
    let spillway = start(config.path(), store.path());
    assert_eq!(told(&spillway, 0).await, (100, 0));
}
