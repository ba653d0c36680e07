//! Lets in calls whose `:authority` is not a URI authority.
//!
//! Envoy sends the name of the cluster that it calls as `:authority` (<https://github.com/envoyproxy/envoy/issues/3297>),
//! and Istio names clusters `outbound|8081||ratelimit.default.svc.cluster.local`. RFC 3986 §3.2 allows no `|` there, so h2
//! resets such a stream before any handler sees it, and has no option that turns this check off
//! (<https://github.com/hyperium/h2/issues/619>, <https://github.com/hyperium/h2/issues/525>). Envoy lets traffic pass by
//! default when its rate limit service fails, so nothing would be limited. `--invalid-authority reset` switches this module
//! off.
//!
//! [`SanitizedStream`] sits between the socket and h2. It replaces the invalid characters of such an authority while it is
//! still HPACK (RFC 7541), and never changes its length:
//!
//! * A character is replaced by one whose Huffman code has as many bits, so the frame stays as long as its header says.
//! * A field keeps its number of characters, so it takes as much space in the dynamic table (RFC 7541 §4.1). The client's
//!   table and h2's evict the same entries, no table is kept here, and a later request that refers to the entry by its
//!   index finds the sanitized value.
//!
//! No limit depends on the authority, so no decision changes. h2 still sees, and judges, four kinds of authority unchanged:
//! an empty one; a Huffman-coded one with a character that has no substitute of the same code length (`{`, `<`, `\`, `^`,
//! `#` and others); one in a CONTINUATION frame; and one whose *name* is an index into the dynamic table. Encoders prefer
//! the static table, whose first entry is `:authority`.
//!
//! [`frame`] knows the frames of HTTP/2, [`hpack`] the fields of a header block, [`huffman`] their coding, and
//! [`characters`] what to write instead. [`filter`] finds the authorities in a connection's bytes, and [`stream`] does its
//! I/O.

mod characters;
mod filter;
mod frame;
mod hpack;
mod huffman;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use frame::{FrameHead, HEADERS};
pub(super) use stream::SanitizedStream;

/// What becomes of a call whose `:authority` is not a URI authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvalidAuthority {
    /// The invalid characters are replaced, and the call is answered.
    #[default]
    Accept,
    /// h2 resets the call with `PROTOCOL_ERROR`.
    Reset,
}
