//! What is changed, with its line in the log.

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use serde_json::json;

use super::{SHOP, Server, shop};
use crate::support::valkey::Valkey;

const LEADS: [(&str, &str); 2] = [("api_key", "key_acme_1"), ("path", "/leads")];

#[tokio::test]
async fn a_reload_answers_what_became_of_it() {
    let mut server = Server::start();
    let more = SHOP.to_owned() + "  - {key: path, rate_limit: {unit: year, requests_per_unit: 1}}\n";
    std::fs::write(server.config.path().join("shop.yaml"), more).unwrap();
    let told = server.change("POST", "/api/v1/config/reload", "").json();
    assert_eq!((&told["result"], &told["rules"]), (&json!("applied"), &json!(5)), "{told}");
    assert_eq!(server.limited(&[("path", "x")]).await, Code::Ok);
    assert_eq!(server.limited(&[("path", "x")]).await, Code::OverLimit);
    let line = server.spillway.log_line("admin change");
    for said in ["peer=127.0.0.1:", "what=\"config reload\"", "after=\"generation 2\""] {
        assert!(line.contains(said), "{line}");
    }
}

/// A descriptor's counters, and then all of a subject's.
async fn resets(mut server: Server) {
    for _ in 0..3 {
        assert_eq!(server.limited(&LEADS).await, Code::Ok);
    }
    for _ in 0..2 {
        assert_eq!(server.limited(&LEADS).await, Code::OverLimit);
    }
    let body = json!({"domain": "shop", "descriptor": "api_key=key_acme_1,path=/leads"}).to_string();
    let told = server.change("POST", "/api/v1/counters/reset", &body);
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(told.json()["after"][0]["numbers"]["used"], 0, "{told:?}");
    let line = server.spillway.log_line("admin change");
    for said in ["what=\"counters reset\"", "object=\"shop: api_key=…, path=/leads\"", "after=\"0 of 3\""] {
        assert!(line.contains(said), "{line}");
    }
    assert!(!line.contains("key_acme_1"), "{line}");
    assert_eq!(server.limited(&LEADS).await, Code::Ok);
    assert_eq!(server.limited(&[("api_key", "key_acme_1")]).await, Code::Ok);
    assert_eq!(server.limited(&[("api_key", "key_other_1")]).await, Code::Ok);

    let body = json!({"domain": "shop", "subject": "acme"}).to_string();
    let told = server.change("POST", "/api/v1/counters/reset", &body).json();
    let used = |list: &str| -> Vec<u64> {
        let counters = told[list].as_array().unwrap();
        counters.iter().map(|counter| counter["numbers"]["used"].as_u64().unwrap()).collect()
    };
    assert_eq!((used("before"), used("after")), (vec![1, 1], vec![0, 0]), "{told}");
    assert_eq!(told["not_reset"][0]["limit"], "per-user");
    let other = server.get("/api/v1/subjects/shop/other").json();
    assert_eq!(other["limits"][0]["numbers"]["used"], 1, "of nobody else");
}

#[tokio::test]
async fn counters_are_reset_in_memory() {
    resets(Server::start()).await;
}

#[tokio::test]
async fn counters_are_reset_on_a_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("disk:{}", directory.path().display());
    // A machine that is busy writes slowly.
    resets(Server::with(shop(), &["--store", &store, "--store-timeout", "5s"])).await;
}

#[tokio::test]
async fn counters_are_reset_in_redis() {
    let valkey = Valkey::start(&[]);
    resets(Server::with(shop(), &["--store", &valkey.url(), "--store-timeout", "5s"])).await;
}
