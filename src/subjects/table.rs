//! Credentials by number, found in about one step.
//!
//! The numbers are hashes, so they are spread evenly: sorted, with the start of each bucket kept, a bucket holds one
//! or two of them. Nothing is stored for empty places, and nothing moves after loading.

use std::collections::BTreeMap;

use super::attributes::Run;
use super::credential::CredentialId;
use super::index::index;

/// One registered credential.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) id: CredentialId,
    /// The place of its subject.
    pub(super) subject: u32,
    /// Its own attributes.
    pub(super) attributes: Run,
    /// The place of its kind among those of the directory.
    pub(super) kind: u16,
    pub(super) enabled: bool,
}

/// Every registered credential.
#[derive(Clone)]
pub(super) struct Table {
    /// Sorted by number; no number twice.
    entries: Vec<Entry>,
    /// Where each bucket begins, and a last one where the last ends.
    starts: Vec<u32>,
    /// How many leading bits of a number name its bucket.
    bits: u32,
}

impl Default for Table {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Table {
    /// `entries` must be sorted by number.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let bits = entries.len().checked_ilog2().unwrap_or(0).min(28);
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (at, entry) in entries.iter().enumerate() {
            while starts.len() <= bucket(entry.id, bits) {
                starts.push(index(at));
            }
        }
        starts.resize((1 << bits) + 1, index(entries.len()));
        Self { entries, starts, bits }
    }

    /// The same with `changed` credentials in the place of those with their numbers, and beside the others.
    pub(super) fn with(self, changed: BTreeMap<CredentialId, Entry>) -> Self {
        if changed.is_empty() {
            return self;
        }
        let mut entries = Vec::with_capacity(self.entries.len() + changed.len());
        let mut changed = changed.into_values().peekable();
        for entry in self.entries {
            while let Some(before) = changed.next_if(|changed| changed.id < entry.id) {
                entries.push(before);
            }
            entries.push(changed.next_if(|changed| changed.id == entry.id).unwrap_or(entry));
        }
        entries.extend(changed);
        Self::new(entries)
    }

    /// The credential with this number.
    pub(super) fn find(&self, id: CredentialId) -> Option<&Entry> {
        let bucket = bucket(id, self.bits);
        let (start, end) = (*self.starts.get(bucket)?, *self.starts.get(bucket + 1)?);
        self.entries.get(start as usize..end as usize)?.iter().find(|entry| entry.id == id)
    }

    /// All of them, sorted by number.
    pub(super) fn all(&self) -> &[Entry] {
        &self.entries
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The first `bits` bits of `id`, of which there are at most 28.
fn bucket(id: CredentialId, bits: u32) -> usize {
    let [a, b, c, d, ..] = *id.as_bytes();
    u32::from_be_bytes([a, b, c, d]).checked_shr(32 - bits).unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_everything_it_holds_and_nothing_else() {
        for size in [0_u32, 1, 2, 3, 7, 8, 1000] {
            let id = |n: u32| CredentialId::of("k", &n.to_le_bytes());
            let entry =
                |n| Entry { id: id(n), subject: n, attributes: Run::default(), kind: 0, enabled: true };
            let mut entries: Vec<Entry> = (0..size).map(entry).collect();
            entries.sort_unstable_by_key(|entry| entry.id);
            let table = Table::new(entries);
            assert_eq!(table.len(), size as usize);
            for n in 0..size + 100 {
                assert_eq!(table.find(id(n)).map(|entry| entry.subject), (n < size).then_some(n));
            }
        }
    }
}
