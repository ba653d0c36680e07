//! Reads and writes the messages of `envoy.service.ratelimit.v3`.

mod decode;
mod echo;
mod encode;
pub(in crate::rls) mod json;
mod prefix;
mod proto;
mod protobuf;
mod units;

pub use decode::{MOST_REPEATED, NoLimit, decode};
pub(in crate::rls) use echo::echo;
pub(in crate::rls) use encode::encode;
pub(in crate::rls) use prefix::{PREFIX, prefixed, prefixed_length};
