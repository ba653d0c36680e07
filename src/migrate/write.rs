//! A tree as the text of a policy.

use super::limit::Limit;
use super::tree::{Built, Class, Node};

/// The policy of one namespace. Each limit is written once, and repeated by its anchor.
pub(super) fn policy(from: &str, namespace: &str, limits: &[Limit], built: &Built) -> String {
    let mut text = format!("# Written by `spillway migrate` from {}.\n", from.replace(['\n', '\r'], " "));
    for (descriptor, keys) in &built.keys {
        if keys.len() > 1 {
            text += &format!(
                "# Descriptor {descriptor} has these entries, in this order, and some may be absent: {}.\n",
                keys.join(", ")
            );
        }
    }
    text += &format!("domain: {}\n\n", quoted(namespace));
    text +=
        "# A request that one limit refuses is counted by none.\nevaluate: all_or_nothing\n\ndescriptors:\n";
    let mut written = vec![false; limits.len()];
    for node in &built.nodes {
        descriptor(node, 1, limits, built, &mut written, &mut text);
    }
    text
}

fn descriptor(
    node: &Node,
    depth: usize,
    limits: &[Limit],
    built: &Built,
    written: &mut [bool],
    text: &mut String,
) {
    let indent = "  ".repeat(2 * depth - 1);
    *text += &format!("{indent}- key: {}\n", quoted(&node.key));
    match &node.class {
        Class::Exactly(value) => *text += &format!("{indent}  value: {}\n", quoted(value)),
        Class::Prefix(prefix) => *text += &format!("{indent}  value: {}\n", quoted(&format!("{prefix}*"))),
        Class::Other => {}
    }
    if !node.limits.is_empty() {
        *text += &format!("{indent}  rate_limits:\n");
        for at in &node.limits {
            let limit = if std::mem::replace(&mut written[*at], true) {
                format!("*limit{at}")
            } else {
                rate_limit(*at, &limits[*at], built.uses[*at] > 1)
            };
            *text += &format!("{indent}    - {limit}\n");
        }
    }
    if !node.children.is_empty() {
        *text += &format!("{indent}  descriptors:\n");
        for child in &node.children {
            descriptor(child, depth + 1, limits, built, written, text);
        }
    }
}

/// `max_value` in `seconds` from the first request on. Where several nodes have the limit they share its counters.
fn rate_limit(at: usize, limit: &Limit, is_shared: bool) -> String {
    let by: Vec<String> = limit.variables.iter().map(|variable| quoted(&variable.key)).collect();
    let by = if by.is_empty() { "domain".to_owned() } else { format!("[{}]", by.join(", ")) };
    let name = quoted(&limit.name);
    let (anchor, counter) =
        if is_shared { (format!("&limit{at} "), format!(", counter: {name}")) } else { Default::default() };
    format!(
        "{anchor}{{name: {name}, requests_per_unit: {}, per: {}s, count_by: {by}{counter}}}",
        limit.max_value, limit.seconds
    )
}

/// A text in double quotes, with what YAML would take for something else escaped.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    let looks_like_a_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_lowercase().as_str());
    if looks_like_a_word && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
