//! The characters that an authority may have, and substitutes for the others.

use http::uri::Authority;

use super::hpack::Coding;

/// Characters that are valid anywhere in an authority: `unreserved` and `sub-delims` of RFC 3986 §2. An authority that has no
/// others is always valid.
const fn harmless(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
        || matches!(byte, b'*' | b'+' | b',' | b';' | b'=')
}

/// Characters that are valid in some places of an authority.
const fn delimiter(byte: u8) -> bool {
    matches!(byte, b':' | b'@' | b'[' | b']' | b'%')
}

/// The harmless character that replaces `byte`, with a Huffman code of the same length. There is none for `#`, `>`, `^`, `}`,
/// `<`, `` ` ``, `{`, `\`, most controls and all bytes beyond ASCII.
const fn substitute(byte: u8) -> Option<u8> {
    match byte {
        b' ' | b'%' | b'/' => Some(b'-'),
        b':' => Some(b'x'),
        b'"' | b'?' => Some(b'!'),
        b'|' => Some(b'+'),
        b'@' | b'[' | b']' | b'\0' => Some(b'~'),
        _ => None,
    }
}

/// Whether h2 accepts this authority. A name or address with at most one colon, for a port, is valid without a call of the
/// parser, which allocates.
pub(super) fn acceptable(value: &[u8]) -> bool {
    let mut others = value.iter().filter(|&&byte| !harmless(byte));
    matches!((others.next(), others.next()), (None | Some(b':'), None)) || Authority::try_from(value).is_ok()
}

/// Makes `value` acceptable with as few changes as possible. First it replaces the characters that no authority may have;
/// then, if the value is still invalid, also brackets, colons and other delimiters. None if a character has no substitute.
pub(super) fn sanitize(value: &mut [u8], coding: Coding) -> Option<()> {
    replace(value, coding, |byte| !harmless(byte) && !delimiter(byte))?;
    if !acceptable(value) {
        replace(value, coding, |byte| !harmless(byte))?;
    }
    Some(())
}

fn replace(value: &mut [u8], coding: Coding, unwanted: impl Fn(u8) -> bool) -> Option<()> {
    for byte in value.iter_mut().filter(|byte| unwanted(**byte)) {
        *byte = match (substitute(*byte), coding) {
            (Some(other), _) => other,
            (None, Coding::Raw) => b'-',
            (None, Coding::Huffman) => return None,
        };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rls::http2::authority::huffman::LENGTHS;

    #[test]
    fn a_substitute_is_harmless_and_its_code_as_long_as_the_original() {
        for byte in 0..=u8::MAX {
            if let Some(other) = substitute(byte) {
                assert!(harmless(other) && !harmless(byte), "{byte:#x}");
                assert_eq!(LENGTHS[usize::from(other)], LENGTHS[usize::from(byte)], "{byte:#x}");
            }
        }
    }

    #[test]
    fn every_character_without_a_substitute_has_no_harmless_one_as_long() {
        let lengths: Vec<u8> =
            (0..=u8::MAX).filter(|&byte| harmless(byte)).map(|byte| LENGTHS[usize::from(byte)]).collect();
        for byte in 0..=u8::MAX {
            assert_eq!(
                harmless(byte) || substitute(byte).is_some(),
                lengths.contains(&LENGTHS[usize::from(byte)]),
                "{byte:#x}"
            );
        }
    }

    #[test]
    fn every_harmless_character_and_delimiter_is_one_http_knows() {
        for byte in 0..=u8::MAX {
            assert_eq!(
                Authority::try_from([byte].as_slice()).is_ok(),
                harmless(byte) || byte == b':',
                "{byte:#x}"
            );
        }
        assert!("a%b:c@[::1]:80".parse::<Authority>().is_ok());
    }

    proptest! {
        #[test]
        fn what_is_called_acceptable_is_what_http_accepts(
            value in "[a-zA-Z0-9.:_|%@\\[\\]/ -]{1,20}",
        ) {
            prop_assert_eq!(
                acceptable(value.as_bytes()),
                value.parse::<Authority>().is_ok()
            );
        }

        #[test]
        fn anything_sent_raw_can_be_made_acceptable(
            mut value in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            prop_assert!(sanitize(&mut value, Coding::Raw).is_some());
            prop_assert!(Authority::try_from(value.as_slice()).is_ok());
        }

        #[test]
        fn what_is_made_acceptable_keeps_its_coded_length(
            original in "[a-z:|%@/ \\[\\]]{1,40}",
        ) {
            let mut value = original.clone().into_bytes();
            prop_assert!(sanitize(&mut value, Coding::Huffman).is_some());
            prop_assert!(Authority::try_from(value.as_slice()).is_ok());
            let lengths = |text: &[u8]| -> Vec<u8> {
                text.iter().map(|&byte| LENGTHS[usize::from(byte)]).collect()
            };
            prop_assert_eq!(lengths(&value), lengths(original.as_bytes()));
        }
    }
}
