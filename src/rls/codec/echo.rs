//! What a request said, as members of its response's dynamic metadata: `RESPONSE_DYNAMIC_METADATA` of envoyproxy/ratelimit.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::proto::{RateLimitDescriptor, RateLimitOverride, RateLimitRequest};
use super::units;
use crate::model::lossy;

/// The most descriptors that are repeated, and entries of each: Envoy writes them into its access log.
const MOST: usize = 12;

/// `descriptors`, `domain` and, where the request has one, `hitsAddend`, in this order. `message` is the request, which was read
/// before; of bytes that are no request there is nothing. What of a key and its value may be told, `shown` says.
pub(in crate::rls) fn echo(
    message: &[u8],
    shown: impl Fn(&[u8], &[u8]) -> String,
) -> Vec<(&'static str, Value)> {
    let Ok(request) = RateLimitRequest::decode(message) else { return Vec::new() };
    let descriptors = request.descriptors.iter().take(MOST);
    let descriptors = descriptors.map(|descriptor| value(Kind::StructValue(fields(descriptor, &shown))));
    let mut members = vec![("descriptors", list(descriptors)), ("domain", text(&lossy(&request.domain)))];
    if request.hits_addend != 0 {
        members.push(("hitsAddend", number(f64::from(request.hits_addend))));
    }
    members
}

#[expect(clippy::cast_precision_loss, reason = "protobuf's Struct has no other number than a double")]
fn fields(descriptor: &RateLimitDescriptor, shown: impl Fn(&[u8], &[u8]) -> String) -> Struct {
    let entries = descriptor.entries.iter().take(MOST);
    let entries = entries.map(|entry| text(&shown(&entry.key, &entry.value)));
    let mut fields = vec![("entries", list(entries))];
    fields.extend(descriptor.hits_addend.map(|hits| ("hitsAddend", number(hits as f64))));
    fields.extend(descriptor.limit.as_ref().map(|limit| ("limit", text(&sent(limit)))));
    Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}

/// As protobuf's text format has it.
fn sent(limit: &RateLimitOverride) -> String {
    let unit = u32::try_from(limit.unit).ok().and_then(units::from_wire);
    let unit = unit.map_or_else(|| "UNKNOWN".to_owned(), |unit| unit.name().to_uppercase());
    format!("requests_per_unit:{} unit:{unit}", limit.requests_per_unit)
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn text(text: &str) -> Value {
    value(Kind::StringValue(text.to_owned()))
}

fn number(number: f64) -> Value {
    value(Kind::NumberValue(number))
}

fn list(values: impl Iterator<Item = Value>) -> Value {
    value(Kind::ListValue(ListValue { values: values.collect() }))
}
