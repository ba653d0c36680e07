//! What a policy asks of whoever is behind a credential.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Domain, Level, Place, Shape, Source};
use crate::response::Name;

/// What a domain asks of subjects and their credentials.
#[derive(Clone, Debug, Default)]
pub struct Asked<'p> {
    /// Attributes that limits take their numbers from, that exempt, or that templates show.
    pub attributes: BTreeSet<&'p str>,
    /// Kinds of credentials.
    pub kinds: BTreeSet<&'p str>,
    /// Attributes whose values limits list, with a number for all others.
    pub listed: BTreeMap<&'p str, ListedValues<'p>>,
}

/// The values of an attribute that a domain knows by name.
#[derive(Clone, Debug)]
pub struct ListedValues<'p> {
    /// Those that some limit lists, and those that exempt.
    pub values: BTreeSet<Cow<'p, str>>,
    /// The descriptor of the first limit that lists some and has a number for all others.
    pub place: &'p Place,
}

impl<'p> Asked<'p> {
    pub(super) fn of(domain: &'p Domain) -> Self {
        let mut asked = Self::default();
        asked.shape(&domain.shape);
        for header in &domain.request_headers {
            asked.template(header.template.names());
        }
        asked.level(&domain.root);
        if !asked.listed.is_empty() {
            asked.values(&domain.root);
        }
        asked
    }

    /// Adds the values that are known by name.
    fn values(&mut self, level: &'p Level) {
        for node in level.nodes() {
            for (name, value) in &node.exempt {
                if let Some(listed) = self.listed.get_mut(name.as_str()) {
                    listed.values.insert(value.as_text());
                }
            }
            for limit in node.rule.iter().flat_map(|rule| &rule.limits) {
                if let Source::Table { by, values, .. } = &limit.requests.source
                    && let Some(listed) = self.listed.get_mut(by.as_str())
                {
                    listed.values.extend(values.iter().map(|(value, _)| Cow::Borrowed(value.as_str())));
                }
            }
            self.values(&node.children);
        }
    }

    fn level(&mut self, level: &'p Level) {
        for node in level.nodes() {
            self.kinds.extend(node.subject.as_ref().map(|subject| subject.kind.as_str()));
            self.attributes.extend(node.exempt.iter().map(|(name, _)| name.as_str()));
            for limit in node.rule.iter().flat_map(|rule| &rule.limits) {
                self.attributes.extend(limit.requests.attributes());
                self.shape(&limit.shape);
                if let Source::Table { by, otherwise: Some(_), .. } = &limit.requests.source {
                    let first = ListedValues { values: BTreeSet::new(), place: &node.place };
                    self.listed.entry(by).or_insert(first);
                }
            }
            self.level(&node.children);
        }
    }

    fn shape(&mut self, shape: &'p Shape) {
        if let Some(denial) = &shape.denial {
            self.template(denial.body.names());
        }
    }

    fn template(&mut self, names: impl Iterator<Item = Name<'p>>) {
        self.attributes.extend(names.filter_map(|name| match name {
            Name::Attribute(name) => Some(name),
            _ => None,
        }));
    }
}
