//! The picture: what a request costs, and how many there are, against how many are in flight.

use std::error::Error;
use std::fmt::Write as _;

use crate::closed::Load;
use crate::cores::Cores;
use crate::report::median;
use crate::rows::{Between, Results};
use crate::sample::{Sample, Subject, Times, sample};
use crate::servers::{Kind, Servers};

const IN_FLIGHT: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 100];
const LINES: [(&str, Kind, &str); 2] = [
    ("bare tonic, constant answer", Kind::Bare, "#c2410c"),
    ("Spillway, three limits", Kind::ThreeLimits, "#1d4ed8"),
];

/// For each line and each number in flight, a sample of each round.
#[derive(Debug, Default)]
pub(crate) struct Plot([[Vec<Sample>; IN_FLIGHT.len()]; LINES.len()]);

impl Plot {
    /// Samples every point once.
    pub(crate) fn round(
        &mut self,
        round: usize,
        servers: &mut Servers,
        cores: &Cores,
        times: Times,
        between: Between<'_>,
        results: &mut Results,
    ) -> Result<(), Box<dyn Error>> {
        for (point, in_flight) in IN_FLIGHT.into_iter().enumerate() {
            between(servers, results)?;
            for turn in 0..LINES.len() {
                let line = (turn + round) % LINES.len();
                let (name, kind, _) = LINES[line];
                let load = Load { connections: 1, in_flight };
                let subject = Subject { load, ..Subject::new(name, kind) };
                self.0[line][point].push(sample(servers.get(kind)?, &subject, times, cores)?);
            }
        }
        Ok(())
    }

    pub(crate) fn svg(&self) -> String {
        let mut svg = String::from(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="960" height="430" font-family="sans-serif" font-size="13" fill="#1f2937">
<rect width="960" height="430" fill="white"/>
<text x="480" y="26" font-size="16" text-anchor="middle">One connection, server pinned to one core</text>
"##,
        );
        self.panel(&mut svg, 75.0, "server's CPU per request, µs", |sample| sample.cpu);
        self.panel(&mut svg, 555.0, "thousand requests per second", |sample| sample.per_second / 1000.0);
        for (at, (name, _, colour)) in LINES.iter().enumerate() {
            let x = if at == 0 { 250 } else { 530 };
            let _ = writeln!(
                svg,
                "<path d='M{x} 412h30' stroke='{colour}' stroke-width='2.5'/><circle cx='{}' cy='412' r='4' fill='{colour}'/>\
                 <text x='{}' y='416'>{name}</text>",
                x + 15,
                x + 38
            );
        }
        svg + "</svg>\n"
    }

    fn panel(&self, svg: &mut String, left: f64, title: &str, value: fn(&Sample) -> f64) {
        const WIDTH: f64 = 370.0;
        const HEIGHT: f64 = 290.0;
        const TOP: f64 = 50.0;
        let values = self.0.each_ref().map(|line| {
            line.each_ref().map(|samples| median(&samples.iter().map(value).collect::<Vec<_>>()))
        });
        let highest = values.iter().flatten().copied().fold(0.0, f64::max);
        let step = step(highest);
        let top = (highest / step).ceil() * step;
        #[allow(clippy::cast_precision_loss, reason = "at most a hundred")]
        let x = |in_flight: usize| left + (in_flight as f64).ln() / 100_f64.ln() * WIDTH;
        let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
        let mut mark = 0.0;
        while mark <= top + step / 2.0 {
            let at = y(mark);
            let _ = writeln!(
                svg,
                "<path d='M{left} {at:.1}h{WIDTH}' stroke='#e5e7eb'/>\
                 <text x='{}' y='{:.1}' text-anchor='end'>{mark}</text>",
                left - 8.0,
                at + 4.5
            );
            mark += step;
        }
        let bottom = TOP + HEIGHT;
        for in_flight in IN_FLIGHT {
            let at = x(in_flight);
            let _ = writeln!(
                svg,
                "<path d='M{at:.1} {bottom}v5' stroke='#6b7280'/>\
                 <text x='{at:.1}' y='{}' text-anchor='middle'>{in_flight}</text>",
                bottom + 20.0
            );
        }
        let middle = TOP + HEIGHT / 2.0;
        let _ = writeln!(
            svg,
            "<path d='M{left} {TOP}v{HEIGHT}h{WIDTH}' fill='none' stroke='#6b7280'/>\
             <text x='{}' y='{}' text-anchor='middle'>requests in flight (log scale)</text>\
             <text transform='translate({} {middle}) rotate(-90)' text-anchor='middle'>{title}</text>",
            left + WIDTH / 2.0,
            bottom + 40.0,
            left - 48.0
        );
        for (line, (_, _, colour)) in values.iter().zip(LINES) {
            let points: Vec<_> = IN_FLIGHT
                .iter()
                .zip(line)
                .map(|(&at, &value)| format!("{:.1},{:.1}", x(at), y(value)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2.5'/>",
                points.join(" ")
            );
            for point in &points {
                let (cx, cy) = point.split_once(',').expect("two numbers");
                let _ = writeln!(svg, "<circle cx='{cx}' cy='{cy}' r='4' fill='{colour}'/>");
            }
        }
    }
}

/// A round distance between marks, of which there are about six.
fn step(highest: f64) -> f64 {
    let power = 10_f64.powf((highest / 6.0).max(1e-9).log10().floor());
    [1.0, 2.0, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| highest / step <= 7.0)
        .unwrap_or(10.0 * power)
}
