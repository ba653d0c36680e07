//! The YAML that programs write, read ten times as fast as YAML.
//!
//! A list of a million subjects is written by a program, in a small part of the language: blocks by indentation,
//! flows in brackets (and so JSON), and single values on one line, without escapes, anchors or tags. This scanner
//! reads that part and **gives up** at the first thing outside it; the text is then read again by the real parser. It
//! never decides that something is wrong. Invariant: when it reads a text to the end, its tokens are those of the real
//! parser, with the places where they begin.

mod flow;
mod single;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::problem::Place;
use super::table::index;
use crate::yaml::{Token, is_allowed, is_break};

/// Deeper nesting is left to the real parser, and so are longer keys: to it, 1,024 is the most.
const DEEPEST: usize = 32;
const LONGEST_KEY: u32 = 1000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A mapping or list by indentation.
    Mapping,
    List,
    /// One in brackets.
    Braces,
    Brackets,
}

/// A collection that is still open.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Open {
    kind: Kind,
    /// How many characters stand before its entries; of a flow, before those of the block around it.
    column: usize,
}

pub(super) struct Plain<'t> {
    text: &'t str,
    /// How many bytes are read.
    at: usize,
    /// Counted from 1.
    line: usize,
    /// What to subtract from `at` to get the number of characters before it on its line.
    before_line: usize,
    open: Vec<Open>,
    /// Whether the innermost block, or the document, waits for a value.
    waits: bool,
    /// Tokens that were read and not yet asked for.
    ready: VecDeque<(Token<'t>, Place)>,
}

impl<'t> Plain<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let mut ready = VecDeque::new();
        ready.push_back((Token::Document, Place { line: 1, column: 1, length: 1 }));
        Self { text, at: 0, line: 1, before_line: 0, open: Vec::new(), waits: true, ready }
    }

    /// The next token, and [`Token::Finish`] for ever once the text has ended; none when it gives up.
    pub(super) fn next(&mut self) -> Option<(Token<'t>, Place)> {
        while self.ready.is_empty() {
            match self.open.last() {
                Some(Open { kind: Kind::Braces | Kind::Brackets, .. }) => self.flow_entry()?,
                _ => self.block_line()?,
            }
        }
        self.ready.pop_front()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn here(&self) -> Place {
        Place { line: index(self.line), column: index(self.column() + 1), length: 1 }
    }

    /// How many characters stand before this one on its line.
    fn column(&self) -> usize {
        self.at - self.before_line
    }

    fn spaces(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| **byte == b' ').count();
    }

    /// What stands on one line, up to the bracket of a flow.
    fn block_line(&mut self) -> Option<()> {
        while self.at < self.text.len() {
            self.spaces();
            if self.line_ends(true) {
                self.end_line()?;
                continue;
            }
            let first = self.waits && self.open.is_empty();
            if first && self.at == 0 && self.text.starts_with("---\n") {
                self.at = 3;
                self.end_line()?;
                continue;
            }
            return self.entry();
        }
        self.finish()
    }

    /// A key or items of lists, and their values as far as they are on this line.
    fn entry(&mut self) -> Option<()> {
        let is_item = |scanner: &Self| scanner.text.as_bytes()[scanner.at..].starts_with(b"- ");
        if !self.waits {
            self.close(self.column(), is_item(self));
        }
        let mut inline = self.open.is_empty() && self.waits;
        while is_item(self) {
            let dash = self.here();
            self.at += 1;
            self.spaces();
            self.enter(Kind::List, dash)?;
            (self.waits, inline) = (true, true);
        }
        if let Some(b'{' | b'[') = self.byte() {
            return if inline { self.flow() } else { None };
        }
        let key = self.scalar()?;
        let after = &self.text.as_bytes()[self.at..];
        if !(after.starts_with(b": ") || after.starts_with(b":\n")) {
            return if inline && !self.open.is_empty() { self.value(key) } else { None };
        }
        self.enter(Kind::Mapping, Place { length: 1, ..key.1 })?;
        self.key(key)?;
        self.waits = true;
        let start = self.at;
        self.spaces();
        if self.line_ends(self.at > start) {
            return self.end_line();
        }
        if let Some(b'{' | b'[') = self.byte() {
            return self.flow();
        }
        let value = self.scalar()?;
        self.value(value)
    }

    /// A key, which is on one line with the `:` that comes next.
    fn key(&mut self, key: (Token<'t>, Place)) -> Option<()> {
        let short = key.1.length <= LONGEST_KEY;
        self.ready.push_back(key);
        self.at += 1;
        short.then_some(())
    }

    /// A single value that ends its line.
    fn value(&mut self, value: (Token<'t>, Place)) -> Option<()> {
        self.ready.push_back(value);
        self.waits = false;
        self.rest_of_line()
    }

    /// Ends every block that a line with this indentation is not in.
    fn close(&mut self, column: usize, is_item: bool) {
        let ends = |open: &Open| {
            open.column > column || open.column == column && open.kind == Kind::List && !is_item
        };
        while self.open.last().is_some_and(ends) {
            self.open.pop();
            self.ready.push_back((Token::End, self.here()));
        }
    }

    /// Goes on with the innermost block, or begins one where a value is waited for; its entry begins `at`.
    fn enter(&mut self, kind: Kind, at: Place) -> Option<()> {
        let here = Open { kind, column: at.column as usize - 1 };
        let top = self.open.last().copied();
        if !self.waits {
            return (top == Some(here)).then_some(());
        }
        // A list may stand right below its key.
        let below = kind == Kind::List && top == Some(Open { kind: Kind::Mapping, ..here });
        match top {
            Some(top) if here.column <= top.column && !below => None,
            _ => self.begin(here, at),
        }
    }

    fn begin(&mut self, open: Open, at: Place) -> Option<()> {
        let token = match open.kind {
            Kind::Mapping | Kind::Braces => Token::Mapping,
            Kind::List | Kind::Brackets => Token::List,
        };
        self.ready.push_back((token, at));
        self.open.push(open);
        self.waits = false;
        (self.open.len() <= DEEPEST).then_some(())
    }

    /// Whether nothing but a comment, if there may be one, is left of the line.
    fn line_ends(&self, comment: bool) -> bool {
        match self.byte() {
            None | Some(b'\n') => true,
            Some(b'#') => comment,
            Some(_) => false,
        }
    }

    fn rest_of_line(&mut self) -> Option<()> {
        let start = self.at;
        self.spaces();
        if self.line_ends(self.at > start) { self.end_line() } else { None }
    }

    /// Goes to the next line; of this one only a comment is left.
    fn end_line(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().position(|byte| byte == b'\n').unwrap_or(rest.len());
        if rest[..length].chars().any(|c| !is_allowed(c) || is_break(c) || c == '\u{feff}') {
            return None;
        }
        self.at = (self.at + length + 1).min(self.text.len());
        self.line += 1;
        self.before_line = self.at;
        Some(())
    }

    fn finish(&mut self) -> Option<()> {
        if self.waits {
            return None;
        }
        for _ in self.open.drain(..) {
            self.ready.push_back((Token::End, Place::default()));
        }
        self.ready.push_back((Token::Finish, Place::default()));
        Some(())
    }
}
