//! A directory while it is read: what was found and where, before anything is looked up.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use super::attributes::Collector;
use super::directory::Directory;
use super::index::index;
use super::problem::{Place, Problems, shown};
use super::roster::{Roster, Row};
use super::survey::Survey;
use super::table::{Entry, Table};
use super::tiers::Tiers;

/// What has been read so far.
#[derive(Default)]
pub(super) struct Draft {
    /// All ids without a gap.
    pub(super) ids: String,
    pub(super) subjects: Vec<Row>,
    /// Where each subject's id is, and who has which kind of credential.
    pub(super) survey: Survey,
    pub(super) credentials: Vec<(Entry, Place)>,
    pub(super) attributes: Collector,
    pub(super) zones: Zones,
    pub(super) tiers: Option<Tiers>,
    pub(super) suspects: Vec<Suspect>,
}

/// An attribute that would be a mistake if the tier had its name, which may be known only later in the file.
#[derive(Clone, Copy)]
pub(super) struct Suspect {
    pub(super) name: u32,
    pub(super) at: Place,
    pub(super) message: &'static str,
}

/// Time zones by name.
#[derive(Default)]
pub(super) struct Zones {
    zones: Vec<TimeZone>,
    names: HashMap<String, u32>,
}

impl Zones {
    /// One more than the place of this zone, if it was named before.
    pub(super) fn get(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// One more than the place of this zone.
    pub(super) fn add(&mut self, name: &str, zone: TimeZone) -> u32 {
        if let Some(number) = self.get(name) {
            return number;
        }
        self.zones.push(zone);
        let number = index(self.zones.len());
        self.names.insert(name.to_owned(), number);
        number
    }
}

impl Draft {
    /// The directory with its places, and what is wrong with it as a whole.
    pub(super) fn finish(mut self, problems: &mut Problems) -> (Directory, Survey) {
        let tier = self.tiers.as_ref().and_then(|tiers| self.attributes.known(&tiers.attribute));
        for suspect in self.suspects.drain(..).filter(|suspect| tier == Some(suspect.name)) {
            problems.add(suspect.at, suspect.message, None);
        }
        self.credentials.sort_unstable_by_key(|(entry, at)| (entry.id, *at));
        for alike in self.credentials.chunk_by(|(a, _), (b, _)| a.id == b.id) {
            for (_, at) in &alike[1..] {
                let message = format!("this credential was given to a subject already, at {}", alike[0].1);
                problems.add(*at, message, Some("a credential belongs to one subject, once".to_owned()));
            }
        }
        let mut entries: Vec<Entry> = self.credentials.into_iter().map(|(entry, _)| entry).collect();
        entries.shrink_to_fit();
        self.ids.shrink_to_fit();
        self.subjects.shrink_to_fit();
        let roster = Roster::new(self.ids, self.subjects);
        for (first, later) in roster.repeated().filter(|(first, _)| !roster.id(*first).is_empty()) {
            let message = format!(
                "subject {} was defined already, at {}",
                shown(roster.id(first)),
                self.survey.subjects[first]
            );
            problems.add(self.survey.subjects[later], message, None);
        }
        let directory = Directory {
            roster,
            credentials: Table::new(entries),
            kinds: self.survey.kinds_by_number(),
            attributes: self.attributes.finish(),
            zones: self.zones.zones,
            tiers: self.tiers,
        };
        (directory, self.survey)
    }
}
