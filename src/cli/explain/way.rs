//! The way of a descriptor through a policy, in words.

use std::borrow::Cow;

use crate::hint::did_you_mean;
use crate::model::{Descriptor, Entry, lossy};
use crate::policy::{Level, Node, Policy};
use crate::subjects::{Directory, strip_scheme};

/// A descriptor as it was typed, but for credentials.
pub(super) fn entries(descriptor: &Descriptor<'_>, policy: &Policy) -> String {
    let each =
        descriptor.entries.iter().map(|entry| format!("{}={}", lossy(entry.key), shown(entry, policy)));
    each.collect::<Vec<_>>().join(", ")
}

/// A value, unless it is a credential in any domain: which one was meant may be the mistake.
pub(super) fn shown<'a>(entry: &Entry<'a>, policy: &Policy) -> Cow<'a, str> {
    if policy.domains().any(|domain| domain.is_secret(entry.key)) { "…".into() } else { lossy(entry.value) }
}

pub(super) fn at_node(node: &Node) -> String {
    match &node.rule {
        Some(rule) => format!("{} ({})", rule.label, node.place),
        None => format!("none: `{}` has no limit of its own ({})", node.label, node.place),
    }
}

pub(super) fn lost(
    (entries, at): (&[Entry<'_>], usize),
    passed: &[&Node],
    level: &Level,
    policy: &Policy,
    directory: Option<&Directory>,
) -> String {
    let Some(entry) = entries.get(at) else {
        return match entries {
            [] => "none: a descriptor without entries reaches no rule".to_owned(),
            _ => "none: the entries are empty, and as if they had not been sent".to_owned(),
        };
    };
    let below = passed.last().map_or_else(
        || "at the top of the domain".to_owned(),
        |node| format!("below `{}` ({})", node.label, node.place),
    );
    let asking = level.nodes().find(|node| node.subject.is_some() && node.label.as_bytes() == entry.key);
    if let Some((node, asked)) = asking.and_then(|node| Some((node, node.subject.as_ref()?))) {
        let value = if asked.strip_scheme { strip_scheme(entry.value) } else { entry.value };
        let somebody = directory.and_then(|directory| directory.resolve(&asked.kind, value));
        let why = match somebody {
            Some(other) => {
                format!("is a credential of `{}`, not of the subject before it", other.subject.id())
            }
            None => format!("is no enabled credential of kind `{}`", asked.kind),
        };
        return format!("none: the value of `{}` {why} ({})", node.label, node.place);
    }
    let typed = format!("{}={}", lossy(entry.key), shown(entry, policy));
    if level.is_empty() {
        return format!("none: there are no descriptors {below}, and `{typed}` is one entry more");
    }
    let mut labels: Vec<&str> = level.nodes().map(|node| node.label.as_str()).collect();
    labels.sort_unstable();
    // A likely slip is one in the key, or one in the value of the same key.
    let (key, value) = (lossy(entry.key), shown(entry, policy));
    let values = labels.iter().filter_map(|label| label.strip_prefix(&format!("{key}=")));
    let keys = labels.iter().map(|label| label.split('=').next().unwrap_or(label));
    let known = keys.clone().any(|known| known == key);
    let slip = if known { did_you_mean(&value, values) } else { did_you_mean(&key, keys) };
    let hint = slip.unwrap_or_else(|| {
        let some = labels.iter().take(8).map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        format!("there {} {some}", if labels.len() == 1 { "is" } else { "are" })
    });
    format!("none: `{typed}` matches nothing {below}{}", bracketed(Some(hint)))
}

pub(super) fn bracketed(hint: Option<String>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}
