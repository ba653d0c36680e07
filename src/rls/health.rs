//! `grpc.health.v1.Health`: whether this process should be asked.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::NAME;

/// What envoyproxy/ratelimit registers for itself, and deployments made for it therefore ask for.
const PEER: &str = "ratelimit";
/// The names that are answered for: the whole server, and its service under both its names.
const SERVICES: [&str; 3] = ["", NAME, PEER];

/// Says whether this process should be asked. When it is dropped, watches end.
#[derive(Debug)]
pub struct Serving(watch::Sender<bool>);

impl Serving {
    /// Not yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Says it to whoever checks, and at once to whoever watches.
    pub fn set(&self, serving: bool) {
        self.0.send_replace(serving);
    }

    /// The service that tells it.
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
    /// The status of a service by its name.
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

    /// The status now, and again whenever it is another one. An unknown service is told as such, and may be waited for, as
    /// the protocol has it.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let statuses = unfold((self.clone(), service, None), |(mut told, service, last)| async move {
            while last == Some(told.of(&service)) {
                told.0.changed().await.ok()?;
            }
            let now = told.of(&service);
            Some((Ok(response(now)), (told, service, Some(now))))
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
    fn a_watch_tells_each_change_once_and_ends_with_the_server() {
        let serving = Serving::new();
        let told = HealthService(serving.0.subscribe());
        for (service, statuses) in [("", [2, 1, 2]), (PEER, [2, 1, 2]), ("nobody", [3, 0, 0])] {
            serving.set(false);
            let mut watch = told.watch(request(service)).now_or_never().unwrap().unwrap().into_inner();
            let mut next = || watch.next().now_or_never().map(|next| next.unwrap().unwrap().status);
            let mut seen = Vec::new();
            for say in [false, true, true, false] {
                serving.set(say);
                seen.extend(next());
                assert_eq!(next(), None, "nothing is told twice");
            }
            assert_eq!(seen, statuses.into_iter().filter(|&status| status > 0).collect::<Vec<_>>());
        }
        let mut watch = told.watch(request("")).now_or_never().unwrap().unwrap().into_inner();
        watch.next().now_or_never().unwrap();
        drop(serving);
        assert!(watch.next().now_or_never().unwrap().is_none());
    }

    #[test]
    fn a_check_of_an_unknown_service_finds_none() {
        let serving = Serving::new();
        serving.set(true);
        let told = HealthService(serving.0.subscribe());
        let check = |service| told.check(request(service)).now_or_never().unwrap();
        assert_eq!(check("").unwrap().into_inner().status, 1);
        assert_eq!(check("nobody").unwrap_err().code(), tonic::Code::NotFound);
    }
}
