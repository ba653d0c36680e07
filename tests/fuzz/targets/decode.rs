//! The decoder of requests, which is written by hand, against one that `prost` derives: they accept the same bytes and
//! read the same out of them.

use prost::Message;
use prost::bytes::Bytes;
use spillway::model::{Descriptor, Entry, Hits, LimitOverride, Request, Unit};

/// The messages of `ratelimit.v3`, with `bytes` where the `.proto` says `string`.
#[derive(Clone, PartialEq, Message)]
struct RateLimitRequest {
    #[prost(bytes = "bytes", tag = "1")]
    domain: Bytes,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<RateLimitDescriptor>,
    #[prost(uint32, tag = "3")]
    hits_addend: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RateLimitDescriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<RateLimitEntry>,
    #[prost(message, optional, tag = "2")]
    limit: Option<RateLimitOverride>,
    /// `google.protobuf.UInt64Value`
    #[prost(message, optional, tag = "3")]
    hits_addend: Option<u64>,
    #[prost(bool, tag = "4")]
    is_negative_hits: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RateLimitEntry {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct RateLimitOverride {
    #[prost(uint32, tag = "1")]
    requests_per_unit: u32,
    /// `envoy.type.v3.RateLimitUnit`
    #[prost(int32, tag = "2")]
    unit: i32,
    /// `google.protobuf.UInt32Value`
    #[prost(message, optional, tag = "3")]
    unit_multiplier: Option<u32>,
}

pub(crate) fn run(data: &[u8]) {
    let message = RateLimitRequest::decode(data);
    let expected = message.as_ref().ok().and_then(request);
    match (spillway::rls::decode(Vec::new(), data, |_, _, _| {}), expected) {
        (Ok(found), Some(expected)) => assert_eq!(found, expected),
        (Err(_), None) => {}
        (Ok(found), None) => panic!("accepted as {found:?}, and prost says {message:?}"),
        (Err(status), Some(expected)) => panic!("refused for {status:?}, and prost reads {expected:?}"),
    }
}

/// The request in a message, unless there is something wrong with it.
fn request(message: &RateLimitRequest) -> Option<Request<'_>> {
    let few = |length: usize| length <= 1024;
    let few_entries = message.descriptors.iter().all(|descriptor| few(descriptor.entries.len()));
    if message.domain.is_empty()
        || message.descriptors.is_empty()
        || !few(message.descriptors.len())
        || !few_entries
    {
        return None;
    }
    let descriptors = message.descriptors.iter().map(|descriptor| {
        let amount = descriptor.hits_addend.unwrap_or(message.hits_addend.max(1).into());
        let entries = descriptor.entries.iter();
        Descriptor {
            entries: entries.map(|entry| Entry { key: &entry.key, value: &entry.value }).collect(),
            hits: if descriptor.is_negative_hits { Hits::refund(amount) } else { Hits::charge(amount) },
            limit: descriptor.limit.as_ref().and_then(limit_override),
        }
    });
    Some(Request { domain: &message.domain, descriptors: descriptors.collect() })
}

/// A limit that is none is as if it had not been sent.
fn limit_override(limit: &RateLimitOverride) -> Option<LimitOverride> {
    let unit = match limit.unit {
        1 => Unit::Second,
        2 => Unit::Minute,
        3 => Unit::Hour,
        4 => Unit::Day,
        5 => Unit::Month,
        6 => Unit::Year,
        7 => Unit::Week,
        _ => return None,
    };
    let unit_multiplier = limit.unit_multiplier.unwrap_or(1);
    let limit = LimitOverride { requests_per_unit: limit.requests_per_unit, unit, unit_multiplier };
    (unit_multiplier > 0).then_some(limit)
}
