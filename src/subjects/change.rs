//! Changes of single subjects that are made while the server runs, in the words of a subjects file.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::attributes::{Places, Run};
use super::credential::{CredentialHash, CredentialId};
use super::directory::Directory;
use super::index::{index, kind_place};
use super::problem::Problem;
use super::roster::Row;
use super::table::Entry;

/// What is said of one subject beside its file, or instead of it. What is not there stays as it is.
///
/// It is written as it is kept: a credential by its SHA-256, never as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubjectChange {
    /// Whether the subject is there though its file does not have it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
    /// Whether its credentials resolve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Attributes by name: a plan, a number of its own. In a change that is asked for, null takes back what was said of one.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Json>,
    /// When its subscription began (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_anchor: Option<String>,
    /// In which months of the subscription are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// `spend` and `first_payment`, from which a tier follows; null as for attributes.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Json>,
    /// Credentials that come, or that change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialChange>,
    /// What was said before and is taken back. It is not kept.
    #[serde(skip)]
    pub taken_back: TakenBack,
}

/// The fields of which what was said before is taken back: what the file says counts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// [`SubjectChange::enabled`].
    pub enabled: bool,
    /// [`SubjectChange::billing_anchor`].
    pub billing_anchor: bool,
    /// [`SubjectChange::time_zone`].
    pub time_zone: bool,
}

/// A credential that comes, or that changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CredentialChange {
    /// Its kind.
    pub kind: String,
    /// Its SHA-256, as 64 hexadecimal digits.
    pub sha256: String,
    /// Whether it resolves.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Attributes of its own.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Json>,
}

const fn yes() -> bool {
    true
}

/// Why changes cannot be made. Nothing in it is a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongChange {
    /// The words of a change say nothing that a subjects file could.
    #[error("the change of `{id}` is not understood: {}", first(problems))]
    NotUnderstood {
        /// The subject.
        id: String,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
    /// A credential is somebody else's.
    #[error("a credential that `{id}` is given belongs to `{owner}`")]
    Taken {
        /// Who is given it.
        id: String,
        /// Who has it.
        owner: String,
    },
    /// Of a limit that takes its number from attributes, nothing would be left: it has no number for the subject. What the change says
    /// to keep somebody out is made all the same.
    #[error("limit `{limit}` has no number for `{id}` {why}")]
    NoNumber {
        /// The subject.
        id: String,
        /// The limit.
        limit: String,
        /// What about the subject has no number.
        why: String,
    },
}

fn first(problems: &[Problem]) -> &str {
    problems.first().map_or("", |problem| &problem.message)
}

/// The SHA-256 of a credential as hexadecimal digits.
pub fn credential_sha256(credential: &[u8]) -> String {
    let mut digits = String::new();
    for byte in CredentialHash::of(credential).0 {
        digits.push_str(&format!("{byte:02x}"));
    }
    digits
}

impl SubjectChange {
    /// This change, and then `next`.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        let back = next.taken_back;
        self.created |= next.created;
        self.enabled = next.enabled.or(self.enabled.filter(|_| !back.enabled));
        self.billing_anchor = next.billing_anchor.or(self.billing_anchor.filter(|_| !back.billing_anchor));
        self.time_zone = next.time_zone.or(self.time_zone.filter(|_| !back.time_zone));
        for (said, next) in [(&mut self.attributes, next.attributes), (&mut self.facts, next.facts)] {
            said.extend(next);
            said.retain(|_, value| !value.is_null());
        }
        for credential in next.credentials {
            let same = |known: &&mut CredentialChange| {
                known.kind == credential.kind && known.sha256.eq_ignore_ascii_case(&credential.sha256)
            };
            match self.credentials.iter_mut().find(same) {
                Some(known) => *known = credential,
                None => self.credentials.push(credential),
            }
        }
        self
    }

    /// Whether all that it does is to let somebody resolve no more.
    pub fn only_keeps_out(&self) -> bool {
        let Self { created, enabled, attributes, billing_anchor, time_zone, facts, credentials, taken_back } =
            self;
        let others = *created || billing_anchor.is_some() || time_zone.is_some();
        !others
            && *taken_back == TakenBack::default()
            && *enabled != Some(true)
            && attributes.is_empty()
            && facts.is_empty()
            && credentials.iter().all(|credential| !credential.enabled)
    }

    /// That of it which lets somebody resolve no more.
    #[must_use]
    pub fn keeping_out(&self) -> Self {
        let disabled = self.credentials.iter().filter(|credential| !credential.enabled);
        let credentials =
            disabled.map(|credential| CredentialChange { attributes: Map::new(), ..credential.clone() });
        Self {
            enabled: self.enabled.filter(|enabled| !enabled),
            credentials: credentials.collect(),
            ..Self::default()
        }
    }

    /// About as many bytes as it takes where it is kept.
    pub fn bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |written| written.len())
    }

    /// The line of a subjects file that says so.
    fn line(&self, id: &str) -> String {
        let mut written = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = written.as_object_mut() {
            fields.remove("created");
            fields.insert("id".to_owned(), id.into());
        }
        written.to_string()
    }
}

impl WrongChange {
    /// The subject whose change it is.
    pub fn id(&self) -> &str {
        match self {
            Self::NotUnderstood { id, .. } | Self::Taken { id, .. } | Self::NoNumber { id, .. } => id,
        }
    }
}

impl Directory {
    /// The same directory with `changes` made, each of the subject with that id, and what cannot be made of them, which is left out:
    /// files may have changed since a change was made. Changes of subjects that are neither there nor created mean nothing.
    pub fn changed(&self, changes: &[(String, SubjectChange)]) -> (Self, Vec<WrongChange>) {
        let mut next = self.clone();
        let mut created = Vec::new();
        // What changes of credentials: the others are many.
        let mut credentials: BTreeMap<CredentialId, Entry> = BTreeMap::new();
        let mut kinds: HashMap<Box<str>, usize> = next.kinds.iter().cloned().zip(0..).collect();
        let mut places = next.attributes.places();
        let mut wrong = Vec::new();
        for (id, change) in changes {
            let said = match Self::parse_lines(&change.line(id)) {
                Ok(said) => said,
                Err(problems) => {
                    wrong.push(WrongChange::NotUnderstood { id: id.clone(), problems });
                    continue;
                }
            };
            let known = next.roster.find(id);
            let at = match known {
                Some(at) => at,
                None if change.created => next.roster.len() + created.len(),
                None => continue,
            };
            let mut row = known.map_or_else(Row::default, |at| *next.roster.row(at));
            next.change_row(&mut places, &mut row, change, &said);
            match known {
                Some(at) => *next.roster.row_mut(at) = row,
                None => created.push((id.clone(), row)),
            }
            for entry in said.credentials.all() {
                let own: Vec<_> = said
                    .attributes
                    .all(entry.attributes)
                    .map(|(name, value)| (name.to_owned(), value.clone()))
                    .collect();
                let kind = said.kinds[usize::from(entry.kind)].clone();
                let kind = *kinds.entry(kind).or_insert_with_key(|kind| {
                    next.kinds.push(kind.clone());
                    next.kinds.len() - 1
                });
                let entry = Entry { subject: index(at), kind: kind_place(kind), ..*entry };
                let before = credentials.get(&entry.id).or_else(|| self.credentials.find(entry.id));
                let attributes = match before {
                    Some(before) if before.subject != entry.subject => {
                        let owner = before.subject as usize;
                        let owner = match owner.checked_sub(next.roster.len()) {
                            None => next.roster.id(owner).to_owned(),
                            Some(at) => created[at].0.clone(),
                        };
                        wrong.push(WrongChange::Taken { id: id.clone(), owner });
                        continue;
                    }
                    // To disable one takes nothing else from it.
                    Some(before) if own.is_empty() => before.attributes,
                    _ => next.attributes.changed_among(&mut places, Run::default(), &own),
                };
                credentials.insert(entry.id, Entry { attributes, ..entry });
            }
        }
        next.roster = next.roster.with(created);
        next.credentials = next.credentials.with(credentials);
        (next, wrong)
    }

    /// Makes those changes of `row` that are there; `said` is how they were understood.
    fn change_row(&mut self, places: &mut Places, row: &mut Row, change: &SubjectChange, said: &Self) {
        let new = said.roster.row(0);
        row.enabled = change.enabled.unwrap_or(row.enabled);
        row.billing_anchor = new.billing_anchor.or(row.billing_anchor);
        row.facts.spend = new.facts.spend.or(row.facts.spend);
        row.facts.first_payment = new.facts.first_payment.or(row.facts.first_payment);
        if let Some(zone) = (new.zone as usize).checked_sub(1).and_then(|at| said.zones.get(at)) {
            self.zones.push(zone.clone());
            row.zone = index(self.zones.len());
        }
        let attributes: Vec<_> = said
            .attributes
            .all(new.attributes)
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
        row.attributes = self.attributes.changed_among(places, row.attributes, &attributes);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Timestamp;

    const FILE: &str = "
subjects:
  - {id: acme, attributes: {plan: growth, n: 5}, credentials: [{kind: key, value: k1, attributes: {own: 1}}]}
  - {id: other, credentials: [{kind: key, value: k2}]}
tiers: {attribute: tier, rules: [{tier: 0}, {tier: 1, spend: 5}]}
";

    fn change(words: Json) -> SubjectChange {
        serde_json::from_value(words).unwrap()
    }

    /// The directory, or the first change that cannot be made.
    fn changed(changes: &[(&str, Json)]) -> Result<Directory, WrongChange> {
        let changes: Vec<_> =
            changes.iter().map(|(id, words)| ((*id).to_owned(), change(words.clone()))).collect();
        let (amended, wrong) = Directory::parse(FILE).unwrap().changed(&changes);
        wrong.into_iter().next().map_or(Ok(amended), Err)
    }

    fn key(value: &str) -> Json {
        json!({"kind": "key", "sha256": credential_sha256(value.as_bytes())})
    }

    fn whose(directory: &Directory, credential: &str) -> Option<String> {
        directory.resolve("key", credential.as_bytes()).map(|found| found.subject.id().to_owned())
    }

    #[test]
    fn what_a_change_names_changes_and_nothing_else() {
        let directory =
            changed(&[("acme", json!({"attributes": {"plan": "scale"}, "facts": {"spend": 12.5}}))]).unwrap();
        let acme = directory.subject("acme").unwrap();
        assert_eq!(acme.attribute("plan").unwrap().as_text(), "scale");
        assert_eq!(acme.attribute("n").unwrap().as_number(), Some(5));
        assert_eq!(acme.attribute_at("tier", Timestamp::EPOCH).unwrap().as_number(), Some(1));
        assert_eq!(whose(&directory, "k1").as_deref(), Some("acme"));
        let own = directory.resolve("key", b"k1").unwrap();
        assert_eq!(own.attribute("own").unwrap().as_number(), Some(1));
        assert_eq!((directory.subjects(), directory.credentials()), (2, 2));
    }

    #[test]
    fn subjects_and_credentials_come_and_are_disabled() {
        let directory = changed(&[
            ("new", json!({"created": true, "credentials": [key("k3")], "time_zone": "Europe/Berlin"})),
            ("acme", json!({"credentials": [key("k4"), {"kind": "key", "sha256": credential_sha256(b"k1"), "enabled": false}]})),
            ("other", json!({"enabled": false})),
            ("gone", json!({"enabled": true})),
        ])
        .unwrap();
        assert_eq!(whose(&directory, "k3").as_deref(), Some("new"));
        assert_eq!(whose(&directory, "k4").as_deref(), Some("acme"));
        assert_eq!((whose(&directory, "k1"), whose(&directory, "k2")), (None, None));
        assert_eq!(directory.subjects(), 3, "one that the file no longer has is not made up");
        let zone = directory.subject("new").unwrap().time_zone().unwrap();
        assert_eq!(zone.iana_name(), Some("Europe/Berlin"));
    }

    #[test]
    fn a_change_that_cannot_be_made_says_why_without_the_credential() {
        let taken = changed(&[("acme", json!({"credentials": [key("k2")]}))]).unwrap_err();
        assert_eq!(taken.to_string(), "a credential that `acme` is given belongs to `other`");
        let created = json!({"created": true, "credentials": [key("k3")]});
        let taken = changed(&[("a", created.clone()), ("b", created)]).unwrap_err();
        assert_eq!(taken.to_string(), "a credential that `b` is given belongs to `a`");
        for words in [
            json!({"attributes": {"n": [1]}}),
            json!({"billing_anchor": "soon"}),
            json!({"facts": {"spent": 1}}),
            json!({"credentials": [{"kind": "key", "sha256": "abc"}]}),
        ] {
            let wrong = changed(&[("acme", words.clone())]).unwrap_err();
            assert!(
                wrong.to_string().starts_with("the change of `acme` is not understood: "),
                "{words}: {wrong}"
            );
        }
    }

    #[test]
    fn what_is_null_was_never_said() {
        let said = json!({"enabled": false, "attributes": {"a": 1, "b": 2}, "facts": {"spend": 5}, "time_zone": "UTC"});
        let mut next = change(json!({"attributes": {"a": null, "c": null}, "facts": {"spend": null}}));
        next.taken_back = TakenBack { enabled: true, ..TakenBack::default() };
        let both = change(said).then(next);
        assert_eq!(both, change(json!({"attributes": {"b": 2}, "time_zone": "UTC"})));
        let none = both.then(SubjectChange {
            taken_back: TakenBack { enabled: true, billing_anchor: true, time_zone: true },
            ..change(json!({"attributes": {"b": null}}))
        });
        assert_eq!(none, SubjectChange::default());
    }

    #[test]
    fn changes_take_no_longer_however_many_credentials_there_are() {
        let subject = |n: u32| {
            format!("{{\"id\": \"s{n}\", \"credentials\": [{{\"kind\": \"key\", \"value\": \"k{n}\"}}]}}\n")
        };
        let file: String = (0..100_000).map(subject).collect();
        let begun = tokio::time::Instant::now();
        let directory = Directory::parse_lines(&file).unwrap();
        let reading = begun.elapsed();
        let words = |n: u32| json!({"attributes": {"n": n}, "credentials": [key(&format!("new{n}"))]});
        let changes: Vec<_> = (0..5_000).map(|n| (format!("s{n}"), change(words(n)))).collect();
        let begun = tokio::time::Instant::now();
        let (next, wrong) = directory.changed(&changes);
        let took = begun.elapsed();
        assert_eq!((next.credentials(), wrong.len()), (105_000, 0));
        assert_eq!(whose(&next, "new4999").as_deref(), Some("s4999"));
        assert!(took < reading, "{took:?} for the changes, and {reading:?} for the file");
    }

    #[test]
    fn changes_take_no_longer_however_many_names_of_attributes_there_are() {
        let words = |n: u32| {
            let names: Map<String, Json> = (0..200).map(|name| (format!("{n}-{name}"), 1.into())).collect();
            json!({"attributes": names})
        };
        let subjects: String = (0..1_000)
            .fold(String::new(), |all, n| all + &format!("{{\"id\": \"s{n}\", \"credentials\": []}}\n"));
        let directory = Directory::parse_lines(&subjects).unwrap();
        let of = |subjects: std::ops::Range<u32>| {
            let changes: Vec<_> = subjects.map(|n| (format!("s{n}"), change(words(n)))).collect();
            let begun = tokio::time::Instant::now();
            let (next, wrong) = directory.changed(&changes);
            assert!(wrong.is_empty());
            (begun.elapsed(), next)
        };
        let ((few, _), (many, next)) = (of(0..50), of(0..800));
        assert_eq!(next.subject("s799").unwrap().attribute("799-199").unwrap().as_number(), Some(1));
        // Sixteen times as many, and not the square of that.
        assert!(many < few * 64, "{many:?} for 800 subjects, and {few:?} for 50");
    }

    #[test]
    fn a_later_change_adds_to_an_earlier_one() {
        let first =
            change(json!({"created": true, "attributes": {"a": 1, "b": 1}, "credentials": [key("k3")]}));
        let mut disabled = key("k3");
        disabled["enabled"] = json!(false);
        let both = first.then(change(
            json!({"attributes": {"b": 2}, "enabled": false, "credentials": [disabled.clone()]}),
        ));
        assert_eq!(
            both,
            change(
                json!({"created": true, "enabled": false, "attributes": {"a": 1, "b": 2}, "credentials": [disabled]})
            )
        );
    }
}
