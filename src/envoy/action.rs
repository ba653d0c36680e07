//! From a `rate_limits` item to the descriptor that Envoy makes of it (`envoy.config.route.v3.RateLimit`).

use std::net::IpAddr;

use super::value::Value;

/// A descriptor that Envoy sends, as far as its configuration says.
#[derive(Debug)]
pub(super) struct Descriptor<'f> {
    /// The item of the list.
    pub(super) item: Value<'f>,
    pub(super) entries: Vec<Entry<'f>>,
    /// Envoy sends a limit along, which needs no rule.
    pub(super) has_limit: bool,
    /// It is sent when the response is complete, and refuses nothing.
    pub(super) is_late: bool,
    /// Whether all of its actions are known here.
    pub(super) is_known: bool,
}

/// One entry of it.
#[derive(Clone, Debug)]
pub(super) struct Entry<'f> {
    /// The action that makes it; its word is the kind of action.
    pub(super) action: Value<'f>,
    pub(super) key: String,
    pub(super) content: Content,
    pub(super) presence: Presence,
    /// The request header that it is taken from, in lower case.
    pub(super) header: Option<String>,
}

/// What is known of an entry's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It is always this.
    Exactly(String),
    /// An IP address.
    Address,
    /// An IP address with the length of its prefix.
    Network,
    /// Whatever the request has there.
    Any,
}

impl Content {
    /// Whether it can be `value`.
    pub(super) fn could_be(&self, value: &[u8]) -> bool {
        let text = String::from_utf8_lossy(value);
        match self {
            Self::Exactly(exact) => exact.as_bytes() == value,
            Self::Address => text.parse::<IpAddr>().is_ok(),
            Self::Network => text.split_once('/').is_some_and(|(address, length)| {
                address.parse::<IpAddr>().is_ok() && length.parse::<u8>().is_ok()
            }),
            Self::Any => true,
        }
    }
}

/// What becomes of a descriptor where the request has nothing for an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// There is always something.
    Always,
    /// The entry is left out: `skip_if_absent`.
    Optional,
    /// The descriptor is not sent. Says what is absent then.
    Drops(String),
    /// The descriptor is for the requests that match.
    Matches,
}

impl<'f> Descriptor<'f> {
    /// What Envoy makes of `item`. With `formats` it fills in `%…%` of values that are literal otherwise.
    pub(super) fn of(item: Value<'f>, formats: bool) -> Self {
        let actions = item.list("actions").map(|action| {
            let (kind, value) = action.fields().next()?;
            Entry::of(kind, value, formats)
        });
        let entries: Option<Vec<_>> = actions.collect();
        Self {
            item,
            is_known: entries.is_some(),
            entries: entries.unwrap_or_default(),
            has_limit: item.get("limit").is_some(),
            is_late: item.is_true("apply_on_stream_done"),
        }
    }

    /// What has to be there for it to be sent.
    pub(super) fn droppers(&self) -> Vec<&str> {
        self.entries
            .iter()
            .filter_map(
                |entry| if let Presence::Drops(what) = &entry.presence { Some(what.as_str()) } else { None },
            )
            .collect()
    }

    /// Whether it is sent for some requests only, because it is for those.
    pub(super) fn is_conditional(&self) -> bool {
        self.entries.iter().any(|entry| entry.presence == Presence::Matches)
    }

    /// `api_key=…, endpoint=GET /leads`.
    pub(super) fn shown(&self) -> String {
        let entry = |entry: &Entry<'_>| match &entry.content {
            Content::Exactly(value) => format!("{}={value}", entry.key),
            _ => format!("{}=…", entry.key),
        };
        self.entries.iter().map(entry).collect::<Vec<_>>().join(", ")
    }
}

impl<'f> Entry<'f> {
    fn of(kind: &str, action: Value<'f>, formats: bool) -> Option<Self> {
        let key = |default: &str| action.text_of("descriptor_key").unwrap_or(default).to_owned();
        let literal = |field: &str, always_formats: bool| {
            let text = action.text_of(field).unwrap_or_default();
            let is_format = (formats || always_formats) && text.contains('%');
            if is_format { Content::Any } else { Content::Exactly(text.to_owned()) }
        };
        let absent = |what: String| {
            let is_skipped = action.is_true("skip_if_absent") || action.is_true("skip_if_error");
            if is_skipped { Presence::Optional } else { Presence::Drops(what) }
        };
        let entry = |key: String, content: Content, presence: Presence| Entry {
            action,
            key,
            content,
            presence,
            header: None,
        };
        Some(match camel_or_snake(kind).as_str() {
            "remote_address" => entry(key("remote_address"), Content::Address, Presence::Always),
            "masked_remote_address" => {
                entry(key("masked_remote_address"), Content::Network, Presence::Always)
            }
            "remote_address_match" => {
                let presence = if takes_every_address(action) { Presence::Always } else { Presence::Matches };
                entry(key("remote_address_match"), literal("descriptor_value", true), presence)
            }
            "generic_key" => entry(key("generic_key"), literal("descriptor_value", false), Presence::Always),
            "header_value_match" => {
                entry(key("header_match"), literal("descriptor_value", false), Presence::Matches)
            }
            "query_parameter_value_match" => {
                entry(key("query_match"), literal("descriptor_value", false), Presence::Matches)
            }
            "query_parameters" => {
                let name = action.text_of("query_parameter_name").unwrap_or_default();
                entry(key(""), Content::Any, absent(format!("the query parameter `{name}`")))
            }
            "request_headers" => {
                let name = action.text_of("header_name").unwrap_or_default().to_lowercase();
                let is_always =
                    matches!(name.as_str(), ":path" | ":method" | ":authority" | ":scheme" | "host");
                let presence =
                    if is_always { Presence::Always } else { absent(format!("the header `{name}`")) };
                Entry { header: Some(name), ..entry(key(""), Content::Any, presence) }
            }
            "source_cluster" => entry("source_cluster".to_owned(), Content::Any, Presence::Always),
            "destination_cluster" => entry("destination_cluster".to_owned(), Content::Any, Presence::Always),
            "metadata" | "dynamic_metadata" => {
                let from = action.at(&["metadata_key", "key"]).map(Value::text).unwrap_or_default();
                let has_default = action.text_of("default_value").is_some();
                let presence =
                    if has_default { Presence::Always } else { absent(format!("the metadata of `{from}`")) };
                entry(key(""), Content::Any, presence)
            }
            "extension" => {
                let config = action.get("typed_config").unwrap_or(action);
                let name = action.text_of("name").unwrap_or_default();
                let key = config.text_of("descriptor_key").unwrap_or(name);
                let skipped = config.is_true("skip_if_error") || config.is_true("skip_if_absent");
                let presence = if skipped {
                    Presence::Optional
                } else {
                    Presence::Drops(format!("what the extension `{name}` reads"))
                };
                entry(key.to_owned(), Content::Any, presence)
            }
            _ => return None,
        })
    }
}

/// `requestHeaders` as `request_headers`.
fn camel_or_snake(name: &str) -> String {
    let snake = |letter: char| match letter {
        'A'..='Z' => format!("_{}", letter.to_ascii_lowercase()),
        _ => letter.to_string(),
    };
    name.chars().map(snake).collect()
}

/// Whether the ranges of `remote_address_match` are all addresses of both families.
fn takes_every_address(action: Value<'_>) -> bool {
    let Some(matcher) = action.get("address_matcher") else { return false };
    let any = |with_colon: bool| {
        matcher.list("ranges").any(|range| {
            let address = range.text_of("address_prefix").unwrap_or_default();
            range.number("prefix_len").unwrap_or_default() == 0 && address.contains(':') == with_colon
        })
    };
    !matcher.is_true("invert_match") && any(false) && any(true)
}

impl<'f> Descriptor<'f> {
    /// What a network filter sends: keys and values as they are written, with `%…%` filled in.
    pub(super) fn of_entries(item: Value<'f>) -> Self {
        let entry = |entry: Value<'f>| {
            let value = entry.text_of("value").unwrap_or_default();
            let is_address = value == "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";
            let content = match value.contains('%') {
                true if is_address => Content::Address,
                true => Content::Any,
                false => Content::Exactly(value.to_owned()),
            };
            let key = entry.text_of("key").unwrap_or_default().to_owned();
            Entry { action: entry, key, content, presence: Presence::Always, header: None }
        };
        let entries = item.list("entries").map(entry).collect();
        Self { item, entries, has_limit: false, is_late: false, is_known: true }
    }
}
