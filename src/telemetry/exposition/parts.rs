//! The parts of a text, whose memory is used again.
//!
//! Memory of this size goes back to the system as soon as it is freed (`.cargo/config.toml`), and what comes from there is cleared page
//! by page: for each part of a long text that takes longer than to write it.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

/// The bytes of one part: what a socket's buffer takes at a time.
pub(super) const PART: usize = 64 << 10;
/// With the line that a part ends with.
const CAPACITY: usize = PART + PART / 4;

/// Memory of parts that were dropped: as much as there were at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Arc<Mutex<Vec<String>>>);

impl Spare {
    /// An empty part.
    pub(super) fn part(&self) -> Part {
        let text = self.0.lock().pop().unwrap_or_else(|| String::with_capacity(CAPACITY));
        Part { text, spare: self.clone() }
    }
}

/// A part of a text.
#[derive(Debug)]
pub struct Part {
    pub(super) text: String,
    spare: Spare,
}

impl Deref for Part {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.spare.0.lock().push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_used_again() {
        let spare = Spare::default();
        let first = spare.part();
        let at = first.text.as_ptr();
        let second = spare.part();
        assert_ne!(second.text.as_ptr(), at, "it is in use");
        drop(first);
        let third = spare.part();
        assert_eq!((third.text.as_ptr(), third.len()), (at, 0));
    }
}
