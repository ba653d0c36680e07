//! Headers about to be sent.

use std::collections::HashSet;
use std::ops::Range;

use smallvec::SmallVec;

/// Headers with names from the policy and values of this answer, which stand side by side in one text: to make them takes
/// no allocation when the text has room.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a> {
    lines: SmallVec<[Line<'a>; 8]>,
    text: String,
    /// The names of all lines in lower case, once there are too many lines to look through.
    names: HashSet<&'a str>,
}

/// How many lines are looked through for a name, and sorted one by one.
const FEW: usize = 20;

#[derive(Clone, Debug)]
struct Line<'a> {
    name: &'a str,
    lower_case: &'a str,
    value: Range<usize>,
    rank: usize,
}

impl<'a> Headers<'a> {
    /// None yet. `text` lends its allocation; what stands in it is forgotten.
    pub fn in_room_of(mut text: String) -> Self {
        text.clear();
        Self { text, ..Self::default() }
    }

    /// The allocation that was lent.
    pub fn into_room(self) -> String {
        self.text
    }

    /// Every name with its value, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, &str)> {
        self.lines.iter().map(|line| (line.name, &self.text[line.value.clone()]))
    }

    /// The same, to be kept.
    pub fn to_vec(&self) -> Vec<(String, String)> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds a header with what `write` appends; none when it says that there is nothing to send.
    pub fn add(&mut self, name: &'a str, write: impl FnOnce(&mut String) -> bool) {
        self.push(name, name, write);
    }

    /// The same, unless one of that name was added by this before, in any case.
    pub(super) fn add_once(
        &mut self,
        name: &'a str,
        lower_case: &'a str,
        write: impl FnOnce(&mut String) -> bool,
    ) {
        let is_there = if self.lines.len() > FEW {
            if self.names.is_empty() {
                self.names.extend(self.lines.iter().map(|line| line.lower_case));
            }
            self.names.contains(lower_case)
        } else {
            self.lines.iter().any(|line| line.lower_case == lower_case)
        };
        if !is_there && self.push(name, lower_case, write) && !self.names.is_empty() {
            self.names.insert(lower_case);
        }
    }

    fn push(&mut self, name: &'a str, lower_case: &'a str, write: impl FnOnce(&mut String) -> bool) -> bool {
        let start = self.text.len();
        let is_reported = write(&mut self.text);
        if is_reported {
            self.lines.push(Line { name, lower_case, value: start..self.text.len(), rank: 0 });
        } else {
            self.text.truncate(start);
        }
        is_reported
    }

    /// Puts those that were added after the first `from` in the `rank`th place.
    pub fn rank(&mut self, from: usize, rank: usize) {
        for line in self.lines.iter_mut().skip(from) {
            line.rank = rank;
        }
    }

    /// Sorts them by their ranks; those of one rank stay in the order they were added in.
    pub fn sort_by_rank(&mut self) {
        if self.lines.len() > FEW {
            return self.lines.sort_by_key(|line| line.rank);
        }
        // Unlike `sort_by_key`, this never allocates, and with so few it is as fast.
        for at in 1..self.lines.len() {
            let rank = self.lines[at].rank;
            let place =
                self.lines[..at].iter().rposition(|line| line.rank <= rank).map_or(0, |before| before + 1);
            self.lines[place..=at].rotate_right(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn headers_are_sorted_by_rank_and_within_one_stay_in_order() {
        let mut headers = Headers::in_room_of("what stood here".to_owned());
        for (at, rank) in [3, 1, 2, 1, 0, 3].into_iter().enumerate() {
            headers.add("x", |text| {
                text.push_str(&format!("{rank}{at}"));
                true
            });
            headers.rank(at, rank);
        }
        headers.add("absent", |text| {
            text.push_str("half of it");
            false
        });
        headers.sort_by_rank();
        let values: Vec<_> = headers.iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["04", "11", "13", "22", "30", "35"]);
    }

    #[test]
    fn a_name_is_added_once_and_many_are_sorted_as_few_are() {
        let names: Vec<String> = (0..100).map(|n| format!("x-{n}")).collect();
        let mut headers = Headers::default();
        for (at, name) in names.iter().enumerate() {
            let mut add = |reported: bool, value: String| {
                headers.add_once(name, name, |text| {
                    text.push_str(&value);
                    reported
                });
            };
            add(false, "not told".to_owned());
            add(true, at.to_string());
            headers.rank(at, (at * 7) % 10);
            for name in &names[..=at] {
                headers.add_once(name, name, |_| true);
            }
            assert_eq!(headers.iter().len(), at + 1);
        }
        headers.sort_by_rank();
        let sorted: Vec<_> = headers.iter().map(|(_, value)| value.parse::<usize>().unwrap()).collect();
        assert!(sorted.is_sorted_by_key(|at| ((at * 7) % 10, *at)), "{sorted:?}");
    }
}
