//! The busiest and the most refused keys, where they are asked for.

use std::cmp::Reverse;
use std::fmt;

use super::families::Families;
use crate::telemetry::heavy::HeavyHitter;

/// The most keys of each kind. They come and go, and each that ever came is a series in Prometheus.
const MOST: usize = 100;

pub(super) fn heavy_hitters(hitters: &[HeavyHitter], to: &mut Families<'_>) -> fmt::Result {
    fn labels(one: &HeavyHitter) -> [(&str, &str); 3] {
        [("domain", &*one.domain), ("rule", &*one.rule), ("key", &*one.key)]
    }
    let mut refused: Vec<_> = hitters.iter().filter(|one| one.refused > 0).collect();
    refused.sort_by_key(|one| Reverse(one.refused));
    to.gauges(
        "spillway_heavy_hitter_hits",
        "Estimated hits of the busiest keys in the last one to two minutes.",
        hitters.iter().take(MOST).map(|one| (labels(one), one.hits)),
    )?;
    to.gauges(
        "spillway_heavy_hitter_refused",
        "Estimated hits of the most refused keys, in the last one to two minutes, that were over a limit.",
        refused.into_iter().take(MOST).map(|one| (labels(one), one.refused)),
    )
}
