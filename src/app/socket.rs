//! What connections are made of: TCP or a Unix socket, and TLS over either.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// The time after which TCP probes whether a silent client's machine still answers.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A socket that no runtime knows: it was accepted on one thread and is on its way to another.
#[derive(Debug)]
pub(super) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection on its way to the worker that serves it.
#[derive(Debug)]
pub(super) enum Carrier {
    Plain(Detached),
    Tls(Box<TlsStream<Socket>>),
}

/// A connection that the current runtime knows. It is one type whatever it is made of: the server's code for HTTP/2 is compiled once
/// and whole, which saves plain TCP more than the look at what it is costs it.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Socket>>),
}

impl Detached {
    /// Registers it with the current runtime.
    fn attach(self) -> io::Result<Attached> {
        match self {
            Self::Tcp(socket) => {
                prepare(&socket)?;
                Ok(Attached::Tcp(TcpStream::from_std(socket)?))
            }
            Self::Unix(socket) => Ok(Attached::Unix(UnixStream::from_std(socket)?)),
        }
    }
}

impl Carrier {
    /// Registers it with the current runtime.
    pub(super) fn arrive(self) -> io::Result<Stream> {
        match self {
            Self::Plain(socket) => Ok(match socket.attach()? {
                Attached::Tcp(socket) => Stream::Tcp(socket),
                Attached::Unix(socket) => Stream::Unix(socket),
            }),
            Self::Tls(mut stream) => {
                stream.get_mut().0.attach()?;
                Ok(Stream::Tls(stream))
            }
        }
    }
}

/// Has answers leave at once, and clients noticed whose machines vanished.
pub(super) fn prepare(socket: &std::net::TcpStream) -> io::Result<()> {
    // Answers are smaller than a packet. Without this option each would wait for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    // A client whose machine vanished is detected within two minutes.
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4).with_retries(4);
    SockRef::from(socket).set_tcp_keepalive(&keep_alive)
}

#[derive(Debug)]
enum Attached {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket below TLS. The handshake is made on one thread, and the connection served on another: in between it is detached.
#[derive(Debug)]
pub(super) struct Socket {
    place: Place,
    /// Whether the client has sent any byte.
    spoke: bool,
}

#[derive(Debug)]
enum Place {
    Here(Attached),
    OnItsWay(Detached),
    /// The change from one to the other has failed.
    Lost,
}

impl Socket {
    /// Registers `socket` with the current runtime.
    pub(super) fn new(socket: Detached) -> io::Result<Self> {
        Ok(Self { place: Place::Here(socket.attach()?), spoke: false })
    }

    /// One that the current runtime knows.
    pub(super) fn of(socket: TcpStream) -> Self {
        Self { place: Place::Here(Attached::Tcp(socket)), spoke: false }
    }

    /// Whether the client has sent any byte.
    pub(super) fn has_spoken(&self) -> bool {
        self.spoke
    }

    /// Takes it from the current runtime.
    pub(super) fn detach(&mut self) -> io::Result<()> {
        if let Place::Here(_) = self.place
            && let Place::Here(socket) = std::mem::replace(&mut self.place, Place::Lost)
        {
            self.place = Place::OnItsWay(match socket {
                Attached::Tcp(socket) => Detached::Tcp(socket.into_std()?),
                Attached::Unix(socket) => Detached::Unix(socket.into_std()?),
            });
        }
        Ok(())
    }

    /// Registers it with the current runtime.
    fn attach(&mut self) -> io::Result<()> {
        if let Place::OnItsWay(_) = self.place
            && let Place::OnItsWay(socket) = std::mem::replace(&mut self.place, Place::Lost)
        {
            self.place = Place::Here(socket.attach()?);
        }
        Ok(())
    }
}

fn not_here() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket belongs to no runtime")
}

/// Calls the same of whichever socket it is.
macro_rules! delegate {
    ($this:expr, $socket:ident => $call:expr) => {
        match &mut $this.place {
            Place::Here(Attached::Tcp($socket)) => $call,
            Place::Here(Attached::Unix($socket)) => $call,
            Place::OnItsWay(_) | Place::Lost => Poll::Ready(Err(not_here())),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = delegate!(self, socket => Pin::new(socket).poll_read(context, buffer));
        self.spoke |= buffer.filled().len() > before;
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, socket => Pin::new(socket).poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, socket => Pin::new(socket).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, socket => Pin::new(socket).poll_shutdown(context))
    }
}

/// Calls the same of whatever the connection is made of.
macro_rules! of_each {
    ($this:expr, $stream:ident => $call:expr) => {
        match $this {
            Self::Tcp($stream) => $call,
            Self::Unix($stream) => $call,
            Self::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        of_each!(self.get_mut(), stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        of_each!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        of_each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_each!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }
}
