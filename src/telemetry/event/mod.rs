//! What happens, each kind as a struct that writes its log line and counts itself. It is named nowhere else.

mod admin;
mod configuration;
mod connections;
mod counters;
mod lifecycle;
mod unlimited;

pub use admin::{AdminAway, AdminChange, AdminRefused, SubjectChangeLeftOut};
pub use configuration::{
    ConfigLoaded, ConfigRefused, ConfigReloaded, ConfigWarned, Forgotten, Mistake, OnlyWatching,
    WithoutEffect,
};
pub use connections::{
    AcceptFailed, AuthoritySanitized, CallPanicked, ConnectionEnded, ConnectionLost, ConnectionRefused,
    RequestBeyondBounds,
};
pub use counters::{
    ClockStepped, CountersAway, CountersEvicted, CountersKept, ReachedTiersNotKept, ReplicasCountAlone,
    StoreAsked, StoreBroken, StoreFailed, StoreNotClosed, StoreReplaced,
};
pub use lifecycle::{Drained, Draining, Listening, NotReady, Ready, Starting, StatisticsSent, TaskEnded};
pub use unlimited::{SentLimitLeftOut, UnknownDomain, UnmatchedDescriptors};

/// The most bytes of a client's text that a line shows.
const LONGEST_SHOWN: usize = 256;
