//! What happens, each kind as a struct that writes its log line and counts itself. It is named nowhere else.

mod admin;
mod configuration;
mod connections;
mod counters;
mod lifecycle;
mod tls;
mod traces;
mod unlimited;
mod xds;

pub use admin::{
    AdminAway, AdminChange, AdminRefused, AdminSubjectChange, ChangeNotKept, Operator, SUBJECT_FIELDS,
    SubjectChangeLeftOut, SubjectChangeSettled,
};
pub use configuration::{
    ConfigChange, ConfigLoaded, ConfigRefused, ConfigReloaded, ConfigWarned, Forgotten, IgnoredValue,
    Mistake, OnlyWatching, WithoutEffect,
};
pub use connections::{
    AcceptFailed, AuthoritySanitized, CallPanicked, ConnectionEnded, ConnectionLost, ConnectionRefused,
    RequestBeyondBounds,
};
pub use counters::{
    ClockStepped, CountersAway, CountersEvicted, CountersKept, ReachedTiersNotKept, ReplicasCountAlone,
    StoreAsked, StoreBroken, StoreFailed, StoreLostCommits, StoreNotClosed, StoreReopened, StoreReplaced,
};
pub use lifecycle::{Drained, Draining, Listening, NotReady, Ready, Starting, StatisticsSent, TaskEnded};
pub use tls::{
    CertificateExpires, CertificateRefused, CertificateServed, ClientShutOut, HandshakeFailed,
    RevocationsOutdated, SystemAuthoritiesLeftOut,
};
pub use traces::{SpansDropped, SpansSentAgain, Tracing};
pub use unlimited::{SentLimitLeftOut, UnknownDomain, UnmatchedDescriptors};
pub use xds::{
    NoDomain, XdsAccepted, XdsAway, XdsConnected, XdsRefused, XdsRenewing, XdsStillRefused, XdsUnchanged,
    XdsWaiting,
};

/// The most bytes of a client's text that a line shows.
const LONGEST_SHOWN: usize = 256;
