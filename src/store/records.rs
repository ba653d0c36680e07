//! What a server learns while it runs, and must not forget: tiers that were reached, changes made by operators, and who made them.
//!
//! A record is known by its kind, by a scope (the domain that it is about, if it is about one) and by an id, as that of a subject. Its value is JSON, whose
//! meaning belongs to whoever writes that kind; a later version may add fields to it, and gives another meaning another kind.
//! Records are few and change seldom: no request reads or writes one.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

use super::StoreError;

/// The version of what is kept of records, in a store and in an export.
pub const VERSION: u32 = 1;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// The tier that a subject has reached.
    ReachedTier,
    /// A change of a subject that was made while the server ran.
    Subject,
    /// That an operator changed something, and what.
    Change,
}

impl RecordKind {
    /// Their names, as they are written.
    pub const NAMES: [(&str, Self); 3] =
        [("reached_tier", Self::ReachedTier), ("subject", Self::Subject), ("change", Self::Change)];

    /// How it is written.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The kind that is written so.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

/// One record, or that there is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: RecordKind,
    /// The domain; empty for what is about none.
    pub scope: String,
    /// The subject, or what else tells it from others of its kind and scope.
    pub id: String,
    /// JSON; none deletes the record.
    pub value: Option<Vec<u8>>,
}

/// Shows an id and a value.
pub type Visit<'v> = &'v mut dyn FnMut(&str, &[u8]);

/// Where records are kept. Its methods block, and are called on threads that serve nobody.
pub trait Records: fmt::Debug + Send + Sync {
    /// Shows each record of a kind and scope, in the order of ids; all of them or, where they cannot be read, none.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn each(&self, kind: RecordKind, scope: &str, visit: Visit<'_>) -> Result<(), StoreError>;

    /// Puts and deletes records, all of them or none. When this returns they are as durable as the store is. It waits for some
    /// seconds at most.
    ///
    /// # Errors
    ///
    /// When they cannot be written, or the store is closed: then they are not there. [`StoreError::InDoubt`] where that is not
    /// known: a [`flush`](Self::flush) that succeeds later settles it, and what is read from then on is what was made.
    fn apply(&self, changes: Vec<Record>) -> Result<(), StoreError>;

    /// Waits, as [`apply`](Self::apply) does, until everything is as durable as the store is that was asked of it before: counters whose
    /// hits were given back, which no request waits for.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    fn flush(&self) -> Result<(), StoreError>;
}

/// Records that end with the process.
#[derive(Debug, Default)]
pub struct MemoryRecords(Mutex<BTreeMap<(RecordKind, String, String), Vec<u8>>>);

impl Records for MemoryRecords {
    fn each(&self, kind: RecordKind, scope: &str, visit: Visit<'_>) -> Result<(), StoreError> {
        let records = self.0.lock();
        let from = (kind, scope.to_owned(), String::new());
        for ((_, _, id), value) in
            records.range(from..).take_while(|(key, _)| key.0 == kind && key.1 == scope)
        {
            visit(id, value);
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Record>) -> Result<(), StoreError> {
        let mut records = self.0.lock();
        for Record { kind, scope, id, value } in changes {
            match value {
                Some(value) => records.insert((kind, scope, id), value),
                None => records.remove(&(kind, scope, id)),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
