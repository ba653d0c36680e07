//! Values that are not what they look like, and headers that come from both sides.

use crate::config::DiagnosticKind::{Bypass, DoubledHeader, UnmatchedDescriptor};
use crate::envoy::action::{Content, Descriptor, Entry};
use crate::envoy::findings::{Finding, Findings};
use crate::envoy::reach::{Asked, reach};
use crate::envoy::value::Value;
use crate::policy::{Domain, Node};

/// The runtime's key that has Envoy fill in `%…%` of literal values.
pub(super) const FORMATS: &str =
    "envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value";

/// Values that are not what they look like.
pub(super) fn check(descriptor: &Descriptor<'_>, domain: &Domain, formats: bool, findings: &mut Findings) {
    let mut before: Option<&Entry<'_>> = None;
    for (at, entry) in descriptor.entries.iter().enumerate() {
        if let Content::Exactly(text) = &entry.content
            && text.contains('%')
            && !formats
        {
            let wrong = Finding::error(
                UnmatchedDescriptor,
                format!("Envoy sends `{text}` as it is written, so all requests are counted as one"),
            );
            let hint = format!("set `{FORMATS}: true` in a static layer of `layered_runtime`");
            findings.at(entry.action.get("descriptor_value").unwrap_or(entry.action), wrong.hint(hint));
        }
        let is_endpoint = domain.endpoints.is_some()
            && entry.key == "path"
            && before.is_some_and(|before| before.key == "method");
        if entry.header.as_deref() == Some(":path") && !is_endpoint {
            let message = match unlimited_by_query(descriptor, at, domain) {
                Some(path) => format!("`:path` comes with the query string, so `{path}?a=1` is not `{path}` and reaches no rule"),
                None => "`:path` comes with the query string, so each of `/leads?a=1`, `/leads?a=2` … has a counter of its own"
                    .to_owned(),
            };
            let wrong = Finding::warning(Bypass, message);
            let hint =
                "list `endpoints:` in the policy, and send `:method` as `method` and then `:path` as `path`";
            findings.at(entry.action, wrong.hint(hint));
        }
        before = Some(entry);
    }
    if let Some(format) = descriptor.item.at(&["hits_addend", "format"])
        && !descriptor.is_late
        && ["%REQ(", "%QUERY_PARAM("].iter().any(|part| format.text().contains(part))
    {
        let wrong = Finding::warning(
            Bypass,
            "clients fill in this format: where it is no number, or above 1,000,000,000, Envoy does not send the descriptor at all, \
             and nothing is limited by it",
        );
        let hint =
            "add the same actions without `hits_addend`, or fill it in from what clients do not choose";
        findings.at(format, wrong.hint(hint));
    }
}

/// A path that a rule is for, where no rule is for it once a query string follows. The entry at `at` is the path.
fn unlimited_by_query(descriptor: &Descriptor<'_>, at: usize, domain: &Domain) -> Option<String> {
    let entries = descriptor.entries.get(..=at)?;
    let nodes = reach(domain, entries, Asked::default()).nodes;
    let key = &entries.last()?.key;
    let exact = nodes.iter().filter_map(|node| node.label.strip_prefix(key.as_str())?.strip_prefix('='));
    exact.filter(|path| !path.contains(['*', '?'])).find_map(|path| {
        let mut asked = entries.to_vec();
        asked.last_mut()?.content = Content::Exactly(format!("{path}?a=1"));
        let is_lost = reach(domain, &asked, Asked::default()).nodes.is_empty();
        is_lost.then(|| path.to_owned())
    })
}

/// Tells where Envoy writes headers beside the policy's own.
pub(super) fn doubled_headers(word: Value<'_>, nodes: &[&Node], findings: &mut Findings) {
    const ENVOYS: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    for node in nodes {
        let shapes = node.rule.iter().flat_map(|rule| &rule.limits).map(|limit| &limit.shape);
        let names = shapes.flat_map(|shape| &shape.headers).flat_map(|set| set.names());
        let names: Vec<String> = names.map(|name| name.as_str().to_lowercase()).collect();
        let same = names.iter().find(|name| ENVOYS.contains(&name.as_str()));
        let family = names.iter().find(|name| name.contains("ratelimit"));
        let message = match (same, family) {
            (Some(name), _) => format!("clients get `{name}` twice: Envoy writes it, and so does the policy"),
            (None, Some(name)) => {
                format!(
                    "clients get `x-ratelimit-limit` of Envoy's making beside `{name}` of the policy's, with other numbers"
                )
            }
            (None, None) => continue,
        };
        let wrong = Finding::warning(DoubledHeader, message)
            .hint("write `enable_x_ratelimit_headers: \"OFF\"`, or leave it out");
        findings.at(word, wrong.related("this rule has headers of its own", node.place.clone()));
        return;
    }
}
