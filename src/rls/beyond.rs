//! Bounds on a request, and the answers to requests beyond them.
//!
//! By default Envoy lets a request pass when its call to the rate limit service fails. A client of the API must not be able
//! to switch its limits off by sending a request that is too large, so the default answer is `OVER_LIMIT`.

use bytes::Bytes;
use tonic::Status;

/// The answer to a request that is beyond a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeyondBounds {
    /// `OVER_LIMIT`, without statuses.
    #[default]
    Refuse,
    /// A gRPC error, so that Envoy's failure mode applies.
    Error,
    /// `OK`, because nothing is refused in shadow mode.
    Pass,
}

impl BeyondBounds {
    /// What becomes of a request, in words and with its answer; an error, where there is none.
    pub(super) fn answer(self) -> (&'static str, Option<Bytes>) {
        match self {
            Self::Error => ("was answered by an error, as --beyond-bounds says", None),
            Self::Refuse => ("was refused", Some(over_limit())),
            Self::Pass => ("was let pass, as SHADOW_MODE says", Some(ok())),
        }
    }
}

/// A bound on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The bytes of a request.
    Message,
    /// The bytes of a request in JSON.
    JsonMessage,
    /// The descriptors of a request.
    Descriptors,
    /// The entries of a descriptor.
    Entries,
    /// The work of matching all values of a request with the wildcards of its domain.
    Matching,
    /// The bytes of all incomplete requests of a connection.
    UnfinishedHere,
    /// The bytes of all incomplete requests of all connections.
    UnfinishedByAll,
    /// The bytes of all requests in JSON that are read.
    UnfinishedJson,
    /// The bytes of all long requests of a connection that wait for a decision.
    LongOnesWaitingHere,
    /// The bytes of all long requests of all connections that wait for a decision.
    LongOnesWaiting,
}

impl Bound {
    /// The bound as a gRPC status.
    fn status(self) -> Status {
        match self {
            Self::Descriptors | Self::Entries => Status::invalid_argument(self.text()),
            _ => Status::resource_exhausted(self.text()),
        }
    }
}

impl Bound {
    /// The bound in a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Message => "a request has at most 16 MiB",
            Self::JsonMessage => "a request in JSON has at most 2 MiB",
            Self::Descriptors => "a request has at most 1024 descriptors",
            Self::Entries => "a request has at most 1024 entries in a descriptor",
            Self::Matching => {
                "the values of a request take at most 100000 steps to match with wildcards, and 2 for each byte"
            }
            Self::UnfinishedHere => "the unfinished requests of a connection have at most 32 MiB together",
            Self::UnfinishedByAll => {
                "the unfinished requests of all connections have at most 256 MiB together"
            }
            Self::UnfinishedJson => "the requests in JSON that are read have at most 32 MiB together",
            Self::LongOnesWaitingHere => {
                "the requests over 64 KiB of a connection that wait have at most 4 MiB together"
            }
            Self::LongOnesWaiting => "the requests over 64 KiB that wait have at most 32 MiB together",
        }
    }
}

/// Why a request is not decided.
#[derive(Debug)]
pub enum Undecided {
    /// The request is beyond a bound.
    Beyond(Bound),
    /// The request is malformed, or the server failed.
    Failed(Status),
}

impl Undecided {
    /// The reason as a gRPC status.
    pub fn status(self) -> Status {
        match self {
            Self::Beyond(bound) => bound.status(),
            Self::Failed(status) => status,
        }
    }
}

impl From<Bound> for Undecided {
    fn from(bound: Bound) -> Self {
        Self::Beyond(bound)
    }
}

impl From<Status> for Undecided {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

/// A `RateLimitResponse` whose `overall_code` is `OVER_LIMIT`, with its prefix.
fn over_limit() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 2])
}

/// A `RateLimitResponse` whose `overall_code` is `OK`, with its prefix.
fn ok() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 1])
}
