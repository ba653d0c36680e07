//! One stream of the aggregated discovery service.

use std::time::Duration;

use http::uri::PathAndQuery;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Request, Status, Streaming};

use super::bounds::BoundedCodec;
use super::connection::Connection;
use super::error::chain;
use super::proto::{DiscoveryRequest, DiscoveryResponse, METHOD, Node, Status as Detail, TYPE_URL};
use super::server::XdsServer;
use crate::telemetry::build;

/// Requests that are not yet sent. A server has one answer at a time to each of its responses.
const WAITING: usize = 4;
/// How long a server may leave them there.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The requests of a stream: what was accepted on it, and what is asked next.
#[derive(Debug)]
pub(super) struct Asking {
    requests: mpsc::Sender<DiscoveryRequest>,
    node: Node,
    /// The version that was accepted last. On a new stream there is none: a server that has been restarted may count anew, and would
    /// send nothing to whoever seems to have its version.
    version: String,
}

/// Why a response is refused, for its server.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) nonce: String,
    pub(super) why: String,
}

impl Asking {
    /// Has a response put in force.
    pub(super) async fn accept(&mut self, version: String, nonce: String) -> Result<(), String> {
        self.version = version;
        self.send(nonce, None).await
    }

    /// Tells why a response is refused.
    pub(super) async fn refuse(&mut self, refusal: Refusal) -> Result<(), String> {
        let Refusal { nonce, why: message } = refusal;
        self.send(nonce, Some(Detail { code: Code::InvalidArgument as i32, message })).await
    }

    async fn send(&mut self, response_nonce: String, error_detail: Option<Detail>) -> Result<(), String> {
        let request = DiscoveryRequest {
            version_info: self.version.clone(),
            node: Some(self.node.clone()),
            type_url: TYPE_URL.to_owned(),
            response_nonce,
            error_detail,
        };
        let sent = self.requests.send_timeout(request, READ_WITHIN).await;
        sent.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => format!("it has not read an answer within {READ_WITHIN:?}"),
            SendTimeoutError::Closed(_) => "the stream has ended".to_owned(),
        })
    }
}

/// Begins a stream and asks for all resources: what is sent on it from now on, and what waits for its begin. The server may begin
/// it as late as it has something to send.
///
/// # Errors
///
/// Why it cannot, for people.
pub(super) async fn begin(
    connection: &Connection,
    server: &XdsServer,
) -> Result<(Asking, impl Future<Output = Result<Streaming<DiscoveryResponse>, String>> + use<>), String> {
    let (requests, sent) = mpsc::channel(WAITING);
    let mut asking = Asking { requests, node: node(server), version: String::new() };
    asking.send(String::new(), None).await?;
    let mut headers = http::HeaderMap::new();
    for (name, value) in &server.headers {
        headers.append(name, value.clone());
    }
    let request =
        Request::from_parts(MetadataMap::from_headers(headers), Extensions::new(), ReceiverStream::new(sent));
    let mut client = connection.client().max_decoding_message_size(server.longest_response);
    client.ready().await.map_err(|error| chain(&error))?;
    let begun = async move {
        let begun = client.streaming(request, PathAndQuery::from_static(METHOD), BoundedCodec).await;
        begun.map(tonic::Response::into_inner).map_err(|status| shown(&status))
    };
    Ok((asking, begun))
}

fn node(server: &XdsServer) -> Node {
    let text = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
    let fields = server.node_metadata.iter().map(|(name, value)| (name.clone(), text(value)));
    Node {
        id: server.node_id.clone(),
        metadata: (!server.node_metadata.is_empty()).then(|| Struct { fields: fields.collect() }),
        user_agent_name: "spillway".to_owned(),
        user_agent_version: build::VERSION.to_owned(),
    }
}

/// A status as people read it.
pub(super) fn shown(status: &Status) -> String {
    let why = match status.message() {
        "" => status.code().description(),
        message => message,
    };
    let cause = std::error::Error::source(status).map(|cause| format!(": {}", chain(cause)));
    format!("{:?}: {why}{}", status.code(), cause.unwrap_or_default())
}
