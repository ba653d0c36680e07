//! Why a descriptor reaches nothing in the policy of its domain.

/// What the policy has not. A wrong key in Envoy's configuration and an invented API key look different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// The key of an entry, where it stands.
    UnknownKey,
    /// The value of an entry whose key it has.
    UnknownValue,
    /// The value of an entry must be somebody's credential, and is nobody's.
    UnknownCredential,
    /// There is no entry, or none that counts.
    NoEntries,
}

impl NoMatch {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::UnknownKey, Self::UnknownValue, Self::UnknownCredential, Self::NoEntries];

    /// What metrics and log lines call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::UnknownValue => "unknown_value",
            Self::UnknownCredential => "unknown_credential",
            Self::NoEntries => "no_entries",
        }
    }
}
