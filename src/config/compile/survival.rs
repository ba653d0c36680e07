//! `durable` and `on_store_failure`: what becomes of counts in a crash, and of requests when the store fails.

use std::time::Duration;

use super::{Document, Fields, scalar};
use crate::algorithm::Durability;
use crate::config::words::choices;
use crate::config::{DiagnosticKind, Severity};
use crate::policy::{Level, OnStoreFailure, Rule, Window};

/// Counts for so long, or longer, are worth to be kept through a crash.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What people write for `durable`, and what they mean.
const KEPT: [(&str, &str); 9] = [
    ("true", "durable: reserve"),
    ("yes", "durable: reserve"),
    ("on", "durable: reserve"),
    ("always", "durable: exact"),
    ("sync", "durable: exact"),
    ("false", "durable: none"),
    ("no", "durable: none"),
    ("off", "durable: none"),
    ("never", "durable: none"),
];
/// The same for `on_store_failure`.
const WITHOUT: [(&str, &str); 11] = [
    ("deny", "on_store_failure: closed"),
    ("refuse", "on_store_failure: closed"),
    ("reject", "on_store_failure: closed"),
    ("close", "on_store_failure: closed"),
    ("fail_closed", "on_store_failure: closed"),
    ("allow", "on_store_failure: open"),
    ("pass", "on_store_failure: open"),
    ("ignore", "on_store_failure: open"),
    ("fail_open", "on_store_failure: open"),
    ("memory", "on_store_failure: local"),
    ("fallback", "on_store_failure: local"),
];

impl Document<'_, '_> {
    /// Whether counts in `window` survive a crash: as it is written, or else where they count for a day or longer.
    pub(super) fn durability(&mut self, fields: &Fields<'_>, window: &Window) -> Durability {
        let written = self.named(fields, "durable", "ways to keep a count", &Durability::NAMES, &KEPT);
        // Periods of the calendar and of subscriptions are days at least.
        let is_long = window.length().is_none_or(|length| length >= DAY);
        written.unwrap_or(if is_long { Durability::Reserve } else { Durability::None })
    }

    /// What becomes of requests when the store fails, where it is written.
    pub(super) fn on_store_failure(&mut self, fields: &Fields<'_>) -> Option<OnStoreFailure> {
        let what = "ways to go on without the store";
        self.named(fields, "on_store_failure", what, &OnStoreFailure::NAMES, &WITHOUT)
    }

    /// Warns of an `on_store_failure` that is for no limit. `rule` and `children` are the descriptor's own.
    pub(super) fn failure_without_limit(
        &mut self,
        fields: &Fields<'_>,
        rule: Option<&Rule>,
        children: &Level,
    ) {
        let limits = ["rate_limit", "rate_limits"].iter().any(|word| fields.get(word).is_some());
        let has_none = rule.is_none() && !limits && children.rules() == 0;
        if let Some(node) = fields.get("on_store_failure").filter(|_| has_none) {
            let message =
                "`on_store_failure` decides nothing here: there is no limit in this descriptor or below it";
            let hint =
                Some("move it to the limit that is meant, or to the root for all limits of the domain");
            self.of_kind(DiagnosticKind::MisplacedWord, |this| {
                this.report(Severity::Warning, node.span(), message, hint);
            });
        }
    }

    /// One of `known`, by its name.
    fn named<T: Copy>(
        &mut self,
        fields: &Fields<'_>,
        word: &str,
        what: &str,
        known: &[(&str, T)],
        meant: &[(&str, &str)],
    ) -> Option<T> {
        let node = fields.get(word)?;
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let (message, typed) = match scalar::text(node) {
            Ok(name) => match known.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => return Some(*value),
                None => (format!("`{word}` cannot be `{name}`"), name),
            },
            Err(wrong) => (wrong.message, ""),
        };
        let other = meant.iter().find(|(other, _)| other.eq_ignore_ascii_case(typed));
        let hint = match other {
            Some((_, word)) => format!("write `{word}`"),
            None => choices(typed, what, &names),
        };
        self.wrong_value(node.span(), &message, Some(&hint));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, load_text};

    /// What becomes of the limits of domain `d`, by their names.
    fn read(yaml: &str) -> Vec<(String, Durability, OnStoreFailure)> {
        let loaded = load_text("a.yaml", yaml, Options::default()).unwrap();
        assert!(loaded.warnings.is_empty(), "{yaml}: {:?}", loaded.warnings);
        let mut found = Vec::new();
        loaded.policy.domain(b"d").unwrap().root.each_rule(&mut |rule| {
            let limits = rule.limits.iter();
            found.extend(limits.map(|one| (one.name.clone(), one.durability, one.on_store_failure)));
        });
        found.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        found
    }

    #[test]
    fn counts_of_a_day_or_longer_survive_unless_it_is_said_otherwise() {
        for (limit, expected) in [
            ("per: 23h", Durability::None),
            ("per: 24h", Durability::Reserve),
            ("per: 1d, algorithm: sliding_window", Durability::Reserve),
            ("unit: hour", Durability::None),
            ("unit: day", Durability::Reserve),
            ("unit: month", Durability::Reserve),
            ("per: calendar_day", Durability::Reserve),
            ("unit: year, durable: none", Durability::None),
            ("unit: second, durable: reserve", Durability::Reserve),
            ("unit: day, durable: exact", Durability::Exact),
        ] {
            let yaml = format!(
                "domain: d\ndescriptors: [{{key: x, rate_limit: {{requests_per_unit: 5, {limit}}}}}]"
            );
            assert_eq!(read(&yaml)[0].1, expected, "{limit}");
        }
    }

    #[test]
    fn a_word_of_another_server_is_told_what_it_is_here() {
        for (written, message, hint) in [
            ("durable: true", "`durable` cannot be `true`", "write `durable: reserve`"),
            ("durable: off", "`durable` cannot be `off`", "write `durable: none`"),
            (
                "on_store_failure: deny",
                "`on_store_failure` cannot be `deny`",
                "write `on_store_failure: closed`",
            ),
            ("on_store_failure: opne", "`on_store_failure` cannot be `opne`", "did you mean `open`?"),
        ] {
            let yaml = format!(
                "domain: d\ndescriptors: [{{key: x, rate_limit: {{unit: day, requests_per_unit: 5, {written}}}}}]"
            );
            let found = load_text("a.yaml", &yaml, Options::default()).unwrap_err();
            assert_eq!(found[0].message, message);
            assert!(found[0].hint.as_deref().unwrap().starts_with(hint), "{:?}", found[0].hint);
        }
    }

    #[test]
    fn the_nearest_word_says_what_becomes_of_requests_without_the_store() {
        let found = read(
            "domain: d
on_store_failure: closed
descriptors:
- {key: a, rate_limit: {name: a, unit: hour, requests_per_unit: 5}}
- key: b
  on_store_failure: local
  rate_limit: {name: b, unit: hour, requests_per_unit: 5}
  descriptors:
  - {key: c, rate_limit: {name: c, unit: hour, requests_per_unit: 5}}
  - {key: d, rate_limit: {name: d, unit: hour, requests_per_unit: 5, on_store_failure: open}}",
        );
        let found: Vec<_> = found.iter().map(|(name, _, failure)| (name.as_str(), *failure)).collect();
        let (open, closed, local) = (OnStoreFailure::Open, OnStoreFailure::Closed, OnStoreFailure::Local);
        assert_eq!(found, [("a", closed), ("b", local), ("c", local), ("d", open)]);
    }
}
