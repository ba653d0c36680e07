//! One counter, and what the file has of it.

use tokio::sync::oneshot::{self, Sender};

use super::{Cell, CellKey, Charge, Commit, Durability, Hits, Outcomes, Timestamp};
use crate::algorithm::Algorithm;
use crate::store::codec::DecodeError;

/// How many hits of a limit are counted ahead: a thousandth, at least one, and 64 at most.
pub(super) fn chunk(limit: u64) -> u64 {
    (limit / 1_000).clamp(1, 64)
}

/// A counter in memory.
#[derive(Debug)]
pub(super) struct Kept {
    /// What is counted.
    pub(super) cell: Cell,
    /// What the file has.
    pub(super) image: Cell,
    pub(super) state: State,
    /// What is asked of the file, if anything is. Most counters ask nothing most of the time.
    pending: Option<Box<Pending>>,
}

/// What is known of a counter.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// It is being read.
    Loading,
    /// Everything.
    Known,
    /// The file has something else than a counter.
    Unreadable(DecodeError),
}

#[derive(Debug, Default)]
struct Pending {
    /// The image that is to be written next.
    asked: Option<Want>,
    /// The image that is being written. Until that is done, the file may have either.
    writing: Option<Cell>,
    /// Who waits for the next image.
    waiting: Vec<Waiter>,
    /// The counter as the last of them found it, and as it would leave it.
    found: Cell,
    after: Cell,
    /// Who waits for what is being written or read.
    woken: Vec<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Waiter {
    ready: oneshot::Sender<()>,
    needs: Needs,
}

/// Hits that must be on the disk before an answer is given.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    /// Those that count as long as the limit leaves something.
    within: u64,
    /// Those that count whatever the limit leaves.
    always: u64,
}

#[derive(Clone, Copy, Debug)]
enum Want {
    /// The counter as it is.
    AsItIs,
    /// One with hits counted ahead.
    Ahead(Asked),
}

/// What one request asks of one counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) key: CellKey,
    algorithm: Algorithm,
    limit: u64,
    durability: Durability,
    needs: Needs,
    /// Whether the request is granted any of them, or has used them already.
    waits: bool,
    /// Hits that the limit leaves.
    remaining: u64,
    now: Timestamp,
}

impl Asked {
    /// What `charges`, of which at least one is of `key`, ask of it.
    pub(super) fn of(key: CellKey, charges: &[Charge], outcomes: &Outcomes, now: Timestamp) -> Self {
        let mut of_key = charges.iter().enumerate().filter(|(_, charge)| charge.key == key).peekable();
        let first = of_key.peek().map_or(&charges[0], |(_, charge)| charge);
        let (share, durability) = (first.share, first.durability);
        let mut asked = Self {
            key,
            algorithm: share.algorithm,
            limit: share.limit,
            durability,
            needs: Needs::default(),
            waits: false,
            remaining: 0,
            now,
        };
        for (at, charge) in of_key {
            asked.durability =
                if charge.durability == Durability::Exact { Durability::Exact } else { asked.durability };
            let Some(outcome) = outcomes.get(at).copied().flatten() else {
                continue;
            };
            asked.remaining = outcome.remaining;
            let Hits::Charge(hits) = charge.share.hits else { continue };
            if charge.share.count_denied || charge.share.settles {
                asked.needs.always = asked.needs.always.saturating_add(hits.get());
            } else if outcome.admitted {
                asked.needs.within = asked.needs.within.saturating_add(hits.get());
            }
            asked.waits |= outcome.admitted || charge.share.settles;
        }
        asked
    }

    /// Whether the answer has to wait for the disk. Nobody is granted anything by a look, a refund or a refusal; and nobody waits
    /// for a counter that is not durable any more.
    pub(super) fn waits(&self) -> bool {
        self.waits && self.durability != Durability::None
    }

    fn ahead(&self) -> u64 {
        if self.durability == Durability::Exact { 0 } else { chunk(self.limit) }
    }
}

/// Forgets who has given up before a list grows: while the disk stands still nobody is told anything.
fn make_room<T>(waiting: &mut Vec<T>, has_given_up: impl Fn(&T) -> bool) {
    if waiting.len() == waiting.capacity() {
        waiting.retain(|one| !has_given_up(one));
    }
}

impl Kept {
    pub(super) fn loading() -> Self {
        Self { cell: Cell::Empty, image: Cell::Empty, state: State::Loading, pending: None }
    }

    /// Takes over what was read, or a counter that had been in memory alone.
    pub(super) fn loaded(
        &mut self,
        read: Result<Option<Cell>, DecodeError>,
        in_memory: impl FnOnce() -> Cell,
    ) {
        if !matches!(self.state, State::Loading) {
            return;
        }
        self.state = State::Known;
        match read {
            Ok(Some(image)) => {
                // It may have been counted in memory since then.
                let cell = in_memory();
                // Of two that count different windows the later one counts.
                let is_newer = cell.covers(&image) || cell.until() > image.until();
                self.cell = if is_newer { cell } else { image.clone() };
                self.image = image;
            }
            Ok(None) => self.cell = in_memory(),
            Err(error) => self.state = State::Unreadable(error),
        }
        self.forget_waiting();
    }

    /// Whether it is counted here, be its limit durable or not.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.state, State::Known)
    }

    /// Whether it is yet to be read.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self.state, State::Loading)
    }

    pub(super) fn wake_when_loaded(&mut self, ready: oneshot::Sender<()>) {
        let woken = &mut self.pending.get_or_insert_default().woken;
        make_room(woken, Sender::is_closed);
        woken.push(ready);
    }

    /// Whether `cell` may be lost: whatever the file has at the moment covers it.
    pub(super) fn covers(&self, cell: &Cell) -> bool {
        let writing = self.pending.as_ref().and_then(|pending| pending.writing.as_ref());
        self.image.covers(cell) && writing.is_none_or(|writing| writing.covers(cell))
    }

    /// Whether the file has the counter as it is.
    fn is_written(&self) -> bool {
        self.image.covers(&self.cell) && self.cell.covers(&self.image)
    }

    /// Whether nothing is asked of the file, and it has the counter as it is.
    pub(super) fn is_clean(&self) -> bool {
        self.pending.is_none() && matches!(self.state, State::Known) && self.is_written()
    }

    /// The counter, where the file has another.
    pub(super) fn unwritten(&self) -> Option<&Cell> {
        (matches!(self.state, State::Known) && !self.is_written()).then_some(&self.cell)
    }

    /// Whether it decides nothing any more, here and in the file.
    pub(super) fn is_spent(&self, now: Timestamp) -> bool {
        let spent = self.cell.is_spent(now) && self.image.is_spent(now);
        spent && self.pending.is_none() && matches!(self.state, State::Known)
    }

    /// Bytes beside those of its own: logs of hits, and what is asked of the file.
    pub(super) fn heap_bytes(&self) -> usize {
        let pending = self.pending.as_ref().map_or(0, |pending| {
            size_of::<Pending>()
                + pending.waiting.capacity() * size_of::<Waiter>()
                + pending.woken.capacity() * size_of::<Sender<()>>()
        });
        self.cell.heap_bytes() + self.image.heap_bytes() + pending
    }

    /// Whether nothing is asked of the file.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether a new image should be written, though nobody has to wait for one yet.
    pub(super) fn is_due(&self, asked: &Asked, now: Timestamp) -> bool {
        if asked.durability == Durability::None
            || self.pending.as_ref().is_some_and(|pending| pending.asked.is_some())
        {
            return false;
        }
        if asked.durability == Durability::Exact {
            return !self.is_written();
        }
        if !self.covers(&self.cell) {
            return true;
        }
        if !asked.waits || asked.remaining == 0 {
            return false;
        }
        // Whether half of what is counted ahead is still there.
        let mut soon = self.cell.clone();
        let half = Hits::charge((chunk(asked.limit) / 2).clamp(1, asked.remaining));
        asked.algorithm.step(asked.limit, &mut soon, half, Commit::Always, now);
        !self.covers(&soon)
    }

    /// Asks for a new image; whether it is the first to do so.
    pub(super) fn ask(&mut self, asked: Asked) -> bool {
        self.want(Want::Ahead(asked))
    }

    /// Asks for the counter to be written as it is; whether that is to be told to the thread that writes.
    pub(super) fn ask_as_it_is(&mut self) -> bool {
        self.want(Want::AsItIs)
    }

    fn want(&mut self, want: Want) -> bool {
        self.pending.get_or_insert_default().asked.replace(want).is_none()
    }

    /// Asks for a new image that has room for what `asked` needs, which leaves the counter as `after`; whether it is the first to
    /// do so.
    pub(super) fn ask_and_wait(&mut self, asked: Asked, after: Cell, ready: oneshot::Sender<()>) -> bool {
        let pending = self.pending.get_or_insert_default();
        make_room(&mut pending.waiting, |waiter| waiter.ready.is_closed());
        pending.waiting.push(Waiter { ready, needs: asked.needs });
        (pending.found, pending.after) = (self.cell.clone(), after);
        self.ask(asked)
    }

    /// The image to write, if one is asked for: with the hits of all who wait for it, and some ahead.
    pub(super) fn begin(&mut self) -> Option<&Cell> {
        let pending = self.pending.as_mut()?;
        let want = pending.asked.take()?;
        pending.waiting.retain(|waiter| !waiter.ready.is_closed());
        let ahead = match want {
            Want::AsItIs => None,
            Want::Ahead(asked) => Some(asked.image(&self.cell, &pending.waiting)),
        };
        // Of charges that count beyond the limit beside others that do not, the order matters: then one request after the
        // other is waited for. And an image that a lowered limit has made forget something is of no use.
        let (found, after) = (std::mem::take(&mut pending.found), std::mem::take(&mut pending.after));
        // A window that has ended is not covered by the next one, which may be written nevertheless.
        let replaces = |image: &Cell| image.covers(&self.cell) || found == self.cell;
        let image = ahead
            .filter(|image| image.covers(&after) && replaces(image))
            .or_else(|| Some(after).filter(replaces))
            .unwrap_or_else(|| self.cell.clone());
        let waiting = pending.waiting.drain(..).map(|waiter| waiter.ready);
        pending.woken.extend(waiting);
        Some(pending.writing.insert(image))
    }

    /// What [`begin`](Self::begin) told is on the disk.
    pub(super) fn written(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        if let Some(image) = pending.writing.take() {
            self.image = image;
        }
        for ready in pending.woken.drain(..) {
            // Who gave up does not care.
            let _ = ready.send(());
        }
        if pending.asked.is_none() && pending.waiting.is_empty() {
            self.pending = None;
        }
    }

    /// Wakes all who wait.
    pub(super) fn forget_waiting(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.waiting.clear();
            pending.woken.clear();
            if pending.asked.is_none() && pending.writing.is_none() {
                self.pending = None;
            }
        }
    }
}

impl Asked {
    fn image(&self, cell: &Cell, waiting: &[Waiter]) -> Cell {
        let sum = |of: fn(&Needs) -> u64| {
            waiting.iter().map(|waiter| of(&waiter.needs)).fold(0, u64::saturating_add)
        };
        let (always, within) = (sum(|needs| needs.always), sum(|needs| needs.within));
        // What has happened already counts, whatever the limit leaves.
        let mut image = cell.clone();
        let count = |image: &mut Cell, hits| {
            self.algorithm.step(self.limit, image, Hits::charge(hits), Commit::Always, self.now)
        };
        if always > 0 {
            count(&mut image, always);
        }
        if self.durability != Durability::Exact {
            return self.algorithm.reserve(self.limit, &image, within.saturating_add(self.ahead()), self.now);
        }
        let left = self.algorithm.step(self.limit, &mut image, Hits::Look, Commit::Never, self.now).remaining;
        if within.min(left) > 0 {
            count(&mut image, within.min(left));
        }
        image
    }
}
