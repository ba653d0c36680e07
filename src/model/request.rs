//! What Envoy asks: a domain and its descriptors.
//!
//! Keys and values are bytes, not text: Envoy copies header bytes and percent-decoded query values as they came, and
//! a limiter that refuses what is not UTF-8 can be switched off by any client with `?k=%ff`.

use std::borrow::Cow;

use crate::model::{Few, Hits, Unit};

/// One `RateLimitRequest`, borrowed from the message it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The set of rules to look in; never empty.
    pub domain: &'a [u8],
    /// One or more descriptors; the answer holds one status for each, in this order.
    pub descriptors: Vec<Descriptor<'a>>,
}

/// A list of entries, matched against the rules of its domain from the first entry to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor<'a> {
    /// May be empty, which reaches no rule.
    pub entries: Few<Entry<'a>>,
    /// What this descriptor costs.
    pub hits: Hits,
    /// A limit that Envoy sends along, which replaces the rule of the file.
    pub limit: Option<LimitOverride>,
}

impl<'a> Descriptor<'a> {
    /// Keys with their values as people write them, without a limit of Envoy's.
    pub fn of_text(entries: &'a [(String, String)], hits: Hits) -> Self {
        let entry =
            |(key, value): &'a (String, String)| Entry { key: key.as_bytes(), value: value.as_bytes() };
        Self { entries: entries.iter().map(entry).collect(), hits, limit: None }
    }
}

/// One key with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name of what is counted by, such as `remote_address`.
    pub key: &'a [u8],
    /// What this request has there; may be empty.
    pub value: &'a [u8],
}

/// A limit that comes with the request (Envoy `RateLimitDescriptor.limit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOverride {
    /// Hits granted per window.
    pub requests_per_unit: u32,
    /// The window's unit.
    pub unit: Unit,
    /// How many units one window lasts; at least 1.
    pub unit_multiplier: u32,
}

/// Bytes as text for people: what is not UTF-8 or does not print is escaped, so a client can neither forge a log line
/// nor steer a terminal.
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Cow::Borrowed(text),
        _ => Cow::Owned(
            bytes
                .utf8_chunks()
                .flat_map(|chunk| {
                    let printable = chunk
                        .valid()
                        .chars()
                        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
                    printable.chain(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")))
                })
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::lossy;

    #[test]
    fn text_for_people_shows_every_byte_and_obeys_none() {
        for (bytes, shown) in [
            (&b"GET /leads"[..], "GET /leads"),
            ("café".as_bytes(), "café"),
            (b"good\xff", "good\\xff"),
            (b"a\r\nx-evil: 1", "a\\r\\nx-evil: 1"),
            (b"\x1b[31m\0", "\\u{1b}[31m\\u{0}"),
        ] {
            assert_eq!(lossy(bytes), shown);
        }
    }
}
