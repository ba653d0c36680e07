//! The bodies of answers, whichever part of the server makes them.

use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

use super::state::InFlight;
use crate::rls::service::Answer;

/// The body of an answer.
pub(super) enum Reply {
    /// A decision.
    Answer(Answer, #[expect(dead_code, reason = "it ends with the answer")] InFlight),
    /// A short answer that is complete.
    Routed(tonic::body::Body),
    /// An answer to what is no gRPC call.
    Refused(tonic::body::Body, #[expect(dead_code, reason = "it ends with the answer")] InFlight),
    /// A stream of the router's, which ends at its call's deadline. It counts among the router's calls until it is dropped.
    Streamed(
        tonic::body::Body,
        Option<Pin<Box<Sleep>>>,
        #[expect(dead_code, reason = "it ends with the answer")] Rc<()>,
    ),
}

/// An answer that has a status and no message.
pub(super) fn status_response(status: Status) -> Response<Reply> {
    status.into_http::<tonic::body::Body>().map(Reply::Routed)
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Answer(answer, _) => Poll::Ready(answer.next_frame().map(Ok)),
            Self::Routed(body) | Self::Refused(body, _) => Pin::new(body).poll_frame(context),
            Self::Streamed(body, until, _) => {
                if until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready()) {
                    return Poll::Ready(Some(Err(Status::deadline_exceeded("the call's time is over"))));
                }
                Pin::new(body).poll_frame(context)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Answer(answer, _) => answer.is_finished(),
            Self::Routed(body) | Self::Refused(body, _) | Self::Streamed(body, ..) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // A length would become a header.
            Self::Answer(..) => SizeHint::default(),
            Self::Routed(body) | Self::Refused(body, _) | Self::Streamed(body, ..) => body.size_hint(),
        }
    }
}
