//! Subjects that operators change while the server runs.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::config::Diagnostic;
use crate::hint::did_you_mean;
use crate::policy::{Domain, Policy, Source};
use crate::store::{MemoryRecords, Record, RecordKind, Records, Store};
use crate::subjects::{SubjectChange, WrongChange};
use crate::telemetry::SubjectChangeLeftOut;

/// Where changes of subjects are kept. It may block; it is called on threads that serve nobody.
pub trait SubjectChanges: fmt::Debug + Send + Sync {
    /// The changes of a domain's subjects, by id.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    fn all(&self, domain: &str) -> Result<Vec<(String, SubjectChange)>, String>;

    /// Keeps what is said of a subject from now on, or nothing any more. It outlives the process if [`Self::is_durable`].
    ///
    /// # Errors
    ///
    /// Why it cannot be kept.
    fn put(&self, domain: &str, id: &str, change: Option<&SubjectChange>) -> Result<(), String>;

    /// Whether what is kept outlives the process.
    fn is_durable(&self) -> bool;
}

/// Changes among the records of a store, or of this process.
#[derive(Debug)]
pub struct Recorded {
    records: Arc<dyn Records>,
    is_durable: bool,
}

impl Recorded {
    /// Those that `store` keeps; where it keeps no records, they end with the process.
    pub fn of(store: &impl Store) -> Self {
        match store.records() {
            Some(records) => Self { records, is_durable: true },
            None => Self { records: Arc::new(MemoryRecords::default()), is_durable: false },
        }
    }
}

impl SubjectChanges for Recorded {
    fn all(&self, domain: &str) -> Result<Vec<(String, SubjectChange)>, String> {
        let (mut found, mut wrong) = (Vec::new(), None);
        let visit = &mut |id: &str, value: &[u8]| match serde_json::from_slice(value) {
            Ok(change) => found.push((id.to_owned(), change)),
            Err(error) => wrong = Some(format!("what is kept of `{id}` is not understood: {error}")),
        };
        self.records.each(RecordKind::Subject, domain, visit).map_err(|error| error.to_string())?;
        wrong.map_or(Ok(found), Err)
    }

    fn put(&self, domain: &str, id: &str, change: Option<&SubjectChange>) -> Result<(), String> {
        let value = change.map(serde_json::to_vec).transpose().map_err(|error| error.to_string())?;
        let record = Record { kind: RecordKind::Subject, scope: domain.to_owned(), id: id.to_owned(), value };
        self.records.apply(vec![record]).map_err(|error| error.to_string())
    }

    fn is_durable(&self) -> bool {
        self.is_durable
    }
}

/// Makes the changes that `store` keeps of subjects in all domains of `policy`, which is about to be the first one in force.
///
/// # Errors
///
/// Why they cannot be made.
pub fn amend_all(policy: &mut Policy, store: &impl Store) -> Result<(), Diagnostic> {
    amend(policy, &Recorded::of(store), None)
}

/// A change of one subject that is asked for.
#[derive(Clone, Debug)]
pub struct Amendment {
    /// Of which domain.
    pub domain: String,
    /// Which subject.
    pub id: String,
    /// What changes; `None` takes back every change that was made of it.
    pub change: Option<SubjectChange>,
}

/// Why a subject is not changed. What was in force stays so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChanged {
    /// The domain knows no subjects.
    #[error("the domain `{0}` has no `subjects:`")]
    NoSubjects(String),
    /// There is no such subject.
    #[error("the domain `{domain}` has no subject `{id}`")]
    Unknown {
        /// The domain.
        domain: String,
        /// The subject.
        id: String,
    },
    /// There is such a subject.
    #[error("the domain `{domain}` has a subject `{id}` already")]
    Exists {
        /// The domain.
        domain: String,
        /// The subject.
        id: String,
    },
    /// It makes no sense.
    #[error(transparent)]
    Wrong(#[from] WrongChange),
    /// It would take a limit's number away.
    #[error("{0}")]
    NoNumber(String),
    /// The files could not be read once more, which a change of a subject needs.
    #[error("the files have {0} mistakes, and a subject can be changed only while they have none")]
    Files(usize),
    /// It cannot be kept.
    #[error("the change cannot be kept: {0}")]
    NotKept(String),
    /// Newer files came into force meanwhile.
    #[error("another change came into force meanwhile; ask again")]
    Superseded,
}

/// Makes the changes that are kept of the subjects of all domains of `policy`, but for one where they were made. Those that cannot be made any more, as files have changed
/// meanwhile, are left out, and told: they keep out no configuration, and no start.
///
/// # Errors
///
/// Why they cannot be read.
pub(super) fn amend(
    policy: &mut Policy,
    changes: &dyn SubjectChanges,
    except: Option<&str>,
) -> Result<(), Diagnostic> {
    for domain in policy.domains_mut().filter(|domain| except != Some(&domain.name)) {
        let name = domain.name.clone();
        let unread = |why: String| {
            Diagnostic::error(format!(
                "subjects of `{name}` were changed on the admin port, and how is not known: {why}"
            ))
        };
        let changes = changes.all(&name).map_err(unread)?;
        let Some(directory) = domain.directory.as_mut().filter(|_| !changes.is_empty()) else { continue };
        let (amended, wrong) = std::mem::take(directory).changed(&changes);
        *directory = amended;
        for why in wrong.iter().take(MOST_TOLD) {
            SubjectChangeLeftOut { domain: &name, why }.emit();
        }
    }
    Ok(())
}

/// The most changes that are left out and told at a time.
const MOST_TOLD: usize = 20;

/// What is wrong with attributes that limits of `domain` take their numbers from: as in a file, they must not make a limit none.
fn without_number(domain: &Domain, attributes: &Map<String, Json>) -> Option<String> {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let is_number = |value: &Json| value.as_u64().is_some() || text(value).parse::<u64>().is_ok();
    let mut wrong = None;
    domain.root.each_rule(&mut |rule| {
        for limit in &rule.limits {
            let requests = &limit.requests;
            let name = &limit.name;
            let number = |attribute: &String| {
                let value = attributes.get(attribute).filter(|value| !is_number(value))?;
                Some(format!("`{attribute}` is `{}`, which is no whole number, and the limit `{name}` takes it for one", text(value)))
            };
            let of_source = match &requests.source {
                Source::Table { by, values, otherwise: None } => attributes.get(by).and_then(|value| {
                    let value = text(value);
                    let listed: Vec<&str> = values.iter().map(|(value, _)| value.as_str()).collect();
                    let hint = did_you_mean(&value, listed.iter().copied());
                    let hint = hint.unwrap_or_else(|| format!("it has {}", listed.join(", ")));
                    (!listed.contains(&value.as_str()))
                        .then(|| format!("`{by}` is `{value}`, for which the limit `{name}` has no number; {hint}"))
                }),
                Source::Attribute(attribute) => number(attribute),
                Source::Table { .. } | Source::Fixed(_) => None,
            };
            let of_own = requests.instead.iter().chain(&requests.at_most).find_map(number);
            wrong = wrong.take().or(of_source).or(of_own);
        }
    });
    wrong
}

/// Makes one more change: what is kept of the subject from then on.
pub(super) fn amend_one(
    policy: &mut Policy,
    changes: &dyn SubjectChanges,
    amendment: &Amendment,
) -> Result<Option<SubjectChange>, NotChanged> {
    let Amendment { domain, id, change } = amendment;
    let no_subjects = || NotChanged::NoSubjects(domain.clone());
    let of_domain = policy.domains_mut().find(|known| known.name == *domain).ok_or_else(no_subjects)?;
    let directory = of_domain.directory.as_mut().ok_or_else(no_subjects)?;
    let all = changes.all(domain).map_err(NotChanged::NotKept)?;
    let (mut mine, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(of, _)| of == id);
    let earlier = mine.pop().map(|(_, change)| change);
    let is_there = directory.subject(id).is_some() || earlier.as_ref().is_some_and(|earlier| earlier.created);
    let named = || (domain.clone(), id.clone());
    match change {
        Some(change) if change.created && is_there => {
            let (domain, id) = named();
            return Err(NotChanged::Exists { domain, id });
        }
        Some(change) if change.created => {}
        _ if is_there || change.is_none() && earlier.is_some() => {}
        _ => {
            let (domain, id) = named();
            return Err(NotChanged::Unknown { domain, id });
        }
    }
    let kept = change.clone().map(|change| earlier.unwrap_or_default().then(change));
    let all: Vec<_> = others.into_iter().chain(kept.clone().map(|kept| (id.clone(), kept))).collect();
    // What is wrong with others is no reason, least of all not to take something back.
    let (amended, wrong) = std::mem::take(directory).changed(&all);
    *directory = amended;
    if let Some(wrong) = wrong.into_iter().find(|wrong| wrong.id() == id) {
        return Err(wrong.into());
    }
    let asked = change.as_ref().and_then(|change| without_number(of_domain, &change.attributes));
    asked.map_or(Ok(kept), |wrong| Err(NotChanged::NoNumber(wrong)))
}
