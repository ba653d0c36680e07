//! The directory: what is asked while requests are answered.

use std::fmt;

use jiff::tz::TimeZone;

use super::attributes::{Attributes, Run};
use super::credential::{CredentialHash, CredentialId};
use super::roster::{Roster, Row};
use super::table::Table;
use super::tiers::{Facts, Tiers};
use super::value::Value;
use crate::model::Timestamp;

/// Every subject of one file, and whose credential is whose.
///
/// The default one knows nobody.
#[derive(Default)]
pub struct Directory {
    pub(super) roster: Roster,
    pub(super) credentials: Table,
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

    pub(super) fn facts(&self) -> Facts {
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
