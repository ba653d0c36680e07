//! What the environment says of traces: which calls are traced, and where their spans go.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::reading::{Reading, Wrong};
use super::variables::{truth, variable};
use crate::clock::Clock;
use crate::limiter::Limiter;
use crate::model::KeySecret;
use crate::store::Store;
use crate::telemetry::{IgnoredValue, Metrics, build};
use crate::tls::ClientFiles;
use crate::traces::{Endpoint, Exporter, Protocol, Sampler, TraceOptions};

/// The most calls whose spans may be kept until they are sent: at most some 2 KiB for each.
const MOST_WAITING: usize = 1 << 20;

/// What the environment says of traces.
#[derive(Debug)]
pub(super) struct Traces {
    options: Option<TraceOptions>,
    ignored: Vec<Wrong>,
}

impl Traces {
    /// Nothing is traced.
    pub(super) fn none() -> Self {
        Self { options: None, ignored: Vec::new() }
    }

    /// Reads it; where calls are not traced, no more than that. What is not understood of where spans go and with which credentials,
    /// and of the variables of envoyproxy/ratelimit, goes to `wrong`. The rest of OpenTelemetry's is done without, as its specification
    /// asks: what it says of numbers and choices other programs of a cluster may understand.
    pub(super) fn read(wrong: &mut Vec<Wrong>) -> Self {
        let mut read = Variables { wrong, ignored: Vec::new() };
        let options = read.is_on().then(|| read.options());
        Self { options, ignored: read.ignored }
    }

    /// What was not understood and is done without.
    pub(super) fn ignored(&self) -> &[Wrong] {
        &self.ignored
    }

    /// Starts to send spans, if that is asked for. The clock of `limiter` says when they ended.
    ///
    /// # Errors
    ///
    /// Why that cannot be.
    pub(super) fn start<S: Store, C: Clock>(
        &self,
        metrics: &Arc<Metrics>,
        limiter: &Arc<Limiter<S, C>>,
    ) -> Result<Option<Exporter>, String> {
        for Wrong { name, value, expected } in &self.ignored {
            IgnoredValue { variable: name, value, expected }.emit();
        }
        let Some(options) = &self.options else { return Ok(None) };
        options
            .tls
            .check()
            .map_err(|error| format!("TLS to the collector `{}`: {error}", options.endpoint))?;
        let limiter = Arc::clone(limiter);
        let started = Exporter::start(options.clone(), metrics, move || limiter.clock.read().wall);
        started.map(Some).map_err(|error| format!("cannot trace calls: {error}"))
    }
}

/// What holds for spans alone, or else for everything that is exported.
fn of_traces([alone, all]: [&'static str; 2]) -> Option<String> {
    variable(alone).or_else(|| variable(all))
}

fn local(protocol: Protocol) -> Endpoint {
    let endpoint = Endpoint::local(protocol);
    if protocol == Protocol::Http { endpoint.of_traces() } else { endpoint }
}

/// Where traces are sent for spans alone, or else with everything that is exported.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Reads variables.
struct Variables<'w> {
    /// What ends the start.
    wrong: &'w mut Vec<Wrong>,
    /// What is done without.
    ignored: Vec<Wrong>,
}

impl Variables<'_> {
    fn strict(&mut self) -> Reading<'_> {
        Reading { wrong: self.wrong }
    }

    fn lenient(&mut self) -> Reading<'_> {
        Reading { wrong: &mut self.ignored }
    }

    fn is_on(&mut self) -> bool {
        let is_enabled = self.strict().parsed("TRACING_ENABLED", "`true` or `false`", truth);
        let is_on = is_enabled.unwrap_or_else(|| of_traces(ENDPOINTS).is_some());
        if !is_on {
            return false;
        }
        let is_disabled = self.lenient().parsed("OTEL_SDK_DISABLED", "`true` or `false`", truth);
        let has_exporter =
            self.lenient().parsed("OTEL_TRACES_EXPORTER", "`otlp` or `none`", |text| match text {
                "otlp" => Some(true),
                "none" => Some(false),
                _ => None,
            });
        is_disabled != Some(true) && has_exporter != Some(false)
    }

    fn options(&mut self) -> TraceOptions {
        let protocol = self.protocol();
        let endpoint = self.endpoint(protocol).unwrap_or_else(|| local(protocol));
        let mut options = TraceOptions {
            headers: self.headers(),
            tls: self.files(),
            sampler: self.sampler(),
            resource: self.resource(),
            ..TraceOptions::to(endpoint, protocol)
        };
        let mut read = self.lenient();
        let names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
        if let Some(timeout) = read.of_traces(names, "a time in milliseconds, as `10000`", milliseconds) {
            options.timeout = timeout;
        }
        let expected = "a time in milliseconds, as `5000`";
        if let Some(delay) = read.parsed("OTEL_BSP_SCHEDULE_DELAY", expected, milliseconds) {
            options.delay = delay;
        }
        let expected = "a number from 1 to 1048576, as `2048`";
        if let Some(most) = read.parsed("OTEL_BSP_MAX_QUEUE_SIZE", expected, within) {
            options.most_waiting = most;
        }
        let expected = "a number from 1 to 1048576, as `512`";
        if let Some(largest) = read.parsed("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", expected, within) {
            options.largest_batch = largest;
        }
        options
    }

    fn protocol(&mut self) -> Protocol {
        let ratelimit =
            self.strict().parsed("TRACING_EXPORTER_PROTOCOL", "`http` or `grpc`", |text| match text {
                "http" => Some(Protocol::Http),
                "grpc" => Some(Protocol::Grpc),
                _ => None,
            });
        let names = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        let otel = self.lenient().of_traces(names, "`http/protobuf` or `grpc`", |text| match text {
            "http/protobuf" => Some(Protocol::Http),
            "grpc" => Some(Protocol::Grpc),
            _ => None,
        });
        ratelimit.or(otel).unwrap_or(Protocol::Http)
    }

    fn endpoint(&mut self, protocol: Protocol) -> Option<Endpoint> {
        let expected = match protocol {
            Protocol::Http => "a URL without a password, as `http://collector:4318`",
            Protocol::Grpc => "a URL without a path or a password, as `http://collector:4317`",
        };
        let parse = |text: &str| Endpoint::parse(text, protocol);
        let [alone, all] = ENDPOINTS.map(|name| self.strict().parsed(name, expected, parse));
        let all = if protocol == Protocol::Http { all.map(Endpoint::of_traces) } else { all };
        alone.or(all)
    }

    fn headers(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
        let expected = "headers, as `x-token=secret,x-team=a`";
        let headers = self.strict().of_traces(names, expected, |text| {
            let each = pairs(text)?.into_iter().map(|(name, value)| {
                let mut value = HeaderValue::from_str(&value).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::from_str(&name).ok()?, value))
            });
            each.collect::<Option<Vec<_>>>()
        });
        headers.unwrap_or_default()
    }

    fn files(&mut self) -> ClientFiles {
        let certificate = of_traces([
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ]);
        let key = of_traces(["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"]);
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (Some(certificate), None) => {
                let expected = "OTEL_EXPORTER_OTLP_CLIENT_KEY with it, the file of its key";
                self.wrong.push(Wrong::new("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate, expected));
                None
            }
            (None, Some(key)) => {
                let expected = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE with it, the file of its certificate";
                self.wrong.push(Wrong::new("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key, expected));
                None
            }
            (None, None) => None,
        };
        let authorities = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
        ClientFiles { authorities: of_traces(authorities).map(Into::into), identity }
    }

    fn sampler(&mut self) -> Sampler {
        const PART: &str = "a part from 0 to 1, as `0.1`";
        let rate = self.strict().parsed("TRACING_SAMPLING_RATE", PART, part);
        let argument = self.lenient().parsed("OTEL_TRACES_SAMPLER_ARG", PART, part).unwrap_or(1.0);
        let expected = "`parentbased_always_on`, `parentbased_always_off`, `parentbased_traceidratio`, or one of them without \
                        `parentbased_`";
        let otel = self.lenient().parsed("OTEL_TRACES_SAMPLER", expected, |text| {
            let (sampler, of_roots): (fn(f64) -> Sampler, _) = match text.strip_prefix("parentbased_") {
                Some(of_roots) => (Sampler::parent_based, of_roots),
                None => (Sampler::of_all, text),
            };
            let rate = match of_roots {
                "always_on" => 1.0,
                "always_off" => 0.0,
                "traceidratio" => argument,
                _ => return None,
            };
            Some(sampler(rate))
        });
        rate.map(Sampler::parent_based).or(otel).unwrap_or(Sampler::parent_based(1.0))
    }

    /// Who this server is.
    fn resource(&mut self) -> Vec<(String, String)> {
        let attributes = self.lenient().parsed(
            "OTEL_RESOURCE_ATTRIBUTES",
            "names and values, as in `region=eu,stage=prod`",
            pairs,
        );
        let mut resource = attributes.unwrap_or_default();
        let [high, low] = KeySecret::draw();
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0xfff,
            low & 0xffff_ffff_ffff
        );
        let known = [
            (
                "service.name",
                variable("TRACING_SERVICE_NAME").or_else(|| variable("OTEL_SERVICE_NAME")),
                "spillway",
            ),
            ("service.namespace", variable("TRACING_SERVICE_NAMESPACE"), ""),
            ("service.instance.id", variable("TRACING_SERVICE_INSTANCE_ID"), &*id),
            ("service.version", None, build::VERSION),
        ];
        for (name, value, default) in known {
            let listed = resource.iter().position(|(known, _)| known == name);
            match (value, listed) {
                (Some(value), Some(at)) => resource[at].1 = value,
                (Some(value), None) => resource.push((name.to_owned(), value)),
                (None, None) if !default.is_empty() => resource.push((name.to_owned(), default.to_owned())),
                (None, _) => {}
            }
        }
        resource
    }
}

impl Reading<'_> {
    /// What holds for spans alone, or else for everything that is exported. Both are read, so that both are told where they are not
    /// understood.
    fn of_traces<T>(
        &mut self,
        [alone, all]: [&'static str; 2],
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let alone = self.parsed(alone, expected, &parse);
        let all = self.parsed(all, expected, &parse);
        alone.or(all)
    }
}

/// `name=value,name=value`, with what is special in URLs as `%20`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.trim().to_owned(), value.into_owned())).filter(|(name, _)| !name.is_empty())
    };
    text.split(',').filter(|one| !one.trim().is_empty()).map(pair).collect()
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().filter(|time| *time > 0).map(Duration::from_millis)
}

fn within(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|number| (1..=MOST_WAITING).contains(number))
}

fn part(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|part| (0.0..=1.0).contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_pairs_as_opentelemetry_writes_them() {
        let of = |text| pairs(text).map(|pairs| format!("{pairs:?}"));
        assert_eq!(of("a=b, c = d%20e ,,f=").as_deref(), Some(r#"[("a", "b"), ("c", "d e"), ("f", "")]"#));
        for wrong in ["a", "=b", "a=%ff"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!((part("0.25"), part("1.5"), part("NaN"), part("-0.1")), (Some(0.25), None, None, None));
        assert_eq!(
            (milliseconds("10"), milliseconds("0"), milliseconds("10s")),
            (Some(Duration::from_millis(10)), None, None)
        );
    }
}
