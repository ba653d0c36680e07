//! Who has no number where a limit takes its number from attributes: to them it would be no limit at all.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::{Domain, Level, Requests, Source};
use crate::model::Timestamp;
use crate::subjects::{Credential, Directory, Value};

/// Late enough for every tier that time alone brings.
const SOME_DAY: Timestamp = Timestamp::from_nanos(u64::MAX);

/// What a limit asks of whoever comes to it, so that it has a number for them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NumberDemand {
    /// Who passes uncounted.
    exempt: Vec<(String, Value)>,
    /// An attribute that must have one of these values, which are sorted.
    table: Option<(String, Vec<String>)>,
    /// An attribute that replaces what the table says.
    instead: Option<String>,
    /// Attributes that are whole numbers where they are there.
    numbers: Vec<String>,
}

/// Why somebody has no number. What stands in a credential is not shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NoNumber {
    /// The table has no such value.
    Unlisted {
        /// The attribute.
        attribute: String,
        /// What it is.
        value: String,
    },
    /// The same, where the value is a credential's own.
    UnlistedOfCredential {
        /// The attribute.
        attribute: String,
    },
    /// The attribute is not there.
    Absent {
        /// The attribute.
        attribute: String,
    },
    /// It is something else than a number.
    NotWhole {
        /// The attribute.
        attribute: String,
    },
}

impl fmt::Display for NoNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlisted { attribute, value } => write!(f, "with `{attribute}: {value}`"),
            Self::UnlistedOfCredential { attribute } => {
                write!(f, "with a credential whose own `{attribute}` is not listed")
            }
            Self::Absent { attribute } => write!(f, "without `{attribute}`"),
            Self::NotWhole { attribute } => write!(f, "whose `{attribute}` is no whole number"),
        }
    }
}

impl NumberDemand {
    /// What a limit with these numbers asks, where whoever has one of `exempt` never comes to it.
    pub fn of<'e>(requests: &Requests, exempt: impl IntoIterator<Item = &'e (String, Value)>) -> Self {
        let table = match &requests.source {
            Source::Table { by, values, otherwise: None } => {
                let mut names: Vec<_> = values.iter().map(|(name, _)| name.clone()).collect();
                names.sort_unstable();
                Some((by.clone(), names))
            }
            _ => None,
        };
        let attribute = match &requests.source {
            Source::Attribute(name) => Some(name),
            Source::Fixed(_) | Source::Table { .. } => None,
        };
        let numbers =
            attribute.into_iter().chain(&requests.instead).chain(&requests.at_most).cloned().collect();
        let exempt = exempt.into_iter().cloned().collect();
        Self { exempt, table, instead: requests.instead.clone(), numbers }
    }

    /// The attribute that must have one of these values, if there is one.
    pub fn table(&self) -> Option<(&str, &[String])> {
        self.table.as_ref().map(|(by, values)| (by.as_str(), values.as_slice()))
    }

    /// Whether whoever has this value of an attribute never comes to the limit.
    pub fn is_exempt(&self, attribute: &str, value: &Value) -> bool {
        self.exempt.iter().any(|(name, exempt)| name == attribute && exempt == value)
    }

    /// Why there is no number for whoever `credential` stands for, if there is none; `has_own` where the credential has attributes of
    /// its own.
    pub fn lacking(&self, credential: &Credential<'_>, has_own: bool) -> Option<NoNumber> {
        let value = |name: &str| credential.attribute_at(name, SOME_DAY);
        if self.exempt.iter().any(|(name, exempt)| value(name) == Some(exempt)) {
            return None;
        }
        let is_number = |value: &Value| value.as_number().is_some_and(|number| number >= 0);
        let wrong = self.numbers.iter().find(|name| value(name).is_some_and(|value| !is_number(value)));
        if let Some(attribute) = wrong.cloned() {
            return Some(NoNumber::NotWhole { attribute });
        }
        let (by, values) = self.table.as_ref()?;
        if self.instead.as_ref().is_some_and(|name| value(name).is_some()) {
            return None;
        }
        let attribute = by.clone();
        match value(by) {
            None => Some(NoNumber::Absent { attribute }),
            Some(value) if values.iter().any(|name| *name == value.as_text()) => None,
            Some(_) if has_own => Some(NoNumber::UnlistedOfCredential { attribute }),
            Some(value) => Some(NoNumber::Unlisted { attribute, value: value.as_text().into_owned() }),
        }
    }
}

impl Domain {
    /// Those of the subjects `ids` of `directory` for whom a limit of this domain would have no number, each with the name of the limit
    /// and why: what loading refuses in a file, by the same rule.
    pub fn without_number<'d>(
        &self,
        directory: &'d Directory,
        ids: impl IntoIterator<Item = &'d str>,
    ) -> BTreeMap<&'d str, (String, NoNumber)> {
        let mut demands = HashMap::new();
        demands_of(&self.root, None, &mut Vec::new(), &mut demands);
        let mut found = BTreeMap::new();
        if demands.is_empty() {
            return found;
        }
        for (credential, kind) in directory.live_credentials(ids) {
            let id = credential.subject.id();
            for ((of, demand), limit) in &demands {
                if *of != kind || found.contains_key(id) {
                    continue;
                }
                if let Some(why) = demand.lacking(&credential, credential.has_own()) {
                    found.insert(id, (limit.clone(), why));
                }
            }
        }
        found
    }
}

/// What the limits from `level` on ask of whoever comes to them with a credential of which kind, each with the name of a limit.
fn demands_of<'p>(
    level: &'p Level,
    kind: Option<&'p str>,
    exempt: &mut Vec<&'p (String, Value)>,
    demands: &mut HashMap<(&'p str, NumberDemand), String>,
) {
    for node in level.nodes() {
        // Each descriptor on the way asks for a credential; whoever comes to a limit has one for the innermost.
        let kind = node.subject.as_ref().map(|subject| subject.kind.as_str()).or(kind);
        let before = exempt.len();
        exempt.extend(&node.exempt);
        if let Some(kind) = kind {
            let limits = node.rule.iter().flat_map(|rule| &rule.limits);
            for limit in limits.filter(|limit| limit.requests.attributes().next().is_some()) {
                let demand = NumberDemand::of(&limit.requests, exempt.iter().copied());
                // The same name whatever the order: nodes have none.
                let name = demands.entry((kind, demand)).or_insert_with(|| limit.name.clone());
                if limit.name < *name {
                    name.clone_from(&limit.name);
                }
            }
        }
        demands_of(&node.children, kind, exempt, demands);
        exempt.truncate(before);
    }
}
