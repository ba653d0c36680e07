//! An HTTP/2 client that may do everything a good one would not: it sends the bytes that a test wants.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitResponse;
use prost::Message;

use super::hpack;
use crate::support::{PATIENCE, Spillway};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of SETTINGS and PING.
const ACK: u8 = 1;
/// Of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest payload that every server takes.
pub(super) const LONGEST: usize = 16_384;
/// A ping with this in it asks whether the connection lives.
const MARKER: [u8; 8] = *b"alive?!?";

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [zero, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    assert_eq!(zero, 0, "a length has three bytes");
    [&length, &[kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

pub(super) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = entries
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// A list of headers, in as many frames as it needs.
pub(super) fn headers(stream: u32, block: &[u8]) -> Vec<u8> {
    let pieces = block.chunks(LONGEST).count();
    let piece = |(n, piece)| {
        let kind = if n == 0 { HEADERS } else { CONTINUATION };
        frame(kind, if n + 1 == pieces { END_HEADERS } else { 0 }, stream, piece)
    };
    block.chunks(LONGEST).enumerate().flat_map(piece).collect()
}

/// A call's beginning.
pub(super) fn begun(stream: u32) -> Vec<u8> {
    headers(stream, &hpack::call(&[]))
}

/// All of a call.
pub(super) fn whole(stream: u32, message: &[u8]) -> Vec<u8> {
    [begun(stream), frame(DATA, END_STREAM, stream, message)].concat()
}

/// How a call ended.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// It was answered.
    Decision(Box<RateLimitResponse>),
    /// gRPC says why it was not.
    Status(u32),
    /// HTTP says why it was not.
    Http(String),
    /// The stream was reset.
    Reset(u32),
}

impl Outcome {
    pub(super) fn is_decision(&self) -> bool {
        matches!(self, Self::Decision(_))
    }
}

#[derive(Debug, Default)]
struct Reported {
    fields: Vec<(String, String)>,
    data: Vec<u8>,
    ended: bool,
    reset: Option<u32>,
}

impl Reported {
    fn outcome(&self) -> Option<Outcome> {
        let field = |name| self.fields.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str());
        // A decision that was reported stays so, whatever follows.
        if let Some(message) = self.data.get(5..) {
            let decision = RateLimitResponse::decode(message).unwrap();
            return (self.ended || self.reset.is_some()).then(|| Outcome::Decision(Box::new(decision)));
        }
        match (self.ended, field("grpc-status"), self.reset) {
            (true, Some(status), _) => Some(Outcome::Status(status.parse().unwrap())),
            (true, None, _) => Some(Outcome::Http(field(":status").unwrap_or_default().to_owned())),
            (false, _, reset) => reset.map(Outcome::Reset),
        }
    }
}

/// A connection.
pub(super) struct Raw {
    socket: TcpStream,
    unread: Vec<u8>,
    decoder: hpack::Decoder,
    reported: HashMap<u32, Reported>,
    pub(super) settings: HashMap<u16, u32>,
    marked: bool,
    next: u32,
    /// What may still be sent: on the connection, and on each stream beyond what a new one has.
    window: i64,
    windows: HashMap<u32, i64>,
    /// Why it is no more.
    pub(super) end: Option<String>,
}

impl Raw {
    /// A connection whose other end may answer as it likes.
    pub(super) fn to(spillway: &Spillway) -> Self {
        let mut raw = Self::with(spillway, &[]);
        raw.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()));
        raw
    }

    /// A connection with the client's `entries`.
    pub(super) fn with(spillway: &Spillway, entries: &[(u16, u32)]) -> Self {
        let socket = TcpStream::connect(spillway.grpc).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut raw = Self {
            socket,
            unread: Vec::new(),
            decoder: hpack::Decoder::default(),
            reported: HashMap::new(),
            settings: HashMap::new(),
            marked: false,
            next: 1,
            window: 65_535,
            windows: HashMap::new(),
            end: None,
        };
        raw.send(&[PREFACE, &settings(entries)].concat());
        raw
    }

    /// The number of a new stream.
    pub(super) fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Sends `bytes`; `false` if the connection has ended.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        if self.end.is_none()
            && let Err(error) = self.socket.write_all(bytes)
        {
            self.ended(&error);
        }
        self.end.is_none()
    }

    /// Sends a part of a message as the windows allow.
    pub(super) fn send_data(&mut self, stream: u32, mut data: &[u8]) {
        while !data.is_empty() {
            let initial = self.settings.get(&INITIAL_WINDOW_SIZE).map_or(65_535, |size| i64::from(*size));
            let allowed = self.window.min(initial + self.windows.get(&stream).copied().unwrap_or_default());
            let Some(length @ 1..) =
                usize::try_from(allowed).ok().map(|most| most.min(LONGEST).min(data.len()))
            else {
                assert!(self.read(), "ended while it took a message: {:?}", self.end);
                continue;
            };
            let (now, later) = data.split_at(length);
            self.window -= i64::try_from(length).unwrap();
            *self.windows.entry(stream).or_default() -= i64::try_from(length).unwrap();
            assert!(self.send(&frame(DATA, 0, stream, now)), "ended while it took a message: {:?}", self.end);
            data = later;
        }
    }

    /// How a call ended.
    pub(super) fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            if let Some(outcome) = self.reported.get(&stream).and_then(Reported::outcome) {
                return outcome;
            }
            assert!(self.read(), "ended before stream {stream} was answered: {:?}", self.end);
        }
    }

    /// Makes a call, which must be answered.
    pub(super) fn call(&mut self, message: &[u8]) {
        let stream = self.stream();
        self.window -= i64::try_from(message.len()).unwrap();
        self.send(&whole(stream, message));
        let outcome = self.outcome(stream);
        assert!(outcome.is_decision(), "{outcome:?}");
    }

    /// Whether everything that was sent has been taken.
    pub(super) fn is_alive(&mut self) -> bool {
        self.marked = false;
        self.send(&frame(PING, 0, 0, &MARKER));
        while !self.marked && self.read() {}
        self.marked
    }

    /// Takes note of one frame; `false` if there is none to come.
    pub(super) fn read(&mut self) -> bool {
        while self.end.is_none() {
            if let Some(&[high, middle, low, kind, flags, a, b, c, d]) = self.unread.first_chunk::<9>() {
                let end = 9 + usize::from(high) * 0x1_0000 + usize::from(middle) * 0x100 + usize::from(low);
                if let Some(payload) = self.unread.get(9..end).map(<[u8]>::to_vec) {
                    self.unread.drain(..end);
                    self.note(kind, flags, u32::from_be_bytes([a, b, c, d]), &payload);
                    return self.end.is_none();
                }
            }
            let mut bytes = [0; LONGEST];
            match self.socket.read(&mut bytes) {
                Ok(0) => self.end = Some("closed".to_owned()),
                Ok(read) => self.unread.extend_from_slice(&bytes[..read]),
                Err(error) => self.ended(&error),
            }
        }
        false
    }

    fn note(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let number = |at| u32::from_be_bytes(*payload[at..].first_chunk().unwrap());
        match kind {
            HEADERS => {
                assert!(flags & END_HEADERS != 0, "an answer's headers are few");
                let fields = self.decoder.decode(payload);
                self.reported.entry(stream).or_default().fields.extend(fields);
            }
            DATA => self.reported.entry(stream).or_default().data.extend_from_slice(payload),
            // The first reason is the one.
            RST_STREAM => {
                self.reported.entry(stream).or_default().reset.get_or_insert(number(0));
            }
            SETTINGS if flags & ACK == 0 => {
                self.settings.extend(payload.chunks_exact(6).map(|entry| {
                    let (id, value) = entry.split_first_chunk().unwrap();
                    (u16::from_be_bytes(*id), u32::from_be_bytes(*value.first_chunk().unwrap()))
                }));
                self.send(&frame(SETTINGS, ACK, 0, &[]));
            }
            PING if flags & ACK == 0 => {
                self.send(&frame(PING, ACK, 0, payload));
            }
            PING => self.marked |= payload == MARKER,
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(number(0)),
            WINDOW_UPDATE => *self.windows.entry(stream).or_default() += i64::from(number(0)),
            GOAWAY => {
                let why = String::from_utf8_lossy(&payload[8..]);
                self.end = Some(format!("GOAWAY {} {why}", number(4)));
            }
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            self.reported.entry(stream).or_default().ended = true;
        }
    }

    /// A connection that nobody serves any more is an end; one that nobody reads or writes is a failure.
    fn ended(&mut self, error: &std::io::Error) {
        let ends = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::ConnectionAborted];
        assert!(ends.contains(&error.kind()), "nothing came or went for {PATIENCE:?}: {error}");
        self.end = Some(error.to_string());
    }
}
