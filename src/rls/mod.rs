//! Envoy's `envoy.service.ratelimit.v3.RateLimitService`: protobuf in, protobuf out.
//!
//! `http2` serves connections, `json` answers those who have JSON, `service` answers one call, and `codec` reads and writes its messages.

mod beyond;
mod codec;
mod health;
mod http2;
mod json;
mod reflection;
mod samples;
mod service;

pub use beyond::{BeyondBounds, Bound, Undecided};
pub use codec::{MOST_REPEATED, NoLimit, decode};
pub use health::Serving;
pub use http2::{Activity, InvalidAuthority, LongRequests, MaxAge, MemoryBudget, Seldom, Server, Shared};
pub use json::{JsonRequests, JsonText, NoRoom};
pub use reflection::reflected;
pub use service::{NAME, RateLimitService};
