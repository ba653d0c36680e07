//! Questions about counters, as they come in bodies.

use serde::Deserialize;
use serde_json::Value;

use super::answer::Problem;
use crate::config::point_in_time;
use crate::explain::{Typed, line_of_log, written_descriptor};
use crate::hint::did_you_mean;
use crate::model::{Descriptor, Hits, Request, Timestamp};
use crate::policy::Policy;

/// The most descriptors of a question.
const MOST: usize = 64;

/// What is asked about counters.
#[derive(Debug)]
pub(super) enum Question {
    /// What would be answered, and why.
    Explain(Call, Option<Timestamp>),
    /// How the counters stand.
    Lookup(Call),
    /// To give all hits of the counters back.
    Reset(Call),
    /// What one subject is, and what it has used.
    Subject { domain: String, id: String, used: Used },
    /// To give all hits back that one subject has used.
    ResetSubject { domain: String, id: String },
}

/// Whether it is told what a subject has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Used {
    /// Yes, or it is an error.
    Needed,
    /// If the store answers.
    IfKnown,
}

/// A request as Envoy would send it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) domain: String,
    descriptors: Vec<Typed>,
    hits: u64,
    /// The id of the subject whose credentials `…` stands for.
    pub(super) stand_in: Option<String>,
    /// Keys whose values a log does not tell.
    pub(super) unknown_values: Vec<String>,
}

impl Call {
    pub(super) fn request(&self) -> Request<'_> {
        let hits = Hits::charge(self.hits);
        let descriptors = self.descriptors.iter().map(|entries| Descriptor::of_text(entries, hits)).collect();
        Request { domain: self.domain.as_bytes(), descriptors }
    }
}

/// The body of `explain`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainBody {
    domain: Option<String>,
    descriptors: Option<Vec<Value>>,
    access_log: Option<String>,
    hits: Option<u64>,
    at: Option<String>,
}

/// The body of `counters/lookup`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LookupBody {
    domain: String,
    descriptor: Value,
}

/// The body of `counters/reset`: a descriptor or a subject.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetBody {
    domain: String,
    descriptor: Option<Value>,
    subject: Option<String>,
}

impl ExplainBody {
    pub(super) fn question(self, policy: &Policy) -> Result<Question, Problem> {
        let at = self.at.map(|at| {
            point_in_time(&at).map_err(|error| {
                Problem::wrong(format!("`at`: {error}")).hint("write it as `2026-01-31T09:30:00Z`".to_owned())
            })
        });
        let hits = self.hits.unwrap_or(1);
        let call = match (self.domain, self.descriptors, self.access_log) {
            (Some(domain), Some(descriptors), None) => call(domain, &descriptors, hits, policy)?,
            (domain, None, Some(line)) => logged(domain, &line, hits, policy)?,
            _ => {
                return Err(Problem::wrong(
                    "either `domain` and `descriptors` or `access_log` say what is asked",
                )
                .hint("write `{\"domain\": \"shop\", \"descriptors\": [\"api_key=key_1\"]}`".to_owned()));
            }
        };
        Ok(Question::Explain(call, at.transpose()?))
    }
}

impl LookupBody {
    pub(super) fn question(self, policy: &Policy) -> Result<Question, Problem> {
        Ok(Question::Lookup(call(self.domain, &[self.descriptor], 0, policy)?))
    }
}

impl ResetBody {
    pub(super) fn question(self, policy: &Policy) -> Result<Question, Problem> {
        match (self.descriptor, self.subject) {
            (Some(descriptor), None) => Ok(Question::Reset(call(self.domain, &[descriptor], 0, policy)?)),
            (None, Some(id)) => {
                known(&self.domain, policy)?;
                Ok(Question::ResetSubject { domain: self.domain, id })
            }
            _ => Err(Problem::wrong("either `descriptor` or `subject` says what is to be reset")
                .hint("write `{\"domain\": \"shop\", \"subject\": \"acme\"}`".to_owned())),
        }
    }
}

fn call(domain: String, descriptors: &[Value], hits: u64, policy: &Policy) -> Result<Call, Problem> {
    known(&domain, policy)?;
    bounded(descriptors.len())?;
    let descriptors = descriptors.iter().map(descriptor).collect::<Result<_, _>>()?;
    Ok(Call { domain, descriptors, hits, stand_in: None, unknown_values: Vec::new() })
}

fn bounded(descriptors: usize) -> Result<(), Problem> {
    let wrong =
        || Problem::wrong(format!("there are {descriptors} descriptors; from 1 to {MOST} are expected"));
    (1..=MOST).contains(&descriptors).then_some(()).ok_or_else(wrong)
}

/// The request that a line of an access log tells of. A `domain` beside it is that of a line that has none.
fn logged(domain: Option<String>, line: &str, hits: u64, policy: &Policy) -> Result<Call, Problem> {
    let line = line_of_log(line)
        .map_err(|why| Problem::wrong(format!("`access_log`: {why}")).hint(why.hint().map(str::to_owned)))?;
    let domain = line.domain.clone().or(domain).ok_or_else(|| {
        Problem::wrong("the line does not say which domain was asked")
            .hint("write it beside the line, `\"domain\": \"shop\"`".to_owned())
    })?;
    known(&domain, policy)?;
    bounded(line.descriptors.len())?;
    let unknown_values = line.unknown_values(&domain, policy);
    Ok(Call { domain, descriptors: line.descriptors, hits, stand_in: line.subject, unknown_values })
}

/// Whether there is such a domain; what was probably meant, if not.
pub(super) fn known(domain: &str, policy: &Policy) -> Result<(), Problem> {
    if policy.domain(domain.as_bytes()).is_some() {
        return Ok(());
    }
    let hint = did_you_mean(domain, policy.domains().map(|domain| domain.name.as_str()));
    Err(Problem::missing(format!("no domain `{domain}` is configured")).hint(hint))
}

fn descriptor(written: &Value) -> Result<Typed, Problem> {
    written_descriptor(written).map_err(|what| {
        Problem::wrong(what).hint(
            "write \"api_key=key_1,path=/leads\" or [{\"api_key\": \"key_1\"}, {\"path\": \"/leads\"}]"
                .to_owned(),
        )
    })
}
