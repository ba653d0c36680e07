//! What becomes of a text that a client may have sent, before it stands in an answer.

/// The most bytes of one text, and of one header value. Envoy takes 50 KB values and clients do not.
pub(super) const MAX_BYTES: usize = 4096;

/// The most bytes of all entries' values in one body together, before they are escaped.
pub(super) const MAX_TEXTS: usize = 4 * MAX_BYTES;

/// How texts are made safe for where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// Inside a JSON string literal. The text reads back as it was.
    Json,
    /// In HTML or XML, between tags or inside a quoted attribute. Controls are dropped.
    Markup,
    /// In any other type. Controls are dropped.
    Plain,
    /// In a header's value for the upstream, which may know somebody by it: percent-encoded, so that no two texts become
    /// one. Once decoded (RFC 3986 §2.1), it is the text to the byte.
    Percent,
}

impl Escape {
    /// Appends `text`, cut to [`MAX_BYTES`] and to what `allowance` has left; what is not UTF-8 becomes U+FFFD.
    ///
    /// Percent-encoded, `text` is not cut and nothing is taken from the allowance: what is longer than [`MAX_BYTES`] comes out
    /// longer, and is not to be sent.
    pub(super) fn write(self, text: &[u8], allowance: &mut Allowance, out: &mut String) {
        if self == Self::Percent {
            return percent_encode(text.get(..=MAX_BYTES).unwrap_or(text), out);
        }
        let text = cut(text, MAX_BYTES.min(allowance.0));
        allowance.0 -= text.len();
        for chunk in text.utf8_chunks() {
            let mut rest = chunk.valid();
            loop {
                let plain = rest.bytes().position(|byte| !self.stays(byte)).unwrap_or(rest.len());
                out.push_str(&rest[..plain]);
                let mut after = rest[plain..].chars();
                let Some(c) = after.next() else { break };
                self.write_char(c, out);
                rest = after.as_str();
            }
            if !chunk.invalid().is_empty() {
                self.write_char(char::REPLACEMENT_CHARACTER, out);
            }
        }
    }

    /// Whether `byte` is a character that is written as it is.
    fn stays(self, byte: u8) -> bool {
        let is_special = match self {
            Self::Json => matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&'),
            Self::Markup => matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\''),
            Self::Plain | Self::Percent => false,
        };
        is_visible(byte) && !is_special
    }

    fn write_char(self, c: char, out: &mut String) {
        match (self, c) {
            (Self::Json, '"') => out.push_str("\\\""),
            (Self::Json, '\\') => out.push_str("\\\\"),
            // Escaped beyond what JSON asks, for readers that take a body for HTML or for a script. All of these are
            // in the Basic Multilingual Plane, so four digits suffice.
            (Self::Json, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => unicode_escape(c, out),
            (Self::Json, c) if c.is_control() => unicode_escape(c, out),
            (Self::Markup, '&') => out.push_str("&amp;"),
            (Self::Markup, '<') => out.push_str("&lt;"),
            (Self::Markup, '>') => out.push_str("&gt;"),
            (Self::Markup, '"') => out.push_str("&quot;"),
            (Self::Markup, '\'') => out.push_str("&#39;"),
            (Self::Markup | Self::Plain, c) if c.is_control() => {}
            _ => out.push(c),
        }
    }
}

/// Appends the lower six bytes of `number` in base64 (RFC 4648 §4), which are eight characters without padding.
pub(super) fn base64(number: u64, out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for shift in (0..48).step_by(6).rev() {
        let six = usize::try_from(number >> shift & 63).unwrap_or_default();
        out.push(ALPHABET[six].into());
    }
}

/// How many bytes of entries' values may still be shown by one body. A value that is shown again and again
/// counts each time, or a client could have megabytes made of one long value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance(usize);

impl Allowance {
    /// That of a new one: [`MAX_TEXTS`].
    pub(super) fn whole() -> Self {
        Self(MAX_TEXTS)
    }
}

fn unicode_escape(c: char, out: &mut String) {
    out.push_str(&format!("\\u{:04x}", u32::from(c)));
}

/// The first `most` bytes of `text`, without half a character at the end.
fn cut(text: &[u8], most: usize) -> &[u8] {
    let is_inside = |at: usize| text.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    // A character has at most three bytes after its first: longer runs are no UTF-8 and need no care.
    let end = (most.saturating_sub(3)..=most).rev().find(|&end| !is_inside(end)).unwrap_or(most);
    text.get(..end).unwrap_or(text)
}

/// Whether a header value may hold `byte`: visible ASCII or a space. Envoy would also send what is not, and so split
/// a response (CR LF) or break a stream.
pub(super) fn is_visible(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Appends `text` with each byte percent-encoded that no header may carry, each `%`, and a space at either end, where readers
/// of headers take it off.
fn percent_encode(text: &[u8], out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (at, &byte) in text.iter().enumerate() {
        let is_lost = byte == b' ' && (at == 0 || at == last);
        if is_visible(byte) && byte != b'%' && !is_lost {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Makes a header value of what stands in `text` from `start` on: visible, without space around it, of at most
/// [`MAX_BYTES`].
pub(super) fn make_header_value(text: &mut String, start: usize) {
    if !text.as_bytes()[start..].iter().copied().all(is_visible) {
        let visible: String =
            text[start..].chars().filter(|&c| u8::try_from(c).is_ok_and(is_visible)).collect();
        text.truncate(start);
        text.push_str(&visible);
    }
    // All of it is ASCII by now, so any place is a good place to cut.
    text.truncate(start + MAX_BYTES);
    text.truncate(start + text[start..].trim_end().len());
    let leading = text[start..].len() - text[start..].trim_start().len();
    text.drain(start..start + leading);
}

/// Appends `text` as a structured-field String (RFC 9651 §3.3.3): quoted, escaped, visible ASCII only.
pub(super) fn structured_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars().filter(|&c| u8::try_from(c).is_ok_and(is_visible)) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header_value(text: &str) -> String {
        let mut out = "before".to_owned() + text;
        make_header_value(&mut out, "before".len());
        out.strip_prefix("before").unwrap().to_owned()
    }

    fn escaped(escape: Escape, text: &[u8]) -> String {
        let mut out = String::new();
        escape.write(text, &mut Allowance::whole(), &mut out);
        out
    }

    #[test]
    fn a_text_is_made_safe_for_where_it_stands() {
        for (escape, text, expected) in [
            (Escape::Json, &b"acme"[..], "acme"),
            (Escape::Json, b"a\"b\\c", r#"a\"b\\c"#),
            (Escape::Json, b"a\r\n\0\x1b", r"a\u000d\u000a\u0000\u001b"),
            (Escape::Json, "\u{7f}\u{85}\u{2028}".as_bytes(), r"\u007f\u0085\u2028"),
            (Escape::Json, b"</script>&", r"\u003c/script\u003e\u0026"),
            (Escape::Json, "café 🦀".as_bytes(), "café 🦀"),
            (Escape::Json, b"good\xff", "good\u{fffd}"),
            (Escape::Plain, "a\r\nb\0\u{85}\tc<\u{1b}".as_bytes(), "abc<"),
            (Escape::Plain, b"good\xff", "good\u{fffd}"),
            (Escape::Markup, b"<b class=\"x\">'&'\r\n", "&lt;b class=&quot;x&quot;&gt;&#39;&amp;&#39;"),
        ] {
            assert_eq!(escaped(escape, text), expected, "{escape:?} of {text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        for (text, expected) in [
            ("x".repeat(MAX_BYTES), MAX_BYTES),
            ("x".repeat(MAX_BYTES + 1), MAX_BYTES),
            ("é".repeat(MAX_BYTES), MAX_BYTES),
            (format!("x{}", "é".repeat(MAX_BYTES)), MAX_BYTES - 1),
            ("€".repeat(MAX_BYTES), MAX_BYTES - 1),
            (format!("{}🦀", "x".repeat(MAX_BYTES - 1)), MAX_BYTES - 1),
        ] {
            let cut = escaped(Escape::Plain, text.as_bytes());
            assert_eq!((cut.len(), cut.contains('\u{fffd}')), (expected, false));
        }
        assert_eq!(escaped(Escape::Plain, &vec![0x80; 70_000]).chars().count(), MAX_BYTES);
    }

    #[test]
    fn a_header_value_is_visible_and_short() {
        for (text, expected) in [
            ("60", "60"),
            ("1\r\nx-evil: 1", "1x-evil: 1"),
            (" \t a b\u{a0}\0 ", "a b"),
            ("café", "caf"),
            ("\r\n", ""),
        ] {
            assert_eq!(header_value(text), expected);
        }
        assert_eq!(header_value(&"x".repeat(70_000)).len(), MAX_BYTES);
    }

    #[test]
    fn percent_encoded_texts_stay_different() {
        for (text, expected) in [
            (&b"acme"[..], "acme"),
            ("acm\u{e9}".as_bytes(), "acm%C3%A9"),
            (b"acm%C3%A9", "acm%25C3%25A9"),
            (b"acm\xe9", "acm%E9"),
            (b" a b ", "%20a b%20"),
            (b" ", "%20"),
            (b"\r\n\t\0\x7f", "%0D%0A%09%00%7F"),
            (b"", ""),
        ] {
            assert_eq!(escaped(Escape::Percent, text), expected, "{text:?}");
        }
        assert_eq!(escaped(Escape::Percent, &vec![b'x'; 70_000]).len(), MAX_BYTES + 1);
    }

    proptest! {
        #[test]
        fn a_percent_encoded_text_is_fit_for_a_header_and_reads_back(text: Vec<u8>) {
            let encoded = escaped(Escape::Percent, &text);
            let mut trimmed = encoded.clone();
            make_header_value(&mut trimmed, 0);
            prop_assert_eq!(&trimmed, &encoded);
            let mut pieces = encoded.split('%');
            let mut decoded = pieces.next().unwrap().as_bytes().to_vec();
            for piece in pieces {
                decoded.push(u8::from_str_radix(&piece[..2], 16).unwrap());
                decoded.extend_from_slice(&piece.as_bytes()[2..]);
            }
            prop_assert_eq!(decoded, text);
        }

        #[test]
        fn a_json_string_reads_back_as_the_text(text in any::<String>()) {
            let literal = format!("\"{}\"", escaped(Escape::Json, text.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&literal).unwrap(), text);
        }

        #[test]
        fn no_bytes_leave_a_control_or_a_bracket_behind(
            text in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..0x20, Just(b'<'), Just(b'"')], 0..200),
        ) {
            for escape in [Escape::Json, Escape::Markup, Escape::Plain] {
                let safe = escaped(escape, &text);
                prop_assert!(!safe.chars().any(char::is_control));
                prop_assert!(escape == Escape::Plain || !safe.contains(['<', '>']));
            }
            prop_assert!(header_value(&String::from_utf8_lossy(&text)).bytes().all(is_visible));
        }
    }
}
