//! What one look at `/metrics` says, and what happened between two.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exposition::{Sample, samples};

/// What Envoy waits for by default, as a bound of the histogram.
const ENVOY_WAITS: &str = "0.02";

/// Of its domain, and its own.
pub(super) type RuleName = (String, String);

/// What was counted for a rule since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Hits {
    pub(super) total: f64,
    /// Over a limit, and not let pass by shadow mode.
    pub(super) refused: f64,
    /// Over a limit, enforced or not.
    pub(super) over: f64,
    pub(super) near: f64,
}

/// A key that many hits are counted under.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heavy {
    pub(super) domain: String,
    pub(super) rule: String,
    pub(super) key: String,
    pub(super) hits: f64,
    /// How many of them were over a limit, where the key is among the most refused ones.
    pub(super) refused: f64,
}

/// One look.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    rules: BTreeMap<RuleName, Hits>,
    heavy: Vec<Heavy>,
    /// All else, added up over labels.
    sums: BTreeMap<String, f64>,
    /// How many answers took up to each bound, by its label.
    buckets: Vec<(f64, f64)>,
    late: f64,
    refused: f64,
}

impl Reading {
    /// Reads the text of `/metrics`.
    pub(super) fn of(text: &str) -> Self {
        let mut reading = Self::default();
        for sample in samples(text) {
            reading.add(&sample);
        }
        reading.buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        reading
    }

    fn add(&mut self, sample: &Sample) {
        let value = sample.value;
        let stat = sample.name.strip_prefix("spillway_rule_").and_then(|name| name.strip_suffix("_total"));
        if let Some(stat) = stat {
            let name = (sample.label("domain").to_owned(), sample.label("rule").to_owned());
            let hits = self.rules.entry(name).or_default();
            match stat {
                "hits" => hits.total += value,
                "near_limit" => hits.near += value,
                "over_limit" => {
                    hits.over += value;
                    hits.refused += value;
                }
                "shadow_mode" => hits.refused -= value,
                _ => {}
            }
            return;
        }
        match sample.name.as_str() {
            "spillway_heavy_hitter_hits" => self.heavy.push(Heavy {
                domain: sample.label("domain").to_owned(),
                rule: sample.label("rule").to_owned(),
                key: sample.label("key").to_owned(),
                hits: value,
                refused: 0.0,
            }),
            // These come after the hits.
            "spillway_heavy_hitter_refused" => {
                let name = (sample.label("domain"), sample.label("rule"), sample.label("key"));
                let is_it = |heavy: &&mut Heavy| (&*heavy.domain, &*heavy.rule, &*heavy.key) == name;
                if let Some(heavy) = self.heavy.iter_mut().find(is_it) {
                    heavy.refused = value;
                }
            }
            "spillway_answer_duration_seconds_bucket" => {
                let bound = sample.label("le");
                if bound == ENVOY_WAITS {
                    self.late = value;
                }
                self.buckets.push((bound.parse().unwrap_or(f64::INFINITY), value));
            }
            "spillway_requests_total" if sample.label("code") == "over_limit" => self.refused += value,
            _ => {}
        }
        *self.sums.entry(sample.name.clone()).or_default() += value;
    }

    /// A number of all labels together.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.sums.get(name).copied().unwrap_or_default()
    }

    /// The busiest keys, where the server reports them.
    pub(super) fn heavy(&self) -> &[Heavy] {
        &self.heavy
    }
}

/// A rule's hits in a second.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RuleRate {
    pub(super) name: RuleName,
    pub(super) hits: f64,
    pub(super) refused: f64,
    pub(super) near: f64,
    /// The part of the hits that used no more than four fifths of a limit; `None` without hits.
    pub(super) headroom: Option<f64>,
}

/// What happened in a second, between two looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    pub(super) rules: Vec<RuleRate>,
    pub(super) requests: f64,
    pub(super) refused: f64,
    pub(super) unlimited: f64,
    pub(super) store_errors: f64,
    /// The time that 99 of 100 answers took no longer than, in seconds, as far as buckets tell; `None` without answers.
    pub(super) p99: Option<f64>,
    /// The part of the answers that took longer than Envoy waits by default.
    pub(super) late: f64,
}

impl Rates {
    /// What happened from `before` to `after`, which is `took` later. A server that was started anew meanwhile began with nothing.
    pub(super) fn between(before: &Reading, after: &Reading, took: Duration) -> Self {
        let seconds = took.as_secs_f64().max(0.001);
        let more = |before: f64, after: f64| (if after < before { after } else { after - before }) / seconds;
        let sum = |name: &str| more(before.sum(name), after.sum(name));
        let rules = after.rules.iter().map(|(name, now)| {
            let then = before.rules.get(name).copied().unwrap_or_default();
            let hits = more(then.total, now.total);
            let (near, over) = (more(then.near, now.near), more(then.over, now.over));
            let headroom = (hits > 0.0).then(|| (1.0 - (near + over) / hits).clamp(0.0, 1.0));
            let refused = more(then.refused, now.refused);
            RuleRate { name: name.clone(), hits, refused, near, headroom }
        });
        let then = |at: usize| before.buckets.get(at).map_or(0.0, |(_, then)| *then);
        let buckets = after.buckets.iter().enumerate();
        let buckets: Vec<_> = buckets.map(|(at, (bound, now))| (*bound, more(then(at), *now))).collect();
        let answers = buckets.last().map_or(0.0, |(_, count)| *count);
        let p99 = buckets.iter().find(|(_, count)| *count >= 0.99 * answers).map(|(bound, _)| *bound);
        Self {
            rules: rules.collect(),
            requests: sum("spillway_requests_total"),
            refused: more(before.refused, after.refused),
            unlimited: sum("spillway_unmatched_descriptors_total")
                + sum("spillway_unknown_domain_requests_total")
                + sum("spillway_failed_open_without_store_total"),
            store_errors: sum("spillway_store_failures_total"),
            p99: p99.filter(|_| answers > 0.0),
            late: if answers > 0.0 { 1.0 - more(before.late, after.late) / answers } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::float_cmp, reason = "the numbers are whole, and their halves")]
    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let text = |hits: u32, near: u32, over: u32, watched: u32| {
            format!(
                "spillway_requests_total{{domain=\"d\",code=\"ok\"}} {hits}\n\
                 spillway_requests_total{{domain=\"d\",code=\"over_limit\"}} {over}\n\
                 spillway_rule_hits_total{{domain=\"d\",rule=\"r\"}} {hits}\n\
                 spillway_rule_near_limit_total{{domain=\"d\",rule=\"r\"}} {near}\n\
                 spillway_rule_over_limit_total{{domain=\"d\",rule=\"r\"}} {over}\n\
                 spillway_rule_shadow_mode_total{{domain=\"d\",rule=\"r\"}} {watched}\n\
                 spillway_answer_duration_seconds_bucket{{le=\"0.001\"}} {hits}\n\
                 spillway_answer_duration_seconds_bucket{{le=\"0.02\"}} {hits}\n\
                 spillway_answer_duration_seconds_bucket{{le=\"+Inf\"}} {}\n",
                hits + over
            )
        };
        let (before, after) = (Reading::of(&text(10, 0, 0, 0)), Reading::of(&text(30, 4, 6, 2)));
        let rates = Rates::between(&before, &after, Duration::from_secs(2));
        let expected = RuleRate {
            name: ("d".to_owned(), "r".to_owned()),
            hits: 10.0,
            refused: 2.0,
            near: 2.0,
            headroom: Some(0.5),
        };
        assert_eq!(rates.rules, [expected]);
        assert_eq!((rates.requests, rates.refused), (13.0, 3.0));
        assert_eq!(rates.p99, Some(f64::INFINITY));
        assert!((rates.late - 3.0 / 13.0).abs() < 1e-9);

        // The server was started anew.
        let anew = Rates::between(&after, &Reading::of(&text(8, 0, 0, 0)), Duration::from_secs(1));
        assert_eq!(anew.rules[0].hits, 8.0);
        let idle = Rates::between(&after, &after, Duration::from_secs(1));
        assert_eq!((idle.rules[0].headroom, idle.p99), (None, None));
    }
}
