//! Taking connections, through times when none can be taken.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::telemetry::{AcceptFailed, Metrics};

/// How long to wait when there are no more file descriptors, or no memory: until a connection ends, trying is of no use.
const BREATHER: Duration = Duration::from_millis(200);

/// The next connection, and whose it is.
pub(super) async fn accept(listener: &TcpListener, metrics: &Metrics) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // It went before it was taken.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                AcceptFailed { error: &error }.emit(metrics);
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}
