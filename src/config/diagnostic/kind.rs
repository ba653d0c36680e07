//! What sort of mistake it is, for programs that sort, count or silence them.

/// The sort of a mistake. Its name does not change between versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DiagnosticKind {
    /// The text is not YAML.
    Syntax,
    /// A file or a directory cannot be read, or is not there.
    UnreadableFile,
    /// The store cannot say what was changed on the admin port: no mistake of the files.
    UnreadableStore,
    /// A word that nobody knows.
    UnknownWord,
    /// A word that means nothing where it stands.
    MisplacedWord,
    /// A key that is given twice in one mapping.
    RepeatedKey,
    /// A value that is not what its word takes.
    WrongValue,
    /// A rule or a descriptor that is there already.
    RepeatedRule,
    /// A descriptor that no request can reach.
    UnreachableRule,
    /// A name of something that there is not: a rule, an entry, a subject, an attribute, a kind of credentials.
    UnknownName,
    /// A limit that has no number for somebody who comes to it.
    MissingNumber,
    /// A character that nobody sees, in a value that requests are compared with.
    UnseenCharacter,
    /// A mistake in a subjects file.
    WrongSubjects,
    /// A descriptor that Envoy sends and that no rule is for.
    UnmatchedDescriptor,
    /// A descriptor in an Envoy configuration that Envoy never sends.
    UnsentDescriptor,
    /// A limit that a client of Envoy can get round.
    Bypass,
    /// How Envoy calls the rate limit service: cluster, timeout, authority, failure mode.
    EnvoyService,
    /// A header that clients of Envoy get twice.
    DoubledHeader,
    /// Anything else.
    #[default]
    Other,
}

impl DiagnosticKind {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Syntax,
        Self::UnreadableFile,
        Self::UnreadableStore,
        Self::UnknownWord,
        Self::MisplacedWord,
        Self::RepeatedKey,
        Self::WrongValue,
        Self::RepeatedRule,
        Self::UnreachableRule,
        Self::UnknownName,
        Self::MissingNumber,
        Self::UnseenCharacter,
        Self::WrongSubjects,
        Self::UnmatchedDescriptor,
        Self::UnsentDescriptor,
        Self::Bypass,
        Self::EnvoyService,
        Self::DoubledHeader,
        Self::Other,
    ];

    /// Its name: `unknown-word`.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::UnreadableFile => "unreadable-file",
            Self::UnreadableStore => "unreadable-store",
            Self::UnknownWord => "unknown-word",
            Self::MisplacedWord => "misplaced-word",
            Self::RepeatedKey => "repeated-key",
            Self::WrongValue => "wrong-value",
            Self::RepeatedRule => "repeated-rule",
            Self::UnreachableRule => "unreachable-rule",
            Self::UnknownName => "unknown-name",
            Self::MissingNumber => "missing-number",
            Self::UnseenCharacter => "unseen-character",
            Self::WrongSubjects => "wrong-subjects",
            Self::UnmatchedDescriptor => "unmatched-descriptor",
            Self::UnsentDescriptor => "unsent-descriptor",
            Self::Bypass => "bypass",
            Self::EnvoyService => "envoy-service",
            Self::DoubledHeader => "doubled-header",
            Self::Other => "other",
        }
    }

    /// What it means, in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Syntax => "the text is not YAML",
            Self::UnreadableFile => "a file or a directory cannot be read, or is not there",
            Self::UnreadableStore => "the store cannot say what was changed on the admin port",
            Self::UnknownWord => "a word that nobody knows",
            Self::MisplacedWord => "a word that means nothing where it stands",
            Self::RepeatedKey => "a key that is given twice in one mapping",
            Self::WrongValue => "a value that is not what its word takes",
            Self::RepeatedRule => "a descriptor that is there already",
            Self::UnreachableRule => "a descriptor that no request can reach",
            Self::UnknownName => "a name of something that there is not",
            Self::MissingNumber => "a limit that has no number for somebody who comes to it",
            Self::UnseenCharacter => {
                "a character that nobody sees, in a value that requests are compared with"
            }
            Self::WrongSubjects => "a mistake in a subjects file",
            Self::UnmatchedDescriptor => "a descriptor that Envoy sends and that no rule is for",
            Self::UnsentDescriptor => "a descriptor in an Envoy configuration that Envoy never sends",
            Self::Bypass => "a limit that a client of Envoy can get round",
            Self::EnvoyService => "how Envoy calls the rate limit service",
            Self::DoubledHeader => "a header that clients of Envoy get twice",
            Self::Other => "any other mistake, or what is probably not meant",
        }
    }
}
