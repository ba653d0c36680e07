//! What is promised, row by row, and the samples that show whether it holds.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use crate::calls::Keys;
use crate::closed::Load;
use crate::cores::Cores;
use crate::http2::Answer;
use crate::open::{self, Overload, Schedule};
use crate::policies::{EACH_OF_MANY, LEADS, ONE_OF_MANY};
use crate::report::{Bound, Row};
use crate::sample::{BATCHED, Place, Sample, Subject, Times, sample};
use crate::servers::{Kind, Servers, VERY_MANY_KEYS};

/// Subjects that are sampled right after one another, and what is told of them.
struct Group {
    subjects: Vec<Subject>,
    ratios: Vec<Ratio>,
}

struct Ratio {
    number: &'static str,
    what: &'static str,
    /// The subject that is measured, and the one that it is measured by.
    of: usize,
    by: usize,
    value: fn(&Sample) -> f64,
    bound: Bound,
}

fn cpu(number: &'static str, what: &'static str, of: usize, by: usize, bound: Bound) -> Ratio {
    Ratio { number, what, of, by, value: |sample| sample.cpu, bound }
}

fn groups(cores: usize, has_plain: bool) -> Vec<Group> {
    let alone = Load { connections: 1, in_flight: 1 };
    let at_most = Bound::AtMost;
    let against_bare = |number, batched, what, what_plain, bound, names: [&'static str; 3]| {
        let with = |name, kind| {
            let subject = Subject::new(name, kind);
            Subject { load: if batched { BATCHED } else { alone }, ..subject }
        };
        let mut group = Group {
            subjects: vec![with(names[0], Kind::Bare), with(names[1], Kind::ThreeLimits)],
            ratios: vec![cpu(number, what, 1, 0, at_most(bound))],
        };
        if has_plain {
            group.subjects.push(with(names[2], Kind::BarePlain));
            group.ratios.push(cpu(number, what_plain, 1, 2, at_most(bound)));
        }
        group
    };
    let rule = |name, kind| Subject { shape: &ONE_OF_MANY, ..Subject::new(name, kind) };
    let keys = |name, count| Subject {
        keys: Keys::Uniform { first: 0, count },
        ..Subject::new(name, Kind::FixedWindow)
    };
    let workers = |name, kind| Subject { place: Place::AnyCore, ..Subject::new(name, kind) };
    vec![
        against_bare(
            "1",
            true,
            "CPU per request, three limits and six headers / bare tonic, same build, 4 × 32 in flight",
            "CPU per request, three limits and six headers / bare tonic, plain release build, 4 × 32 in flight",
            0.45,
            ["bare tonic, 4 × 32", "three limits, 4 × 32", "bare tonic (plain), 4 × 32"],
        ),
        against_bare(
            "2",
            false,
            "CPU per request, three limits and six headers / bare tonic, same build, 1 × 1 in flight",
            "CPU per request, three limits and six headers / bare tonic, plain release build, 1 × 1 in flight",
            0.8,
            ["bare tonic, 1 × 1", "three limits, 1 × 1", "bare tonic (plain), 1 × 1"],
        ),
        Group {
            subjects: vec![
                rule("one rule", Kind::OneRule),
                rule("100,000 rules, one is asked", Kind::ManyRules),
                Subject {
                    shape: &EACH_OF_MANY,
                    ..Subject::new("100,000 rules, all are asked", Kind::ManyRules)
                },
            ],
            ratios: vec![
                cpu("3", "CPU per request, 100,000 rules / one rule", 1, 0, at_most(1.05)),
                cpu(
                    "3",
                    "the same, when all 100,000 rules are asked (100,000 counters in both)",
                    2,
                    0,
                    Bound::None,
                ),
            ],
        },
        Group {
            subjects: vec![keys("one key", 1), keys("1,000,000 keys", VERY_MANY_KEYS)],
            ratios: vec![cpu(
                "4",
                "CPU per request, 1,000,000 keys / one key, one limit",
                1,
                0,
                at_most(1.25),
            )],
        },
        Group {
            subjects: vec![
                Subject::new("always allowed", Kind::ThreeLimits),
                Subject { expected: Answer::OverLimit, ..Subject::new("always refused", Kind::Refusing) },
            ],
            ratios: vec![cpu("5", "CPU per request, refused with a body / allowed", 1, 0, at_most(1.15))],
        },
        Group {
            subjects: vec![workers("one core", Kind::ThreeLimits), workers("two cores", Kind::TwoWorkers)],
            ratios: vec![if cores > 2 {
                let value = |sample: &Sample| sample.per_second;
                let what = "requests per second, two cores / one core";
                Ratio { number: "6", what, of: 1, by: 0, value, bound: Bound::AtLeast(1.7) }
            } else {
                let what = "CPU per request, two workers / one worker (there is no third core for the load)";
                cpu("6", what, 1, 0, at_most(1.1))
            }],
        },
    ]
}

/// Samples by subject, and rows by what they say, in the order of their first appearance.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) samples: Vec<(&'static str, Vec<Sample>)>,
    pub(crate) rows: Vec<Row>,
}

impl Results {
    fn keep(&mut self, name: &'static str, sample: Sample) {
        match self.samples.iter_mut().find(|(other, _)| *other == name) {
            Some((_, samples)) => samples.push(sample),
            None => self.samples.push((name, vec![sample])),
        }
    }

    /// Adds a value to the row that says `what`.
    pub(crate) fn add(&mut self, number: &'static str, what: &str, bound: Bound, value: f64) -> &mut Row {
        let at = self.rows.iter().position(|row| row.what == what).unwrap_or_else(|| {
            self.rows.push(Row::new(number, what, bound));
            self.rows.len() - 1
        });
        self.rows[at].values.push(value);
        &mut self.rows[at]
    }
}

/// What may have to be done before the next sample.
pub(crate) type Between<'a> = &'a mut dyn FnMut(&mut Servers, &mut Results) -> Result<(), Box<dyn Error>>;

/// Starts the servers of every row in `wanted`, so that no round has to wait for them.
pub(crate) fn prepare(
    wanted: &dyn Fn(&str) -> bool,
    servers: &mut Servers,
    cores: &Cores,
) -> Result<(), Box<dyn Error>> {
    let groups = groups(cores.count(), servers.has_plain());
    for subject in
        groups.iter().filter(|group| wanted(group.ratios[0].number)).flat_map(|group| &group.subjects)
    {
        servers.get(subject.kind)?;
    }
    Ok(())
}

/// One round of every row in `wanted`; odd rounds go backwards, so that what drifts harms no side.
pub(crate) fn round(
    round: usize,
    wanted: &dyn Fn(&str) -> bool,
    servers: &mut Servers,
    cores: &Cores,
    times: Times,
    results: &mut Results,
    between: Between<'_>,
) -> Result<(), Box<dyn Error>> {
    for group in groups(cores.count(), servers.has_plain()) {
        if !wanted(group.ratios[0].number) {
            continue;
        }
        between(servers, results)?;
        let mut samples = BTreeMap::new();
        let count = group.subjects.len();
        for turn in 0..count {
            let at = if round.is_multiple_of(2) { turn } else { count - 1 - turn };
            let subject = &group.subjects[at];
            let taken = sample(servers.get(subject.kind)?, subject, times, cores)?;
            results.keep(subject.name, taken);
            samples.insert(at, taken);
        }
        for ratio in &group.ratios {
            let value = (ratio.value)(&samples[&ratio.of]) / (ratio.value)(&samples[&ratio.by]);
            let row = results.add(ratio.number, ratio.what, ratio.bound, value);
            let full = samples[&ratio.of].load_busy > 0.95;
            if ratio.number == "6" && matches!(ratio.bound, Bound::AtLeast(_)) && full {
                row.note = "the load had no more to give: see the CPU per request".into();
            }
        }
    }
    if wanted("9") {
        between(servers, results)?;
        overloaded(round, servers, cores, times, results)?;
    }
    Ok(())
}

/// Twice what the server can do, from a client that treats it as Envoy would.
fn overloaded(
    round: usize,
    servers: &mut Servers,
    cores: &Cores,
    times: Times,
    results: &mut Results,
) -> Result<(), Box<dyn Error>> {
    let subject = Subject::new("capacity, 4 × 32", Kind::ThreeLimits);
    let server = servers.get(subject.kind)?;
    let before = sample(server, &subject, times, cores)?;
    let overload = Overload { most_in_flight: 256, patience: Duration::from_millis(20), grpc_timeout: "20m" };
    let schedule = Schedule {
        per_second: 2.0 * before.per_second,
        time: times.measured,
        connections: BATCHED.connections,
        overload: Some(overload),
    };
    let outcome = open::run(server.grpc, &schedule, &LEADS, subject.keys)?;
    results.keep(subject.name, before);
    #[allow(clippy::cast_precision_loss, reason = "no run has so many answers")]
    let in_time = outcome.answered as f64 / times.measured.as_secs_f64();
    let what = "answered within 20 ms at twice the capacity / capacity";
    let row = results.add("9", what, Bound::AtLeast(0.9), in_time / before.per_second);
    row.note = format!(
        "round {}: due {}, in time {}, late {}, reset {}, dropped {}, failed {}; connections lost {}{}; longest \
         stall of the load {:?}",
        round + 1,
        outcome.due,
        outcome.answered,
        outcome.late,
        outcome.reset,
        outcome.dropped,
        outcome.failed,
        outcome.lost.len(),
        outcome.lost.first().map(|why| format!(" (\"{why}\")")).unwrap_or_default(),
        outcome.stall
    );
    Ok(())
}
