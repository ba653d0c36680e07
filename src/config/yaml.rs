//! YAML with the place of every value kept.
//!
//! Deserializers know where syntax breaks, but not where a value that is well-formed and means nothing was written. So
//! policies are read from this tree instead: anchors and merge keys (`<<`) are resolved, everything else is as
//! written.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::source::Span;

/// Aliases of aliases can make a small file mean an enormous one.
const MOST_VALUES: usize = 10_000_000;
const DEEPEST: usize = 128;

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    pub(super) kind: Kind<'t>,
    pub(super) span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum Kind<'t> {
    Scalar {
        text: Cow<'t, str>,
        plain: bool,
    },
    Sequence(Vec<Node<'t>>),
    /// In the order written; keys may repeat. What is merged in comes last.
    Mapping(Vec<(Node<'t>, Node<'t>)>),
}

impl Node<'_> {
    /// What a person would call it.
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Scalar { .. } => "a single value",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }

    /// Whether it says nothing: absent, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar { .. } => 0,
            Kind::Sequence(items) => items.iter().map(Node::size).sum(),
            Kind::Mapping(pairs) => pairs.iter().map(|(key, value)| key.size() + value.size()).sum(),
        }
    }
}

/// Why a text is not YAML, and where that showed.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) span: Span,
    pub(super) message: String,
}

/// A collection that is still open.
struct Open<'t> {
    node: Node<'t>,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<Node<'t>>,
}

/// Every document of `text`, in order; those that say nothing are left out.
pub(super) fn parse(text: &str) -> Result<Vec<Node<'_>>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| SyntaxError {
            span: Span { line: error.marker().line().max(1), column: error.marker().col() + 1, length: 1 },
            message: error.info().to_owned(),
        })?;
        let length = if span.start.line() == span.end.line() { span.len() } else { 1 };
        builder.take(event, Span { line: span.start.line(), column: span.start.col() + 1, length })?;
    }
    Ok(builder.documents)
}

#[derive(Default)]
struct Builder<'t> {
    documents: Vec<Node<'t>>,
    open: Vec<Open<'t>>,
    anchors: HashMap<usize, Node<'t>>,
    values: usize,
}

impl<'t> Builder<'t> {
    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let kind = Kind::Scalar { text, plain: style == ScalarStyle::Plain };
                self.close(Node { kind, span }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(Kind::Sequence(Vec::new()), anchor, span),
            Event::MappingStart(anchor, _) => self.begin(Kind::Mapping(Vec::new()), anchor, span),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(merge(open.node)?, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(target) => {
                    grow(&mut self.values, target.size(), span)?;
                    let node = Node { kind: target.kind.clone(), span };
                    self.close(node, 0)
                }
                None => Err(SyntaxError { span, message: "an alias inside what it stands for".to_owned() }),
            },
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, kind: Kind<'t>, anchor: usize, span: Span) -> Result<(), SyntaxError> {
        if self.open.len() == DEEPEST {
            return Err(SyntaxError { span, message: format!("nested deeper than {DEEPEST} levels") });
        }
        self.open.push(Open { node: Node { kind, span: Span { length: 1, ..span } }, anchor, key: None });
        Ok(())
    }

    /// A finished value goes to whatever is open around it.
    fn close(&mut self, node: Node<'t>, anchor: usize) -> Result<(), SyntaxError> {
        grow(&mut self.values, 1, node.span)?;
        if anchor > 0 {
            grow(&mut self.values, node.size(), node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(Open { node: parent, key, .. }) = self.open.last_mut() else {
            if !node.is_null() {
                self.documents.push(node);
            }
            return Ok(());
        };
        match (&mut parent.kind, key.take()) {
            (Kind::Sequence(items), _) => items.push(node),
            (Kind::Mapping(pairs), Some(waiting)) => pairs.push((waiting, node)),
            (Kind::Mapping(_), None) => *key = Some(node),
            (Kind::Scalar { .. }, _) => {}
        }
        Ok(())
    }
}

/// Counts `more` values, before they are made.
fn grow(values: &mut usize, more: usize, span: Span) -> Result<(), SyntaxError> {
    *values = values.saturating_add(more);
    if *values > MOST_VALUES {
        let message = format!("with its aliases written out, the file holds more than {MOST_VALUES} values");
        return Err(SyntaxError { span, message });
    }
    Ok(())
}

/// Puts what `<<` names in the place of the `<<`; keys written out win (<https://yaml.org/type/merge.html>).
fn merge(mut node: Node<'_>) -> Result<Node<'_>, SyntaxError> {
    let is_merge =
        |key: &Node<'_>| matches!(&key.kind, Kind::Scalar { text, plain: true } if &**text == "<<");
    let Kind::Mapping(pairs) = &mut node.kind else { return Ok(node) };
    if !pairs.iter().any(|(key, _)| is_merge(key)) {
        return Ok(node);
    }
    let (merges, mut own): (Vec<_>, Vec<_>) =
        std::mem::take(pairs).into_iter().partition(|(key, _)| is_merge(key));
    for (_, value) in merges {
        let sources = match value.kind {
            Kind::Sequence(items) => items,
            _ => vec![value],
        };
        for source in sources {
            let Kind::Mapping(inherited) = source.kind else {
                let message = "`<<` merges mappings only".to_owned();
                return Err(SyntaxError { span: source.span, message });
            };
            for (key, value) in inherited {
                if !own.iter().any(|(written, _)| same_scalar(written, &key)) {
                    own.push((key, value));
                }
            }
        }
    }
    *pairs = own;
    Ok(node)
}

fn same_scalar(a: &Node<'_>, b: &Node<'_>) -> bool {
    matches!((&a.kind, &b.kind), (Kind::Scalar { text: a, .. }, Kind::Scalar { text: b, .. }) if a == b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn as_serde(node: &Node<'_>) -> serde_yaml::Value {
        match &node.kind {
            Kind::Scalar { text, plain: true } => {
                serde_yaml::from_str(text).unwrap_or_else(|_| text.clone().into())
            }
            Kind::Scalar { text, plain: false } => text.clone().into(),
            Kind::Sequence(items) => items.iter().map(as_serde).collect(),
            Kind::Mapping(pairs) => serde_yaml::Value::Mapping(
                pairs.iter().map(|(key, value)| (as_serde(key), as_serde(value))).collect(),
            ),
        }
    }

    #[test]
    fn reads_what_serde_yaml_reads() {
        for text in [
            "a: 1\nb: [x, 'y', \"z\"]\n",
            "- a: &x {k: v, n: 2}\n- b: *x\n",
            "base: &base {unit: minute, n: 1}\nuse:\n  <<: *base\n  n: 2\n",
            "a: &a {x: 1}\nb: &b {x: 2, y: 3}\nc:\n  <<: [*a, *b]\n  z: 4\n",
            "text: |\n  two\n  lines\nfolded: >-\n  one\n  line\n",
            "\"quoted key\": yes\n? complex\n: value\n",
        ] {
            let mut expected: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
            expected.apply_merge().unwrap();
            let found: Vec<_> = parse(text).unwrap().iter().map(as_serde).collect();
            let sort = |value: &serde_yaml::Value| format!("{value:?}").len();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0], expected, "{text}\n{}", sort(&found[0]));
        }
    }

    #[test]
    fn knows_where_every_value_stands() {
        let documents = parse("a: 1\n---\n# note\nlist:\n  - key: über\n    value:   x\n").unwrap();
        let Kind::Mapping(pairs) = &documents[1].kind else { panic!("not a mapping") };
        let Kind::Sequence(items) = &pairs[0].1.kind else { panic!("not a list") };
        let Kind::Mapping(fields) = &items[0].kind else { panic!("not a mapping") };
        assert_eq!(fields[0].1.span, Span { line: 5, column: 10, length: 4 });
        assert_eq!(fields[1].1.span, Span { line: 6, column: 14, length: 1 });
    }

    #[test]
    fn refuses_what_grows_without_bound() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let before = format!("*a{}, ", n - 1).repeat(10);
            laughs += &format!("a{n}: &a{n} [{before}]\n");
        }
        assert!(parse(&laughs).unwrap_err().message.contains("more than"));
        assert_eq!(parse(&"[".repeat(200)).unwrap_err().message, "nested deeper than 128 levels");
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-a&*<:{}\\[\\]\"'|> \\n#!%?,~]{0,60}") {
            let _ = parse(&text);
        }
    }
}
