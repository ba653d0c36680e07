//! Limits that a control plane sends by xDS: `ratelimit.config.ratelimit.v3.RateLimitConfig`, state of the world.

mod backoff;
mod bounds;
mod connection;
mod document;
mod error;
mod follow;
mod proto;
mod refused;
mod server;
mod set;
mod stream;
mod tls;
mod waiting;

pub use follow::{Followed, follow};
pub use server::XdsServer;
pub use tls::XdsTls;
