//! `NAME.test.yaml`, beside `NAME.yaml`.

mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{self, Diagnostic, DiagnosticKind, Excerpt};
use crate::model::{Hits, Timestamp};
use crate::subjects::Value;

/// A test of one policy.
#[derive(Debug)]
pub struct Script {
    /// The policy file, beside this one.
    pub policy: String,
    /// Which domain, where the policy file has several.
    pub domain: Option<String>,
    /// The time from which steps are counted.
    pub start: Timestamp,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Where each step is written; lines are counted from 1.
    pub lines: Vec<usize>,
    /// Where the policy is named.
    policy_at: Option<Excerpt>,
    /// Where the domain is named.
    domain_at: Option<Excerpt>,
}

/// One thing that happens.
#[derive(Debug, Default)]
pub struct Step {
    /// What this shows, for people.
    pub shows: Option<String>,
    /// When, after the start; by default when the step before was.
    pub at: Option<Duration>,
    /// The descriptors of a request, each a list of entries in order. One key may be there twice.
    pub send: Option<Vec<Entries>>,
    /// How often it is sent, at least once.
    pub times: u32,
    /// How much later each time; by default at once.
    pub every: Option<Duration>,
    /// What it costs.
    pub hits: Option<Hits>,
    /// What becomes of it, every time.
    pub expect: Option<Expect>,
    /// Response headers of the last time; `None` for one that must not be there.
    pub headers: BTreeMap<String, Option<String>>,
    /// All response headers of the last time: these and no others.
    pub all_headers: Option<BTreeMap<String, String>>,
    /// Headers for the upstream, the last time; `None` for one that must not be there.
    pub request_headers: BTreeMap<String, Option<String>>,
    /// The body of the last time, to the byte.
    pub body: Option<String>,
    /// The rule or the limit whose numbers the answer reports.
    pub rule: Option<String>,
    /// Something about a subject changes before anything is sent.
    pub set: Option<Change>,
}

/// Keys and values of one descriptor, as text.
pub type Entries = Vec<(String, String)>;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It passes.
    Ok,
    /// It is refused.
    OverLimit,
}

/// New attributes of a subject.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub subject: String,
    /// Which, with their values.
    pub attributes: Vec<(String, Value)>,
    /// Where the subject is named.
    pub(super) subject_at: Option<Excerpt>,
    /// Where the value of each attribute is.
    pub(super) attributes_at: Vec<Option<Excerpt>>,
}

/// Everything that is wrong with a script.
#[derive(Debug, thiserror::Error)]
#[error("{}", config::render(.0, false))]
pub struct ScriptError(pub Vec<Diagnostic>);

impl Script {
    /// The script in a text.
    ///
    /// # Errors
    ///
    /// Every mistake in it, each with its place.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        Self::read("test", text)
    }

    /// The same of a file's text; `file` is its name in messages.
    ///
    /// # Errors
    ///
    /// Every mistake in it, each with its place.
    pub fn read(file: &str, text: &str) -> Result<Self, ScriptError> {
        read::script(file, text).map_err(ScriptError)
    }

    /// A mistake in the name of the policy.
    pub fn wrong_policy(&self, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        let wrong = Diagnostic { excerpt: self.policy_at.clone(), ..Diagnostic::error(message) };
        wrong.kind(DiagnosticKind::UnknownName).hint(hint)
    }

    /// A mistake in the name of the domain, or in its absence.
    pub fn wrong_domain(&self, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        let excerpt = self.domain_at.clone().or_else(|| self.policy_at.clone());
        Diagnostic { excerpt, ..Diagnostic::error(message) }.kind(DiagnosticKind::UnknownName).hint(hint)
    }
}
