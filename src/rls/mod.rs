//! Envoy's `envoy.service.ratelimit.v3.RateLimitService`: protobuf in, protobuf out.

mod authority;
mod connection;
mod deadline;
mod deferred;
mod flood;
mod proto;
mod reflection;
mod service;
mod wire;

pub use authority::MendedStream;
pub use connection::Server;
pub use reflection::descriptor_set;
pub use service::{NAME, RateLimitService};
