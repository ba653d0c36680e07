//! Counts by the value of a label.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

/// A number for each value that was ever counted. Values are the operator's own and few: none is ever forgotten.
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

    /// Appends a line of Prometheus' text format for each value, in order.
    pub(super) fn render(&self, name: &str, label: &str, text: &mut String) {
        for (value, number) in self.0.load().iter() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let number = number.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}{{{label}=\"{value}\"}} {number}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_number_and_stays_inside_its_quotes() {
        let counts = Labelled::default();
        for (value, many) in [("b", 1), ("a\"} 1\n\\", 2), ("b", 4)] {
            counts.add(value, many);
        }
        let mut text = String::new();
        counts.render("n", "l", &mut text);
        assert_eq!(text, "n{l=\"a\\\"} 1\\n\\\\\"} 2\nn{l=\"b\"} 5\n");
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
        let mut text = String::new();
        counts.render("n", "l", &mut text);
        assert_eq!(text.lines().filter(|line| line.ends_with(" 40")).count(), 10, "{text}");
    }
}
