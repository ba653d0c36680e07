//! What is seen: numbers that the test itself has caused.

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use serde_json::{Value, json};

use super::{SHOP, SUBJECTS, Server};
use crate::rls::{channel, descriptor, request};
use crate::support::directory;
use crate::support::valkey::Valkey;

const LEADS: [(&str, &str); 2] = [("api_key", "key_acme_1"), ("path", "/leads")];

fn explain(server: &Server, descriptor: &str) -> Value {
    let body = json!({"domain": "shop", "descriptors": [descriptor]});
    let answer = server.post("/api/v1/explain", &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn header<'a>(answer: &'a Value, name: &str) -> &'a str {
    let headers = answer["response_headers"].as_array().unwrap();
    headers.iter().find(|header| header[0] == name).map_or("", |header| header[1].as_str().unwrap())
}

#[tokio::test]
async fn explain_tells_of_the_live_counter_and_counts_nothing() {
    let server = Server::start();
    server.limited(&LEADS).await;
    for _ in 0..3 {
        let told = explain(&server, "api_key=key_acme_1,path=/leads");
        let counter = &told["counters"][0][0];
        assert_eq!((&counter["counter"], &counter["numbers"]["used"]), (&json!("subject acme"), &json!(1)));
        assert_eq!(told["descriptors"][0]["limits"][0]["numbers"]["used"], 2, "with this call");
        assert_eq!((header(&told, "RateLimit-Remaining"), &told["overall"]), ("1", &json!("OK")));
        assert_eq!(header(&told["next_ok"], "RateLimit-Remaining"), "1");
        assert_eq!(
            (&told["next_ok"]["after_ms"], &told["next_refusal"]["after_ms"]),
            (&json!(0), &Value::Null)
        );
        assert_eq!(header(&told["next_refusal"], "RateLimit-Remaining"), "0");
        assert!(!header(&told["next_refusal"], "Retry-After").is_empty());
    }
    for _ in 0..2 {
        assert_eq!(server.limited(&LEADS).await, Code::Ok, "explaining took none of the three");
    }
    let told = explain(&server, "api_key=key_acme_1,path=/leads");
    assert_eq!((&told["overall"], &told["next_refusal"]["after_ms"]), (&json!("OVER_LIMIT"), &json!(0)));
    // The year ends at some time, and then one more passes.
    let after = told["next_ok"]["after_ms"].as_u64().unwrap();
    assert!(after > 1_000 && after <= 366 * 86_400_000, "{after}");
    assert_eq!(header(&told["next_ok"], "RateLimit-Remaining"), "2");
    assert_eq!(server.limited(&LEADS).await, Code::OverLimit);
}

#[tokio::test]
async fn explain_refuses_what_counters_in_redis_refuse_by_whatever_algorithm() {
    const EACH: &str = "domain: shop
descriptors:
- {key: unit, rate_limit: {unit: year, requests_per_unit: 3}}
- {key: since, rate_limit: {requests_per_unit: 3, per: 1h}}
- {key: sliding, rate_limit: {requests_per_unit: 3, per: 1h, algorithm: sliding_window}}
- {key: bucket, rate_limit: {requests_per_unit: 3, per: 1h, algorithm: token_bucket}}
- {key: month, rate_limit: {requests_per_unit: 3, per: calendar_month}}
";
    let valkey = Valkey::start(&[]);
    let config = directory(&[("shop.yaml", EACH)]);
    let server = Server::with(config, &["--store", &valkey.url(), "--store-timeout", "5s"]);
    for key in ["unit", "since", "sliding", "bucket", "month"] {
        for _ in 0..3 {
            assert_eq!(server.limited(&[(key, "v")]).await, Code::Ok, "{key}");
        }
        assert_eq!(server.limited(&[(key, "v")]).await, Code::OverLimit, "{key}");
        let told = explain(&server, &format!("{key}=v"));
        assert_eq!(
            (&told["overall"], &told["next_refusal"]["after_ms"]),
            (&json!("OVER_LIMIT"), &json!(0)),
            "{key}: {told}"
        );
        assert!(told["next_ok"]["after_ms"].as_u64().is_some_and(|after| after > 0), "{key}: {told}");
    }
}

#[tokio::test]
async fn explain_goes_by_the_time_that_is_asked_for() {
    let server = Server::start();
    for _ in 0..3 {
        server.limited(&LEADS).await;
    }
    let at = |at: &str| {
        let body = json!({"domain": "shop", "descriptors": ["api_key=key_acme_1,path=/leads"], "at": at});
        let told = server.post("/api/v1/explain", &body.to_string()).json();
        (told["at"].as_str().unwrap().to_owned(), told["overall"].as_str().unwrap().to_owned())
    };
    assert_eq!(at("2001-01-01T00:00:00Z"), ("2001-01-01T00:00:00Z".to_owned(), "OK".to_owned()));
    assert_eq!(at("2100-06-01T00:00:00Z"), ("2100-06-01T00:00:00Z".to_owned(), "OK".to_owned()));
    assert_eq!(server.limited(&LEADS).await, Code::OverLimit, "looking ahead left the counter as it was");
}

#[tokio::test]
async fn rules_denials_and_what_reached_no_rule_are_shown_without_credentials() {
    let server = Server::start();
    for _ in 0..4 {
        server.limited(&LEADS).await;
    }
    server.limited(&[("api_key", "key_acme_1"), ("pathh", "/secret-place")]).await;
    // Sampled: one of a kind in a tenth of a second.
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    server.limited(&[("api_key", "key_nobody_has")]).await;
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    server.limited_in("shp", &[("authorization", "Bearer hidden")]).await;

    let rules = server.get("/api/v1/rules?search=leads").json();
    let [rule] = rules["rules"].as_array().unwrap().as_slice() else { panic!("{rules}") };
    assert_eq!((&rule["path"], &rule["line"]), (&json!("api_key > path=/leads"), &json!(10)));
    let hits = json!({"total": 4, "within_limit": 3, "near_limit": 1, "over_limit": 1, "shadow_mode": 0});
    assert_eq!(rule["hits"], hits);

    let denials = server.get("/api/v1/denials").json();
    let denial = &denials["denials"][0];
    assert_eq!((&denial["subject"], &denial["rule"]), (&json!("acme"), &json!("leads")));
    assert_eq!(denial["descriptor"], "api_key=…, path=/leads");

    let unmatched = server.get("/api/v1/unmatched").json();
    let seen: Vec<_> = unmatched["unmatched"].as_array().unwrap().iter().collect();
    let said = |reason: &str| {
        *seen.iter().find(|one| one["reason"] == reason).unwrap_or_else(|| panic!("no {reason}: {unmatched}"))
    };
    assert_eq!(said("unknown_key")["hint"], "did you mean `path`?");
    assert_eq!(said("unknown_key")["descriptor"], "api_key=…, pathh=…");
    assert!(
        said("unknown_credential")["why"]
            .as_str()
            .unwrap()
            .contains("no enabled credential of kind `api_key`")
    );
    assert_eq!(said("unknown_domain")["hint"], "did you mean `shop`?");
    let all = format!("{denials}{unmatched}");
    for secret in ["key_acme_1", "key_nobody_has", "hidden", "secret-place"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

#[tokio::test]
async fn a_subject_is_shown_with_what_it_has_used_of_each_limit() {
    let server = Server::start();
    server.limited(&LEADS).await;
    server.limited(&[("api_key", "key_acme_1")]).await;
    server.limited(&[("api_key", "key_acme_1")]).await;
    let acme = server.get("/api/v1/subjects/shop/acme").json();
    assert_eq!(acme["attributes"], json!({"plan": "growth", "per_year": 5}));
    assert_eq!(acme["credentials"], json!({"enabled": 1, "disabled": 0}));
    let used = |limit: &str| {
        let limits = acme["limits"].as_array().unwrap();
        let numbers = &limits.iter().find(|one| one["limit"] == limit).unwrap()["numbers"];
        (numbers["used"].as_u64().unwrap(), numbers["limit"].as_u64().unwrap())
    };
    assert_eq!((used("per-customer"), used("leads")), ((2, 5), (1, 3)));
    assert_eq!(acme["other_limits"][0]["limit"], "per-user", "counted by user as well");
    let listed = server.get("/api/v1/subjects?search=acm").json();
    assert_eq!(listed, json!({"total": 1, "subjects": [{"domain": "shop", "id": "acme", "enabled": true}]}));
}

#[tokio::test]
async fn scripts_of_envoyproxy_ratelimit_find_what_they_ask_for() {
    let policy = "domain: edge\ndescriptors: [{key: path, value: /a, rate_limit: {unit: minute, requests_per_unit: 2}}]";
    let server = Server::with(directory(&[("edge.yaml", policy)]), &[]);
    for _ in 0..3 {
        server.limited_in("edge", &[("path", "/a")]).await;
    }
    assert_eq!(
        server.get("/rlconfig").body,
        "edge.path_/a: unit=MINUTE requests_per_unit=2, shadow_mode: false\n"
    );
    let stats = server.get("/stats").body;
    for line in ["total_hits: 3", "over_limit: 1", "within_limit: 2"] {
        assert!(stats.contains(&format!("ratelimit.service.rate_limit.edge.path_/a.{line}\n")), "{stats}");
    }
    assert!(server.get("/debug/pprof/").body.contains("Spillway is no Go program"));
}

#[test]
fn files_that_are_refused_are_shown_with_their_place() {
    let server = Server::start();
    let wrong = SHOP.replace("requests_per_unit: 3", "requests_per_unti: 3");
    std::fs::write(server.config.path().join("shop.yaml"), wrong).unwrap();
    let answer = server.change("POST", "/api/v1/config/reload", "");
    assert_eq!((answer.status, &answer.json()["result"]), (422, &json!("rejected")), "{answer:?}");
    let config = server.get("/api/v1/config").json();
    assert_eq!((&config["generation"], &config["stale"]), (&json!(1), &json!(true)));
    let mistake = config["diagnostics"].as_array().unwrap().iter().find(|one| one["line"] == 12);
    let mistake = mistake.unwrap_or_else(|| panic!("{config:#}"));
    assert!(mistake["excerpt"].as_str().unwrap().contains("requests_per_unti"), "{mistake}");
    assert_eq!(
        (&config["history"][0]["result"], &config["history"][1]["result"]),
        (&json!("rejected"), &json!("applied"))
    );
    assert!(SUBJECTS.contains("key_acme_1") && !config.to_string().contains("key_acme_1"));
}

#[tokio::test]
async fn who_comes_most_and_who_is_refused_most_is_told_for_each_rule_and_no_credential() {
    let server = Server::start();
    // Over one connection, whose worker counts all of them.
    let mut client = RateLimitServiceClient::new(channel(&server.spillway).await);
    let sent = [
        ("api_key", "key_acme_1", 7),
        ("api_key", "key_other_1", 3),
        ("remote_address", "10.0.0.1", 3),
        ("remote_address", "10.0.0.2", 1),
    ];
    for (key, value, times) in sent {
        for _ in 0..times {
            let mut request = request(vec![descriptor(&[(key, value)])]);
            "shop".clone_into(&mut request.domain);
            client.should_rate_limit(request).await.unwrap();
        }
    }
    let told = server.get("/api/v1/heavy");
    assert!(!told.body.contains("key_"), "{told:?}");
    let told = told.json();
    assert_eq!(told["total"], 2, "{told}");
    let of_customers = &told["rules"][0];
    assert_eq!((&of_customers["domain"], &of_customers["rule"]), (&json!("shop"), &json!("per-customer")));
    let expected = json!([
        {"key": "subject=acme", "hits": 7, "refused": 2},
        {"key": "subject=other", "hits": 3, "refused": 0},
    ]);
    assert_eq!(of_customers["busiest"], expected);
    assert_eq!(
        of_customers["most_refused"],
        json!([expected[0]]),
        "who is refused nothing is not among them"
    );
    let of_strangers = json!([{"key": "remote_address=10.0.0.1", "hits": 3, "refused": 1}]);
    assert_eq!(told["rules"][1]["busiest"], of_strangers, "who came once is not busy");
    let found = server.get("/api/v1/heavy?search=10.0.0&limit=1").json();
    assert_eq!((&found["total"], &found["rules"][0]["rule"]), (&json!(1), &json!("strangers")));
}

#[tokio::test]
async fn a_line_of_an_access_log_is_explained_for_the_subject_that_it_names() {
    let server = Server::start();
    for _ in 0..3 {
        server.limited(&LEADS).await;
    }
    let document = server.get("/api/v1/openapi.json").json();
    let explained = |line: &str| {
        let answer = server.post("/api/v1/explain", &json!({"access_log": line}).to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        super::document::check(
            &document,
            &json!({"$ref": "#/components/schemas/Explanation"}),
            &answer.json(),
            line,
        );
        answer.json()
    };
    let line = |subject: &str| {
        let of_subject = json!({"domain": "shop", "subject": subject, "rule": "leads", "descriptors": [
            {"entries": ["api_key=…", "path=/leads"]}, {"entries": ["remote_address=10.0.0.1"]},
        ]});
        format!("[2026-01-31T09:30:00Z] \"GET /leads HTTP/1.1\" 429 RL {of_subject}")
    };
    let told = explained(&line("acme"));
    assert_eq!((&told["domain"], &told["overall"]), (&json!("shop"), &json!("OVER_LIMIT")), "{told}");
    assert_eq!(told["counters"][0][0]["counter"], "subject acme");
    assert_eq!(told["counters"][0][0]["numbers"]["used"], 3);
    assert_eq!(
        (&told["counters"][1][0]["numbers"]["used"], &told["unknown_values"]),
        (&json!(0), &json!([]))
    );
    assert_eq!(explained(&line("other"))["counters"][0][0]["numbers"]["used"], 0, "another one's");
    // Of whom the line does not say who it was, and where it was nobody.
    let nobody =
        json!({"domain": "shop", "descriptors": [{"entries": ["api_key=…"]}, {"entries": ["session=…"]}]});
    let told = explained(&nobody.to_string());
    assert_eq!(told["unknown_values"], json!(["api_key", "session"]));
    assert_eq!(told["counters"][0], json!([]), "{told}");
    // To clients `…` is a value like any other.
    assert_eq!(server.limited(&[("api_key", "…")]).await, Code::Ok);
    assert_eq!(explained(&line("acme"))["counters"][0][0]["numbers"]["used"], 3);

    for (body, hint) in [
        (json!({"access_log": "GET / 200"}), "--request-metadata"),
        (json!({"access_log": "[{\"entries\":[\"a=1\"]}]"}), "domain"),
        (json!({"access_log": "", "descriptors": []}), "descriptors"),
        (json!({"domain": "shop"}), "descriptors"),
    ] {
        let answer = server.post("/api/v1/explain", &body.to_string());
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.json()["hint"].as_str().unwrap().contains(hint), "{answer:?}");
    }
    let beside = json!({"domain": "shop", "access_log": "429 [{\"entries\":[\"remote_address=10.0.0.9\"]}]"});
    assert_eq!(
        server.post("/api/v1/explain", &beside.to_string()).json()["counters"][0][0]["limit"],
        "2 per year"
    );
}

#[tokio::test]
async fn values_that_may_be_credentials_by_their_keys_name_are_told_apart_and_not_shown() {
    let policy = "domain: shop\ndescriptors: [{key: api_key, rate_limit: {name: k, unit: year, requests_per_unit: 9}}]";
    let server = Server::with(directory(&[("shop.yaml", policy)]), &[]);
    let mut client = RateLimitServiceClient::new(channel(&server.spillway).await);
    for value in ["secret_1", "secret_2"].repeat(3) {
        let mut request = request(vec![descriptor(&[("api_key", value)])]);
        "shop".clone_into(&mut request.domain);
        client.should_rate_limit(request).await.unwrap();
    }
    let told = server.get("/api/v1/heavy");
    assert!(!told.body.contains("secret"), "{told:?}");
    let told = told.json();
    let keys: Vec<&str> = told["rules"][0]["busiest"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["key"].as_str().unwrap())
        .collect();
    assert!(
        keys.iter().all(|key| key.starts_with("api_key=…") && key.len() == "api_key=…1234".len()),
        "{keys:?}"
    );
    assert_eq!(keys.len(), 2);
}
