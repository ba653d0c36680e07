//! A document as a stream of tokens; what an alias stands for is repeated in its place.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::Budget;
use super::budget::Extent;
use super::events::{ALIAS_INSIDE_ITSELF, Event, Events, Span, SyntaxError};

/// A piece of a document.
#[derive(Clone, Debug)]
pub(crate) enum Token<'t> {
    /// A single value; `plain` is one without quotes, unless a tag says otherwise.
    Scalar {
        text: Cow<'t, str>,
        plain: bool,
    },
    List,
    Mapping,
    /// The end of a list or of a mapping.
    End,
    /// A document begins.
    Document,
    /// The text ends.
    Finish,
}

/// What is remembered of values with anchors, once for all anchors inside one another.
enum Recorded<'t> {
    Token(Token<'t>),
    /// What an alias stands for, as a stretch of what was recorded before.
    Alias(Range<usize>),
}

/// A value with an anchor, read to its end.
#[derive(Clone)]
struct Anchored {
    recorded: Range<usize>,
    extent: Extent,
}

/// A collection that is still open.
struct Open {
    extent: Extent,
    /// Its anchor, and where its record begins; only if it has one.
    anchor: Option<(usize, usize)>,
}

/// What aliases stand for, being repeated.
struct Repeat {
    /// An alias inside what another stands for is the last; never more than there are levels in the document.
    ranges: Vec<Range<usize>>,
    /// Where the alias in the document is.
    at: Span,
}

pub(crate) struct Expanded<'t> {
    events: Events<'t>,
    budget: Budget,
    anchors: HashMap<usize, Anchored>,
    record: Vec<Recorded<'t>>,
    open: Vec<Open>,
    /// How many of the collections that are open have an anchor.
    recording: usize,
    repeat: Option<Repeat>,
}

impl<'t> Expanded<'t> {
    /// For whoever keeps little of each value.
    pub(crate) fn streamed(text: &'t str) -> Self {
        Self {
            events: Events::new(text),
            budget: Budget::streamed(),
            anchors: HashMap::new(),
            record: Vec::new(),
            open: Vec::new(),
            recording: 0,
            repeat: None,
        }
    }

    /// The next token; [`Token::Finish`] for ever once the text has ended.
    pub(crate) fn next(&mut self) -> Result<(Token<'t>, Span), SyntaxError> {
        loop {
            if let Some(next) = self.repeated() {
                return Ok(next);
            }
            let (event, span) = self.events.next()?;
            let token = match event {
                Event::Alias { anchor } => {
                    self.alias(anchor, span)?;
                    continue;
                }
                Event::Scalar { text, plain, anchor } => {
                    let token = Token::Scalar { text: text.into(), plain };
                    self.scalar(&token, anchor, span)?;
                    token
                }
                Event::Sequence { anchor } => self.begin(Token::List, anchor, span)?,
                Event::Mapping { anchor } => self.begin(Token::Mapping, anchor, span)?,
                Event::End => {
                    self.end();
                    Token::End
                }
                Event::Document => {
                    self.anchors.clear();
                    self.record.clear();
                    Token::Document
                }
                Event::Finish => Token::Finish,
            };
            return Ok((token, span));
        }
    }

    /// The next token of what an alias stands for.
    fn repeated(&mut self) -> Option<(Token<'t>, Span)> {
        let Repeat { ranges, at } = self.repeat.as_mut()?;
        while let Some(range) = ranges.last_mut() {
            match range.next().and_then(|next| self.record.get(next)) {
                Some(Recorded::Token(token)) => return Some((token.clone(), *at)),
                Some(Recorded::Alias(inner)) => ranges.push(inner.clone()),
                None => drop(ranges.pop()),
            }
        }
        self.repeat = None;
        None
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), SyntaxError> {
        let Some(Anchored { recorded, extent }) = self.anchors.get(&anchor).cloned() else {
            return Err(SyntaxError::new(span, ALIAS_INSIDE_ITSELF));
        };
        self.budget.repeat(self.open.len(), extent).map_err(|message| SyntaxError::new(span, message))?;
        if self.recording > 0 {
            self.record.push(Recorded::Alias(recorded.clone()));
        }
        self.add(extent);
        self.repeat = Some(Repeat { ranges: vec![recorded], at: span });
        Ok(())
    }

    fn scalar(&mut self, token: &Token<'t>, anchor: usize, span: Span) -> Result<(), SyntaxError> {
        let Token::Scalar { text, .. } = token else { return Ok(()) };
        let extent = Extent::of_text(text);
        self.write(extent, span)?;
        if anchor > 0 || self.recording > 0 {
            let start = self.record.len();
            self.record.push(Recorded::Token(token.clone()));
            if anchor > 0 {
                self.anchors.insert(anchor, Anchored { recorded: start..start + 1, extent });
            }
        }
        self.add(extent);
        Ok(())
    }

    fn begin(&mut self, token: Token<'t>, anchor: usize, span: Span) -> Result<Token<'t>, SyntaxError> {
        self.write(Extent::EMPTY_COLLECTION, span)?;
        let anchor = (anchor > 0).then_some((anchor, self.record.len()));
        self.recording += usize::from(anchor.is_some());
        if self.recording > 0 {
            self.record.push(Recorded::Token(token.clone()));
        }
        self.open.push(Open { extent: Extent::EMPTY_COLLECTION, anchor });
        Ok(token)
    }

    fn end(&mut self) {
        if self.recording > 0 {
            self.record.push(Recorded::Token(Token::End));
        }
        let Some(Open { extent, anchor }) = self.open.pop() else { return };
        if let Some((anchor, start)) = anchor {
            self.recording -= 1;
            self.anchors.insert(anchor, Anchored { recorded: start..self.record.len(), extent });
        }
        self.add(extent);
    }

    fn write(&mut self, extent: Extent, span: Span) -> Result<(), SyntaxError> {
        self.budget.write(self.open.len(), extent).map_err(|message| SyntaxError::new(span, message))
    }

    /// A finished value is a member of what is open around it.
    fn add(&mut self, member: Extent) {
        if let Some(around) = self.open.last_mut() {
            around.extent = around.extent.with(member);
        }
    }
}
