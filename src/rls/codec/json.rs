//! The same messages as JSON, by protobuf's own mapping (<https://protobuf.dev/programming-guides/json/>): names of fields in
//! camel case or as the `.proto` has them, 64-bit numbers as text or as numbers, units by name or number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost_types::value::Kind;
use serde_json::{Map, Value, json};

use super::proto::{
    Code, DescriptorStatus, Entry, HeaderValue, RateLimitDescriptor, RateLimitOverride, RateLimitRequest,
    RateLimitResponse,
};
use super::units::{from_wire, to_wire};
use crate::model::Unit;

/// The `RateLimitRequest` that `text` is, encoded; or what is wrong with it.
pub(in crate::rls) fn request(text: &[u8]) -> Result<Vec<u8>, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
    let mut fields = Fields::of(&value, "the request")?;
    let request = RateLimitRequest {
        domain: fields.text("domain")?.into(),
        descriptors: fields.list("descriptors", descriptor)?,
        hits_addend: fields.number("hits_addend")?.unwrap_or_default(),
    };
    fields.finish()?;
    Ok(request.encode_to_vec())
}

fn descriptor(value: &Value) -> Result<RateLimitDescriptor, String> {
    let mut fields = Fields::of(value, "a descriptor")?;
    let descriptor = RateLimitDescriptor {
        entries: fields.list("entries", |value| {
            let mut fields = Fields::of(value, "an entry")?;
            let entry = Entry { key: fields.text("key")?.into(), value: fields.text("value")?.into() };
            fields.finish().map(|()| entry)
        })?,
        limit: fields.take("limit").map(limit).transpose()?,
        hits_addend: fields.number("hits_addend")?,
        is_negative_hits: match fields.take("is_negative_hits") {
            None => false,
            Some(value) => value.as_bool().ok_or("`isNegativeHits` is `true` or `false`")?,
        },
    };
    fields.finish().map(|()| descriptor)
}

fn limit(value: &Value) -> Result<RateLimitOverride, String> {
    let mut fields = Fields::of(value, "`limit`")?;
    let limit = RateLimitOverride {
        requests_per_unit: fields.number("requests_per_unit")?.unwrap_or_default(),
        unit: fields.take("unit").map(unit).transpose()?.unwrap_or_default(),
        unit_multiplier: fields.number("unit_multiplier")?,
    };
    fields.finish().map(|()| limit)
}

fn unit(value: &Value) -> Result<i32, String> {
    let by_name = value.as_str().and_then(Unit::from_name).map(to_wire);
    let number = by_name.map(u64::from).or(value.as_u64()).or((value == "UNKNOWN").then_some(0));
    number.and_then(|number| i32::try_from(number).ok()).ok_or_else(|| format!("there is no unit {value}"))
}

/// The fields of an object, which are taken out one by one.
struct Fields<'v> {
    of: &'static str,
    left: Vec<(&'v str, &'v Value)>,
}

impl<'v> Fields<'v> {
    fn of(value: &'v Value, of: &'static str) -> Result<Self, String> {
        let fields = value.as_object().ok_or_else(|| format!("{of} is an object"))?;
        // What is null is as if it were absent.
        let left = fields.iter().filter(|(_, value)| !value.is_null());
        Ok(Self { of, left: left.map(|(name, value)| (name.as_str(), value)).collect() })
    }

    fn take(&mut self, name: &str) -> Option<&'v Value> {
        let at = self.left.iter().position(|(known, _)| *known == name || *known == camel(name))?;
        Some(self.left.swap_remove(at).1)
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        let Some(value) = self.take(name) else { return Ok(String::new()) };
        value.as_str().map(str::to_owned).ok_or_else(|| format!("`{}` is a text", camel(name)))
    }

    fn number<N: TryFrom<u64>>(&mut self, name: &str) -> Result<Option<N>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let number = number.and_then(|number| N::try_from(number).ok());
        number.map(Some).ok_or_else(|| format!("`{}` is no number that it can be: {value}", camel(name)))
    }

    fn list<T>(&mut self, name: &str, read: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(|| format!("`{}` is a list", camel(name)))?;
        items.iter().map(read).collect()
    }

    fn finish(self) -> Result<(), String> {
        match self.left.first() {
            Some((name, _)) => Err(format!("{} has no field `{name}`", self.of)),
            None => Ok(()),
        }
    }
}

/// `hits_addend` as `hitsAddend`.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let (head, rest) = part.split_at(part.len().min(1));
        name + &head.to_uppercase() + rest
    })
}

/// Whether the encoded `RateLimitResponse` is a refusal, and what it is as JSON.
pub(in crate::rls) fn response(message: &[u8]) -> Result<(bool, String), String> {
    let response = RateLimitResponse::decode(message).map_err(|error| error.to_string())?;
    let headers = |headers: &[HeaderValue]| -> Value {
        headers.iter().map(|header| json!({"key": header.key, "value": header.value})).collect()
    };
    let mut object = Map::new();
    object.insert("overallCode".to_owned(), code(response.overall_code).into());
    let mut add = |name: &str, is_there: bool, value: Value| {
        if is_there {
            object.insert(name.to_owned(), value);
        }
    };
    let statuses: Value = response.statuses.iter().map(status).collect();
    add("statuses", !response.statuses.is_empty(), statuses);
    let (to_client, to_upstream) = (&response.response_headers_to_add, &response.request_headers_to_add);
    add("responseHeadersToAdd", !to_client.is_empty(), headers(to_client));
    add("requestHeadersToAdd", !to_upstream.is_empty(), headers(to_upstream));
    add("rawBody", !response.raw_body.is_empty(), STANDARD.encode(&response.raw_body).into());
    if let Some(metadata) = response.dynamic_metadata {
        add("dynamicMetadata", true, structure(metadata));
    }
    Ok((response.overall_code == Code::OverLimit as i32, Value::Object(object).to_string()))
}

fn code(number: i32) -> &'static str {
    match Code::try_from(number) {
        Ok(Code::Ok) => "OK",
        Ok(Code::OverLimit) => "OVER_LIMIT",
        Ok(Code::Unknown) | Err(_) => "UNKNOWN",
    }
}

fn status(status: &DescriptorStatus) -> Value {
    let mut object = json!({"code": code(status.code)});
    if let Some(limit) = &status.current_limit {
        let unit = u32::try_from(limit.unit).ok().and_then(from_wire);
        let mut current = json!({"requestsPerUnit": limit.requests_per_unit});
        current["unit"] = unit.map_or("UNKNOWN".to_owned(), |unit| unit.name().to_uppercase()).into();
        if !limit.name.is_empty() {
            current["name"] = limit.name.as_str().into();
        }
        if let Some(multiplier) = limit.unit_multiplier {
            current["unitMultiplier"] = multiplier.into();
        }
        object["currentLimit"] = current;
    }
    if status.limit_remaining > 0 {
        object["limitRemaining"] = status.limit_remaining.into();
    }
    if let Some(duration) = &status.duration_until_reset {
        // As seconds with three, six or nine digits behind the point, or none.
        let nanos = format!("{:09}", duration.nanos);
        let digits = nanos.trim_end_matches('0').len().div_ceil(3) * 3;
        let fraction = nanos.get(..digits).filter(|digits| !digits.is_empty());
        let fraction = fraction.map_or(String::new(), |digits| format!(".{digits}"));
        object["durationUntilReset"] = format!("{}{fraction}s", duration.seconds).into();
    }
    object
}

fn structure(metadata: prost_types::Struct) -> Value {
    Value::Object(metadata.fields.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

fn plain(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => number.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::StructValue(fields)) => structure(fields),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(plain).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_protobuf_maps_it() {
        let written = RateLimitRequest {
            domain: "d".into(),
            descriptors: vec![RateLimitDescriptor {
                entries: vec![Entry { key: "a".into(), value: "b".into() }],
                limit: Some(RateLimitOverride { requests_per_unit: 7, unit: 4, unit_multiplier: Some(2) }),
                hits_addend: Some(5),
                is_negative_hits: true,
            }],
            hits_addend: 3,
        };
        for text in [
            r#"{"domain": "d", "hitsAddend": 3, "descriptors": [{"entries": [{"key": "a", "value": "b"}],
                "limit": {"requestsPerUnit": 7, "unit": "DAY", "unitMultiplier": 2}, "hitsAddend": "5", "isNegativeHits": true}]}"#,
            r#"{"domain": "d", "hits_addend": 3, "descriptors": [{"entries": [{"key": "a", "value": "b"}], "limit": {"requests_per_unit": 7,
                "unit": 4, "unit_multiplier": 2}, "hits_addend": 5, "is_negative_hits": true}]}"#,
        ] {
            assert_eq!(request(text.as_bytes()), Ok(written.encode_to_vec()), "{text}");
        }
        let empty = r#"{"domain": null, "descriptors": null}"#;
        assert_eq!(request(empty.as_bytes()), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_request_is_told() {
        for (text, told) in [
            ("{", "not JSON"),
            ("[]", "the request is an object"),
            (r#"{"domian": "d"}"#, "the request has no field `domian`"),
            (r#"{"domain": 5}"#, "`domain` is a text"),
            (r#"{"hitsAddend": -1}"#, "`hitsAddend` is no number that it can be: -1"),
            (
                r#"{"descriptors": [{"entries": [{"key": "a", "valeu": "b"}]}]}"#,
                "an entry has no field `valeu`",
            ),
            (r#"{"descriptors": [{"limit": {"unit": "FORTNIGHT"}}]}"#, "there is no unit \"FORTNIGHT\""),
        ] {
            let wrong = request(text.as_bytes()).unwrap_err();
            assert!(wrong.contains(told), "{text}: {wrong}");
        }
    }

    #[test]
    fn durations_have_as_many_digits_as_they_need() {
        for (seconds, nanos, written) in
            [(42, 0, "42s"), (1, 500_000_000, "1.500s"), (0, 1_000, "0.000001s"), (3, 7, "3.000000007s")]
        {
            let duration_until_reset = Some(prost_types::Duration { seconds, nanos });
            let value =
                status(&DescriptorStatus { code: 1, duration_until_reset, ..DescriptorStatus::default() });
            assert_eq!(value["durationUntilReset"], written);
        }
    }
}
