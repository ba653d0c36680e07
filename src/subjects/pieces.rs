//! Reading a large text on several cores.
//!
//! A text of the usual shape is cut before items of its list of subjects, and the pieces are read side by side:
//!
//! ```yaml
//! # comments, `---`, or `tiers:`
//! subjects:
//!   - id: acme        # cut only before lines that begin like the first item: as many spaces, then `- `
//!   - …
//! tiers: …            # or nothing
//! ```
//!
//! Nothing inside an item may begin a line as far left as the item does, unless it is in quotes or brackets that are
//! still open, and then the piece before does not end like YAML. So the pieces together mean what the text means
//! whenever each alone is without a mistake, an anchor or a second document. If one is not, the text is read again,
//! as a whole, and that alone counts: it says where every mistake is.

use std::thread;

use super::directory::Directory;
use super::draft::Draft;
use super::problem::{Place, Problem, Problems};
use super::read::{Reader, whole};
use super::table::index;
use super::words::Word;

/// The places in a text are 32 bits long, and aliases may repeat a part of it.
const LONGEST: usize = 1 << 31;
/// Shorter pieces, in bytes, are not worth a thread.
const SHORTEST_PIECE: usize = 1 << 20;

/// The directory that `text` describes, or everything that is wrong with it.
pub(super) fn parse(text: &str) -> Result<Directory, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let refused = |at, message: String| {
        let mut problems = Problems::default();
        problems.add(at, message, None);
        Err(problems.finish())
    };
    if text.len() > LONGEST {
        let message = format!("a subjects file of {} bytes; the most is {LONGEST}", text.len());
        return refused(Place { line: 1, column: 1, length: 1 }, message);
    }
    if let Some(at) = text.find('\0') {
        let before = &text[..at];
        let line = index(before.matches('\n').count() + 1);
        let column = index(before.chars().rev().take_while(|c| *c != '\n').count() + 1);
        // The parser would take it for the end of the text, and the rest would be lost without a word.
        return refused(Place { line, column, length: 1 }, "a zero byte, which no YAML has".to_owned());
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let pieces = threads.min(text.len() / SHORTEST_PIECE);
    in_pieces(text, pieces).map_or_else(|| whole(text), Ok)
}

/// The directory that `text` describes, read in up to `most` pieces; none when that does not work out.
pub(super) fn in_pieces(text: &str, most: usize) -> Option<Directory> {
    let Cut { before, pieces, after } = cut(text, most)?;
    let rest = [section(before)?, section(after)?];
    if rest.iter().all(|draft| draft.tiers.is_some()) {
        return None;
    }
    let drafts: Option<Vec<Draft>> = thread::scope(|scope| {
        let threads: Vec<_> = pieces.iter().map(|piece| scope.spawn(|| items(piece))).collect();
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    });
    let mut drafts = drafts?.into_iter();
    let mut draft = drafts.next()?;
    drafts.chain(rest).for_each(|later| draft.absorb(later));
    let mut problems = Problems::default();
    let directory = draft.finish(&mut problems);
    problems.is_empty().then_some(directory)
}

/// What a piece of the list of subjects says.
fn items(piece: &str) -> Option<Draft> {
    let mut reader = Reader::new(piece);
    let complete = reader.subjects().is_ok();
    (complete && reader.is_plain()).then_some(reader.draft)
}

/// What stands before or after the list of subjects says.
fn section(text: &str) -> Option<Draft> {
    let mut reader = Reader::new(text);
    let (seen, _) = reader.document().ok()?;
    (reader.is_plain() && !seen?.has(Word::Subjects)).then_some(reader.draft)
}

struct Cut<'t> {
    before: &'t str,
    /// Two at least.
    pieces: Vec<&'t str>,
    after: &'t str,
}

/// Cuts a text of the usual shape.
fn cut(text: &str, most: usize) -> Option<Cut<'_>> {
    let mut at = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        at += line.len();
        (at - line.len(), line)
    });
    let mut lines = lines.filter(|(_, line)| !is_empty(line)).peekable();
    lines.next_if(|(_, line)| line.trim_end() == "---");
    let (mut start, mut line) = lines.next()?;
    if line.starts_with("tiers:") {
        (start, line) = lines.find(|(_, line)| line.starts_with("subjects:"))?;
    }
    let rest = line.strip_prefix("subjects:")?;
    let (first, item) = lines.next()?;
    let indentation = item.len() - item.trim_start_matches(' ').len();
    if !rest.starts_with([' ', '\r', '\n']) || !is_empty(rest) || !item[indentation..].starts_with("- ") {
        return None;
    }
    let end = text[first..].rfind("\ntiers:").map_or(text.len(), |at| first + at + 1);
    let pieces = split(&text[first..end], &format!("\n{}- ", &item[..indentation]), most);
    (pieces.len() > 1).then_some(Cut { before: &text[..start], pieces, after: &text[end..] })
}

/// `list` in up to `most` pieces of about the same length, each but the first beginning after the line break of a
/// `mark`.
fn split<'t>(mut list: &'t str, mark: &str, most: usize) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    for left in (2..=most).rev() {
        let mut from = list.len() / left;
        while !list.is_char_boundary(from) {
            from += 1;
        }
        let Some(found) = list[from..].find(mark) else { break };
        let (piece, rest) = list.split_at(from + found + 1);
        pieces.push(piece);
        list = rest;
    }
    pieces.push(list);
    pieces
}

/// Whether `line` is blank or a comment. A carriage return alone would begin another line.
fn is_empty(line: &str) -> bool {
    let line = line.trim_end_matches(['\r', '\n']).trim_matches(' ');
    line.is_empty() || line.starts_with('#') && !line.contains('\r')
}
