//! Characters that nobody sees, and that come along when text is copied from a web page. What is compared with them never
//! matches what clients send.

use std::fmt;

/// One of them. Shown with its name and its code point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invisible(pub(crate) char);

/// The first character of `text` that nobody sees.
pub(crate) fn invisible(text: &str) -> Option<Invisible> {
    if text.is_ascii() {
        return None;
    }
    let found = text.chars().find(|c| name(*c).is_some())?;
    // Some scripts and signs need joiners between their letters.
    let is_joiner = |c: &char| matches!(c, '\u{200c}' | '\u{200d}');
    if is_joiner(&found) && text.chars().any(|c| !c.is_ascii() && name(c).is_none()) {
        return text.chars().find(|c| name(*c).is_some() && !is_joiner(c)).map(Invisible);
    }
    Some(Invisible(found))
}

/// What to do about `typed`, if it is one of `known` but for characters that nobody sees.
pub(crate) fn unseen_in<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let found = invisible(typed)?;
    let seen: String = typed.chars().filter(|c| name(*c).is_none()).collect();
    known
        .into_iter()
        .find(|word| *word == seen)
        .map(|word| format!("there is {found} in it; type `{word}` anew"))
}

impl fmt::Display for Invisible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(character) = *self;
        write!(f, "{} (U+{:04X})", name(character).unwrap_or("a character"), u32::from(character))
    }
}

/// What a character is called that nobody sees, or that looks like a plain space. From the Unicode Character Database:
/// `Default_Ignorable_Code_Point`, without those that choose how the letter before them looks, and `Zs`.
fn name(character: char) -> Option<&'static str> {
    Some(match character {
        '\u{a0}' => "a no-break space",
        '\u{ad}' => "a soft hyphen",
        '\u{200b}' => "a zero-width space",
        '\u{200c}' => "a zero-width non-joiner",
        '\u{200d}' => "a zero-width joiner",
        '\u{200e}' => "a left-to-right mark",
        '\u{200f}' | '\u{61c}' => "a right-to-left mark",
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "a mark of the direction of writing",
        '\u{2028}' => "a line separator",
        '\u{2029}' => "a paragraph separator",
        '\u{202f}' => "a narrow no-break space",
        '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' | '\u{3000}' => "a space that is not the plain one",
        '\u{2060}' => "a word joiner",
        '\u{feff}' => "a byte order mark",
        '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180e}'
        | '\u{2061}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e00ff}' => "a character that is not shown",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_has_a_name_and_what_they_see_has_none() {
        for (text, told) in [
            ("a\u{a0}b", "a no-break space (U+00A0)"),
            ("\u{feff}a", "a byte order mark (U+FEFF)"),
            ("pa\u{ad}th", "a soft hyphen (U+00AD)"),
            ("a\u{200b}", "a zero-width space (U+200B)"),
            ("a\u{200d}b", "a zero-width joiner (U+200D)"),
            ("\u{202e}a", "a mark of the direction of writing (U+202E)"),
            ("ü\u{200d}\u{200b}", "a zero-width space (U+200B)"),
            ("a\u{e0041}", "a character that is not shown (U+E0041)"),
        ] {
            assert_eq!(invisible(text).map(|found| found.to_string()).as_deref(), Some(told), "{text:?}");
        }
        // Emoji of several parts, Persian, letters with marks of their own.
        for text in ["/api/v1 x", "größe", "👩\u{200d}🚀", "می\u{200c}خواهم", "❤\u{fe0f}", "e\u{301}", "日本"]
        {
            assert_eq!(invisible(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_word_is_known_without_what_nobody_sees() {
        let told = unseen_in("va\u{200b}lue", ["key", "value"]);
        assert_eq!(told.as_deref(), Some("there is a zero-width space (U+200B) in it; type `value` anew"));
        assert_eq!(unseen_in("va\u{200b}lues", ["key", "value"]), None);
        assert_eq!(unseen_in("value", ["key", "value"]), None);
    }
}
