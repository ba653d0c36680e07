//! Subjects by id.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::attributes::Run;
use super::index::index;
use super::tiers::Facts;
use crate::model::Timestamp;

/// One subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Where its id ends in [`Roster::ids`]; it begins where the one before ends.
    pub(super) id_end: u32,
    pub(super) attributes: Run,
    /// One more than the place of its time zone; 0 for none.
    pub(super) zone: u32,
    pub(super) enabled: bool,
    pub(super) billing_anchor: Option<Timestamp>,
    pub(super) facts: Facts,
}

impl Default for Row {
    fn default() -> Self {
        let (attributes, facts) = (Run::default(), Facts::default());
        Self { id_end: 0, attributes, zone: 0, enabled: true, billing_anchor: None, facts }
    }
}

/// Every subject, in the order written.
#[derive(Clone, Default)]
pub(super) struct Roster {
    ids: String,
    rows: Vec<Row>,
    /// The hash of each id and its place in `rows`, sorted by hash, then id, then place.
    by_id: Vec<(u32, u32)>,
}

impl Roster {
    /// `ids` are all ids without a gap, in the order of `rows`.
    pub(super) fn new(ids: String, rows: Vec<Row>) -> Self {
        let mut roster = Self { ids, rows, by_id: Vec::new() };
        let mut by_id: Vec<(u32, u32)> =
            (0..roster.rows.len()).map(|at| (hash(roster.id(at)), index(at))).collect();
        by_id.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| roster.id(a.1 as usize).cmp(roster.id(b.1 as usize)))
                .then(a.1.cmp(&b.1))
        });
        roster.by_id = by_id;
        roster
    }

    /// The same with more subjects after the others, whose ids nobody has.
    pub(super) fn with(self, more: Vec<(String, Row)>) -> Self {
        if more.is_empty() {
            return self;
        }
        let Self { mut ids, mut rows, .. } = self;
        for (id, row) in more {
            ids.push_str(&id);
            rows.push(Row { id_end: index(ids.len()), ..row });
        }
        Self::new(ids, rows)
    }

    /// Each subject whose id an earlier one has, after the first that has it.
    pub(super) fn repeated(&self) -> impl Iterator<Item = (usize, usize)> {
        let same =
            |a: &(u32, u32), b: &(u32, u32)| a.0 == b.0 && self.id(a.1 as usize) == self.id(b.1 as usize);
        self.by_id
            .chunk_by(same)
            .flat_map(|group| group[1..].iter().map(|(_, later)| (group[0].1 as usize, *later as usize)))
    }

    /// The id of the subject at this place.
    pub(super) fn id(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.rows[before].id_end);
        &self.ids[start as usize..self.rows[at].id_end as usize]
    }

    /// Where the subject with this id is.
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        let hash = hash(id);
        let start = self.by_id.partition_point(|(known, _)| *known < hash);
        let alike = self.by_id[start..].iter().take_while(|(known, _)| *known == hash);
        alike.map(|(_, at)| *at as usize).find(|at| self.id(*at) == id)
    }

    pub(super) fn row(&self, at: usize) -> &Row {
        &self.rows[at]
    }

    pub(super) fn row_mut(&mut self, at: usize) -> &mut Row {
        &mut self.rows[at]
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

fn hash(id: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn ids_whose_hashes_meet_stay_apart() {
        let mut seen = HashMap::new();
        let (a, b) = (0..)
            .map(|n| format!("id{n}"))
            .find_map(|id| seen.insert(hash(&id), id.clone()).map(|before| (before, id)))
            .unwrap();
        let end = |length: usize| Row { id_end: index(length), ..Row::default() };
        let roster = Roster::new(format!("{a}{b}"), vec![end(a.len()), end(a.len() + b.len())]);
        assert_eq!((roster.find(&a), roster.find(&b), roster.find("other")), (Some(0), Some(1), None));
        assert_eq!(roster.repeated().count(), 0);
        let length = a.len();
        let roster = Roster::new(
            format!("{a}{b}{a}"),
            vec![end(length), end(length + b.len()), end(2 * length + b.len())],
        );
        assert_eq!(roster.repeated().collect::<Vec<_>>(), [(0, 2)]);
    }
}
