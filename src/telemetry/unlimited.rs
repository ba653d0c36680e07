//! Limits that are not where somebody may take them to be.

use std::fmt::Display;
use std::sync::atomic::Ordering;

use super::{LONGEST_SHOWN, Metrics};
use crate::model::{Entry, lossy};

/// A limit that Envoy sent with a descriptor is none; the descriptor counts as its rule says.
#[derive(Debug)]
pub struct SentLimitLeftOut<'a, W> {
    /// Of the request.
    pub domain: &'a [u8],
    /// Its place in the request, and its entries.
    pub descriptor: (usize, &'a [Entry<'a>]),
    /// Why it is none.
    pub why: &'a W,
}

impl<W: Display> SentLimitLeftOut<'_, W> {
    /// Counts it, and logs it at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.sent_limits_left_out.fetch_add(1, Ordering::Relaxed);
        let Some(held_back) = metrics.sent_limit_lines.admit() else { return };
        let (at, entries) = self.descriptor;
        tracing::warn!(
            domain = %shown(self.domain),
            descriptor = at,
            entries = keys(entries),
            held_back,
            "a limit that was sent with a request was left out, and its descriptor counts as the policy says: {}; look \
             for `limit` in Envoy's `rate_limits`",
            self.why
        );
    }
}

/// The beginning of a text that came with a request.
fn shown(text: &[u8]) -> String {
    lossy(text.get(..LONGEST_SHOWN).unwrap_or(text)).into_owned()
}

/// The keys of a descriptor, as `api_key=…, path=…`. Values may be credentials.
fn keys(entries: &[Entry<'_>]) -> String {
    const MOST: usize = 8;
    let keys = entries.iter().take(MOST).map(|entry| {
        let key = lossy(entry.key.get(..LONGEST_SHOWN / MOST).unwrap_or(entry.key));
        format!("{key}=…")
    });
    let more = (entries.len() > MOST).then(|| "…".to_owned());
    keys.chain(more).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_shown_by_its_keys_and_not_at_length() {
        let entry = |key: &'static [u8]| Entry { key, value: b"secret" };
        assert_eq!(keys(&[entry(b"api_key"), entry(b"a\nb\xff")]), "api_key=…, a\\nb\\xff=…");
        assert_eq!(keys(&[]), "");
        let long = vec![b'x'; 10_000];
        let many = vec![Entry { key: &long, value: b"" }; 1_000];
        assert!(keys(&many).len() < 512);
        assert_eq!(shown(&long).len(), LONGEST_SHOWN);
    }
}
