//! The part of protobuf's encoding that two small messages need (<https://protobuf.dev/programming-guides/encoding/>).

use bytes::{BufMut, BytesMut};

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// A number has more than 64 bits.
    #[error("a varint is longer than 64 bits")]
    Varint,
    /// The message ends within a field.
    #[error("it ends within a field")]
    Truncated,
    /// A field has the number 0, or a type that does not exist.
    #[error("a field has an impossible number or type")]
    Key,
    /// A group ends that has not begun.
    #[error("a group ends that has not begun")]
    EndGroup,
    /// Groups are nested too deep.
    #[error("groups lie too deep in each other")]
    TooDeep,
    /// A known field has another type.
    #[error("a field is of the wrong type")]
    WrongType,
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A number of fixed width, or a group. No known field is one.
    Other,
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed::WrongType) }
    }

    pub(super) fn uint64(self) -> Result<u64, Malformed> {
        if let Self::Varint(number) = self { Ok(number) } else { Err(Malformed::WrongType) }
    }

    /// The low 32 bits, as protobuf reads a `uint32` that was written with more.
    #[expect(clippy::cast_possible_truncation, reason = "that is how it is defined")]
    pub(super) fn uint32(self) -> Result<u32, Malformed> {
        self.uint64().map(|number| number as u32)
    }
}

/// The fields of a message, in order. After an error there are no more.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    depth: u32,
}

impl<'a> Fields<'a> {
    /// The fields of `message`, with at most `depth` levels of nested groups.
    pub(super) fn of(message: &'a [u8], depth: u32) -> Self {
        Self { rest: message, depth }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let (field, kind) = self.key()?;
        let value = match kind {
            VARINT => Value::Varint(self.varint()?),
            LENGTH => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            kind => {
                self.skip(field, kind, self.depth)?;
                Value::Other
            }
        };
        Ok((field, value))
    }

    fn key(&mut self) -> Result<(u32, u64), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed::Key)?;
        let (field, kind) = (key >> 3, u64::from(key & 0b111));
        if field == 0 || kind > FIXED_32 { Err(Malformed::Key) } else { Ok((field, kind)) }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all of them: keys of fields, and lengths of short texts.
        if let [byte @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for (at, &byte) in self.rest.iter().enumerate().take(LONGEST_VARINT) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                if at == LONGEST_VARINT - 1 && byte > 1 {
                    return Err(Malformed::Varint);
                }
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(if self.rest.len() < LONGEST_VARINT { Malformed::Truncated } else { Malformed::Varint })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn skip(&mut self, field: u32, kind: u64, depth: u32) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
        match kind {
            VARINT => self.varint().map(drop),
            FIXED_64 => self.take(8).map(drop),
            FIXED_32 => self.take(4).map(drop),
            LENGTH => {
                let length = self.varint()?;
                self.take(length).map(drop)
            }
            START_GROUP => loop {
                match self.key()? {
                    (ended, END_GROUP) if ended == field => return Ok(()),
                    (_, END_GROUP) => return Err(Malformed::EndGroup),
                    (inner, kind) => self.skip(inner, kind, depth)?,
                }
            },
            _ => Err(Malformed::EndGroup),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const START_GROUP: u64 = 3;
const END_GROUP: u64 = 4;
const FIXED_32: u64 = 5;
/// Bytes of the longest varint: ten times seven bits hold 64.
const LONGEST_VARINT: usize = 10;

/// Writes fields one after the other. As in proto3, a 0 and an empty text are left out.
pub(super) trait Write {
    fn varint(&mut self, number: u64);
    fn number(&mut self, field: u32, number: u64);
    fn bytes(&mut self, field: u32, bytes: &[u8]);
    /// A double. A 0 is written too.
    fn double(&mut self, field: u32, number: f64);
    /// A message. An empty one is written too.
    fn message(&mut self, field: u32, content: impl FnOnce(&mut Self));
}

impl Write for BytesMut {
    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put_u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.put_u8(number as u8);
    }

    fn number(&mut self, field: u32, number: u64) {
        if number > 0 {
            self.varint(u64::from(field) << 3 | VARINT);
            self.varint(number);
        }
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.varint(u64::from(field) << 3 | LENGTH);
            self.varint(bytes.len() as u64);
            self.put_slice(bytes);
        }
    }

    fn double(&mut self, field: u32, number: f64) {
        self.varint(u64::from(field) << 3 | FIXED_64);
        self.put_f64_le(number);
    }

    fn message(&mut self, field: u32, content: impl FnOnce(&mut Self)) {
        self.varint(u64::from(field) << 3 | LENGTH);
        // Nearly every message has fewer than 128 bytes, so one byte is reserved for its length.
        let at = self.len();
        self.put_u8(0);
        content(self);
        let length = self.len() - at - 1;
        if let (Ok(short @ ..0x80), Some(place)) = (u8::try_from(length), self.get_mut(at)) {
            *place = short;
            return;
        }
        let content = self.split_off(at + 1);
        self.truncate(at);
        self.varint(length as u64);
        self.put_slice(&content);
    }
}
