//! Those who watch the numbers as they change. One tick a second is made for all of them; who does not read it in time is
//! let go, and nobody else waits for that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::connection::Connection;

/// The most of them at a time.
pub(super) const MOST: usize = 200;
/// How many ticks may wait for a slow reader.
const WAITING: usize = 8;

/// The viewers that there are.
#[derive(Debug, Default)]
pub(super) struct Viewers(Mutex<Vec<Viewer>>);

#[derive(Debug)]
struct Viewer {
    ticks: mpsc::Sender<Arc<str>>,
    connection: Option<Connection>,
}

impl Viewers {
    /// The ticks for one more; `None` if there are as many as there may be.
    pub(super) fn join(&self, connection: Option<Connection>) -> Option<mpsc::Receiver<Arc<str>>> {
        let mut all = self.all();
        all.retain(|viewer| !viewer.ticks.is_closed());
        if all.len() >= MOST {
            return None;
        }
        if let Some(connection) = &connection {
            connection.lasts();
        }
        let (ticks, receiver) = mpsc::channel(WAITING);
        all.push(Viewer { ticks, connection });
        Some(receiver)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        let mut all = self.all();
        all.retain(|viewer| !viewer.ticks.is_closed());
        all.len()
    }

    /// Gives a tick to each.
    pub(super) fn tick(&self, tick: &Arc<str>) {
        self.all().retain(|viewer| {
            let taken = viewer.ticks.try_send(Arc::clone(tick)).is_ok();
            if let Some(connection) = &viewer.connection {
                if taken {
                    connection.is_in_use();
                } else {
                    connection.end.notify_one();
                }
            }
            taken
        });
    }

    fn all(&self) -> MutexGuard<'_, Vec<Viewer>> {
        // Whole viewers, whatever a thread that held them died of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn who_reads_nothing_is_let_go_and_the_others_are_not() {
        let viewers = Viewers::default();
        let slow_connection = Connection::new("127.0.0.1:1".parse().unwrap(), || ());
        let (slow, mut quick) =
            (viewers.join(Some(slow_connection.clone())).unwrap(), viewers.join(None).unwrap());
        assert!(slow_connection.is_lasting());
        for n in 0..=WAITING {
            viewers.tick(&n.to_string().into());
            assert_eq!(*quick.try_recv().unwrap(), *n.to_string());
        }
        assert!(slow_connection.end.notified().now_or_never().is_some(), "its connection ends");
        assert_eq!(viewers.len(), 1);
        drop(slow);
    }

    #[test]
    fn there_are_two_hundred_at_most() {
        let viewers = Viewers::default();
        let mut all: Vec<_> = (0..MOST).map(|_| viewers.join(None).unwrap()).collect();
        assert!(viewers.join(None).is_none());
        all.pop();
        assert!(viewers.join(None).is_some(), "one that left makes room");
    }
}
