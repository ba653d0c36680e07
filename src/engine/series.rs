//! What the metrics of a rule name of a request, where the policy asks for it by `detailed_metric` or `value_to_metric`.

use std::borrow::Cow;

use crate::model::{Entry, lossy};
use crate::policy::{Domain, MatchedPath, MetricValues, Rule};

/// The most bytes of a key or of a value that are named: whoever sends long ones shall not fill memory with them.
const LONGEST: usize = 128;

/// The entries on the path to `rule`, as `api_key=… > path=/leads`: every value under `detailed_metric`, else those of nodes
/// with `value_to_metric` and those that the policy names. `None` for a rule that nothing of the like was asked for.
///
/// A credential is `…`; so is any value of a key that holds credentials elsewhere in the domain, for it may be a mistyped one.
pub(super) fn series(
    domain: &Domain,
    rule: &Rule,
    entries: &[Entry<'_>],
    path: &MatchedPath<'_>,
) -> Option<Box<str>> {
    if rule.metric_values == MetricValues::Together {
        return None;
    }
    let all = rule.metric_values == MetricValues::OfAll;
    let mut series = String::new();
    for (entry, node) in path.steps(entries) {
        if !series.is_empty() {
            series.push_str(" > ");
        }
        if !(all || node.value_to_metric) || node.shared.is_some() {
            series.push_str(&node.label);
            continue;
        }
        series.push_str(&shown(entry.key));
        series.push('=');
        if node.subject.is_some() || domain.is_secret(entry.key) {
            series.push('…');
        } else {
            series.push_str(&shown(entry.value));
        }
    }
    Some(series.into())
}

/// Bytes of a client as text which neither looks like two entries nor is too long.
pub(super) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    let is_long = bytes.len() > LONGEST;
    let text = lossy(bytes.get(..LONGEST).unwrap_or(bytes));
    let is_plain = !text.contains(" > ");
    match (is_long, is_plain) {
        (false, true) => text,
        (false, false) => text.replace(" > ", " \\x3e ").into(),
        (true, _) => (text.replace(" > ", " \\x3e ") + "…").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_neither_looks_like_another_series_nor_fills_memory() {
        for (sent, expected) in [
            (&b"/leads?page=2"[..], "/leads?page=2"),
            (b"x > path=/y", "x \\x3e path=/y"),
            (b"a\nb\xff", "a\\nb\\xff"),
        ] {
            assert_eq!(shown(sent), expected);
        }
        let long = shown(&vec![b'x'; 100_000]).into_owned();
        assert_eq!(long, "x".repeat(LONGEST) + "…");
        assert!(shown(&vec![0xff; 100_000]).len() <= 4 * LONGEST + "…".len());
    }
}
