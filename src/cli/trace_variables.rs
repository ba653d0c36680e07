//! The variables of the environment that say which calls are traced, and where their spans go: those of envoyproxy/ratelimit, and
//! those that the specification of OpenTelemetry has for exporters
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

/// What they say, in Markdown.
pub(super) const TRACES: &[(&str, &str)] = &[
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "a collector, as `http://collector:4318`: calls are traced, and their spans sent to `/v1/traces` there; by gRPC to the collector as it is",
    ),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "the same for spans alone, with the whole path"),
    (
        "TRACING_ENABLED",
        "`true`: calls are traced without an endpoint too, and spans sent to this machine. `false`: they are not traced",
    ),
    ("OTEL_SDK_DISABLED", "`true`: calls are not traced"),
    ("OTEL_TRACES_EXPORTER", "`otlp`, which is the default. `none`: calls are not traced"),
    ("TRACING_EXPORTER_PROTOCOL", "how spans are sent: `http`, which is the default, or `grpc`"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "the same: `http/protobuf` or `grpc`"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "the same for spans alone"),
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "headers that go along, as `authorization=Bearer%20secret,x-team=a`, with what is special in URLs as `%20`",
    ),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "the same for spans alone"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "how long one try may take, in milliseconds; 10000 by default"),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "the same for spans alone"),
    (
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "a file with the authorities that are trusted where the endpoint is `https`; those of the system by default",
    ),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "the same for spans alone"),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "a file with the certificate that is shown to the collector"),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "the same for spans alone"),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "a file with its key"),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "the same for spans alone"),
    (
        "TRACING_SAMPLING_RATE",
        "how many of the calls are traced that belong to no trace of their caller's, from 0 to 1; all by default. Others are traced if their callers are",
    ),
    (
        "OTEL_TRACES_SAMPLER",
        "the same: `parentbased_traceidratio`, `parentbased_always_on` or `parentbased_always_off`; without `parentbased_` whatever callers do",
    ),
    ("OTEL_TRACES_SAMPLER_ARG", "the rate of a `traceidratio`, from 0 to 1; 1 by default"),
    ("TRACING_SERVICE_NAME", "the server's `service.name`; `spillway` by default"),
    ("OTEL_SERVICE_NAME", "the same"),
    ("TRACING_SERVICE_NAMESPACE", "its `service.namespace`; none by default"),
    ("TRACING_SERVICE_INSTANCE_ID", "its `service.instance.id`; a random one by default"),
    ("OTEL_RESOURCE_ATTRIBUTES", "what else is known of it, as `deployment.environment.name=prod,region=eu`"),
    (
        "OTEL_BSP_SCHEDULE_DELAY",
        "how long a span waits for others to be sent with, in milliseconds; 5000 by default",
    ),
    (
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "how many calls' spans may wait; 2048 by default. What is more is dropped, and counted",
    ),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "how many are sent at once; 512 by default"),
];

/// Why they change nothing in a program that cannot trace.
pub(super) const BUILT_WITHOUT: &str = "this program is built without the feature `otlp`";
