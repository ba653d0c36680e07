//! The same messages as JSON, by protobuf's own mapping (<https://protobuf.dev/programming-guides/json/>): names of fields in
//! camel case or as the `.proto` has them, 64-bit numbers as text or as numbers, units by name or number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost_types::value::Kind;
use serde_json::{Map, Value, json};

use super::proto::{Code, DescriptorStatus, HeaderValue, RateLimitResponse};
use super::units::from_wire;

mod request;

pub(in crate::rls) use request::request;

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
