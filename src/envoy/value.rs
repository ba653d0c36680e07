//! Values of an Envoy configuration: protobuf messages as YAML or as JSON.

use std::time::Duration;

use crate::config::{Diagnostic, DiagnosticKind, Severity, Source};
use crate::policy::Place;
use crate::yaml::{Kind, Node, Span, Tree};

/// A file that was read.
#[derive(Debug)]
pub(super) struct File {
    pub(super) source: Source,
    tree: Tree,
}

impl File {
    /// The values of `text`, or where it is not YAML.
    pub(super) fn read(name: &str, text: String) -> Result<Self, Diagnostic> {
        let source = Source::new(name, text);
        match Tree::parse(&source.text) {
            Ok(tree) => Ok(Self { source, tree }),
            Err(error) => {
                let message = format!("not YAML: {}", error.message);
                let wrong = source.diagnose(Severity::Error, error.span, message, error.hint);
                Err(wrong.kind(DiagnosticKind::Syntax))
            }
        }
    }

    pub(super) fn documents(&self) -> impl Iterator<Item = Value<'_>> {
        self.tree.documents().map(|node| Value { file: self, node, key: None })
    }
}

/// A value, and the word that it stands behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'f> {
    pub(super) file: &'f File,
    node: Node<'f>,
    key: Option<Node<'f>>,
}

impl<'f> Value<'f> {
    /// The field `name`, as protobuf writes it or in camel case, as JSON may; `None` where it is absent or null.
    pub(super) fn get(self, name: &str) -> Option<Value<'f>> {
        self.fields().find(|(key, _)| is_called(key, name)).map(|(_, value)| value)
    }

    /// The field of a field.
    pub(super) fn at(self, path: &[&str]) -> Option<Value<'f>> {
        path.iter().try_fold(self, |value, name| value.get(name))
    }

    /// Each field that says something.
    pub(super) fn fields(self) -> impl Iterator<Item = (&'f str, Value<'f>)> {
        let pairs = if let Kind::Mapping(pairs) = self.node.kind() { Some(pairs) } else { None };
        pairs.into_iter().flatten().filter(|(_, value)| !value.is_null()).filter_map(move |(key, value)| {
            let Kind::Scalar { text, .. } = key.kind() else { return None };
            Some((text, Value { file: self.file, node: value, key: Some(key) }))
        })
    }

    /// The members of a list; none of anything else.
    pub(super) fn items(self) -> impl Iterator<Item = Value<'f>> {
        let items = if let Kind::Sequence(items) = self.node.kind() { Some(items) } else { None };
        items.into_iter().flatten().map(move |node| Value { file: self.file, node, key: None })
    }

    /// The members of the list in the field `name`.
    pub(super) fn list(self, name: &str) -> impl Iterator<Item = Value<'f>> {
        self.get(name).into_iter().flat_map(Value::items)
    }

    /// A single value as text; empty of anything else.
    pub(super) fn text(self) -> &'f str {
        if let Kind::Scalar { text, .. } = self.node.kind() { text } else { "" }
    }

    /// The text of the field `name`, where it has one that is not empty.
    pub(super) fn text_of(self, name: &str) -> Option<&'f str> {
        self.get(name).map(Value::text).filter(|text| !text.is_empty())
    }

    pub(super) fn is_true(self, name: &str) -> bool {
        self.text_of(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    pub(super) fn number(self, name: &str) -> Option<u64> {
        self.text_of(name)?.parse().ok()
    }

    /// A `google.protobuf.Duration`: `0.25s`.
    pub(super) fn duration(self) -> Option<Duration> {
        let seconds: f64 = self.text().strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// What `@type` says that it is, without the part that all types have.
    pub(super) fn type_name(self) -> &'f str {
        let name = self.text_of("@type").unwrap_or_default();
        name.rsplit('/').next().unwrap_or(name)
    }

    /// Whether some text in it has the header's name `name`, which is in lower case, in it. In names of headers case does not count.
    pub(super) fn mentions_name(self, name: &str) -> bool {
        self.text().to_lowercase().contains(name)
            || self.items().any(|item| item.mentions_name(name))
            || self.fields().any(|(_, field)| field.mentions_name(name))
    }

    /// Where it is, for a list of policies' places.
    pub(super) fn place(self) -> Place {
        self.file.source.place(self.span())
    }

    /// What tells it from every other value.
    pub(super) fn id(self) -> (*const File, usize, usize) {
        let span = self.node.span();
        (self.file, span.line, span.column)
    }

    /// The word that it stands behind, or else where it begins.
    pub(super) fn span(self) -> Span {
        self.key.unwrap_or(self.node).span()
    }

    /// Where the value itself is.
    pub(super) fn value_span(self) -> Span {
        self.node.span()
    }
}

/// Whether a field that is written `key` is the one that protobuf calls `name`.
fn is_called(key: &str, name: &str) -> bool {
    if key == name {
        return true;
    }
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            _ if upper => {
                camel.push(letter.to_ascii_uppercase());
                upper = false;
            }
            _ => camel.push(letter),
        }
    }
    key == camel
}
