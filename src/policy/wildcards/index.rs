//! Wildcards cut into what stands between their stars, and put together where they begin alike.
//!
//! A wildcard is a *stem* before its first star, *pieces* between its stars and an *end* after the last. Taking each piece
//! where it first occurs leaves the most for those after it, so how far a value gets along `stem*piece*piece` does not
//! depend on what follows: wildcards that begin alike share their *steps*.

use std::collections::HashMap;

use super::Pattern;
use super::literals::{Literals, Where, longest_ends};

/// No piece, or no step.
pub(super) const NONE: usize = usize::MAX;

/// Some wildcards, ready to be looked for. They are known by their places in the list.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) stems: Literals,
    /// The ends, each read backwards.
    pub(super) ends: Literals,
    /// How long each end is.
    pub(super) end_lengths: Vec<usize>,
    pub(super) pieces: Pieces,
    /// A step for each stem, in their order, then those after them; each after the one it follows.
    pub(super) steps: Vec<Step>,
    /// The wildcards that have only their end left at a step: the end and the wildcard. Sorted by end within a step.
    pub(super) finishes: Vec<(usize, usize)>,
    /// The steps after a step: the piece and the step that it leads to. Sorted by piece within a step.
    pub(super) edges: Vec<(usize, usize)>,
}

/// A stem, or a stem and some pieces after it.
#[derive(Debug)]
pub(super) struct Step {
    /// How many bytes the stem has, or the last piece.
    pub(super) length: usize,
    /// The last piece; [`NONE`] at a stem.
    pub(super) piece: usize,
    /// The first wildcard of those that begin so.
    pub(super) first: usize,
    /// The fewest bytes that any of them still needs.
    pub(super) needs: usize,
    /// The end that all of them have; [`NONE`] when they have several.
    pub(super) end: usize,
    /// Where its finishes stand.
    pub(super) finishes: (usize, usize),
    /// Where its edges stand.
    pub(super) edges: (usize, usize),
}

/// All pieces. They are numbered so that most stand right after the longest other piece that they end with: whatever a
/// piece ends with is found in a few *runs* of numbers, of which there are at most as many as the number of pieces has
/// binary digits.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) literals: Literals,
    /// For each piece of `literals`, its number.
    pub(super) numbers: Vec<usize>,
    /// By number.
    pub(super) runs: Vec<Run>,
    /// The length of the longest.
    pub(super) longest: usize,
}

/// The run of numbers that a piece stands in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The number of the shortest one.
    pub(super) start: usize,
    /// The longest other piece that the shortest one ends with, or [`NONE`].
    pub(super) above: usize,
}

/// A step in the making.
struct Draft {
    length: usize,
    piece: usize,
    finishes: Vec<(usize, usize)>,
    edges: Vec<(usize, usize)>,
}

impl Index {
    /// None when the automata would be too large.
    pub(super) fn new<'p>(patterns: impl Iterator<Item = &'p Pattern>) -> Option<Self> {
        let (mut heads, mut pieces, mut tails) = (Names::default(), Names::default(), Names::default());
        let mut parsed = Vec::new();
        for pattern in patterns {
            let (stem, between, end) = pattern.parts();
            let between: Vec<usize> =
                between.filter(|piece| !piece.is_empty()).map(|piece| pieces.number(piece)).collect();
            parsed.push((heads.number(stem), between, tails.number(end)));
        }
        let numbered = Pieces::new(&pieces.list)?;
        let draft = |length, piece| Draft { length, piece, finishes: Vec::new(), edges: Vec::new() };
        let mut drafts: Vec<Draft> = heads.list.iter().map(|stem| draft(stem.len(), NONE)).collect();
        let mut after: HashMap<(usize, usize), usize> = HashMap::new();
        for (place, (stem, between, end)) in parsed.into_iter().enumerate() {
            let mut step = stem;
            for piece in between {
                let number = numbered.numbers[piece];
                step = *after.entry((step, number)).or_insert_with(|| {
                    drafts.push(draft(pieces.list[piece].len(), number));
                    let new = drafts.len() - 1;
                    drafts[step].edges.push((number, new));
                    new
                });
            }
            // `a**b` and `a*b` are the same here, and the first listed counts.
            drafts[step].finishes.push((end, place));
        }
        let end_lengths: Vec<usize> = tails.list.iter().map(|end| end.len()).collect();
        let backwards: Vec<Vec<u8>> =
            tails.list.iter().map(|end| end.iter().rev().copied().collect()).collect();
        let backwards: Vec<&[u8]> = backwards.iter().map(Vec::as_slice).collect();
        let (reached, finishes, edges) = finish(drafts, &end_lengths);
        Some(Self {
            stems: Literals::new(&heads.list, Where::AtStart)?,
            ends: Literals::new(&backwards, Where::AtStart)?,
            end_lengths,
            pieces: numbered,
            steps: reached,
            finishes,
            edges,
        })
    }
}

/// No end yet.
const UNKNOWN: usize = usize::MAX - 1;

type Pairs = Vec<(usize, usize)>;

/// The steps of `drafts`, with their lists one after the other.
fn finish(drafts: Vec<Draft>, end_lengths: &[usize]) -> (Vec<Step>, Pairs, Pairs) {
    let mut steps: Vec<Step> = Vec::with_capacity(drafts.len());
    let (mut finishes, mut edges) = (Vec::new(), Vec::new());
    for mut draft in drafts {
        draft.finishes.sort_unstable();
        draft.finishes.dedup_by_key(|(end, _)| *end);
        draft.edges.sort_unstable();
        let from = (finishes.len(), edges.len());
        let first = draft.finishes.iter().map(|(_, place)| *place).min().unwrap_or(usize::MAX);
        let end = match draft.finishes[..] {
            [(end, _)] => Some(end),
            [] => None,
            _ => Some(NONE),
        };
        let needs = draft.finishes.iter().map(|(end, _)| end_lengths[*end]).min().unwrap_or(usize::MAX);
        finishes.append(&mut draft.finishes);
        edges.append(&mut draft.edges);
        steps.push(Step {
            length: draft.length,
            piece: draft.piece,
            first,
            needs,
            // To be replaced below where nothing ends yet.
            end: end.unwrap_or(UNKNOWN),
            finishes: (from.0, finishes.len()),
            edges: (from.1, edges.len()),
        });
    }
    // Steps come after the one they follow, so that backwards all that follow one are known before it.
    for at in (0..steps.len()).rev() {
        let (from, to) = steps[at].edges;
        for (_, after) in &edges[from..to] {
            let Step { first, needs, length, end, .. } = steps[*after];
            let own = steps[at].end;
            steps[at].end = if own == UNKNOWN || own == end { end } else { NONE };
            steps[at].first = steps[at].first.min(first);
            steps[at].needs = steps[at].needs.min(length.saturating_add(needs));
        }
    }
    (steps, finishes, edges)
}

impl Pieces {
    fn new(list: &[&[u8]]) -> Option<Self> {
        let longest_ends = longest_ends(list);
        // Longer pieces never are ends of shorter ones: by length, each comes after all that it ends with.
        let mut by_length: Vec<usize> = (0..list.len()).collect();
        by_length.sort_by_key(|&piece| list[piece].len());
        // How many pieces end with each, and which of them has the most of its own.
        let mut weights = vec![1_usize; list.len()];
        let mut heaviest = vec![NONE; list.len()];
        for &piece in by_length.iter().rev() {
            let Some(end) = longest_ends[piece] else { continue };
            weights[end] += weights[piece];
            if heaviest[end] == NONE || weights[heaviest[end]] < weights[piece] {
                heaviest[end] = piece;
            }
        }
        let mut numbers = vec![NONE; list.len()];
        let mut runs = Vec::with_capacity(list.len());
        for &piece in &by_length {
            if numbers[piece] != NONE {
                continue;
            }
            let run = Run { start: runs.len(), above: longest_ends[piece].map_or(NONE, |end| numbers[end]) };
            let mut next = piece;
            while next != NONE {
                numbers[next] = runs.len();
                runs.push(run);
                next = heaviest[next];
            }
        }
        let longest = list.iter().map(|piece| piece.len()).max().unwrap_or(0);
        Some(Self { literals: Literals::new(list, Where::Anywhere)?, numbers, runs, longest })
    }

    /// The longest other piece that a piece ends with, or [`NONE`].
    pub(super) fn above(&self, piece: usize) -> usize {
        let run = self.runs[piece];
        if piece > run.start { piece - 1 } else { run.above }
    }
}

/// Byte strings, each once.
#[derive(Default)]
struct Names<'p> {
    list: Vec<&'p [u8]>,
    places: HashMap<&'p [u8], usize>,
}

impl<'p> Names<'p> {
    fn number(&mut self, name: &'p [u8]) -> usize {
        *self.places.entry(name).or_insert_with(|| {
            self.list.push(name);
            self.list.len() - 1
        })
    }
}
