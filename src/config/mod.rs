//! Text → `Policy`, or everything that is wrong with the text.

mod compile;
mod diagnostic;
mod disk;
mod files;
mod kind;
mod language;
mod load;
mod read;
mod reader;
mod scalar;
mod schema;
mod source;
mod sources;
mod takes;
mod time;
mod watch;
mod words;

pub use diagnostic::{Diagnostic, DiagnosticKind, Excerpt, Related, Severity, render};
pub use files::{Once, test_files};
pub use kind::{FileKind, kind, policies_of};
pub use language::{Section, WordRow, algorithms, language};
pub use load::{Loaded, OnRefusal, Options, compile, load, load_text};
pub use read::text as read_text;
pub(crate) use reader::{Fields, Reader, hits};
pub use schema::schema;
pub(crate) use source::Source;
pub use sources::Sources;
pub use time::{TimeError, point_in_time};
pub use watch::Fingerprint;

use std::time::Duration;

/// A length of time as policies and their tests write it: `15m`, `500ms`, `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    scalar::duration(text).map_err(|wrong| match wrong.hint {
        Some(hint) => format!("{}; {hint}", wrong.message),
        None => wrong.message,
    })
}

#[cfg(test)]
mod tests;
