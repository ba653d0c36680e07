//! Runs what a connection begins after the connection, and not beside it.
//!
//! hyper hands each stream of a connection to an executor. Spawned, each answer wakes the connection, which writes it at
//! once: one system call for each answer. Collected here and run when the connection has read all there is, the answers
//! of a batch are written together, and no task is made for any of them.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::Stream as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;

type Stream = LocalBoxFuture<'static, ()>;

/// The streams that one connection has begun and nobody has looked at yet.
#[derive(Clone, Default)]
pub(super) struct Deferred(Rc<RefCell<Vec<Stream>>>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Deferred {
    fn execute(&self, stream: F) {
        self.0.borrow_mut().push(Box::pin(stream));
    }
}

/// The streams of one connection.
#[derive(Default)]
pub(super) struct Streams {
    begun: Deferred,
    /// Kept for its room.
    batch: Vec<Stream>,
    /// Those that wait for something.
    waiting: FuturesUnordered<Stream>,
}

impl Streams {
    /// Where the connection puts what it begins.
    pub(super) fn executor(&self) -> Deferred {
        self.begun.clone()
    }

    /// Whether none is unfinished.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes every stream as far as it goes; says whether any ended, so that the connection has something to write.
    pub(super) fn run(&mut self, context: &mut Context<'_>) -> bool {
        // Those that were begun before come first: what they held is free for those that come now.
        let mut ended = self.run_waiting(context);
        std::mem::swap(&mut *self.begun.0.borrow_mut(), &mut self.batch);
        ended |= !self.batch.is_empty();
        let before = self.waiting.len();
        for mut stream in self.batch.drain(..) {
            // Nearly all are done at once.
            if stream.as_mut().poll(context).is_pending() {
                self.waiting.push(stream);
            }
        }
        if self.waiting.len() > before {
            ended |= self.run_waiting(context);
        }
        ended
    }

    fn run_waiting(&mut self, context: &mut Context<'_>) -> bool {
        let mut ended = false;
        while let Poll::Ready(Some(())) = Pin::new(&mut self.waiting).poll_next(context) {
            ended = true;
        }
        ended
    }
}
