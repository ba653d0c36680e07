//! Every variable of the environment that is honoured, for the table in the README.

use clap::CommandFactory;

use super::args::Args;
use super::ignored::{FAMILIES, IGNORED};
use super::trace_variables::{BUILT_WITHOUT, TRACES};

/// Those of envoyproxy/ratelimit, and what is common among programs. What they say, in Markdown.
pub(super) const OTHERS: &[(&str, &str)] = &[
    (
        "RUNTIME_ROOT",
        "the policies are in `$RUNTIME_ROOT/$RUNTIME_SUBDIRECTORY/$RUNTIME_APPDIRECTORY`, unless the limits come by xDS; called as `ratelimit`, `/srv/runtime_data/current` by default",
    ),
    ("RUNTIME_SUBDIRECTORY", "a part of that path; nothing by default"),
    ("RUNTIME_APPDIRECTORY", "the last part of that path; `config` by default"),
    ("GRPC_HOST", "where Envoy calls: an address, or a name that has one; every address by default"),
    ("GRPC_PORT", "its port; 8081 by default"),
    ("GRPC_UDS", "the file of a Unix socket where Envoy calls instead, as `/run/ratelimit.sock`"),
    ("GRPC_SERVER_USE_TLS", "`true`: TLS for gRPC, with these four. Without it they have no effect"),
    (
        "GRPC_SERVER_TLS_CERT",
        "a file with the certificate and its chain; read again when it changes, as all four",
    ),
    ("GRPC_SERVER_TLS_KEY", "a file with its key"),
    (
        "GRPC_CLIENT_TLS_CACERT",
        "a file with the authorities that issue the certificates of clients, which are asked for then",
    ),
    (
        "GRPC_CLIENT_TLS_SAN",
        "the name that a client's certificate has to have; several with `,` between them: one of these",
    ),
    (
        "GRPC_MAX_CONNECTION_AGE",
        "how old a connection may become before its client is asked to open another one, as `24h`; any age by default",
    ),
    ("GRPC_MAX_CONNECTION_AGE_GRACE", "how long after that its calls may take; 1 h by default"),
    ("HOST", "where operators look; every address by default"),
    ("PORT", "its port; 8080 by default"),
    (
        "DEBUG_HOST",
        "where operators see and change what is going on; this machine alone by default. Another address needs `--admin-token-file`",
    ),
    ("DEBUG_PORT", "its port; 6070 by default"),
    ("LOG_LEVEL", "`error`, `warn`, `info`, `debug`, `trace`; also `warning`, `fatal` and `panic`"),
    ("LOG_FORMAT", "`text`, `json`"),
    ("MERGE_DOMAIN_CONFIG", "`true`: several files may describe one domain"),
    (
        "SHADOW_MODE",
        "`true`: every limit is counted and reported, and refuses nothing; statuses in answers say OVER_LIMIT all the same, and the overall code OK",
    ),
    ("QUOTA_MODE", "`true`: the same"),
    (
        "NEAR_LIMIT_RATIO",
        "from which part of a limit on hits count as near it, from 0 to 1; `0.8` by default",
    ),
    (
        "STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT",
        "`true`: where one limit of a request refuses, only those that refuse count it; domains that say `evaluate` go on by that",
    ),
    (
        "RESPONSE_DYNAMIC_METADATA",
        "`true`: the metadata of answers repeats the request, with `domain`, `descriptors` and `hitsAddend`, as `--request-metadata`; credentials as `…`",
    ),
    ("LIMIT_RESPONSE_HEADERS_ENABLED", "`true`: three headers on the answers of policies without `headers`"),
    ("LIMIT_LIMIT_HEADER", "the name of the first; `RateLimit-Limit` by default"),
    ("LIMIT_REMAINING_HEADER", "the name of the second; `RateLimit-Remaining` by default"),
    ("LIMIT_RESET_HEADER", "the name of the third; `RateLimit-Reset` by default"),
    ("BACKEND_TYPE", "`redis`, where `REDIS_URL` says; `memory`. Anything else ends the start"),
    ("REDIS_URL", "counters are kept in this Redis or Valkey server, `host:port`; `--store` prevails"),
    ("REDIS_AUTH", "its password, or `user:password`"),
    (
        "REDIS_TYPE",
        "`single`; `sentinel`, with `REDIS_URL` as `NAME,host:port,host:port`; `cluster`, as `host:port,host:port`. Anything else ends the start",
    ),
    ("CACHE_KEY_PREFIX", "what keys in Redis begin with; `spillway:` by default"),
    ("REDIS_SENTINEL_AUTH", "the sentinels' own password, or `user:password`"),
    ("REDIS_SOCKET_TYPE", "`tcp`. Anything else beside `REDIS_URL` ends the start"),
    (
        "REDIS_PERSECOND",
        "`false`. A second Redis for limits of a second ends the start: no two servers decide on one request at once. What asks too much of one server is for `REDIS_TYPE=cluster`",
    ),
    ("REDIS_PERSECOND_URL", "ends the start, unless `REDIS_PERSECOND` is `false`"),
    ("REDIS_TLS", "`true`: TLS to it, as `rediss://` in `REDIS_URL`"),
    ("REDIS_TLS_CACERT", "a file with the authorities that are trusted; those of the system by default"),
    ("REDIS_TLS_CLIENT_CERT", "a file with the certificate that is shown to it"),
    ("REDIS_TLS_CLIENT_KEY", "a file with its key"),
    ("REDIS_TLS_SKIP_HOSTNAME_VERIFICATION", "`true`: its certificate may be of any name"),
    (
        "STATE_DIRECTORY",
        "set by systemd for `StateDirectory=`: counters are kept in the first of these, unless `--store` or `REDIS_URL` says otherwise",
    ),
    ("MEMCACHE_HOST_PORT", "asks for counters in memcached, and ends the start"),
    ("MEMCACHE_SRV", "the same"),
    (
        "CONFIG_TYPE",
        "`FILE`; `GRPC_XDS_SOTW`: the limits come from an xDS server. Anything else ends the start",
    ),
    (
        "CONFIG_GRPC_XDS_SERVER_URL",
        "the xDS server, `host:port`; `localhost:18000` by default. `--xds` adds others",
    ),
    (
        "CONFIG_GRPC_XDS_NODE_ID",
        "as whom xDS servers are asked whose URL has no `node_id`; `default` by default",
    ),
    ("CONFIG_GRPC_XDS_NODE_METADATA", "what else they are told, as `region=eu,stage=prod`"),
    ("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", "headers that they are sent, as `x-token:secret,x-team:a`"),
    ("CONFIG_GRPC_XDS_SERVER_USE_TLS", "`true`: TLS to it, as `https://` in `--xds`"),
    (
        "CONFIG_GRPC_XDS_SERVER_TLS_CACERT",
        "a file with the authorities that are trusted to issue an xDS server's certificate; those of the system by default",
    ),
    ("CONFIG_GRPC_XDS_SERVER_TLS_SAN", "the name that its certificate must have; its host by default"),
    (
        "CONFIG_GRPC_XDS_CLIENT_TLS_CERT",
        "a file with the certificate that is shown to it; read again when it changes",
    ),
    ("CONFIG_GRPC_XDS_CLIENT_TLS_KEY", "a file with its key"),
    (
        "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL",
        "within which time an xDS server that failed is asked again at first; 1 s by default",
    ),
    ("XDS_CLIENT_BACKOFF_MAX_INTERVAL", "and at most; 30 s by default"),
    ("XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", "the most bytes that it may send at once; 64 MiB by default"),
    (
        "FORCE_START_WITHOUT_INITIAL_CONFIG",
        "`true`: calls are served, and everything passes, before each xDS server has sent a configuration without mistakes. Otherwise nobody is served until then",
    ),
    (
        "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED",
        "`true`, with an xDS server: ready only while there is a domain",
    ),
    (
        "USE_PROMETHEUS",
        "`true`: the metrics of envoyproxy/ratelimit are on /metrics, too, as with `--ratelimit-metrics`",
    ),
    ("USE_STATSD", "`true`: the statistics of envoyproxy/ratelimit are sent to StatsD by UDP"),
    ("USE_DOG_STATSD", "`true`: they are sent to DogStatsD, where `EXTRA_TAGS` are tags"),
    ("STATSD_HOST", "where they are sent; `localhost` by default"),
    ("STATSD_PORT", "the port there; 8125 by default"),
    ("STATS_FLUSH_INTERVAL", "how often, as `10s`, which is the default"),
    ("EXTRA_TAGS", "what goes with each of them, as `region:eu,stage:prod`"),
    ("DISABLE_STATS", "`true`: nothing is sent"),
    ("NO_COLOR", "anything: no colours"),
];

/// Those of [`OTHERS`] that ask for what there is not, whatever they say but «no».
pub(super) const REFUSED: &[&str] =
    &["REDIS_PERSECOND", "REDIS_PERSECOND_URL", "MEMCACHE_HOST_PORT", "MEMCACHE_SRV"];

/// Those that say nothing without `GRPC_SERVER_USE_TLS`.
pub(super) const OF_TLS: &[&str] =
    &["GRPC_SERVER_TLS_CERT", "GRPC_SERVER_TLS_KEY", "GRPC_CLIENT_TLS_CACERT", "GRPC_CLIENT_TLS_SAN"];

/// Whether there can be traces.
const HAS_TRACES: bool = cfg!(feature = "otlp");

/// Those that are honoured here.
pub(super) fn others() -> impl Iterator<Item = (&'static str, &'static str)> {
    OTHERS.iter().chain(TRACES.iter().filter(|_| HAS_TRACES)).copied()
}

fn is_honoured(name: &str) -> bool {
    others().any(|(known, _)| known == name)
}

/// Whether it is one of envoyproxy/ratelimit's that changes nothing here. A line of the log names those that are set.
pub(super) fn is_without_effect(name: &str) -> bool {
    let is_listed = IGNORED.iter().any(|ignored| ignored.names.contains(&name));
    !is_honoured(name) && (is_listed || FAMILIES.iter().any(|family| name.starts_with(family)))
}

/// Those of envoyproxy/ratelimit that change nothing here: the names that have one reason, and the reason.
pub fn ignored_variables() -> Vec<(Vec<&'static str>, &'static str)> {
    let each = IGNORED.iter().map(|ignored| {
        let names = ignored.names.iter().copied().filter(|name| !is_honoured(name));
        (names.collect::<Vec<_>>(), ignored.why)
    });
    let of_traces = (TRACES.iter().map(|(name, _)| *name).filter(|_| !HAS_TRACES).collect(), BUILT_WITHOUT);
    each.chain([of_traces]).filter(|(names, _): &(Vec<_>, _)| !names.is_empty()).collect()
}

/// A variable that says something; an empty one does not. Every one is in the table that the README shows.
#[expect(clippy::disallowed_methods, reason = "only `cli` reads the environment")]
pub(super) fn variable(name: &str) -> Option<String> {
    debug_assert!(is_honoured(name) || is_without_effect(name), "{name} is not in the table of variables");
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    Some(value).filter(|value| !value.is_empty())
}

/// Whether it is set, and to something else than «no».
pub(super) fn says_something(name: &str) -> bool {
    variable(name).is_some_and(|value| truth(&value) != Some(false))
}

/// What a switch says; `None` of what is not understood.
pub(super) fn truth(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "1" | "t" | "true" | "y" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Variables of the environment that are almost one of Spillway's, each with the one that is meant. Others are let be:
/// Kubernetes sets `SPILLWAY_SERVICE_HOST` and the like for a service of that name.
pub(super) fn misspelt() -> Vec<(String, String)> {
    let known: Vec<String> = variables().into_iter().map(|(name, ..)| name).collect();
    let meant = |name: &str| {
        let near = |known: &&String| strsim::osa_distance(name, known) <= 2;
        if !name.starts_with("SPILLWAY_") || known.iter().any(|known| known == name) {
            return None;
        }
        known.iter().find(near).cloned()
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter_map(|name| Some((meant(&name)?, name))).map(|(meant, name)| (name, meant)).collect()
}

/// Every variable that is honoured: its name, the flag that says the same, if there is one, and what it says.
pub fn variables() -> Vec<(String, Option<String>, String)> {
    let mut found: Vec<(String, Option<String>, String)> = Vec::new();
    for command in Args::command().get_subcommands() {
        for argument in command.get_arguments() {
            let (Some(name), Some(flag)) = (argument.get_env(), argument.get_long()) else { continue };
            let name = name.to_string_lossy().into_owned();
            if found.iter().all(|(known, ..)| *known != name) {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                found.push((name, Some(format!("--{flag}")), help));
            }
        }
    }
    found.extend(others().map(|(name, says)| (name.to_owned(), None, says.to_owned())));
    found
}

#[cfg(test)]
mod tests {
    use super::others;

    /// The other way round, a variable that is not listed is refused where it is read, in builds for tests.
    #[test]
    fn what_is_listed_is_read_somewhere() {
        let readers = [
            include_str!("compatibility.rs"),
            include_str!("mod.rs"),
            include_str!("redis_variables.rs"),
            include_str!("traces.rs"),
            include_str!("xds.rs"),
        ]
        .concat();
        for (name, _) in others() {
            assert!(readers.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
