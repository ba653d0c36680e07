//! The environment of an envoyproxy/ratelimit deployment, where it means something here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::args::Merging;
use crate::config::Options;
use crate::shape::{Emit, HeaderLine, HeaderSet};

#[expect(clippy::disallowed_methods, reason = "this is the room that reads the environment")]
fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn switched_on(name: &str) -> bool {
    variable::<String>(name).is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "t" | "true"))
}

/// `MERGE_DOMAIN_CONFIG`, unless the flag says so already, `SHADOW_MODE` and `LIMIT_RESPONSE_HEADERS_ENABLED`.
pub(super) fn options(merging: Merging) -> Options {
    Options {
        merge_domains: merging.merge_domains || switched_on("MERGE_DOMAIN_CONFIG"),
        shadow_mode: switched_on("SHADOW_MODE"),
        headers: switched_on("LIMIT_RESPONSE_HEADERS_ENABLED").then(headers).flatten().map(Arc::new),
    }
}

/// Three headers, whose names may be given by `LIMIT_LIMIT_HEADER`, `LIMIT_REMAINING_HEADER` and `LIMIT_RESET_HEADER`. A
/// name that is none is passed over.
fn headers() -> Option<HeaderSet> {
    let line = |variable_name, name: &str, shown| {
        let given = variable::<String>(variable_name).and_then(|given| HeaderLine::parse(&given, shown).ok());
        given.or_else(|| HeaderLine::parse(name, shown).ok())
    };
    let lines = [
        line("LIMIT_LIMIT_HEADER", "RateLimit-Limit", "limit")?,
        line("LIMIT_REMAINING_HEADER", "RateLimit-Remaining", "remaining")?,
        line("LIMIT_RESET_HEADER", "RateLimit-Reset", "reset_s")?,
    ];
    HeaderSet::new(lines.into(), Emit::Always).ok()
}

/// `RUNTIME_ROOT`/`RUNTIME_SUBDIRECTORY`/`RUNTIME_APPDIRECTORY`, else `./config`.
pub(super) fn config() -> PathBuf {
    let Some(root) = variable::<PathBuf>("RUNTIME_ROOT") else { return "config".into() };
    let below = variable::<PathBuf>("RUNTIME_SUBDIRECTORY").unwrap_or_default();
    let app = variable::<PathBuf>("RUNTIME_APPDIRECTORY").unwrap_or_else(|| "config".into());
    root.join(below).join(app)
}

/// `GRPC_HOST` and `GRPC_PORT`.
pub(super) fn grpc_addr() -> SocketAddr {
    address("GRPC_HOST", "GRPC_PORT", 8081)
}

/// `HOST` and `PORT`.
pub(super) fn http_addr() -> SocketAddr {
    address("HOST", "PORT", 8080)
}

/// Shells and platforms set `HOST` to names as well; what is no address is passed over.
fn address(host: &str, port: &str, default_port: u16) -> SocketAddr {
    let host: IpAddr = variable(host).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    SocketAddr::new(host, variable(port).unwrap_or(default_port))
}

/// `LOG_LEVEL`.
pub(super) fn log_level() -> Option<tracing::Level> {
    let name: String = variable("LOG_LEVEL")?;
    match name.to_lowercase().as_str() {
        "warning" => Some(tracing::Level::WARN),
        "fatal" | "panic" => Some(tracing::Level::ERROR),
        other => other.parse().ok(),
    }
}

/// `LOG_FORMAT`.
pub(super) fn logs_json() -> bool {
    variable::<String>("LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("json"))
}
