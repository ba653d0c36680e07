//! `grpc.health.v1.Health`: whether Envoy should call this process.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::NAME;

/// The name by which envoyproxy/ratelimit registers itself. Deployments that were made for it ask for this name.
const PEER: &str = "ratelimit";
/// The names that have a status: the whole server, and its service by both names.
const SERVICES: [&str; 3] = ["", NAME, PEER];

/// Whether Envoy should call this process. Watches end when this is dropped.
#[derive(Debug)]
pub struct Serving(watch::Sender<bool>);

impl Serving {
    /// Not serving.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Sets the status for later checks, and sends it to watches at once.
    pub fn set(&self, serving: bool) {
        self.0.send_replace(serving);
    }

    /// The service that reports the status.
    pub fn service(&self) -> HealthServer<impl Health> {
        HealthServer::new(HealthService(self.0.subscribe()))
    }
}

impl Default for Serving {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Debug)]
struct HealthService(watch::Receiver<bool>);

impl HealthService {
    /// The status of the service with this name.
    fn of(&self, service: &str) -> ServingStatus {
        match *self.0.borrow() {
            _ if !SERVICES.contains(&service) => ServingStatus::ServiceUnknown,
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.of(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no service of that name")),
            status => Ok(Response::new(response(status))),
        }
    }

    /// Sends the status now, and again after each change. As the protocol asks, the status of an unknown service is
    /// `SERVICE_UNKNOWN`, and the watch goes on.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let statuses = unfold((self.clone(), service, None), |(mut health, service, last)| async move {
            while last == Some(health.of(&service)) {
                health.0.changed().await.ok()?;
            }
            let now = health.of(&service);
            Some((Ok(response(now)), (health, service, Some(now))))
        });
        Ok(Response::new(Box::pin(statuses)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;

    fn request(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    #[test]
    fn a_watch_reports_each_change_once_and_ends_with_the_server() {
        let serving = Serving::new();
        let health = HealthService(serving.0.subscribe());
        for (service, statuses) in [("", [2, 1, 2]), (PEER, [2, 1, 2]), ("nobody", [3, 0, 0])] {
            serving.set(false);
            let mut watch = health.watch(request(service)).now_or_never().unwrap().unwrap().into_inner();
            let mut next = || watch.next().now_or_never().map(|next| next.unwrap().unwrap().status);
            let mut seen = Vec::new();
            for say in [false, true, true, false] {
                serving.set(say);
                seen.extend(next());
                assert_eq!(next(), None, "nothing is reported twice");
            }
            assert_eq!(seen, statuses.into_iter().filter(|&status| status > 0).collect::<Vec<_>>());
        }
        let mut watch = health.watch(request("")).now_or_never().unwrap().unwrap().into_inner();
        watch.next().now_or_never().unwrap();
        drop(serving);
        assert!(watch.next().now_or_never().unwrap().is_none());
    }

    #[test]
    fn a_check_of_an_unknown_service_finds_none() {
        let serving = Serving::new();
        serving.set(true);
        let health = HealthService(serving.0.subscribe());
        let check = |service| health.check(request(service)).now_or_never().unwrap();
        assert_eq!(check("").unwrap().into_inner().status, 1);
        assert_eq!(check("nobody").unwrap_err().code(), tonic::Code::NotFound);
    }
}
