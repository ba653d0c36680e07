//! One answer of each server, read by a real client: the load's own client looks at seven bytes only.

use std::error::Error;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tonic::transport::Channel;

use crate::calls::Shape;
use crate::servers::Server;

/// What an answer must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    code: Code,
    statuses: usize,
    headers: usize,
    body: usize,
}

pub(crate) const CONSTANT: Answer = Answer { code: Code::Ok, statuses: 0, headers: 0, body: 0 };
pub(crate) const ALLOWED: Answer = Answer { code: Code::Ok, statuses: 1, headers: 6, body: 0 };
/// The seventh header is the body's type.
pub(crate) const REFUSED: Answer = Answer { code: Code::OverLimit, statuses: 1, headers: 7, body: 150 };

pub(crate) fn answer(server: &Server, shape: &Shape, expected: Answer) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let got = runtime.block_on(async {
        let channel = Channel::from_shared(format!("http://{}", server.grpc))?.connect().await?;
        let answer = RateLimitServiceClient::new(channel).should_rate_limit(shape.request(0)).await?;
        Ok::<_, Box<dyn Error>>(answer.into_inner())
    })?;
    let found = Answer {
        code: got.overall_code(),
        statuses: got.statuses.len(),
        headers: got.response_headers_to_add.len(),
        body: got.raw_body.len(),
    };
    if found != expected {
        return Err(format!("the answer has {found:?}, not {expected:?}").into());
    }
    Ok(())
}
