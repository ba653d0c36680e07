//! One HTTP/2 connection of a gRPC client, without a socket: bytes in, finished calls and bytes out.
//!
//! It sends what Envoy sends: headers that enter the peer's table with the first call and are one byte each from then
//! on, and the message in one DATA frame that ends the stream. A general client would cost several times as much as the
//! server that is measured, and share its core's caches.

use std::collections::VecDeque;
use std::io;

use crate::headers::Headers;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
/// What both sides start with (RFC 9113 §6.9.2).
const FIRST_WINDOW: u32 = 65_535;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// Of each stream, and large enough to stay out of the way, as Envoy's is.
const STREAM_WINDOW: u32 = 1 << 28;
/// The receive window is topped up when so much of it is used.
const TOP_UP: u32 = 1 << 30;
/// How an answer begins: the gRPC prefix, then the field `overall_code` and its value.
const HEAD: usize = 7;

/// Frame types and flags (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// The error code of a call that nobody waits for any more.
const CANCEL: u32 = 8;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    OverLimit,
    /// Ended without one of the two.
    Failed,
}

#[derive(Debug)]
struct Stream {
    /// The caller's own number for this call.
    tag: u64,
    open: bool,
    /// Its last byte is the code, so no half of it looks like an answer.
    head: [u8; HEAD],
    filled: usize,
}

impl Stream {
    fn answer(&self) -> Answer {
        match self.head {
            [0, _, _, _, _, 8, 1] => Answer::Ok,
            [0, _, _, _, _, 8, 2] => Answer::OverLimit,
            _ => Answer::Failed,
        }
    }
}

/// A connection's state.
#[derive(Debug)]
pub(crate) struct Http2 {
    /// Bytes that the socket has not taken yet.
    pub(crate) out: Vec<u8>,
    /// The start of a frame whose end has not arrived.
    partial: Vec<u8>,
    headers: Headers,
    /// Streams from `oldest` on, by age; what is closed leaves when it is the oldest.
    streams: VecDeque<Stream>,
    oldest: u32,
    open: usize,
    most_open: usize,
    send_window: i64,
    received: u32,
}

impl Http2 {
    /// A connection to `authority`, whose calls carry `timeout` as their `grpc-timeout`.
    pub(crate) fn new(authority: &str, timeout: Option<&str>) -> Self {
        let mut http2 = Self {
            out: PREFACE.to_vec(),
            partial: Vec::new(),
            headers: Headers::new(authority, timeout),
            streams: VecDeque::new(),
            oldest: 0,
            open: 0,
            most_open: usize::MAX,
            send_window: FIRST_WINDOW.into(),
            received: 0,
        };
        // No pushes; and a window for each stream.
        let mut settings = vec![0, 2, 0, 0, 0, 0, 0, 4];
        settings.extend(STREAM_WINDOW.to_be_bytes());
        http2.frame(SETTINGS, 0, 0, &settings);
        http2.frame(WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - FIRST_WINDOW).to_be_bytes());
        http2
    }

    /// How many calls wait for their answer.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Whether the peer takes another call of `length` bytes now.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.open < self.most_open && i64::try_from(length).is_ok_and(|length| length <= self.send_window)
    }

    /// Starts a call. Ask [`Self::has_room`] first.
    pub(crate) fn call(&mut self, message: &[u8], tag: u64) {
        let newest = self.oldest + u32::try_from(self.streams.len()).expect("few streams");
        let id = newest * 2 + 1;
        let block = self.headers.block(newest == 0);
        push_frame(&mut self.out, HEADERS, END_HEADERS, id, block);
        push_frame(&mut self.out, DATA, END_STREAM, id, message);
        self.send_window -= i64::try_from(message.len()).expect("a small message");
        self.streams.push_back(Stream { tag, open: true, head: [0; HEAD], filled: 0 });
        self.open += 1;
    }

    /// Gives up the calls whose tag is below `tag`, and returns how many there were. Tags must have been rising.
    pub(crate) fn cancel_below(&mut self, tag: u64) -> u64 {
        let mut cancelled = 0;
        while let Some(stream) = self.streams.front().filter(|stream| !stream.open || stream.tag < tag) {
            if stream.open {
                let id = self.oldest * 2 + 1;
                self.frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes());
                self.open -= 1;
                cancelled += 1;
            }
            self.streams.pop_front();
            self.oldest += 1;
        }
        cancelled
    }

    /// Takes what has arrived and tells `done` of each call that it ends.
    pub(crate) fn receive(&mut self, bytes: &[u8], done: &mut impl FnMut(u64, Answer)) -> io::Result<()> {
        if self.partial.is_empty() {
            let used = self.frames(bytes, done)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            let used = self.frames(&whole, done)?;
            whole.drain(..used);
            self.partial = whole;
        }
        if self.received >= TOP_UP {
            let more = std::mem::take(&mut self.received);
            self.frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
        Ok(())
    }

    /// Handles the complete frames at the start of `bytes`, and returns how long they are.
    fn frames(&mut self, bytes: &[u8], done: &mut impl FnMut(u64, Answer)) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some((&[a, b, c, kind, flags, d, e, f, g], after)) =
            rest.split_first_chunk::<FRAME_HEADER>()
        {
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            let id = u32::from_be_bytes([d, e, f, g]) & LARGEST_WINDOW;
            self.handle(kind, flags, id, payload, done)?;
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    fn handle(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        payload: &[u8],
        done: &mut impl FnMut(u64, Answer),
    ) -> io::Result<()> {
        match kind {
            DATA | HEADERS => {
                if flags & PADDED != 0 {
                    return Err(io::Error::other(
                        "the server pads its frames, which this client does not read",
                    ));
                }
                if kind == DATA {
                    self.received += u32::try_from(payload.len()).expect("a frame is shorter");
                    self.data(id, payload);
                }
                if flags & END_STREAM != 0 {
                    self.end(id, None, done);
                }
            }
            RST_STREAM => self.end(id, Some(Answer::Failed), done),
            SETTINGS if flags & ACK == 0 => self.settings(payload)?,
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload),
            WINDOW_UPDATE if id == 0 => self.send_window += i64::from(number(payload)?),
            GOAWAY => {
                let code = number(payload.get(4..).unwrap_or_default())?;
                return Err(io::Error::other(format!("the server sent GOAWAY with code {code}")));
            }
            _ => {}
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) -> io::Result<()> {
        for setting in payload.chunks_exact(6) {
            let value = number(&setting[2..])?;
            match setting[1] {
                // The header table, and what one stream may send at once.
                1 if value < 1024 => return Err(io::Error::other("the server's header table is too small")),
                4 if value < 1024 => return Err(io::Error::other("the server's stream window is too small")),
                3 => self.most_open = usize::try_from(value).unwrap_or(usize::MAX),
                _ => {}
            }
        }
        self.frame(SETTINGS, ACK, 0, &[]);
        Ok(())
    }

    fn data(&mut self, id: u32, payload: &[u8]) {
        let Some(stream) = self.stream(id) else { return };
        let wanted = payload.len().min(HEAD - stream.filled);
        stream.head[stream.filled..][..wanted].copy_from_slice(&payload[..wanted]);
        stream.filled += wanted;
    }

    fn end(&mut self, id: u32, answer: Option<Answer>, done: &mut impl FnMut(u64, Answer)) {
        let Some(stream) = self.stream(id) else { return };
        stream.open = false;
        done(stream.tag, answer.unwrap_or(stream.answer()));
        self.open -= 1;
        while self.streams.front().is_some_and(|stream| !stream.open) {
            self.streams.pop_front();
            self.oldest += 1;
        }
    }

    /// The open stream with this id; those that were given up are none.
    fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        let at = (id / 2).checked_sub(self.oldest)?;
        self.streams.get_mut(usize::try_from(at).ok()?).filter(|stream| stream.open)
    }

    fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        push_frame(&mut self.out, kind, flags, id, payload);
    }
}

fn push_frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut header = [0, length[1], length[2], length[3], kind, flags, 0, 0, 0, 0];
    header[6..].copy_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&header[1..]);
    out.extend_from_slice(payload);
}

fn number(payload: &[u8]) -> io::Result<u32> {
    let bytes = payload.first_chunk().ok_or_else(|| io::Error::other("the server sent a short frame"))?;
    Ok(u32::from_be_bytes(*bytes))
}
