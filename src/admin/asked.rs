//! Questions about counters, as they come in bodies.

use serde::Deserialize;
use serde_json::Value;

use super::answer::Problem;
use crate::config::point_in_time;
use crate::explain::{Typed, typed};
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
    /// What one subject has used.
    Subject { domain: String, id: String },
    /// To give all hits back that one subject has used.
    ResetSubject { domain: String, id: String },
}

/// A request as Envoy would send it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) domain: String,
    descriptors: Vec<Typed>,
    hits: u64,
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
    domain: String,
    descriptors: Vec<Value>,
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
        let call = call(self.domain, &self.descriptors, self.hits.unwrap_or(1), policy)?;
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
    if descriptors.is_empty() || descriptors.len() > MOST {
        let many = descriptors.len();
        return Err(Problem::wrong(format!("there are {many} descriptors; from 1 to {MOST} are expected")));
    }
    let descriptors = descriptors.iter().map(descriptor).collect::<Result<_, _>>()?;
    Ok(Call { domain, descriptors, hits })
}

/// Whether there is such a domain; what was probably meant, if not.
pub(super) fn known(domain: &str, policy: &Policy) -> Result<(), Problem> {
    if policy.domain(domain.as_bytes()).is_some() {
        return Ok(());
    }
    let hint = did_you_mean(domain, policy.domains().map(|domain| domain.name.as_str()));
    Err(Problem::missing(format!("no domain `{domain}` is configured")).hint(hint))
}

/// `"key=value,key=value"`, or a list of objects with one entry each, in order.
fn descriptor(written: &Value) -> Result<Typed, Problem> {
    let wrong = |what: String| {
        Problem::wrong(what).hint(
            "write \"api_key=key_1,path=/leads\" or [{\"api_key\": \"key_1\"}, {\"path\": \"/leads\"}]"
                .to_owned(),
        )
    };
    match written {
        Value::String(text) => typed(text).map_err(wrong),
        Value::Array(entries) => {
            let entry = |entry: &Value| match entry
                .as_object()
                .map(|entry| entry.iter().collect::<Vec<_>>())
                .as_deref()
            {
                Some([(key, Value::String(value))]) => Ok(((*key).clone(), value.clone())),
                _ => Err(wrong(
                    "an entry of a descriptor is an object with one key, whose value is a text".to_owned(),
                )),
            };
            entries.iter().map(entry).collect()
        }
        _ => Err(wrong("a descriptor is a text or a list".to_owned())),
    }
}
