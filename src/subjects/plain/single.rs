//! Single values on one line.

use std::borrow::Cow;

use super::Plain;
use crate::subjects::problem::Place;
use crate::subjects::table::index;
use crate::yaml::Token;

impl<'t> Plain<'t> {
    /// A single value without escapes, which is all on this line.
    pub(super) fn scalar(&mut self) -> Option<(Token<'t>, Place)> {
        let at = self.here();
        let rest = &self.text[self.at..];
        let first = rest.bytes().next()?;
        let (text, length) = if matches!(first, b'"' | b'\'') {
            let text = &rest[1..][..quoted(&rest[1..], first)?];
            (text, text.len() + 2)
        } else {
            let text = &rest[..unquoted(rest)?];
            (text, text.len())
        };
        let wide = text.len() - text.chars().count();
        self.at += length;
        self.before_line += wide;
        let token = Token::Scalar { text: Cow::Borrowed(text), plain: length == text.len() };
        Some((token, Place { length: index(length - wide), ..at }))
    }
}

/// How long the text is that ends before `quote`, if nothing in it needs a closer look.
fn quoted(text: &str, quote: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            b if b == quote => return (bytes.get(at + 1) != Some(&quote)).then_some(at),
            b'\\' => return None,
            b' '..=b'~' => at += 1,
            _ => at += letter(&text[at..])?,
        }
    }
}

/// How long the text is that `text` begins with, if it needs neither quotes nor a closer look.
fn unquoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match *bytes.first()? {
        b if b.is_ascii_alphanumeric() || !b.is_ascii() => {}
        b'-' | b'.' if bytes.get(1).is_some_and(u8::is_ascii_alphanumeric) => {}
        b'_' | b'/' | b'+' | b'$' => {}
        _ => return None,
    }
    // `end` is after the last character that is not a space.
    let (mut at, mut end) = (0, 0);
    loop {
        at += match bytes.get(at) {
            None | Some(b'\n' | b',' | b']' | b'}') => return Some(end),
            Some(b':') if !bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric) => return Some(end),
            Some(b'#') => return (end < at).then_some(end),
            Some(b' ') => {
                at += 1;
                continue;
            }
            Some(b'[' | b'{') => return None,
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'/' | b'+' | b'$' | b'&' | b'(') => 1,
            // Some of them mean something where a word begins.
            Some(b'!'..=b'~') if end == at => 1,
            Some(_) => letter(&text[at..])?,
        };
        end = at;
    }
}

/// The length of the first character, if it is a letter or a digit of some language.
fn letter(text: &str) -> Option<usize> {
    text.chars().next().filter(|c| c.is_alphanumeric()).map(char::len_utf8)
}
