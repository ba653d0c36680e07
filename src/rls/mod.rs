//! Envoy's `envoy.service.ratelimit.v3.RateLimitService`: protobuf in, protobuf out.

mod activity;
mod arrival;
mod authority;
mod beyond;
mod connection;
mod deadline;
mod decode;
mod deferred;
mod encode;
mod fitness;
mod flood;
mod health;
mod heavy;
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
pub use beyond::{BeyondBounds, Bound, Undecided};
pub use connection::{Server, Shared};
pub use decode::{NoLimit, decode};
pub use health::Serving;
pub use heavy::Heavy;
pub use reflection::reflected;
pub use service::{NAME, RateLimitService};
