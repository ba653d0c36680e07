//! Accepts connections, and waits while none can be accepted.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;

use crate::telemetry::{AcceptFailed, Metrics};

/// The time between two attempts when there are no file descriptors or no memory left.
const BREATHER: Duration = Duration::from_millis(200);

/// So many errors in a row are no matter of single connections: a filter of system calls, say, refuses each.
const IN_A_ROW: u32 = 64;

/// Errors of one connection, after which the next one can be accepted: accept(2) hands on what its network has said, and a
/// firewall's refusal.
const OF_ONE_CONNECTION: [Errno; 11] = [
    Errno::CONNABORTED,
    Errno::CONNRESET,
    Errno::HOSTDOWN,
    Errno::HOSTUNREACH,
    Errno::INTR,
    Errno::NETDOWN,
    Errno::NETUNREACH,
    Errno::NOPROTOOPT,
    Errno::PERM,
    Errno::PROTO,
    Errno::TIMEDOUT,
];

/// The next connection that `poll` accepts.
pub(super) async fn accept<T>(
    poll: impl Fn(&mut Context<'_>) -> Poll<io::Result<T>>,
    metrics: &Metrics,
) -> T {
    let mut in_a_row: u32 = 0;
    loop {
        match poll_fn(&poll).await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Where the client closed it before it was accepted, there is nothing to tell.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    AcceptFailed { error: &error }.emit(metrics);
                }
                in_a_row += 1;
                let errno = Errno::from_io_error(&error);
                let is_of_one = errno.is_some_and(|errno| OF_ONE_CONNECTION.contains(&errno));
                if !is_of_one || in_a_row.is_multiple_of(IN_A_ROW) {
                    // EMFILE, ENFILE, ENOBUFS and ENOMEM: without a pause the error would be there again, as fast as a core can
                    // ask. What else there may be is of the listener, and would be so as well.
                    tokio::time::sleep(BREATHER).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_error_of_one_connection_lets_nobody_wait_and_one_of_the_system_does() {
        // How long it took to accept the connection after these errors.
        let after = async |errors: &[Errno]| {
            let results = RefCell::new(errors.iter().map(|&errno| Err(errno.into())).collect::<Vec<_>>());
            let poll = |_: &mut Context<'_>| Poll::Ready(results.borrow_mut().pop().unwrap_or(Ok(())));
            let begun = Instant::now();
            accept(poll, &Metrics::default()).await;
            begun.elapsed()
        };
        let of_one = after(&[Errno::CONNABORTED, Errno::PROTO, Errno::PERM, Errno::HOSTUNREACH]).await;
        assert_eq!(of_one, Duration::ZERO);
        let refused = [Errno::PERM; 10 * IN_A_ROW as usize];
        assert_eq!(after(&refused).await, BREATHER * 10, "a core is not kept busy by what goes on for ever");
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert_eq!(after(&[errno]).await, BREATHER, "{errno:?}");
        }
    }
}
