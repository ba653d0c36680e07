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
    Ignored { names: &["DEBUG_HOST", "DEBUG_PORT"], why: "there is no port for debugging" },
    Ignored {
        names: &["GRPC_MAX_CONCURRENT_STREAMS", "MAX_CONCURRENT_REQUESTS", "REQUEST_TIMEOUT"],
        why: "requests have bounds of Spillway's own, and a call is decided within its own deadline",
    },
    Ignored {
        names: &["GRPC_SERVER_TLS_CA_CERT"],
        why: "Envoy Gateway sets it and envoyproxy/ratelimit reads `GRPC_CLIENT_TLS_CACERT`: clients are asked for certificates where \
              that is set",
    },
    Ignored {
        names: &[
            "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL",
            "XDS_CLIENT_BACKOFF_RANDOM_FACTOR",
            "XDS_CLIENT_BACKOFF_JITTER",
        ],
        why: "an xDS server that failed is asked again at any time within `XDS_CLIENT_BACKOFF_INITIAL_INTERVAL`, and twice that after each failure more",
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
        names: &["LOCAL_CACHE_SIZE_IN_BYTES"],
        why: "each refusal is decided by its counter, and none is remembered",
    },
    Ignored {
        names: &["EXPIRATION_JITTER_MAX_SECONDS"],
        why: "counters that have ended are forgotten a few at a time",
    },
    Ignored {
        names: &["CACHE_KEY_PREFIX"],
        why: "what keys in Redis begin with is said by `?prefix=` of `--store`",
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
pub(super) const FAMILIES: &[&str] =
    &["REDIS_", "MEMCACHE_", "TRACING_", "OTEL_", "CONFIG_GRPC_XDS_", "XDS_CLIENT_"];
