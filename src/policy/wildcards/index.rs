//! Wildcards cut into what stands between their stars, and put together where they begin alike.
//!
//! A wildcard is a *stem* before its first star, *pieces* between its stars and an *end* after the last. Taking each piece
//! where it first occurs leaves the most for those after it, so how far a value gets along `stem*piece*piece` does not
//! depend on what follows: wildcards that begin alike share their *steps*.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use super::Pattern;
use super::candidates::Demands;
use super::literals::{Literals, Where, longest_ends};

/// No piece, or no step.
pub(super) const NONE: usize = usize::MAX;

/// How many of its pieces a wildcard asks for at most, before anybody looks where they are: policies in their senses have no
/// more that tell something.
const MOST_ASKED: usize = 4;

/// Some wildcards, ready to be looked for.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) stems: Literals,
    /// The ends, each read backwards.
    pub(super) ends: Literals,
    pub(super) pieces: Pieces,
    /// A step for each stem, in their order, then those after them; each after the one it follows.
    pub(super) steps: Vec<Step>,
    /// How each wildcard finishes. Its place here is its number: those of a step stand together, in the order they are listed,
    /// and behind them those of the steps after it.
    pub(super) finishes: Vec<Finish>,
    /// The steps after a step, in the order of their wildcards.
    pub(super) edges: Vec<Edge>,
    /// What each wildcard asks for, by their numbers.
    pub(super) demands: Demands,
}

/// A stem, or a stem and some pieces after it.
#[derive(Debug)]
pub(super) struct Step {
    /// How many bytes the stem has, or the last piece.
    pub(super) length: usize,
    /// The last piece; [`NONE`] at a stem.
    pub(super) piece: usize,
    /// The first listed wildcard of those that begin so.
    pub(super) first: usize,
    /// The fewest bytes that any of them still needs.
    pub(super) needs: usize,
    /// The numbers of those that have only their end left.
    pub(super) finishes: Range<usize>,
    /// The numbers of those that go on.
    pub(super) after: Range<usize>,
    /// Where its edges stand.
    pub(super) edges: Range<usize>,
}

/// What is left of a wildcard after its last piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    /// The place in the list.
    pub(super) place: usize,
    /// How many bytes the end has.
    pub(super) length: usize,
}

/// The way to a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) step: usize,
    /// Behind the number of the last wildcard that goes this way.
    pub(super) end: usize,
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

/// A wildcard, cut up: its parts are known by their places among all such.
struct Parts {
    stem: usize,
    pieces: Vec<usize>,
    end: usize,
}

/// A step in the making.
struct Draft {
    length: usize,
    piece: usize,
    /// The ends, and the wildcards.
    finishes: Vec<(usize, usize)>,
    /// The steps after it.
    after: Vec<usize>,
}

impl Index {
    /// None when the automata would be too large.
    pub(super) fn new<'p>(patterns: impl Iterator<Item = &'p Pattern>) -> Option<Self> {
        let (mut heads, mut names, mut tails) = (Names::default(), Names::default(), Names::default());
        let mut parsed = Vec::new();
        for pattern in patterns {
            let (stem, between, end) = pattern.parts();
            let pieces = between.filter(|piece| !piece.is_empty()).map(|piece| names.number(piece)).collect();
            parsed.push(Parts { stem: heads.number(stem), pieces, end: tails.number(end) });
        }
        let pieces = Pieces::new(&names.list)?;
        let draft = |length, piece| Draft { length, piece, finishes: Vec::new(), after: Vec::new() };
        let mut drafts: Vec<Draft> = heads.list.iter().map(|stem| draft(stem.len(), NONE)).collect();
        let mut after: HashMap<(usize, usize), usize> = HashMap::new();
        for (place, parts) in parsed.iter().enumerate() {
            let mut step = parts.stem;
            for &piece in &parts.pieces {
                step = *after.entry((step, piece)).or_insert_with(|| {
                    drafts.push(draft(names.list[piece].len(), pieces.numbers[piece]));
                    let new = drafts.len() - 1;
                    drafts[step].after.push(new);
                    new
                });
            }
            drafts[step].finishes.push((parts.end, place));
        }
        let (steps, finishes, edges) = lay_out(drafts, &tails.list);
        let mut asked = vec![NONE; names.list.len()];
        let demands: Vec<(usize, Vec<usize>)> = finishes
            .iter()
            .map(|finish| {
                let Parts { pieces: own, end, .. } = &parsed[finish.place];
                (*end, pieces.worth_asking(&names.list, own, finish.place, &mut asked))
            })
            .collect();
        let backwards: Vec<Vec<u8>> =
            tails.list.iter().map(|end| end.iter().rev().copied().collect()).collect();
        let backwards: Vec<&[u8]> = backwards.iter().map(Vec::as_slice).collect();
        Some(Self {
            stems: Literals::new(&heads.list, Where::AtStart)?,
            ends: Literals::new(&backwards, Where::AtStart)?,
            demands: Demands::new(&demands, tails.list.len(), names.list.len()),
            pieces,
            steps,
            finishes,
            edges,
        })
    }
}

/// The steps of `drafts`, with their lists one after the other.
fn lay_out(mut drafts: Vec<Draft>, ends: &[&[u8]]) -> (Vec<Step>, Vec<Finish>, Vec<Edge>) {
    let mut steps: Vec<Step> = Vec::with_capacity(drafts.len());
    for draft in &mut drafts {
        // `a**b` and `a*b` are the same here, and the first listed counts.
        draft.finishes.sort_unstable();
        draft.finishes.dedup_by_key(|(end, _)| *end);
        draft.finishes.sort_unstable_by_key(|(_, place)| *place);
        steps.push(Step {
            length: draft.length,
            piece: draft.piece,
            first: draft.finishes.first().map_or(usize::MAX, |(_, place)| *place),
            needs: draft.finishes.iter().map(|(end, _)| ends[*end].len()).min().unwrap_or(usize::MAX),
            finishes: 0..draft.finishes.len(),
            after: 0..0,
            edges: 0..0,
        });
    }
    // Steps come after the one they follow, so that backwards all that follow one are known before it.
    for at in (0..steps.len()).rev() {
        for &next in &drafts[at].after {
            let Step { first, needs, length, .. } = steps[next];
            let wildcards = steps[next].finishes.len() + steps[next].after.len();
            steps[at].first = steps[at].first.min(first);
            steps[at].needs = steps[at].needs.min(length.saturating_add(needs));
            steps[at].after.end += wildcards;
        }
    }
    // Forwards, each is told where its wildcards begin by the one before it, or by the stem before it.
    let held = |step: &Step| step.finishes.len() + step.after.len();
    let roots = drafts.iter().take_while(|draft| draft.piece == NONE).count();
    let mut starts = vec![0; steps.len()];
    for root in 1..roots {
        starts[root] = starts[root - 1] + held(&steps[root - 1]);
    }
    let mut finishes = vec![Finish { place: NONE, length: 0 }; steps[..roots].iter().map(held).sum()];
    let mut edges = Vec::with_capacity(steps.len() - roots);
    for (at, draft) in drafts.iter().enumerate() {
        let own = starts[at]..starts[at] + draft.finishes.len();
        for (finish, &(end, place)) in finishes[own.clone()].iter_mut().zip(&draft.finishes) {
            *finish = Finish { place, length: ends[end].len() };
        }
        let (first_edge, mut behind) = (edges.len(), own.end);
        for &next in &draft.after {
            starts[next] = behind;
            behind += held(&steps[next]);
            edges.push(Edge { step: next, end: behind });
        }
        steps[at].after = own.end..behind;
        steps[at].finishes = own;
        steps[at].edges = first_edge..edges.len();
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

    /// Tells the pieces that occur in `text` to `is_new`, which says whether it hears of one for the first time.
    pub(super) fn occurring(&self, text: &[u8], mut is_new: impl FnMut(usize) -> bool) {
        self.literals.ends(text, |_, piece| {
            let mut piece = self.numbers[piece];
            // Whatever a piece ends with was told when it was.
            while piece != NONE && is_new(piece) {
                piece = self.above(piece);
            }
            true
        });
    }

    /// Those of a wildcard's pieces that tell whether a text could fit it: the longest, without those that occur in another.
    /// `seen` holds for each piece the last wildcard that it was seen for.
    fn worth_asking(&self, list: &[&[u8]], own: &[usize], wildcard: usize, seen: &mut [usize]) -> Vec<usize> {
        let mut own = own.to_vec();
        own.sort_by_key(|&piece| Reverse(list[piece].len()));
        let mut asked = Vec::new();
        for piece in own {
            if asked.len() < MOST_ASKED && seen[self.numbers[piece]] != wildcard {
                asked.push(self.numbers[piece]);
                self.occurring(list[piece], |part| std::mem::replace(&mut seen[part], wildcard) != wildcard);
            }
        }
        asked
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
