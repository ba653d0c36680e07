//! Times that are not the same for all: what began together does not come back together.

use std::hash::{BuildHasher, RandomState};

/// Any part of one: 0 or more, and less than 1. Each call draws anew, which takes no system call.
pub fn any_part() -> f64 {
    // Each state has other keys, so the hash of nothing is another number. A double has 53 bits.
    let drawn = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    f64::from(drawn) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_is_drawn_from_the_whole_of_it() {
        let drawn: Vec<f64> = (0..1_000).map(|_| any_part()).collect();
        assert!(drawn.iter().all(|part| (0.0..1.0).contains(part)));
        for tenth in 0..10 {
            let from = f64::from(tenth) / 10.0;
            let there = drawn.iter().filter(|part| (from..from + 0.1).contains(*part)).count();
            assert!(there > 20, "{there} of 1000 from {from}");
        }
    }
}
