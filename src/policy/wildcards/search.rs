//! Which wildcard of an index a text fits first.
//!
//! A step that was reached waits for all its next pieces at once. Each wait ends with the first occurrence of its piece
//! and never comes back, so a text costs its length and one unit of work for each step that it truly reaches:
//!
//! - Only steps are reached that could still lead to a wildcard that is listed before the best so far, is not longer than the
//!   text, ends as it does and has pieces that all occur in it; see `candidates`.
//! - A piece may not overlap the one before it, so a wait begins to count `length` bytes after it was set up. Until then it
//!   lies in a calendar and costs nothing, however often the piece occurs.
//! - Where an occurrence ends, shorter pieces end too. Those with a wait are found by a bitmap over the pieces' numbers;
//!   each one that is found ends at least one wait.
//!
//! A policy can be made so that a short text reaches a step of each wildcard, and a message so that it holds a thousand such
//! texts. No way of matching is known that is much faster than texts times wildcards then. So all the work of a request is
//! bounded: see [`Scratch::begin`].

use std::ops::Range;

use super::Wildcard;
use super::candidates::Candidates;
use super::index::{Index, NONE, Step};

/// Room to look for wildcards in, to be used again.
///
/// What one search leaves behind is told from what the next one writes by its number, so nothing has to be cleared.
#[derive(Debug)]
pub struct Scratch {
    /// The id of the subject whose credential [`UNKNOWN`] stands for, where a request is explained of which no more is known.
    pub(in crate::policy) stand_in: Option<Box<str>>,
    search: u64,
    /// The units of work since the request began.
    pub(super) work: u64,
    /// How many of them the request has.
    most_work: u64,
    /// The stems that the text starts with, as steps; the shortest first.
    roots: Vec<usize>,
    candidates: Candidates,
    /// For each piece, in which search it was seen last.
    piece_seen: Vec<u64>,
    waits: Waits,
}

/// What logs have in the place of a credential.
pub const UNKNOWN: &str = "…";

/// The units of work that a request has, besides those for its bytes. One is a nanosecond to five: a step reached, a
/// wildcard's end looked at, a piece's occurrence or two words of bits. A path beside thousands of wildcards
/// takes a few hundred.
const MOST_WORK: u64 = 100_000;
/// The units of work that a request has for each byte that is looked for: each is read twice.
const WORK_FOR_A_BYTE: u64 = 2;
/// How many words that are written or read one after the other are a unit of work.
const WORDS_IN_A_ROW: usize = 16;

/// Without a bound on the work.
impl Default for Scratch {
    fn default() -> Self {
        Self {
            stand_in: None,
            search: 0,
            work: 0,
            most_work: u64::MAX,
            roots: Vec::new(),
            candidates: Candidates::default(),
            piece_seen: Vec::new(),
            waits: Waits::default(),
        }
    }
}

/// The waits of one search.
#[derive(Debug, Default)]
struct Waits {
    /// All that were set up.
    list: Vec<Wait>,
    /// By where they begin to count: the search, and the last one of a chain.
    calendar: Vec<(u64, usize)>,
    /// Up to where the calendar was read.
    read_to: usize,
    /// By piece, the last one of a chain of those that count.
    counting: Vec<usize>,
    /// A bit for each piece with waits that count.
    bits: Vec<u64>,
    /// The pieces whose bits were set.
    set: Vec<usize>,
    /// How many have not ended.
    left: usize,
    /// How many words of bits were looked at, of those that are not yet accounted for.
    words: usize,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    /// What is reached when it ends.
    step: usize,
    /// The next one of its chain, or [`NONE`].
    next: usize,
}

impl Scratch {
    /// Room for a request of this subject's that is known from a log, where [`UNKNOWN`] stands for its credentials. It is never to
    /// be used for a client's request.
    pub fn standing_in(subject: Option<&str>) -> Self {
        Self { stand_in: subject.map(Into::into), ..Self::default() }
    }

    /// Whose credential [`UNKNOWN`] stands for.
    pub fn stand_in(&self) -> Option<&str> {
        self.stand_in.as_deref()
    }

    /// A request begins. All that is looked for from here on takes at most a constant and what is linear in its bytes: when
    /// that is used up, nothing is found any more, and [`is_exhausted`](Self::is_exhausted) says so.
    pub fn begin(&mut self) {
        (self.work, self.most_work) = (0, MOST_WORK);
    }

    /// Whether what was found since the request began is not to be relied on.
    pub fn is_exhausted(&self) -> bool {
        self.work > self.most_work
    }

    /// The first listed wildcard of `index` that `text` fits. Where it says none, [`is_exhausted`](Self::is_exhausted) may be
    /// why.
    pub(super) fn find(&mut self, index: &Index, text: &[u8]) -> Option<usize> {
        if self.is_exhausted() {
            return None;
        }
        self.grant(text);
        let found = self.find_first(index, text);
        found.filter(|_| !self.is_exhausted())
    }

    /// The first of `listed` that `text` fits, where they have no index.
    pub(super) fn find_one_by_one<'w>(
        &mut self,
        listed: &'w [Wildcard],
        text: &[u8],
    ) -> Option<&'w Wildcard> {
        if self.is_exhausted() {
            return None;
        }
        self.grant(text);
        let found = listed.iter().find(|wildcard| {
            // At worst all of the pattern is compared at each place of the text: 16 bytes are a unit of work.
            let pattern = &wildcard.pattern;
            let compared =
                if pattern.could_fit(text) { text.len() * pattern.as_bytes().len() / 16 } else { 0 };
            self.tick(1 + compared);
            self.is_exhausted() || pattern.matches(text)
        });
        found.filter(|_| !self.is_exhausted())
    }

    /// What `text` adds to the work that the request has.
    fn grant(&mut self, text: &[u8]) {
        self.most_work = self.most_work.saturating_add(WORK_FOR_A_BYTE * text.len() as u64);
    }

    fn find_first(&mut self, index: &Index, text: &[u8]) -> Option<usize> {
        self.search += 1;
        self.roots.clear();
        let (roots, steps) = (&mut self.roots, &index.steps);
        index.stems.at_start(text.iter().copied(), |stem| {
            if fits(text, steps[stem].length, steps[stem].needs) {
                roots.push(stem);
            }
        });
        if self.roots.is_empty() {
            return None;
        }
        if !self.find_ends(index, text) {
            return None;
        }
        let mut best = NONE;
        for at in 0..self.roots.len() {
            self.finish(index, text, self.roots[at], index.steps[self.roots[at]].length, &mut best);
        }
        if self.go_on(index, best) {
            self.find_pieces(index, text);
            if self.go_on(index, best) {
                self.follow(index, text, &mut best);
            }
        }
        (best != NONE).then_some(best)
    }

    /// Notes which wildcards end as `text` does. Says whether any do.
    fn find_ends(&mut self, index: &Index, text: &[u8]) -> bool {
        let words = self.candidates.begin(&index.demands);
        self.tick(words / WORDS_IN_A_ROW);
        let mut any = false;
        index.ends.at_start(text.iter().rev().copied(), |end| {
            any = true;
            let words = self.candidates.add_end(&index.demands, end);
            self.tick(words / 2);
        });
        any
    }

    /// Keeps the roots from which a candidate goes on that is listed before `best`. Says whether there are any.
    fn go_on(&mut self, index: &Index, best: usize) -> bool {
        let (candidates, mut words) = (&self.candidates, 0);
        self.roots.retain(|&root| {
            let Step { first, after, .. } = &index.steps[root];
            *first < best && {
                let (candidate, more) = candidates.first(after.clone());
                words += more;
                candidate.is_some()
            }
        });
        self.tick(words / 2);
        !self.roots.is_empty()
    }

    /// Notes the pieces that occur in `text` after its shortest stem, and which wildcards have no other ones.
    fn find_pieces(&mut self, index: &Index, text: &[u8]) {
        self.piece_seen.resize(self.piece_seen.len().max(index.pieces.runs.len()), 0);
        let words = self.candidates.begin_pieces(&index.demands);
        self.tick(words / WORDS_IN_A_ROW);
        let from = self.roots.first().map_or(0, |&root| index.steps[root].length);
        index.pieces.occurring(&text[from..], |piece| {
            let is_new = self.piece_seen[piece] != self.search;
            let mut words = 0;
            if is_new {
                self.piece_seen[piece] = self.search;
                words = self.candidates.add_piece(&index.demands, piece);
            }
            self.tick(1 + words / 2);
            is_new
        });
        self.candidates.end_pieces();
    }

    /// Reads `text` once, ending waits and setting up the next ones.
    fn follow(&mut self, index: &Index, text: &[u8], best: &mut usize) {
        let pieces = &index.pieces;
        let from = index.steps[self.roots[0]].length;
        self.waits.begin(pieces.runs.len(), pieces.longest, from);
        let mut roots = 0;
        pieces.literals.ends(&text[from..], |end, piece| {
            let end = from + end;
            while self.waits.read_to < end {
                // Stems come in the order of their lengths. One that ends here is waited on from here.
                while let Some(&root) = self.roots.get(roots)
                    && index.steps[root].length == self.waits.read_to
                {
                    self.expand(index, text, root, self.waits.read_to, *best);
                    roots += 1;
                }
                self.waits.read_on(index, self.search);
            }
            self.tick(1);
            let mut piece = self.waits.nearest(index, pieces.numbers[piece]);
            while piece != NONE {
                while let Some(step) = self.waits.end_one(piece) {
                    self.tick(1);
                    if index.steps[step].first < *best {
                        self.finish(index, text, step, end, best);
                        self.expand(index, text, step, end, *best);
                    }
                }
                piece = match pieces.above(piece) {
                    NONE => NONE,
                    shorter => self.waits.nearest(index, shorter),
                };
            }
            let words = std::mem::take(&mut self.waits.words);
            self.tick(words / 2);
            !self.is_exhausted() && (self.waits.left > 0 || roots < self.roots.len())
        });
        self.waits.end_all();
    }

    /// Lowers `best` to the first wildcard that ends after `step`, which was reached `at` a place.
    fn finish(&mut self, index: &Index, text: &[u8], step: usize, at: usize, best: &mut usize) {
        let mut numbers = index.steps[step].finishes.clone();
        while let Some(number) = self.first_candidate(numbers.clone())
            && !self.is_exhausted()
        {
            self.tick(1);
            let finish = index.finishes[number];
            if finish.place >= *best {
                return;
            }
            if fits(text, at, finish.length) {
                *best = finish.place;
                return;
            }
            numbers.start = number + 1;
        }
    }

    /// Waits for the pieces after `step`, which was reached `at` a place.
    fn expand(&mut self, index: &Index, text: &[u8], step: usize, at: usize, best: usize) {
        let Step { after, edges, .. } = &index.steps[step];
        let (mut numbers, mut edges) = (after.clone(), &index.edges[edges.clone()]);
        while let Some(number) = self.first_candidate(numbers.clone())
            && !self.is_exhausted()
        {
            self.tick(1);
            // As a rule it goes the very next way.
            if edges.first().is_some_and(|edge| edge.end <= number) {
                edges = &edges[edges.partition_point(|edge| edge.end <= number)..];
            }
            let Some((edge, others)) = edges.split_first() else { return };
            let next = &index.steps[edge.step];
            if next.first < best
                && self.piece_seen[next.piece] == self.search
                && fits(text, at, next.length.saturating_add(next.needs))
            {
                self.waits.set_up(self.search, edge.step, at + next.length);
            }
            (numbers.start, edges) = (edge.end, others);
        }
    }

    fn first_candidate(&mut self, numbers: Range<usize>) -> Option<usize> {
        let (first, words) = self.candidates.first(numbers);
        self.tick(words / 2);
        first
    }

    /// So much work was done.
    fn tick(&mut self, units: usize) {
        self.work = self.work.saturating_add(units as u64);
    }
}

/// Whether so many bytes have room in `text` from a place on.
fn fits(text: &[u8], at: usize, length: usize) -> bool {
    length <= text.len() - at
}

impl Waits {
    /// Makes room for waits for so many pieces, from a place on.
    fn begin(&mut self, pieces: usize, longest: usize, from: usize) {
        self.list.clear();
        self.calendar.resize(self.calendar.len().max(longest + 1), (0, NONE));
        self.counting.resize(self.counting.len().max(pieces), NONE);
        self.bits.resize(self.bits.len().max(pieces.div_ceil(64)), 0);
        self.read_to = from;
        self.left = 0;
    }

    /// Waits, from the place `begins` on, for what leads to `step`.
    fn set_up(&mut self, search: u64, step: usize, begins: usize) {
        // No wait begins further away than the calendar is long.
        let days = self.calendar.len();
        let (written, last) = &mut self.calendar[begins % days];
        let next = if *written == search { *last } else { NONE };
        (*written, *last) = (search, self.list.len());
        self.list.push(Wait { step, next });
        self.left += 1;
    }

    /// Reads the calendar's next place: the waits there begin to count.
    fn read_on(&mut self, index: &Index, search: u64) {
        self.read_to += 1;
        let days = self.calendar.len();
        let (written, last) = &mut self.calendar[self.read_to % days];
        if *written != search {
            return;
        }
        let mut wait = std::mem::replace(last, NONE);
        while wait != NONE {
            let piece = index.steps[self.list[wait].step].piece;
            let (word, bit) = (piece / 64, 1 << (piece % 64));
            if self.bits[word] & bit == 0 {
                self.bits[word] |= bit;
                self.set.push(piece);
            }
            let next = std::mem::replace(&mut self.list[wait].next, self.counting[piece]);
            self.counting[piece] = wait;
            wait = next;
        }
    }

    /// `piece`, or the longest that it ends with, for which a wait counts; or [`NONE`].
    fn nearest(&mut self, index: &Index, mut piece: usize) -> usize {
        while piece != NONE {
            let run = index.pieces.runs[piece];
            let mut word = piece / 64;
            let mut bits = self.bits[word] & (u64::MAX >> (63 - piece % 64));
            while bits == 0 && word > run.start / 64 {
                word -= 1;
                bits = self.bits[word];
                self.words += 1;
            }
            let found = (word * 64 + 63).checked_sub(bits.leading_zeros() as usize);
            match found.filter(|&found| bits != 0 && found >= run.start) {
                Some(found) => return found,
                None => piece = run.above,
            }
        }
        NONE
    }

    /// Ends a wait for `piece` that counts, and says what it led to.
    fn end_one(&mut self, piece: usize) -> Option<usize> {
        let wait = self.list.get(self.counting[piece]).copied()?;
        self.counting[piece] = wait.next;
        if wait.next == NONE {
            self.bits[piece / 64] &= !(1 << (piece % 64));
        }
        self.left -= 1;
        Some(wait.step)
    }

    /// Forgets all that are left.
    fn end_all(&mut self) {
        for piece in self.set.drain(..) {
            self.counting[piece] = NONE;
            self.bits[piece / 64] &= !(1 << (piece % 64));
        }
    }
}
