//! Who is let in.

use std::fs;

use super::{Answer, Server, ask, serving, shop};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn with_token() -> Server {
    let config = shop();
    let token = config.path().join("token.txt");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let path = token.to_str().unwrap().to_owned();
    Server::with(config, &["--admin-token-file", &path])
}

fn get(server: &Server, path: &str, header: &str) -> Answer {
    ask(server.admin, "GET", path, &[header], "")
}

#[test]
fn a_page_of_another_site_learns_nothing_and_changes_nothing() {
    let server = Server::start();
    for header in [
        "Host: evil.example",
        "Host: evil.example:6070",
        "Origin: http://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ] {
        let answer = get(&server, "/api/v1/config", header);
        assert_eq!(answer.status, 403, "{header}: {answer:?}");
    }
    let port = server.admin.port();
    for header in [format!("Host: localhost:{port}"), format!("Origin: http://{}", server.admin)] {
        assert_eq!(get(&server, "/api/v1/config", &header).status, 200, "{header}");
    }
    // What a form can send is no change.
    for path in ["/api/v1/config/reload", "/api/v1/counters/reset"] {
        let answer = server.post(path, "{\"domain\": \"shop\", \"subject\": \"acme\"}");
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
    let config = server.get("/api/v1/config");
    assert_eq!(config.json()["generation"], 1);
    for header in [
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'",
    ] {
        assert!(config.head.contains(header), "{header}: {}", config.head);
    }
}

#[test]
fn with_a_token_nothing_is_answered_without_it() {
    let server = with_token();
    let paths = [
        "/api/v1/config",
        "/api/v1/live",
        "/api/v1/openapi.json",
        "/rlconfig",
        "/stats",
        "/debug/x",
        "/api/v1/none",
    ];
    for path in paths {
        for header in
            ["X: y", "Authorization: Bearer wrong", "Authorization: Basic abc", "Cookie: spillway_session=x"]
        {
            let answer = get(&server, path, header);
            assert_eq!(answer.status, 401, "{path} {header}: {answer:?}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
        }
    }
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(get(&server, "/api/v1/config", &bearer).status, 200);
    // Under any name: a load balancer's, a service's.
    let named = ask(server.admin, "GET", "/api/v1/config", &[&bearer, "Host: spillway.prod.svc"], "");
    assert_eq!(named.status, 200);
}

#[test]
fn a_browser_logs_in_once_and_until_the_token_changes() {
    let server = with_token();
    let wrong = server.post("/api/v1/login", "{\"token\": \"a wrong one that is long\"}");
    assert_eq!(wrong.status, 401, "{wrong:?}");
    let right = server.post("/api/v1/login", &format!("{{\"token\": \"{TOKEN}\"}}"));
    assert_eq!(right.status, 200, "{right:?}");
    let cookie = right.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().to_owned();
    for said in ["httponly", "samesite=strict", "path=/"] {
        assert!(cookie.contains(said), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN), "the token itself is in no cookie");
    let cookie = format!("Cookie: a=b; {}", cookie.split(';').next().unwrap());
    assert_eq!(get(&server, "/api/v1/config", &cookie).status, 200);

    let next = server.config.path().join("next.txt");
    fs::write(&next, "fedcba9876543210").unwrap();
    fs::rename(&next, server.config.path().join("token.txt")).unwrap();
    assert_eq!(get(&server, "/api/v1/config", &cookie).status, 401);
    assert_eq!(get(&server, "/api/v1/config", "Authorization: Bearer fedcba9876543210").status, 200);
}

#[test]
fn a_server_that_everybody_could_change_does_not_start() {
    let config = shop();
    for (arguments, said) in [
        (["--admin-addr", "0.0.0.0:0"].as_slice(), "give `--admin-token-file PATH`"),
        (&["--admin-token-file", "nothing-there"], "cannot read a token from `nothing-there`"),
    ] {
        let ended = serving(config.path(), arguments).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        let log = String::from_utf8(ended.stderr).unwrap();
        assert!(log.contains(said), "{log}");
    }
    let ended = serving(config.path(), &[]).args(["--admin-addr", "nowhere"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
}

#[test]
fn the_default_port_that_is_in_use_is_no_reason_not_to_start() {
    let first = Server::start();
    let taken = first.admin.to_string();
    // Asked for it is one.
    let ended = serving(first.config.path(), &["--admin-addr", &taken]).output().unwrap();
    assert_eq!(ended.status.code(), Some(70), "{ended:?}");
    assert!(String::from_utf8(ended.stderr).unwrap().contains("cannot listen for admin on"));
}
