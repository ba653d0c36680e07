//! A descriptor's entries as rules see them.

use std::borrow::Cow;

use super::Endpoints;
use crate::model::{Entry, Few};

/// The key under which rules find an endpoint.
pub const ENDPOINT: &str = "endpoint";

/// Entries of which some may have been replaced.
#[derive(Debug)]
pub struct Entries<'a>(Few<(&'a [u8], Cow<'a, [u8]>)>);

impl<'a> Entries<'a> {
    /// `entries` as they came, except that where a domain names endpoints, an entry `method` and the `path` after it
    /// become one entry `endpoint`, and the value of an `endpoint` (`GET /leads?page=2`) becomes the endpoint's name.
    pub fn read(entries: &[Entry<'a>], endpoints: Option<&'a Endpoints>) -> Self {
        let as_they_came = |entry: &Entry<'a>| (entry.key, Cow::Borrowed(entry.value));
        let Some(endpoints) = endpoints else { return Self(entries.iter().map(as_they_came).collect()) };
        let mut read = Few::with_capacity(entries.len());
        let mut rest = entries;
        while let [first, after @ ..] = rest {
            rest = after;
            match after {
                [second, after @ ..] if first.key == b"method" && second.key == b"path" => {
                    read.push((ENDPOINT.as_bytes(), endpoints.name(first.value, second.value)));
                    rest = after;
                }
                _ if first.key == ENDPOINT.as_bytes() => {
                    let space =
                        first.value.iter().position(|&byte| byte == b' ').unwrap_or(first.value.len());
                    let (method, target) = first.value.split_at(space);
                    let name = endpoints.name(method, target.strip_prefix(b" ").unwrap_or(target));
                    read.push((ENDPOINT.as_bytes(), name));
                }
                _ => read.push(as_they_came(first)),
            }
        }
        Self(read)
    }

    /// What to match.
    pub fn as_slice(&self) -> Few<Entry<'_>> {
        self.0.iter().map(|(key, value)| Entry { key, value }).collect()
    }
}
