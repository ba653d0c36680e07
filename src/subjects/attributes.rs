//! The attributes of a million subjects in little room: every name and every value is kept once.

use std::collections::HashMap;
use std::sync::Arc;

use super::index::index;
use super::scalar::{self, NotThat};
use super::value::Value;

/// The attributes of one subject or credential: a stretch of the pairs of [`Attributes`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    start: u32,
    length: u32,
}

impl Run {
    /// Whether there are none.
    pub(super) fn is_empty(self) -> bool {
        self.length == 0
    }

    fn range(self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.length as usize
    }
}

/// Every attribute of a directory.
#[derive(Clone, Default)]
pub(super) struct Attributes {
    names: Vec<Arc<str>>,
    values: Vec<Value>,
    /// Places in `names` and `values`.
    pairs: Vec<(u32, u32)>,
}

impl Attributes {
    /// The name of every attribute that anybody has.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// What `name` is in `run`.
    pub(super) fn get(&self, run: Run, name: &str) -> Option<&Value> {
        self.all(run).find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The attributes of `run`, in the order written.
    pub(super) fn all(&self, run: Run) -> impl Iterator<Item = (&str, &Value)> {
        let pairs = &self.pairs[run.range()];
        pairs.iter().map(|(name, value)| (&*self.names[*name as usize], &self.values[*value as usize]))
    }

    /// The place of each name, for [`changed_among`](Self::changed_among).
    pub(super) fn places(&self) -> Places {
        Places(self.names.iter().map(Arc::clone).zip(0..).collect())
    }

    /// `run` with `changes` made, as a new run; the old one stays behind, unused.
    pub(super) fn changed(&mut self, run: Run, changes: &[(String, Value)]) -> Run {
        self.changed_by(run, changes, |names, name| {
            names.iter().position(|known| **known == *name).map_or_else(|| add(names, name), index)
        })
    }

    /// The same, one of many changes: `places` are those of all names.
    pub(super) fn changed_among(
        &mut self,
        places: &mut Places,
        run: Run,
        changes: &[(String, Value)],
    ) -> Run {
        self.changed_by(run, changes, |names, name| {
            if let Some(place) = places.0.get(name) {
                return *place;
            }
            let place = add(names, name);
            places.0.insert(Arc::clone(&names[place as usize]), place);
            place
        })
    }

    fn changed_by(
        &mut self,
        run: Run,
        changes: &[(String, Value)],
        mut place: impl FnMut(&mut Vec<Arc<str>>, &str) -> u32,
    ) -> Run {
        let start = self.pairs.len();
        self.pairs.extend_from_within(run.range());
        for (name, value) in changes {
            let pair = (place(&mut self.names, name), index(self.values.len()));
            self.values.push(value.clone());
            match self.pairs[start..].iter_mut().find(|(known, _)| *known == pair.0) {
                Some(old) => *old = pair,
                None => self.pairs.push(pair),
            }
        }
        Run { start: index(start), length: index(self.pairs.len() - start) }
    }
}

/// Adds a name that is not there, and returns its place.
fn add(names: &mut Vec<Arc<str>>, name: &str) -> u32 {
    names.push(name.into());
    index(names.len() - 1)
}

/// Where each name is, while attributes change: there may be very many names.
pub(super) struct Places(HashMap<Arc<str>, u32>);

/// Attributes while they are read.
#[derive(Default)]
pub(super) struct Collector {
    attributes: Attributes,
    names: HashMap<Arc<str>, u32>,
    /// Values by what was written, in quotes and without.
    written: [HashMap<Arc<str>, u32>; 2],
}

impl Collector {
    /// The number of `name`, a new one if it is new.
    pub(super) fn name(&mut self, name: &str) -> u32 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = index(self.attributes.names.len());
        let name = Arc::<str>::from(name);
        self.attributes.names.push(Arc::clone(&name));
        self.names.insert(name, number);
        number
    }

    /// The number of what `text` means, in quotes or `plain`.
    pub(super) fn value(&mut self, text: &str, plain: bool) -> Result<u32, NotThat> {
        let written = &mut self.written[usize::from(plain)];
        if let Some(number) = written.get(text) {
            return Ok(*number);
        }
        let value = scalar::value(text, plain)?;
        let text = if let Value::Text(text) = &value { Arc::clone(text) } else { text.into() };
        let number = index(self.attributes.values.len());
        self.attributes.values.push(value);
        written.insert(text, number);
        Ok(number)
    }

    /// The value with this number.
    pub(super) fn get(&self, value: u32) -> &Value {
        &self.attributes.values[value as usize]
    }

    /// The number of `name`, if any attribute has that name.
    pub(super) fn known(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// How many pairs there are; a run begins here.
    pub(super) fn mark(&self) -> u32 {
        index(self.attributes.pairs.len())
    }

    /// Whether the run that began at `mark` has this name already.
    pub(super) fn has(&self, mark: u32, name: u32) -> bool {
        self.attributes.pairs[mark as usize..].iter().any(|(known, _)| *known == name)
    }

    /// One attribute more.
    pub(super) fn push(&mut self, name: u32, value: u32) {
        self.attributes.pairs.push((name, value));
    }

    /// What was pushed since `mark`.
    pub(super) fn run(&self, mark: u32) -> Run {
        Run { start: mark, length: self.mark() - mark }
    }

    /// The attributes, in no more room than they need.
    pub(super) fn finish(self) -> Attributes {
        let mut attributes = self.attributes;
        attributes.names.shrink_to_fit();
        attributes.values.shrink_to_fit();
        attributes.pairs.shrink_to_fit();
        attributes
    }
}
