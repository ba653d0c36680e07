//! Families that have a line for each rule: very many, so they are written without the encoder of everything else.
//!
//! That encoder looks through the labels of a line for what must be escaped, and formats its number, through some ten layers of
//! `fmt::Write`. Here the labels of a rule are written once and copied into its line of each family; what is written is the same,
//! byte for byte.

use super::format::Format;
use super::parts::PART;
use crate::telemetry::hits::RuleTotals;

/// How a family of these is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its lines end in `_total`.
    Counter,
    /// As the names of envoyproxy/ratelimit are: a counter in all but its name.
    Untyped,
}

/// A name without `_total`, a help text that needs no escaping, and the count of a rule that its lines report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) count: fn(&RuleTotals) -> u64,
}

impl Family {
    fn is_total(&self) -> bool {
        self.kind == Kind::Counter
    }

    /// The lines before the first number.
    fn head(&self, format: Format) -> String {
        let Self { name, help, kind, .. } = self;
        // OpenMetrics calls a counter by its name without `_total`.
        let suffix = if self.is_total() && format == Format::Prometheus { "_total" } else { "" };
        let kind = match (kind, format) {
            (Kind::Counter, _) => "counter",
            (Kind::Untyped, Format::Prometheus) => "untyped",
            (Kind::Untyped, Format::OpenMetrics) => "unknown",
        };
        format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n")
    }
}

/// Families with the same sets of labels, and their text in parts: each is made when it is asked for.
#[derive(Debug)]
pub(super) struct Lines {
    families: Vec<Family>,
    format: Format,
    /// The sets of labels one after the other, each as it is written: `{domain="d",rule="r"} `.
    labels: String,
    /// Where each of them ends, and what was counted.
    counted: Vec<(usize, RuleTotals)>,
    /// The place of the line that comes next: of its family, and in it.
    next: (usize, usize),
}

impl Lines {
    pub(super) fn of(families: Vec<Family>, format: Format) -> Self {
        Self { families, format, labels: String::new(), counted: Vec::new(), next: (0, 0) }
    }

    /// Makes room for so many lines of each family, with so many bytes of labels in all. More of either is no mistake.
    pub(super) fn reserve(&mut self, lines: usize, bytes: usize) {
        self.counted.reserve(lines);
        self.labels.reserve(bytes);
    }

    /// Adds a line to each family.
    pub(super) fn add<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        counted: RuleTotals,
    ) {
        let mut before = '{';
        for (name, value) in labels {
            self.labels.push(before);
            self.labels.push_str(name);
            self.labels.push_str("=\"");
            push_escaped(&mut self.labels, value);
            self.labels.push('"');
            before = ',';
        }
        self.labels.push_str("} ");
        self.counted.push((self.labels.len(), counted));
    }

    /// Adds the next part of the text to `written`, until that is a full part; `false` when there is no more.
    pub(super) fn write(&mut self, written: &mut String) -> bool {
        let mut number = itoa::Buffer::new();
        while let Some(family) = self.families.get(self.next.0) {
            if self.next.1 == 0 {
                if written.len() >= PART {
                    return true;
                }
                // With its first line, in the same part: it is not written once more.
                written.push_str(&family.head(self.format));
            }
            let mut from = self.next.1.checked_sub(1).map_or(0, |before| self.counted[before].0);
            for (end, counted) in &self.counted[self.next.1..] {
                if written.len() >= PART && self.next.1 > 0 {
                    return true;
                }
                written.push_str(family.name);
                if family.is_total() {
                    written.push_str("_total");
                }
                written.push_str(&self.labels[from..*end]);
                written.push_str(number.format((family.count)(counted)));
                written.push('\n');
                from = *end;
                self.next.1 += 1;
            }
            self.next = (self.next.0 + 1, 0);
        }
        false
    }
}

/// Adds a label's value, escaped as both formats have it.
fn push_escaped(to: &mut String, value: &str) {
    // Looked at as a whole, for that is many bytes at a time.
    if !value.bytes().fold(false, |found, byte| found | matches!(byte, b'\\' | b'"' | b'\n')) {
        to.push_str(value);
        return;
    }
    for char in value.chars() {
        match char {
            '\\' => to.push_str("\\\\"),
            '"' => to.push_str("\\\""),
            '\n' => to.push_str("\\n"),
            char => to.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, prometheus_text, text};
    use prometheus_client::metrics::MetricType;
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;
    use prometheus_client::registry::Registry;

    use super::*;

    const COUNTED: Family =
        Family { name: "hits", help: "Hits.", kind: Kind::Counter, count: |counted| counted.total };
    const UNTYPED: Family =
        Family { name: "over", help: "Refused.", kind: Kind::Untyped, count: |counted| counted.over };

    /// What the encoder of everything else makes of the same.
    #[derive(Debug)]
    struct Slow(Vec<(Vec<(&'static str, &'static str)>, RuleTotals)>);

    impl Collector for Slow {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            for family in [COUNTED, UNTYPED] {
                let of_counter = family.kind == Kind::Counter;
                let kind = if of_counter { MetricType::Counter } else { MetricType::Unknown };
                let mut encoder = encoder.encode_descriptor(family.name, family.help, None, kind)?;
                for (labels, counted) in &self.0 {
                    let (one, count) = (encoder.encode_family(labels)?, (family.count)(counted));
                    if of_counter {
                        ConstCounter::new(count).encode(one)?;
                    } else {
                        ConstGauge::new(count).encode(one)?;
                    }
                }
            }
            Ok(())
        }
    }

    #[test]
    fn the_text_is_what_the_encoder_of_everything_else_writes() {
        let rules = [
            (vec![("domain", "d"), ("rule", "plain")], 0, 0),
            (vec![("domain", "d"), ("rule", "a \"quoted\" \\ and\nmore")], u64::from(u32::MAX), 7),
            (vec![("domain", "é\u{1}"), ("rule", "}"), ("entries", "k=v,{")], 12, i64::MAX.unsigned_abs()),
        ];
        let rules =
            rules.map(|(labels, total, over)| (labels, RuleTotals { total, over, ..RuleTotals::default() }));
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let mut registry = Registry::default();
            registry.register_collector(Box::new(Slow(rules.to_vec())));
            let mut expected = String::new();
            match format {
                Format::Prometheus => prometheus_text::encode(&mut expected, &registry).unwrap(),
                Format::OpenMetrics => text::encode_registry(&mut expected, &registry).unwrap(),
            }
            let mut lines = Lines::of(vec![COUNTED, UNTYPED], format);
            for (labels, counted) in &rules {
                lines.add(labels.iter().copied(), *counted);
            }
            let mut written = String::new();
            assert!(!lines.write(&mut written));
            assert_eq!(written, expected, "{format:?}");
        }
    }

    #[test]
    fn parts_end_with_a_line_and_are_the_whole_text() {
        let lines = || {
            let mut lines = Lines::of(vec![COUNTED, UNTYPED], Format::Prometheus);
            let labels: Vec<_> = (0..10_000).map(|n| format!("rule {n}")).collect();
            for label in &labels {
                lines.add([("rule", &**label)], RuleTotals::default());
            }
            lines
        };
        let (mut parts, mut rest) = (Vec::new(), lines());
        loop {
            let mut part = String::new();
            let goes_on = rest.write(&mut part);
            assert!(part.ends_with('\n') && part.len() < PART + 100, "{} bytes", part.len());
            parts.push(part);
            if !goes_on {
                break;
            }
        }
        assert!(parts.len() > 5, "{}", parts.len());
        let whole = parts.concat();
        assert_eq!(whole.lines().count(), 2 * (10_000 + 2));
        assert_eq!(whole.matches("# TYPE").count(), 2);
        assert!(whole.ends_with("over{rule=\"rule 9999\"} 0\n"));
    }

    #[test]
    fn wherever_a_part_ends_each_family_is_introduced_once() {
        let whole = |before: usize| {
            let mut lines = Lines::of(vec![COUNTED, UNTYPED], Format::Prometheus);
            lines.add([("rule", "a")], RuleTotals::default());
            // What others have written before.
            let (mut text, mut part) = (String::new(), "#".repeat(before));
            while lines.write(&mut part) {
                text += &part;
                part.clear();
            }
            text + &part
        };
        let expected = whole(0);
        for before in (PART - expected.len() - 1..=PART + 1).chain([2 * PART]) {
            assert_eq!(whole(before).trim_start_matches(&*"#".repeat(before)), expected, "{before}");
        }
    }
}
