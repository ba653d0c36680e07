//! As much of HPACK (RFC 7541) as a test needs.

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// The headers of a call, and `more`; nothing is indexed, so no list depends on another.
pub(super) fn call(more: &[(&str, &str)]) -> Vec<u8> {
    call_of(METHOD, more)
}

/// The same for any method.
pub(super) fn call_of(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    list(method, "rls", more)
}

/// The headers of a call that names the server `authority`.
pub(super) fn call_to(authority: &str) -> Vec<u8> {
    list(METHOD, authority, &[])
}

fn list(method: &str, authority: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let ordinary = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    let mut block = Vec::new();
    for (name, value) in ordinary.iter().chain(more) {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A number behind a prefix of one bit.
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 0x7f {
        return block.push(u8::try_from(length).unwrap());
    }
    block.push(0x7f);
    let mut rest = length - 0x7f;
    while rest > 0x7f {
        block.push(0x80 | u8::try_from(rest & 0x7f).unwrap());
        rest >>= 7;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// Reads the lists of one connection, in their order.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The newest first. Nothing is evicted: what a server has forgotten it does not refer to.
    table: Vec<(String, String)>,
}

impl Decoder {
    pub(super) fn decode(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let mut rest = block;
        let mut fields = Vec::new();
        while let Some(&first) = rest.first() {
            let prefix = match first {
                0x80.. => 7,
                0x40.. => 6,
                0x20.. => 5,
                _ => 4,
            };
            let index = number(&mut rest, prefix);
            if prefix == 5 {
                continue;
            }
            let (name, indexed) = self.entry(index);
            if prefix == 7 {
                fields.push((name, indexed));
                continue;
            }
            let name = if index == 0 { text(&mut rest) } else { name };
            let field = (name, text(&mut rest));
            if prefix == 6 {
                self.table.insert(0, field.clone());
            }
            fields.push(field);
        }
        fields
    }

    fn entry(&self, index: usize) -> (String, String) {
        const STATUS: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];
        match index {
            8..15 => (":status".to_owned(), STATUS[index - 8].to_owned()),
            // No other name of the static table matters here.
            ..=61 => (format!("static-{index}"), String::new()),
            _ => self.table[index - 62].clone(),
        }
    }
}

fn number(rest: &mut &[u8], prefix: u32) -> usize {
    let mut next = || {
        let (&first, others) = rest.split_first().unwrap();
        *rest = others;
        usize::from(first)
    };
    let mask = (1 << prefix) - 1;
    let mut value = next() & mask;
    if value == mask {
        for shift in (0..28).step_by(7) {
            let byte = next();
            value += (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
    }
    value
}

fn text(rest: &mut &[u8]) -> String {
    let huffman = rest[0] >= 0x80;
    let length = number(rest, 7);
    let (bytes, others) = rest.split_at(length);
    *rest = others;
    if huffman { unpacked(bytes) } else { String::from_utf8_lossy(bytes).into_owned() }
}

/// The characters whose codes have five, six, seven bits, and the first code of each length. A text with any other
/// in it is cut short there: no test reads one.
const CODES: [(u32, u32, &str); 3] = [
    (5, 0, "012aceiost"),
    (6, 20, " %-./3456789=A_bdfghlmnpru"),
    (7, 92, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
];

fn unpacked(bytes: &[u8]) -> String {
    let bits = u32::try_from(bytes.len() * 8).unwrap();
    let bit = |at: u32| u32::from(bytes[at as usize / 8]) >> (7 - at % 8) & 1;
    let mut text = String::new();
    let mut at = 0;
    while let Some((length, letter)) = CODES.iter().find_map(|(length, first, letters)| {
        let code =
            (at + length <= bits).then(|| (at..at + length).fold(0, |code, at| code << 1 | bit(at)))?;
        Some((length, letters.chars().nth(code.checked_sub(*first)? as usize)?))
    }) {
        text.push(letter);
        at += length;
    }
    text
}
