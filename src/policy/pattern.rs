//! `*` in a policy's values.

/// Text in which each `*` stands for any bytes, none included. Everything else stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<[u8]>,
    /// Where the first `*` is: what stands before it is compared first.
    first_star: usize,
}

impl Pattern {
    /// `text` as a pattern, when it holds a `*`.
    pub fn parse(text: &str) -> Option<Self> {
        let first_star = text.find('*')?;
        Some(Self { text: text.as_bytes().into(), first_star })
    }

    /// The pattern as it was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// A byte that no pattern has, for patterns are UTF-8: it fits nothing but a `*`.
    pub(super) const OTHER: &[u8] = b"\xff";

    /// A value that fits just those patterns which every value that fits this one fits, too.
    pub(super) fn broadest(&self) -> Vec<u8> {
        self.text.iter().map(|byte| if *byte == b'*' { Self::OTHER[0] } else { *byte }).collect()
    }

    /// What stands before the first `*`, between the stars, and after the last.
    pub(super) fn parts(&self) -> (&[u8], impl Iterator<Item = &[u8]>, &[u8]) {
        let (stem, rest) = (&self.text[..self.first_star], &self.text[self.first_star + 1..]);
        let last = rest.iter().rposition(|&byte| byte == b'*');
        let (between, end) = match last {
            Some(star) => (Some(&rest[..star]), &rest[star + 1..]),
            None => (None, rest),
        };
        (stem, between.into_iter().flat_map(|between| between.split(|&byte| byte == b'*')), end)
    }

    /// Whether `value` begins as it does and is long enough.
    pub(super) fn could_fit(&self, value: &[u8]) -> bool {
        let stars = self.text.split(|&byte| byte == b'*').count() - 1;
        value.len() + stars >= self.text.len() && value.starts_with(&self.text[..self.first_star])
    }

    /// Whether `value` fits, in time proportional to both lengths times the number of stars at worst. A level looks for all
    /// of its patterns at once.
    pub fn matches(&self, value: &[u8]) -> bool {
        let Some(mut rest) = value.strip_prefix(&self.text[..self.first_star]) else { return false };
        // Every part between two stars is taken at its first occurrence, which leaves the most for the parts after it.
        let mut parts = self.text[self.first_star + 1..].split(|&byte| byte == b'*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            let Some(at) = find(rest, part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Pattern;

    /// The slow, obvious meaning of a star.
    fn model(pattern: &[u8], value: &[u8]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            Some((b'*', rest)) => (0..=value.len()).any(|skipped| model(rest, &value[skipped..])),
            Some((byte, rest)) => value.first() == Some(byte) && model(rest, &value[1..]),
        }
    }

    #[test]
    fn a_star_stands_for_any_bytes() {
        for (pattern, fits, fails) in [
            ("*", &["", "a", "a/b"][..], &[][..]),
            ("/api/*", &["/api/", "/api/v1"], &["/api", "x/api/"]),
            ("*.pdf", &[".pdf", "a.pdf", "a.pdf.pdf"], &["a.pdf.exe"]),
            ("a*b*c", &["abc", "a-b-c", "abbcc"], &["acb", "ab", "abcd"]),
            ("a**b", &["ab", "a*b"], &["a"]),
        ] {
            let compiled = Pattern::parse(pattern).unwrap();
            for value in fits {
                assert!(compiled.matches(value.as_bytes()), "{pattern} should fit {value}");
            }
            for value in fails {
                assert!(!compiled.matches(value.as_bytes()), "{pattern} should not fit {value}");
            }
        }
        assert_eq!(Pattern::parse("plain"), None);
    }

    proptest! {
        #[test]
        fn its_broadest_value_fits_whatever_takes_all_of_its_values(
            outer in "[ab*]{0,4}\\*[ab*]{0,4}",
            inner in "[ab*]{0,4}\\*[ab*]{0,4}",
            values in proptest::collection::vec("[abc]{0,8}", 64),
        ) {
            let (outer, inner) = (Pattern::parse(&outer).unwrap(), Pattern::parse(&inner).unwrap());
            if outer.matches(&inner.broadest()) {
                for value in values.iter().filter(|value| inner.matches(value.as_bytes())) {
                    prop_assert!(outer.matches(value.as_bytes()), "{value}");
                }
            }
        }

        #[test]
        fn agrees_with_trying_every_way(pattern in "[ab*]{0,6}\\*[ab*]{0,6}", value in "[ab]{0,12}") {
            let compiled = Pattern::parse(&pattern).unwrap();
            prop_assert_eq!(compiled.matches(value.as_bytes()), model(pattern.as_bytes(), value.as_bytes()));
        }
    }
}
