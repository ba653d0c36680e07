//! Where spans are sent, and which.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::sampler::Sampler;
use crate::tls::ClientFiles;

/// Where spans are sent, how, and which.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// The collector.
    pub endpoint: Endpoint,
    /// What is spoken with it.
    pub protocol: Protocol,
    /// What goes with each batch: credentials, as a rule.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long one try to send a batch may take, its connection included.
    pub timeout: Duration,
    /// Whom to trust as a collector by `https`, and what to show it.
    pub tls: ClientFiles,
    /// Which calls are traced.
    pub sampler: Sampler,
    /// Who this server is: attributes of its resource, by the names of OpenTelemetry's semantic conventions.
    pub resource: Vec<(String, String)>,
    /// How long a span waits for others to be sent with.
    pub delay: Duration,
    /// The most spans that wait. What comes when there are so many is dropped, and counted.
    pub most_waiting: usize,
    /// The most spans of a batch.
    pub largest_batch: usize,
}

impl TraceOptions {
    /// How long one try may take where nothing else is said.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// How long a span waits for others where nothing else is said.
    pub const DELAY: Duration = Duration::from_secs(5);
    /// The most spans that wait where nothing else is said.
    pub const MOST_WAITING: usize = 2048;
    /// The most spans of a batch where nothing else is said.
    pub const LARGEST_BATCH: usize = 512;

    /// Sends spans to `endpoint`, as the specification of OpenTelemetry has it where nothing else is said.
    pub fn to(endpoint: Endpoint, protocol: Protocol) -> Self {
        Self {
            endpoint,
            protocol,
            headers: Vec::new(),
            timeout: Self::TIMEOUT,
            tls: ClientFiles::default(),
            sampler: Sampler::parent_based(1.0),
            resource: Vec::new(),
            delay: Self::DELAY,
            most_waiting: Self::MOST_WAITING,
            largest_batch: Self::LARGEST_BATCH,
        }
    }
}

/// How batches are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    Http,
}

impl Protocol {
    /// The port of collectors for it.
    pub fn port(self) -> u16 {
        match self {
            Self::Grpc => 4317,
            Self::Http => 4318,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "OTLP/gRPC",
            Self::Http => "OTLP/HTTP",
        })
    }
}

/// Where a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// With the slash that it begins with.
    pub(super) path: String,
}

impl Endpoint {
    /// The endpoint at `url`, which may end in a path, but for gRPC in none. Without a port it is the scheme's own.
    pub fn parse(url: &str, protocol: Protocol) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?.as_str();
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
        let is_wrong_port = after_host.contains(':') && uri.port_u16().is_none();
        let is_wrong_path = protocol == Protocol::Grpc && !matches!(uri.path(), "" | "/");
        // A password in a URL would be shown wherever the URL is.
        if host.is_empty()
            || is_wrong_port
            || is_wrong_path
            || authority.contains('@')
            || uri.query().is_some()
        {
            return None;
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Some(Self { is_tls, host, port, path: uri.path().to_owned() })
    }

    /// The collector on this machine.
    pub fn local(protocol: Protocol) -> Self {
        let path = String::from("/");
        Self { is_tls: false, host: "localhost".to_owned(), port: protocol.port(), path }
    }

    /// Where a collector takes traces whose endpoint for everything this is, by HTTP: `/v1/traces` below it.
    #[must_use]
    pub fn of_traces(mut self) -> Self {
        self.path = format!("{}/v1/traces", self.path.trim_end_matches('/'));
        self
    }

    /// `host:port`, as in a URL.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let path = if self.path == "/" { "" } else { &self.path };
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_whose_path_is_for_http_alone() {
        let parsed = |url, protocol| Endpoint::parse(url, protocol).map(|endpoint| endpoint.to_string());
        for (url, http, grpc) in [
            ("http://otel:4318", Some("http://otel:4318"), Some("http://otel:4318")),
            ("http://otel:4318/", Some("http://otel:4318"), Some("http://otel:4318")),
            ("https://otel", Some("https://otel:443"), Some("https://otel:443")),
            ("http://[::1]:1/a", Some("http://[::1]:1/a"), None),
            ("otel:4317", None, None),
            ("otel", None, None),
            ("http://otel:x", None, None),
            ("http://user:password@otel:1", None, None),
            ("ftp://otel", None, None),
            ("", None, None),
        ] {
            assert_eq!(parsed(url, Protocol::Http).as_deref(), http, "{url}");
            assert_eq!(parsed(url, Protocol::Grpc).as_deref(), grpc, "{url}");
        }
        let of_traces = |url| Endpoint::parse(url, Protocol::Http).unwrap().of_traces().path;
        assert_eq!(of_traces("http://otel"), "/v1/traces");
        assert_eq!(of_traces("http://otel/otlp/"), "/otlp/v1/traces");
        assert_eq!(Endpoint::local(Protocol::Grpc).to_string(), "http://localhost:4317");
    }
}
