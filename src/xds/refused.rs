//! The newest set of a control plane, where it was refused.
//!
//! Control planes send a set again whenever they hear that it is refused. What was wrong with it is wrong still, as long as nothing else
//! changes that is in force beside it; so it is not compiled again, and the log tells of it now and then.

use std::time::Duration;

use tokio::time::Instant;

use super::set::Digest;

/// How often it is told that a set is sent still that was refused.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Refused {
    set: Digest,
    /// What the control plane was told.
    why: String,
    /// What was in force when it was compiled, where that and the set alone say what is wrong: not a store that cannot be read.
    beside: Option<u64>,
    /// When the log told of it last, and how often it was sent since.
    told: Instant,
    again: u64,
}

impl Refused {
    /// A set that is refused `now`, as it was compiled `beside` what was in force as that generation, if it would be so each time.
    pub(super) fn new(set: Digest, why: String, beside: Option<u64>, now: Instant) -> Self {
        Self { set, why, beside, told: now, again: 0 }
    }

    pub(super) fn is(&self, set: Digest) -> bool {
        self.set == set
    }

    /// What the control plane was told.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// What to tell the control plane that sends `set` while that `generation` is in force, if it needs no compiling.
    pub(super) fn known(&self, set: Digest, generation: u64) -> Option<&str> {
        (self.is(set) && self.beside == Some(generation)).then_some(&*self.why)
    }

    /// Notes that it was refused again, for `why`. Returns how often it was since the log told of it, when it is to tell of it again.
    pub(super) fn again(&mut self, why: String, beside: Option<u64>, now: Instant) -> Option<u64> {
        (self.why, self.beside) = (why, beside);
        self.again += 1;
        if now.duration_since(self.told) < TOLD_AGAIN {
            return None;
        }
        self.told = now;
        Some(std::mem::take(&mut self.again))
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Any;

    use super::*;

    fn set(number: u8) -> Digest {
        Digest::of(&[Any { type_url: String::new(), value: vec![number] }])
    }

    #[test]
    fn a_set_is_wrong_still_as_long_as_nothing_else_changes() {
        let now = Instant::now();
        let refused = Refused::new(set(1), "a mistake".to_owned(), Some(7), now);
        assert_eq!(refused.known(set(1), 7), Some("a mistake"));
        assert_eq!(refused.known(set(2), 7), None, "another set");
        assert_eq!(refused.known(set(1), 8), None, "the files beside it may be others now");
        let refused = Refused::new(set(1), "the store cannot be read".to_owned(), None, now);
        assert_eq!(refused.known(set(1), 7), None);
    }

    #[test]
    fn it_is_told_once_a_minute_how_often_it_came_again() {
        let mut now = Instant::now();
        let mut refused = Refused::new(set(1), String::new(), Some(7), now);
        let mut told = Vec::new();
        for _ in 0..13 {
            now += Duration::from_secs(10);
            told.extend(refused.again(String::new(), Some(7), now));
        }
        assert_eq!(told, [6, 6]);
    }
}
