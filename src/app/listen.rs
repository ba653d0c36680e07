//! Where the server listens: on addresses, and for gRPC also on a Unix socket.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, future::Future};

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::Instant;

use super::ServeError;
use super::certificates::Certificates;
use super::socket::Detached;
use crate::model::Peer;
use crate::traces::Tracer;

/// Where a server may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// At an address of this machine.
    Tcp(SocketAddr),
    /// At a file. It is replaced if nobody listens there any more, and removed at the end.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// The port for Envoy.
#[derive(Debug)]
pub struct GrpcPort {
    pub(super) listener: Listener,
    /// What it shows, if it speaks TLS.
    pub tls: Option<Arc<Certificates>>,
    /// Traces its calls, if that is asked for.
    pub tracer: Option<Tracer>,
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl GrpcPort {
    /// Opens it.
    pub(super) async fn bind(address: Address) -> Result<Self, ServeError> {
        let bound = match &address {
            Address::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
            Address::Unix(path) => {
                bind_file(path).await.map(|(listener, file)| Listener::Unix(listener, file))
            }
        };
        match bound {
            Ok(listener) => Ok(Self { listener, tls: None, tracer: None }),
            Err(source) => Err(ServeError::Bind { what: "gRPC", address, source }),
        }
    }

    /// Where it is.
    pub(super) fn address(&self) -> io::Result<Address> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Listener::Unix(_, file) => Ok(Address::Unix(file.path.clone())),
        }
    }

    /// Its address.
    ///
    /// # Errors
    ///
    /// When it has none, as a Unix socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Unix(..) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}

impl Listener {
    /// The next connection.
    pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Detached, Peer)>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                let (socket, peer) = ready!(listener.poll_accept(context))?;
                Ok((Detached::Tcp(socket.into_std()?), peer.into()))
            }
            Self::Unix(listener, _) => {
                let (socket, _) = ready!(listener.poll_accept(context))?;
                Ok((Detached::Unix(socket.into_std()?), Peer::Unix))
            }
        })
    }
}

/// Listens at a file, with the rights that the umask leaves. One that is there is replaced if it is a socket on which nobody
/// listens: what a process left that was killed.
///
/// Of two that start at once, each could find what was left, and the second one would remove the socket of the first. So the
/// directory is locked meanwhile (`flock`), which leaves no file behind as a lock file would.
fn bind_file(path: &Path) -> impl Future<Output = io::Result<(UnixListener, SocketFile)>> + use<> {
    let path = path.to_owned();
    async move {
        let lock = locked(&path).await;
        let listener = match UnixListener::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(&path).await? => {
                // Without the lock it may be another one's by now.
                let _lock = lock?;
                fs::remove_file(&path)?;
                UnixListener::bind(&path)?
            }
            bound => bound?,
        };
        let file = fs::symlink_metadata(&path)?;
        Ok((listener, SocketFile { path, identity: (file.dev(), file.ino()) }))
    }
}

/// How long another start may have the directory locked, and how often it is tried.
const LOCKED_WITHIN: Duration = Duration::from_secs(5);
const TRIED_AGAIN: Duration = Duration::from_millis(10);

/// A lock of the directory of `path`, which is there until it is dropped.
async fn locked(path: &Path) -> io::Result<fs::File> {
    let directory = directory_of(path)?;
    let begun = Instant::now();
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(directory),
            Err(fs::TryLockError::WouldBlock) if begun.elapsed() < LOCKED_WITHIN => {
                tokio::time::sleep(TRIED_AGAIN).await;
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(io::Error::other(
                    "the socket there is to be replaced, and another process has locked its directory",
                ));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn directory_of(path: &Path) -> io::Result<fs::File> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    fs::File::open(directory.unwrap_or(Path::new(".")))
}

async fn is_left_over(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::other("there is a file of that name, which is no socket"));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        // One that has too many connections waiting is in use as well.
        _ => Ok(false),
    }
}

/// The file of a Unix socket, which is removed when this is dropped; unless it is another one's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Who starts at this moment may be about to replace it. Then it is theirs to remove.
        let Ok(directory) = directory_of(&self.path) else { return };
        if directory.try_lock().is_err() {
            return;
        }
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if is_ours {
            // Where it may not be removed, the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bind(path: &Path) -> Result<GrpcPort, String> {
        GrpcPort::bind(Address::Unix(path.to_owned())).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_socket_file_is_replaced_when_nobody_listens_and_removed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grpc.sock");
        let shown = format!("cannot listen for gRPC on `unix:{}`", path.display());

        let first = bind(&path).await.unwrap();
        assert_eq!(bind(&path).await.unwrap_err(), format!("{shown}: the address is in use"));
        drop(first);
        assert!(!path.exists());

        // As a process leaves it that is killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let second = bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let third = bind(&path).await.unwrap();
        drop(second);
        assert!(path.exists(), "it is the third one's");
        drop(third);

        fs::write(&path, "somebody's work").unwrap();
        let refused = bind(&path).await.unwrap_err();
        assert_eq!(refused, format!("{shown}: there is a file of that name, which is no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's work");
    }

    #[tokio::test]
    async fn of_two_that_start_at_once_neither_takes_the_socket_of_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grpc.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        // The other one has found what was left, and has not yet replaced it.
        let other = locked(&path).await.unwrap();
        let starting = tokio::spawn({
            let path = path.clone();
            async move { bind(&path).await }
        });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        fs::remove_file(&path).unwrap();
        let live = UnixListener::bind(&path).unwrap();
        drop(other);
        let told = starting.await.unwrap().unwrap_err();
        assert!(told.ends_with(": the address is in use"), "{told}");
        UnixStream::connect(&path).await.unwrap();
        drop(live);
    }
}
