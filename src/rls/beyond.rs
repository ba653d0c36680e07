//! Requests that are beyond a bound, and what becomes of them.
//!
//! Envoy lets a request pass whose call fails, unless it is told otherwise. What a client of the API can cause by what it
//! sends must not switch its limits off, so a request beyond a bound is answered `OVER_LIMIT` by default.

use bytes::Bytes;
use tonic::Status;

/// What answers a request that is beyond a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeyondBounds {
    /// `OVER_LIMIT`, without a word about any limit.
    #[default]
    Refuse,
    /// A gRPC error, for which Envoy has its failure mode.
    Error,
    /// `OK`: nothing is refused while Spillway only watches.
    Pass,
}

/// A bound of what is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The size of a request.
    Message,
    /// Its descriptors.
    Descriptors,
    /// The entries of one of them.
    Entries,
    /// What the unfinished requests of a connection hold together.
    UnfinishedHere,
    /// The same of all connections.
    UnfinishedByAll,
    /// What the long requests of a connection hold together that wait for their turn.
    LongOnesWaitingHere,
    /// The same of all connections.
    LongOnesWaiting,
}

impl Bound {
    /// As gRPC has it.
    fn status(self) -> Status {
        match self {
            Self::Descriptors | Self::Entries => Status::invalid_argument(self.text()),
            _ => Status::resource_exhausted(self.text()),
        }
    }
}

impl Bound {
    /// What it is, in a sentence.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Message => "a request has at most 16 MiB",
            Self::Descriptors => "a request has at most 1024 descriptors",
            Self::Entries => "a request has at most 1024 entries in a descriptor",
            Self::UnfinishedHere => "the unfinished requests of a connection have at most 32 MiB together",
            Self::UnfinishedByAll => {
                "the unfinished requests of all connections have at most 256 MiB together"
            }
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
    /// It is beyond a bound.
    Beyond(Bound),
    /// It cannot be decided, by whoever's mistake.
    Failed(Status),
}

impl Undecided {
    /// As gRPC has it.
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

/// A `RateLimitResponse` whose `overall_code` is `OVER_LIMIT`, behind its prefix.
pub(super) fn over_limit() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 2])
}

/// The same with `OK`.
pub(super) fn ok() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 1])
}
