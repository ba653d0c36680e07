//! Between Envoy's messages and the house's own words.

use std::num::NonZeroU32;

use prost_types::{ListValue, Struct, Value, value::Kind};
use tonic::Status;

use super::proto;
use crate::engine::{Answer, Counted, Decision, Verdict};
use crate::model::{Descriptor, Entry, Hits, LimitOverride, Request, Unit};
use crate::policy::Limit;
use crate::store::StoreError;

/// The most descriptors of a request, and the most entries of a descriptor: far more than any Envoy sends, and few enough
/// that a request cannot hold its counters for long.
const MOST: usize = 1024;

/// The request in a message, or why there is none in it.
pub(super) fn decode(message: &proto::RateLimitRequest) -> Result<Request<'_>, Status> {
    if message.domain.is_empty() {
        return Err(Status::invalid_argument("rate limit domain must not be empty"));
    }
    if message.descriptors.is_empty() {
        return Err(Status::invalid_argument("rate limit descriptor list must not be empty"));
    }
    let too_many = |what| Status::invalid_argument(format!("a request has at most {MOST} {what}"));
    if message.descriptors.len() > MOST {
        return Err(too_many("descriptors"));
    }
    if message.descriptors.iter().any(|descriptor| descriptor.entries.len() > MOST) {
        return Err(too_many("entries in a descriptor"));
    }
    let descriptors = message
        .descriptors
        .iter()
        .enumerate()
        .map(|(at, descriptor)| {
            Ok(Descriptor {
                entries: descriptor
                    .entries
                    .iter()
                    .map(|entry| Entry { key: &entry.key, value: &entry.value })
                    .collect(),
                hits: hits(message.hits_addend, descriptor),
                limit: descriptor.limit.as_ref().map(|limit| limit_override(at, limit)).transpose()?,
            })
        })
        .collect::<Result<_, Status>>()?;
    Ok(Request { domain: &message.domain, descriptors })
}

/// A descriptor's own number beats the request's, whose 0 means 1.
fn hits(of_request: u32, descriptor: &proto::RateLimitDescriptor) -> Hits {
    let amount = descriptor.hits_addend.unwrap_or(of_request.max(1).into());
    if descriptor.is_negative_hits { Hits::refund(amount) } else { Hits::charge(amount) }
}

fn limit_override(at: usize, limit: &proto::RateLimitOverride) -> Result<LimitOverride, Status> {
    let unit = unit_from_wire(limit.unit).ok_or_else(|| {
        Status::invalid_argument(format!(
            "descriptor {at}: the limit sent along has unit {}, which is none of SECOND 1, MINUTE 2, HOUR 3, DAY 4, \
             MONTH 5, YEAR 6, WEEK 7",
            limit.unit
        ))
    })?;
    let multiplier = NonZeroU32::new(limit.unit_multiplier.unwrap_or(1)).ok_or_else(|| {
        Status::invalid_argument(format!("descriptor {at}: the limit sent along has a unit_multiplier of 0"))
    })?;
    Ok(LimitOverride { requests_per_unit: limit.requests_per_unit, unit, unit_multiplier: multiplier.get() })
}

/// Units by their number in `envoy.type.v3.RateLimitUnit`; 0 is UNKNOWN.
const UNITS: [Option<Unit>; 8] = [
    None,
    Some(Unit::Second),
    Some(Unit::Minute),
    Some(Unit::Hour),
    Some(Unit::Day),
    Some(Unit::Month),
    Some(Unit::Year),
    Some(Unit::Week),
];

fn unit_from_wire(number: i32) -> Option<Unit> {
    *UNITS.get(usize::try_from(number).ok()?)?
}

fn unit_to_wire(unit: Unit) -> i32 {
    UNITS.iter().position(|&other| other == Some(unit)).and_then(|at| at.try_into().ok()).unwrap_or_default()
}

/// What Envoy is told: one filled status for each descriptor, in order, and how to answer the client.
pub(super) fn encode(verdict: &Verdict<'_>, answer: Answer) -> proto::RateLimitResponse {
    let headers = |headers: Vec<(String, String)>| {
        headers.into_iter().map(|(key, value)| proto::HeaderValue { key, value }).collect()
    };
    proto::RateLimitResponse {
        overall_code: code(verdict.over_limit),
        statuses: verdict.decisions.iter().map(status).collect(),
        response_headers_to_add: headers(answer.response_headers),
        request_headers_to_add: headers(answer.request_headers),
        raw_body: answer.body,
        dynamic_metadata: metadata(verdict),
    }
}

fn code(over_limit: bool) -> i32 {
    if over_limit { proto::Code::OverLimit } else { proto::Code::Ok }.into()
}

fn status(decision: &Decision<'_>) -> proto::DescriptorStatus {
    match decision {
        Decision::Free | Decision::Exempt(_) | Decision::Replaced(_) | Decision::PassedOver(_) => {
            proto::DescriptorStatus { code: code(false), ..Default::default() }
        }
        Decision::Unlimited(_) => {
            proto::DescriptorStatus { code: code(false), limit_remaining: u32::MAX, ..Default::default() }
        }
        Decision::Counted(counted) => counted_status(counted),
    }
}

fn counted_status(counted: &Counted<'_>) -> proto::DescriptorStatus {
    let mut status = proto::DescriptorStatus { code: code(counted.over_limit()), ..Default::default() };
    if let Some((limit, outcome)) = counted.told() {
        // Where Envoy has no words for the window, its unit is UNKNOWN.
        let (unit, multiplier) =
            limit.window.in_units().map_or((0, 1), |(unit, many)| (unit_to_wire(unit), many));
        status.current_limit = Some(proto::RateLimit {
            requests_per_unit: saturate(outcome.limit),
            unit,
            name: limit_name(counted, limit),
            unit_multiplier: (multiplier != 1).then_some(multiplier),
        });
        status.limit_remaining = saturate(outcome.remaining);
        // Whole seconds, rounded up: Envoy rounds down what it makes of this, and a client that comes back early is
        // refused again.
        let until = outcome.retry_after.unwrap_or(outcome.reset_after);
        let seconds = until.as_secs() + u64::from(until.subsec_nanos() > 0);
        status.duration_until_reset =
            Some(prost_types::Duration { seconds: seconds.try_into().unwrap_or(i64::MAX), nanos: 0 });
    }
    status
}

/// Only what was named is told by name, as in envoyproxy/ratelimit.
fn limit_name(counted: &Counted<'_>, limit: &Limit) -> String {
    let is_named = counted.rule.name.is_some() || limit.name != counted.rule.label;
    if is_named { limit.name.clone() } else { String::new() }
}

fn saturate(number: u64) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

/// For Envoy's access log and later filters: which rule decided, its numbers, and the metadata of the rules that were
/// reached and are not over their limit (first one wins where two say different things). Nothing a client sent is in
/// it, and no credential.
fn metadata(verdict: &Verdict<'_>) -> Option<Struct> {
    let counted = || {
        verdict.decisions.iter().filter_map(|decision| match decision {
            Decision::Counted(counted) => Some(counted),
            _ => None,
        })
    };
    let mut fields = std::collections::BTreeMap::new();
    if let Some((counted, limit, outcome)) = verdict.told() {
        fields.insert("rule".to_owned(), text(&limit.name));
        fields.insert("limit".to_owned(), number(outcome.limit));
        fields.insert("used".to_owned(), number(outcome.used));
        fields.insert("remaining".to_owned(), number(outcome.remaining));
        if let Some(credential) = &counted.credential {
            fields.insert("subject".to_owned(), text(credential.subject.id()));
        }
    }

    let mut merged = serde_json::Map::new();
    for counted in counted().filter(|counted| !counted.over_limit()) {
        if let Some(metadata) = &counted.rule.metadata {
            merge(&mut merged, metadata);
        }
    }
    if !merged.is_empty() {
        fields.insert("metadata".to_owned(), value(&serde_json::Value::Object(merged)));
    }
    (!fields.is_empty()).then_some(Struct { fields })
}

fn merge(
    into: &mut serde_json::Map<String, serde_json::Value>,
    from: &serde_json::Map<String, serde_json::Value>,
) {
    for (name, new) in from {
        match (into.get_mut(name), new) {
            (None, _) => {
                into.insert(name.clone(), new.clone());
            }
            (Some(serde_json::Value::Object(old)), serde_json::Value::Object(new)) => merge(old, new),
            (Some(_), _) => {}
        }
    }
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

#[expect(clippy::cast_precision_loss, reason = "protobuf's Struct has no other number than a double")]
fn number(number: u64) -> Value {
    Value { kind: Some(Kind::NumberValue(number as f64)) }
}

fn value(json: &serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(truth) => Kind::BoolValue(*truth),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.iter().map(value).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields.iter().map(|(name, field)| (name.clone(), value(field))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

/// Could not decide: an error, so that Envoy's own failure mode applies, and never an OK with invented numbers.
#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
pub(super) fn unavailable(error: StoreError) -> Status {
    Status::unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn request(hits_addend: u32, descriptor: proto::RateLimitDescriptor) -> proto::RateLimitRequest {
        proto::RateLimitRequest {
            domain: Bytes::from_static(b"d"),
            descriptors: vec![descriptor],
            hits_addend,
        }
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
            assert_eq!(decode(&message).unwrap().descriptors[0].hits, expected);
        }
    }

    #[test]
    fn a_limit_sent_along_has_a_multiplier_of_at_least_one() {
        let limit = |unit_multiplier| {
            let limit = proto::RateLimitOverride { requests_per_unit: 5, unit: 2, unit_multiplier };
            let message = request(0, proto::RateLimitDescriptor { limit: Some(limit), ..Default::default() });
            decode(&message).map(|request| request.descriptors[0].limit)
        };
        let minutes = |unit_multiplier| {
            Some(LimitOverride { requests_per_unit: 5, unit: Unit::Minute, unit_multiplier })
        };
        assert_eq!(limit(None).unwrap(), minutes(1));
        assert_eq!(limit(Some(15)).unwrap(), minutes(15));
        let refused = limit(Some(0)).unwrap_err();
        assert_eq!(refused.message(), "descriptor 0: the limit sent along has a unit_multiplier of 0");
    }

    #[test]
    fn every_unit_has_the_number_that_envoy_gives_it() {
        let numbers = Unit::ALL.map(unit_to_wire);
        assert_eq!(numbers, [1, 2, 3, 4, 7, 5, 6]);
        assert_eq!(numbers.map(unit_from_wire), Unit::ALL.map(Some));
    }

    #[test]
    fn fields_that_nobody_knows_are_passed_over() {
        let mut bytes = request(2, proto::RateLimitDescriptor::default()).encode_to_vec();
        // Field 99, a string.
        bytes.extend([0x9a, 0x06, 3, b'n', b'e', b'w']);
        let message = proto::RateLimitRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(decode(&message).unwrap().descriptors[0].hits, Hits::charge(2));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = proto::RateLimitRequest::decode(bytes.as_slice()) {
                let _ = decode(&message);
            }
        }
    }
}
