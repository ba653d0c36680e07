//! The connection that h2 reads from: the accepted one, behind an [`AuthorityFilter`].

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::InvalidAuthority;
use super::filter::AuthorityFilter;
use super::frame::{FRAME_HEADER, LONGEST_PAYLOAD};
use crate::rls::http2::flood::Meter;

/// Called with the first authority that was sanitized on a connection, as the client sent it.
type OnSanitized = Box<dyn FnOnce(&str) + Send>;

/// A connection whose reads pass an `AuthorityFilter`, and whose frames are counted by a `Meter`. A read fails when the
/// meter calls the frames a flood.
///
/// Bytes are sanitized in the reader's buffer. Only an incomplete HEADERS frame at the end of a read is kept, and given out
/// together with the rest of it.
pub(in crate::rls::http2) struct SanitizedStream<S> {
    inner: S,
    filter: AuthorityFilter,
    meter: Meter,
    on_sanitized: Option<OnSanitized>,
    /// Bytes that were read from `inner` and not yet given to the reader.
    pending: Vec<u8>,
    /// How many bytes of `pending` may be given out.
    cleared: usize,
}

impl<S> SanitizedStream<S> {
    /// Treats invalid authorities in what is read from `inner` as `invalid` says. `on_sanitized` is called once, with the
    /// first authority that was sanitized. `inner` has to be plain text: within TLS, not around it.
    pub(in crate::rls::http2) fn new<F>(inner: S, invalid: InvalidAuthority, on_sanitized: F) -> Self
    where
        F: FnOnce(&str) + Send + 'static,
    {
        Self {
            inner,
            filter: AuthorityFilter::new(invalid),
            meter: Meter::default(),
            on_sanitized: Some(Box::new(on_sanitized)),
            pending: Vec::new(),
            cleared: 0,
        }
    }

    /// Whether the client has sent the preface of HTTP/2.
    pub(in crate::rls::http2) fn has_begun(&self) -> bool {
        self.filter.has_begun()
    }

    /// Gives out the cleared bytes that fit into `buf`. Returns whether there were any.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let given = self.cleared.min(buf.remaining());
        if given == 0 {
            return false;
        }
        buf.put_slice(&self.pending[..given]);
        self.cleared -= given;
        if given == self.pending.len() {
            self.pending = Vec::new();
        } else {
            self.pending.drain(..given);
        }
        true
    }

    fn report(&mut self) {
        if let Some(original) = self.filter.last_original()
            && let Some(on_sanitized) = self.on_sanitized.take()
        {
            on_sanitized(original);
        }
    }
}

impl<S> fmt::Debug for SanitizedStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SanitizedStream")
            .field("filter", &self.filter)
            .field("pending", &self.pending.len())
            .field("cleared", &self.cleared)
            .finish_non_exhaustive()
    }
}

/// Where bytes went that were read.
#[derive(PartialEq, Eq)]
enum Given {
    /// Into the reader's buffer; or the stream is at its end.
    ToReader,
    /// Into `pending`.
    ToPending,
}

impl<S: AsyncRead + Unpin> SanitizedStream<S> {
    /// Reads into the reader's buffer, and moves an incomplete HEADERS frame at its end to `pending`.
    fn poll_read_directly(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Given>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.meter.read(Instant::now());
        let fresh = &mut buf.filled_mut()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(Given::ToReader));
        }
        let passed = self.filter.sanitize(fresh, |frame| self.meter.see(frame));
        self.pending.extend_from_slice(&fresh[passed..]);
        buf.set_filled(before + passed);
        Poll::Ready(Ok(if passed > 0 { Given::ToReader } else { Given::ToPending }))
    }

    /// Reads the next bytes of an incomplete HEADERS frame into `pending`.
    fn poll_read_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Given>> {
        let mut part = buf.take(FRAME_HEADER + LONGEST_PAYLOAD);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        self.meter.read(Instant::now());
        self.pending.extend_from_slice(part.filled());
        self.cleared = if part.filled().is_empty() {
            self.pending.len()
        } else {
            self.filter.sanitize(&mut self.pending, |frame| self.meter.see(frame))
        };
        Poll::Ready(Ok(Given::ToPending))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SanitizedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A read of no bytes means the end of the stream, so this returns only with bytes that may be given out.
        loop {
            if this.hand_out(buf) || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let given = if this.pending.is_empty() {
                ready!(this.poll_read_directly(cx, buf))?
            } else {
                ready!(this.poll_read_more(cx, buf))?
            };
            this.report();
            this.meter.judge().map_err(io::Error::other)?;
            if given == Given::ToReader {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SanitizedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::rls::http2::authority::frame::HEADERS;
    use crate::rls::http2::authority::hpack::{AUTHORITY_CODED, Coding};
    use crate::rls::http2::authority::tests::{
        ISTIO, ISTIO_SANITIZED, authority, connection, frame, request, string,
    };

    /// Yields its pieces one by one; an empty one stands for a wait.
    struct Pieces(VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Some(mut piece) = self.0.pop_front() else {
                return Poll::Ready(Ok(()));
            };
            if piece.is_empty() {
                return Poll::Pending;
            }
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
            Poll::Ready(Ok(()))
        }
    }

    /// Everything there is to read, with a buffer of `room`; and how often it said it sanitized.
    fn read_all(pieces: Vec<Vec<u8>>, room: usize) -> (Vec<u8>, Vec<String>) {
        let said = Arc::new(Mutex::new(Vec::new()));
        let reported = Arc::clone(&said);
        let mut stream =
            SanitizedStream::new(Pieces(pieces.into()), InvalidAuthority::Accept, move |original| {
                reported.lock().unwrap().push(original.to_owned());
            });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        loop {
            let mut space = vec![0; room];
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut stream).poll_read(&mut cx, &mut buf) {
                Poll::Pending => assert!(buf.filled().is_empty()),
                Poll::Ready(result) => {
                    result.unwrap();
                    if buf.filled().is_empty() {
                        break;
                    }
                    all.extend_from_slice(buf.filled());
                }
            }
        }
        let said = said.lock().unwrap().clone();
        (all, said)
    }

    fn cut(mut bytes: Vec<u8>, sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        for size in sizes.iter().cycle() {
            if bytes.is_empty() {
                break;
            }
            let rest = bytes.split_off(bytes.len().min(*size));
            pieces.push(std::mem::replace(&mut bytes, rest));
        }
        pieces
    }

    proptest! {
        #[test]
        fn the_reader_gets_the_sanitized_bytes_whatever_its_buffer(
            room in 1_usize..200,
            sizes in vec(0_usize..90, 1..10)
                .prop_filter("all are waits", |sizes| sizes.iter().any(|&size| size > 0)),
        ) {
            let with = |value: &str| {
                let field = authority(Coding::Huffman, value.as_bytes());
                connection(&[
                    request(1, "/a", &field),
                    frame(0, 0, 1, &[b'|'; 150]),
                    request(3, "/b", &field),
                ])
            };
            let (all, said) = read_all(cut(with(ISTIO), &sizes), room);
            prop_assert_eq!(all, with(ISTIO_SANITIZED));
            prop_assert_eq!(said, [ISTIO]);
        }
    }

    #[test]
    fn a_client_that_leaves_within_a_frame_loses_nothing() {
        let mut bytes = connection(&[request(1, "/a", &authority(Coding::Raw, b"a|b"))]);
        bytes.truncate(bytes.len() - 2);
        let (all, said) = read_all(vec![bytes.clone()], 1024);
        assert_eq!(all, bytes);
        assert!(said.is_empty());
    }

    #[derive(Debug, PartialEq)]
    enum Outcome {
        Answered,
        Reset(u32),
    }

    /// Lets h2 serve the connection: what became of each of its `streams` streams, and the
    /// requests h2 let through.
    async fn served<S>(
        mut client: DuplexStream,
        server: S,
        bytes: Vec<u8>,
        streams: usize,
    ) -> (Vec<Outcome>, Vec<http::Request<h2::RecvStream>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = tokio::spawn(async move {
            let mut requests = Vec::new();
            let mut connection = h2::server::handshake(server).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                respond.send_response(http::Response::new(()), true).unwrap();
                requests.push(request);
            }
            requests
        });
        client.write_all(&bytes).await.unwrap();
        let mut outcomes = Vec::new();
        while outcomes.len() < streams {
            let mut head = [0; FRAME_HEADER];
            client.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            client.read_exact(&mut payload).await.unwrap();
            match head[3] {
                HEADERS => outcomes.push(Outcome::Answered),
                3 => outcomes.push(Outcome::Reset(u32::from_be_bytes(payload[..4].try_into().unwrap()))),
                7 => panic!("h2 ended the connection: {payload:?}"),
                _ => {}
            }
        }
        drop(client);
        (outcomes, server.await.unwrap())
    }

    /// A literal authority, then references to its entry in the dynamic table. The second request
    /// adds its path to the table, which moves the entry on by one.
    fn istio_requests(coding: Coding) -> Vec<u8> {
        let indexed_path = [vec![0x44], string(Coding::Raw, b"/second")].concat();
        let second = [&[0x83, 0x86, 0xbe], indexed_path.as_slice()].concat();
        connection(&[
            request(1, "/first", &authority(coding, ISTIO.as_bytes())),
            frame(HEADERS, 0x5, 3, &second),
            request(5, "/third", &[0xbf]),
        ])
    }

    #[tokio::test]
    async fn h2_takes_the_calls_of_istio_when_they_are_sanitized() {
        for coding in [Coding::Raw, Coding::Huffman] {
            let (client, server) = tokio::io::duplex(65_536);
            let server = SanitizedStream::new(server, InvalidAuthority::Accept, |_| ());
            let (outcomes, requests) = served(client, server, istio_requests(coding), 3).await;
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Answered), "{outcomes:?}");
            let uris: Vec<_> = requests.iter().map(|r| r.uri().to_string()).collect();
            let expected =
                ["first", "second", "third"].map(|path| format!("http://{ISTIO_SANITIZED}/{path}"));
            assert_eq!(uris, expected, "{coding:?}");
        }
    }

    #[tokio::test]
    async fn h2_resets_the_calls_of_istio_when_they_are_not() {
        for coding in [Coding::Raw, Coding::Huffman] {
            let (client, server) = tokio::io::duplex(65_536);
            let server =
                SanitizedStream::new(server, InvalidAuthority::Reset, |original| panic!("{original}"));
            let (outcomes, requests) = served(client, server, istio_requests(coding), 3).await;
            let refused = u32::from(h2::Reason::PROTOCOL_ERROR);
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Reset(refused)), "{outcomes:?}");
            assert!(requests.is_empty());
        }
    }

    #[tokio::test]
    async fn h2_reads_every_character_as_it_is_coded_here() {
        let value: Vec<u8> =
            (0..=u8::MAX).filter(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)).collect();
        let name = [&[0x40, 0x88], AUTHORITY_CODED.as_slice()].concat();
        let field = [vec![0x40], string(Coding::Huffman, b"x-all")].concat();
        let field = [field, string(Coding::Huffman, &value)].concat();
        let block =
            [&[0x83, 0x86, 0x84], name.as_slice(), &string(Coding::Huffman, b"host"), &field].concat();
        let (client, server) = tokio::io::duplex(65_536);
        let bytes = connection(&[frame(HEADERS, 0x5, 1, &block)]);
        let (_, requests) = served(client, server, bytes, 1).await;
        assert_eq!(requests[0].headers()["x-all"].as_bytes(), value);
        assert_eq!(requests[0].uri().host(), Some("host"));
    }
}
