//! What is changed, with its line in the log.

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use serde_json::json;

use super::{SHOP, SUBJECTS, Server, shop};
use crate::support::PATIENCE;
use crate::support::valkey::Valkey;

const LEADS: [(&str, &str); 2] = [("api_key", "key_acme_1"), ("path", "/leads")];

#[tokio::test]
async fn a_reload_answers_what_became_of_it() {
    let mut server = Server::start();
    let more = SHOP.to_owned() + "  - {key: path, rate_limit: {unit: year, requests_per_unit: 1}}\n";
    // On a busy machine whoever follows the files may be quicker, once or twice.
    let told = (0..20).map(|n| {
        std::fs::write(server.config.path().join("shop.yaml"), format!("{more}# {n}\n")).unwrap();
        server.change("POST", "/api/v1/config/reload", "").json()
    });
    let told = told.into_iter().find(|told| told["result"] != "superseded").unwrap();
    assert_eq!((&told["result"], &told["rules"]), (&json!("applied"), &json!(5)), "{told}");
    assert_eq!(server.limited(&[("path", "x")]).await, Code::Ok);
    assert_eq!(server.limited(&[("path", "x")]).await, Code::OverLimit);
    let (before, after) = (told["generation"].as_u64().unwrap() - 1, &told["generation"]);
    let line =
        server.spillway.log_line(&format!("before=\"generation {before}\" after=\"generation {after}\""));
    for said in ["admin change", "peer=127.0.0.1:", "what=\"config reload\""] {
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
    // A machine that is busy answers slowly.
    let store = format!("{}?timeout=5000ms", valkey.url());
    resets(Server::with(shop(), &["--store", &store, "--store-timeout", "5s"])).await;
}

const ACME: &str = "/api/v1/subjects/shop/acme";

fn per_customer(answer: &super::Answer) -> (u64, u64) {
    let subject = answer.json();
    let subject = if subject["subject"].is_object() { &subject["subject"] } else { &subject };
    let limits = subject["limits"].as_array().unwrap();
    let numbers = &limits.iter().find(|one| one["limit"] == "per-customer").unwrap()["numbers"];
    (numbers["used"].as_u64().unwrap(), numbers["limit"].as_u64().unwrap())
}

#[tokio::test]
async fn a_customer_who_bought_more_gets_it_at_once_and_keeps_the_count() {
    let mut server = Server::start();
    let key = [("api_key", "key_acme_1")];
    for _ in 0..5 {
        assert_eq!(server.limited(&key).await, Code::Ok);
    }
    // What is refused counts, too, in a window of a unit.
    assert_eq!(server.limited(&key).await, Code::OverLimit);
    let scaled =
        server.change("PATCH", ACME, &json!({"attributes": {"plan": "scale", "per_year": 7}}).to_string());
    assert_eq!((scaled.status, per_customer(&scaled)), (200, (6, 7)), "{scaled:?}");
    assert_eq!((&scaled.json()["durable"], &scaled.json()["generation"]), (&json!(false), &json!(2)));
    assert_eq!(server.limited(&key).await, Code::Ok);
    let line = server.spillway.log_line("admin change");
    let attributes = "attributes=\"per_year: 5 → 7, plan: growth → scale\"";
    for said in ["what=\"subject change\"", "domain=\"shop\" subject=\"acme\"", attributes] {
        assert!(line.contains(said), "{line}");
    }

    // The files change beside it: what was changed here stays, and what was not follows them.
    let subjects =
        super::SUBJECTS.replace("plan: growth, per_year: 5", "plan: growth, per_year: 6, seats: 3");
    std::fs::write(server.config.path().join("shop.subjects.yaml"), subjects).unwrap();
    assert_eq!(server.change("POST", "/api/v1/config/reload", "").status, 200);
    let after = server.get(ACME);
    assert_eq!(after.json()["attributes"], json!({"plan": "scale", "per_year": 7, "seats": 3}));
    assert_eq!(per_customer(&after), (7, 7));
    let back = server.change("DELETE", &format!("{ACME}/changes"), "");
    assert_eq!((back.status, per_customer(&back)), (200, (7, 6)), "{back:?}");
    assert_eq!(server.limited(&key).await, Code::OverLimit);
}

#[tokio::test]
async fn one_change_of_many_is_taken_back_by_null() {
    let server = Server::start();
    let patch = |body: serde_json::Value| server.change("PATCH", ACME, &body.to_string());
    patch(
        json!({"attributes": {"plan": "scale", "per_year": 9}, "time_zone": "Europe/Berlin", "enabled": false}),
    );
    let back = patch(json!({"attributes": {"per_year": null}, "enabled": null, "time_zone": null}));
    assert_eq!((back.status, per_customer(&back).1), (200, 5), "{back:?}");
    let subject = &back.json()["subject"];
    assert_eq!((&subject["attributes"]["plan"], &subject["enabled"]), (&json!("scale"), &json!(true)));
    assert_eq!(subject["time_zone"], json!(null));
    let all = patch(json!({"attributes": {"plan": null}})).json();
    assert_eq!(all["subject"]["attributes"], json!({"plan": "growth", "per_year": 5}));
}

#[tokio::test]
async fn what_is_probably_not_meant_is_told_with_what_is() {
    let server = Server::start();
    let warnings = |method: &str, path: &str, body: serde_json::Value| {
        let answer = server.change(method, path, &body.to_string());
        assert!((200..300).contains(&answer.status), "{answer:?}");
        answer.json()["warnings"].clone()
    };
    assert_eq!(warnings("PATCH", ACME, json!({"attributes": {"plan": "x", "per_year": 7}})), json!([]));
    let told = "no limit uses the attribute `per_yaer`, and nobody in the subjects file has it; did you mean `per_year`?";
    assert_eq!(warnings("PATCH", ACME, json!({"attributes": {"per_yaer": 7}})), json!([told]));
    assert_eq!(warnings("PATCH", ACME, json!({"attributes": {"per_yaer": null}})), json!([]));
    let told = "no descriptor asks for a credential of the kind `api-key`; did you mean `api_key`?";
    let credential = json!({"kind": "api-key", "value": "v"});
    assert_eq!(warnings("POST", &format!("{ACME}/credentials"), credential), json!([told]));
    let new = json!({"id": "n", "attributes": {"seats": 1}, "credentials": [{"kind": "zz", "value": "w"}]});
    assert_eq!(warnings("POST", "/api/v1/subjects/shop", new).as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_plan_that_is_nearly_one_that_limits_list_is_told() {
    let policy = "domain: shop
subjects: shop.subjects.yaml
descriptors:
- key: api_key
  subject: api_key
  rate_limit: {unit: year, requests_per_unit: {by: plan, values: {growth: 5, scale: 7}, otherwise: 1}}
";
    let config = crate::support::directory(&[("shop.yaml", policy), ("shop.subjects.yaml", SUBJECTS)]);
    let server = Server::with(config, &[]);
    let warnings = |plan: &str| {
        let answer = server.change("PATCH", ACME, &json!({"attributes": {"plan": plan}}).to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["warnings"].clone()
    };
    let told =
        "`plan` is `scael`, which no limit lists, so the number of `otherwise` holds; did you mean `scale`?";
    assert_eq!(warnings("scael"), json!([told]));
    for plan in ["scale", "legacy"] {
        assert_eq!(warnings(plan), json!([]), "{plan}");
    }
}

#[tokio::test]
async fn where_replicas_share_counters_it_is_told_that_they_share_no_change() {
    let valkey = Valkey::start(&[]);
    let server = Server::with(shop(), &["--store", &valkey.url(), "--store-timeout", "5s"]);
    let changed = server.change("PATCH", ACME, &json!({"attributes": {"per_year": 7}}).to_string()).json();
    let told = changed["warnings"][0].as_str().unwrap();
    assert!(told.starts_with("this replica alone has the change"), "{changed}");
}

#[tokio::test]
async fn subjects_and_credentials_come_and_go_and_no_credential_is_ever_shown() {
    let mut server = Server::start();
    let new = json!({"id": "newco", "attributes": {"per_year": 1}, "credentials": [{"kind": "api_key", "value": "key_newco_1"}]});
    let created = server.change("POST", "/api/v1/subjects/shop", &new.to_string());
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.json()["subject"]["credentials"], json!({"enabled": 1, "disabled": 0}));
    assert_eq!(server.limited(&[("api_key", "key_newco_1")]).await, Code::Ok);
    assert_eq!(server.limited(&[("api_key", "key_newco_1")]).await, Code::OverLimit);
    assert_eq!(server.change("POST", "/api/v1/subjects/shop", &new.to_string()).status, 409, "it is there");

    let credential = |value: &str| json!({"kind": "api_key", "value": value}).to_string();
    let credentials = format!("{ACME}/credentials");
    assert_eq!(server.change("POST", &credentials, &credential("key_acme_2")).status, 200);
    for _ in 0..5 {
        server.limited(&[("api_key", "key_acme_2")]).await;
    }
    assert_eq!(server.limited(&[("api_key", "key_acme_1")]).await, Code::OverLimit, "both are acme");
    let taken = server.change("POST", &credentials, &credential("key_newco_1"));
    assert_eq!(
        (taken.status, &taken.json()["error"]),
        (422, &json!("a credential that `acme` is given belongs to `newco`"))
    );

    let revoke = format!("{credentials}/revoke");
    assert_eq!(server.change("POST", &revoke, &credential("key_acme_one")).status, 404, "a slip");
    assert_eq!(server.change("POST", &revoke, &credential("key_acme_1")).status, 200);
    assert_eq!(server.limited(&[("api_key", "key_acme_1")]).await, Code::Ok, "nobody, whom nothing limits");
    assert_eq!(server.limited(&[("api_key", "key_acme_2")]).await, Code::OverLimit);

    let disabled = server.change("PATCH", ACME, "{\"enabled\": false}");
    assert_eq!(
        (disabled.status, &disabled.json()["subject"]["enabled"]),
        (200, &json!(false)),
        "{disabled:?}"
    );
    assert_eq!(server.limited(&[("api_key", "key_acme_2")]).await, Code::Ok);
    server.spillway.log_line("subject change");
    let shown = format!("{}{}{}", server.get(ACME).body, created.body, server.spillway.seen.join("\n"));
    assert!(!shown.contains("key_"), "{shown}");
    for path in ["/api/v1/config", "/api/v1/subjects", "/api/v1/unmatched"] {
        assert!(!server.get(path).body.contains("key_"), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_change_is_refused_whole_with_its_reason() {
    let server = Server::start();
    let nobody = "/api/v1/subjects/shop/nobody";
    for (method, path, body, status, said) in [
        ("PATCH", ACME, "{}", 400, "names nothing"),
        ("PATCH", ACME, "{\"attribute\": {}}", 400, "attribute"),
        ("PATCH", ACME, "{\"attributes\": {\"per_year\": [1]}}", 422, "not understood"),
        (
            "PATCH",
            ACME,
            "{\"attributes\": {\"per_year\": 9}, \"billing_anchor\": \"soon\"}",
            422,
            "not understood",
        ),
        ("PATCH", ACME, "{\"facts\": {\"spent\": 5}}", 422, "not understood"),
        ("PATCH", nobody, "{\"enabled\": false}", 404, "no subject `nobody`"),
        ("DELETE", "/api/v1/subjects/shop/nobody/changes", "", 404, "no subject `nobody`"),
        ("POST", "/api/v1/subjects/shop", "{\"id\": \"a/b\"}", 400, "an id has"),
        ("POST", "/api/v1/subjects/shop", "{\"id\": \"..\"}", 400, "an id has"),
        ("POST", "/api/v1/subjects/shop", "{\"id\": \".\"}", 400, "an id has"),
        ("POST", "/api/v1/subjects/shop", "{\"id\": \"a\\u001b[2J\"}", 400, "an id has"),
        (
            "POST",
            "/api/v1/subjects/shop",
            "{\"id\": \"x\", \"credentials\": [{\"kind\": \"api_key\"}]}",
            400,
            "`value`, or by `sha256`",
        ),
        ("POST", "/api/v1/subjects/shp", "{\"id\": \"x\"}", 404, "no domain `shp`"),
    ] {
        let answer = server.change(method, path, body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        assert!(answer.body.contains(said), "{answer:?}");
    }
    assert_eq!(server.get(ACME).json()["attributes"]["per_year"], 5);
    assert_eq!(server.get("/api/v1/config").json()["generation"], 1);
}

#[tokio::test]
async fn a_credential_is_revoked_while_the_files_have_mistakes_and_nothing_of_them_comes_into_force() {
    let mut server = Server::start();
    let path = server.config.path().join("shop.yaml");
    let more = "  - {key: path, rate_limit: {unit: year, requests_per_unit: 1}}\n  - {kye: slip}\n";
    std::fs::write(path, SHOP.to_owned() + more).unwrap();
    assert_eq!(server.change("POST", "/api/v1/config/reload", "").status, 422);
    server.spillway.log_line("admin change");

    let credential = json!({"kind": "api_key", "value": "key_acme_1"}).to_string();
    for _ in 0..2 {
        assert_eq!(server.limited(&LEADS).await, Code::Ok);
    }
    let revoked = server.change("POST", &format!("{ACME}/credentials/revoke"), &credential);
    assert_eq!((revoked.status, &revoked.json()["generation"]), (200, &json!(2)), "{revoked:?}");
    for _ in 0..9 {
        assert_eq!(server.limited(&LEADS).await, Code::Ok, "nobody, whom nothing limits");
    }
    let changed = server.change("PATCH", ACME, &json!({"attributes": {"per_year": 6}}).to_string());
    assert_eq!((changed.status, per_customer(&changed).1), (200, 6), "{changed:?}");
    let config = server.get("/api/v1/config").json();
    assert_eq!((&config["stale"], &config["rules"]), (&json!(true), &json!(4)), "{config}");
    assert_eq!(server.limited(&[("path", "x")]).await, Code::Ok);
    assert_eq!(server.limited(&[("path", "x")]).await, Code::Ok, "a limit that nobody has let in");

    // Both are beside the files when these are right again.
    std::fs::write(server.config.path().join("shop.yaml"), SHOP).unwrap();
    assert_eq!(server.change("POST", "/api/v1/config/reload", "").status, 200);
    assert_eq!(server.limited(&LEADS).await, Code::Ok);
    let back = server.change("DELETE", &format!("{ACME}/changes"), "");
    assert_eq!((back.status, per_customer(&back).1), (200, 5), "{back:?}");
    assert_eq!(back.json()["subject"]["credentials"], json!({"enabled": 1, "disabled": 0}));
}

#[tokio::test]
async fn who_has_no_number_for_a_limit_is_shown_as_not_limited_by_it() {
    let server = Server::start();
    let created = server.change("POST", "/api/v1/subjects/shop", "{\"id\": \"bare\"}").json();
    assert_eq!(created["subject"]["limits_without_number"][0]["limit"], "per-customer", "{created}");
}

#[tokio::test]
async fn what_was_changed_on_a_disk_is_there_after_a_kill() {
    let disk = tempfile::tempdir().unwrap();
    let store = format!("disk:{}", disk.path().display());
    let on_disk = |config| Server::with(config, &["--store", &store, "--store-timeout", "10s"]);
    let mut server = on_disk(shop());
    let changed = server.change("PATCH", ACME, &json!({"attributes": {"per_year": 7}}).to_string());
    assert_eq!((changed.status, &changed.json()["durable"]), (200, &json!(true)), "{changed:?}");
    let new = json!({"id": "newco", "attributes": {"per_year": 1}, "credentials": [{"kind": "api_key", "value": "key_newco_1"}]});
    assert_eq!(server.change("POST", "/api/v1/subjects/shop", &new.to_string()).status, 201);
    for _ in 0..6 {
        assert_eq!(server.limited(&[("api_key", "key_acme_1")]).await, Code::Ok);
    }
    server.spillway.signal("KILL");
    server.spillway.wait();

    let mut server = on_disk(server.config);
    assert_eq!(per_customer(&server.get(ACME)).1, 7, "from the first request on, before any reload");
    assert_eq!(server.limited(&[("api_key", "key_newco_1")]).await, Code::Ok);
    assert_eq!(server.limited(&[("api_key", "key_newco_1")]).await, Code::OverLimit);
    // What was reserved of the count is used now, so that nobody gets more than the limit.
    assert!(per_customer(&server.get(ACME)).0 >= 6);
    assert_eq!(server.change("DELETE", &format!("{ACME}/changes"), "").status, 200);
    server.spillway.signal("TERM");
    server.spillway.wait();

    let server = on_disk(server.config);
    assert_eq!(per_customer(&server.get(ACME)).1, 5, "as the file says");
}

#[tokio::test]
async fn a_stopped_store_shows_and_resets_who_was_changed_or_created_at_run_time() {
    let disk = tempfile::tempdir().unwrap();
    let store = format!("disk:{}", disk.path().display());
    let mut server = Server::with(shop(), &["--store", &store, "--store-timeout", "10s"]);
    let new = json!({"id": "newco", "attributes": {"per_year": 9}, "credentials": [{"kind": "api_key", "value": "key_newco_1"}]});
    assert_eq!(server.change("POST", "/api/v1/subjects/shop", &new.to_string()).status, 201);
    for _ in 0..4 {
        assert_eq!(server.limited(&[("api_key", "key_newco_1")]).await, Code::Ok);
    }
    server.spillway.signal("TERM");
    server.spillway.wait();
    let run = |action: &str| {
        let mut command = crate::support::command(&["store", action]);
        command.arg(disk.path()).args(["--domain", "shop", "api_key=key_newco_1", "--config"]);
        let output = command.arg(server.config.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = run("inspect");
    assert!(shown.contains("subject  newco") && shown.contains("used 4 of 9"), "{shown}");
    assert!(run("reset").ends_with("reset: 1 counter; the numbers are those of before\n"));
    assert!(run("inspect").contains("used 0 of 9"));
}

#[tokio::test]
async fn a_file_that_takes_a_credential_which_was_given_here_ends_no_start_and_can_be_made_up_for() {
    let disk = tempfile::tempdir().unwrap();
    let store = format!("disk:{}", disk.path().display());
    let on_disk = |config| Server::with(config, &["--store", &store, "--store-timeout", "10s"]);
    let mut server = on_disk(shop());
    for id in ["new3", "new4"] {
        let new = json!({"id": id, "attributes": {"per_year": 1}, "credentials": [{"kind": "api_key", "value": format!("key_{id}")}]});
        assert_eq!(server.change("POST", "/api/v1/subjects/shop", &new.to_string()).status, 201);
    }
    let taken = super::SUBJECTS.replace(
        "value: key_other_1}",
        "value: key_other_1}, {kind: api_key, value: key_new3}, {kind: api_key, value: key_new4}",
    );
    std::fs::write(server.config.path().join("shop.subjects.yaml"), taken).unwrap();
    assert_eq!(server.change("POST", "/api/v1/config/reload", "").status, 200, "the file comes into force");
    let line = server.spillway.log_line("a change of a subject is left out");
    assert!(line.contains("a credential that `new3` is given belongs to `other`"), "{line}");
    server.spillway.signal("KILL");
    server.spillway.wait();

    let server = on_disk(server.config);
    for _ in 0..7 {
        assert_eq!(
            server.limited(&[("api_key", "key_new3")]).await,
            Code::Ok,
            "it is the other's, as the file says"
        );
    }
    for id in ["new3", "new4"] {
        let back = server.change("DELETE", &format!("/api/v1/subjects/shop/{id}/changes"), "");
        assert_eq!(back.status, 200, "{back:?}");
    }
}

#[tokio::test]
async fn a_change_that_would_take_a_number_away_is_refused_whole() {
    let files = [
        (
            "shop.yaml",
            "
domain: shop
subjects: shop.subjects.yaml
descriptors:
  - key: api_key
    subject: api_key
    rate_limits:
      - {name: of-plan, requests_per_unit: {by: plan, values: {growth: 2, scale: 4}}, unit: year}
      - {name: agreed, requests_per_unit: 9, override: agreed, unit: month}
",
        ),
        ("shop.subjects.yaml", super::SUBJECTS),
    ];
    let server = Server::with(crate::support::directory(&files), &[]);
    for (attributes, said) in [
        (
            json!({"plan": "Scale"}),
            "`plan` is `Scale`, for which the limit `of-plan` has no number; did you mean `scale`?",
        ),
        (
            json!({"agreed": "abc"}),
            "`agreed` is `abc`, which is no whole number, and the limit `agreed` takes it for one",
        ),
        (
            json!({"agreed": -5}),
            "`agreed` is `-5`, which is no whole number, and the limit `agreed` takes it for one",
        ),
    ] {
        let refused = server.change("PATCH", ACME, &json!({ "attributes": attributes }).to_string());
        assert_eq!((refused.status, &refused.json()["error"]), (422, &json!(said)));
    }
    let key = [("api_key", "key_acme_1")];
    for expected in [Code::Ok, Code::Ok, Code::OverLimit] {
        assert_eq!(server.limited(&key).await, expected, "nothing has changed");
    }
    assert_eq!(
        server.change("PATCH", ACME, &json!({"attributes": {"plan": "scale"}}).to_string()).status,
        200
    );
    assert_eq!(server.limited(&key).await, Code::Ok);
    // Where a credential was expected: nobody is shown what was there.
    let slip = json!({"id": "z", "credentials": ["sk_live_SECRET"]});
    let slip = server.change("POST", "/api/v1/subjects/shop", &slip.to_string());
    assert!(slip.status == 400 && !slip.body.contains("SECRET"), "{slip:?}");
}

#[tokio::test]
async fn a_reset_on_a_disk_is_there_after_a_kill() {
    let disk = tempfile::tempdir().unwrap();
    let store = format!("disk:{}", disk.path().display());
    let on_disk = |config| Server::with(config, &["--store", &store, "--store-timeout", "10s"]);
    let mut server = on_disk(shop());
    for _ in 0..5 {
        assert_eq!(server.limited(&[("api_key", "key_acme_1")]).await, Code::Ok);
    }
    let asked = json!({"domain": "shop", "subject": "acme"}).to_string();
    assert_eq!(server.change("POST", "/api/v1/counters/reset", &asked).status, 200);
    server.spillway.signal("KILL");
    server.spillway.wait();
    assert_eq!(per_customer(&on_disk(server.config).get(ACME)), (0, 5));
}

/// What `/api/v1/changes` shows once there is a change.
fn noted(server: &Server) -> serde_json::Value {
    let begun = tokio::time::Instant::now();
    loop {
        let told = server.get("/api/v1/changes").json();
        if told["total"] == 1 {
            return told["changes"][0].clone();
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is noted: {told}");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_change_is_noted_whose_caller_has_gone() {
    let valkey = Valkey::start(&[]);
    let store = format!("{}?timeout=5000ms", valkey.url());
    let mut server = Server::with(shop(), &["--store", &store, "--store-timeout", "5s"]);
    assert_eq!(server.limited(&LEADS).await, Code::Ok);
    let body = json!({"domain": "shop", "descriptor": "api_key=key_acme_1,path=/leads"}).to_string();
    valkey.signal("STOP");
    server.ask_and_go("/api/v1/counters/reset", &body);
    valkey.signal("CONT");
    let noted = noted(&server);
    assert_eq!((&noted["what"], &noted["after"]), (&json!("counters reset"), &json!("0 of 3")), "{noted}");
    server.spillway.log_line("admin change");
}

#[tokio::test]
async fn a_change_says_what_it_changed_while_the_store_is_away() {
    let valkey = Valkey::start(&[]);
    let server = Server::with(shop(), &["--store", &valkey.url()]);
    drop(valkey);
    let changed = server.change("PATCH", ACME, &json!({"enabled": false}).to_string());
    assert_eq!((changed.status, &changed.json()["subject"]["enabled"]), (200, &json!(false)), "{changed:?}");
    assert_eq!(changed.json()["subject"]["limits"][0]["numbers"], json!(null));
    let noted = noted(&server);
    assert_eq!(
        (&noted["before"], &noted["after"]),
        (&json!("enabled: true"), &json!("enabled: false")),
        "{noted}"
    );
}

/// More counters than are shown, or go to the store in one trip.
#[tokio::test]
async fn all_counters_of_a_subject_are_reset_however_many_it_has() {
    let credentials = (0..1_500).map(|n| format!("{{kind: api_key, value: k{n}}}")).collect::<Vec<_>>();
    let subjects = format!("subjects: [{{id: acme, credentials: [{}]}}]", credentials.join(", "));
    let policy = "{domain: shop, subjects: shop.subjects.yaml, descriptors: [{key: api_key, subject: api_key, rate_limit: \
        {requests_per_unit: 1, unit: year, count_by: credential}}]}";
    let config = crate::support::directory(&[("shop.yaml", policy), ("shop.subjects.yaml", &subjects)]);
    let server = Server::with(config, &[]);
    let keys = ["k0", "k999", "k1000", "k1499"];
    for key in keys {
        assert_eq!(server.limited(&[("api_key", key)]).await, Code::Ok);
        assert_eq!(server.limited(&[("api_key", key)]).await, Code::OverLimit);
    }
    let body = json!({"domain": "shop", "subject": "acme"}).to_string();
    assert_eq!(server.change("POST", "/api/v1/counters/reset", &body).status, 200);
    for key in keys {
        assert_eq!(server.limited(&[("api_key", key)]).await, Code::Ok, "{key}");
    }
}
