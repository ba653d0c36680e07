//! Reads a `RateLimitRequest` as a request that borrows from its bytes. Nothing is copied.
//!
//! This reads five small messages without generated code. Generated code allocates a list for each level, and each key and
//! value, which took longer than the decision. It also requires UTF-8, but Envoy sends header bytes and percent-decoded query
//! values unchecked (see [`model::Request`](crate::model::Request)). Tests and a fuzzer check that this module accepts and
//! refuses the same bytes as prost.

use std::fmt;
use std::num::NonZeroU32;

use tonic::Status;

use super::protobuf::{Fields, Malformed, Value};
use super::units;
use crate::model::{Descriptor, Entry, Few, Hits, LimitOverride, Request};
use crate::rls::beyond::{Bound, Undecided};

/// The most descriptors of a request, and the most entries of a descriptor. No Envoy sends nearly as many, and a request with
/// this many locks its counters for a short time only.
pub const MOST_REPEATED: usize = 1024;

/// The most levels of nested groups, as in prost and in protobuf's own readers.
const DEEPEST: u32 = 100;

/// The request in `message`, or why there is none in it.
///
/// `descriptors` is an empty list, whose allocation is used. An invalid limit in a descriptor is left out, so that all other
/// limits apply; `left_out` is called with the domain, the descriptor's index and entries, and the reason.
pub fn decode<'m>(
    mut descriptors: Vec<Descriptor<'m>>,
    message: &'m [u8],
    mut left_out: impl FnMut(&[u8], (usize, &[Entry<'_>]), NoLimit),
) -> Result<Request<'m>, Undecided> {
    // The request's hits may come after the descriptors that they apply to, so the message is read twice.
    let outline = Outline::of(message).map_err(malformed)?;
    if outline.descriptors > MOST_REPEATED {
        return Err(Bound::Descriptors.into());
    }
    descriptors.reserve(outline.descriptors);
    for field in Fields::of(message, DEEPEST) {
        if let (2, Value::Bytes(bytes)) = field.map_err(malformed)? {
            let (descriptor, no_limit) = descriptor(bytes, outline.hits_addend)?;
            if let Some(why) = no_limit {
                left_out(outline.domain, (descriptors.len(), &descriptor.entries), why);
            }
            descriptors.push(descriptor);
        }
    }
    if outline.domain.is_empty() {
        return Err(Status::invalid_argument("rate limit domain must not be empty").into());
    }
    if descriptors.is_empty() {
        return Err(Status::invalid_argument("rate limit descriptor list must not be empty").into());
    }
    Ok(Request { domain: outline.domain, descriptors })
}

/// A `RateLimitRequest` without its descriptors.
#[derive(Debug, Default)]
struct Outline<'a> {
    domain: &'a [u8],
    descriptors: usize,
    hits_addend: u32,
}

impl<'a> Outline<'a> {
    fn of(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut outline = Self::default();
        for field in Fields::of(message, DEEPEST) {
            match field? {
                (1, value) => outline.domain = value.bytes()?,
                (2, value) => {
                    value.bytes()?;
                    outline.descriptors += 1;
                }
                (3, value) => outline.hits_addend = value.uint32()?,
                _ => {}
            }
        }
        Ok(outline)
    }
}

/// A `RateLimitDescriptor`, and why its limit is invalid. Its own hits override the request's, where 0 means 1.
fn descriptor(message: &[u8], of_request: u32) -> Result<(Descriptor<'_>, Option<NoLimit>), Undecided> {
    let mut entries = Few::new();
    let (mut limit, mut hits_addend, mut is_negative_hits) = (None, None, false);
    for field in Fields::of(message, DEEPEST - 1) {
        match field.map_err(malformed)? {
            (1, value) => {
                if entries.len() == MOST_REPEATED {
                    return Err(Bound::Entries.into());
                }
                entries.push(value.bytes().and_then(entry).map_err(malformed)?);
            }
            (2, value) => {
                let limit = limit.get_or_insert_with(Sent::default);
                value.bytes().and_then(|bytes| limit.read(bytes)).map_err(malformed)?;
            }
            (3, value) => wrapped(value, &mut hits_addend, DEEPEST - 2).map_err(malformed)?,
            (4, value) => is_negative_hits = value.uint64().map_err(malformed)? != 0,
            _ => {}
        }
    }
    let amount = hits_addend.unwrap_or(of_request.max(1).into());
    let hits = if is_negative_hits { Hits::refund(amount) } else { Hits::charge(amount) };
    let (limit, no_limit) = match limit.map(|limit| limit.checked()) {
        Some(Ok(limit)) => (Some(limit), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    Ok((Descriptor { entries, hits, limit }, no_limit))
}

fn entry(message: &[u8]) -> Result<Entry<'_>, Malformed> {
    let mut entry = Entry { key: &[], value: &[] };
    for field in Fields::of(message, DEEPEST - 2) {
        match field? {
            (1, value) => entry.key = value.bytes()?,
            (2, value) => entry.value = value.bytes()?,
            _ => {}
        }
    }
    Ok(entry)
}

/// A `google.protobuf.UInt64Value` (or `UInt32Value`), merged into an earlier one of the same field.
fn wrapped(value: Value<'_>, number: &mut Option<u64>, depth: u32) -> Result<(), Malformed> {
    let number = number.get_or_insert(0);
    for field in Fields::of(value.bytes()?, depth) {
        if let (1, value) = field? {
            *number = value.uint64()?;
        }
    }
    Ok(())
}

/// A `RateLimitOverride` before it is checked.
#[derive(Debug, Default)]
struct Sent {
    requests_per_unit: u32,
    unit: u32,
    unit_multiplier: Option<u64>,
}

impl Sent {
    fn read(&mut self, message: &[u8]) -> Result<(), Malformed> {
        for field in Fields::of(message, DEEPEST - 2) {
            match field? {
                (1, value) => self.requests_per_unit = value.uint32()?,
                (2, value) => self.unit = value.uint32()?,
                (3, value) => wrapped(value, &mut self.unit_multiplier, DEEPEST - 3)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn checked(&self) -> Result<LimitOverride, NoLimit> {
        let unit = units::from_wire(self.unit).ok_or(NoLimit::Unit(self.unit.cast_signed()))?;
        #[expect(clippy::cast_possible_truncation, reason = "that is how protobuf reads a `uint32`")]
        let multiplier = self.unit_multiplier.map_or(1, |number| number as u32);
        let multiplier = NonZeroU32::new(multiplier).ok_or(NoLimit::Multiplier)?;
        Ok(LimitOverride {
            requests_per_unit: self.requests_per_unit,
            unit,
            unit_multiplier: multiplier.get(),
        })
    }
}

/// Why a limit in a descriptor is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLimit {
    /// The unit's number is unknown.
    Unit(i32),
    /// The window has 0 units.
    Multiplier,
}

impl fmt::Display for NoLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(unit) => write!(
                f,
                "it has unit {unit}, which is none of SECOND 1, MINUTE 2, HOUR 3, DAY 4, MONTH 5, YEAR 6, WEEK 7"
            ),
            Self::Multiplier => f.write_str("it has a `unit_multiplier` of 0"),
        }
    }
}

fn malformed(error: Malformed) -> Status {
    Status::internal(format!("the request cannot be decoded: {error}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use prost::Message;
    use tonic::Code;

    use super::*;
    use crate::model::Unit;
    use crate::rls::codec::proto;

    fn request(hits_addend: u32, descriptor: proto::RateLimitDescriptor) -> Vec<u8> {
        let message = proto::RateLimitRequest {
            domain: Bytes::from_static(b"d"),
            descriptors: vec![descriptor],
            hits_addend,
        };
        message.encode_to_vec()
    }

    #[test]
    fn a_descriptors_hits_beat_the_requests() {
        for (of_request, of_descriptor, negative, expected) in [
            (0, None, false, Hits::ONE),
            (7, None, false, Hits::charge(7)),
            (7, Some(0), false, Hits::Look),
            (7, Some(3), false, Hits::charge(3)),
            (7, Some(3), true, Hits::refund(3)),
            (7, None, true, Hits::refund(7)),
            (0, None, true, Hits::refund(1)),
            (0, Some(u64::MAX), false, Hits::charge(u64::MAX)),
        ] {
            let descriptor = proto::RateLimitDescriptor {
                hits_addend: of_descriptor,
                is_negative_hits: negative,
                ..Default::default()
            };
            let message = request(of_request, descriptor);
            assert_eq!(decode(Vec::new(), &message, |_, _, _| {}).unwrap().descriptors[0].hits, expected);
        }
    }

    #[test]
    fn a_limit_sent_along_that_is_none_is_left_out_and_reported() {
        let sent = |unit, unit_multiplier| {
            let limit = proto::RateLimitOverride { requests_per_unit: 5, unit, unit_multiplier };
            let entry = proto::Entry { key: "k".into(), value: "v".into() };
            let descriptor =
                proto::RateLimitDescriptor { entries: vec![entry], limit: Some(limit), ..Default::default() };
            let mut reason = None;
            let message = request(0, descriptor);
            let read = decode(Vec::new(), &message, |domain, (at, entries), why| {
                reason = Some(why);
                assert_eq!((domain, at, entries[0].key), (&b"d"[..], 0, &b"k"[..]));
            });
            (read.unwrap().descriptors[0].limit, reason)
        };
        let minutes = |unit_multiplier| {
            Some(LimitOverride { requests_per_unit: 5, unit: Unit::Minute, unit_multiplier })
        };
        assert_eq!(sent(2, None), (minutes(1), None));
        assert_eq!(sent(2, Some(15)), (minutes(15), None));
        assert_eq!(sent(2, Some(0)), (None, Some(NoLimit::Multiplier)));
        for unit in [0, 8, -1, i32::MAX] {
            assert_eq!(sent(unit, None), (None, Some(NoLimit::Unit(unit))));
        }
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let mut bytes = request(2, proto::RateLimitDescriptor::default());
        // Field 99, a string.
        bytes.extend([0x9a, 0x06, 3, b'n', b'e', b'w']);
        assert_eq!(decode(Vec::new(), &bytes, |_, _, _| {}).unwrap().descriptors[0].hits, Hits::charge(2));
    }

    #[test]
    fn a_million_empty_descriptors_are_refused_before_room_is_made_for_them() {
        let refused = decode(Vec::new(), &[0x12, 0].repeat(1 << 20), |_, _, _| {}).unwrap_err().status();
        assert_eq!(refused.message(), "a request has at most 1024 descriptors");
        let entries = [0x0a, 0].repeat(1 << 20);
        let mut message = vec![0x0a, 1, b'd', 0x12];
        prost::encoding::encode_varint(entries.len() as u64, &mut message);
        let refused = decode(Vec::new(), &[message, entries].concat(), |_, _, _| {}).unwrap_err().status();
        assert_eq!(refused.message(), "a request has at most 1024 entries in a descriptor");
    }

    /// What prost makes of the same bytes.
    fn by_prost(bytes: &[u8]) -> Option<String> {
        let message = proto::RateLimitRequest::decode(bytes).ok()?;
        let hits = |descriptor: &proto::RateLimitDescriptor| {
            let amount = descriptor.hits_addend.unwrap_or(message.hits_addend.max(1).into());
            if descriptor.is_negative_hits { Hits::refund(amount) } else { Hits::charge(amount) }
        };
        let descriptors = message.descriptors.iter().map(|descriptor| Descriptor {
            entries: descriptor
                .entries
                .iter()
                .map(|entry| Entry { key: &entry.key, value: &entry.value })
                .collect(),
            hits: hits(descriptor),
            limit: descriptor.limit.and_then(|limit| {
                let unit_multiplier = limit.unit_multiplier.unwrap_or(1);
                let unit = units::from_wire(limit.unit.cast_unsigned()).filter(|_| unit_multiplier > 0)?;
                Some(LimitOverride { requests_per_unit: limit.requests_per_unit, unit, unit_multiplier })
            }),
        });
        Some(format!("{:?}", Request { domain: &message.domain, descriptors: descriptors.collect() }))
    }

    /// Bytes that are often a message: fields of all types and numbers, messages within messages, and now and then
    /// something that is none.
    fn anything_like_a_message() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            4 => (1_u8..6, prop::collection::vec(any::<u8>(), 0..4))
                .prop_map(|(field, bytes)| [&[field << 3 | 2, u8::try_from(bytes.len()).unwrap()], &bytes[..]].concat()),
            4 => (1_u8..6, any::<u64>()).prop_map(|(field, number)| {
                let mut bytes = vec![field << 3];
                prost::encoding::encode_varint(number, &mut bytes);
                bytes
            }),
            1 => (1_u8..6).prop_map(|field| vec![field << 3 | 5, 1, 2, 3, 4]),
            1 => (1_u8..6).prop_map(|field| vec![field << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8]),
            1 => (1_u8..6).prop_map(|field| vec![field << 3 | 3, 0x50, 1, field << 3 | 4]),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        leaf.prop_recursive(4, 64, 5, |inner| {
            (1_u8..5, prop::collection::vec(inner, 0..5)).prop_map(|(field, parts)| {
                let parts = parts.concat();
                let mut bytes = vec![field << 3 | 2];
                prost::encoding::encode_varint(parts.len() as u64, &mut bytes);
                [bytes, parts].concat()
            })
        })
        .prop_flat_map(|bytes| (Just(bytes), prop::collection::vec(any::<u8>(), 0..2)))
        .prop_map(|(bytes, tail)| [&[0x0a, 1, b'd'][..], &bytes, &tail].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn bytes_are_taken_and_refused_as_prost_does(bytes in anything_like_a_message()) {
            match decode(Vec::new(), &bytes, |_, _, _| {}) {
                Ok(request) => prop_assert_eq!(Some(format!("{request:?}")), by_prost(&bytes)),
                Err(refused) => {
                    if refused.status().code() == Code::Internal {
                        prop_assert_eq!(None, by_prost(&bytes));
                    }
                }
            }
        }
    }
}
