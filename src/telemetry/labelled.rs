//! Counts by the value of a label.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

/// A number for each value that was counted. Values are the operator's own and few; those that come and go are forgotten by
/// [`Labelled::keep`].
#[derive(Debug, Default)]
pub(super) struct Labelled(ArcSwap<BTreeMap<Box<str>, Arc<AtomicU64>>>);

impl Labelled {
    /// Counts `many` more of `value`, which takes an allocation the first time only.
    pub(super) fn add(&self, value: &str, many: u64) {
        if let Some(number) = self.0.load().get(value) {
            number.fetch_add(many, Ordering::Relaxed);
            return;
        }
        self.0.rcu(|numbers| {
            let mut numbers = BTreeMap::clone(numbers);
            numbers.entry(value.into()).or_default();
            numbers
        });
        if let Some(number) = self.0.load().get(value) {
            number.fetch_add(many, Ordering::Relaxed);
        }
    }

    /// Forgets the values that are not `wanted` any more. One that is counted again begins at zero, as any counter that is new.
    pub(super) fn keep(&self, wanted: impl Fn(&str) -> bool) {
        if self.0.load().keys().all(|value| wanted(value)) {
            return;
        }
        self.0.rcu(|numbers| {
            let mut numbers = BTreeMap::clone(numbers);
            numbers.retain(|value, _| wanted(value));
            numbers
        });
    }

    /// Each value that was counted with its number, in order.
    pub(super) fn counts(&self) -> Vec<(Box<str>, u64)> {
        self.0.load().iter().map(|(value, number)| (value.clone(), number.load(Ordering::Relaxed))).collect()
    }

    /// The same, with zeros for those `known` values that were not counted yet: a rate needs a number to start from.
    pub(super) fn with<'k>(&self, known: impl IntoIterator<Item = &'k str>) -> BTreeMap<Box<str>, u64> {
        let mut counts: BTreeMap<Box<str>, u64> = known.into_iter().map(|value| (value.into(), 0)).collect();
        counts.extend(self.counts());
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_number() {
        let counts = Labelled::default();
        for (value, many) in [("b", 1), ("a", 2), ("b", 4)] {
            counts.add(value, many);
        }
        assert_eq!(counts.counts(), [("a".into(), 2), ("b".into(), 5)]);
    }

    #[test]
    fn values_that_are_gone_are_forgotten() {
        let counts = Labelled::default();
        for value in ["a", "b"] {
            counts.add(value, 3);
        }
        counts.keep(|value| value == "b");
        assert_eq!(counts.counts(), [("b".into(), 3)]);
        counts.add("a", 1);
        assert_eq!(counts.counts(), [("a".into(), 1), ("b".into(), 3)]);
    }

    #[test]
    fn values_that_several_threads_count_first_are_all_there() {
        let counts = Labelled::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let counts = &counts;
                scope.spawn(move || (0..100).for_each(|n| counts.add(&format!("v{}", (n + thread) % 10), 1)));
            }
        });
        assert!(counts.counts().iter().all(|(_, number)| *number == 40), "{counts:?}");
        assert_eq!(counts.counts().len(), 10);
    }
}
