//! Writes a verdict and its answer as a `RateLimitResponse`: one status for each descriptor, in order, and the headers and
//! body of the client's response.

use std::collections::HashSet;

use bytes::BytesMut;
use prost::Message;
use prost_types::{ListValue, Struct, Value, value::Kind};

use super::protobuf::Write;
use super::units;
use crate::engine::{Answer, Counted, Decision, Verdict};
use crate::model::Few;
use crate::policy::Limit;
use crate::response::Headers;

/// Appends the response to `out`, with `echoed`, which is what the request says, in its metadata.
pub(in crate::rls) fn encode(
    verdict: &Verdict<'_>,
    answer: &Answer<'_>,
    echoed: &[(&str, Value)],
    out: &mut BytesMut,
) {
    out.number(1, code(verdict.over_limit));
    for (at, decision) in verdict.decisions.iter().enumerate() {
        let is_closed = verdict.closed.as_ref().is_some_and(|closed| closed.descriptor == at);
        out.message(2, |out| if is_closed { out.number(1, code(true)) } else { status(decision, out) });
    }
    headers(3, &answer.response_headers, out);
    headers(4, &answer.request_headers, out);
    out.bytes(5, answer.body.as_bytes());
    metadata(verdict, echoed, out);
}

/// Headers have a `value` and never a `raw_value`: Envoy 1.40 sends an empty header for the latter.
fn headers(field: u32, headers: &Headers<'_>, out: &mut BytesMut) {
    for (name, value) in headers.iter() {
        out.message(field, |out| {
            out.bytes(1, name.as_bytes());
            out.bytes(2, value.as_bytes());
        });
    }
}

/// `RateLimitResponse.Code`
fn code(over_limit: bool) -> u64 {
    if over_limit { 2 } else { 1 }
}

/// A `DescriptorStatus`.
fn status(decision: &Decision<'_>, out: &mut BytesMut) {
    match decision {
        Decision::NoLimit | Decision::Exempt(_) | Decision::Replaced(_) | Decision::Skipped(_) => {
            out.number(1, code(false));
        }
        Decision::Unlimited(..) => {
            out.number(1, code(false));
            out.number(3, u32::MAX.into());
        }
        Decision::Counted(counted) => counted_status(counted, out),
    }
}

fn counted_status(counted: &Counted<'_>, out: &mut BytesMut) {
    out.number(1, code(counted.tells_over_limit()));
    let Some((limit, outcome)) = counted.reported() else { return };
    out.message(2, |out| {
        // A window that is no unit of Envoy's has the unit UNKNOWN.
        let (unit, multiplier) =
            limit.window.in_units().map_or((0, 1), |(unit, many)| (units::to_wire(unit), many));
        out.number(1, saturate(outcome.quota));
        out.number(2, unit.into());
        out.bytes(3, limit_name(counted, limit).as_bytes());
        if multiplier != 1 {
            out.message(4, |out| out.number(1, multiplier.into()));
        }
    });
    out.number(3, saturate(outcome.remaining));
    // Whole seconds, rounded up: Envoy rounds this down for its header, and a client that comes back early is refused again.
    let until = outcome.retry_after.unwrap_or(outcome.reset_after);
    let seconds = until.as_secs() + u64::from(until.subsec_nanos() > 0);
    out.message(4, |out| out.number(1, seconds.min(i64::MAX.cast_unsigned())));
}

/// Only a limit with a name has one here, as in envoyproxy/ratelimit.
fn limit_name<'l>(counted: &Counted<'_>, limit: &'l Limit) -> &'l str {
    let is_named = counted.rule.name.is_some() || limit.name != counted.rule.label;
    if is_named { &limit.name } else { "" }
}

fn saturate(number: u64) -> u64 {
    number.min(u32::MAX.into())
}

/// The dynamic metadata, for Envoy's access log and later filters: the rule that decided, its numbers, and the metadata of
/// all matched rules that are not over their limit. If two of them have the same key, the first one counts. It contains
/// nothing that a client sent, but for what is `echoed`, and no credential.
fn metadata(verdict: &Verdict<'_>, echoed: &[(&str, Value)], out: &mut BytesMut) {
    let decisive = verdict.reported();
    let of_rules = of_rules(verdict);
    if decisive.is_none() && of_rules.is_none() && echoed.is_empty() {
        return;
    }
    // The keys are sorted, as in the output of an encoder that sorts them.
    out.message(6, |out| {
        for (name, value) in echoed {
            member(out, name, |out| out.extend_from_slice(&value.encode_to_vec()));
        }
        if let Some((_, _, outcome)) = decisive {
            member(out, "limit", |out| number(out, outcome.limit));
        }
        if let Some(of_rules) = &of_rules {
            member(out, "metadata", |out| {
                // Rare, and of any depth, so prost writes it.
                out.extend_from_slice(&value(of_rules).encode_to_vec());
            });
        }
        if let Some((counted, limit, outcome)) = decisive {
            member(out, "remaining", |out| number(out, outcome.remaining));
            member(out, "rule", |out| text(out, &limit.name));
            if let Some(credential) = &counted.credential {
                member(out, "subject", |out| text(out, credential.subject.id()));
            }
        }
        // Who is asking, also where no limit of theirs decided: what was asked is explained for them.
        let counted_for = decisive.and_then(|(counted, ..)| counted.credential);
        if !echoed.is_empty()
            && counted_for.is_none()
            && let Some((_, credential)) = &verdict.somebody
        {
            member(out, "subject", |out| text(out, credential.subject.id()));
        }
        if let Some((_, _, outcome)) = decisive {
            member(out, "used", |out| number(out, outcome.used));
        }
    });
}

/// A member of a `Struct`: a key, and a `Value`.
fn member(out: &mut BytesMut, key: &str, value: impl FnOnce(&mut BytesMut)) {
    out.message(1, |out| {
        out.bytes(1, key.as_bytes());
        out.message(2, value);
    });
}

/// `Value.number_value`. It is a member of a `oneof`, so 0 is written too.
#[expect(clippy::cast_precision_loss, reason = "protobuf's Struct has no other number than a double")]
fn number(out: &mut BytesMut, number: u64) {
    out.double(2, number as f64);
}

/// `Value.string_value`. It is a member of a `oneof`, so an empty text is written too.
fn text(out: &mut BytesMut, text: &str) {
    out.message(3, |out| out.extend_from_slice(text.as_bytes()));
}

/// The metadata of all matched rules that are not over their limit. A rule counts once, even if several descriptors match
/// it.
fn of_rules(verdict: &Verdict<'_>) -> Option<serde_json::Value> {
    let mut of_rules: Few<_> = verdict
        .decisions
        .iter()
        .filter_map(|decision| match decision {
            Decision::Counted(counted) if !counted.tells_over_limit() => counted.rule.metadata.as_ref(),
            _ => None,
        })
        .collect();
    if of_rules.is_empty() {
        return None;
    }
    let mut merged_before: HashSet<*const serde_json::Map<String, serde_json::Value>> = HashSet::new();
    of_rules.retain(|metadata| merged_before.insert(std::ptr::from_ref(*metadata)));
    let mut merged = serde_json::Map::new();
    of_rules.into_iter().for_each(|metadata| merge(&mut merged, metadata));
    (!merged.is_empty()).then_some(serde_json::Value::Object(merged))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config;
    use std::sync::Arc;

    use crate::engine::{Scratch, answer};
    use crate::limiter::Limiter;
    use crate::model::{Descriptor, Entry, Hits, Request, Timestamp};
    use crate::rls::codec::proto;
    use crate::store::MemoryStore;

    /// Every kind of status, headers both ways, a long body, metadata of rules, numbers that are 0.
    const POLICY: &str = "
domain: d
headers: [{X-Limit: limit, X-Name: name}, {X-Reset: reset_s}]
deny: {content_type: text/plain, body: '{{entry.long}}'}
descriptors:
  - {key: named, rate_limit: {name: it, unit: minute, requests_per_unit: 7}}
  - {key: quarter, rate_limit: {requests_per_unit: 7, per: 15m}, metadata: {a: {b: [1, true, null, x]}, n: 1.5}}
  - {key: odd, rate_limit: {requests_per_unit: 7, per: 1500ms}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: bucket, rate_limit: {requests_per_unit: 10, per: 1m, algorithm: token_bucket, burst: 4}}
  - {key: long, rate_limit: {unit: hour, requests_per_unit: 0}}
";

    /// The response as prost reads it, which must write it to the very same bytes.
    fn response(entries: &[(&str, &str)]) -> proto::RateLimitResponse {
        let policy = config::load_text("d.yaml", POLICY, config::Options::default()).unwrap().policy;
        let clock = ManualClock::at(Timestamp::from_secs(90));
        let limiter = Arc::new(Limiter::new(policy, MemoryStore::default(), clock));
        let policy = limiter.engine.policy();
        let descriptors = entries.iter().map(|(key, value)| Descriptor {
            entries: [Entry { key: key.as_bytes(), value: value.as_bytes() }].into_iter().collect(),
            hits: Hits::ONE,
            limit: None,
        });
        let request = Request { domain: b"d", descriptors: descriptors.collect() };
        let verdict = limiter.worker().decide_now(Scratch::default(), &policy, &request).unwrap();
        let mut bytes = BytesMut::new();
        encode(&verdict, &answer(&request, &verdict), &[], &mut bytes);
        let read = proto::RateLimitResponse::decode(bytes.as_ref()).unwrap();
        assert_eq!(read.encode_to_vec(), bytes, "{entries:?}");
        read
    }

    #[test]
    fn a_response_is_written_as_prost_would_write_it() {
        for entries in [
            &[("named", "x"), ("quarter", "x"), ("odd", "x"), ("free", "x"), ("nobody", "x")][..],
            &[("quarter", "x")],
            &[("nobody", "x")],
        ] {
            let response = response(entries);
            assert_eq!(response.overall_code, 1);
            assert_eq!(response.statuses.len(), entries.len());
        }
    }

    #[test]
    fn a_bucket_is_reported_as_what_refills_in_its_window() {
        let response = response(&[("bucket", "x")]);
        let limit = response.statuses[0].current_limit.as_ref().unwrap();
        assert_eq!((limit.requests_per_unit, limit.unit, response.statuses[0].limit_remaining), (10, 2, 3));
    }

    #[test]
    fn what_is_longer_than_a_byte_can_say_is_written_whole() {
        let long = "x".repeat(3_000);
        let response = response(&[("long", &long)]);
        assert_eq!((response.overall_code, response.raw_body), (2, long.into_bytes()));
        let names: Vec<_> =
            response.response_headers_to_add.iter().map(|header| header.key.as_str()).collect();
        assert_eq!(names, ["X-Limit", "X-Name", "X-Reset", "Content-Type"]);
    }
}
