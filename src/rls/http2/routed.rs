//! Requests for tonic's router, under the same bounds as those of `ShouldRateLimit`.
//!
//! The router reads a call for as long as its client sends, and keeps up to 4 MiB of it. So this module gives it complete
//! messages, and bounds streams of messages in time and size.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::rls::codec::prefixed;

/// The most time that a stream of requests may last. A person's tool asks a few questions.
const STREAM_WITHIN: Duration = Duration::from_secs(60);
/// The most bytes of a stream of requests.
const STREAM_SIZE: usize = 256 << 10;

/// The body of a request to the router.
pub(super) enum RoutedRequest {
    /// A complete message; none for an unknown method, whose message is not read.
    Whole(Option<Bytes>),
    /// A stream of messages.
    Stream { body: Incoming, until: Pin<Box<Sleep>>, left: usize },
}

impl RoutedRequest {
    /// `message`, behind a prefix.
    pub(super) fn whole(message: &Bytes) -> Self {
        Self::Whole(Some(prefixed(message)))
    }

    /// The messages of `body`, within the bounds.
    pub(super) fn stream(body: Incoming) -> Self {
        Self::Stream { body, until: Box::pin(sleep(STREAM_WITHIN)), left: STREAM_SIZE }
    }
}

impl Body for RoutedRequest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Whole(message) => Poll::Ready(message.take().map(|message| Ok(Frame::data(message)))),
            Self::Stream { body, until, left } => {
                if until.as_mut().poll(context).is_ready() {
                    let seconds = STREAM_WITHIN.as_secs();
                    let message = format!("a stream of requests ends within {seconds} s");
                    return Poll::Ready(Some(Err(Status::deadline_exceeded(message))));
                }
                let Some(frame) = ready!(Pin::new(body).poll_frame(context)) else {
                    return Poll::Ready(None);
                };
                let frame = frame.map_err(|error| Status::cancelled(error.to_string()));
                let length = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
                Poll::Ready(Some(if let Some(rest) = left.checked_sub(length) {
                    *left = rest;
                    frame
                } else {
                    let most = STREAM_SIZE >> 10;
                    Err(Status::resource_exhausted(format!("a stream of requests has at most {most} KiB")))
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(message) => message.is_none(),
            Self::Stream { body, .. } => body.is_end_stream(),
        }
    }
}
