//! Configuration that changes while the server runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;

use crate::rls::{channel, descriptor, request};
use crate::support::{PATIENCE, Spillway, directory, metric, serve};

/// A policy for `key`, whose limit comes from the subjects file.
const POLICY: &str = "domain: d\nsubjects: d.subjects.yaml\ndescriptors: [{key: key, subject: key, rate_limit: \
                      {requests_per_unit: {attribute: n}, per: 1h}}]";

fn subjects(number: u32) -> String {
    format!("subjects: [{{id: a, attributes: {{n: {number}}}, credentials: [{{kind: key, value: k}}]}}]")
}

/// Replaces a file at once, as anything that deploys does.
fn put(directory: &Path, name: &str, text: &str) {
    let new = directory.join(format!(".{name}.new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, directory.join(name)).unwrap();
}

/// The limit told for `key=k`, without counting, and how much of it is used.
async fn reported(spillway: &Spillway) -> Option<(u32, u32)> {
    let mut look = descriptor(&[("key", "k")]);
    look.hits_addend = Some(envoy_types::pb::google::protobuf::UInt64Value { value: 0 });
    let mut client = RateLimitServiceClient::new(channel(spillway).await);
    let answer = client.should_rate_limit(request(vec![look])).await.unwrap().into_inner();
    let status = &answer.statuses[0];
    let limit = status.current_limit.as_ref()?.requests_per_unit;
    Some((limit, limit - status.limit_remaining))
}

async fn until_told(spillway: &Spillway, expected: Option<(u32, u32)>) {
    let begun = tokio::time::Instant::now();
    while reported(spillway).await != expected {
        assert!(begun.elapsed() < PATIENCE, "still {:?}", reported(spillway).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_change_takes_force_and_keeps_the_counts_and_a_mistake_changes_nothing() {
    let config = directory(&[("d.yaml", POLICY), ("d.subjects.yaml", &subjects(5))]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    client.should_rate_limit(request(vec![descriptor(&[("key", "k")])])).await.unwrap();
    assert_eq!(reported(&spillway).await, Some((5, 1)));
    // Which configuration is in force, and whether a newer one was refused.
    let status = |spillway: &Spillway| {
        let number = |name| metric(spillway.http, name);
        assert!(number("spillway_config_last_change_timestamp_seconds") > 1_700_000_000);
        (number("spillway_config_generation"), number("spillway_config_stale"))
    };
    assert_eq!(status(&spillway), (1, 0));

    put(config.path(), "d.subjects.yaml", &subjects(9));
    until_told(&spillway, Some((9, 1))).await;
    assert_eq!(status(&spillway), (2, 0));

    put(config.path(), "d.yaml", &POLICY.replace("requests_per_unit", "reqests_per_unit"));
    let line = spillway.log_line("the old one stays in force");
    assert!(line.contains("ERROR"), "{line}");
    spillway.log_line("did you mean `requests_per_unit`?");
    assert_eq!(reported(&spillway).await, Some((9, 1)));
    assert_eq!(status(&spillway), (2, 1));

    // As a plain write begins.
    fs::write(config.path().join("d.yaml"), "").unwrap();
    spillway.log_line("the file holds no policy");
    assert_eq!(reported(&spillway).await, Some((9, 1)));

    put(config.path(), "d.yaml", "domain: d\ndescriptors: []");
    until_told(&spillway, None).await;
    assert_eq!(status(&spillway), (3, 0));
    put(config.path(), "d.yaml", POLICY);
    until_told(&spillway, Some((9, 1))).await;
}

#[tokio::test]
async fn a_config_map_that_is_exchanged_takes_force() {
    // As the kubelet does it: a new directory, and then one rename of the link that everything goes through.
    let mount = tempfile::tempdir().unwrap();
    let root = mount.path();
    let write = |version: &str, number: u32| {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("d.yaml"), POLICY).unwrap();
        fs::write(root.join(version).join("d.subjects.yaml"), subjects(number)).unwrap();
        std::os::unix::fs::symlink(version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    write("..1", 5);
    for name in ["d.yaml", "d.subjects.yaml"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), root.join(name)).unwrap();
    }
    let spillway = Spillway::start(root, "127.0.0.1:0");
    until_told(&spillway, Some((5, 0))).await;
    write("..2", 7);
    until_told(&spillway, Some((7, 0))).await;
}

#[tokio::test]
async fn mending_a_subjects_file_that_was_refused_is_noticed() {
    let config = directory(&[("d.yaml", "domain: d\ndescriptors: []")]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    put(config.path(), "d.subjects.yaml", "subjects: [{idd: a}]");
    put(config.path(), "d.yaml", POLICY);
    spillway.log_line("the old one stays in force");
    put(config.path(), "d.subjects.yaml", &subjects(4));
    until_told(&spillway, Some((4, 0))).await;
}

/// It lies where nobody looks but for the policy that names it.
#[tokio::test]
async fn mending_a_subjects_file_elsewhere_that_was_refused_is_noticed() {
    let elsewhere = directory(&[("d.subjects.yaml", "subjects: [{idd: a}]")]);
    let config = directory(&[("d.yaml", "domain: d\ndescriptors: []")]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    let path = elsewhere.path().join("d.subjects.yaml");
    put(config.path(), "d.yaml", &POLICY.replace("d.subjects.yaml", &path.display().to_string()));
    spillway.log_line("the old one stays in force");
    put(elsewhere.path(), "d.subjects.yaml", &subjects(4));
    until_told(&spillway, Some((4, 0))).await;
}

#[test]
fn a_reload_says_what_came_and_what_went() {
    let domain = |name: &str, rules: usize| {
        let rule = |n| format!("- {{key: k{n}, rate_limit: {{unit: day, requests_per_unit: 1}}}}\n");
        format!("domain: {name}\ndescriptors:\n{}", (0..rules).map(rule).collect::<String>())
    };
    let config = directory(&[("a.yaml", &domain("a", 2)), ("b.yaml", &domain("b", 1))]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    put(config.path(), "b.yaml", &format!("{}---\n{}", domain("c", 1), domain("d\u{e9}", 1)));
    let line = spillway.log_line("configuration loaded");
    let expected = "files=2 rules=4 rules_before=3 domains_added=\"c, d\u{e9}\" domains_removed=\"b\"";
    assert!(line.contains(expected), "{line}");
    put(config.path(), "b.yaml", &format!("{}---\n{}", domain("c", 2), domain("d\u{e9}", 1)));
    let line = spillway.log_line("configuration loaded");
    assert!(line.contains("rules=5 rules_before=4") && !line.contains("domains_"), "{line}");
    put(config.path(), "a.yaml", "domain: a\ndescriptors: [{key: k1}]");
    put(config.path(), "b.yaml", "domain: b\ndescriptors: [{key: k1}]");
    let line = spillway.log_line("no limits, so everything passes");
    assert!(line.contains("WARN") && line.contains("rules_before="), "{line}");
}

#[test]
fn a_reload_says_how_many_subjects_there_are_where_that_changes() {
    let policy = "{domain: d, subjects: d.subjects.yaml, descriptors: [{key: k, subject: k, rate_limit: {unit: day, \
                  requests_per_unit: 1}}]}";
    let subject = |id: &str| format!("{{id: {id}, credentials: [{{kind: k, value: {id}}}]}}");
    let all = format!("subjects: [{}, {}]", subject("a"), subject("b"));
    let config = directory(&[("d.yaml", policy), ("d.subjects.yaml", &all)]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    put(config.path(), "d.subjects.yaml", &format!("subjects: [{}]", subject("b")));
    let line = spillway.log_line("configuration loaded");
    assert!(line.contains("rules_before=1 subjects=1 subjects_before=2"), "{line}");
    put(config.path(), "d.subjects.yaml", "subjects: []");
    spillway.log_line("configuration loaded");
    let line = spillway.log_line("no subjects, so limits of theirs limit nobody");
    assert!(line.contains("WARN") && line.contains("subjects_before=1"), "{line}");
}

#[test]
fn sighup_reads_the_files_and_tells_their_mistakes_again() {
    let config = directory(&[("d.yaml", "domain: d")]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    spillway.signal("HUP");
    spillway.log_line("configuration loaded");
    put(config.path(), "d.yaml", "domain: [");
    spillway.log_line("the old one stays in force");
    spillway.signal("HUP");
    spillway.log_line("the old one stays in force");
    // The change and the signal for it were one refusal.
    assert_eq!(metric(spillway.http, "spillway_config_refusals_total"), 1);
    // Signals that other servers have a meaning for.
    spillway.signal("USR1");
    spillway.signal("USR2");
    spillway.signal("TERM");
    assert!(spillway.wait().success());
}

#[test]
fn a_storm_of_sighups_is_a_few_and_a_file_full_of_mistakes_a_few_lines() {
    let config = directory(&[("d.yaml", "domain: d\ndescriptors: []")]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    let mistakes = (0..30).map(|n| format!("wrong{n}: 1")).collect::<Vec<_>>().join("\n");
    put(config.path(), "d.yaml", &format!("domain: d\ndescriptors: [{{key: k}}]\n{mistakes}"));
    spillway.log_line("`spillway check` reports 10 more");
    let begun = tokio::time::Instant::now();
    for _ in 0..100 {
        spillway.signal("HUP");
    }
    spillway.log_line("`spillway check` reports 10 more");
    spillway.signal("TERM");
    assert!(spillway.wait().success());
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    let refusals = spillway.seen.iter().filter(|line| line.contains("the old one stays in force")).count();
    assert!((2..=3 + seconds).contains(&refusals), "{refusals} in {seconds} s");
}

#[test]
fn a_log_for_programs_tells_each_mistake_of_new_files_in_fields() {
    let config = directory(&[("d.yaml", "domain: d\ndescriptors: []")]);
    let mut spillway = Spillway::running(serve().arg(config.path()).args(["--log-format", "json"]));
    put(config.path(), "d.yaml", "domain: d\ndescriptors:\n- {kye: k}\n- {key: k, vlaue: v}\n");
    spillway.log_line("the old one stays in force");
    let reported: Vec<serde_json::Value> =
        spillway.seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = |line: usize| &reported.iter().find(|one| one["fields"]["line"] == line).unwrap()["fields"];
    assert_eq!((&fields(3)["severity"], &fields(3)["column"]), (&"error".into(), &4.into()));
    assert_eq!(
        (&fields(4)["message"], &fields(4)["hint"]),
        (&"unknown word `vlaue` in a descriptor".into(), &"did you mean `value`?".into())
    );
    assert!(fields(4)["file"].as_str().unwrap().ends_with("/d.yaml"));

    // A warning is none the less in force, and a file full of mistakes is a few lines.
    put(
        config.path(),
        "d.yaml",
        "domain: d\ndescriptors:\n- {key: k, value: '*', rate_limit: {requests_per_unit: 1, unit: day}}\n\
                                  - {key: k, value: 'b*', rate_limit: {requests_per_unit: 1, unit: day}}\n",
    );
    let warning = spillway.log_line("\"severity\":\"warning\"");
    assert!(warning.contains("\"line\":4"), "{warning}");
    spillway.log_line("configuration loaded");
    let before = spillway.seen.len();
    let many = (0..500).map(|n| format!("wrong{n}: 1\n")).collect::<Vec<_>>().concat();
    put(config.path(), "d.yaml", &format!("domain: d\n{many}"));
    spillway.log_line("`spillway check` reports 480 more");
    spillway.log_line("the old one stays in force");
    assert!(spillway.seen.len() - before <= 22, "{}", spillway.seen.len() - before);
}
