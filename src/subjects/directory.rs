//! The directory: what is asked while requests are answered.

use std::collections::HashSet;
use std::fmt;

use jiff::tz::TimeZone;

use super::attributes::{Attributes, Run};
use super::credential::{CredentialHash, CredentialId, from_hex};
use super::roster::{Roster, Row};
use super::table::{Entry, Table};
use super::tiers::{Facts, Tiers};
use super::value::Value;
use crate::model::Timestamp;

/// Every subject of one file, and whose credential is whose.
///
/// The default one knows nobody.
#[derive(Clone, Default)]
pub struct Directory {
    pub(super) roster: Roster,
    pub(super) credentials: Table,
    /// The kinds of credentials, each at its place.
    pub(super) kinds: Vec<Box<str>>,
    pub(super) attributes: Attributes,
    pub(super) zones: Vec<TimeZone>,
    pub(super) tiers: Option<Tiers>,
}

/// There is no subject with this id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no subject `{0}`")]
pub struct UnknownSubject(pub String);

impl Directory {
    /// Who presents `credential`, when both it and its subject are enabled.
    ///
    /// The same secret under two kinds is two credentials. Found by hash: nothing is compared with a secret, and
    /// nothing is allocated.
    pub fn resolve(&self, kind: &str, credential: &[u8]) -> Option<Credential<'_>> {
        self.resolve_hashed(kind, &CredentialHash::of(credential))
    }

    /// The same for a credential that is tried under several kinds, and hashed once.
    pub fn resolve_hashed(&self, kind: &str, credential: &CredentialHash) -> Option<Credential<'_>> {
        let entry = self.credentials.find(CredentialId::of_hashed(kind, &credential.0))?;
        let subject = Subject { directory: self, at: entry.subject as usize };
        let enabled = entry.enabled && subject.row().enabled;
        enabled.then_some(Credential { subject, id: entry.id, own: entry.attributes })
    }

    /// The subject with this id, enabled or not.
    pub fn subject(&self, id: &str) -> Option<Subject<'_>> {
        self.roster.find(id).map(|at| Subject { directory: self, at })
    }

    /// Whoever is known by id alone, from a log: with the subject's only credential, or else as any of them that has no attributes of
    /// its own.
    pub fn stand_in(&self, id: &str) -> Option<Credential<'_>> {
        let subject = self.subject(id).filter(Subject::is_enabled)?;
        let mut enabled = subject.credentials().filter(|(_, is_enabled)| *is_enabled);
        match (enabled.next(), enabled.next()) {
            (Some((only, _)), None) => Some(only),
            _ => Some(subject.by_any_credential()),
        }
    }

    /// The enabled credentials of those of the subjects `ids` that are enabled, each with its kind. All credentials are looked through
    /// once.
    pub fn live_credentials<'d>(
        &'d self,
        ids: impl IntoIterator<Item = &'d str>,
    ) -> impl Iterator<Item = (Credential<'d>, &'d str)> {
        let subjects = ids.into_iter().filter_map(|id| self.roster.find(id));
        let subjects: HashSet<usize> = subjects.filter(|at| self.roster.row(*at).enabled).collect();
        let live = move |entry: &&Entry| entry.enabled && subjects.contains(&(entry.subject as usize));
        self.credentials.all().iter().filter(live).filter_map(|entry| {
            let subject = Subject { directory: self, at: entry.subject as usize };
            let kind = self.kinds.get(usize::from(entry.kind))?;
            Some((Credential { subject, id: entry.id, own: entry.attributes }, &**kind))
        })
    }

    /// The id of every subject, in the order of the file.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        (0..self.roster.len()).map(|at| self.roster.id(at))
    }

    /// How many subjects there are, enabled or not.
    pub fn subjects(&self) -> usize {
        self.roster.len()
    }

    /// How many credentials there are, enabled or not.
    pub fn credentials(&self) -> usize {
        self.credentials.len()
    }

    /// Sets attributes of one subject; those not named stay.
    ///
    /// The tier's attribute is a floor here as in the file. Each call takes a little memory until the next load.
    pub fn edit(&mut self, id: &str, attributes: &[(String, Value)]) -> Result<(), UnknownSubject> {
        let at = self.roster.find(id).ok_or_else(|| UnknownSubject(id.to_owned()))?;
        let row = self.roster.row_mut(at);
        row.attributes = self.attributes.changed(row.attributes, attributes);
        Ok(())
    }
}

/// Whether `a` is a higher tier than `b`.
pub(super) fn higher(a: &Value, b: &Value) -> bool {
    a.as_number() > b.as_number()
}

/// Shows how much there is, and of nobody anything.
impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("subjects", &self.roster.len())
            .field("credentials", &self.credentials.len())
            .field("tiers", &self.tiers)
            .finish_non_exhaustive()
    }
}

/// Somebody who bought something.
#[derive(Clone, Copy)]
pub struct Subject<'d> {
    pub(super) directory: &'d Directory,
    pub(super) at: usize,
}

impl<'d> Subject<'d> {
    /// What the file says of it, sorted as it is written there; of the tier's attribute that is the floor.
    pub fn attributes(&self) -> impl Iterator<Item = (&'d str, &'d Value)> {
        self.directory.attributes.all(self.row().attributes)
    }

    /// The attribute that follows from facts, and what it is at `now`.
    pub fn derived_tier(&self, now: Timestamp) -> Option<(&'d str, Option<&'d Value>)> {
        let tiers = self.directory.tiers.as_ref()?;
        Some((&*tiers.attribute, self.tier(now)))
    }

    /// What was paid, in millionths, and when first, as far as the file says.
    pub fn facts(&self) -> (Option<u64>, Option<Timestamp>) {
        let facts = self.row().facts;
        (facts.spend, facts.first_payment)
    }

    /// Its credentials, each with whether it is enabled. All credentials of the file are looked through.
    pub fn credentials(&self) -> impl Iterator<Item = (Credential<'d>, bool)> + use<'d> {
        let subject = *self;
        self.directory
            .credentials
            .all()
            .iter()
            .filter(move |entry| entry.subject as usize == subject.at)
            .map(move |entry| (Credential { subject, id: entry.id, own: entry.attributes }, entry.enabled))
    }

    /// Whether it has the credential with this SHA-256, enabled or not.
    pub fn has_credential(&self, kind: &str, sha256: &str) -> bool {
        let id = from_hex(sha256).map(|hash| CredentialId::of_hashed(kind, &hash));
        let entry = id.and_then(|id| self.directory.credentials.find(id));
        entry.is_some_and(|entry| entry.subject as usize == self.at)
    }

    /// Whoever presents one of its credentials that has no attributes of its own. It is not one of them: nothing is to be counted
    /// by its id.
    pub fn by_any_credential(self) -> Credential<'d> {
        Credential { subject: self, id: CredentialId::of("", b""), own: Run::default() }
    }

    fn row(&self) -> &'d Row {
        self.directory.roster.row(self.at)
    }

    /// What it is called; unique in its directory.
    pub fn id(&self) -> &'d str {
        self.directory.roster.id(self.at)
    }

    /// Where its billing periods start.
    pub fn billing_anchor(&self) -> Option<Timestamp> {
        self.row().billing_anchor
    }

    /// Whose calendar its periods follow; none is UTC.
    pub fn time_zone(&self) -> Option<&'d TimeZone> {
        let before = (self.row().zone as usize).checked_sub(1)?;
        self.directory.zones.get(before)
    }

    /// Whether its credentials resolve.
    pub fn is_enabled(&self) -> bool {
        self.row().enabled
    }

    /// What the file says; of the tier's attribute that is the floor.
    pub fn attribute(&self, name: &str) -> Option<&'d Value> {
        self.directory.attributes.get(self.row().attributes, name)
    }

    /// What holds at `now`: the tier's attribute follows from the facts and is never below its floor.
    pub fn attribute_at(&self, name: &str, now: Timestamp) -> Option<&'d Value> {
        match &self.directory.tiers {
            Some(tiers) if *tiers.attribute == *name => self.tier(now),
            _ => self.attribute(name),
        }
    }

    pub(super) fn tier_facts(&self) -> Facts {
        self.row().facts
    }

    pub(super) fn tier(&self, now: Timestamp) -> Option<&'d Value> {
        let tiers = self.directory.tiers.as_ref()?;
        match (self.attribute(&tiers.attribute), tiers.reached(self.row().facts, now)) {
            (Some(floor), Some(reached)) => Some(if higher(floor, reached) { floor } else { reached }),
            (floor, reached) => floor.or(reached),
        }
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subject").field(&self.id()).finish()
    }
}

/// A credential that was presented and is good.
#[derive(Clone, Copy)]
pub struct Credential<'d> {
    /// Whose it is.
    pub subject: Subject<'d>,
    /// What to count it by.
    pub id: CredentialId,
    pub(super) own: Run,
}

impl<'d> Credential<'d> {
    /// Whether it has attributes of its own.
    pub fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// What the file says of this credential, else of its subject.
    pub fn attribute(&self, name: &str) -> Option<&'d Value> {
        self.subject.directory.attributes.get(self.own, name).or_else(|| self.subject.attribute(name))
    }

    /// The same at `now`, as the subject's tier may follow from facts. The tier is never the credential's own.
    pub fn attribute_at(&self, name: &str, now: Timestamp) -> Option<&'d Value> {
        let own = self.subject.directory.attributes.get(self.own, name);
        own.or_else(|| self.subject.attribute_at(name, now))
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("subject", &self.subject).finish_non_exhaustive()
    }
}
