//! All documents of a text, with the place of every value kept.
//!
//! Deserializers know where syntax breaks, but not where a value that is well-formed and means nothing was written. So
//! policies are read from this tree instead: anchors and merge keys (`<<`) are resolved, everything else is as
//! written.
//!
//! The values lie in one vector in the order of the text, a collection before its members, 24 bytes for each. An alias
//! is the index of what it stands for: nothing is copied for it, nothing is freed by recursion.

use std::collections::{HashMap, HashSet};
use std::slice;

use super::Budget;
use super::budget::{Extent, MOST_WRITTEN};
use super::events::{ALIAS_INSIDE_ITSELF, Event, Events, Span, SyntaxError};

/// How many bytes of a text one value takes in most policies.
const BYTES_OF_A_VALUE: usize = 6;

/// The values of one text.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    values: Vec<Value>,
    /// The text of all single values without a gap.
    text: String,
    /// The pairs of mappings with merge keys, by the mapping's index: a key's index and its value's.
    merged: HashMap<u32, Vec<(u32, u32)>>,
    /// The outermost value of each document that says anything.
    documents: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Value {
    form: Form,
    line: u32,
    column: u32,
    length: u16,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// A stretch of [`Tree::text`].
    Plain {
        start: u32,
        length: u32,
    },
    Quoted {
        start: u32,
        length: u32,
    },
    /// Its members are the values from the next one to `end`, which is no member.
    Sequence {
        end: u32,
    },
    Mapping {
        end: u32,
    },
    /// A mapping whose pairs are in [`Tree::merged`].
    Merged {
        end: u32,
    },
    Alias {
        target: u32,
    },
}

/// One value of a tree. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'n> {
    tree: &'n Tree,
    at: u32,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Kind<'n> {
    Scalar {
        text: &'n str,
        /// Without quotes, unless a tag says otherwise.
        plain: bool,
    },
    Sequence(Items<'n>),
    Mapping(Pairs<'n>),
}

/// The members of a list, in order.
#[derive(Clone, Debug)]
pub(crate) struct Items<'n> {
    tree: &'n Tree,
    next: u32,
    end: u32,
}

/// Keys and values in the order written; keys may repeat. What is merged in comes last.
#[derive(Clone, Debug)]
pub(crate) enum Pairs<'n> {
    Written(Items<'n>),
    Merged(&'n Tree, slice::Iter<'n, (u32, u32)>),
}

impl<'n> Items<'n> {
    /// One value as if it were a list of one.
    pub(crate) fn one(node: Node<'n>) -> Self {
        Self { tree: node.tree, next: node.at, end: node.tree.after(node.at) }
    }

    /// No value at all.
    pub(crate) fn none(of: Node<'n>) -> Self {
        Self { tree: of.tree, next: 0, end: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next >= self.end
    }
}

impl<'n> Iterator for Items<'n> {
    type Item = Node<'n>;

    fn next(&mut self) -> Option<Node<'n>> {
        if self.is_empty() {
            return None;
        }
        let at = self.next;
        self.next = self.tree.after(at);
        Some(Node { tree: self.tree, at })
    }
}

impl<'n> Iterator for Pairs<'n> {
    type Item = (Node<'n>, Node<'n>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Written(members) => Some((members.next()?, members.next()?)),
            Self::Merged(tree, pairs) => {
                let (key, value) = *pairs.next()?;
                Some((Node { tree, at: key }, Node { tree, at: value }))
            }
        }
    }
}

impl<'n> Node<'n> {
    pub(crate) fn kind(self) -> Kind<'n> {
        let tree = self.tree;
        let at = tree.resolved(self.at);
        let members = |end| Items { tree, next: at + 1, end };
        let text = |start: u32, length: u32| {
            let start = start as usize;
            tree.text.get(start..start + length as usize).unwrap_or_default()
        };
        match tree.form(at) {
            Form::Plain { start, length } => Kind::Scalar { text: text(start, length), plain: true },
            Form::Quoted { start, length } => Kind::Scalar { text: text(start, length), plain: false },
            Form::Sequence { end } => Kind::Sequence(members(end)),
            Form::Mapping { end } => Kind::Mapping(Pairs::Written(members(end))),
            Form::Merged { .. } => {
                let pairs = tree.merged.get(&at).map(Vec::as_slice).unwrap_or_default();
                Kind::Mapping(Pairs::Merged(tree, pairs.iter()))
            }
            // What an alias stands for was resolved when the alias was read.
            Form::Alias { .. } => Kind::Scalar { text: "", plain: true },
        }
    }

    /// Where it is; of an alias, where the alias is.
    pub(crate) fn span(self) -> Span {
        let Some(value) = self.tree.values.get(self.at as usize) else { return Span::START };
        Span { line: value.line as usize, column: value.column as usize, length: value.length.into() }
    }

    /// What a person would call it.
    pub(crate) fn kind_name(self) -> &'static str {
        match self.kind() {
            Kind::Scalar { .. } => "a single value",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }

    /// Whether it says nothing: absent, `~` or `null`.
    pub(crate) fn is_null(self) -> bool {
        matches!(self.kind(), Kind::Scalar { text: "" | "~" | "null" | "Null" | "NULL", plain: true })
    }
}

impl Tree {
    /// Every document of `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut builder = Builder::default();
        // As many as most texts have. What is not used is not touched, and what grows is copied each time. Where there is no room
        // for so many, there may be room for as many as there are.
        let _ = builder.tree.values.try_reserve((text.len() / BYTES_OF_A_VALUE).min(MOST_WRITTEN));
        let mut events = Events::new(text);
        loop {
            let (event, span) = events.next()?;
            if let Event::Finish = event {
                return Ok(builder.tree);
            }
            builder.take(event, span)?;
        }
    }

    /// The documents in order; those that say nothing are left out.
    pub(crate) fn documents(&self) -> impl Iterator<Item = Node<'_>> {
        self.documents.iter().map(|at| Node { tree: self, at: *at })
    }

    fn form(&self, at: u32) -> Form {
        self.values.get(at as usize).map_or(Form::Plain { start: 0, length: 0 }, |value| value.form)
    }

    /// The value itself, or what it stands for. No alias stands for an alias.
    fn resolved(&self, at: u32) -> u32 {
        if let Form::Alias { target } = self.form(at) { target } else { at }
    }

    /// The value that follows this one and its members.
    fn after(&self, at: u32) -> u32 {
        match self.form(at) {
            Form::Sequence { end } | Form::Mapping { end } | Form::Merged { end } => end,
            Form::Plain { .. } | Form::Quoted { .. } | Form::Alias { .. } => at + 1,
        }
    }
}

/// A collection that is still open.
struct Open {
    at: u32,
    anchor: usize,
    extent: Extent,
    /// How many members it has so far; in a mapping, those at even places are keys.
    members: usize,
    /// Whether one of the keys is `<<`.
    merges: bool,
}

#[derive(Default)]
struct Builder {
    tree: Tree,
    open: Vec<Open>,
    anchors: HashMap<usize, (u32, Extent)>,
    budget: Budget,
}

impl Builder {
    fn take(&mut self, event: Event, span: Span) -> Result<(), SyntaxError> {
        let here = |message: String| SyntaxError::new(span, message);
        match event {
            Event::Scalar { text, plain, anchor } => {
                let extent = Extent::of_text(&text);
                self.budget.write(self.open.len(), extent).map_err(here)?;
                let (start, length) = (index(self.tree.text.len(), span)?, index(text.len(), span)?);
                self.tree.text.push_str(&text);
                let form = if plain { Form::Plain { start, length } } else { Form::Quoted { start, length } };
                let at = self.push(form, span)?;
                self.close(at, anchor, extent);
            }
            Event::Sequence { anchor } => self.begin(Form::Sequence { end: 0 }, anchor, span)?,
            Event::Mapping { anchor } => self.begin(Form::Mapping { end: 0 }, anchor, span)?,
            Event::End => self.end(span)?,
            Event::Alias { anchor } => {
                let Some((target, extent)) = self.anchors.get(&anchor).copied() else {
                    return Err(here(ALIAS_INSIDE_ITSELF.to_owned()));
                };
                self.budget.repeat(self.open.len(), extent).map_err(here)?;
                let at = self.push(Form::Alias { target }, span)?;
                self.close(at, 0, extent);
            }
            Event::Document => self.anchors.clear(),
            Event::Finish => {}
        }
        Ok(())
    }

    fn push(&mut self, form: Form, span: Span) -> Result<u32, SyntaxError> {
        let at = index(self.tree.values.len(), span)?;
        let (line, column) = (index(span.line, span)?, index(span.column, span)?);
        let length = u16::try_from(span.length).unwrap_or(u16::MAX);
        self.tree.values.push(Value { form, line, column, length });
        Ok(at)
    }

    fn begin(&mut self, form: Form, anchor: usize, span: Span) -> Result<(), SyntaxError> {
        let extent = Extent::EMPTY_COLLECTION;
        let charged = self.budget.write(self.open.len(), extent);
        charged.map_err(|message| SyntaxError::new(span, message))?;
        let at = self.push(form, span)?;
        self.open.push(Open { at, anchor, extent, members: 0, merges: false });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), SyntaxError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let end = index(self.tree.values.len(), span)?;
        let members = Items { tree: &self.tree, next: open.at + 1, end };
        let merged = if open.merges { Some(merge(members)?) } else { None };
        if let Some(value) = self.tree.values.get_mut(open.at as usize) {
            value.form = match (value.form, &merged) {
                (Form::Mapping { .. }, Some(_)) => Form::Merged { end },
                (Form::Mapping { .. }, None) => Form::Mapping { end },
                _ => Form::Sequence { end },
            };
        }
        self.tree.merged.extend(merged.map(|pairs| (open.at, pairs)));
        self.close(open.at, open.anchor, open.extent);
        Ok(())
    }

    /// A finished value is a member of what is open around it, or a document.
    fn close(&mut self, at: u32, anchor: usize, extent: Extent) {
        if anchor > 0 {
            self.anchors.insert(anchor, (at, extent));
        }
        let node = Node { tree: &self.tree, at };
        if let Some(around) = self.open.last_mut() {
            let is_key = matches!(self.tree.form(around.at), Form::Mapping { .. }) && around.members % 2 == 0;
            around.merges |= is_key && node.is_merge();
            around.members += 1;
            around.extent = around.extent.with(extent);
        } else if !node.is_null() {
            self.tree.documents.push(at);
        }
    }
}

/// The pairs that a mapping has when what `<<` names is put in the place of the `<<`; keys written out win
/// (<https://yaml.org/type/merge.html>). Each pair is looked at once, and those of an alias were charged with it.
fn merge(members: Items<'_>) -> Result<Vec<(u32, u32)>, SyntaxError> {
    let (merges, own): (Vec<_>, Vec<_>) = Pairs::Written(members).partition(|(key, _)| key.is_merge());
    let mut known: HashSet<&str> = own.iter().filter_map(|(key, _)| key.text()).collect();
    let mut pairs: Vec<(u32, u32)> = own.iter().map(|(key, value)| (key.at, value.at)).collect();
    for (_, value) in merges {
        let sources = match value.kind() {
            Kind::Sequence(items) => items,
            _ => Items::one(value),
        };
        for source in sources {
            let Kind::Mapping(inherited) = source.kind() else {
                return Err(SyntaxError::new(source.span(), "`<<` merges mappings only"));
            };
            for (key, value) in inherited {
                if key.text().is_none_or(|text| known.insert(text)) {
                    pairs.push((key.at, value.at));
                }
            }
        }
    }
    Ok(pairs)
}

impl<'n> Node<'n> {
    fn text(self) -> Option<&'n str> {
        if let Kind::Scalar { text, .. } = self.kind() { Some(text) } else { None }
    }

    /// Whether it is the key that merges.
    fn is_merge(self) -> bool {
        matches!(self.kind(), Kind::Scalar { text: "<<", plain: true })
    }
}

/// A position in the tree. The bounds on files keep it below 2³².
fn index(position: usize, span: Span) -> Result<u32, SyntaxError> {
    u32::try_from(position).map_err(|_| SyntaxError::new(span, "the file is too long"))
}

#[cfg(test)]
mod tests;
