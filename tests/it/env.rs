//! `spillway env`: every variable of the environment, and what becomes of it.

use std::collections::BTreeSet;

use crate::support::command;

/// What envoyproxy/ratelimit's settings read, by the names in its `src/settings/settings.go`.
const OF_ENVOYPROXY: &str = "
    PROTO HOST PORT DEBUG_HOST DEBUG_PORT GRPC_UDS GRPC_HOST GRPC_PORT GRPC_MAX_CONNECTION_AGE GRPC_MAX_CONNECTION_AGE_GRACE
    GRPC_MAX_CONCURRENT_STREAMS MAX_CONCURRENT_REQUESTS REQUEST_TIMEOUT GRPC_SERVER_USE_TLS GRPC_SERVER_TLS_CERT
    GRPC_SERVER_TLS_KEY GRPC_CLIENT_TLS_CACERT GRPC_CLIENT_TLS_SAN LOG_LEVEL LOG_FORMAT CONFIG_TYPE
    FORCE_START_WITHOUT_INITIAL_CONFIG CONFIG_GRPC_XDS_NODE_ID CONFIG_GRPC_XDS_NODE_METADATA CONFIG_GRPC_XDS_SERVER_URL
    CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS CONFIG_GRPC_XDS_SERVER_USE_TLS
    CONFIG_GRPC_XDS_CLIENT_TLS_CERT CONFIG_GRPC_XDS_CLIENT_TLS_KEY CONFIG_GRPC_XDS_SERVER_TLS_CACERT
    CONFIG_GRPC_XDS_SERVER_TLS_SAN XDS_CLIENT_BACKOFF_INITIAL_INTERVAL XDS_CLIENT_BACKOFF_MAX_INTERVAL
    XDS_CLIENT_BACKOFF_RANDOM_FACTOR XDS_CLIENT_BACKOFF_JITTER XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES USE_DOG_STATSD
    USE_DOG_STATSD_MOGRIFIERS USE_STATSD STATSD_HOST STATSD_PORT EXTRA_TAGS STATS_FLUSH_INTERVAL DISABLE_STATS USE_PROMETHEUS
    PROMETHEUS_ADDR PROMETHEUS_PATH PROMETHEUS_MAPPER_YAML RUNTIME_ROOT RUNTIME_SUBDIRECTORY RUNTIME_APPDIRECTORY
    RUNTIME_IGNOREDOTFILES RUNTIME_WATCH_ROOT EXPIRATION_JITTER_MAX_SECONDS LOCAL_CACHE_SIZE_IN_BYTES NEAR_LIMIT_RATIO
    CACHE_KEY_PREFIX BACKEND_TYPE STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT LIMIT_RESPONSE_HEADERS_ENABLED LIMIT_LIMIT_HEADER
    LIMIT_REMAINING_HEADER LIMIT_RESET_HEADER HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED REDIS_SOCKET_TYPE REDIS_TYPE REDIS_URL
    REDIS_POOL_SIZE REDIS_AUTH REDIS_TLS REDIS_TLS_CLIENT_CERT REDIS_TLS_CLIENT_KEY REDIS_TLS_CACERT
    REDIS_TLS_SKIP_HOSTNAME_VERIFICATION REDIS_PIPELINE_WINDOW REDIS_PIPELINE_LIMIT REDIS_USE_EXPLICIT_PIPELINE REDIS_PERSECOND
    REDIS_PERSECOND_SOCKET_TYPE REDIS_PERSECOND_TYPE REDIS_PERSECOND_URL REDIS_PERSECOND_POOL_SIZE REDIS_PERSECOND_AUTH
    REDIS_PERSECOND_TLS REDIS_SENTINEL_AUTH REDIS_PERSECOND_SENTINEL_AUTH REDIS_PERSECOND_PIPELINE_WINDOW
    REDIS_PERSECOND_PIPELINE_LIMIT REDIS_PERSECOND_USE_EXPLICIT_PIPELINE REDIS_HEALTH_CHECK_ACTIVE_CONNECTION REDIS_TIMEOUT
    REDIS_PERSECOND_TIMEOUT REDIS_POOL_ON_EMPTY_BEHAVIOR REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR MEMCACHE_HOST_PORT
    MEMCACHE_MAX_IDLE_CONNS MEMCACHE_SRV MEMCACHE_SRV_REFRESH MEMCACHE_TLS MEMCACHE_TLS_CLIENT_CERT MEMCACHE_TLS_CLIENT_KEY
    MEMCACHE_TLS_CACERT MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION SHADOW_MODE QUOTA_MODE RESPONSE_DYNAMIC_METADATA
    MERGE_DOMAIN_CONFIG TRACING_ENABLED TRACING_SERVICE_NAME TRACING_SERVICE_NAMESPACE TRACING_SERVICE_INSTANCE_ID
    TRACING_EXPORTER_PROTOCOL TRACING_SAMPLING_RATE";

/// What is printed about each variable, with these set, and the exit code and what is wrong.
fn env(set: &[(&str, &str)]) -> (Vec<serde_json::Value>, i32, String) {
    let output = command(&["env", "--json"]).envs(set.iter().copied()).output().unwrap();
    let printed = serde_json::from_slice(&output.stdout).unwrap();
    (printed, output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn row(rows: &[serde_json::Value], name: &str) -> serde_json::Value {
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row for {name}")).clone()
}

#[test]
fn every_variable_of_envoyproxy_has_a_row_with_its_meaning() {
    let (rows, code, wrong) = env(&[]);
    assert_eq!((code, wrong.as_str()), (0, ""));
    let names: BTreeSet<&str> = OF_ENVOYPROXY.split_whitespace().collect();
    assert!(names.len() >= 114, "{}", names.len());
    for name in names {
        let row = row(&rows, name);
        let status = row["status"].as_str().unwrap();
        assert!(["honoured", "ignored", "refused"].contains(&status), "{row}");
        assert!(row["meaning"].as_str().is_some_and(|meaning| meaning.len() > 5), "{row}");
        assert_eq!(row["source"], "default");
    }
    for row in &rows {
        assert!(!row["meaning"].as_str().unwrap().is_empty(), "{row}");
    }
}

#[test]
fn values_are_shown_with_where_they_come_from() {
    let (rows, code, _) =
        env(&[("GRPC_PORT", "9000"), ("SPILLWAY_LOG_LEVEL", "debug"), ("LOG_LEVEL", "info")]);
    assert_eq!(code, 0);
    assert_eq!(
        (&row(&rows, "GRPC_PORT")["value"], &row(&rows, "GRPC_PORT")["source"]),
        (&"9000".into(), &"environment".into())
    );
    let overridden = row(&rows, "LOG_LEVEL");
    assert_eq!(
        (&overridden["source"], &overridden["by"]),
        (&"overridden".into(), &"SPILLWAY_LOG_LEVEL".into())
    );

    let output = command(&["env", "--set"]).env("EXPIRATION_JITTER_MAX_SECONDS", "300").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("Ignored: ") && text.contains("  EXPIRATION_JITTER_MAX_SECONDS=300\n"),
        "{text}"
    );
    assert!(!text.contains("GRPC_PORT"), "{text}");
}

#[test]
fn what_would_end_the_start_is_told() {
    for (name, value, told) in [
        ("GRPC_PORT", "31083x", "GRPC_PORT=\"31083x\": expected a port"),
        ("GRPC_MAX_CONNECTION_AGE", "5s", "expected a time of at least 10 s"),
        ("SPILLWAY_MAX_CONNECTION_AGE", "5s", "SPILLWAY_MAX_CONNECTION_AGE"),
        ("SPILLWAY_GRPC_ADDR", "nowhere", "SPILLWAY_GRPC_ADDR"),
        ("SPILLWAY_DRAINDELAY", "15s", "did you mean `SPILLWAY_DRAIN_DELAY`?"),
        ("MEMCACHE_HOST_PORT", "cache:11211", "MEMCACHE_HOST_PORT, which asks for counters in memcached"),
    ] {
        let (_, code, wrong) = env(&[(name, value)]);
        assert!(code == 2 && wrong.contains(told), "{name}: {code} {wrong}");
    }
}

/// A row that says so is true.
#[test]
fn a_refused_variable_ends_the_start() {
    let (rows, ..) = env(&[]);
    let refused: Vec<_> = rows.iter().filter(|row| row["status"] == "refused").collect();
    for row in refused {
        let name = row["name"].as_str().unwrap();
        let mut serve = command(&["serve", "--config", "/nowhere"]);
        serve.env(name, "true").env("REDIS_URL", "127.0.0.1:1");
        let output = serve.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && told.contains(name), "{name}: {told}");
    }
}

#[test]
fn a_value_writes_nothing_into_the_terminal_but_itself() {
    let evil = "0.0.0.0:8081\u{1b}]0;mine\u{7}\r\u{9b}2J";
    for set in [
        ("SPILLWAY_CONFIG", evil),
        ("SPILLWAY_GRPC_ADDR", evil),
        ("GRPC_PORT", evil),
        ("SPILLWAY_\u{1b}X", evil),
    ] {
        let output = command(&["env"]).envs([set]).output().unwrap();
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let raw: Vec<char> = printed.chars().filter(|c| c.is_control() && *c != '\n').collect();
        assert!(raw.is_empty(), "{set:?}: {raw:?}");
    }
}
