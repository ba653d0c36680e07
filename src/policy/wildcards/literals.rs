//! A set of byte strings, all of which are looked for at once.

use aho_corasick::automaton::Automaton;
use aho_corasick::dfa::DFA;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, StartKind};

/// The most matches that an automaton's states may list together. Each state lists all members that end in it, which are
/// many only where members are ends of one another, many times over: no policy in its senses comes near.
const MOST_LISTED: usize = 1 << 24;

/// Up to so many states a table is made of them: at most 4 MiB, and as a rule a sixteenth, for what is read in half the time.
const MOST_IN_A_TABLE: usize = 4_096;

/// Distinct byte strings, known by their places in the list that they came in.
#[derive(Debug)]
pub(super) struct Literals(Form);

#[derive(Debug)]
enum Form {
    Table(DFA),
    Links(NFA),
}

/// Where the members of a set are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// Where a text starts: see [`Literals::at_start`].
    AtStart,
    /// All over it: see [`Literals::ends`].
    Anywhere,
}

impl Literals {
    /// The set of `members`, which are distinct. None when the automaton would be too large.
    pub(super) fn new(members: &[&[u8]], place: Where) -> Option<Self> {
        let states = beginnings(members);
        let nested = 1 + depths(&longest_ends(members)).into_iter().max().unwrap_or(0);
        if states.saturating_mul(nested) > MOST_LISTED {
            return None;
        }
        if states > MOST_IN_A_TABLE {
            let links = NFA::builder().prefilter(false).build(members).ok()?;
            return Some(Self(Form::Links(links)));
        }
        let start = match place {
            Where::AtStart => StartKind::Anchored,
            Where::Anywhere => StartKind::Unanchored,
        };
        let table = DFA::builder().prefilter(false).start_kind(start).build(members).ok()?;
        Some(Self(Form::Table(table)))
    }

    /// Tells the members that `text` starts with, the shortest first.
    pub(super) fn at_start(&self, text: impl IntoIterator<Item = u8>, tell: impl FnMut(usize)) {
        match &self.0 {
            Form::Table(table) => at_start(table, text, tell),
            Form::Links(links) => at_start(links, text, tell),
        }
    }

    /// Tells the longest member that ends at each place of `text` where one does, with the place; until it is told to
    /// stop by `false`.
    pub(super) fn ends(&self, text: &[u8], tell: impl FnMut(usize, usize) -> bool) {
        match &self.0 {
            Form::Table(table) => ends(table, text, tell),
            Form::Links(links) => ends(links, text, tell),
        }
    }
}

fn at_start(automaton: &impl Automaton, text: impl IntoIterator<Item = u8>, mut tell: impl FnMut(usize)) {
    let Ok(mut state) = automaton.start_state(Anchored::Yes) else { return };
    let mut read = 0;
    let mut text = text.into_iter();
    loop {
        // A state lists the longest member first, and only that one can be all that was read.
        if automaton.is_match(state) {
            let member = automaton.match_pattern(state, 0);
            if automaton.pattern_len(member) == read {
                tell(member.as_usize());
            }
        }
        let Some(byte) = text.next() else { return };
        state = automaton.next_state(Anchored::Yes, state, byte);
        read += 1;
        if automaton.is_dead(state) {
            return;
        }
    }
}

fn ends(automaton: &impl Automaton, text: &[u8], mut tell: impl FnMut(usize, usize) -> bool) {
    let Ok(mut state) = automaton.start_state(Anchored::No) else { return };
    for (at, &byte) in text.iter().enumerate() {
        state = automaton.next_state(Anchored::No, state, byte);
        // Dead, a match or a start: as a rule none of them.
        if automaton.is_special(state) && automaton.is_match(state) {
            let member = automaton.match_pattern(state, 0);
            if !tell(at + 1, member.as_usize()) {
                return;
            }
        }
    }
}

/// How many distinct beginnings the members have, all of them being one of their own.
fn beginnings(members: &[&[u8]]) -> usize {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let mut before: &[u8] = &[];
    let mut count = 1;
    for member in sorted {
        let shared = before.iter().zip(member).take_while(|(a, b)| a == b).count();
        count += member.len() - shared;
        before = member;
    }
    count
}

/// For each member, the longest other one that it ends with.
pub(super) fn longest_ends(members: &[&[u8]]) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    // Read backwards, whatever a member ends with sorts before it, and only others that end so stand between them.
    order.sort_by(|&a, &b| members[a].iter().rev().cmp(members[b].iter().rev()));
    let mut longest = vec![None; members.len()];
    let mut open: Vec<usize> = Vec::new();
    for member in order {
        while open.pop_if(|end| !members[member].ends_with(members[*end])).is_some() {}
        longest[member] = open.last().copied();
        open.push(member);
    }
    longest
}

/// How many members each one ends with, itself left out.
fn depths(longest_ends: &[Option<usize>]) -> Vec<usize> {
    let mut depths: Vec<Option<usize>> = vec![None; longest_ends.len()];
    let mut way = Vec::new();
    for member in 0..longest_ends.len() {
        let mut next = Some(member);
        while let Some(at) = next.filter(|&at| depths[at].is_none()) {
            way.push(at);
            next = longest_ends[at];
        }
        while let Some(at) = way.pop() {
            depths[at] = Some(longest_ends[at].and_then(|end| depths[end]).map_or(0, |depth| depth + 1));
        }
    }
    depths.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_what_it_starts_with_and_what_ends_where() {
        let literals = Literals::new(&[b"", b"ab", b"b", b"abab"], Where::AtStart).unwrap();
        let mut told = Vec::new();
        literals.at_start(*b"ababab", |member| told.push(member));
        assert_eq!(told, [0, 1, 3]);

        let literals = Literals::new(&[b"ab", b"b", b"abab"], Where::Anywhere).unwrap();
        let mut told = Vec::new();
        literals.ends(b"bxabab", |end, member| {
            told.push((end, member));
            true
        });
        assert_eq!(told, [(1, 1), (4, 0), (6, 2)]);
    }

    #[test]
    fn ends_of_one_another_are_known() {
        let members: [&[u8]; 5] = [b"b", b"ab", b"bb", b"aab", b"c"];
        let longest = longest_ends(&members);
        assert_eq!(longest, [None, Some(0), Some(0), Some(1), None]);
        assert_eq!(depths(&longest), [0, 1, 1, 2, 0]);
    }

    #[test]
    fn a_set_whose_states_would_list_too_much_is_none() {
        // All end in up to 1,000 others, which is seen at 1,000 states and then at 17 times as many.
        let nested = |heads: &[u8]| {
            let tails = (1..=1_000_usize).map(|length| vec![b'a'; length]);
            let heads = heads.iter().map(|&head| [&[head][..], &[b'a'; 1_000]].concat());
            tails.chain(heads).collect::<Vec<Vec<u8>>>()
        };
        let set = |members: &[Vec<u8>]| {
            Literals::new(&members.iter().map(Vec::as_slice).collect::<Vec<_>>(), Where::Anywhere)
        };
        assert!(set(&nested(b"")).is_some());
        assert!(set(&nested(b"0123456789abcdefgh")).is_none());
    }
}
