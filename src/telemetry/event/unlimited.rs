//! Limits that are not where somebody may take them to be.

use std::fmt::{self, Display};
use std::sync::atomic::Ordering;

use super::LONGEST_SHOWN;
use crate::hint;
use crate::model::{Entry, NoMatch, Peer, lossy};
use crate::telemetry::Metrics;

/// A limit that Envoy sent with a descriptor is none; the descriptor counts as its rule says.
#[derive(Debug)]
pub struct SentLimitLeftOut<'a, W> {
    /// Of the request.
    pub domain: &'a [u8],
    /// Its place in the request, and its entries.
    pub descriptor: (usize, &'a [Entry<'a>]),
    /// Why it is none.
    pub why: &'a W,
    /// Who sent it.
    pub peer: Peer,
}

impl<W: Display> SentLimitLeftOut<'_, W> {
    /// Counts it, and logs it at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.sent_limits_left_out.fetch_add(1, Ordering::Relaxed);
        let Some(held_back) = metrics.sent_limit_lines.admit() else { return };
        let (at, entries) = self.descriptor;
        tracing::warn!(
            peer = %self.peer,
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

/// A request names a domain that no policy has, so nothing limits it.
#[derive(Debug)]
pub struct UnknownDomain<'a, K> {
    /// What it names.
    pub domain: &'a [u8],
    /// The domains that there are.
    pub known: K,
    /// Who sent it.
    pub peer: Peer,
}

impl<'k, K: Iterator<Item = &'k str>> UnknownDomain<'_, K> {
    /// Counts it, and logs it at most once a minute for each domain.
    pub fn emit(self, metrics: &Metrics) {
        metrics.unknown_domains.fetch_add(1, Ordering::Relaxed);
        let name = self.domain.get(..LONGEST_SHOWN).unwrap_or(self.domain);
        let Some(held_back) = metrics.unknown_domain_lines.admit(name) else { return };
        let (domain, known) = (shown(self.domain), Known::of(self.known));
        tracing::warn!(
            peer = %self.peer,
            domain,
            held_back,
            "no policy has the domain of a request, so nothing limits it; {}{known}",
            known.likely(&domain)
        );
    }
}

/// The names of domains.
struct Known<'k> {
    names: Vec<&'k str>,
    /// How many there are, those that are not looked at included.
    all: usize,
}

impl<'k> Known<'k> {
    /// So many are looked at, and so many shown.
    const MOST: (usize, usize) = (1_000, 5);

    fn of(names: impl Iterator<Item = &'k str>) -> Self {
        let mut names = names;
        let mut some: Vec<_> = names.by_ref().take(Self::MOST.0).collect();
        let all = some.len() + names.count();
        some.sort_unstable();
        Self { names: some, all }
    }

    /// A question about the one that was probably meant, if there is one.
    fn likely(&self, domain: &str) -> String {
        let likely = hint::likely(domain, self.names.iter().copied());
        likely.map_or_else(String::new, |name| format!("did you mean `{name}`? "))
    }
}

impl Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self.names.iter().take(Self::MOST.1).map(|name| format!("`{name}`")).collect();
        match (shown.is_empty(), self.all - shown.len()) {
            (true, _) => f.write_str("there are no domains"),
            (_, 0) => write!(f, "the domains are {}", shown.join(", ")),
            (_, more) => write!(f, "the domains are {} and {more} more", shown.join(", ")),
        }
    }
}

/// Descriptors of a request reach no rule, and no exemption either: the policy has not one of their keys or values, or a
/// credential is nobody's.
#[derive(Debug)]
pub struct UnmatchedDescriptors<'a> {
    /// Of the request; one that a policy has.
    pub domain: &'a str,
    /// How many there are for each reason, as in [`NoMatch::ALL`].
    pub by_reason: [usize; NoMatch::ALL.len()],
    /// The entries of the first of them.
    pub first: &'a [Entry<'a>],
    /// Who sent it.
    pub peer: Peer,
}

impl UnmatchedDescriptors<'_> {
    /// Counts them, and logs the first at `debug`, at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        for (counts, many) in metrics.unmatched_descriptors.iter().zip(self.by_reason) {
            if many > 0 {
                counts.add(self.domain, many as u64);
            }
        }
        // Many policies leave some descriptors unlimited: this may be every request.
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let Some(held_back) = metrics.unmatched_lines.admit() else { return };
        tracing::debug!(
            peer = %self.peer,
            domain = self.domain,
            entries = keys(self.first),
            held_back,
            "a descriptor reaches no rule, so nothing limits it"
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
    fn an_unknown_domain_is_reported_with_those_that_there_are() {
        let known = Known::of(["edge", "campaigns", "leads"].into_iter());
        assert_eq!(known.to_string(), "the domains are `campaigns`, `edge`, `leads`");
        assert_eq!(known.likely("campaign"), "did you mean `campaigns`? ");
        assert_eq!(known.likely("x"), "");
        assert_eq!(Known::of(std::iter::empty()).to_string(), "there are no domains");
        let many: Vec<_> = (0..5_000).map(|n| format!("d{n:04}")).collect();
        let reported = Known::of(many.iter().map(String::as_str)).to_string();
        assert_eq!(reported, "the domains are `d0000`, `d0001`, `d0002`, `d0003`, `d0004` and 4995 more");
    }

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
