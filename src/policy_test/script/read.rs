//! From YAML to a script, or everything that is wrong with the text.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Change, Entries, Expect, Script, Step};
use crate::config::{Diagnostic, Excerpt, Fields, Reader};
use crate::subjects::{self, Value};
use crate::yaml::{Kind, Node, Span};

/// The words at the top of a test.
const TOP: [&str; 4] = ["policy", "domain", "start", "steps"];
/// The words of a step.
const STEP: [&str; 13] = [
    "is",
    "at",
    "set",
    "send",
    "times",
    "every",
    "hits",
    "expect",
    "headers",
    "all_headers",
    "request_headers",
    "body",
    "rule",
];
/// Those that say something of what is sent or answered.
const OF_A_REQUEST: [&str; 9] =
    ["times", "every", "hits", "expect", "headers", "all_headers", "request_headers", "body", "rule"];

pub(super) fn script(file: &str, text: &str) -> Result<Script, Vec<Diagnostic>> {
    let mut reader = Reader::new(file, text);
    let script = reader.tree().and_then(|tree| {
        let mut documents = tree.documents();
        let first = documents.next();
        if first.is_none() {
            reader.error(
                Span::START,
                "the file holds no test",
                Some("write `policy:`, `start:` and `steps:`"),
            );
        }
        if let Some(second) = documents.next() {
            reader.error(
                second.span(),
                "a file holds one test, and this is a second",
                Some("give it a file of its own"),
            );
        }
        top(&mut reader, first?)
    });
    match (script, reader.finish()) {
        (Some(script), mistakes) if mistakes.is_empty() => Ok(script),
        (_, mistakes) => Err(mistakes),
    }
}

fn top(reader: &mut Reader, node: Node<'_>) -> Option<Script> {
    if let Kind::Mapping(mut pairs) = node.kind()
        && pairs.any(|(key, _)| matches!(key.kind(), Kind::Scalar { text: "descriptors", .. }))
    {
        let hint = "a test names its policy: write `policy: FILE`, `start:` and `steps:` into a file `NAME.test.yaml`";
        reader.error(node.span(), "this is a policy and no test", Some(hint));
        return None;
    }
    let fields = reader.fields(node, "a test", &TOP)?;
    let what = "a test";
    let policy_node = reader.needed(&fields, "policy", what, "FILE");
    let policy = policy_node.and_then(|node| name(reader, node, "policy"));
    let domain = fields.get("domain").and_then(|node| name(reader, node, "domain"));
    let start = reader.needed(&fields, "start", what, "2026-01-31T09:30:00Z");
    let start = start.and_then(|node| reader.time(node));
    let listed = reader.needed(&fields, "steps", what, "[{send: {key: value}, expect: ok}]");
    let mut steps = Vec::new();
    let mut lines = Vec::new();
    if let Some(node) = listed {
        let items = reader.items(node, "a list of steps")?;
        if items.is_empty() {
            reader.error(
                node.span(),
                "there are no steps",
                Some("write `- {send: {key: value}, expect: ok}`"),
            );
        }
        let mut earlier = Duration::ZERO;
        for item in items {
            lines.push(item.span().line);
            steps.extend(step(reader, item, &mut earlier));
        }
    }
    Some(Script {
        policy_at: policy_node.and_then(|node| reader.excerpt(node.span())),
        domain_at: fields.get("domain").and_then(|node| reader.excerpt(node.span())),
        policy: policy?.to_owned(),
        domain: domain.map(str::to_owned),
        start: start?,
        steps,
        lines,
    })
}

/// Text that says something.
fn name<'n>(reader: &mut Reader, node: Node<'n>, word: &str) -> Option<&'n str> {
    let text = reader.text(node)?;
    if text.is_empty() {
        reader.error(node.span(), &format!("`{word}` names nothing"), None);
        return None;
    }
    Some(text)
}

fn step(reader: &mut Reader, node: Node<'_>, earlier: &mut Duration) -> Option<Step> {
    let fields = reader.fields(node, "a step", &STEP)?;
    let at = fields.get("at").and_then(|node| {
        let at = reader.length(node)?;
        if at < *earlier {
            let hint = "`at` counts from `start`, for each step";
            reader.error(node.span(), "the step is earlier than the one before it", Some(hint));
        }
        *earlier = at;
        Some(at)
    });
    let step = Step {
        at,
        shows: text(reader, &fields, "is"),
        send: fields.get("send").map(|node| descriptors(reader, node)),
        times: fields.get("times").map_or(Some(1), |node| times(reader, node)).unwrap_or(1),
        every: fields.get("every").and_then(|node| reader.length(node)),
        hits: fields.get("hits").and_then(|node| reader.cost(node)),
        expect: fields.get("expect").and_then(|node| {
            reader.one_of(node, "answer", &[("ok", Expect::Ok), ("over_limit", Expect::OverLimit)])
        }),
        headers: fields.get("headers").map(|node| headers(reader, node)).unwrap_or_default(),
        all_headers: fields.get("all_headers").map(|node| all_headers(reader, node)),
        request_headers: fields.get("request_headers").map(|node| headers(reader, node)).unwrap_or_default(),
        body: text(reader, &fields, "body"),
        rule: text(reader, &fields, "rule"),
        set: fields.get("set").and_then(|node| change(reader, node)),
    };
    if !fields.misspelt() {
        idle(reader, &fields);
    }
    Some(step)
}

/// Reports a step that could never fail.
fn idle(reader: &mut Reader, fields: &Fields<'_>) {
    let has = |word: &str| fields.get(word).is_some();
    if has("send") {
        // An answer is expected by each of these but the first three.
        if !OF_A_REQUEST[3..].iter().any(|word| has(word)) {
            let hint = "say `expect: ok` or `expect: over_limit`";
            reader.error(fields.span(), "the step expects nothing of the answer", Some(hint));
        }
    } else if let Some(word) = OF_A_REQUEST.iter().find(|word| has(word)) {
        let message = format!("`{word}` means nothing in a step that sends nothing");
        reader.error(fields.span(), &message, Some("say what is sent: `send: {key: value}`"));
    } else if !has("set") {
        let hint = "say what is sent and what becomes of it: `send: {key: value}`, `expect: ok`";
        reader.error(fields.span(), "the step neither sends nor sets anything", Some(hint));
    }
}

fn text(reader: &mut Reader, fields: &Fields<'_>, word: &str) -> Option<String> {
    fields.get(word).and_then(|node| reader.text(node)).map(str::to_owned)
}

fn times(reader: &mut Reader, node: Node<'_>) -> Option<u32> {
    let times = reader.hits(node)?;
    match u32::try_from(times) {
        Ok(0) => reader.error(node.span(), "the step sends nothing, for its `times` is 0", None),
        Ok(times) => return Some(times),
        Err(_) => {
            let hint = format!("the most is {}; `hits` makes one request cost more", u32::MAX);
            reader.error(node.span(), &format!("`times` is too large, {times}"), Some(&hint));
        }
    }
    None
}

const DESCRIPTOR: &str =
    "write a descriptor, `{key: value}`, or a list of them, `[{key: value}, {other: value}]`";
const ENTRIES: &str =
    "write each entry as `{key: value}`; a descriptor that has one key twice is `[[{key: a}, {key: b}]]`";

/// One descriptor, or a list of them.
fn descriptors(reader: &mut Reader, node: Node<'_>) -> Vec<Entries> {
    match node.kind() {
        Kind::Mapping(_) => vec![descriptor(reader, node)],
        Kind::Sequence(items) if !items.is_empty() => items.map(|item| descriptor(reader, item)).collect(),
        Kind::Sequence(_) => {
            reader.error(node.span(), "the step sends no descriptor", Some(DESCRIPTOR));
            Vec::new()
        }
        Kind::Scalar { .. } => {
            reader.error(node.span(), "expected a descriptor, found a single value", Some(DESCRIPTOR));
            Vec::new()
        }
    }
}

/// A mapping, or a list of mappings with one entry each. Either may have one key twice.
fn descriptor(reader: &mut Reader, node: Node<'_>) -> Entries {
    let mut entries = Entries::new();
    match node.kind() {
        Kind::Mapping(pairs) => {
            for (key, value) in pairs {
                entries.extend(entry(reader, key, value));
            }
        }
        Kind::Sequence(items) => {
            for item in items {
                let Kind::Mapping(mut pairs) = item.kind() else {
                    let message = format!("expected an entry, found {}", item.kind_name());
                    reader.error(item.span(), &message, Some(ENTRIES));
                    continue;
                };
                match (pairs.next(), pairs.next()) {
                    (Some((key, value)), None) => entries.extend(entry(reader, key, value)),
                    _ => reader.error(
                        item.span(),
                        "expected one entry in each item of a descriptor",
                        Some(ENTRIES),
                    ),
                }
            }
        }
        Kind::Scalar { .. } => {
            reader.error(node.span(), "expected a descriptor, found a single value", Some(DESCRIPTOR));
        }
    }
    entries
}

fn entry(reader: &mut Reader, key: Node<'_>, value: Node<'_>) -> Option<(String, String)> {
    let (key, value) = (name(reader, key, "send"), reader.text(value));
    Some((key?.to_owned(), value?.to_owned()))
}

/// Names with values, as [`Fields`] are, but with any names.
fn pairs<T>(
    reader: &mut Reader,
    node: Node<'_>,
    mut read: impl FnMut(&mut Reader, Node<'_>) -> Option<T>,
) -> Vec<(String, T)> {
    let Kind::Mapping(pairs) = node.kind() else {
        let message = format!("expected names with values, found {}", node.kind_name());
        reader.error(node.span(), &message, Some("write `{name: value}`"));
        return Vec::new();
    };
    let mut found: Vec<(String, T)> = Vec::new();
    for (key, value) in pairs {
        let Some(name) = reader.text(key) else { continue };
        if found.iter().any(|(known, _)| known == name) {
            reader.error(key.span(), &format!("`{name}` is given twice"), Some("leave one of them out"));
        }
        found.extend(read(reader, value).map(|value| (name.to_owned(), value)));
    }
    found
}

/// Headers with their values; nothing, `~`, for one that must not be there.
fn headers(reader: &mut Reader, node: Node<'_>) -> BTreeMap<String, Option<String>> {
    let value = |reader: &mut Reader, node: Node<'_>| {
        if node.is_null() { Some(None) } else { Some(Some(reader.text(node)?.to_owned())) }
    };
    pairs(reader, node, value).into_iter().collect()
}

fn all_headers(reader: &mut Reader, node: Node<'_>) -> BTreeMap<String, String> {
    let value = |reader: &mut Reader, node: Node<'_>| {
        if node.is_null() {
            let hint = "leave the header out: `all_headers` lists all that there are";
            reader.error(node.span(), "a header without a value", Some(hint));
            return None;
        }
        reader.text(node).map(str::to_owned)
    };
    pairs(reader, node, value).into_iter().collect()
}

fn change(reader: &mut Reader, node: Node<'_>) -> Option<Change> {
    let what = "a change";
    let fields = reader.fields(node, what, &["subject", "attributes"])?;
    let subject_node = reader.needed(&fields, "subject", what, "ID");
    let subject = subject_node.and_then(|node| name(reader, node, "subject"));
    let attributes = reader.needed(&fields, "attributes", what, "{plan: pro}");
    let attributes = attributes.map(|node| pairs(reader, node, placed_attribute)).unwrap_or_default();
    let (attributes, attributes_at) =
        attributes.into_iter().map(|(name, (value, place))| ((name, value), place)).unzip();
    let subject_at = subject_node.and_then(|node| reader.excerpt(node.span()));
    Some(Change { subject: subject?.to_owned(), attributes, subject_at, attributes_at })
}

/// The value of an attribute, and where it is.
fn placed_attribute(reader: &mut Reader, node: Node<'_>) -> Option<(Value, Option<Excerpt>)> {
    Some((attribute(reader, node)?, reader.excerpt(node.span())))
}

/// As a subjects file says it.
fn attribute(reader: &mut Reader, node: Node<'_>) -> Option<Value> {
    let Kind::Scalar { text, plain } = node.kind() else {
        let message = format!("expected a single value, found {}", node.kind_name());
        reader.error(node.span(), &message, None);
        return None;
    };
    match subjects::attribute(text, plain) {
        Ok(value) => Some(value),
        Err((message, hint)) => {
            reader.error(node.span(), &message, hint.as_deref());
            None
        }
    }
}

#[cfg(test)]
mod tests;
