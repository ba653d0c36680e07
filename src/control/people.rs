//! Subjects that operators change while the server runs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value as Json};

use crate::config::{Diagnostic, DiagnosticKind};
use crate::hint::did_you_mean;
use crate::policy::{Domain, Policy, Source};
use crate::store::{MemoryRecords, Record, RecordKind, Records, Store, StoreError};
use crate::subjects::{Directory, SubjectChange, WrongChange};
use crate::telemetry::SubjectChangeLeftOut;

/// The changes that are kept of a domain's subjects.
#[derive(Debug, Default)]
pub struct KeptChanges {
    /// Each with the subject's id.
    pub changes: Vec<(String, SubjectChange)>,
    /// Bytes that they take where they are kept.
    pub bytes: usize,
}

/// The most subjects of a domain that are changed beside the files, and the most bytes that all changes take: each is made anew with
/// each change and reload. Whoever is to be kept out can be, until there are twice as many.
const MOST_CHANGES: usize = 100_000;
const MOST_BYTES: usize = 64 << 20;

/// The most attributes that are said here of a subject, and of each of its credentials: requests look through them.
const MOST_ATTRIBUTES: usize = 256;

/// Where changes of subjects are kept. It may block; it is called on threads that serve nobody.
pub trait SubjectChanges: fmt::Debug + Send + Sync {
    /// The changes of a domain's subjects, by id.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    fn all(&self, domain: &str) -> Result<KeptChanges, String>;

    /// Keeps what is said of a subject from now on, or nothing any more. It outlives the process if [`Self::is_durable`].
    ///
    /// # Errors
    ///
    /// Why it cannot be kept. [`StoreError::InDoubt`] where it may be kept all the same.
    fn put(&self, domain: &str, id: &str, change: Option<&SubjectChange>) -> Result<(), StoreError>;

    /// Waits until it is known of each [`put`](Self::put) that was in doubt whether it was made: [`all`](Self::all) tells it from then on.
    ///
    /// # Errors
    ///
    /// Why it is not known yet.
    fn settle(&self) -> Result<(), StoreError>;

    /// Whether what is kept outlives the process.
    fn is_durable(&self) -> bool;
}

/// Changes among the records of a store, or of this process.
#[derive(Debug)]
pub struct Recorded {
    records: Arc<dyn Records>,
    is_durable: bool,
    /// What is kept of the subjects of a domain, as far as that is known: nobody else changes it, and a store that fails can mostly not
    /// be read.
    known: Mutex<HashMap<String, BTreeMap<String, SubjectChange>>>,
}

impl Recorded {
    /// Those that `store` keeps; where it keeps no records, they end with the process.
    pub fn of(store: &impl Store) -> Self {
        match store.records() {
            Some(records) => Self::among(records, true),
            None => Self::among(Arc::new(MemoryRecords::default()), false),
        }
    }

    fn among(records: Arc<dyn Records>, is_durable: bool) -> Self {
        Self { records, is_durable, known: Mutex::default() }
    }

    fn read(&self, domain: &str) -> Result<KeptChanges, String> {
        let (mut found, mut wrong) = (KeptChanges::default(), None);
        let visit = &mut |id: &str, value: &[u8]| {
            found.bytes += id.len() + value.len();
            match serde_json::from_slice(value) {
                Ok(change) => found.changes.push((id.to_owned(), change)),
                Err(error) => wrong = Some(format!("what is kept of `{id}` is not understood: {error}")),
            }
        };
        self.records.each(RecordKind::Subject, domain, visit).map_err(|error| error.to_string())?;
        wrong.map_or(Ok(found), Err)
    }
}

impl SubjectChanges for Recorded {
    fn all(&self, domain: &str) -> Result<KeptChanges, String> {
        let mut known = self.known.lock();
        match self.read(domain) {
            Ok(kept) => {
                known.insert(domain.to_owned(), kept.changes.iter().cloned().collect());
                Ok(kept)
            }
            Err(why) => {
                let changes = known.get(domain).ok_or(why)?;
                let bytes = changes.iter().map(|(id, change)| id.len() + change.bytes()).sum();
                let changes = changes.iter().map(|(id, change)| (id.clone(), change.clone())).collect();
                Ok(KeptChanges { changes, bytes })
            }
        }
    }

    fn put(&self, domain: &str, id: &str, change: Option<&SubjectChange>) -> Result<(), StoreError> {
        let value = change.map(serde_json::to_vec).transpose();
        let value = value.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
        let record = Record { kind: RecordKind::Subject, scope: domain.to_owned(), id: id.to_owned(), value };
        let put = self.records.apply(vec![record]);
        let mut known = self.known.lock();
        match (&put, known.get_mut(domain)) {
            (Ok(()), Some(known)) => match change {
                Some(change) => drop(known.insert(id.to_owned(), change.clone())),
                None => drop(known.remove(id)),
            },
            // It may be kept.
            (Err(StoreError::TimedOut { .. } | StoreError::InDoubt { .. }), _) => drop(known.remove(domain)),
            (Ok(()) | Err(_), _) => {}
        }
        put
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.records.flush()
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
    amend(policy, &Recorded::of(store))
}

/// The same by `records` that were read from a store.
///
/// # Errors
///
/// Why they cannot be made.
pub fn amend_by(policy: &mut Policy, records: Arc<dyn Records>) -> Result<(), Diagnostic> {
    amend(policy, &Recorded::among(records, true))
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
    /// There are so many changes that no other is kept.
    #[error(
        "{MOST_CHANGES} subjects of a domain can be changed here, in {} MiB, and these are so many; write them into the subjects \
         file, and take the changes back", MOST_BYTES >> 20
    )]
    TooMany,
    /// It says so much of one subject that requests would wait for it.
    #[error(
        "{MOST_ATTRIBUTES} attributes of a subject, and as many of each credential, can be given here; `{id}` would have {count}"
    )]
    TooManyAttributes {
        /// The subject.
        id: String,
        /// How many it would have.
        count: usize,
    },
    /// It cannot be kept.
    #[error("the change cannot be kept: {0}")]
    NotKept(String),
    /// Whether it is kept is not known yet. If it is, it comes into force as soon as that is known.
    #[error(
        "{0}. If it was made, it comes into force when the store answers again: look at the subject then"
    )]
    InDoubt(String),
    /// Another change waits for the disk.
    #[error("another change waits for the disk; ask again")]
    Busy,
}

/// Makes the changes that are kept of the subjects of all domains of `policy`, which is as its files say. Those that cannot be made
/// any more, as files have changed meanwhile, or that would leave a limit without a number, are left out, and told: they keep out no
/// configuration, and no start.
///
/// # Errors
///
/// Why they cannot be read.
pub(super) fn amend(policy: &mut Policy, changes: &dyn SubjectChanges) -> Result<(), Diagnostic> {
    for domain in policy.domains_mut() {
        let name = domain.name.clone();
        // What there are no subjects in nobody has changed.
        let Some(by_files) = domain.directory.clone() else { continue };
        let KeptChanges { changes, .. } = changes.all(&name).map_err(|why| not_known(&name, &why))?;
        if changes.is_empty() {
            continue;
        }
        let (amended, wrong) = made(domain, &by_files, &changes);
        domain.directory = Some(Arc::new(amended));
        domain.files_directory = Some(by_files);
        for why in wrong.iter().take(MOST_TOLD) {
            SubjectChangeLeftOut { domain: &name, why }.emit();
        }
    }
    Ok(())
}

/// The directory of `domain` with `changes` made of what its files say, and those of which not everything is made. Whom a limit would
/// have no number for has no limit there, and loading refuses that in a file: of such a change only what keeps somebody out is made.
fn made(
    domain: &Domain,
    by_files: &Directory,
    changes: &[(String, SubjectChange)],
) -> (Directory, Vec<WrongChange>) {
    let (amended, mut wrong) = by_files.changed(changes);
    let lacking = domain.without_number(&amended, changes.iter().map(|(id, _)| id.as_str()));
    if lacking.is_empty() {
        return (amended, wrong);
    }
    let rest = changes.iter().map(|(id, change)| {
        let is_left_out = lacking.contains_key(id.as_str());
        (id.clone(), if is_left_out { change.keeping_out() } else { change.clone() })
    });
    let (made, _) = by_files.changed(&rest.collect::<Vec<_>>());
    wrong.extend(lacking.into_iter().map(|(id, (limit, why))| WrongChange::NoNumber {
        id: id.to_owned(),
        limit,
        why: why.to_string(),
    }));
    (made, wrong)
}

/// `policy`, which is in force, with `changes` of the subjects of `domain` and no others, and what cannot be made of them. None where
/// the domain knows no subjects.
fn amended(
    policy: &Policy,
    domain: &str,
    changes: &[(String, SubjectChange)],
) -> Option<(Policy, Vec<WrongChange>)> {
    let known = policy.domain(domain.as_bytes())?;
    let by_files = known.files_directory.as_ref().or(known.directory.as_ref())?;
    let (directory, wrong) = made(known, by_files, changes);
    let by_files = (!changes.is_empty()).then(|| Arc::clone(by_files));
    Some((policy.with_directory(domain, directory, by_files), wrong))
}

/// Why a configuration has to wait: it is no mistake of its files, and goes away by itself.
fn not_known(domain: &str, why: &str) -> Diagnostic {
    let message = format!(
        "subjects of `{domain}` may have been changed on the admin port, and the store cannot say how: {why}"
    );
    let hint = "the configuration is used as soon as the store can be read".to_owned();
    let wrong = Diagnostic::error(message).kind(DiagnosticKind::UnreadableStore).hint(Some(hint));
    Diagnostic { unread: true, ..wrong }
}

/// `policy`, which is in force, with the changes that are kept of the subjects of `domain`.
pub(super) fn amend_domain(
    policy: &Policy,
    changes: &dyn SubjectChanges,
    domain: &str,
) -> Result<Policy, NotChanged> {
    let all = changes.all(domain).map_err(NotChanged::NotKept)?;
    let (policy, wrong) =
        amended(policy, domain, &all.changes).ok_or_else(|| NotChanged::NoSubjects(domain.to_owned()))?;
    for why in wrong.iter().take(MOST_TOLD) {
        SubjectChangeLeftOut { domain, why }.emit();
    }
    Ok(policy)
}

/// The most changes that are left out and told at a time.
const MOST_TOLD: usize = 20;

/// Which of `attributes` has no number in the limits of `domain` that are called `of_limit`, in the words that they were given in. Whether
/// that is wrong of a subject is for [`Domain::without_number`] to say.
fn without_number(domain: &Domain, of_limit: &str, attributes: &Map<String, Json>) -> Option<String> {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let is_number = |value: &Json| value.as_u64().is_some() || text(value).parse::<u64>().is_ok();
    let mut wrong = None;
    domain.root.each_rule(&mut |rule| {
        for limit in rule.limits.iter().filter(|limit| limit.name == of_limit) {
            let requests = &limit.requests;
            let name = &limit.name;
            let number = |attribute: &String| {
                let value = attributes.get(attribute).filter(|value| !value.is_null() && !is_number(value))?;
                Some(format!("`{attribute}` is `{}`, which is no whole number, and the limit `{name}` takes it for one", text(value)))
            };
            let of_source = match &requests.source {
                Source::Table { by, values, otherwise: None } => attributes.get(by).filter(|value| !value.is_null()).and_then(|value| {
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

/// What is kept of a subject once one more change is made in `policy`, which is in force, and the policy with it.
pub(super) fn amend_one(
    policy: &Policy,
    changes: &dyn SubjectChanges,
    amendment: &Amendment,
) -> Result<(Policy, Option<SubjectChange>), NotChanged> {
    let Amendment { domain, id, change } = amendment;
    let no_subjects = || NotChanged::NoSubjects(domain.clone());
    let of_domain = policy.domain(domain.as_bytes()).ok_or_else(no_subjects)?;
    let directory = of_domain.directory.as_ref().ok_or_else(no_subjects)?;
    let by_files = of_domain.files_directory.as_ref().unwrap_or(directory);
    let KeptChanges { changes: mut all, bytes } = changes.all(domain).map_err(NotChanged::NotKept)?;
    let at = all.iter().position(|(of, _)| of == id);
    let earlier = at.map(|at| all.swap_remove(at).1);
    let is_there = by_files.subject(id).is_some() || earlier.as_ref().is_some_and(|earlier| earlier.created);
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
    if let Some(change) = change {
        let is_new = earlier.is_none();
        let times = if change.only_keeps_out() { 2 } else { 1 };
        let room = (MOST_CHANGES - usize::from(is_new), MOST_BYTES - change.bytes());
        if all.len() > room.0 * times || bytes > room.1 * times {
            return Err(NotChanged::TooMany);
        }
    }
    let kept = change.clone().map(|change| earlier.unwrap_or_default().then(change));
    // Of a change of which everything was taken back nothing is kept.
    let kept = kept.filter(|kept| *kept != SubjectChange::default());
    if let (Some(kept), Some(change)) = (&kept, change) {
        let own = kept.credentials.iter().map(|credential| credential.attributes.len());
        let count = own.fold(kept.attributes.len(), usize::max);
        if count > MOST_ATTRIBUTES && !change.only_keeps_out() {
            return Err(NotChanged::TooManyAttributes { id: id.clone(), count });
        }
    }
    // The last one, so that of two that are given one credential it is this change that is refused.
    all.extend(kept.clone().map(|kept| (id.clone(), kept)));
    // What is wrong with others is no reason, least of all not to take something back.
    let (amended, wrong) = amended(policy, domain, &all).ok_or_else(no_subjects)?;
    let mut of_this = wrong.into_iter().filter(|wrong| wrong.id() == id).peekable();
    let is_number = |wrong: &WrongChange| matches!(wrong, WrongChange::NoNumber { .. });
    if let Some(wrong) = of_this.next_if(|wrong| !is_number(wrong)) {
        return Err(wrong.into());
    }
    // Whoever is to be kept out is kept out, whatever was said before.
    let keeps_out = change.as_ref().is_none_or(SubjectChange::only_keeps_out);
    let wrong = of_this.find(|wrong| !is_number(wrong) || !keeps_out);
    let Some(wrong) = wrong else { return Ok((amended, kept)) };
    // In the words of the change, where it says so itself.
    let words = match (&wrong, &change) {
        (WrongChange::NoNumber { limit, .. }, Some(change)) => {
            without_number(of_domain, limit, &change.attributes)
        }
        _ => None,
    };
    Err(words.map_or_else(|| wrong.into(), NotChanged::NoNumber))
}

#[cfg(test)]
mod tests;
