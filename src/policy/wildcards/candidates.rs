//! Which wildcards a text could fit at all: told from what occurs in it, before anybody looks where.
//!
//! A text fits no wildcard whose end it lacks, nor one with a piece that occurs nowhere in it. All wildcards are asked at once,
//! 64 in each word of a bit set, so those that cannot fit cost next to nothing, however many begin as the text does.

use std::ops::Range;

/// What all wildcards ask for. They are known by their numbers: see [`Index::finishes`](super::index::Index::finishes).
#[derive(Debug)]
pub(super) struct Demands {
    /// How many words a set of wildcards has.
    words: usize,
    /// For each end, the set of those that ask for it.
    by_end: Vec<Words>,
    /// For each piece, a set of those that ask for it first, behind it one of those that ask for it second, and so on.
    by_piece: Vec<Words>,
    /// As many sets: those that ask for no first piece, for no second, and so on.
    unasked: Vec<u64>,
}

/// The words of some sets that are not 0, with their places.
type Words = Vec<(usize, u64)>;

/// The wildcards that a text could fit.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    set: Vec<u64>,
    /// Those whose first piece occurs, behind them those whose second does, and so on.
    having: Vec<u64>,
}

impl Demands {
    /// For each wildcard, in the order of their numbers: its end, and the pieces that it asks for.
    pub(super) fn new(wildcards: &[(usize, Vec<usize>)], ends: usize, pieces: usize) -> Self {
        let words = wildcards.len().div_ceil(64);
        let rows = wildcards.iter().map(|(_, asked)| asked.len()).max().unwrap_or(0);
        let mut by_end = vec![Words::new(); ends];
        let mut by_piece = vec![Words::new(); pieces];
        let mut unasked = vec![0; rows * words];
        for (number, (end, _)) in wildcards.iter().enumerate() {
            add(&mut by_end[*end], number / 64, bit(number));
        }
        for row in 0..rows {
            for (number, (_, asked)) in wildcards.iter().enumerate() {
                let word = row * words + number / 64;
                match asked.get(row) {
                    Some(&piece) => add(&mut by_piece[piece], word, bit(number)),
                    None => unasked[word] |= bit(number),
                }
            }
        }
        Self { words, by_end, by_piece, unasked }
    }
}

fn bit(number: usize) -> u64 {
    1 << (number % 64)
}

/// Adds `bits` to a word that is the last one so far, or comes after it.
fn add(words: &mut Words, word: usize, bits: u64) {
    match words.last_mut() {
        Some((last, there)) if *last == word => *there |= bits,
        _ => words.push((word, bits)),
    }
}

impl Candidates {
    /// None at first: ends are told next. Says how many words were written.
    pub(super) fn begin(&mut self, demands: &Demands) -> usize {
        self.set.clear();
        self.set.resize(demands.words, 0);
        demands.words
    }

    /// The text has `end`. Says how many words were written.
    pub(super) fn add_end(&mut self, demands: &Demands, end: usize) -> usize {
        join(&mut self.set, &demands.by_end[end])
    }

    /// All ends were told: pieces are told next. Says how many words were written.
    pub(super) fn begin_pieces(&mut self, demands: &Demands) -> usize {
        self.having.clear();
        self.having.extend_from_slice(&demands.unasked);
        self.having.len()
    }

    /// `piece` occurs in the text. Says how many words were written.
    pub(super) fn add_piece(&mut self, demands: &Demands, piece: usize) -> usize {
        join(&mut self.having, &demands.by_piece[piece])
    }

    /// All pieces were told: those that lack one are candidates no more.
    pub(super) fn end_pieces(&mut self) {
        for having in self.having.chunks_exact(self.set.len().max(1)) {
            self.set.iter_mut().zip(having).for_each(|(word, having)| *word &= having);
        }
    }

    /// The first candidate among `numbers`, and how many words were looked through for it besides the first.
    pub(super) fn first(&self, numbers: Range<usize>) -> (Option<usize>, usize) {
        if numbers.is_empty() {
            return (None, 0);
        }
        let mut word = numbers.start / 64;
        let mut bits = self.set[word] & (u64::MAX << (numbers.start % 64));
        while bits == 0 && word < (numbers.end - 1) / 64 {
            word += 1;
            bits = self.set[word];
        }
        let first = word * 64 + bits.trailing_zeros() as usize;
        ((bits != 0 && first < numbers.end).then_some(first), word - numbers.start / 64)
    }
}

fn join(set: &mut [u64], words: &Words) -> usize {
    for (word, bits) in words {
        set[*word] |= bits;
    }
    words.len()
}
