//! Futures that seldom go on, inside of a task that is woken all the time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled when it was woken itself, and not when its task was woken for something else.
///
/// A connection's task waits for a signal to stop, for one to make room, and for a timer, and is woken for each call: polling
/// the three takes a lock and a list each, which is a hundredth of what a call costs.
#[derive(Debug)]
pub struct Seldom<F> {
    future: Pin<Box<F>>,
    signal: Option<Arc<Signal>>,
}

/// Notes that the future was woken, and wakes its task.
#[derive(Debug)]
struct Signal {
    is_woken: AtomicBool,
    task: Waker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<F> Seldom<F> {
    /// Wraps `future`, which is polled once in any case.
    pub fn new(future: F) -> Self {
        Self { future: Box::pin(future), signal: None }
    }

    /// The future. Whoever changes when it is ready has it polled: [`poll_again`](Self::poll_again).
    pub(super) fn get_mut(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }

    /// Has the future polled the next time, woken or not.
    pub(super) fn poll_again(&mut self) {
        self.signal = None;
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let signal = match &self.signal {
            Some(signal) if signal.task.will_wake(context.waker()) => {
                if !signal.is_woken.load(Ordering::Relaxed) {
                    return Poll::Pending;
                }
                // Before the future is polled: it may be woken again meanwhile.
                signal.is_woken.swap(false, Ordering::Acquire);
                Arc::clone(signal)
            }
            _ => {
                let task = context.waker().clone();
                Arc::clone(self.signal.insert(Arc::new(Signal { is_woken: AtomicBool::new(false), task })))
            }
        };
        self.future.as_mut().poll(&mut Context::from_waker(&Waker::from(signal)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_was_woken_and_not_when_its_task_was() {
        let (polls, (wake, woken)) = (Cell::new(0), oneshot::channel());
        let mut woken = woken.fuse();
        let mut seldom = Seldom::new(poll_fn(|context| {
            polls.set(polls.get() + 1);
            woken.poll_unpin(context)
        }));
        for _ in 0..10 {
            assert!(poll_fn(|context| Poll::Ready(seldom.poll_unpin(context))).await.is_pending());
        }
        assert_eq!(polls.get(), 1);
        wake.send("on").unwrap();
        assert_eq!(seldom.await, Ok("on"));
        assert_eq!(polls.get(), 2);
    }

    #[tokio::test]
    async fn its_task_is_woken_with_it() {
        let (wake, woken) = oneshot::channel();
        let waits = tokio::spawn(Seldom::new(woken));
        tokio::task::yield_now().await;
        wake.send(()).unwrap();
        assert_eq!(waits.await.unwrap(), Ok(()));
    }

    /// As a future that was polled by one task and is then awaited in another.
    #[tokio::test]
    async fn another_task_is_woken_too() {
        let (wake, woken) = oneshot::channel();
        let mut seldom = Seldom::new(woken);
        assert!((&mut seldom).now_or_never().is_none());
        let waits = tokio::spawn(seldom);
        tokio::task::yield_now().await;
        wake.send(()).unwrap();
        assert_eq!(waits.await.unwrap(), Ok(()));
    }
}
