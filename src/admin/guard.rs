//! Who is let in. Any page that a browser on this machine shows can send requests to a loopback port, so a request is refused
//! that names a host which only a rebound name would, that comes from another site's page, or that changes something without a
//! header which no form can send. With a token, nothing but the login is answered without it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::answer::{Problem, json, read};
use super::api::Api;
use super::connection::Connection;
use super::token::{SESSION, TokenFile};
use crate::telemetry::AdminRefused;

/// The header that changes have to have.
pub(super) const CHANGE: HeaderName = HeaderName::from_static("x-spillway-change");
const COOKIE: &str = "spillway_session";
pub(super) const LOGIN: &str = "/api/v1/login";
const LOGOUT: &str = "/api/v1/logout";
/// What is asked for by POST because it takes a body, and changes nothing.
const QUESTIONS: [&str; 4] = ["/api/v1/explain", "/api/v1/counters/lookup", LOGIN, LOGOUT];
/// What is answered without a token, below which nothing else is: everything that has data.
const BEHIND_THE_TOKEN: [&str; 4] = ["/api/", "/rlconfig", "/stats", "/debug/"];

/// Answers `request`, unless it has to be refused; and has no answer kept or taken for something else than it is.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<Connection>();
    let peer = connection.map(|connection| connection.peer);
    let mut response = match check(api.token.as_ref(), connection, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            if let Some(peer) = peer {
                AdminRefused { peer, why: problem.message() }.emit(&api.metrics);
            }
            problem.into_response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn check(
    token: Option<&TokenFile>,
    connection: Option<&Connection>,
    request: &Request,
) -> Result<(), Problem> {
    let (headers, path) = (request.headers(), request.uri().path());
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err(Problem::wrong("the request has more than one `Host`"));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // What the target says is what is asked for, whatever the header is (RFC 9112, 3.2.2).
    let host = request.uri().authority().map_or(host, Authority::as_str);
    let is_tls = connection.is_some_and(|connection| connection.is_tls);
    // Behind a token it may have any name: who has the token is let in, and a rebound name has not got the cookie. Over TLS the
    // browser has seen a certificate for the name, which nobody has for a rebound one.
    if token.is_none() && !is_tls && !is_of_this_machine(host) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "the request names another host than this machine")
            .hint("use an address or `localhost`, or give the server `--admin-token-file`, with which any name is answered".to_owned()));
    }
    // The page itself may be linked to: whoever follows the link sees it, and the other site does not.
    let has_data = BEHIND_THE_TOKEN.iter().any(|behind| path.starts_with(behind));
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if (has_data || !is_read) && is_from_another_site(headers, host) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "the request comes from another site's page"));
    }
    if let Some(token) = token
        && path != LOGIN
        && has_data
        && !has_certificate(connection)
        && !is_known(token, headers)
    {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong").hint(
            "send it as `Authorization: Bearer …`; it is in the file that `--admin-token-file` names"
                .to_owned(),
        ));
    }
    let is_question = is_read || QUESTIONS.contains(&path);
    if !is_question && headers.get(CHANGE).is_none_or(|value| value != "1") {
        return Err(Problem::new(StatusCode::FORBIDDEN, "a change needs the header `X-Spillway-Change: 1`")
            .hint("no form of another site can send it; add it to the request".to_owned()));
    }
    Ok(())
}

/// Whether `host` is an address, or a name that always is this machine's. A name of anybody else's could be made to lead here.
fn is_of_this_machine(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|digit| digit.is_ascii_digit())) {
        return false;
    }
    let name = name.to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

/// Whether a browser says that the request was sent by a page of somebody else.
pub(super) fn is_from_another_site(headers: &HeaderMap, host: &str) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    let foreign_site = sites.any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    let foreign_origin = headers.get_all(header::ORIGIN).iter().any(|origin| {
        let of_host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        of_host.is_none_or(|origin| !origin.eq_ignore_ascii_case(host))
    });
    foreign_site || foreign_origin
}

/// Whether the client has shown a certificate that is let in, which is as good as the token.
pub(super) fn has_certificate(connection: Option<&Connection>) -> bool {
    connection.is_some_and(|connection| connection.certificate.is_some())
}

pub(super) fn is_known(token: &TokenFile, headers: &HeaderMap) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
    });
    bearer.is_some_and(|bearer| token.admits(bearer))
        || session(headers).is_some_and(|name| token.is_session(name.as_bytes(), Instant::now()))
}

/// What the cookie says.
fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

/// Logs a browser in, whose event streams can send no header: a cookie stands for the token.
pub(super) async fn login(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let connection = request.extensions().get::<Connection>();
    let (peer, is_tls) = (connection.map(|known| known.peer), connection.is_some_and(|known| known.is_tls));
    let Some(token) = api.token.as_ref().filter(|_| !has_certificate(connection)) else {
        return Ok(json(StatusCode::OK, &serde_json::json!({"token_required": false})));
    };
    let body = axum::body::to_bytes(request.into_body(), super::api::LONGEST_BODY).await;
    let body = body.map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"))?;
    let Login { token: shown } = read(&body)?;
    if !token.admits(shown.trim().as_bytes()) {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "the token is wrong");
        if let Some(peer) = peer {
            AdminRefused { peer, why: problem.message() }.emit(&api.metrics);
        }
        return Err(problem);
    }
    let name = token.begin_session(Instant::now()).ok_or_else(|| Problem::away("there is no randomness"))?;
    Ok(with_cookie(&name, SESSION.as_secs(), is_tls))
}

/// Logs a browser out.
pub(super) async fn logout(
    State(api): State<Arc<Api>>,
    connection: Option<Extension<Connection>>,
    headers: HeaderMap,
) -> Response {
    if let (Some(token), Some(name)) = (&api.token, session(&headers)) {
        token.end_session(name.as_bytes());
    }
    with_cookie("", 0, connection.is_some_and(|known| known.is_tls))
}

fn with_cookie(name: &str, seconds: u64, is_tls: bool) -> Response {
    let mut response = json(StatusCode::OK, &serde_json::json!({"token_required": true}));
    let secure = if is_tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={name}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_this_machine_by_address_or_as_localhost() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:6070",
            "localhost:6070",
            "LOCALHOST",
            "[::1]:6070",
            "[::1]",
            "10.0.0.7:80",
            "a.localhost",
        ] {
            assert!(is_of_this_machine(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:6070",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost:x",
            "127.0.0.1:",
        ] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }

    #[test]
    fn what_a_request_says_twice_is_not_taken_for_what_it_says_first() {
        let refused = |target: &str, fields: &[(&'static str, &'static str)]| {
            let mut request = axum::http::Request::post(target).header(CHANGE, "1");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            check(None, None, &request.body(axum::body::Body::empty()).unwrap())
                .err()
                .map(|why| why.message().to_owned())
        };
        let (here, evil) = (("host", "127.0.0.1:6070"), ("host", "evil.example"));
        assert_eq!(refused("/api/v1/config/reload", &[here]), None);
        assert_eq!(refused("http://127.0.0.1:6070/api/v1/config/reload", &[here]), None);
        for (target, fields, why) in [
            ("/api/v1/config/reload", &[here, evil][..], "the request has more than one `Host`"),
            ("/api/v1/config/reload", &[evil], "the request names another host than this machine"),
            (
                "http://evil.example/api/v1/config/reload",
                &[here],
                "the request names another host than this machine",
            ),
            (
                "/api/v1/config/reload",
                &[here, ("origin", "http://127.0.0.1:6070"), ("origin", "http://evil.example")],
                "the request comes from another site's page",
            ),
        ] {
            assert_eq!(refused(target, fields).as_deref(), Some(why), "{target} {fields:?}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_told_by_what_browsers_add() {
        let asks = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            is_from_another_site(&headers, "127.0.0.1:6070")
        };
        assert!(asks("origin", "http://evil.example") && asks("origin", "null"));
        assert!(asks("origin", "http://127.0.0.1:8000"), "another port is another origin");
        assert!(asks("sec-fetch-site", "cross-site") && asks("sec-fetch-site", "same-site"));
        assert!(!asks("origin", "http://127.0.0.1:6070") && !asks("sec-fetch-site", "same-origin"));
        assert!(!asks("sec-fetch-site", "none") && !asks("accept", "*/*"), "typed by a person; no browser");
    }
}
