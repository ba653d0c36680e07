//! `/metrics` of a server, over HTTP.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::reading::Reading;

/// How long each step of a look may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most bytes that are read: of more than 100,000 rules, those that were reached are fewer.
const MOST: u64 = 64 << 20;

/// One look, or why there is none.
pub(super) type Look = io::Result<Reading>;

/// Looks at the server at `address`, `host:port`.
pub(super) fn look(address: &str) -> Look {
    let found = address.to_socket_addrs()?.next();
    let found = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&found, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The answer to HTTP/1.0 is in one piece, and ends with the connection.
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MOST).read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or("nothing");
    if status != "200" {
        return Err(io::Error::other(format!("the answer is {status}; is that Spillway's HTTP port?")));
    }
    if !text.contains("spillway_build_info") {
        return Err(io::Error::other("it has no metrics of Spillway"));
    }
    Ok(Reading::of(text))
}
