//! The `OpenAPI` document: every route that it names is called, and every answer is held against what it says, to the field.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{Answer, Server, ask};
use crate::support::PATIENCE;

/// Whether `value` is as the document has `schema`.
pub(super) fn check(document: &Value, schema: &Value, value: &Value, what: &str) {
    let whole = json!({"components": document["components"], "allOf": [schema]});
    let validator = jsonschema::draft202012::new(&whole).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert!(wrong.is_empty(), "{what}: {}\n{value:#}", wrong.join("\n"));
}

/// The schema of an answer, for the first content type that the document has for it.
fn answer_schema(operation: &Value, status: u16) -> Option<(&str, &Value)> {
    let responses = &operation["responses"];
    let response = responses.get(status.to_string()).or(responses.get("default"))?;
    let (kind, content) = response["content"].as_object()?.iter().next()?;
    Some((kind, &content["schema"]))
}

fn call(server: &Server, method: &str, path: &str, operation: &Value) -> Answer {
    let mut path = path.to_owned();
    let mut headers = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        match parameter["in"].as_str().unwrap() {
            "path" => path = path.replace(&format!("{{{name}}}"), parameter["example"].as_str().unwrap()),
            "header" => headers.push(format!("{name}: {}", parameter["schema"]["const"].as_str().unwrap())),
            "query" => {
                let before = if path.contains('?') { '&' } else { '?' };
                let value = match name {
                    "limit" => "10",
                    "domain" => "shop",
                    "offset" => "0",
                    _ => "",
                };
                path.push_str(&format!("{before}{name}={value}"));
            }
            other => panic!("a parameter in {other}"),
        }
    }
    let example = &operation["requestBody"]["content"]["application/json"]["example"];
    let body = if example.is_null() { String::new() } else { example.to_string() };
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    ask(server.admin, &method.to_uppercase(), &path, &headers, &body)
}

#[tokio::test]
async fn every_route_answers_what_the_document_says() {
    let server = Server::start();
    // So that there is something to show.
    for _ in 0..4 {
        server.limited(&[("api_key", "key_acme_1"), ("path", "/leads")]).await;
        server.limited(&[("api_key", "key_acme_1"), ("pth", "/leads")]).await;
    }
    let document = server.get("/api/v1/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut called = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if let Some(body) = operation.get("requestBody") {
                let content = &body["content"]["application/json"];
                check(&document, &content["schema"], &content["example"], &format!("the example of {path}"));
            }
            if path == "/api/v1/live" {
                continue;
            }
            let answer = call(&server, method, path, operation);
            assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
            let (kind, schema) = answer_schema(operation, answer.status).unwrap();
            assert!(answer.head.contains(&format!("content-type: {kind}")), "{path}: {}", answer.head);
            if kind == "application/json" {
                check(&document, schema, &answer.json(), path);
            }
            called += 1;
        }
    }
    assert!(called >= 19, "{called}");
    // Now there are some.
    let changes = server.get("/api/v1/changes").json();
    check(&document, &json!({"$ref": "#/components/schemas/Changes"}), &changes, "changes");
    assert!(changes["total"].as_u64().unwrap() >= 5, "{changes}");
    let of_acme = server.get("/api/v1/changes?domain=shop&search=ACME&limit=2").json();
    assert_eq!(of_acme["changes"].as_array().unwrap().len(), 2, "{of_acme}");
    let rows = |path: &str, name: &str| server.get(path).json()[name].as_array().unwrap().len();
    assert!(rows("/api/v1/heavy", "rules") > 0, "nobody is busy");
    assert!(
        rows("/api/v1/denials", "denials") > 0 && rows("/api/v1/unmatched", "unmatched") > 0,
        "nothing was held against the document"
    );
}

#[test]
fn what_is_not_answered_is_said_as_the_document_says() {
    let server = Server::start();
    let document = server.get("/api/v1/openapi.json").json();
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    let long = format!("{{\"domain\": \"{}\"}}", "x".repeat(70_000));
    for (method, path, body, status) in [
        ("POST", "/api/v1/explain", &*long, 413),
        ("POST", "/api/v1/subjects/shop", &*long, 413),
        ("GET", "/api/v1/subjects/shop/%ff", "", 400),
        ("GET", "/api/v1/subjects/%c3%28/acme", "", 400),
        ("PATCH", "/api/v1/subjects/shop", "{}", 405),
        ("PUT", "/api/v1/subjects/shop/acme", "{}", 405),
        ("POST", "/", "", 405),
        ("POST", "/stats", "", 405),
        ("DELETE", "/api/v1/login", "", 405),
        ("BREW", "/api/v1/rules", "", 405),
        ("GET", "/api/v1/nothing", "", 404),
        ("GET", "/debug/pprof/heap", "", 404),
        ("DELETE", "/api/v1/config", "", 405),
        ("GET", "/api/v1/rules?lmit=3", "", 400),
        ("GET", "/api/v1/subjects/shop/nobody", "", 404),
        ("GET", "/api/v1/subjects/shp/acme", "", 404),
        ("POST", "/api/v1/explain", "{", 400),
        ("POST", "/api/v1/explain", "{\"domain\": \"shp\", \"descriptors\": [\"a=1\"]}", 404),
        ("POST", "/api/v1/explain", "{\"domain\": \"shop\", \"descriptors\": []}", 400),
        ("POST", "/api/v1/explain", "{\"domain\": \"shop\", \"descriptors\": [\"a\"]}", 400),
        (
            "POST",
            "/api/v1/explain",
            "{\"domain\": \"shop\", \"descriptors\": [\"a=1\"], \"at\": \"soon\"}",
            400,
        ),
        ("POST", "/api/v1/explain", "{\"domain\": \"shop\", \"descriptors\": [\"a=1\"], \"hit\": 1}", 400),
        ("POST", "/api/v1/counters/reset", "{\"domain\": \"shop\"}", 400),
        ("POST", "/api/v1/counters/reset", "{\"domain\": \"shop\", \"descriptor\": \"nothing=1\"}", 404),
    ] {
        let answer = server.change(method, path, body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        check(&document, &problem, &answer.json(), path);
    }
    let misspelt = server.get("/api/v1/subjects/shp/acme").json();
    assert_eq!(misspelt["hint"], "did you mean `shop`?");
}

#[tokio::test]
async fn viewers_are_told_rates_once_a_second() {
    let server = Server::start();
    let document = server.get("/api/v1/openapi.json").json();
    let mut stream = TcpStream::connect(server.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/v1/live HTTP/1.1\r\nHost: {}\r\n\r\n", server.admin).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut ticks =
        std::iter::from_fn(|| lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)));
    let tick = |text: String| -> Value {
        let tick: Value = serde_json::from_str(&text).unwrap();
        check(&document, &json!({"$ref": "#/components/schemas/Tick"}), &tick, "a tick");
        tick
    };
    let first = tick(ticks.next().unwrap());
    assert_eq!((&first["interval_seconds"], &first["viewers"]), (&json!(0.0), &json!(1)));
    for _ in 0..3 {
        server.limited(&[("remote_address", "10.0.0.1")]).await;
    }
    // They may fall into two seconds.
    let (mut hits, mut over) = (0.0, 0.0);
    for _ in 0..5 {
        let tick = tick(ticks.next().unwrap());
        let seconds = tick["interval_seconds"].as_f64().unwrap();
        if let Some(rule) = tick["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == "strangers")
        {
            hits += rule["hits_per_second"].as_f64().unwrap() * seconds;
            over += rule["over_limit_per_second"].as_f64().unwrap() * seconds;
            assert_eq!(tick["domains"][0]["name"], "shop");
        }
        if hits > 2.5 {
            break;
        }
    }
    assert!((hits - 3.0).abs() < 0.3 && (over - 1.0).abs() < 0.3, "{hits} hits, {over} over the limit");
}
