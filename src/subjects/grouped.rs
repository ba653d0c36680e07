//! Attributes whose digits are grouped by commas inside braces: `{seats: 10,000}`.

use super::index::index;
use super::problem::{Place, Problems};
use crate::yaml::{self, Token};

/// A number that YAML may have taken apart, and where it is.
pub(super) struct Grouped(yaml::Grouped, Place);

impl Grouped {
    /// The number that a group of digits may follow, if `value` is one.
    pub(super) fn begin(value: &Token<'_>, at: Place) -> Option<Self> {
        Some(Self(yaml::Grouped::begin(plain(value), position(at))?, at))
    }

    /// Whether `key` is three digits right behind the comma that ended the number.
    pub(super) fn is_followed_by(&self, key: &Token<'_>, at: Place) -> bool {
        self.0.is_followed_by(plain(key), position(at))
    }

    /// Takes in `key`, which follows and has no value.
    pub(super) fn push(&mut self, key: &Token<'_>) {
        self.0.push(plain(key).unwrap_or_default());
    }

    /// Reports the number if YAML took it apart. A credential's attribute `is_secret`: the message does not show it.
    pub(super) fn finish(number: Option<Self>, problems: &mut Problems, is_secret: bool) {
        let Some(Self(number, at)) = number else { return };
        if let Some((length, message, hint)) = number.finish(is_secret) {
            problems.add(Place { length: index(length), ..at }, message, Some(hint));
        }
    }
}

fn plain<'t>(token: &'t Token<'_>) -> Option<&'t str> {
    if let Token::Scalar { text, plain: true } = token { Some(text) } else { None }
}

fn position(at: Place) -> (usize, usize) {
    (at.line as usize, at.column as usize)
}
