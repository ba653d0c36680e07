//! Descriptors that say something else than what is probably meant: a value that reads like a pattern of another language and is
//! compared as text, and a key alone that lets everything pass.

use std::net::IpAddr;

use super::{DiagnosticKind, Document, Fields, Node, Severity};
use crate::policy;

/// What Envoy's action of this name sends is an address with a length.
const MASKED: &str = "masked_remote_address";
/// The values of these keys are labels that the operator chose, in Envoy's configuration and here.
const LABELS: [&str; 4] = ["generic_key", "header_match", "query_match", "query_parameter_value_match"];
/// What stands before a path where the two are one value.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
/// Words beside which a key says nothing of limits, nor of whom they are for.
const SAYING_NOTHING: [&str; 4] = ["key", "detailed_metric", "value_to_metric", "shadow_mode"];

impl Document<'_, '_> {
    /// Warns of a value that is no pattern here, and reads as if it were one.
    pub(super) fn literal_value(&mut self, fields: &Fields<'_>, key: &str, value: &str, has_endpoints: bool) {
        let Some(node) = fields.get("value") else { return };
        if LABELS.contains(&key) || (has_endpoints && key == policy::ENDPOINT) {
            return;
        }
        if let Some(prefix) = prefix_length(value).filter(|_| key != MASKED) {
            let family = if value.contains(':') { "v6" } else { "v4" };
            let hint = format!(
                "to limit a range as one, have Envoy send it: `masked_remote_address: {{{family}_prefix_mask_len: {prefix}}}`, which \
                 is matched by `- key: {MASKED}`"
            );
            self.warn_of_value(
                node,
                &format!("`{value}` is compared as text, not as a range of addresses"),
                &hint,
            );
        }
        if let Some(parameter) = parameter(value) {
            let hint = if has_endpoints {
                format!("match `- key: {}` instead, or write `*` for what may differ", policy::ENDPOINT)
            } else {
                format!(
                    "write `*` for what may differ, or list it under `endpoints:` at the top as `{value}`"
                )
            };
            self.warn_of_value(
                node,
                &format!("`{value}` is compared as text, and `{parameter}` stands for itself"),
                &hint,
            );
        }
    }

    fn warn_of_value(&mut self, node: Node<'_>, message: &str, hint: &str) {
        self.of_kind(DiagnosticKind::WrongValue, |this| {
            this.report(Severity::Warning, node.span(), message, Some(hint));
        });
    }

    /// Warns of a key alone without a limit: whoever sends the key passes. Files of envoyproxy/ratelimit's words have such
    /// descriptors as a matter of course, for a metric or instead of `unlimited`, which came later.
    pub(super) fn key_without_limit(&mut self, node: Node<'_>, fields: &Fields<'_>, key: &str) {
        let says_something = fields.list.iter().any(|(word, _)| !SAYING_NOTHING.contains(word));
        let is_told_already = fields.misspelt || fields.outside || key.is_empty();
        if self.is_compatible || says_something || is_told_already || key.ends_with('*') {
            return;
        }
        let message = format!("`{key}` has no limit, so whoever sends it passes");
        let hint = "write `rate_limit: {requests_per_unit: 5, unit: minute}`, or `rate_limit: {unlimited: true}` if that is meant";
        self.report(Severity::Warning, node.span(), &message, Some(hint));
    }
}

/// The length behind an address: 8 in `10.0.0.0/8`.
fn prefix_length(value: &str) -> Option<u8> {
    let (address, length) = value.split_once('/')?;
    let most = match address.parse().ok()? {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    length.parse().ok().filter(|length| *length <= most)
}

/// The first segment of a path that stands for any in templates: `:id` or `{id}`.
fn parameter(value: &str) -> Option<&str> {
    let path = match value.split_once(' ') {
        Some((method, path)) => METHODS.contains(&method).then_some(path)?,
        None => value,
    };
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    let is_one = |segment: &&str| {
        let braced = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        braced.or_else(|| segment.strip_prefix(':')).is_some_and(is_name)
    };
    path.strip_prefix('/')?.split('/').find(is_one)
}
