//! The shortest way for the one method that is called: past the router, which serves everything else on the port.

use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::Service;
use tower_layer::Layer;

use super::RateLimitService;
use super::service::SHOULD_RATE_LIMIT;
use crate::clock::Clock;
use crate::store::Store;

/// Puts the short way in front of a router.
#[derive(Debug)]
pub struct DirectLayer<S, C>(RateLimitService<S, C>);

impl<S, C> DirectLayer<S, C> {
    /// Sends the calls that `service` is for straight to it.
    pub fn new(service: RateLimitService<S, C>) -> Self {
        Self(service)
    }
}

impl<S, C> Clone for DirectLayer<S, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, C, R> Layer<R> for DirectLayer<S, C> {
    type Service = Direct<S, C, R>;

    fn layer(&self, router: R) -> Self::Service {
        Direct { service: self.0.clone(), router }
    }
}

/// Takes the calls of one method and passes everything else on.
#[derive(Debug)]
pub struct Direct<S, C, R> {
    service: RateLimitService<S, C>,
    router: R,
}

impl<S, C, R: Clone> Clone for Direct<S, C, R> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), router: self.router.clone() }
    }
}

impl<S, C, R> Service<http::Request<Body>> for Direct<S, C, R>
where
    S: Store,
    C: Clock,
    R: Service<http::Request<Body>, Response = http::Response<Body>>,
    R::Future: Send + 'static,
    R::Error: From<std::convert::Infallible> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = R::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, R::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), R::Error>> {
        self.router.poll_ready(context)
    }

    fn call(&mut self, call: http::Request<Body>) -> Self::Future {
        if call.uri().path() == SHOULD_RATE_LIMIT {
            let answer = self.service.call(call);
            return Box::pin(async move { Ok(answer.await?) });
        }
        Box::pin(self.router.call(call))
    }
}
