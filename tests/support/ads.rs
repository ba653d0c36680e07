//! A server of the aggregated discovery service, which answers as go-control-plane does: at once whoever does not have the newest
//! set by its version, be it for having refused it, and everybody else when there is another one.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::ratelimit::config::ratelimit::v3::{
    RateLimitConfig, RateLimitDescriptor, RateLimitPolicy, RateLimitUnit,
};
use futures_util::Stream;
use prost::{Message as _, Name as _};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::PATIENCE;

/// What a server sends: its version, and the resources.
type Snapshot = Option<(String, Vec<Any>)>;

/// A running server, with a runtime of its own. Its connections end with it.
pub(crate) struct Ads {
    pub(crate) address: SocketAddr,
    snapshot: watch::Sender<Snapshot>,
    version: u64,
    seen: Arc<Seen>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<DiscoveryRequest>>,
    headers: Mutex<Vec<MetadataMap>>,
    nonces: AtomicU64,
}

impl Ads {
    /// On a free port, with nothing to send yet.
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    /// On this port, counting versions anew.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        Self::listening(address, false)
    }

    /// One that sends no set again to whoever has refused it, as the protocol would have it.
    pub(crate) fn sending_once() -> Self {
        Self::listening("127.0.0.1:0".parse().unwrap(), true)
    }

    fn listening(address: SocketAddr, sends_once: bool) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let snapshot = watch::Sender::new(None);
        let seen = Arc::new(Seen::default());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let service = Service { snapshot: snapshot.subscribe(), sends_once, seen: Arc::clone(&seen) };
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let service = AggregatedDiscoveryServiceServer::new(service).max_encoding_message_size(1 << 30);
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, snapshot, version: 0, seen, runtime: Some(runtime) }
    }

    /// The next set.
    pub(crate) fn set(&mut self, configs: &[RateLimitConfig]) {
        self.set_resources(configs.iter().map(any).collect());
    }

    pub(crate) fn set_resources(&mut self, resources: Vec<Any>) {
        self.version += 1;
        self.snapshot.send_replace(Some((self.version.to_string(), resources)));
    }

    /// The requests so far, the first one first.
    pub(crate) fn requests(&self) -> Vec<DiscoveryRequest> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The headers of each stream.
    pub(crate) fn headers(&self) -> Vec<MetadataMap> {
        self.seen.headers.lock().unwrap().clone()
    }

    /// The first request that `is` so, which is waited for.
    pub(crate) async fn request(&self, is: impl Fn(&DiscoveryRequest) -> bool) -> DiscoveryRequest {
        let begun = tokio::time::Instant::now();
        loop {
            if let Some(found) = self.requests().into_iter().find(&is) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "no such request among {:#?}", self.requests());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Waits until the set that was set last is accepted.
    pub(crate) async fn accepted(&self) -> DiscoveryRequest {
        let version = self.version.to_string();
        self.request(|request| request.version_info == version && request.error_detail.is_none()).await
    }

    /// Waits until a set is refused, and returns why.
    pub(crate) async fn refused(&self) -> (String, String) {
        let request = self.request(|request| request.error_detail.is_some()).await;
        (request.version_info, request.error_detail.unwrap().message)
    }
}

impl Drop for Ads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Service {
    snapshot: watch::Receiver<Snapshot>,
    /// On a stream.
    sends_once: bool,
    seen: Arc<Seen>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.seen.headers.lock().unwrap().push(request.metadata().clone());
        let (send, responses) = mpsc::channel(1);
        let (mut requests, mut snapshot) = (request.into_inner(), self.snapshot.clone());
        let (seen, sends_once) = (Arc::clone(&self.seen), self.sends_once);
        tokio::spawn(async move {
            // What the client has, and whether it waits for something else.
            let mut waiting: Option<String> = None;
            let mut newest: Option<String> = None;
            loop {
                let response = match (&waiting, &*snapshot.borrow_and_update()) {
                    (_, Some((version, _))) if sends_once && newest.as_ref() == Some(version) => None,
                    (Some(has), Some((version, resources))) if has != version => Some(DiscoveryResponse {
                        version_info: version.clone(),
                        resources: resources.clone(),
                        type_url: RateLimitConfig::type_url(),
                        nonce: format!("nonce-{}", seen.nonces.fetch_add(1, Ordering::Relaxed)),
                        ..Default::default()
                    }),
                    _ => None,
                };
                if let Some(response) = response {
                    (waiting, newest) = (None, Some(response.version_info.clone()));
                    if send.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    request = requests.message() => match request {
                        Ok(Some(request)) => {
                            waiting = Some(request.version_info.clone());
                            seen.requests.lock().unwrap().push(request);
                        }
                        _ => return,
                    },
                    changed = snapshot.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

pub(crate) fn any(config: &RateLimitConfig) -> Any {
    Any { type_url: RateLimitConfig::type_url(), value: config.encode_to_vec() }
}

/// A domain of that name with one limit an hour for each value of `key`.
pub(crate) fn hourly(domain: &str, key: &str, requests: u32) -> RateLimitConfig {
    config(domain, vec![limited(key, "", RateLimitUnit::Hour, requests)])
}

pub(crate) fn config(domain: &str, descriptors: Vec<RateLimitDescriptor>) -> RateLimitConfig {
    RateLimitConfig { name: format!("{domain}-config"), domain: domain.to_owned(), descriptors }
}

pub(crate) fn limited(key: &str, value: &str, unit: RateLimitUnit, requests: u32) -> RateLimitDescriptor {
    let limit = RateLimitPolicy {
        unit: unit.into(),
        requests_per_unit: requests,
        unlimited: false,
        name: String::new(),
        replaces: Vec::new(),
    };
    RateLimitDescriptor {
        key: key.to_owned(),
        value: value.to_owned(),
        rate_limit: Some(limit),
        ..Default::default()
    }
}
