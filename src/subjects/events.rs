//! YAML as a stream of tokens with their places; what an alias stands for is repeated in its place.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::problem::Place;
use super::table::index;

/// What aliases may repeat in all, in bytes of text and tokens: aliases of aliases can make a small file mean an
/// enormous one.
const MOST_REPEATED: usize = 1 << 28;

/// What may be kept for aliases, in tokens; of anchors inside one another each keeps its own copy.
const MOST_KEPT: usize = 1 << 20;

/// A piece of a document.
#[derive(Clone, Debug)]
pub(super) enum Token<'t> {
    /// A single value; `plain` is one without quotes.
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

/// Why a text is not YAML, and where that showed.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: Place,
    pub(super) message: String,
}

/// A value with an anchor that is being read.
struct Recording<'t> {
    anchor: usize,
    open: usize,
    tokens: Vec<Token<'t>>,
}

/// What an alias stands for, being repeated.
struct Repeat<'t> {
    tokens: Rc<[Token<'t>]>,
    next: usize,
    at: Place,
}

pub(super) struct Events<'t> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Rc<[Token<'t>]>>,
    recordings: Vec<Recording<'t>>,
    repeat: Option<Repeat<'t>>,
    repeated: usize,
    kept: usize,
}

impl<'t> Events<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            parser: Parser::new_from_str(text),
            anchors: HashMap::new(),
            recordings: Vec::new(),
            repeat: None,
            repeated: 0,
            kept: 0,
        }
    }

    /// The next token; [`Token::Finish`] for ever once the text has ended.
    pub(super) fn next(&mut self) -> Result<(Token<'t>, Place), SyntaxError> {
        let (token, at, anchor) = match self.repeated()? {
            Some((token, at)) => (token, at, 0),
            None => self.parse()?,
        };
        if anchor > 0 || !self.recordings.is_empty() {
            self.record(&token, anchor, at)?;
        }
        Ok((token, at))
    }

    /// The next token of what an alias stands for. That holds no alias: they were written out when it was recorded.
    fn repeated(&mut self) -> Result<Option<(Token<'t>, Place)>, SyntaxError> {
        let Some(repeat) = &mut self.repeat else { return Ok(None) };
        let (token, at) = (repeat.tokens.get(repeat.next).cloned(), repeat.at);
        repeat.next += 1;
        let Some(token) = token else {
            self.repeat = None;
            return Ok(None);
        };
        self.repeated += 1 + if let Token::Scalar { text, .. } = &token { text.len() } else { 0 };
        if self.repeated > MOST_REPEATED {
            let message = "with its aliases written out, the file is too large".to_owned();
            return Err(SyntaxError { at, message });
        }
        Ok(Some((token, at)))
    }

    /// The next token of the text, and its anchor, which is 0 for none.
    fn parse(&mut self) -> Result<(Token<'t>, Place, usize), SyntaxError> {
        loop {
            let Some(next) = self.parser.next_event() else {
                return Ok((Token::Finish, Place::default(), 0));
            };
            let (event, span) = next.map_err(|error| syntax_error(&error))?;
            let at = place(span);
            return Ok(match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && !tag.is_some_and(|tag| is_text(&tag));
                    (Token::Scalar { text, plain }, at, anchor)
                }
                Event::SequenceStart(anchor, _) => (Token::List, Place { length: 1, ..at }, anchor),
                Event::MappingStart(anchor, _) => (Token::Mapping, Place { length: 1, ..at }, anchor),
                Event::SequenceEnd | Event::MappingEnd => (Token::End, at, 0),
                Event::DocumentStart(_) => (Token::Document, at, 0),
                Event::StreamEnd => (Token::Finish, at, 0),
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => continue,
                Event::Alias(anchor) => {
                    let Some(tokens) = self.anchors.get(&anchor) else {
                        let message = "an alias inside what it stands for".to_owned();
                        return Err(SyntaxError { at, message });
                    };
                    self.repeat = Some(Repeat { tokens: Rc::clone(tokens), next: 0, at });
                    match self.repeated()? {
                        Some((token, at)) => (token, at, 0),
                        None => continue,
                    }
                }
            });
        }
    }

    fn record(&mut self, token: &Token<'t>, anchor: usize, at: Place) -> Result<(), SyntaxError> {
        if anchor > 0 {
            self.recordings.push(Recording { anchor, open: 0, tokens: Vec::new() });
        }
        self.kept += self.recordings.len();
        if self.kept > MOST_KEPT {
            let message = "the anchors stand for more than can be kept".to_owned();
            return Err(SyntaxError { at, message });
        }
        for recording in &mut self.recordings {
            recording.tokens.push(token.clone());
            match token {
                Token::List | Token::Mapping => recording.open += 1,
                Token::End => recording.open = recording.open.saturating_sub(1),
                Token::Scalar { .. } | Token::Document | Token::Finish => {}
            }
        }
        while let Some(done) = self.recordings.pop_if(|recording| recording.open == 0) {
            self.anchors.insert(done.anchor, done.tokens.into());
        }
        Ok(())
    }
}

/// Whether `tag` is `!!str`.
fn is_text(tag: &Tag) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == "str"
}

fn place(span: Span) -> Place {
    let length = if span.start.line() == span.end.line() { span.len() } else { 1 };
    Place { line: index(span.start.line()), column: index(span.start.col() + 1), length: index(length) }
}

fn syntax_error(error: &ScanError) -> SyntaxError {
    let (line, column) = (error.marker().line().max(1), error.marker().col() + 1);
    let at = Place { line: index(line), column: index(column), length: 1 };
    SyntaxError { at, message: error.info().to_owned() }
}
