//! Finds and sanitizes authorities in the bytes of one connection, without I/O.

use super::InvalidAuthority;
use super::characters::{acceptable, sanitize};
use super::frame::{FRAME_HEADER, FrameHead, PREFACE};
use super::hpack::{Coding, for_each_authority};
use super::huffman;

/// Where in the client's byte stream the next byte stands.
#[derive(Debug, Clone, Copy)]
enum Position {
    /// In the preface, of which this many bytes were read.
    Preface(usize),
    /// At the first byte of a frame.
    Boundary,
    /// In a frame of which this many bytes are left, and none has to be looked at.
    Within(usize),
    /// In something that is not HTTP/2. Nothing of it is looked at again.
    Foreign,
}

/// Whether there is more to look at in the bytes that were read.
enum Step {
    /// This many bytes may be passed on, and the next ones can be looked at.
    Pass(usize),
    /// More bytes are needed.
    NeedMore,
}

/// Finds and sanitizes the authorities of one connection.
#[derive(Debug)]
pub(super) struct AuthorityFilter {
    invalid: InvalidAuthority,
    position: Position,
    sanitized: u64,
    last_original: Option<String>,
    /// The value that is looked at, decoded. Kept for its allocation.
    decoded: Vec<u8>,
}

impl AuthorityFilter {
    /// A filter for a connection of which nothing was read yet.
    #[must_use]
    pub(super) fn new(invalid: InvalidAuthority) -> Self {
        Self {
            invalid,
            position: Position::Preface(0),
            sanitized: 0,
            last_original: None,
            decoded: Vec::new(),
        }
    }

    /// Whether the client has sent the whole preface.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.position, Position::Preface(_) | Position::Foreign)
    }

    /// How many authorities were sanitized on this connection. A reference to the dynamic table does not count again.
    #[cfg(test)]
    pub(super) fn sanitized(&self) -> u64 {
        self.sanitized
    }

    /// The authority that was sanitized last, as the client sent it; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub(super) fn last_original(&self) -> Option<&str> {
        self.last_original.as_deref()
    }

    /// Sanitizes the authorities in `bytes`, the next bytes of the connection, in place. Returns how many bytes may be
    /// passed on now.
    ///
    /// The rest is an incomplete HEADERS frame or an incomplete frame header. The caller offers it again together with the
    /// bytes that follow. It is always shorter than the longest HEADERS frame. `see` is called once for each frame, when the
    /// frame is passed on.
    pub(super) fn sanitize(&mut self, bytes: &mut [u8], mut see: impl FnMut(FrameHead)) -> usize {
        let mut at = 0;
        loop {
            let rest = &mut bytes[at..];
            let step = match self.position {
                Position::Foreign => return bytes.len(),
                Position::Preface(read) => self.match_preface(read, rest),
                Position::Within(left) => self.skip_within_frame(left, rest),
                Position::Boundary => self.begin_frame(rest, &mut see),
            };
            match step {
                Step::Pass(count) => at += count,
                Step::NeedMore => return at,
            }
            if at == bytes.len() {
                return at;
            }
        }
    }

    /// Compares `rest` with the preface, of which `read` bytes were read before.
    fn match_preface(&mut self, read: usize, rest: &[u8]) -> Step {
        let expected = &PREFACE[read..];
        let count = expected.len().min(rest.len());
        self.position = if rest[..count] != expected[..count] {
            Position::Foreign
        } else if count < expected.len() {
            Position::Preface(read + count)
        } else {
            Position::Boundary
        };
        Step::Pass(if matches!(self.position, Position::Foreign) { 0 } else { count })
    }

    /// Passes on a frame of which `left` bytes are left.
    fn skip_within_frame(&mut self, left: usize, rest: &[u8]) -> Step {
        let count = left.min(rest.len());
        self.position = if count < left { Position::Within(left - count) } else { Position::Boundary };
        Step::Pass(count)
    }

    /// Reads a frame's header. A HEADERS frame is sanitized and passed on as a whole, once all of it was read; any other
    /// frame is passed on as it comes.
    fn begin_frame(&mut self, rest: &mut [u8], see: &mut impl FnMut(FrameHead)) -> Step {
        let Some(head) = FrameHead::read(rest) else { return Step::NeedMore };
        let length = head.frame_length();
        if !head.begins_request() || self.invalid == InvalidAuthority::Reset {
            see(head);
            self.position = Position::Within(length);
            return Step::Pass(0);
        }
        let Some(frame) = rest.get_mut(..length) else { return Step::NeedMore };
        if let Some(block) = head.header_block(&mut frame[FRAME_HEADER..]) {
            for_each_authority(block, |coding, value| self.sanitize_value(coding, value));
        }
        see(head);
        Step::Pass(length)
    }

    /// Sanitizes one value, unless it is empty, acceptable, or has a character without a substitute.
    fn sanitize_value(&mut self, coding: Coding, encoded: &mut [u8]) {
        if self.decode(coding, encoded).is_none() || self.decoded.is_empty() || acceptable(&self.decoded) {
            return;
        }
        let original = String::from_utf8_lossy(&self.decoded).into_owned();
        if sanitize(&mut self.decoded, coding).is_none() {
            return;
        }
        match coding {
            Coding::Raw => encoded.copy_from_slice(&self.decoded),
            Coding::Huffman => huffman::encode_over(&self.decoded, encoded),
        }
        self.sanitized += 1;
        self.last_original = Some(original);
    }

    /// Decodes a value into `decoded`; none if it is not valid Huffman code.
    fn decode(&mut self, coding: Coding, encoded: &[u8]) -> Option<()> {
        match coding {
            Coding::Raw => {
                self.decoded.clear();
                self.decoded.extend_from_slice(encoded);
                Some(())
            }
            Coding::Huffman => huffman::decode(encoded, &mut self.decoded),
        }
    }
}
