//! Who is behind a credential, and what they bought.
//!
//! A [`Directory`] is read from one text and then only asked. Invariants: a credential is hashed where it is read and
//! is kept nowhere, neither is its hash; no message and no `Debug` shows either. A text with one mistake gives no
//! directory at all, and every mistake is reported at once.

mod attributes;
mod change;
mod credential;
mod directory;
mod draft;
mod grouped;
mod id;
mod index;
mod lines;
mod problem;
mod reached;
mod read;
mod roster;
mod scalar;
mod subject;
mod survey;
mod table;
mod tier_rules;
mod tiers;
mod value;
mod words;

pub use change::{CredentialChange, SubjectChange, TakenBack, WrongChange, credential_sha256};
pub use credential::{CredentialHash, CredentialId, strip_scheme};
pub use directory::{Credential, Directory, Subject, UnknownSubject};
pub use id::{ID, is_id};
pub use problem::Problem;
pub use reached::{KnownTiers, Reached};
pub(crate) use read::Syntax;
pub(crate) use survey::Survey;
pub use value::Value;
pub(crate) use words::is_word;
pub use words::{WordRow, language};

/// What `text` says as the value of an attribute, `plain` when it has no quotes; or why it says nothing, and what to do.
pub(crate) fn attribute(text: &str, plain: bool) -> Result<Value, (String, Option<String>)> {
    scalar::value(text, plain)
}

#[cfg(test)]
mod tests;
