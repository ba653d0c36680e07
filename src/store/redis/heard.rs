//! What became of a request that whoever asked may wait for no longer.

use std::future::poll_fn;
use std::pin::Pin;

use tokio::sync::oneshot;

use super::failure::Failure;
use super::numbers::Decided;
use super::session::{Answer, given_up};

/// Whom to tell that a request was not charged.
type Unmade = Box<dyn FnOnce() + Send>;

/// Hears what becomes of a request, and tells where it was not charged: it was not sent, the server refused it or came to it too late.
/// Dropped while there is no answer, it waits for that aside; as long as for any answer.
#[derive(Default)]
pub(super) struct Heard {
    unmade: Option<Unmade>,
    /// What is to be answered to a request that is queued or sent.
    answer: Option<oneshot::Receiver<Answer>>,
}

impl Heard {
    pub(super) fn by(unmade: Unmade) -> Self {
        Self { unmade: Some(unmade), answer: None }
    }

    /// The request is queued, and is answered here.
    pub(super) fn queued(&mut self, answer: oneshot::Receiver<Answer>) {
        self.answer = Some(answer);
    }

    /// The answer, once it is there.
    pub(super) async fn answer(&mut self) -> Answer {
        let Some(answer) = &mut self.answer else { return Err(Failure::unreachable(String::new())) };
        let answer = poll_fn(|context| Pin::new(&mut *answer).poll(context)).await;
        self.answer = None;
        let answer = given_up(answer);
        if !is_unmade(&answer) {
            self.forget();
        }
        answer
    }

    /// It is charged, or that is not known.
    pub(super) fn forget(&mut self) {
        self.unmade = None;
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let Some(unmade) = self.unmade.take() else { return };
        let Some(answer) = self.answer.take() else { return unmade() };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // One that was taken out of the queue again has no answer.
                if answer.await.as_ref().map_or(true, is_unmade) {
                    unmade();
                }
            });
        }
    }
}

/// Whether nothing was charged for certain.
fn is_unmade(answer: &Answer) -> bool {
    match answer {
        Ok((Decided::Late | Decided::Unreadable, _))
        | Err(Failure::Refused(_) | Failure::OnItsWay(_) | Failure::Rekeyed | Failure::Elsewhere { .. }) => {
            true
        }
        Ok((Decided::Outcomes(_), _)) | Err(Failure::Unreachable(..) | Failure::Garbled(_)) => false,
    }
}
