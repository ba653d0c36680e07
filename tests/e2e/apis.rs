//! The five published APIs as their documentation has them, to the byte, through `envoy/envoy.yaml`.
//!
//! Nothing but the headers shown may be there: an answer with one of Envoy's own, or with one of another limit's, is
//! not the documented one.

use std::path::Path;
use std::time::Duration;

use spillway::model::Timestamp;

use crate::client::{Answer, send_to_host};
use crate::gateway::{Gateway, wait_for};
use crate::published::Turn;
use crate::support::Spillway;
use crate::tests::Test;

pub(crate) const ALL: &[(&str, Test)] = &[
    ("leadron_throttles_an_address_for_15_minutes", leadron_throttles_an_address_for_15_minutes),
    ("leadron_counts_a_customers_calls_until_renewal", leadron_counts_a_customers_calls_until_renewal),
    ("leadping_refuses_with_a_problem_and_when_to_retry", leadping_refuses_with_a_problem_and_when_to_retry),
    ("leadping_takes_a_source_key_from_query_and_body", leadping_takes_a_source_key_from_query_and_body),
    ("leadping_counts_what_it_cannot_place_by_address", leadping_counts_what_it_cannot_place_by_address),
    ("leaperone_limits_by_tier_and_says_so_always", leaperone_limits_by_tier_and_says_so_always),
    ("leaperone_keys_may_have_a_lower_limit", leaperone_keys_may_have_a_lower_limit),
    ("mega_tells_whole_again_and_next_request_apart", mega_tells_whole_again_and_next_request_apart),
    ("mega_counts_bulk_uploads_and_customers_apart", mega_counts_bulk_uploads_and_customers_apart),
    ("mega_headers_are_on_every_answer", mega_headers_are_on_every_answer),
    ("campaigns_resets_in_milliseconds", campaigns_resets_in_milliseconds),
    ("campaigns_counts_each_route_of_a_key", campaigns_counts_each_route_of_a_key),
    ("campaigns_headers_are_on_2xx_and_429_only", campaigns_headers_are_on_2xx_and_429_only),
    ("campaigns_fails_open_without_headers", campaigns_fails_open_without_headers),
    (
        "tokens_are_reserved_and_settled_when_the_answer_is_there",
        tokens_are_reserved_and_settled_when_the_answer_is_there,
    ),
    ("an_unknown_key_gets_no_headers", an_unknown_key_gets_no_headers),
    ("hosts_are_known_without_their_port_too", hosts_are_known_without_their_port_too),
    ("hosts_are_known_with_the_dot_of_a_full_name", hosts_are_known_with_the_dot_of_a_full_name),
    ("credentials_that_come_twice_are_refused", credentials_that_come_twice_are_refused),
    ("a_scheme_may_be_followed_by_a_tab", a_scheme_may_be_followed_by_a_tab),
];

/// 2027-01-15T08:00:00Z
const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What an answer without rate limit headers is.
const BARE: &str = "HTTP/1.1 200 OK\nContent-Type: application/json";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn statuses(answers: impl IntoIterator<Item = Answer>) -> Vec<u16> {
    answers.into_iter().map(|answer| answer.status).collect()
}

// === Leadron ===

/// 2025-02-07T15:12:40Z
const LEADRON_START: Timestamp = Timestamp::from_secs(1_738_941_160);

fn leadron_throttles_an_address_for_15_minutes(gateway: &Gateway) {
    let leadron = Turn::at(gateway, "leadron", LEADRON_START);
    let from = "127.0.2.1";
    let ok = |remaining, reset| {
        format!(
            "{BARE}\nX-RateLimit-Limit: 1000\nX-RateLimit-Remaining: {remaining}\nX-RateLimit-Reset: {reset}"
        )
    };
    let refused = |retry_after| {
        format!(
            "HTTP/1.1 429 Too Many Requests\n\
             Content-Type: application/json\n\
             X-RateLimit-Limit: 1000\n\
             X-RateLimit-Remaining: 0\n\
             X-RateLimit-Reset: 1738942060\n\
             \n\
             {{\"success\":false,\"status\":429,\"message\":\"Too many requests\",\"retryAfter\":{retry_after}}}"
        )
    };
    leadron.ask(from, "GET /", &[]).is(&ok(999, 1_738_942_060));
    for n in 2..=12 {
        assert_eq!(leadron.ask(from, &format!("GET /page/{n}"), &[]).status, 200);
    }
    leadron.ask(from, "POST /leads", &[]).is(&ok(987, 1_738_942_060));

    leadron.charge(&[("remote_address", from)], 987);
    leadron.now(secs(58));
    leadron.ask(from, "GET /", &[]).is(&refused(842));
    // A customer is throttled in the same way, and its quota is not touched.
    leadron.ask(from, "GET /", &["x-api-key: key_globex_1"]).is(&refused(842));
    let elsewhere = leadron.ask("127.0.2.2", "GET /", &["x-api-key: key_globex_1"]);
    assert_eq!(elsewhere.header("x-api-usage-used"), Some("1"));

    leadron.now(millis(899_999));
    leadron.ask(from, "GET /", &[]).is(&refused(1));
    leadron.now(secs(900));
    leadron.ask(from, "GET /", &[]).is(&ok(999, 1_738_942_960));
}

fn leadron_counts_a_customers_calls_until_renewal(gateway: &Gateway) {
    let leadron = Turn::at(gateway, "leadron", LEADRON_START);
    let from = "127.0.2.3";
    let acme = "x-api-key: key_acme_1";
    let headers = |remaining, used, usage_remaining| {
        format!(
            "Content-Type: application/json\n\
             X-RateLimit-Limit: 1000\n\
             X-RateLimit-Remaining: {remaining}\n\
             X-RateLimit-Reset: 1738942060\n\
             X-API-Usage-Used: {used}\n\
             X-API-Usage-Limit: 50000\n\
             X-API-Usage-Remaining: {usage_remaining}"
        )
    };
    let ok = |remaining, used, left| format!("HTTP/1.1 200 OK\n{}", headers(remaining, used, left));
    let refused = |remaining, used| {
        format!(
            "HTTP/1.1 429 Too Many Requests\n{}\n\n{{\"success\":false,\"status\":429,\
             \"code\":\"API_LIMIT_EXCEEDED\",\"message\":\"API call limit exceeded for your current billing period\",\
             \"used\":{used},\"limit\":50000}}",
            headers(remaining, used, 0)
        )
    };
    leadron.charge(&[("api_key", "key_acme_1")], 12_449);
    leadron.ask(from, "GET /", &[acme]).is(&ok(999, 12_450, 37_550));
    leadron.charge(&[("api_key", "key_acme_1")], 37_549);
    leadron.ask(from, "GET /", &[acme]).is(&ok(998, 50_000, 0));
    leadron.ask(from, "GET /", &[acme]).is(&refused(997, 50_001));
    leadron.ask(from, "GET /", &["x-api-key: key_acme_2"]).is(&refused(996, 50_001));

    let beta = leadron.ask(from, "GET /", &["x-api-key: key_beta_1"]);
    assert_eq!((beta.status, beta.header("x-api-usage-limit")), (200, Some("5000")), "another customer");
    let keyless = leadron.ask(from, "GET /", &[]);
    assert_eq!((keyless.status, keyless.has_header_starting("x-api-usage")), (200, false), "{keyless:?}");

    // It renews on the 31st, or on the last day of a shorter month, at 09:30.
    let used_at = |unix_millis: u64| {
        leadron.now(millis(unix_millis - 1_738_941_160_000));
        let answer = leadron.ask(from, "GET /", &[acme]);
        answer.header("x-api-usage-used").unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    };
    assert_eq!(used_at(1_740_734_999_999), "50001", "2025-02-28T09:29:59.999Z");
    assert_eq!(used_at(1_740_735_000_000), "1", "2025-02-28T09:30:00Z");
    assert_eq!(used_at(1_743_413_399_999), "2", "2025-03-31T09:29:59.999Z");
    assert_eq!(used_at(1_743_413_400_000), "1", "2025-03-31T09:30:00Z");
}

// === Leadping ===

const LEADPING_REFUSAL: &str = "HTTP/1.1 429 Too Many Requests\n\
    Content-Type: application/problem+json\n\
    Retry-After: 17\n\
    \n\
    {\"status\":429,\"title\":\"Too many requests.\",\
    \"detail\":\"The API rate limit for this account has been exceeded.\"}";

fn leadping_refuses_with_a_problem_and_when_to_retry(gateway: &Gateway) {
    let leadping = Turn::at(gateway, "leadping", START);
    let business =
        |n: u32| leadping.ask("127.0.2.4", &format!("GET /reports/{n}"), &["x-business-id: b_retry"]);
    business(1).is(BARE);
    leadping.now(secs(43));
    assert!(statuses((2..=299).map(business)).iter().all(|&status| status == 200));
    business(300).is(BARE);
    business(301).is(LEADPING_REFUSAL);
    leadping.now(secs(60));
    business(302).is(BARE);
}

fn leadping_takes_a_source_key_from_query_and_body(gateway: &Gateway) {
    let leadping = Turn::at(gateway, "leadping", START);
    let from = "127.0.2.5";
    let query = |headers: &[&str]| leadping.ask(from, "POST /leads?page=1&sourceKey=src_b1_site", headers);
    let body = |content_type: &str, key: &str| {
        let content_type = format!("content-type: {content_type}");
        let body = format!(r#"{{"name":"Ada","sourceKey":"{key}"}}"#);
        leadping.ask_with_body(from, "POST /leads/intake", &[&content_type], &body)
    };
    let form = |content_type: &str, body: &str| {
        leadping.ask_with_body(from, "POST /leads/intake", &[&format!("content-type: {content_type}")], body)
    };
    query(&[]).is(BARE);
    body("application/json", "src_b1_site").is(BARE);
    form("application/x-www-form-urlencoded", "sourceKey=src_b1_site&name=Ada+L.").is(BARE);
    query(&["x-business-id: b1"]).is(BARE);
    leadping.charge(&[("method", "POST"), ("path", "/leads"), ("source_key", "src_b1_ads")], 296);

    // The business's intake is full, whichever of its keys is shown, where, and on which route.
    leadping.now(secs(43));
    query(&[]).is(LEADPING_REFUSAL);
    query(&["x-business-id: b1"]).is(LEADPING_REFUSAL);
    body("application/json", "src_b1_site").is(LEADPING_REFUSAL);
    body("Application/JSON; charset=utf-8", "src_b1_ads").is(LEADPING_REFUSAL);
    body("application/vnd.leads+json", "src_b1_ads").is(LEADPING_REFUSAL);
    form("application/x-www-form-urlencoded", "name=Ada&sourceKey=src_b1_site").is(LEADPING_REFUSAL);
    form(
        "Application/X-WWW-Form-Urlencoded; charset=utf-8",
        "source%4bey=src%5Fb1%5Fads&sourceKey=src_b2_site",
    )
    .is(LEADPING_REFUSAL);
    leadping.ask(from, "GET /leads/intake?sourceKey=src_b1_site", &[]).is(LEADPING_REFUSAL);

    body("application/json", "src_b2_site").is(BARE);
    body("application/lead+json", "src_b2_site").is(BARE);
    form("application/x-www-form-urlencoded", "sourceKey=src_b2_site").is(BARE);
    // What is no form is not read as one: it counts for the address.
    form("text/plain", "sourceKey=src_b1_site").is(BARE);
    leadping.ask(from, "GET /leads", &["x-business-id: b1"]).is(BARE);
}

fn leadping_counts_what_it_cannot_place_by_address(gateway: &Gateway) {
    // When what other tests have counted is long gone: the businesses' partitions must be seen to be left alone.
    let leadping = Turn::at(gateway, "leadping", START.plus(secs(3600)));
    let from = "127.0.2.6";
    leadping.ask(from, "GET /", &[]).is(BARE);
    leadping.charge(&[("remote_address", from)], 299);
    leadping.now(secs(43));
    let intake = |key: &str, headers: &[&str]| leadping.ask(from, &format!("POST /leads{key}"), headers);
    intake("", &[]).is(LEADPING_REFUSAL);
    intake("?sourceKey=", &[]).is(LEADPING_REFUSAL);
    intake("?sourceKey=src_nobody", &[]).is(LEADPING_REFUSAL);
    intake("?sourceKey=src_b2_site%00", &[]).is(LEADPING_REFUSAL);
    // Disabled, another business's, and a business without a key.
    intake("?sourceKey=src_b1_old", &[]).is(LEADPING_REFUSAL);
    intake("?sourceKey=src_b1_site", &["x-business-id: b2"]).is(LEADPING_REFUSAL);
    intake("", &["x-business-id: b2"]).is(LEADPING_REFUSAL);
    leadping.ask(from, "GET /reports", &[]).is(LEADPING_REFUSAL);

    intake("?sourceKey=src_b2_site", &[]).is(BARE);
    leadping.ask(from, "GET /reports", &["x-business-id: b2"]).is(BARE);
    leadping.ask(from, "GET /reports", &["x-user-id: u1"]).is(BARE);
    // An empty business is none.
    leadping.ask(from, "GET /reports", &["x-business-id:"]).is(LEADPING_REFUSAL);
    leadping.ask(from, "GET /reports", &["x-business-id:", "x-user-id: u1"]).is(BARE);
    leadping.ask("127.0.2.7", "GET /reports", &[]).is(BARE);
}

// === LEAPERone ===

fn leaperone_refusal(limit: u32, reset: u64, retry_after: u64) -> String {
    format!(
        "HTTP/1.1 429 Too Many Requests\n\
         Content-Type: application/json\n\
         X-RateLimit-Limit: {limit}\n\
         X-RateLimit-Remaining: 0\n\
         X-RateLimit-Reset: {reset}\n\
         Retry-After: {retry_after}\n\
         \n\
         {{\"error\":{{\"message\":\"Rate limit exceeded. Please slow down.\",\"type\":\"rate_limit_error\",\
         \"code\":\"rate_limit_exceeded\"}}}}"
    )
}

fn leaperone_ok(limit: u32, remaining: u32, reset: u64) -> String {
    format!(
        "{BARE}\nX-RateLimit-Limit: {limit}\nX-RateLimit-Remaining: {remaining}\nX-RateLimit-Reset: {reset}"
    )
}

const CHAT: &str = "POST /v1/chat/completions";
const IMAGE: &str = "POST /v1/images/generations";
const AUDIO: &str = "POST /v1/audio/speech";

fn leaperone_limits_by_tier_and_says_so_always(gateway: &Gateway) {
    let leaperone = Turn::at(gateway, "leaperone", START);
    let ask = |line: &str, key: &str| leaperone.ask("127.0.2.8", line, &[&format!("authorization: {key}")]);
    for remaining in (0..5).rev() {
        ask(CHAT, "Bearer sk-new-1").is(&leaperone_ok(5, remaining, 1_800_000_060));
    }
    leaperone.now(secs(20));
    ask(CHAT, "Bearer sk-new-1").is(&leaperone_refusal(5, 1_800_000_060, 40));
    // However the key is written, and whichever key of the account it is.
    ask(CHAT, "bearer sk-new-1").is(&leaperone_refusal(5, 1_800_000_060, 40));
    ask(CHAT, "Bearer sk-new-wide").is(&leaperone_refusal(5, 1_800_000_060, 40));

    for remaining in (0..2).rev() {
        ask(IMAGE, "Bearer sk-new-1").is(&leaperone_ok(2, remaining, 1_800_000_080));
    }
    ask(IMAGE, "Bearer sk-new-1").is(&leaperone_refusal(2, 1_800_000_080, 60));
    leaperone.now(secs(60));
    // A class is every path of its family.
    ask("GET /v1/chat/completions/chatcmpl-1?limit=2", "Bearer sk-new-1").is(&leaperone_ok(
        5,
        4,
        1_800_000_120,
    ));
    ask(CHAT, "Bearer sk-new-1").is(&leaperone_ok(5, 3, 1_800_000_120));
}

fn leaperone_keys_may_have_a_lower_limit(gateway: &Gateway) {
    let leaperone = Turn::at(gateway, "leaperone", START);
    let ask =
        |line: &str, key: &str| leaperone.ask("127.0.2.9", line, &[&format!("authorization: Bearer {key}")]);
    for remaining in (0..10).rev() {
        ask(CHAT, "sk-studio-1").is(&leaperone_ok(10, remaining, 1_800_000_060));
    }
    leaperone.now(secs(20));
    ask(CHAT, "sk-studio-1").is(&leaperone_refusal(10, 1_800_000_060, 40));
    // What the key's own limit refused did not count for the account: 30 of 40 are left.
    for remaining in (0..30).rev() {
        ask(CHAT, "sk-studio-2").is(&leaperone_ok(40, remaining, 1_800_000_060));
    }
    ask(CHAT, "sk-studio-2").is(&leaperone_refusal(40, 1_800_000_060, 40));

    // A higher limit than the tier's grants nothing.
    for remaining in (0..2).rev() {
        ask(AUDIO, "sk-new-wide").is(&leaperone_ok(2, remaining, 1_800_000_080));
    }
    ask(AUDIO, "sk-new-wide").is(&leaperone_refusal(2, 1_800_000_080, 60));
}

// === MEGA ===

fn mega(status: &str, limit: u32, remaining: u32, reset: u32) -> String {
    format!(
        "HTTP/1.1 {status}\n\
         Content-Type: application/json\n\
         RateLimit-Limit: {limit}\n\
         RateLimit-Remaining: {remaining}\n\
         RateLimit-Reset: {reset}"
    )
}

fn mega_refusal(limit: u32, reset: u32, retry_after: u32) -> String {
    let head = mega("429 Too Many Requests", limit, 0, reset);
    let body = r#"{"error":{"type":"rate_limit_error","code":429,"message":"Rate limit exceeded. Please retry later."}}"#;
    format!("{head}\nRetry-After: {retry_after}\n\n{body}")
}

fn mega_tells_whole_again_and_next_request_apart(gateway: &Gateway) {
    let service = Turn::at(gateway, "mega", START);
    let ask = |line: &str| service.ask("127.0.2.10", line, &["x-api-key: key_c1_a"]);
    ask("GET /leads").is(&mega("200 OK", 60, 59, 60));
    for n in 1..=58 {
        service.now(millis(200 * n));
        assert_eq!(ask("GET /leads").status, 200);
    }
    service.now(secs(12));
    ask("GET /users/7").is(&mega("200 OK", 60, 0, 60));

    service.now(secs(30));
    ask("GET /leads").is(&mega_refusal(60, 42, 30));
    service.now(millis(59_999));
    ask("GET /leads").is(&mega_refusal(60, 13, 1));
    service.now(secs(60));
    ask("GET /leads").is(&mega("200 OK", 60, 0, 60));

    // Later the hour is reported: 61 of it were used in that minute, not 63, for what the minute refused did not count.
    for minute in 2..17 {
        service.now(secs(60 * minute));
        service.charge(&[("api_key", "key_c1_a"), ("method", "GET"), ("path", "/leads")], 60);
    }
    service.now(secs(60 * 17));
    ask("GET /leads").is(&mega("200 OK", 1000, 38, 3600));
}

fn mega_counts_bulk_uploads_and_customers_apart(gateway: &Gateway) {
    let service = Turn::at(gateway, "mega", START);
    let ask = |line: &str| service.ask("127.0.2.11", line, &["x-api-key: key_c9"]);
    ask("POST /leads/bulk").is(&mega("200 OK", 10, 9, 60));
    for n in 2..=10 {
        service.now(secs(n));
        assert_eq!(ask("POST /leads/bulk?dry_run=1").status, 200);
    }
    service.now(secs(30));
    ask("POST /leads/bulk").is(&mega_refusal(10, 40, 30));
    // Another bucket; and this customer has 120 a minute by agreement.
    ask("GET /leads").is(&mega("200 OK", 120, 119, 60));
}

fn mega_headers_are_on_every_answer(gateway: &Gateway) {
    let service = Turn::at(gateway, "mega", START);
    let ask = |line: &str, key: &str| service.ask("127.0.2.12", line, &[&format!("x-api-key: {key}")]);
    for (n, status) in
        ["200 OK", "400 Bad Request", "404 Not Found", "500 Internal Server Error", "503 Service Unavailable"]
            .into_iter()
            .enumerate()
    {
        let line = format!("GET /status/{}", &status[..3]);
        ask(&line, "key_c1_b").is(&mega(status, 60, 59 - u32::try_from(n).unwrap(), 60));
        ask(&line, "key_internal").is(&format!("HTTP/1.1 {status}\nContent-Type: application/json"));
    }
}

// === Campaigns ===

fn campaigns(limit: u32, remaining: u32, reset: u64) -> String {
    format!(
        "{BARE}\nX-RateLimit-Limit: {limit}\nX-RateLimit-Remaining: {remaining}\nX-RateLimit-Reset: {reset}"
    )
}

/// No body is documented, and none is sent.
fn campaigns_refusal(limit: u32, reset: u64, retry_after: u32) -> String {
    format!(
        "HTTP/1.1 429 Too Many Requests\n\
         X-RateLimit-Limit: {limit}\n\
         X-RateLimit-Remaining: 0\n\
         X-RateLimit-Reset: {reset}\n\
         Retry-After: {retry_after}\n\n"
    )
}

fn campaigns_resets_in_milliseconds(gateway: &Gateway) {
    let service = Turn::at(gateway, "campaigns", START);
    let ask = |line: &str| service.ask("127.0.2.13", line, &["x-api-key: key_team1_a"]);
    ask("GET /v1/campaigns").is(&campaigns(60, 59, 1_800_000_060_000));
    service.now(secs(5));
    ask("GET /v1/campaigns").is(&campaigns(60, 58, 1_800_000_060_000));

    service.now(Duration::ZERO);
    let add = || ask("POST /v1/leads/add_to_campaign");
    for second in 0..20 {
        service.now(secs(second));
        assert_eq!(add().status, 200);
    }
    service.now(secs(30));
    add().is(&campaigns_refusal(20, 1_800_000_060_000, 30));
    service.now(secs(60));
    add().is(&campaigns(20, 0, 1_800_000_061_000));
    service.now(millis(60_500));
    add().is(&campaigns_refusal(20, 1_800_000_061_000, 1));
}

fn campaigns_counts_each_route_of_a_key(gateway: &Gateway) {
    let service = Turn::at(gateway, "campaigns", START);
    let ask = |line: &str| service.ask("127.0.2.14", line, &["x-api-key: key_team1_b"]);
    let reset = 1_800_000_060_000;
    ask("GET /v1/campaigns/1").is(&campaigns(120, 119, reset));
    ask("GET /v1/campaigns/2?full=true").is(&campaigns(120, 118, reset));
    ask("GET /v1/campaigns/1/statistics").is(&campaigns(30, 29, reset));
    ask("GET /v1/campaigns").is(&campaigns(60, 59, reset));
    ask("GET /v1/tags").is(&campaigns(60, 59, reset));
    ask("GET /v1/users").is(&campaigns(60, 59, reset));

    service.charge(&[("api_key", "key_team1_b"), ("method", "GET"), ("path", "/v1/tags")], 59);
    ask("GET /v1/tags").is(&campaigns_refusal(60, reset, 60));
    ask("GET /v1/users").is(&campaigns(60, 58, reset));
    // By key, not by address, nor by customer.
    let from_elsewhere = service.ask("127.0.2.15", "GET /v1/tags", &["x-api-key: key_team1_b"]);
    from_elsewhere.is(&campaigns_refusal(60, reset, 60));
}

fn campaigns_headers_are_on_2xx_and_429_only(gateway: &Gateway) {
    let service = Turn::at(gateway, "campaigns", START);
    let ask = |line: &str| service.ask("127.0.2.16", line, &["x-api-key: key_team2"]);
    let reset = 1_800_000_060_000;
    for status in ["400 Bad Request", "404 Not Found", "500 Internal Server Error", "503 Service Unavailable"]
    {
        let answer = ask(&format!("GET /status/{}", &status[..3]));
        answer.is(&format!("HTTP/1.1 {status}\nContent-Type: application/json"));
    }
    let created = format!("HTTP/1.1 201 Created\n{}", campaigns(60, 59, reset).split_once('\n').unwrap().1);
    ask("GET /status/201").is(&created);
    // Those without headers have counted all the same, each for its resource: 59 more, and the next is refused.
    for path in ["/status/400", "/status/404", "/status/500", "/status/503"] {
        service.charge(&[("api_key", "key_team2"), ("method", "GET"), ("path", path)], 59);
        ask(&format!("GET {path}")).is(&campaigns_refusal(60, reset, 60));
    }
}

fn campaigns_fails_open_without_headers(gateway: &Gateway) {
    let ask = || {
        let door = gateway.door("published-away");
        send_to_host(
            "campaigns.localhost",
            "127.0.2.17",
            door,
            "GET /v1/campaigns",
            &[b"x-api-key: key_team2"],
            "",
        )
    };
    let grpc = gateway.published_away_grpc.to_string();
    let limited = || ask().has_header_starting("x-ratelimit").then_some(());

    ask().is(BARE);
    let mut spillway = Spillway::start(Path::new("config"), &grpc);
    wait_for("rate limit headers", limited);
    spillway.signal("KILL");
    let _ = spillway.wait();
    ask().is(BARE);
    let _spillway = Spillway::start(Path::new("config"), &grpc);
    wait_for("rate limit headers again", limited);
}

// === All of them ===

// === LLM tokens ===

fn tokens_are_reserved_and_settled_when_the_answer_is_there(gateway: &Gateway) {
    let llm = Turn::at(gateway, "llm", START);
    let of = ["authorization: Bearer sk-red", "x-user-id: ada"];
    let ask = |request_line| llm.ask("127.0.6.1", request_line, &of);
    let remaining = |answer: &Answer| answer.header("x-ratelimit-remaining-tokens").map(str::to_owned);

    let answer = ask("POST /tokens/1200");
    assert_eq!((answer.status, remaining(&answer).as_deref()), (200, Some("19500")), "500 are reserved");
    // Envoy reports the end of an answer once the client has it.
    let settled = |expected: &str| {
        wait_for("the settlement", || (remaining(&ask("GET /")).as_deref() == Some(expected)).then_some(()));
    };
    settled("18300");
    assert_eq!(ask("POST /tokens/25000").status, 200, "more than what is left, which nobody knew");
    let refused = wait_for("the settlement", || Some(ask("GET /")).filter(|answer| answer.status == 429));
    refused.is("HTTP/1.1 429 Too Many Requests\n\
                Content-Type: application/json\n\
                x-ratelimit-limit-tokens: 20000\n\
                x-ratelimit-remaining-tokens: 0\n\
                x-ratelimit-reset-tokens: 24h0m0s\n\
                retry-after: 86400\n\
                \n\
                {\"error\":{\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\",\"message\":\
                \"The budget of 20000 tokens is used up. Try again in 86400 seconds.\"}}");
    llm.now(secs(24 * 3_600));
    settled("19500");
}

fn an_unknown_key_gets_no_headers(gateway: &Gateway) {
    for (api, header) in [
        ("mega", "x-api-key: key_made_up"),
        ("campaigns", "x-api-key: key_made_up"),
        ("leaperone", "authorization: Bearer key_made_up"),
        ("leaperone", "authorization: Basic c2stbmV3LTE6"),
    ] {
        let service = Turn::at(gateway, api, START);
        service.ask("127.0.2.18", CHAT, &[header]).is(BARE);
        service.ask("127.0.2.18", CHAT, &[]).is(BARE);
    }
    let leadron = Turn::at(gateway, "leadron", START);
    for header in ["x-api-key: key_made_up", "x-api-key: key_globex_old"] {
        let answer = leadron.ask("127.0.2.18", "GET /", &[header]);
        assert_eq!(answer.header("x-ratelimit-limit"), Some("1000"));
        assert!(!answer.has_header_starting("x-api-usage"), "{answer:?}");
    }
}

fn hosts_are_known_without_their_port_too(gateway: &Gateway) {
    let from = "127.0.2.19";
    let key = "x-api-key: key_c1_b";
    for (api, entries, hits, line, header) in [
        ("leadron", &[("remote_address", from)][..], 1000, "GET /", "x-none: 1"),
        ("leadping", &[("remote_address", from)], 300, "GET /", "x-none: 1"),
        (
            "leaperone",
            &[("api_key", "sk-new-1"), ("method", "POST"), ("path", "/v1/video/generations")],
            3,
            "POST /v1/video/generations",
            "authorization: Bearer sk-new-1",
        ),
        (
            "mega",
            &[("api_key", "key_c1_b"), ("method", "POST"), ("path", "/leads/bulk")],
            10,
            "POST /leads/bulk",
            key,
        ),
        (
            "campaigns",
            &[("api_key", "key_team2"), ("method", "GET"), ("path", "/v1/teams/me")],
            60,
            "GET /v1/teams/me",
            "x-api-key: key_team2",
        ),
    ] {
        let turn = Turn::at(gateway, api, START);
        let host = format!("{api}.localhost");
        let ask =
            || send_to_host(&host, from, gateway.door("gateway"), line, &[header.as_bytes()], "").status;
        turn.charge(entries, hits - 1);
        assert_eq!((ask(), ask()), (200, 429), "{host}");
    }
}

fn hosts_are_known_with_the_dot_of_a_full_name(gateway: &Gateway) {
    let _alone = Turn::at(gateway, "mega", START.plus(secs(86_400)));
    let door = gateway.door("gateway");
    for host in
        ["mega.localhost.".to_owned(), format!("mega.localhost.:{}", door.port()), "MEGA.localhost.".into()]
    {
        let answer = send_to_host(&host, "127.0.2.20", door, "GET /leads", &[b"x-api-key: key_c1_a"], "");
        assert_eq!(
            (answer.status, answer.header("ratelimit-limit")),
            (200, Some("60")),
            "{host}: {answer:?}"
        );
    }
}

/// What limits and upstream may take for different callers, or for another host, reaches neither.
fn credentials_that_come_twice_are_refused(gateway: &Gateway) {
    let _alone = Turn::at(gateway, "mega", START.plus(secs(259_200)));
    let door = gateway.door("gateway");
    let ask = |host: &str, headers: &[&str]| {
        let headers: Vec<_> = headers.iter().map(|header| header.as_bytes()).collect();
        send_to_host(host, "127.0.2.23", door, "GET /leads", &headers, "").status
    };
    let key = "x-api-key: key_c1_a";
    for empty in [&["x-api-key:"][..], &["x-api-key:   "], &["x-api-key:", "x-api-key:"]] {
        // An empty one in front was what the limits saw, and nobody's.
        assert_eq!(ask("mega.localhost", &[empty, &[key]].concat()), 400, "{empty:?}");
        assert_eq!(ask("mega.localhost", &[&[key], empty].concat()), 400, "{empty:?}");
    }
    for (host, name) in
        [("leadping", "x-business-id"), ("leadping", "x-user-id"), ("leaperone", "authorization")]
    {
        let [one, another] = ["a", "b"].map(|value| format!("{name}: Bearer {value}"));
        assert_eq!(ask(&format!("{host}.localhost"), &[&one, &another]), 400, "{name}");
        assert_eq!(ask(&format!("{host}.localhost"), &[&one]), 200, "{name}");
    }
    assert_eq!(ask("leaperone.localhost", &["authorization: Basic YTpi", "authorization: Bearer b"]), 400);
    for host in
        ["mega.localhost:", "mega.localhost..", "mega.localhost.:", "mega.localhost:99x", "mega.localhost:x"]
    {
        assert_eq!(ask(host, &[key]), 400, "{host}");
    }
    assert_eq!(ask("mega.localhost", &[key]), 200);
}

fn a_scheme_may_be_followed_by_a_tab(gateway: &Gateway) {
    let leaperone = Turn::at(gateway, "leaperone", START.plus(secs(86_400)));
    let ask = |header: &str| leaperone.ask("127.0.2.22", "POST /v1/audio/speech", &[header]);
    assert_eq!(ask("authorization: Bearer sk-new-1").header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(ask("authorization: Bearer\tsk-new-1").header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(ask("authorization: bearer \t sk-new-1").status, 429);
}
