//! How many messages are in one, before any of them is made: two bytes on the wire can be a hundred in memory.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::proto::{DiscoveryRequest, DiscoveryResponse};

/// The most resources of one set.
pub(super) const MOST_RESOURCES: usize = 100_000;
/// The most messages in the resources of one set: descriptors, limits, names of limits that these replace, values of metadata.
pub(super) const MOST_MESSAGES: usize = 2_000_000;

/// The number of a field: `DiscoveryResponse.resources`.
const RESOURCES: u32 = 2;

/// The messages that resources are made of.
#[derive(Clone, Copy, Debug)]
enum Message {
    Config,
    Descriptor,
    Limit,
    Replaced,
    Struct,
    Entry,
    Value,
    List,
}

impl Message {
    /// The numbers of its fields that hold messages, with those.
    fn fields(self) -> &'static [(u32, Self)] {
        match self {
            Self::Config => &[(3, Self::Descriptor)],
            Self::Descriptor => &[(3, Self::Limit), (4, Self::Descriptor), (8, Self::Struct)],
            Self::Limit => &[(5, Self::Replaced)],
            Self::Replaced => &[],
            Self::Struct => &[(1, Self::Entry)],
            Self::Entry => &[(2, Self::Value)],
            Self::Value => &[(5, Self::Struct), (6, Self::List)],
            Self::List => &[(1, Self::Value)],
        }
    }
}

/// How many messages there is room for in a set; none once there was too little.
#[derive(Debug)]
pub(super) struct Room(Option<usize>);

impl Default for Room {
    fn default() -> Self {
        Self(Some(MOST_MESSAGES))
    }
}

impl Room {
    /// Takes what the `RateLimitConfig` in `bytes` needs. None if there is not so much.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<()> {
        let mut left = vec![(bytes, Message::Config)];
        while let Some((bytes, message)) = left.pop() {
            for &(field, inner) in message.fields() {
                for bytes in messages(bytes, field) {
                    self.0 = self.0.and_then(|room| room.checked_sub(1));
                    self.0?;
                    left.push((bytes, inner));
                }
            }
        }
        self.0.map(drop)
    }

    /// Whether something had no room.
    pub(super) fn was_too_small(&self) -> bool {
        self.0.is_none()
    }
}

/// The messages in this field of another one. What cannot be read ends them: whoever decodes it says why.
fn messages(bytes: &[u8], field: u32) -> impl Iterator<Item = &[u8]> {
    fields(bytes).filter_map(move |found| (found.number == field).then_some(found.message?))
}

/// A field of a message.
struct Field<'a> {
    number: u32,
    /// What it holds, if it may be a message.
    message: Option<&'a [u8]>,
    /// All of it, with its number and its length.
    whole: &'a [u8],
}

fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Field<'_>> {
    std::iter::from_fn(move || {
        let all = bytes;
        let (number, wire_type) = decode_key(&mut bytes).ok()?;
        let length = match wire_type {
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes).ok()?).ok()?,
            WireType::Varint => {
                decode_varint(&mut bytes).ok()?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            // Nobody sends any, but whoever decodes the message reads on behind one.
            WireType::StartGroup => {
                skip_field(wire_type, number, &mut bytes, DecodeContext::default()).ok()?;
                0
            }
            WireType::EndGroup => return None,
        };
        let (value, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        let message = (wire_type == WireType::LengthDelimited).then_some(value);
        Some(Field { number, message, whole: &all[..all.len() - rest.len()] })
    })
}

/// The response in `bytes` with one resource more than it may have, if it has more.
fn cut(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_resource = |field: &Field<'_>| field.number == RESOURCES && field.message.is_some();
    if fields(bytes).filter(is_resource).take(MOST_RESOURCES + 1).count() <= MOST_RESOURCES {
        return None;
    }
    let (mut cut, mut resources) = (Vec::new(), 0);
    for field in fields(bytes) {
        resources += usize::from(is_resource(&field));
        if !is_resource(&field) || resources <= MOST_RESOURCES + 1 {
            cut.extend_from_slice(field.whole);
        }
    }
    Some(cut)
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

/// Reads responses. Of resources there are at most [`MOST_RESOURCES`] and one more.
#[derive(Debug)]
pub(super) struct BoundedDecoder;

impl Decoder for BoundedDecoder {
    type Item = DiscoveryResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DiscoveryResponse>, Status> {
        use bytes::{Buf as _, Bytes};

        let bytes = buffer.copy_to_bytes(buffer.remaining());
        // Too many are too many, however many they are.
        let bytes = cut(&bytes).map_or(bytes, Bytes::from);
        let response = prost::Message::decode(bytes);
        response.map(Some).map_err(|error| Status::internal(format!("it sent no response: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::xds::proto::{RateLimitConfig, RateLimitDescriptor, RateLimitPolicy, RateLimitReplace};

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
        let first: Vec<&[u8]> = messages(&bytes, 3).collect();
        assert_eq!(first.len(), 2);
        assert_eq!(messages(first[0], 4).count(), 3);
        assert_eq!(messages(&bytes, 9).count(), 0);
        let mut room = Room(Some(2 * (1 + 3 + 9)));
        assert_eq!((room.take(&bytes), room.0), (Some(()), Some(0)));
        assert_eq!(room.take(&bytes), None);
        assert_eq!(messages(&bytes[..bytes.len() - 1], 3).count(), 1, "the second one is cut off");
    }

    #[test]
    fn of_too_many_resources_one_too_many_is_read_with_all_else() {
        let response = |resources| DiscoveryResponse {
            version_info: "v".to_owned(),
            nonce: "n".to_owned(),
            resources: vec![prost_types::Any::default(); resources],
            ..Default::default()
        };
        assert_eq!(cut(&response(MOST_RESOURCES).encode_to_vec()), None);
        let cut = cut(&response(MOST_RESOURCES + 7).encode_to_vec()).unwrap();
        assert_eq!(DiscoveryResponse::decode(&*cut).unwrap(), response(MOST_RESOURCES + 1));
    }

    #[test]
    fn empty_ones_count_too_and_all_resources_together() {
        let half = [0x1a, 0].repeat(MOST_MESSAGES / 2);
        let mut room = Room::default();
        assert_eq!((room.take(&half), room.take(&half), room.0), (Some(()), Some(()), Some(0)));
        assert_eq!(room.take(&[0x1a, 0]), None);
    }

    /// Field 15, which no message has, as a group with a number in it.
    const GROUP: [u8; 4] = [0x7b, 0x08, 0x01, 0x7c];

    #[test]
    fn what_comes_behind_a_group_counts_as_it_is_read() {
        let config = [&GROUP[..], &[0x1a, 0], &[0x7b, 0x7b, 0x7c, 0x7c], &[0x1a, 0]].concat();
        assert_eq!(RateLimitConfig::decode(&*config).unwrap().descriptors.len(), 2);
        let mut room = Room(Some(2));
        assert_eq!((room.take(&config), room.0), (Some(()), Some(0)));

        let response = [&GROUP[..], &[0x12, 0].repeat(MOST_RESOURCES + 7)].concat();
        let cut = cut(&response).unwrap();
        assert_eq!(DiscoveryResponse::decode(&*cut).unwrap().resources.len(), MOST_RESOURCES + 1);
    }

    #[test]
    fn what_limits_replace_and_metadata_hold_count_too() {
        use prost_types::value::Kind;
        use prost_types::{ListValue, Struct, Value};

        let value = |kind| Value { kind: Some(kind) };
        let list = ListValue { values: vec![value(Kind::BoolValue(true)); 5] };
        let fields = [("list".to_owned(), value(Kind::ListValue(list)))].into();
        let replaces = vec![RateLimitReplace::default(); 7];
        let descriptor = RateLimitDescriptor {
            rate_limit: Some(RateLimitPolicy { replaces, ..Default::default() }),
            metadata: Some(Struct { fields }),
            ..Default::default()
        };
        let config = RateLimitConfig { descriptors: vec![descriptor], ..Default::default() };
        // The descriptor, its limit and seven names; the struct, its entry, the value, the list and five values.
        let mut room = Room(Some(1 + 1 + 7 + 1 + 1 + 1 + 1 + 5));
        assert_eq!((room.take(&config.encode_to_vec()), room.0), (Some(()), Some(0)));
    }
}
