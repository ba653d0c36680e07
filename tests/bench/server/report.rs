//! The tables.

use std::fmt::Write as _;

use crate::rows::Results;
use crate::sample::Sample;

/// What a row promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Told for its own sake.
    None,
}

/// One promise and what was measured, once for each round.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) number: &'static str,
    pub(crate) what: String,
    pub(crate) bound: Bound,
    pub(crate) values: Vec<f64>,
    pub(crate) note: String,
}

impl Row {
    pub(crate) fn new(number: &'static str, what: &str, bound: Bound) -> Self {
        Self { number, what: what.to_owned(), bound, values: Vec::new(), note: String::new() }
    }

    fn cells(&self) -> [String; 6] {
        let median = median(&self.values);
        let (bound, holds) = match self.bound {
            Bound::AtMost(most) => (format!("≤ {most}"), median <= most),
            Bound::AtLeast(least) => (format!("≥ {least}"), median >= least),
            Bound::None => (String::new(), true),
        };
        let spread = match &*self.values {
            [_] => String::new(),
            _ if median.is_nan() => String::new(),
            values => {
                let (least, most) = extremes(values);
                format!("{}–{}", number(least), number(most))
            }
        };
        let verdict = match (self.bound, holds) {
            (Bound::None, _) => "",
            _ if median.is_nan() => "not valid",
            (_, true) => "yes",
            (_, false) => "**NO**",
        };
        [self.number.into(), self.what.clone(), number(median), spread, bound, verdict.into()]
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        return "—".to_owned();
    }
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

/// The middle one; not a number when one of them is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.last() {
        Some(last) if !last.is_nan() => {
            f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
        }
        _ => f64::NAN,
    }
}

fn extremes(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &value| (least.min(value), most.max(value)))
}

/// The report, as Markdown that is read as it is, too.
pub(crate) fn markdown(results: &Results, about: &str) -> String {
    let mut rows: Vec<&Row> = results.rows.iter().collect();
    rows.sort_by_key(|row| row.number);
    let mut text = format!("# Server benchmark\n\n{about}\n\n");
    let heads = ["row", "what", "median", "least–most", "bound", "holds"];
    table(&mut text, &heads, &rows.iter().map(|row| row.cells().to_vec()).collect::<Vec<_>>());
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        let _ = writeln!(text, "- Row {}: {}.", row.number, row.note);
    }
    text.push_str(
        "\nMedians of the samples behind the ratios. «Busy» is the share of one core; «held up» is for how much of the \
         time the server\nwas ready to run while its core was taken: where that is much, the machine was not quiet.\n\n",
    );
    let heads = [
        "sample",
        "server's CPU µs per request",
        "requests per second",
        "server busy",
        "held up",
        "load busy",
    ];
    let cells: Vec<_> = results.samples.iter().map(|(name, samples)| sampled(name, samples)).collect();
    table(&mut text, &heads, &cells);
    text
}

fn sampled(name: &str, samples: &[Sample]) -> Vec<String> {
    let of = |value: fn(&Sample) -> f64| median(&samples.iter().map(value).collect::<Vec<_>>());
    vec![
        name.to_owned(),
        format!("{:.2}", of(|sample| sample.cpu)),
        format!("{:.0}", of(|sample| sample.per_second)),
        format!("{:.2}", of(|sample| sample.server_busy)),
        format!("{:.2}", of(|sample| sample.held_up)),
        format!("{:.2}", of(|sample| sample.load_busy)),
    ]
}

/// A table whose columns are aligned.
fn table(text: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let width = |column: usize| {
        std::iter::once(&heads).chain(rows).map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let rule: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
    for row in [&heads, &rule].into_iter().chain(rows) {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
    }
    text.push('\n');
}
