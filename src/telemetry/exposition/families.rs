//! Metrics of the kinds there are here, each as one family with its help.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::telemetry::times::{BUCKETS, TimeTotals};

/// Writes metrics of the kinds there are here. The names of counters are given without the `_total` that they end in.
pub(super) struct Families<'e>(pub(super) DescriptorEncoder<'e>);

impl Families<'_> {
    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(encoder)
    }

    pub(super) fn counted(&mut self, name: &str, help: &str, count: &AtomicU64) -> fmt::Result {
        self.counter(name, help, count.load(Ordering::Relaxed))
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, number: u64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(number).encode(encoder)
    }

    /// A gauge for each set of labels.
    pub(super) fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        numbers: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, number) in numbers {
            ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// The same of numbers that may be less than 0.
    pub(super) fn signed_gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        numbers: impl IntoIterator<Item = ([(&'l str, &'l str); N], i64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, number) in numbers {
            ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// A histogram in seconds, whose name is given without `_seconds`.
    pub(super) fn times(&mut self, name: &str, help: &str, times: &TimeTotals) -> fmt::Result {
        let mut histogram =
            self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let buckets = buckets(times);
        histogram.encode_histogram::<NoLabelSet>(times.seconds, times.count(), &buckets, None)
    }

    /// The same with labels.
    pub(super) fn times_by<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [(&str, &str); N],
        times: &TimeTotals,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let mut histogram = family.encode_family(&labels)?;
        histogram.encode_histogram::<NoLabelSet>(times.seconds, times.count(), &buckets(times), None)
    }

    /// A counter for each set of labels.
    pub(super) fn labelled<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        counts: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in counts {
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// How many times were up to each bound, and longer than the one before.
fn buckets(times: &TimeTotals) -> Vec<(f64, u64)> {
    let bounds = BUCKETS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
    bounds.zip(times.buckets).collect()
}

#[expect(clippy::cast_precision_loss, reason = "bounds are short")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
