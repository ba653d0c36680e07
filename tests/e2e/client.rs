//! HTTP/1.1 to the byte, from an address of the caller's choice.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::PATIENCE;

/// Headers that belong to the connection, to the moment or to whoever answered, and to no contract.
const OF_NO_CONTRACT: [&str; 4] = ["connection", "content-length", "date", "server"];

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    status_line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header, of which there must be at most one.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} came twice: {self:?}");
        value
    }

    pub(crate) fn has_header_starting(&self, prefix: &str) -> bool {
        self.headers.iter().any(|(name, _)| name.to_lowercase().starts_with(prefix))
    }

    /// That this is the answer that documentation shows: the status line, then the headers, and behind an empty line
    /// the body, if it is reported. Names of headers may differ in case and the headers in order; nothing else may.
    #[track_caller]
    pub(crate) fn is(&self, documented: &str) {
        let (head, body) = match documented.split_once("\n\n") {
            Some((head, body)) => (head, Some(body)),
            None => (documented, None),
        };
        let (status_line, headers) = head.split_once('\n').unwrap_or((head, ""));
        assert_eq!((self.status_line.as_str(), self.headers()), (status_line, lines(headers)), "{self:?}");
        if let Some(body) = body {
            assert_eq!(self.body, body);
        }
    }

    /// The headers that a contract may be about, one a line.
    fn headers(&self) -> BTreeSet<String> {
        let headers = self.headers.iter().map(|(name, value)| (name.to_lowercase(), value));
        let headers = headers.filter(|(name, _)| !OF_NO_CONTRACT.contains(&name.as_str()));
        let lines: Vec<_> = headers.map(|(name, value)| format!("{name}: {value}")).collect();
        let set: BTreeSet<_> = lines.iter().cloned().collect();
        assert_eq!(set.len(), lines.len(), "a header came twice: {self:?}");
        set
    }
}

fn lines(headers: &str) -> BTreeSet<String> {
    let lines = headers.lines().map(|line| line.split_once(": ").unwrap_or_else(|| panic!("`{line}`")));
    lines.map(|(name, value)| format!("{}: {value}", name.to_lowercase())).collect()
}

/// A request from `from` to `to`; `headers` are lines as they go over the wire.
pub(crate) fn send(from: &str, to: SocketAddr, request_line: &str, headers: &[&[u8]]) -> Answer {
    send_to_host("localhost", from, to, request_line, headers, "")
}

/// The same for one of several hosts at that address, with a body.
pub(crate) fn send_to_host(
    host: &str,
    from: &str,
    to: SocketAddr,
    request_line: &str,
    headers: &[&[u8]],
    body: &str,
) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(host, from, to, request_line, headers, body))
}

/// The same on a runtime of the caller's.
pub(crate) async fn ask(
    host: &str,
    from: &str,
    to: SocketAddr,
    request_line: &str,
    headers: &[&[u8]],
    body: &str,
) -> Answer {
    let from: IpAddr = from.parse().unwrap();
    let mut bytes = format!("{request_line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        bytes.extend(*header);
        bytes.extend(b"\r\n");
    }
    if !body.is_empty() {
        bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body.as_bytes());
    let answered = tokio::time::timeout(PATIENCE, async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    });
    parse(&String::from_utf8_lossy(&answered.await.expect("an answer in time")))
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not an answer: {text:?}"));
    let mut lines = head.lines();
    let status_line = lines.next().unwrap_or_default().to_owned();
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {head:?}")),
        status_line,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: body.to_owned(),
    }
}
