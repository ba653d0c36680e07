//! Digits that are grouped by commas inside braces: `{seats: 10,000}` is 10 and an attribute `000` to YAML.

use super::index::index;
use super::problem::{Place, Problems};
use crate::yaml::Token;

/// A number that YAML may have taken apart.
pub(super) struct Grouped {
    at: Place,
    /// As it was typed, so far.
    text: String,
    groups: usize,
}

impl Grouped {
    /// The number that a group of digits may follow, if `value` is one.
    pub(super) fn begin(value: &Token<'_>, at: Place) -> Option<Self> {
        let text = plain(value).filter(|text| (1..=3).contains(&text.len()) && digits(text))?;
        Some(Self { at, text: text.to_owned(), groups: 0 })
    }

    /// Whether `key` is three digits right behind the comma that ended the number.
    pub(super) fn is_followed_by(&self, key: &Token<'_>, at: Place) -> bool {
        let behind = self.at.column as usize + self.text.len() + 1;
        let is_group = plain(key).is_some_and(|text| text.len() == 3 && digits(text));
        is_group && (at.line, at.column as usize) == (self.at.line, behind)
    }

    /// Takes in `key`, which follows and has no value.
    pub(super) fn push(&mut self, key: &Token<'_>) {
        self.text += &format!(",{}", plain(key).unwrap_or_default());
        self.groups += 1;
    }

    /// Reports the number if YAML took it apart. A credential's attribute `is_secret`: the message does not show it.
    pub(super) fn finish(number: Option<Self>, problems: &mut Problems, is_secret: bool) {
        let Some(Self { at, text, groups: 1.. }) = number else { return };
        let without = text.replace(',', "");
        let (number, digits) = if is_secret {
            ("this".to_owned(), "as in `10000`".to_owned())
        } else {
            (format!("`{text}`"), format!("`{without}`"))
        };
        let at = Place { length: index(text.len()), ..at };
        let message = format!("{number} is no number inside braces, where a comma ends it");
        problems.add(at, message, Some(format!("write the digits alone, {digits}")));
    }
}

fn plain<'t>(token: &'t Token<'_>) -> Option<&'t str> {
    if let Token::Scalar { text, plain: true } = token { Some(text) } else { None }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
