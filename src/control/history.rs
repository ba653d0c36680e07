//! What became of the last configurations.

use std::collections::VecDeque;

use super::change::Change;
use crate::config::{Diagnostic, Severity};
use crate::model::Timestamp;

/// How many are remembered.
pub const HISTORY: usize = 20;

/// A configuration that was put in force, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by the wall clock.
    pub at: Timestamp,
    /// As which generation it was put in force; `None` if it was refused.
    pub generation: Option<u64>,
    /// How many rules it has; 0 if it was refused.
    pub rules: usize,
    /// The domains that came with it.
    pub added: Vec<String>,
    /// The domains that went.
    pub removed: Vec<String>,
    /// How many mistakes it has.
    pub mistakes: usize,
    /// The first of them, with its place.
    pub first_mistake: Option<String>,
}

impl Event {
    pub(super) fn applied(at: Timestamp, generation: u64, rules: usize, change: &Change) -> Self {
        let Change { added, removed, .. } = change.clone();
        let generation = Some(generation);
        Self { at, generation, rules, added, removed, mistakes: 0, first_mistake: None }
    }

    pub(super) fn rejected(at: Timestamp, diagnostics: &[Diagnostic]) -> Self {
        let errors = || diagnostics.iter().filter(|one| one.severity == Severity::Error);
        let shown = |one: &Diagnostic| match &one.excerpt {
            Some(excerpt) => format!("{}: {}", excerpt.place, one.message),
            None => one.message.clone(),
        };
        let (mistakes, first_mistake) = (errors().count(), errors().next().map(shown));
        let (added, removed) = (Vec::new(), Vec::new());
        Self { at, generation: None, rules: 0, added, removed, mistakes, first_mistake }
    }

    /// Whether it is the same refusal at another time, as of files that are read again and again.
    fn repeats(&self, other: &Self) -> bool {
        self.generation.is_none() && Self { at: self.at, ..other.clone() } == *self
    }
}

/// The last of them.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Event>);

impl History {
    pub(super) fn add(&mut self, event: Event) {
        if let Some(last) = self.0.back_mut()
            && event.repeats(last)
        {
            last.at = event.at;
            return;
        }
        if self.0.len() >= HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    pub(super) fn newest_first(&self) -> Vec<Event> {
        self.0.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_twenty_are_remembered_and_a_refusal_that_is_repeated_is_one() {
        let mut history = History::default();
        for n in 1..=30 {
            history.add(Event::applied(Timestamp::from_secs(n), n, 1, &Change::default()));
        }
        let wrong = [Diagnostic::error("no such word")];
        history.add(Event::rejected(Timestamp::from_secs(31), &wrong));
        history.add(Event::rejected(Timestamp::from_secs(32), &wrong));
        let all = history.newest_first();
        assert_eq!(all.len(), HISTORY);
        assert_eq!((all[0].at, all[0].mistakes), (Timestamp::from_secs(32), 1));
        assert_eq!(all[0].first_mistake.as_deref(), Some("no such word"));
        assert_eq!((all[1].generation, all[19].generation), (Some(30), Some(12)));
    }
}
