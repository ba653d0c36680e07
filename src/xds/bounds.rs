//! How many messages are in one, before any of them is made: two bytes on the wire can be a hundred in memory.

use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::proto::{DiscoveryRequest, DiscoveryResponse};

/// The most resources of one set.
const MOST_RESOURCES: usize = 100_000;
/// The most descriptors of one resource.
pub(super) const MOST_DESCRIPTORS: usize = 1_000_000;

/// The numbers of fields: `DiscoveryResponse.resources`, `RateLimitConfig.descriptors`, `RateLimitDescriptor.descriptors`.
const RESOURCES: u32 = 2;
const OF_CONFIG: u32 = 3;
const OF_DESCRIPTOR: u32 = 4;

/// Whether the `RateLimitConfig` in `bytes` has more descriptors than it may.
pub(super) fn has_too_many_descriptors(bytes: &[u8]) -> bool {
    let mut left = vec![(bytes, OF_CONFIG)];
    let mut many = 0_usize;
    while let Some((bytes, field)) = left.pop() {
        for inner in messages(bytes, field) {
            many += 1;
            if many > MOST_DESCRIPTORS {
                return true;
            }
            left.push((inner, OF_DESCRIPTOR));
        }
    }
    false
}

/// The messages in this field of another one. What cannot be read ends them: whoever decodes it says why.
fn messages(mut bytes: &[u8], field: u32) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while !bytes.is_empty() {
            let (found, wire_type) = decode_key(&mut bytes).ok()?;
            let length = match wire_type {
                WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes).ok()?).ok()?,
                WireType::Varint => {
                    decode_varint(&mut bytes).ok()?;
                    0
                }
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                WireType::StartGroup | WireType::EndGroup => return None,
            };
            let (value, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            if found == field && wire_type == WireType::LengthDelimited {
                return Some(value);
            }
        }
        None
    })
}

/// Requests, and responses that have a bound.
#[derive(Debug, Default)]
pub(super) struct BoundedCodec;

impl Codec for BoundedCodec {
    type Encode = DiscoveryRequest;
    type Decode = DiscoveryResponse;
    type Encoder = ProstEncoder<DiscoveryRequest>;
    type Decoder = BoundedDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<DiscoveryRequest, DiscoveryResponse>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder
    }
}

/// Reads responses with at most [`MOST_RESOURCES`].
#[derive(Debug)]
pub(super) struct BoundedDecoder;

impl Decoder for BoundedDecoder {
    type Item = DiscoveryResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DiscoveryResponse>, Status> {
        use bytes::Buf as _;

        let bytes = buffer.copy_to_bytes(buffer.remaining());
        if messages(&bytes, RESOURCES).take(MOST_RESOURCES + 1).count() > MOST_RESOURCES {
            return Err(Status::resource_exhausted(format!(
                "it sent more than {MOST_RESOURCES} resources at once"
            )));
        }
        let response = prost::Message::decode(bytes);
        response.map(Some).map_err(|error| Status::internal(format!("it sent no response: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::xds::proto::{RateLimitConfig, RateLimitDescriptor};

    fn nested(depth: usize, wide: usize) -> RateLimitDescriptor {
        let below = if depth > 0 { vec![nested(depth - 1, wide); wide] } else { Vec::new() };
        RateLimitDescriptor {
            key: "k".to_owned(),
            shadow_mode: true,
            descriptors: below,
            ..Default::default()
        }
    }

    #[test]
    fn messages_are_counted_at_any_depth_and_other_fields_are_none() {
        let config = RateLimitConfig {
            name: "n".to_owned(),
            domain: "d".to_owned(),
            descriptors: vec![nested(2, 3); 2],
        };
        let bytes = config.encode_to_vec();
        let first: Vec<&[u8]> = messages(&bytes, OF_CONFIG).collect();
        assert_eq!(first.len(), 2);
        assert_eq!(messages(first[0], OF_DESCRIPTOR).count(), 3);
        assert_eq!(messages(&bytes, 9).count(), 0);
        assert!(!has_too_many_descriptors(&bytes));
        assert_eq!(messages(&bytes[..bytes.len() - 1], OF_CONFIG).count(), 1, "the second one is cut off");
    }

    #[test]
    fn empty_ones_count_too() {
        assert!(!has_too_many_descriptors(&[0x1a, 0].repeat(MOST_DESCRIPTORS)));
        assert!(has_too_many_descriptors(&[0x1a, 0].repeat(MOST_DESCRIPTORS + 1)));
    }
}
