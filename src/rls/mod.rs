//! Envoy's `envoy.service.ratelimit.v3.RateLimitService`: protobuf in, protobuf out.

mod activity;
mod arrival;
mod authority;
mod connection;
mod deadline;
mod decode;
mod deferred;
mod encode;
mod flood;
#[cfg(test)]
mod proto;
mod protobuf;
mod reflection;
mod routed;
mod service;
mod units;
mod watched;

pub use activity::Activity;
pub use arrival::Unfinished;
use authority::MendedStream;
pub use connection::Server;
pub use decode::decode;
pub use reflection::descriptor_set;
pub use service::{NAME, RateLimitService};
