//! What an algorithm provides, and the macro that dispatches to the algorithms of the table.

use std::fmt;
use std::time::Duration;

use super::bytes::Malformed;
use super::{Algorithm, Cell, Commit};
use crate::model::{Hits, Outcome, Timestamp};

/// An algorithm as policies name it.
#[derive(Debug)]
pub struct Row {
    /// Its name after `algorithm:`.
    pub name: &'static str,
    /// What it counts, what it grants and how much it lets through at worst, in Markdown.
    pub meaning: &'static str,
    /// The words of a policy that only this algorithm takes. Each is a number.
    pub words: &'static [&'static str],
    /// Whether it counts in periods of the calendar too, and takes `anchor`.
    pub has_periods: bool,
    /// The algorithm with the parameters that a policy gives it.
    pub make: fn(&Written<'_>) -> Algorithm,
}

/// The parameters that a policy gives an algorithm.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The window's length.
    pub window: Duration,
    /// The values of [`Row::words`], as far as they are there.
    pub numbers: &'a [(&'static str, u64)],
}

impl Written<'_> {
    /// The value of `word`, if it is there.
    pub fn number(&self, word: &str) -> Option<u64> {
        self.numbers.iter().find(|(name, _)| *name == word).map(|(_, number)| *number)
    }
}

/// What is known of a limit only when a request reaches it.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// Hits granted per window to whoever sent the request.
    pub limit: u64,
    /// Hits granted per window as the policy says it, if that is one number for all.
    pub written: Option<u64>,
    /// How far the wall clock is behind the time that hits are counted by.
    pub behind: Duration,
}

/// What every algorithm provides. Implemented by its parameters.
pub(super) trait Counting: Copy {
    /// How policies name it.
    const ROW: Row;

    /// How the tests of all algorithms try it.
    #[cfg(test)]
    const SAMPLES: &'static [super::tests::Sample];

    /// Whether `reset_after` of a refusal is when the request could pass, as `retry_after` is.
    const RESETS_AT_RETRY: bool = false;

    /// Decides on `hits` and brings `cell` up to date; see [`Algorithm::step`].
    fn step(self, limit: u64, cell: &mut Cell, hits: Hits, commit: Commit, now: Timestamp) -> Outcome;

    /// The most hits that one request can ever be granted under `limit`.
    fn capacity(self, limit: u64) -> u64 {
        limit
    }

    /// The parameters for one request, where the policy's depend on it.
    fn granted(self, _: Grant) -> Self {
        self
    }

    /// The window's length; `None` where each window has its own.
    fn window(self) -> Option<Duration>;

    /// How much later than now hits are stamped that are counted ahead of their time, so that those which they stand for come
    /// before them.
    fn ahead(self) -> Duration {
        Duration::ZERO
    }

    /// Its word in a limit's identity. An edit of this word loses the counters of all its limits.
    fn tag(self) -> &'static str;

    /// Writes what `explain` says after the window's length, as in `, sliding`.
    fn describe(self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// What every kind of cell provides. Implemented by its fields, which are at most 20 bytes, and 16 if they are aligned to 8.
pub(super) trait State: Sized {
    /// From when on the fields decide nothing any more.
    fn until(&self) -> Timestamp;

    /// Whether these fields never grant more than `other`, whatever is asked from now on.
    fn covers(&self, other: &Self) -> bool;

    /// Bytes that they keep on the heap.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// Appends the fields to `bytes`, in the one way in which they can be written.
    fn write(&self, bytes: &mut Vec<u8>);

    /// Takes from `bytes` what [`write`](Self::write) appended.
    fn read(bytes: &mut &[u8]) -> Result<Self, Malformed>;
}

/// Makes [`Algorithm`], [`Cell`] and [`ALGORITHMS`](super::ALGORITHMS) of the table's rows: the parameters of an algorithm, and
/// the fields of each kind of cell that it keeps, with the byte that the kind is stored as.
macro_rules! algorithms {
    ($(
        $(#[$doc:meta])+
        $algorithm:ident($parameters:ty) keeps $(
            $(#[$cell_doc:meta])+
            $kind:literal = $cell:ident($fields:ty)
        ),+;
    )+) => {
        /// A way to count hits, with its parameters. No window is ever zero.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Algorithm {
            $($(#[$doc])+ $algorithm($parameters),)+
        }

        /// Every algorithm as policies name it. The first one holds where a policy names none.
        pub const ALGORITHMS: &[Row] = &[$(<$parameters as Counting>::ROW),+];

        #[cfg(test)]
        const SAMPLES: &[&[tests::Sample]] = &[$(<$parameters as Counting>::SAMPLES),+];

        impl Algorithm {
            /// Decides on `hits` at `now` and brings `cell` up to date.
            ///
            /// A cell that another kind of algorithm wrote counts as empty; one that this algorithm wrote under another
            /// limit or another window keeps its counts. A look, and `Commit::Never`, leave the cell as it is, unless a
            /// clock that stepped back or an edited policy left there what this algorithm cannot have written: whoever
            /// sees such a cell corrects it.
            pub fn step(
                self,
                limit: u64,
                cell: &mut Cell,
                hits: Hits,
                commit: Commit,
                now: Timestamp,
            ) -> Outcome {
                let outcome = match self {
                    $(Self::$algorithm(parameters) => parameters.step(limit, cell, hits, commit, now),)+
                };
                if commit != Commit::Never && hits != Hits::Look {
                    cell.set_worth(Worth::after(&outcome));
                }
                outcome
            }

            /// The most hits that one request can ever be granted under `limit`.
            fn capacity(self, limit: u64) -> u64 {
                match self { $(Self::$algorithm(parameters) => parameters.capacity(limit),)+ }
            }

            /// Whether `reset_after` of a refusal is when the request could pass, as `retry_after` is.
            fn resets_at_retry(self) -> bool {
                match self { $(Self::$algorithm(_) => <$parameters as Counting>::RESETS_AT_RETRY,)+ }
            }

            /// The parameters for one request, where the policy's depend on it.
            #[must_use]
            pub fn granted(self, grant: Grant) -> Self {
                match self { $(Self::$algorithm(parameters) => Self::$algorithm(parameters.granted(grant)),)+ }
            }

            /// The window's length; `None` where each window has its own.
            pub fn window(self) -> Option<Duration> {
                match self { $(Self::$algorithm(parameters) => parameters.window(),)+ }
            }

            /// How much later than now hits are stamped that are counted ahead of their time.
            fn ahead(self) -> Duration {
                match self { $(Self::$algorithm(parameters) => parameters.ahead(),)+ }
            }

            /// Its word in a limit's identity.
            pub fn tag(self) -> &'static str {
                match self { $(Self::$algorithm(parameters) => parameters.tag(),)+ }
            }

            /// Writes what `explain` says after the window's length, as in `, sliding`.
            ///
            /// # Errors
            ///
            /// Those of the formatter.
            pub fn describe(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$algorithm(parameters) => parameters.describe(f),)+ }
            }
        }

        /// What a store keeps for one counter: 24 bytes, and a log for a sliding window. Only the algorithm that wrote a
        /// cell reads it.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub enum Cell {
            /// Nothing is counted yet.
            #[default]
            Empty,
            $($($(#[$cell_doc])+ $cell($fields, Worth),)+)+
        }

        impl Cell {
            /// When the cell stops deciding anything. A store can forget it from then on.
            pub fn until(&self) -> Timestamp {
                match self {
                    Self::Empty => Timestamp::EPOCH,
                    $($(Self::$cell(fields, _) => fields.until(),)+)+
                }
            }

            /// Whether this cell never grants more than `other` at any later time, under the algorithm and limit that both were
            /// written by. An empty cell is covered by all of them.
            pub fn covers(&self, other: &Self) -> bool {
                match (self, other) {
                    (_, Self::Empty) => true,
                    $($((Self::$cell(fields, _), Self::$cell(other, _)) => fields.covers(other),)+)+
                    _ => false,
                }
            }

            /// What would be lost with the cell: a store that is full forgets those of least worth.
            pub fn worth(&self) -> Worth {
                match self {
                    Self::Empty => Worth::NOTHING,
                    $($(Self::$cell(_, worth))|+)|+ => *worth,
                }
            }

            fn set_worth(&mut self, new: Worth) {
                match self {
                    Self::Empty => {}
                    $($(Self::$cell(_, worth))|+)|+ => *worth = new,
                }
            }

            /// Bytes that the cell keeps on the heap.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    Self::Empty => 0,
                    $($(Self::$cell(fields, _) => fields.heap_bytes(),)+)+
                }
            }

            /// Appends the cell to `bytes`: its kind, its worth, and its fields. An empty cell is the kind 0 alone.
            pub fn write(&self, bytes: &mut Vec<u8>) {
                match self {
                    Self::Empty => bytes.push(0),
                    $($(Self::$cell(fields, worth) => {
                        bytes.extend([$kind, worth.to_byte()]);
                        fields.write(bytes);
                    })+)+
                }
            }

            /// Takes from `bytes` what [`write`](Self::write) appended.
            ///
            /// # Errors
            ///
            /// When `bytes` do not begin with a cell.
            pub fn read(bytes: &mut &[u8]) -> Result<Self, Malformed> {
                match bytes::byte(bytes)? {
                    0 => Ok(Self::Empty),
                    $($($kind => {
                        let worth = Worth::from_byte(bytes::byte(bytes)?);
                        Ok(Self::$cell(State::read(bytes)?, worth))
                    })+)+
                    kind => Err(Malformed::Kind(kind)),
                }
            }
        }
    };
}

pub(super) use algorithms;
