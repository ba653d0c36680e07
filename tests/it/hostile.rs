//! Clients that mean harm, or are broken. Whatever one of them sends, everybody else is answered, and it costs little.
//!
//! They write their frames themselves, for no library sends what they do. All loops end, and nothing is waited for but
//! answers: where nothing would come, a ping shows that all before it has been taken.

mod authority;
mod clock;
mod costly;
mod counters;
mod files;
mod floods;
mod hpack;
mod late;
mod log;
mod other_services;
mod process;
mod raw;
mod sizes;
mod sockets;
mod uneven;

use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::google::protobuf::UInt64Value;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::rls::{channel, descriptor, request};
use crate::support::{PATIENCE, Spillway};

const LIMIT: u32 = 1_000_000;
const POLICY: &str = "
domain: d
descriptors:
  - {key: free, rate_limit: {unlimited: true}}
  - {key: counted, rate_limit: {unit: year, requests_per_unit: 1000000}}
";

/// A message as gRPC sends it.
fn framed(request: &RateLimitRequest) -> Vec<u8> {
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

fn free() -> Vec<u8> {
    framed(&request(vec![descriptor(&[("free", "x")])]))
}

fn counted() -> Vec<u8> {
    framed(&request(vec![descriptor(&[("counted", "x")])]))
}

/// Clients that do nothing wrong.
struct Others {
    runtime: Runtime,
    channels: Vec<Channel>,
}

impl Others {
    /// One for each thread of the server, which has as many as there are cores and deals connections out in turn.
    fn of(spillway: &Spillway) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let channels = (0..cores).map(|_| runtime.block_on(channel(spillway))).collect();
        Self { runtime, channels }
    }

    /// Each makes a call on the connection that it has had all the time, and one more on a new one.
    fn are_answered(&self, spillway: &Spillway) {
        for channel in &self.channels {
            self.remaining(channel, "free");
        }
        self.remaining(&self.runtime.block_on(channel(spillway)), "free");
    }

    /// How many calls that count there have been.
    fn counted(&self) -> u32 {
        LIMIT - self.remaining(&self.channels[0], "counted")
    }

    fn remaining(&self, channel: &Channel, key: &str) -> u32 {
        let mut look = descriptor(&[(key, "x")]);
        look.hits_addend = Some(UInt64Value { value: 0 });
        self.runtime.block_on(async {
            let mut client = RateLimitServiceClient::new(channel.clone());
            let answer = tokio::time::timeout(PATIENCE, client.should_rate_limit(request(vec![look]))).await;
            let answer = answer.expect("a good client waits for ever").unwrap().into_inner();
            assert_eq!(answer.overall_code(), Code::Ok);
            answer.statuses[0].limit_remaining
        })
    }
}
