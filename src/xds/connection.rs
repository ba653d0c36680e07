//! One connection to a control plane: HTTP/2 on TCP, or on TLS.

use std::time::Duration;

use http::Uri;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::client::Grpc;

use super::error::chain;
use super::server::XdsServer;
use crate::channel::{Channel, Stream};

/// How long it may take until a connection is open.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
/// How often the server is asked by HTTP/2 whether it is there while it says nothing. A server in Go ends connections on which it
/// is asked more than once in five minutes, unless it was told otherwise.
const PING_EVERY: Duration = Duration::from_secs(320);
/// How long it may take to say so.
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// After which silence TCP asks the other machine, how often then, and how many answers may be missing. No server minds.
const TCP_KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);
/// How long what was sent may stay unacknowledged.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// How long after a call has failed its connection may take to do so, too.
const FAILS_WITHIN: Duration = Duration::from_millis(100);
/// How much the server may send before it is read.
const WINDOW: u32 = 4 << 20;

/// An open connection. It is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Body>,
    origin: Uri,
    /// What drives it, until it ends: why it failed, if it did.
    driver: JoinSet<Option<String>>,
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    ///
    /// Why that failed, for people.
    pub(super) async fn open(server: &XdsServer) -> Result<Self, String> {
        let late = |_| format!("no connection within {OPENED_WITHIN:?}");
        tokio::time::timeout(OPENED_WITHIN, Self::try_to_open(server)).await.map_err(late)?
    }

    async fn try_to_open(server: &XdsServer) -> Result<Self, String> {
        let host = &server.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let scheme = if server.tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{host}:{}", server.port);
        let origin: Uri = origin.parse().map_err(|error| format!("`{origin}`: {error}"))?;
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        // Without them a server that is gone is found out later.
        let _ = set_up(&stream);
        let stream: Box<dyn Stream> = match &server.tls {
            Some(tls) => Box::new(tls.connect(stream, &server.host).await?),
            None => Box::new(stream),
        };
        let handshake = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|error| chain(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async { connection.await.err().map(|error| chain(&error)) });
        Ok(Self { sender, origin, driver })
    }

    /// Why it failed, if it did: a call on it only knows that it is closed.
    pub(super) async fn failure(mut self) -> Option<String> {
        tokio::time::timeout(FAILS_WITHIN, self.driver.join_next()).await.ok()??.ok()?
    }

    /// A client for calls on it.
    pub(super) fn client(&self) -> Grpc<Channel> {
        Grpc::with_origin(Channel(self.sender.clone()), self.origin.clone())
    }
}

fn set_up(stream: &TcpStream) -> std::io::Result<()> {
    let (after, every, missing) = TCP_KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(after).with_interval(every).with_retries(missing);
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN))
}
