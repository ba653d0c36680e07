//! The preface and the frames of HTTP/2 (RFC 9113 §3.4 and §4), as far as a reader needs them to find header blocks.

/// What a client sends first on an HTTP/2 connection (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's header: its length, type, flags and stream (RFC 9113 §4.1).
pub(super) const FRAME_HEADER: usize = 9;

/// Bytes of the longest payload that a server accepts before it announces another limit (RFC 9113 §4.2). h2 refuses a
/// longer frame.
pub(super) const LONGEST_PAYLOAD: usize = 16_384;

/// Type and flags of HEADERS, the frame that begins a request (RFC 9113 §6.2).
pub(in crate::rls::http2) const HEADERS: u8 = 0x1;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// The header of a frame (RFC 9113 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rls::http2) struct FrameHead {
    /// The frame's type.
    pub(in crate::rls::http2) kind: u8,
    /// Flags, whose meaning depends on the type.
    pub(in crate::rls::http2) flags: u8,
    /// Bytes of the payload.
    pub(in crate::rls::http2) length: usize,
    /// Zero for frames that belong to the connection.
    pub(in crate::rls::http2) stream: u32,
}

impl FrameHead {
    /// The header at the start of `bytes`; none if it is incomplete.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let &[high, middle, low, kind, flags, a, b, c, d] = bytes.first_chunk::<FRAME_HEADER>()?;
        // The first bit is reserved (RFC 9113 §4.1).
        let stream = u32::from_be_bytes([a & 0x7f, b, c, d]);
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        Some(Self { kind, flags, length, stream })
    }

    /// Bytes of the whole frame, with its header.
    pub(super) fn frame_length(self) -> usize {
        FRAME_HEADER + self.length
    }

    /// Whether the frame is a HEADERS frame that h2 accepts.
    pub(super) fn begins_request(self) -> bool {
        self.kind == HEADERS && self.length <= LONGEST_PAYLOAD
    }

    /// The header block in the payload of this HEADERS frame, without padding and priority; none if they do not fit.
    pub(super) fn header_block(self, payload: &mut [u8]) -> Option<&mut [u8]> {
        let mut start = 0;
        let mut end = payload.len();
        if self.flags & PADDED != 0 {
            end = end.checked_sub(usize::from(*payload.first()?))?;
            start += 1;
        }
        if self.flags & PRIORITY != 0 {
            start += 5;
        }
        payload.get_mut(start..end)
    }
}
