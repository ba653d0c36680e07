//! How much one text may stand for. A person's file stays far below these bounds; what is beyond them was written to
//! use up memory, time or stack.

/// Collections inside collections, counted through aliases. Whoever walks the values may recurse this deep.
pub(crate) const DEEPEST: usize = 64;

/// Values written in one file. 200,000 rules are 2.6 million values.
pub(super) const MOST_WRITTEN: usize = 10_000_000;

/// Values written in a file of which no tree is made. A million credentials are 13 million values.
const MOST_STREAMED: usize = 100_000_000;

/// Values that aliases stand for, beyond those written. What a merge key adds comes from an alias, or is written.
const MOST_REPEATED: usize = 100_000;

/// Bytes of text in those values: a hundred thousand aliases of one long text are as hostile as aliases of aliases.
const MOST_REPEATED_TEXT: usize = 4 << 20;

/// What a value stands for with its aliases written out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Values, itself included.
    pub(super) values: usize,
    /// Bytes of text.
    pub(super) text: usize,
    /// Collections inside one another: 0 for a single value, 1 for a list of those.
    pub(super) height: usize,
}

impl Extent {
    /// Of a single value.
    pub(super) fn of_text(text: &str) -> Self {
        Self { values: 1, text: text.len(), height: 0 }
    }

    /// Of a collection without members.
    pub(super) const EMPTY_COLLECTION: Self = Self { values: 1, text: 0, height: 1 };

    /// The same collection with one member more.
    pub(super) fn with(self, member: Self) -> Self {
        Self {
            values: self.values.saturating_add(member.values),
            text: self.text.saturating_add(member.text),
            height: self.height.max(member.height.saturating_add(1)),
        }
    }
}

/// How much of the bounds one text has used up. Charged before anything is made of the values.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    written: usize,
    repeated: usize,
    repeated_text: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { most: MOST_WRITTEN, written: 0, repeated: 0, repeated_text: 0 }
    }
}

impl Budget {
    /// For a text of whose values no tree is made.
    pub(super) fn streamed() -> Self {
        Self { most: MOST_STREAMED, ..Self::default() }
    }

    /// One value is written inside `open` collections.
    pub(super) fn write(&mut self, open: usize, extent: Extent) -> Result<(), String> {
        self.written += 1;
        if self.written > self.most {
            return Err(format!("the file holds more than {} values", self.most));
        }
        depth(open, extent)
    }

    /// An alias inside `open` collections stands for a value of `extent`.
    pub(super) fn repeat(&mut self, open: usize, extent: Extent) -> Result<(), String> {
        self.repeated = self.repeated.saturating_add(extent.values);
        self.repeated_text = self.repeated_text.saturating_add(extent.text);
        if self.repeated > MOST_REPEATED {
            return Err(format!("the aliases stand for more than {MOST_REPEATED} values"));
        }
        if self.repeated_text > MOST_REPEATED_TEXT {
            return Err(format!("the aliases stand for more than {MOST_REPEATED_TEXT} bytes of text"));
        }
        depth(open, extent)
    }
}

fn depth(open: usize, extent: Extent) -> Result<(), String> {
    if open + extent.height > DEEPEST {
        return Err(format!("nested deeper than {DEEPEST} levels"));
    }
    Ok(())
}
