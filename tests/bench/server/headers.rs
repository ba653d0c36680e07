//! The header block of a call (HPACK, RFC 7541).

/// Sent with the first call, entering the server's table, and as references to it with all others.
#[derive(Debug)]
pub(crate) struct Headers {
    first: Vec<u8>,
    later: Vec<u8>,
}

/// Entries of the static table: `:method: POST` and `:scheme: http` whole, the others for their names.
const METHOD_POST: u8 = 3;
const SCHEME_HTTP: u8 = 6;
const AUTHORITY: u8 = 1;
const PATH: u8 = 4;
const CONTENT_TYPE: u8 = 31;
/// The newest entry of the dynamic table.
const NEWEST: u8 = 62;
/// A whole entry by its number; a literal that enters the table.
const INDEXED: u8 = 0x80;
const ENTERING: u8 = 0x40;

impl Headers {
    pub(crate) fn new(authority: &str, timeout: Option<&str>) -> Self {
        let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
        let mut literals = vec![
            (PATH, "", path),
            (AUTHORITY, "", authority),
            (0, "te", "trailers"),
            (CONTENT_TYPE, "", "application/grpc"),
        ];
        literals.extend(timeout.map(|timeout| (0, "grpc-timeout", timeout)));
        let mut first = vec![INDEXED | METHOD_POST, INDEXED | SCHEME_HTTP];
        let mut later = first.clone();
        for (number, name, value) in &literals {
            first.push(ENTERING | number);
            if *number == 0 {
                text(&mut first, name);
            }
            text(&mut first, value);
        }
        // The last to enter has the lowest number.
        let oldest = NEWEST + u8::try_from(literals.len() - 1).expect("a handful");
        later.extend((NEWEST..=oldest).rev().map(|number| INDEXED | number));
        Self { first, later }
    }

    pub(crate) fn block(&self, is_first: bool) -> &[u8] {
        if is_first { &self.first } else { &self.later }
    }
}

fn text(block: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 127);
    block.push(length.expect("a length of one byte"));
    block.extend(text.bytes());
}
