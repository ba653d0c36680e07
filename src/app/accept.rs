//! Accepts connections, and waits while none can be accepted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::telemetry::{AcceptFailed, Metrics};

/// The time between two attempts when there are no file descriptors or no memory left.
const BREATHER: Duration = Duration::from_millis(200);

/// The next connection, and the client's address.
pub(super) async fn accept(listener: &TcpListener, metrics: &Metrics) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client closed it before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                AcceptFailed { error: &error }.emit(metrics);
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}
