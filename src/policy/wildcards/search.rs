//! Which wildcard of an index a text fits first.
//!
//! A step that was reached waits for all its next pieces at once. Each wait ends with the first occurrence of its piece
//! and never comes back, so a text costs its length and one unit of work for each step that it truly reaches:
//!
//! - Only pieces that occur somewhere in the text are waited for, and of those only such as could still lead to a wildcard
//!   that is listed before the best so far, is not longer than the text and ends as it does.
//! - A piece may not overlap the one before it, so a wait begins to count `length` bytes after it was set up. Until then it
//!   lies in a calendar and costs nothing, however often the piece occurs.
//! - Where an occurrence ends, shorter pieces end too. Those with a wait are found by a bitmap over the pieces' numbers;
//!   each one that is found ends at least one wait.

use super::index::{Index, NONE, Step};

/// Room to look for wildcards in, to be used again.
///
/// What one search leaves behind is told from what the next one writes by its number, so nothing has to be cleared.
#[derive(Debug, Default)]
pub struct Scratch {
    search: u64,
    /// The stems that the text starts with, as steps; the shortest first.
    roots: Vec<usize>,
    /// The ends that the text has, and when each was seen last.
    ends: Vec<usize>,
    end_seen: Vec<u64>,
    /// The pieces that occur in the text, and when each was seen last.
    occurring: Vec<usize>,
    piece_seen: Vec<u64>,
    waits: Waits,
    /// Units of work since the scratch was made, for tests.
    #[cfg(test)]
    pub(super) work: u64,
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
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    /// What is reached when it ends.
    step: usize,
    /// The next one of its chain, or [`NONE`].
    next: usize,
}

impl Scratch {
    /// The first listed wildcard of `index` that `text` fits.
    pub(super) fn find(&mut self, index: &Index, text: &[u8]) -> Option<usize> {
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
        self.find_ends(index, text);
        let (end_seen, search) = (&self.end_seen, self.search);
        self.roots.retain(|&root| may_end(end_seen, search, steps[root].end));
        if self.ends.is_empty() || self.roots.is_empty() {
            return None;
        }

        let mut best = NONE;
        for at in 0..self.roots.len() {
            self.finish(index, text, self.roots[at], index.steps[self.roots[at]].length, &mut best);
        }
        self.roots.retain(|&root| index.steps[root].edges.0 < index.steps[root].edges.1);
        if self.roots.iter().any(|&root| index.steps[root].first < best) {
            self.find_pieces(index, text);
            if !self.occurring.is_empty() {
                self.follow(index, text, &mut best);
            }
        }
        (best != NONE).then_some(best)
    }

    /// Notes the ends that `text` has.
    fn find_ends(&mut self, index: &Index, text: &[u8]) {
        self.end_seen.resize(self.end_seen.len().max(index.end_lengths.len()), 0);
        self.ends.clear();
        index.ends.at_start(text.iter().rev().copied(), |end| {
            self.ends.push(end);
            self.end_seen[end] = self.search;
        });
    }

    /// Notes the pieces that occur in `text` after its shortest stem.
    fn find_pieces(&mut self, index: &Index, text: &[u8]) {
        let pieces = &index.pieces;
        self.piece_seen.resize(self.piece_seen.len().max(pieces.runs.len()), 0);
        self.occurring.clear();
        let from = self.roots.first().map_or(0, |&root| index.steps[root].length);
        pieces.literals.ends(&text[from..], |_, piece| {
            let mut piece = pieces.numbers[piece];
            self.tick(1);
            // Whatever a piece ends with was seen when it was.
            while piece != NONE && self.piece_seen[piece] != self.search {
                self.piece_seen[piece] = self.search;
                self.occurring.push(piece);
                self.tick(1);
                piece = pieces.above(piece);
            }
            true
        });
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
            self.waits.left > 0 || roots < self.roots.len()
        });
        self.waits.end_all();
    }

    /// Lowers `best` to the first wildcard that ends after `step`, which was reached `at` a place.
    fn finish(&mut self, index: &Index, text: &[u8], step: usize, at: usize, best: &mut usize) {
        let (from, to) = index.steps[step].finishes;
        let finishes = &index.finishes[from..to];
        // Whichever are fewer: those that there are, or those that the text has.
        if finishes.len() <= self.ends.len() * 8 {
            self.tick(finishes.len());
            for &(end, wildcard) in finishes {
                if wildcard < *best
                    && self.end_seen[end] == self.search
                    && fits(text, at, index.end_lengths[end])
                {
                    *best = wildcard;
                }
            }
        } else {
            self.tick(self.ends.len());
            for &end in &self.ends {
                if fits(text, at, index.end_lengths[end])
                    && let Ok(found) = finishes.binary_search_by_key(&end, |(end, _)| *end)
                {
                    *best = finishes[found].1.min(*best);
                }
            }
        }
    }

    /// Waits for the pieces after `step`, which was reached `at` a place.
    fn expand(&mut self, index: &Index, text: &[u8], step: usize, at: usize, best: usize) {
        let (from, to) = index.steps[step].edges;
        let edges = &index.edges[from..to];
        let mut wait = |step: usize| {
            let after = &index.steps[step];
            if after.first < best
                && fits(text, at, after.length.saturating_add(after.needs))
                && may_end(&self.end_seen, self.search, after.end)
                && may_go_on(&self.piece_seen, self.search, index, after)
            {
                self.waits.set_up(self.search, step, at + after.length);
            }
        };
        if edges.len() <= self.occurring.len() * 8 {
            for &(piece, step) in edges {
                if self.piece_seen[piece] == self.search {
                    wait(step);
                }
            }
            self.tick(edges.len());
        } else {
            for piece in &self.occurring {
                if let Ok(found) = edges.binary_search_by_key(piece, |(piece, _)| *piece) {
                    wait(edges[found].1);
                }
            }
            self.tick(self.occurring.len());
        }
    }

    #[cfg(test)]
    fn tick(&mut self, units: usize) {
        self.work += units as u64;
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests count")]
    fn tick(&mut self, _: usize) {}
}

/// Whether the text has the end that all wildcards from a step on have; it may where they have several.
fn may_end(seen: &[u64], search: u64, end: usize) -> bool {
    end == NONE || seen[end] == search
}

/// Whether the text has the piece that all wildcards from a step on need next; it may where they need several, or none.
fn may_go_on(seen: &[u64], search: u64, index: &Index, step: &Step) -> bool {
    let ends_here = step.finishes.0 < step.finishes.1;
    match index.edges[step.edges.0..step.edges.1] {
        [(piece, _)] if !ends_here => seen[piece] == search,
        _ => true,
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
    fn nearest(&self, index: &Index, mut piece: usize) -> usize {
        while piece != NONE {
            let run = index.pieces.runs[piece];
            let mut word = piece / 64;
            let mut bits = self.bits[word] & (u64::MAX >> (63 - piece % 64));
            while bits == 0 && word > run.start / 64 {
                word -= 1;
                bits = self.bits[word];
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
