//! What a client of the gateway sees.
//!
//! Each test comes from an address of its own, so that the limit by address keeps them apart.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::client::{Answer, send};
use crate::gateway::{Gateway, WILDCARDS, wait_for};
use crate::support::{Spillway, command, metric};

pub(crate) type Test = fn(&Gateway);

pub(crate) const ALL: &[(&str, Test)] = &[
    ("an_address_is_limited_whatever_it_asks_for", an_address_is_limited_whatever_it_asks_for),
    ("a_key_is_limited_wherever_it_comes_from", a_key_is_limited_wherever_it_comes_from),
    ("bulk_calls_have_a_limit_of_their_own", bulk_calls_have_a_limit_of_their_own),
    ("a_path_has_one_counter_however_it_is_spelt", a_path_has_one_counter_however_it_is_spelt),
    ("a_client_cannot_choose_its_address", a_client_cannot_choose_its_address),
    ("bytes_that_are_not_utf8_are_limited", bytes_that_are_not_utf8_are_limited),
    ("the_upstream_is_told_no_other_name", the_upstream_is_told_no_other_name),
    ("istios_cluster_name_is_answered", istios_cluster_name_is_answered),
    ("no_value_is_so_long_that_it_passes", no_value_is_so_long_that_it_passes),
    ("a_dump_is_checked_as_the_file_is", a_dump_is_checked_as_the_file_is),
    ("an_outage_lets_traffic_pass_and_ends", an_outage_lets_traffic_pass_and_ends),
];

/// Tests that fail where a call takes Envoy's default of 20 ms: nothing else runs beside them.
pub(crate) const ALONE: &[&str] = &[
    "no_value_is_so_long_that_it_passes",
    "a_failing_store_is_what_envoys_failure_mode_makes_of_it",
    "a_stalled_redis_holds_up_no_request_and_charges_for_none",
];

/// How many of `requests` requests passed, and the last answer.
fn passed(requests: usize, mut one: impl FnMut(usize) -> Answer) -> (usize, Answer) {
    let answers: Vec<_> = (0..requests).map(&mut one).collect();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    let passed = statuses.iter().take_while(|&&status| status == 200).count();
    assert!(statuses[passed..].iter().all(|&status| status == 429), "refusals come last: {statuses:?}");
    (passed, answers.into_iter().next_back().unwrap())
}

fn an_address_is_limited_whatever_it_asks_for(gateway: &Gateway) {
    let ask = |n: usize| send("127.0.0.11", gateway.door("gateway"), &format!("GET /page/{n}"), &[]);
    let first = ask(0);
    assert_eq!(first.status, 200);
    assert_eq!(first.header("x-ratelimit-remaining"), Some("19"));
    assert!(first.header("x-ratelimit-limit").unwrap().starts_with("20, 20;w="));

    let (admitted, last) = passed(22, ask);
    assert_eq!(admitted, 19, "and the one before");
    assert_eq!(last.header("x-ratelimit-remaining"), Some("0"));
    let retry: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=31_536_000).contains(&retry));
    assert!(!last.has_header_starting("x-envoy"), "{last:?}");

    let other = send("127.0.0.12", gateway.door("gateway"), "GET /page/1", &[]);
    assert_eq!(other.status, 200, "another address has its own limit");
}

fn a_key_is_limited_wherever_it_comes_from(gateway: &Gateway) {
    let (admitted, _) = passed(12, |n| {
        let from = format!("127.0.1.{}", n + 1);
        let endpoint = ["GET /leads", "GET /users"][n % 2];
        send(&from, gateway.door("gateway"), endpoint, &[b"x-api-key: e2e_key"])
    });
    assert_eq!(admitted, 10);
}

fn bulk_calls_have_a_limit_of_their_own(gateway: &Gateway) {
    let ask = |line: &str| {
        send("127.0.0.13", gateway.door("gateway"), line, &[b"x-api-key: e2e_bulk", b"content-length: 0"])
    };
    let (admitted, _) = passed(4, |_| ask("POST /leads/bulk"));
    assert_eq!(admitted, 3);
    assert_eq!(ask("GET /leads").status, 200);
}

fn a_path_has_one_counter_however_it_is_spelt(gateway: &Gateway) {
    let spellings = ["/leads", "/leads?page=2", "//leads", "/x/../leads", "/%6Ceads", "/./leads", "/leads?"];
    let (admitted, _) = passed(spellings.len(), |n| {
        send(
            "127.0.0.14",
            gateway.door("gateway"),
            &format!("GET {}", spellings[n]),
            &[b"x-api-key: e2e_spell"],
        )
    });
    assert_eq!(admitted, 6);
}

fn a_client_cannot_choose_its_address(gateway: &Gateway) {
    let (admitted, _) = passed(22, |n| {
        let forged = format!("x-forwarded-for: 192.0.2.{n}");
        send("127.0.0.15", gateway.door("gateway"), "GET /", &[forged.as_bytes()])
    });
    assert_eq!(admitted, 20);
}

fn bytes_that_are_not_utf8_are_limited(gateway: &Gateway) {
    let door = gateway.door("raw");
    let (admitted, _) = passed(4, |_| send("127.0.0.16", door, "GET /?k=%ff", &[]));
    assert_eq!(admitted, 2, "by a query parameter");
    let (admitted, _) = passed(4, |_| send("127.0.0.16", door, "GET /", &[b"x-raw: good\xff"]));
    assert_eq!(admitted, 2, "by a header");
    let (admitted, split) = passed(3, |_| send("127.0.0.16", door, "GET /?k=a%0d%0ax-evil:%201", &[]));
    assert_eq!(admitted, 2, "by a value that would be two lines");
    assert!(!split.has_header_starting("x-evil"), "{split:?}");
}

fn the_upstream_is_told_no_other_name(gateway: &Gateway) {
    let reported = |header: &str| {
        let answer = send("127.0.0.19", gateway.door("raw"), "GET /", &[header.as_bytes()]);
        let seen: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        seen["headers"]["x-told"].as_str().map(str::to_owned)
    };
    for (sent, expected) in [
        ("x-raw: acm", "acm"),
        ("x-raw: acm\u{e9}", "acm%C3%A9"),
        ("x-raw: acm%C3%A9", "acm%25C3%25A9"),
        ("x-raw: acm\t1", "acm%091"),
    ] {
        assert_eq!(reported(sent).as_deref(), Some(expected));
    }
    assert_eq!(reported(&format!("x-raw: {}", "x".repeat(5_000))), None);
}

fn istios_cluster_name_is_answered(gateway: &Gateway) {
    let (admitted, _) = passed(12, |n| {
        let endpoint = ["GET /leads", "GET /users"][n % 2];
        send("127.0.0.17", gateway.door("istio"), endpoint, &[b"x-api-key: e2e_istio"])
    });
    assert_eq!(admitted, 10);
    assert!(metric(gateway.spillway_http, "spillway_authority_sanitized_connections_total") > 0);
}

fn no_value_is_so_long_that_it_passes(gateway: &Gateway) {
    // Envoy takes 60 KiB of headers.
    let long = "/r5".repeat(18_000);
    let answered =
        |bucket: &str| metric(gateway.spillway_http, &format!("spillway_answer_duration_seconds_{bucket}"));
    let in_time_and_all = || (answered("bucket{le=\"0.02\"}"), answered("count"));
    let before = in_time_and_all();
    let (admitted, _) = passed(20, |n| {
        let line = format!("GET /?w=/api/v1/{long}/x/r{}/y", WILDCARDS - 1 - n % 2);
        send("127.0.0.19", gateway.door("long"), &line, &[])
    });
    assert_eq!(admitted, 18, "nine of each of two wildcards");
    assert_eq!(gateway.statistic("ratelimit.long.over_limit"), 2);
    assert_eq!(gateway.statistic("ratelimit.long.failure_mode_allowed"), 0);
    assert_eq!(gateway.statistic("ratelimit.long.error"), 0);
    // Within Envoy's default timeout, both wildcards. A busy machine holds up some of them.
    let after = in_time_and_all();
    assert_eq!(after.1 - before.1, 20);
    assert!(after.0 - before.0 >= 15, "{} of 20 were answered within 20 ms", after.0 - before.0);
}

fn an_outage_lets_traffic_pass_and_ends(gateway: &Gateway) {
    let door: SocketAddr = gateway.door("away");
    let ask = |key: &str| send("127.0.0.18", door, "GET /leads", &[format!("x-api-key: {key}").as_bytes()]);

    let absent = ask("e2e_away");
    assert_eq!((absent.status, absent.has_header_starting("x-ratelimit")), (200, false), "no Spillway yet");

    let grpc = gateway.away_grpc.to_string();
    let mut spillway = Spillway::start(gateway.config.path(), &grpc);
    wait_for("a limited answer", || ask("e2e_warm_up").has_header_starting("x-ratelimit").then_some(()));
    let (admitted, _) = passed(8, |_| ask("e2e_away"));
    assert_eq!(admitted, 6, "limited");

    spillway.signal("TERM");
    assert_eq!(spillway.wait().code(), Some(0));
    let (admitted, last) = passed(8, |_| ask("e2e_away"));
    assert_eq!((admitted, last.has_header_starting("x-ratelimit")), (8, false), "stopped: everything passes");

    let _spillway = Spillway::start(gateway.config.path(), &grpc);
    wait_for("a limited answer", || ask("e2e_warm_up").has_header_starting("x-ratelimit").then_some(()));
    let (admitted, _) = passed(8, |_| ask("e2e_away"));
    assert_eq!(admitted, 6, "limited again, with counters that start anew");
}

/// What `check` finds in what Envoy was started with, and in what Envoy says that it has; without the choices, for Envoy leaves
/// out what it would do anyway.
fn a_dump_is_checked_as_the_file_is(gateway: &Gateway) {
    let files = gateway.files.path();
    std::fs::write(files.join("dump.json"), gateway.dump()).unwrap();
    let found = |file: &str| {
        let output = command(&["check", "--format", "json", "--envoy"])
            .arg(files.join(file))
            .arg(gateway.config.path())
            .output()
            .unwrap();
        let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        let counted = found.iter().filter(|one| one["severity"] != "note");
        let text = |one: &serde_json::Value, name: &str| one[name].as_str().unwrap().to_owned();
        counted.map(|one| (text(one, "severity"), text(one, "message"))).collect::<BTreeSet<_>>()
    };
    let in_file = found("envoy.yaml");
    assert!(in_file.iter().any(|(_, message)| message.contains("`leadron`")), "{in_file:?}");
    assert_eq!(found("dump.json"), in_file);
}
