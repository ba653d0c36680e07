//! What a request target says about the endpoint, and what it cannot.
//!
//! A client must not leave an endpoint's limit by decorating its path, so what upstreams commonly take no notice of is
//! put aside here: the query, the fragment, empty segments, `%41` for `A` (RFC 3986 §6.2.2), parameters of a segment
//! (`;v=1`), and white space, dots or an encoded slash at a segment's end. Dot segments stay what they are, for what
//! they mean depends on the upstream; Envoy's `normalize_path` is for them.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::MAX_TEMPLATE_SEGMENTS;

/// The segments of a path, as many as distinguish endpoints.
pub(super) type Segments<'t> = SmallVec<[Segment<'t>; 8]>;

/// One segment of a path.
#[derive(Clone, Debug)]
pub(super) struct Segment<'t> {
    text: Cow<'t, [u8]>,
    /// How much of `text` is left without its parameters and its end.
    plain: usize,
    /// How much of that is left without a format.
    bare: usize,
}

impl<'t> Segment<'t> {
    /// `None` where nothing but parameters was sent, which is an empty segment.
    pub(super) fn read(sent: &'t [u8], ignore_case: bool) -> Option<Self> {
        let text = decoded(sent, ignore_case);
        let plain = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
        let plain = without_end(&text[..plain]);
        (plain > 0).then_some(Self { text, plain, bare: plain })
    }

    /// Puts the format aside, as in `leads.json`. It stands in the last segment of a path only.
    fn end(&mut self) {
        let plain = &self.text[..self.plain];
        let dot = plain.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
        self.bare = dot.filter(|dot| is_format(&plain[dot + 1..])).unwrap_or(self.plain);
    }

    /// The literals that it may stand for: first as it was sent, then without each of what decorates it.
    pub(super) fn forms(&self) -> impl Iterator<Item = &[u8]> {
        let whole = self.text.len();
        let lengths = [Some(whole), Some(self.plain), Some(self.bare)];
        let others = [None, Some(whole), Some(self.plain)];
        lengths
            .into_iter()
            .zip(others)
            .filter(|(length, before)| length != before)
            .filter_map(|(length, _)| self.text.get(..length?))
    }

    /// Without all that decorates it.
    pub(super) fn bare(&self) -> &[u8] {
        &self.text[..self.bare]
    }
}

/// The path of a request target: without query and fragment, and without `http://host` before it.
pub(super) fn path(target: &[u8]) -> &[u8] {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    let target = &target[..end];
    if target.starts_with(b"/") {
        return target;
    }
    let Some(colon) = target.windows(3).position(|three| three == b"://") else { return target };
    let is_scheme_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if colon == 0 || !target[..colon].iter().all(is_scheme_byte) {
        return target;
    }
    let authority = &target[colon + 3..];
    let start = authority.iter().position(|byte| *byte == b'/').unwrap_or(authority.len());
    &authority[start..]
}

/// What stands between the slashes of a path.
pub(super) fn split(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty())
}

/// The segments of a path: those that a template can have, and one more.
pub(super) fn segments(path: &[u8], ignore_case: bool) -> Segments<'_> {
    let mut all = split(path).filter_map(|sent| Segment::read(sent, ignore_case));
    let mut segments: Segments<'_> = all.by_ref().take(MAX_TEMPLATE_SEGMENTS + 1).collect();
    if let (Some(last), None) = (segments.last_mut(), all.next()) {
        last.end();
    }
    segments
}

/// The literals that a literal of a template may be taken for as a segment of a request, itself first.
pub(super) fn forms_of(literal: &[u8]) -> Option<Segment<'_>> {
    let mut segment = Segment::read(literal, false)?;
    segment.end();
    Some(segment)
}

/// `sent` with each byte that is encoded without need decoded, and in lower case if case does not matter.
pub(super) fn decoded(sent: &[u8], ignore_case: bool) -> Cow<'_, [u8]> {
    let lowered = ignore_case && sent.iter().any(u8::is_ascii_uppercase);
    if !lowered && !sent.contains(&b'%') {
        return Cow::Borrowed(sent);
    }
    let mut text = Vec::with_capacity(sent.len());
    let mut rest = sent;
    while let [first, after @ ..] = rest {
        rest = after;
        match encoded(*first, after) {
            Some(byte) if !means_another_thing_decoded(byte) => {
                text.push(byte);
                rest = &after[2..];
            }
            // `%2f` and `%2F` are one.
            Some(_) => {
                text.push(b'%');
                text.extend(after[..2].iter().map(u8::to_ascii_uppercase));
                rest = &after[2..];
            }
            None => text.push(*first),
        }
    }
    if ignore_case {
        text.make_ascii_lowercase();
    }
    Cow::Owned(text)
}

/// The byte that `%` and two digits stand for.
fn encoded(first: u8, after: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match (first, after) {
        (b'%', [high, low, ..]) => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// Decoded, these would end a segment, a path or a parameter, or stand for another byte still.
const fn means_another_thing_decoded(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | 0x7f | b'/' | b'\\' | b'%' | b';' | b'?' | b'#')
}

/// How much of `text` is left without white space, control characters, dots and encoded slashes at its end. All of it
/// if it consists of nothing else, as `..` does.
fn without_end(text: &[u8]) -> usize {
    let mut rest = text;
    loop {
        rest = match rest {
            [before @ .., b'%', high, low]
                if encoded(b'%', &[*high, *low])
                    .is_some_and(|byte| matches!(byte, 0..=b' ' | 0x7f | b'/' | b'\\')) =>
            {
                before
            }
            [before @ .., 0..=b' ' | 0x7f | b'.'] => before,
            [] => return text.len(),
            _ => return rest.len(),
        };
    }
}

/// Whether frameworks take `text` at the end of a path for the form in which its resource is wanted.
fn is_format(text: &[u8]) -> bool {
    const FORMATS: [&str; 12] =
        ["atom", "csv", "htm", "html", "js", "json", "pdf", "rss", "txt", "xml", "yaml", "yml"];
    FORMATS.iter().any(|format| format.as_bytes().eq_ignore_ascii_case(text))
}
