//! Polls the streams of a connection after the connection itself, instead of as tasks beside it.
//!
//! hyper gives each stream of a connection to an executor. If each stream were a task, its answer would wake the connection,
//! which would write it at once: one system call for each answer. Here streams are collected, and polled when the connection
//! has read everything that came. So the answers of a batch leave in one write, and no task is spawned.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::Stream as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;

type Stream = LocalBoxFuture<'static, ()>;

/// The streams that one connection has begun and that were not polled yet.
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
    /// Kept for its allocation.
    batch: Vec<Stream>,
    /// Streams that were polled and wait for something.
    waiting: FuturesUnordered<Stream>,
}

impl Streams {
    /// The executor that the connection gives its streams to.
    pub(super) fn executor(&self) -> Deferred {
        self.begun.clone()
    }

    /// Whether no stream waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Polls every stream. Returns whether any ended, so that the connection has something to write.
    pub(super) fn run(&mut self, context: &mut Context<'_>) -> bool {
        // Streams that waited come first: they free memory for the new ones.
        let mut ended = self.run_waiting(context);
        std::mem::swap(&mut *self.begun.0.borrow_mut(), &mut self.batch);
        ended |= !self.batch.is_empty();
        let before = self.waiting.len();
        for mut stream in self.batch.drain(..) {
            // Nearly all end at once.
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
        // There seldom are any, and polling for them costs an atomic operation or two.
        if self.waiting.is_empty() {
            return ended;
        }
        while let Poll::Ready(Some(())) = Pin::new(&mut self.waiting).poll_next(context) {
            ended = true;
        }
        ended
    }
}
