//! A text as the parser is given it: with a space where a comma follows a tag, as in `[!!str, a]`.
//!
//! libyaml takes such a tag for one of an empty value, and so do we. The parser panics there; behind a space the comma means the
//! same. Whether a `!` begins a tag is for a parser to say: it is asked once with a space before each comma that could follow one,
//! and what it says of the text as it is comes from a second reading, with those spaces alone that follow tags.

use std::borrow::Cow;

use libyaml_safer::{Event, EventData, MappingStyle, Mark, ScalarStyle, SequenceStyle};

use super::input::{is_break, parser, position};

/// A text, and what was put into it.
pub(super) struct Spaced<'t> {
    pub(super) text: Cow<'t, str>,
    /// The byte and the line of each space that was put in, in order.
    spaces: Vec<(u64, u64)>,
}

impl<'t> Spaced<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let commas: Vec<usize> =
            text.match_indices(',').map(|(at, _)| at).filter(|at| may_follow_a_tag(text, *at)).collect();
        if commas.is_empty() {
            return Self::unchanged(text);
        }
        let all = with_spaces(text, &commas);
        let read = Probe::of(&all);
        let follow_tags = commas.iter().enumerate().filter_map(|(nth, &at)| {
            // Its space is behind as many others as there are commas before it.
            let space = at + nth;
            let end = read.tags.binary_search_by_key(&space, |mark| position(mark.index)).ok();
            end.map(|end| (at, read.tags[end].line)).or_else(|| Some((at, read.line_looked_at(&all, space)?)))
        });
        let follow_tags: Vec<(usize, u64)> = follow_tags.collect();
        let commas: Vec<usize> = follow_tags.iter().map(|(at, _)| *at).collect();
        let spaces = (0..).zip(&follow_tags).map(|(nth, (at, line))| (*at as u64 + nth, *line)).collect();
        Self { text: Cow::Owned(with_spaces(text, &commas)), spaces }
    }

    /// The text as it is.
    pub(super) fn unchanged(text: &'t str) -> Self {
        Self { text: Cow::Borrowed(text), spaces: Vec::new() }
    }

    /// Where what is at `mark` is in the text as it was written.
    pub(super) fn written(&self, mut mark: Mark) -> Mark {
        let before = self.spaces.partition_point(|(at, _)| *at < mark.index);
        let above = self.spaces[..before].partition_point(|(_, line)| *line < mark.line);
        let here = before - above;
        mark.index -= before as u64;
        mark.column = mark.column.saturating_sub(here as u64);
        mark
    }
}

/// Whether the comma at a place comes right behind what could be a tag.
fn may_follow_a_tag(text: &str, comma: usize) -> bool {
    /// As far as a key may be long, with the `:` behind it.
    const FURTHEST: usize = 1_024;
    let from = (comma.saturating_sub(FURTHEST)..comma).find(|at| text.is_char_boundary(*at)).unwrap_or(comma);
    let before = &text[from..comma];
    // No tag has one of these, but between `!<` and `>`.
    let is_outside = |c: char| is_break(c) || matches!(c, ' ' | '\t' | ',' | '[' | ']' | '{' | '}');
    let word = before.rsplit(is_outside).next().unwrap_or_default();
    if !word.contains('!') && !word.ends_with('>') {
        return false;
    }
    let together = before.rsplit(|c| is_break(c) || matches!(c, ' ' | '\t')).next().unwrap_or_default();
    let begins = |before: &str| {
        before.chars().next_back().is_none_or(|c| is_outside(c) || matches!(c, ':' | '?' | '"' | '\''))
    };
    let is_inside =
        together.rsplit_once("!<").is_some_and(|(before, rest)| begins(before) && !rest.contains('>'));
    // A line that begins with a `%` says what tags mean.
    !is_inside && !before.rsplit(is_break).next().unwrap_or_default().starts_with('%')
}

fn with_spaces(text: &str, commas: &[usize]) -> String {
    let mut spaced = String::with_capacity(text.len() + commas.len());
    let mut from = 0;
    for &comma in commas {
        spaced += &text[from..comma];
        spaced.push(' ');
        from = comma;
    }
    spaced + &text[from..]
}

/// What a parser says of a text in which no comma follows a tag.
struct Probe {
    /// The ends of tags that have nothing behind them, in lists and mappings with brackets.
    tags: Vec<Mark>,
    /// Where the last event ended, and how many brackets were open then, if the text is not YAML. The parser looks further ahead
    /// before it says so.
    refused_after: Option<(Mark, usize)>,
}

impl Probe {
    fn of(text: &str) -> Self {
        let mut parser = parser(Cow::Borrowed(text));
        let (mut brackets, mut tags, mut last) = (Vec::new(), Vec::new(), Mark::default());
        while let Ok(Event { data, end_mark, .. }) = parser.parse() {
            last = end_mark;
            match data {
                EventData::SequenceStart { style, .. } => brackets.push(style == SequenceStyle::Flow),
                EventData::MappingStart { style, .. } => brackets.push(style == MappingStyle::Flow),
                EventData::SequenceEnd | EventData::MappingEnd => {
                    brackets.pop();
                }
                EventData::Scalar { tag: Some(_), value, style: ScalarStyle::Plain, .. }
                    if value.is_empty() && brackets.last() == Some(&true) =>
                {
                    tags.push(end_mark);
                }
                EventData::StreamEnd => return Self { tags, refused_after: None },
                _ => {}
            }
        }
        let open = brackets.into_iter().filter(|is_open| *is_open).count();
        Self { tags, refused_after: Some((last, open)) }
    }

    /// The line of a `place` in a text that is refused, if the parser may look at it before it says so, and take it to be in
    /// brackets.
    fn line_looked_at(&self, text: &str, place: usize) -> Option<u64> {
        /// It looks 1,024 characters ahead for the `:` of a key.
        const FURTHEST: usize = 4 * 1_024;
        let (last, open) = self.refused_after?;
        let between = text.get(position(last.index)..place).filter(|between| between.len() <= FURTHEST)?;
        let lines = between.replace("\r\n", "\n").matches(is_break).count();
        (open > 0 || between.contains(['[', '{'])).then_some(last.line + lines as u64)
    }
}
