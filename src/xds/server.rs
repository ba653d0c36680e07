//! A control plane that is asked, and how.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::tls::XdsTls;

/// A control plane that is asked, and how.
#[derive(Clone, Debug)]
pub struct XdsServer {
    /// What it is called in messages and metrics: `HOST:PORT`, with what tells it from others.
    pub name: String,
    /// Its host: a name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is reached by TLS; without TLS if it is not said.
    pub tls: Option<XdsTls>,
    /// As whom it is asked: which set it sends depends on that.
    pub node_id: String,
    /// What else it is told of who asks.
    pub node_metadata: Vec<(String, String)>,
    /// What each stream begins with, as credentials.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Within which time it is asked again after it failed, at first and at most.
    pub pauses: (Duration, Duration),
    /// The most bytes of a response.
    pub longest_response: usize,
}
