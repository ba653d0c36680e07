//! Which calls are traced.

use super::context::Parent;

/// Which calls are traced: those whose caller traces them, and a share of those that say no caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    rate: f64,
    /// Trace ids whose lower 64 bits, less the last, are below this are sampled. The SDKs of OpenTelemetry draw the line there too,
    /// so services with one rate choose the same traces.
    below: u64,
    asks_parent: bool,
}

impl Sampler {
    /// Does as the caller of a call does; of calls that say no caller, as large a part as `rate` is sampled, from 0 to 1.
    pub fn parent_based(rate: f64) -> Self {
        Self { asks_parent: true, ..Self::of_all(rate) }
    }

    /// Samples as large a part of all traces as `rate` is, from 0 to 1, whatever callers do.
    pub fn of_all(rate: f64) -> Self {
        let rate = rate.clamp(0.0, 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "it is between 0 and 2^63"
        )]
        let below = (rate * (1_u64 << 63) as f64) as u64;
        Self { rate, below, asks_parent: false }
    }

    /// The part of the traces without a caller.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether a call is traced that belongs to the trace `trace_id`, with its caller if it says one.
    pub(super) fn samples(&self, parent: Option<Parent>, trace_id: u128) -> bool {
        match parent {
            Some(parent) if self.asks_parent => parent.is_sampled(),
            _ => {
                #[expect(clippy::cast_possible_truncation, reason = "the lower half of it")]
                let lower = trace_id as u64;
                lower >> 1 < self.below
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u128 = u128::MAX;

    #[test]
    fn a_caller_decides_for_the_calls_that_it_makes() {
        let traced = Parent { trace_id: LARGEST, span_id: 1, flags: 1 };
        let untraced = Parent { flags: 0, ..traced };
        for rate in [0.0, 0.5, 1.0] {
            let sampler = Sampler::parent_based(rate);
            assert!(sampler.samples(Some(traced), LARGEST), "{rate}");
            assert!(!sampler.samples(Some(untraced), 1), "{rate}");
        }
        assert!(Sampler::of_all(1.0).samples(Some(untraced), LARGEST));
        assert!(!Sampler::of_all(0.0).samples(Some(traced), 0));
    }

    #[test]
    fn without_a_caller_the_rate_says_how_many_are_traced() {
        for (rate, expected) in [(0.0, 0), (0.25, 256), (1.0, 1024)] {
            let sampler = Sampler::parent_based(rate);
            let many = (0..1024_u128).filter(|n| sampler.samples(None, n << 54)).count();
            assert_eq!(many, expected, "{rate}");
        }
        assert!(Sampler::parent_based(1.0).samples(None, LARGEST));
    }
}
