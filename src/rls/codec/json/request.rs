//! A `RateLimitRequest` in JSON, encoded anew.
//!
//! An element of two bytes can take a hundred times as much memory once it is read. So descriptors are read one by one, each
//! is encoded before the next one is read, and of a list no more elements are kept than tell that it is beyond its bound.

use std::fmt;
use std::marker::PhantomData;

use prost::Message as _;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::model::Unit;
use crate::rls::codec::decode::MOST_REPEATED;
use crate::rls::codec::proto;
use crate::rls::codec::units::to_wire;

/// The `RateLimitRequest` that `text` is, encoded; or what is wrong with it. One that has too many descriptors or entries still has
/// too many, whatever their number.
pub(in crate::rls) fn request(text: &[u8]) -> Result<Vec<u8>, String> {
    let Request { domain, descriptors, hits_addend } = read(text, "the request")?;
    // Messages that are encoded one after the other are one that is merged of them.
    let mut encoded = proto::RateLimitRequest {
        domain: domain.unwrap_or_default().into(),
        ..proto::RateLimitRequest::default()
    }
    .encode_to_vec();
    for (at, raw) in descriptors.unwrap_or_default().0.into_iter().enumerate() {
        let descriptor: Descriptor = read(raw.get().as_bytes(), format_args!("descriptor {}", at + 1))?;
        let one = proto::RateLimitRequest {
            descriptors: vec![descriptor.into()],
            ..proto::RateLimitRequest::default()
        };
        encoded.extend_from_slice(&one.encode_to_vec());
    }
    let hits_addend = hits_addend.map_or(0, |Number(hits)| hits);
    let rest = proto::RateLimitRequest { hits_addend, ..proto::RateLimitRequest::default() };
    encoded.extend_from_slice(&rest.encode_to_vec());
    Ok(encoded)
}

/// A message. Messages are objects, and no lists of their fields' values, as which they could be read as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

fn read<'de, T: Deserialize<'de>>(text: &'de [u8], what: impl fmt::Display) -> Result<T, String> {
    serde_json::from_slice(text).map(|Object(read)| read).map_err(|error| match error.classify() {
        Category::Data => format!("{what}: {error}"),
        _ => format!("not JSON: {error}"),
    })
}

// Names in camel case, or as the `.proto` has them. What is null is as if it were absent.

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Request<'t> {
    domain: Option<String>,
    #[serde(borrow)]
    descriptors: Option<AtMost<&'t RawValue>>,
    #[serde(alias = "hits_addend")]
    hits_addend: Option<Number<u32>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Descriptor {
    entries: Option<AtMost<Object<Entry>>>,
    limit: Option<Object<Limit>>,
    #[serde(alias = "hits_addend")]
    hits_addend: Option<Number<u64>>,
    #[serde(alias = "is_negative_hits")]
    is_negative_hits: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: Option<String>,
    value: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Limit {
    #[serde(alias = "requests_per_unit")]
    requests_per_unit: Option<Number<u32>>,
    unit: Option<UnitOnWire>,
    #[serde(alias = "unit_multiplier")]
    unit_multiplier: Option<Number<u32>>,
}

impl From<Descriptor> for proto::RateLimitDescriptor {
    fn from(Descriptor { entries, limit, hits_addend, is_negative_hits }: Descriptor) -> Self {
        let entry = |Object(Entry { key, value })| proto::Entry {
            key: key.unwrap_or_default().into(),
            value: value.unwrap_or_default().into(),
        };
        Self {
            entries: entries.unwrap_or_default().0.into_iter().map(entry).collect(),
            limit: limit.map(|Object(limit)| limit.into()),
            hits_addend: hits_addend.map(|Number(hits)| hits),
            is_negative_hits: is_negative_hits.unwrap_or_default(),
        }
    }
}

impl From<Limit> for proto::RateLimitOverride {
    fn from(Limit { requests_per_unit, unit, unit_multiplier }: Limit) -> Self {
        Self {
            requests_per_unit: requests_per_unit.map_or(0, |Number(requests)| requests),
            unit: unit.map_or(0, |UnitOnWire(unit)| unit),
            unit_multiplier: unit_multiplier.map(|Number(multiplier)| multiplier),
        }
    }
}

/// A list, of which as many elements are kept as a request may have, and one more.
struct AtMost<T>(Vec<T>);

impl<T> Default for AtMost<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AtMost<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = AtMost<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while kept.len() <= MOST_REPEATED {
                    let Some(element) = elements.next_element()? else { return Ok(AtMost(kept)) };
                    kept.push(element);
                }
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(AtMost(kept))
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// A whole number, as such or as text.
struct Number<N>(N);

impl<'de, N: TryFrom<u64>> Deserialize<'de> for Number<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits<N>(PhantomData<N>);

        impl<N: TryFrom<u64>> Visitor<'_> for Digits<N> {
            type Value = Number<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number of at most {} bits, which is not negative", 8 * size_of::<N>())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                N::try_from(number)
                    .map(Number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            /// `1e3` and `3.0` are whole numbers, too.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                let whole = (number.fract() == 0.0).then(|| format!("{number}").parse().ok()).flatten();
                let whole = whole.and_then(|number: u64| N::try_from(number).ok());
                whole.map(Number).ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let number = text.parse().ok().and_then(|number: u64| N::try_from(number).ok());
                number.map(Number).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Digits(PhantomData))
    }
}

/// A unit by its name or number. A number that stands for none is told by who decides, as over gRPC.
struct UnitOnWire(i32);

impl<'de> Deserialize<'de> for UnitOnWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrNumber;

        impl Visitor<'_> for NameOrNumber {
            type Value = UnitOnWire;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a unit, such as `MINUTE`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                i32::try_from(number)
                    .map(UnitOnWire)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                let number = match name {
                    "UNKNOWN" => Some(0),
                    _ => Unit::from_name(name).and_then(|unit| i32::try_from(to_wire(unit)).ok()),
                };
                number.map(UnitOnWire).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
            }
        }

        deserializer.deserialize_any(NameOrNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rls::codec::proto::{Entry, RateLimitDescriptor, RateLimitOverride, RateLimitRequest};

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
        let hits_of = |number: &str| {
            let encoded = request(format!(r#"{{"hitsAddend": {number}}}"#).as_bytes());
            encoded.map(|encoded| RateLimitRequest::decode(&*encoded).unwrap().hits_addend)
        };
        assert_eq!((hits_of("3.0"), hits_of("1e3")), (Ok(3), Ok(1_000)));
        assert!(["2.5", "-1e3", "1e30", "NaN"].into_iter().all(|number| hits_of(number).is_err()));
        let empty = r#"{"domain": null, "descriptors": null}"#;
        assert_eq!(request(empty.as_bytes()), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_request_is_told() {
        for (text, told) in [
            ("{", "not JSON: EOF"),
            ("5", "the request: invalid type: integer `5`"),
            (r#"["d", [], 1]"#, "the request: invalid type: sequence, expected an object"),
            (
                r#"{"descriptors": [[[], null, null, true]]}"#,
                "descriptor 1: invalid type: sequence, expected an object",
            ),
            (
                r#"{"descriptors": [{"entries": [["a", "b"]]}]}"#,
                "descriptor 1: invalid type: sequence, expected an object",
            ),
            (
                r#"{"descriptors": [{"limit": [1, 2]}]}"#,
                "descriptor 1: invalid type: sequence, expected an object",
            ),
            (r#"{"domian": "d"}"#, "the request: unknown field `domian`, expected one of `domain`"),
            (r#"{"domain": 5}"#, "the request: invalid type: integer `5`, expected a string"),
            (r#"{"hitsAddend": -1}"#, "expected a whole number of at most 32 bits, which is not negative"),
            (r#"{"hitsAddend": 4294967296}"#, "invalid value: integer `4294967296`, expected a whole number"),
            (
                r#"{"descriptors": [{}, {"entries": [{"key": "a", "valeu": "b"}]}]}"#,
                "descriptor 2: unknown field `valeu`, expected `key` or `value`",
            ),
            (
                r#"{"descriptors": [{"limit": {"unit": "FORTNIGHT"}}]}"#,
                "descriptor 1: invalid value: string \"FORTNIGHT\", expected a unit, such as `MINUTE`",
            ),
        ] {
            let wrong = request(text.as_bytes()).unwrap_err();
            assert!(wrong.contains(told), "{text}: {wrong}");
        }
    }

    #[test]
    fn what_is_made_of_two_mebibytes_takes_no_more_than_a_few() {
        let descriptors = |one: &str| {
            format!(r#"{{"descriptors":[{}]}}"#, vec![one; (2 << 20) / (one.len() + 1)].join(","))
        };
        let entries = format!(r#"{{"entries":[{}]}}"#, vec!["{}"; 1_000].join(","));
        for (text, too_many) in [
            (descriptors("{}"), true),
            (descriptors(r#"{"entries":[{}]}"#), true),
            (descriptors(&entries), false),
            (descriptors(&format!(r#"{{"entries":[{}]}}"#, vec!["{}"; 600_000].join(","))), true),
        ] {
            let mut encoded = Ok(Vec::new());
            let taken = allocation_counter::measure(|| encoded = request(text.as_bytes()));
            let message = RateLimitRequest::decode(&*encoded.unwrap()).unwrap();
            let most = message.descriptors.iter().map(|of| of.entries.len()).max().unwrap_or_default();
            assert_eq!(message.descriptors.len() > MOST_REPEATED || most > MOST_REPEATED, too_many);
            assert!(taken.bytes_max < 6 << 20, "{taken:?}");
        }
        // What no bound allows has to be JSON all the same, and a list knows of its own.
        assert!(
            request(br#"{"descriptors":[{"":0},{"":0}]}"#)
                .unwrap_err()
                .contains("descriptor 1: unknown field ``")
        );
    }
}
