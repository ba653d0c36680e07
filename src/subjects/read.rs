//! Reading a text from its first token to its last, without a tree.
//!
//! A mistake is noted and reading goes on after the value it is in; only what is not YAML ends it.

use std::borrow::Cow;

use super::directory::Directory;
use super::draft::Draft;
use super::lines::Lines;
use super::problem::{Place, Problem, Problems};
use super::scalar::{self, NotThat};
use super::survey::Survey;
use super::words::{ROOT, Scope, Word};
use crate::yaml::{BYTE_ORDER_MARK, Expanded, Token};

/// Nothing more can be read, and why was noted.
#[derive(Clone, Copy)]
pub(super) struct Stop;

pub(super) type Read<T> = Result<T, Stop>;

/// Which words a mapping had.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen(u32);

impl Seen {
    pub(super) fn has(self, word: Word) -> bool {
        self.0 & 1 << word as u32 != 0
    }

    /// Whether it had not been seen before.
    fn insert(&mut self, word: Word) -> bool {
        let before = self.has(word);
        self.0 |= 1 << word as u32;
        !before
    }
}

/// The places in a text are 32 bits long, and aliases may repeat a part of it.
const LONGEST: usize = 1 << 31;

/// How a list of subjects is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// One YAML document.
    Yaml,
    /// JSON Lines, for lists that programs write.
    Lines,
}

impl Directory {
    /// The directory that a YAML text describes, or everything that is wrong with it, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        Self::survey(text, Syntax::Yaml).map(|(directory, _)| directory)
    }

    /// The same of JSON Lines: each line is a subject, or `{"tiers": {…}}`.
    pub fn parse_lines(text: &str) -> Result<Self, Vec<Problem>> {
        Self::survey(text, Syntax::Lines).map(|(directory, _)| directory)
    }

    /// The directory that `text` describes, with what policies are to be held against.
    pub(crate) fn survey(text: &str, syntax: Syntax) -> Result<(Self, Survey), Vec<Problem>> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut problems = Problems::default();
        if text.len() > LONGEST {
            let message = format!("a subjects file of {} bytes; the most is {LONGEST}", text.len());
            problems.add(Place::START, message, None);
            return Err(problems.finish());
        }
        let mut reader = Reader::new(match syntax {
            Syntax::Yaml => Tokens::Yaml(Box::new(Expanded::streamed(text))),
            Syntax::Lines => Tokens::Lines(Lines::new(text)),
        });
        let document = reader.document();
        reader.directory(document)
    }
}

/// Where tokens come from.
enum Tokens<'t> {
    Yaml(Box<Expanded<'t>>),
    Lines(Lines<'t>),
}

pub(super) struct Reader<'t> {
    tokens: Tokens<'t>,
    /// How often the end of the text was read.
    finishes: usize,
    pub(super) draft: Draft,
    pub(super) problems: Problems,
}

/// The end of a text is read once to find that it is empty, and once to find that nothing follows.
const MOST_FINISHES: usize = 2;

/// What the list of all subjects is called.
const SUBJECTS: &str = "subjects";

impl<'t> Reader<'t> {
    fn new(tokens: Tokens<'t>) -> Self {
        Self { tokens, finishes: 0, draft: Draft::default(), problems: Problems::default() }
    }

    /// What was read, if it is without a mistake.
    fn directory(
        mut self,
        document: Read<(Option<Seen>, Place)>,
    ) -> Result<(Directory, Survey), Vec<Problem>> {
        if let Ok((Some(seen), at)) = document
            && !seen.has(Word::Subjects)
        {
            let hint = "list them under `subjects:`, or write `subjects: []` for none";
            self.problems.add(at, "a subjects file without `subjects`", Some(hint.to_owned()));
        }
        let directory = self.draft.finish(&mut self.problems);
        if self.problems.is_empty() { Ok(directory) } else { Err(self.problems.finish()) }
    }

    /// A whole text: the words it has, unless it is not a mapping, and where they begin.
    fn document(&mut self) -> Read<(Option<Seen>, Place)> {
        let Some((token, at)) = self.begin()?.filter(|(token, _)| !is_nothing(token)) else {
            self.end()?;
            return Ok((Some(Seen::default()), Place::START));
        };
        let seen = self.mapping(&token, at, &ROOT, |reader, word| match word {
            Word::Subjects => reader.list(SUBJECTS, Self::subject),
            _ => reader.tiers(),
        })?;
        self.end()?;
        Ok((seen, at))
    }

    /// The first token of the document, if there is one.
    fn begin(&mut self) -> Read<Option<(Token<'t>, Place)>> {
        match self.next()? {
            (Token::Document, _) => self.next().map(Some),
            _ => Ok(None),
        }
    }

    fn end(&mut self) -> Read<()> {
        let (token, at) = self.next()?;
        if !matches!(token, Token::Finish) {
            let message = "a second document, where one is all there can be";
            self.problems.add(at, message, Some("make it a file of its own".to_owned()));
            return Err(Stop);
        }
        Ok(())
    }

    pub(super) fn next(&mut self) -> Read<(Token<'t>, Place)> {
        let next = self.read_next()?;
        if matches!(next.0, Token::Finish) {
            self.finishes += 1;
            // Whoever goes on asking is inside a value that has no end.
            if self.finishes > MOST_FINISHES {
                self.problems.add(next.1, "the text ends before its values do", None);
                return Err(Stop);
            }
        }
        Ok(next)
    }

    fn read_next(&mut self) -> Read<(Token<'t>, Place)> {
        match &mut self.tokens {
            Tokens::Lines(lines) => lines.next().map_err(|wrong| {
                self.problems.add(wrong.at, wrong.message, wrong.hint.map(str::to_owned));
                Stop
            }),
            Tokens::Yaml(tokens) => match tokens.next() {
                Ok((token, span)) => Ok((token, span.into())),
                Err(error) => {
                    self.problems.add(error.span.into(), error.message, error.hint);
                    Err(Stop)
                }
            },
        }
    }

    /// Leaves out the rest of the value that begins with `token`.
    pub(super) fn skip(&mut self, token: &Token<'t>) -> Read<()> {
        let mut open = usize::from(matches!(token, Token::List | Token::Mapping));
        while open > 0 {
            match self.next()?.0 {
                Token::List | Token::Mapping => open += 1,
                Token::End => open -= 1,
                Token::Scalar { .. } | Token::Document => {}
                Token::Finish => return Err(Stop),
            }
        }
        Ok(())
    }

    /// Leaves out the next value.
    pub(super) fn skip_next(&mut self) -> Read<()> {
        let (token, _) = self.next()?;
        self.skip(&token)
    }

    /// The value that begins with `token` is not what was wanted.
    pub(super) fn refuse(&mut self, token: &Token<'t>, at: Place, wanted: &str) -> Read<()> {
        let found = match token {
            Token::List => "a list",
            Token::Mapping => "a mapping",
            token if is_nothing(token) => "nothing",
            _ => "a single value",
        };
        self.problems.add(at, format!("expected {wanted}, found {found}"), None);
        self.skip(token)
    }

    /// Whether `token` begins a mapping; what does not is left out.
    pub(super) fn is_mapping(&mut self, token: &Token<'t>, at: Place, name: &str) -> Read<bool> {
        let right = matches!(token, Token::Mapping);
        if !right {
            self.refuse(token, at, &format!("a mapping for {name}"))?;
        }
        Ok(right)
    }

    /// The mapping that begins with `token`; `field` reads the value of each of its words. Returns what words it had,
    /// if it was a mapping at all.
    pub(super) fn mapping(
        &mut self,
        token: &Token<'t>,
        at: Place,
        scope: &Scope,
        mut field: impl FnMut(&mut Self, Word) -> Read<()>,
    ) -> Read<Option<Seen>> {
        if !self.is_mapping(token, at, scope.name)? {
            return Ok(None);
        }
        let mut seen = Seen::default();
        loop {
            let (key, at) = self.next()?;
            let text = match &key {
                Token::End => return Ok(Some(seen)),
                Token::Scalar { text, .. } => text,
                _ => {
                    self.refuse(&key, at, "a word")?;
                    self.skip_next()?;
                    continue;
                }
            };
            match scope.words.iter().find(|(name, _)| name == text) {
                Some((_, word)) if seen.insert(*word) => field(self, *word)?,
                Some((name, _)) => {
                    self.problems.add(at, format!("`{name}` is given twice"), None);
                    self.skip_next()?;
                }
                None => {
                    self.problems.add(at, scope.unknown(text), Some(scope.hint(text)));
                    self.skip_next()?;
                }
            }
        }
    }

    /// The list that comes next; `item` reads each of its values. Nothing is an empty one.
    pub(super) fn list(
        &mut self,
        name: &str,
        mut item: impl FnMut(&mut Self, &Token<'t>, Place) -> Read<()>,
    ) -> Read<()> {
        let (token, at) = self.next()?;
        if is_nothing(&token) {
            // Half a file, more likely than nobody: to take it at its word would free everybody of their limits.
            if name == SUBJECTS {
                let hint = "write `subjects: []` if nobody is meant".to_owned();
                self.problems.add(at, "`subjects` lists nobody".to_owned(), Some(hint));
            }
            return Ok(());
        }
        if !matches!(token, Token::List) {
            return self.refuse(&token, at, &format!("a list of {name}"));
        }
        loop {
            if self.problems.is_full() {
                return Err(Stop);
            }
            match self.next()? {
                (Token::End, _) => return Ok(()),
                (token, at) => item(self, &token, at)?,
            }
        }
    }

    /// The single value that comes next, and whether it is without quotes.
    pub(super) fn text(&mut self, wanted: &str) -> Read<Option<(Cow<'t, str>, bool, Place)>> {
        let (token, at) = self.next()?;
        match token {
            Token::Scalar { text, plain } if !(text.is_empty() || plain && scalar::is_null(&text)) => {
                self.draft.survey.unseen(&text, at);
                Ok(Some((text, plain, at)))
            }
            token => self.refuse(&token, at, wanted).map(|()| None),
        }
    }

    /// What `read` makes of the single value that comes next.
    pub(super) fn single<T>(
        &mut self,
        wanted: &str,
        read: impl FnOnce(&str, bool) -> Result<T, NotThat>,
    ) -> Read<Option<T>> {
        let Some((text, plain, at)) = self.text(wanted)? else { return Ok(None) };
        Ok(self.note(at, read(&text, plain)))
    }

    pub(super) fn note<T>(&mut self, at: Place, result: Result<T, NotThat>) -> Option<T> {
        result.map_err(|(message, hint)| self.problems.add(at, message, hint)).ok()
    }
}

/// Whether `token` is a value that says nothing.
pub(super) fn is_nothing(token: &Token<'_>) -> bool {
    matches!(token, Token::Scalar { text, plain: true } if scalar::is_null(text))
}
