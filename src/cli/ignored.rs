//! Variables of envoyproxy/ratelimit that change nothing here, and why no limit is another one for that.

/// Names that have one reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ignored {
    pub(super) names: &'static [&'static str],
    /// Why nothing is at stake, in Markdown.
    pub(super) why: &'static str,
}

pub(super) const IGNORED: &[Ignored] = &[
    Ignored { names: &["PROTO"], why: "both ports listen on TCP" },
    Ignored {
        names: &["RUNTIME_IGNOREDOTFILES", "RUNTIME_WATCH_ROOT"],
        why: "hidden files are no policies, and files are watched wherever they are",
    },
    Ignored {
        names: &["FORCE_START_WITHOUT_INITIAL_CONFIG", "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED"],
        why: "files are read before anything listens, and without a sound configuration nothing starts",
    },
    Ignored { names: &["DEBUG_HOST", "DEBUG_PORT"], why: "there is no port for debugging" },
    Ignored {
        names: &["GRPC_MAX_CONCURRENT_STREAMS", "MAX_CONCURRENT_REQUESTS", "REQUEST_TIMEOUT"],
        why: "requests have bounds of Spillway's own, and a call is decided within its own deadline",
    },
    Ignored {
        names: &[
            "GRPC_SERVER_TLS_CERT",
            "GRPC_SERVER_TLS_KEY",
            "GRPC_CLIENT_TLS_CACERT",
            "GRPC_CLIENT_TLS_SAN",
        ],
        why: "they belong to `GRPC_SERVER_USE_TLS`, which ends the start",
    },
    Ignored {
        names: &[
            "CONFIG_GRPC_XDS_NODE_ID",
            "CONFIG_GRPC_XDS_NODE_METADATA",
            "CONFIG_GRPC_XDS_SERVER_URL",
            "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL",
            "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS",
            "CONFIG_GRPC_XDS_SERVER_USE_TLS",
            "CONFIG_GRPC_XDS_CLIENT_TLS_CERT",
            "CONFIG_GRPC_XDS_CLIENT_TLS_KEY",
            "CONFIG_GRPC_XDS_SERVER_TLS_CACERT",
            "CONFIG_GRPC_XDS_SERVER_TLS_SAN",
            "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL",
            "XDS_CLIENT_BACKOFF_MAX_INTERVAL",
            "XDS_CLIENT_BACKOFF_RANDOM_FACTOR",
            "XDS_CLIENT_BACKOFF_JITTER",
            "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES",
        ],
        why: "they belong to `CONFIG_TYPE=GRPC_XDS_SOTW`, which ends the start",
    },
    Ignored {
        names: &["USE_PROMETHEUS", "PROMETHEUS_ADDR", "PROMETHEUS_PATH", "PROMETHEUS_MAPPER_YAML"],
        why: "`/metrics` is always on `PORT`, under names of Spillway's own",
    },
    Ignored {
        names: &[
            "USE_STATSD",
            "STATSD_HOST",
            "STATSD_PORT",
            "USE_DOG_STATSD",
            "USE_DOG_STATSD_MOGRIFIERS",
            "EXTRA_TAGS",
            "STATS_FLUSH_INTERVAL",
            "DISABLE_STATS",
        ],
        why: "metrics are scraped from `/metrics`, and sent nowhere",
    },
    Ignored {
        names: &[
            "TRACING_ENABLED",
            "TRACING_SERVICE_NAME",
            "TRACING_SERVICE_NAMESPACE",
            "TRACING_SERVICE_INSTANCE_ID",
            "TRACING_EXPORTER_PROTOCOL",
            "TRACING_SAMPLING_RATE",
        ],
        why: "there are no traces",
    },
    Ignored {
        names: &["NEAR_LIMIT_RATIO"],
        why: "a rule is near its limit at 80 % of it in `spillway_rule_near_limit_total`, which decides nothing",
    },
    Ignored {
        names: &["LOCAL_CACHE_SIZE_IN_BYTES"],
        why: "each refusal is decided by its counter, and none is remembered",
    },
    Ignored {
        names: &["STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT"],
        why: "a limit says by `count_denied`, and a domain by `evaluate`, what a refusal counts",
    },
    Ignored {
        names: &["EXPIRATION_JITTER_MAX_SECONDS"],
        why: "counters that have ended are forgotten a few at a time",
    },
    Ignored {
        names: &["CACHE_KEY_PREFIX"],
        why: "what keys in Redis begin with is said by `?prefix=` of `--store`",
    },
    Ignored {
        names: &["RESPONSE_DYNAMIC_METADATA"],
        why: "answers always have metadata, with the rule, the numbers and the subject instead of the request",
    },
    Ignored { names: &["REDIS_TIMEOUT"], why: "`--store-timeout` says how long a store is waited for" },
    Ignored {
        names: &["REDIS_POOL_SIZE", "REDIS_POOL_ON_EMPTY_BEHAVIOR"],
        why: "there is no pool: calls share connections and wait for none",
    },
    Ignored {
        names: &["REDIS_PIPELINE_WINDOW", "REDIS_PIPELINE_LIMIT", "REDIS_USE_EXPLICIT_PIPELINE"],
        why: "calls that come together travel together, and none waits for others",
    },
    Ignored {
        names: &["REDIS_HEALTH_CHECK_ACTIVE_CONNECTION"],
        why: "a store that cannot be reached makes no replica unhealthy: `on_store_failure` says what happens",
    },
    Ignored {
        names: &[
            "REDIS_PERSECOND_SOCKET_TYPE",
            "REDIS_PERSECOND_TYPE",
            "REDIS_PERSECOND_POOL_SIZE",
            "REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR",
            "REDIS_PERSECOND_AUTH",
            "REDIS_PERSECOND_SENTINEL_AUTH",
            "REDIS_PERSECOND_TLS",
            "REDIS_PERSECOND_TIMEOUT",
            "REDIS_PERSECOND_PIPELINE_WINDOW",
            "REDIS_PERSECOND_PIPELINE_LIMIT",
            "REDIS_PERSECOND_USE_EXPLICIT_PIPELINE",
        ],
        why: "they belong to `REDIS_PERSECOND`, which ends the start",
    },
    Ignored {
        names: &[
            "MEMCACHE_MAX_IDLE_CONNS",
            "MEMCACHE_SRV_REFRESH",
            "MEMCACHE_TLS",
            "MEMCACHE_TLS_CLIENT_CERT",
            "MEMCACHE_TLS_CLIENT_KEY",
            "MEMCACHE_TLS_CACERT",
            "MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION",
        ],
        why: "they belong to memcached, which ends the start",
    },
];

/// The same of names that are not listed, by how they begin: newer versions have more of them.
pub(super) const FAMILIES: &[&str] = &["REDIS_", "MEMCACHE_", "TRACING_", "CONFIG_GRPC_XDS_", "XDS_CLIENT_"];
