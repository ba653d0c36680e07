//! `ShouldRateLimit` for requests and answers in JSON, as envoyproxy/ratelimit has it at `/json`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tonic::Code;

use super::beyond::Undecided;
use super::codec::{PREFIX, json};
use super::http2::LongRequests;
use super::service::Caller;
use crate::clock::Clock;
use crate::limiter::Limiter;
use crate::store::Store;
use crate::telemetry::Metrics;

/// Decides on requests in JSON, on a thread of its own: nothing of it comes between Envoy's calls.
#[derive(Clone, Debug)]
pub struct JsonRequests(LongRequests);

impl JsonRequests {
    /// Starts the thread, which decides by `limiter`. It ends when the last handle is dropped.
    pub fn start<S: Store, C: Clock>(limiter: Arc<Limiter<S, C>>, metrics: Arc<Metrics>) -> io::Result<Self> {
        LongRequests::start(limiter, metrics).map(Self)
    }

    /// Decides on the `RateLimitRequest` that `text` is: 200 or 429 with the `RateLimitResponse`, 400 for what is no request, or
    /// beyond a bound, and 500 where the store fails.
    pub async fn answer(&self, text: &[u8], peer: SocketAddr) -> (StatusCode, String) {
        let message = match json::request(text) {
            Ok(message) => Bytes::from(message),
            Err(wrong) => return (StatusCode::BAD_REQUEST, wrong),
        };
        let caller = Caller { peer, deadline: None };
        match self.0.of_connection().answer(message, caller).await {
            Some(Ok(answer)) => match json::response(answer.get(PREFIX..).unwrap_or_default()) {
                Ok((true, text)) => (StatusCode::TOO_MANY_REQUESTS, text),
                Ok((false, text)) => (StatusCode::OK, text),
                Err(wrong) => (StatusCode::INTERNAL_SERVER_ERROR, wrong),
            },
            Some(Err(undecided)) => refused(undecided),
            None => (StatusCode::INTERNAL_SERVER_ERROR, "internal error: the decision panicked".to_owned()),
        }
    }
}

fn refused(undecided: Undecided) -> (StatusCode, String) {
    let is_beyond = matches!(undecided, Undecided::Beyond(_));
    let status = undecided.status();
    let is_theirs = is_beyond || status.code() == Code::InvalidArgument;
    let code = if is_theirs { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
    (code, status.message().to_owned())
}
