//! Limitador's limits file: a list of `{namespace, max_value, seconds, conditions, variables}`.

use std::collections::BTreeMap;

use super::condition::{conditions, variable};
use super::limit::Limit;
use super::migration::Migration;
use super::{tree, write};
use crate::config::{Diagnostic, DiagnosticKind, Options, Severity, Source, Sources, compile};
use crate::hint::did_you_mean;
use crate::yaml::{Items, Kind, Node, Span, Tree};

const WORDS: [&str; 7] = ["namespace", "max_value", "seconds", "conditions", "variables", "name", "id"];

struct Reader<'s> {
    source: &'s Source,
    found: Vec<Diagnostic>,
}

pub(super) fn migrate(name: &str, text: String) -> Migration {
    let source = Source::new(name, text);
    let mut reader = Reader { source: &source, found: Vec::new() };
    let namespaces = match Tree::parse(&source.text) {
        Ok(tree) => reader.namespaces(&tree),
        Err(error) => {
            reader.error(error.span, format!("not YAML: {}", error.message), error.hint);
            BTreeMap::new()
        }
    };
    let mut files = Vec::new();
    for (namespace, limits) in &namespaces {
        match tree::build(limits) {
            Ok(built) => {
                reader.differences(limits, &built);
                files.push((file_name(namespace, &files), write::policy(name, namespace, limits, &built)));
            }
            Err((span, message, hint)) => reader.error(span, message, Some(hint)),
        }
    }
    let is_wrong = reader.found.iter().any(|one| one.severity == Severity::Error);
    if !is_wrong {
        // What is written has to be sound, whatever was read.
        match compile(&Sources::in_memory(files.clone(), []), Options::default()) {
            Ok(loaded) => reader.found.extend(loaded.warnings),
            Err(wrong) => {
                reader.found.push(Diagnostic::error("internal error: what would be written is wrong"));
                reader.found.extend(wrong);
            }
        }
    }
    let is_wrong = reader.found.iter().any(|one| one.severity == Severity::Error);
    let found = reader.found;
    Migration { found, files: if is_wrong { Vec::new() } else { files }, what: "a limits file of Limitador" }
}

/// A namespace as the name of a file that no other one has.
fn file_name(namespace: &str, files: &[(String, String)]) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let stem: String = namespace.chars().map(plain).collect();
    let stem = stem.trim_start_matches('.');
    let stem = if stem.is_empty() { "limits" } else { stem };
    let is_free = |name: &String| files.iter().all(|(taken, _)| taken != name);
    let names = std::iter::once(format!("{stem}.yaml")).chain((2..).map(|n| format!("{stem}-{n}.yaml")));
    names.into_iter().find(is_free).unwrap_or_default()
}

impl Reader<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) {
        self.found.push(self.source.diagnose(Severity::Error, span, message.into(), hint));
    }

    fn note(&mut self, span: Span, message: impl Into<String>, hint: &str) {
        let note = self.source.diagnose(Severity::Note, span, message.into(), Some(hint.to_owned()));
        self.found.push(note);
    }

    fn namespaces(&mut self, tree: &Tree) -> BTreeMap<String, Vec<Limit>> {
        let mut namespaces: BTreeMap<String, Vec<Limit>> = BTreeMap::new();
        for document in tree.documents() {
            let items =
                if let Kind::Sequence(items) = document.kind() { items } else { Items::none(document) };
            for item in items {
                let Some((namespace, mut limit)) = self.limit(item) else { continue };
                let limits = namespaces.entry(namespace).or_default();
                if limit.name.is_empty() {
                    limit.name = format!("limit-{}", limits.len() + 1);
                }
                let same = |other: &&Limit| {
                    other.seconds == limit.seconds
                        && other.conditions == limit.conditions
                        && other.variables == limit.variables
                };
                if let Some(earlier) = limits.iter().find(same) {
                    let message = format!(
                        "this is the limit of line {} once more, and Limitador keeps one of the two",
                        earlier.span.line
                    );
                    self.error(limit.span, message, Some("leave out the one that is not meant".to_owned()));
                } else if limits.iter().any(|other| other.name == limit.name) {
                    let message = format!("the namespace has another limit called `{}`", limit.name);
                    self.error(limit.span, message, Some("give it another `name`".to_owned()));
                } else {
                    limits.push(limit);
                }
            }
        }
        namespaces
    }

    fn limit(&mut self, item: Node<'_>) -> Option<(String, Limit)> {
        let Kind::Mapping(pairs) = item.kind() else {
            let message = format!("expected a limit, found {}", item.kind_name());
            let hint = "write `- {namespace: …, max_value: 5, seconds: 60, conditions: [], variables: []}`";
            self.error(item.span(), message, Some(hint.to_owned()));
            return None;
        };
        let mut fields: BTreeMap<&str, Node<'_>> = BTreeMap::new();
        for (key, value) in pairs {
            let Kind::Scalar { text, .. } = key.kind() else { continue };
            if !WORDS.contains(&text) {
                let message = format!("unknown word `{text}` in a limit of Limitador");
                self.found.push(
                    self.source
                        .diagnose(Severity::Error, key.span(), message, did_you_mean(text, WORDS))
                        .kind(DiagnosticKind::UnknownWord),
                );
            } else if !value.is_null() {
                fields.insert(text, value);
            }
        }
        let text = |name: &str| fields.get(name).and_then(|node| scalar(*node)).unwrap_or_default();
        let mut number = |name: &str, least: u64| {
            let node = fields.get(name);
            let read = node.and_then(|node| scalar(*node)).and_then(|text| text.parse::<u64>().ok());
            let found = read.filter(|number| (least..=u64::from(u32::MAX)).contains(number));
            if found.is_none() {
                let span = node.map_or(item.span(), |node| node.span());
                let message = format!("`{name}` has to be a whole number from {least} to {}", u32::MAX);
                self.error(span, message, Some(format!("write `{name}: 60`")));
            }
            found
        };
        let (max_value, seconds) = (number("max_value", 0), number("seconds", 1));
        let namespace = text("namespace").to_owned();
        if namespace.is_empty() {
            let hint = "write `namespace:` with the domain that Envoy sends";
            self.error(item.span(), "this limit has no `namespace`", Some(hint.to_owned()));
        }
        let conditions = self.each(fields.get("conditions"), conditions).into_iter().flatten().collect();
        let variables = self.each(fields.get("variables"), variable);
        let limit = Limit {
            span: item.span(),
            name: text("name").to_owned(),
            max_value: max_value?,
            seconds: seconds?,
            conditions,
            variables,
        };
        (!namespace.is_empty()).then_some((namespace, limit))
    }

    /// What `read` makes of each text of a list.
    fn each<T>(&mut self, list: Option<&Node<'_>>, read: fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(list) = list else { return Vec::new() };
        let items = if let Kind::Sequence(items) = list.kind() { items } else { Items::one(*list) };
        let mut all = Vec::new();
        for item in items {
            match scalar(item).ok_or_else(|| "a text belongs here".to_owned()).and_then(read) {
                Ok(one) => all.push(one),
                Err(message) => {
                    let hint = "`==`, `!=`, `in […]`, `.startsWith()` and `&&` of entries and texts are translated; write this \
                                limit by hand, or have Envoy send an entry that says it";
                    self.error(item.span(), message, Some(hint.to_owned()));
                }
            }
        }
        all
    }

    /// Tells what is otherwise in Spillway.
    fn differences(&mut self, limits: &[Limit], built: &tree::Built) {
        let Some(first) = limits.first() else { return };
        for (descriptor, keys) in &built.keys {
            let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            if keys.len() > 1 {
                let message = format!(
                    "the order of a descriptor's entries counts: descriptor {descriptor} has to have {}, in this order",
                    keys.join(", ")
                );
                self.note(
                    first.span,
                    message,
                    "order the `actions` in Envoy's configuration so; some may be absent",
                );
            }
        }
        if !built.keys.is_empty() {
            self.other_keys(first.span);
        }
        if let Some(all) = limits.iter().find(|limit| limit.references().next().is_none())
            && built.keys.len() != 1
        {
            let message = if built.keys.is_empty() {
                format!(
                    "`{}` is for every request: it counts those that have one to {} entries",
                    all.name,
                    tree::DEEPEST
                )
            } else {
                format!(
                    "`{}` is for every request: it is charged once for each descriptor that reaches a limit",
                    all.name
                )
            };
            self.note(all.span, message, "send one descriptor where this matters");
        }
    }

    fn other_keys(&mut self, span: Span) {
        let message = "a descriptor with an entry of another key reaches none of these limits, where Limitador looks only for those \
                       that it needs";
        self.note(span, message, "see with `spillway check --envoy` what Envoy sends");
    }
}

fn scalar(node: Node<'_>) -> Option<&str> {
    if let Kind::Scalar { text, .. } = node.kind() { Some(text) } else { None }
}
