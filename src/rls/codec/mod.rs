//! Between the bytes of `envoy.service.ratelimit.v3` and the values that the engine reads and gives.

mod decode;
mod encode;
mod prefix;
#[cfg(test)]
mod proto;
mod protobuf;
mod units;

pub use decode::{NoLimit, decode};
pub(in crate::rls) use encode::encode;
pub(in crate::rls) use prefix::{PREFIX, prefixed, prefixed_length};
