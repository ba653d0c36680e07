//! The whole server under load, against bare tonic: what a request costs, and what is promised about it.
//!
//! Linux only, as it reads the kernel's books. `cargo bench --bench server` runs it; after `--` it takes `--quick` for
//! fewer and shorter samples, `--rows 1,2` for some rows (`plot` is one) and `--plain PATH` for a build of this program
//! with Cargo's release settings as a second baseline, which `make bench` provides in `SPILLWAY_BARE_PLAIN`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is for a person's eyes")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time, and waits in it")]

mod accounting;
mod attack;
#[allow(clippy::unwrap_used, reason = "an attack that cannot be made ends the benchmark")]
#[path = "../../soak/attackers.rs"]
mod attackers;
mod bare;
mod calls;
mod closed;
mod cores;
mod disk;
mod expiry;
mod headers;
mod histogram;
#[allow(dead_code, clippy::unwrap_used, reason = "the tests use more of it")]
#[path = "../../it/hostile/hpack.rs"]
mod hpack;
mod http2;
mod memory;
mod open;
mod operator;
mod options;
mod plot;
mod policies;
#[allow(dead_code, clippy::unwrap_used, reason = "the tests use more of it")]
#[path = "../../it/hostile/raw.rs"]
mod raw;
mod report;
mod rows;
mod sample;
mod servers;
mod shared;
#[allow(dead_code, clippy::unwrap_used, reason = "it serves two test programs besides")]
#[path = "../../support/mod.rs"]
mod support;
mod verify;
mod wire;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::cores::Cores;
use crate::options::Options;
use crate::plot::Plot;
use crate::rows::Results;
use crate::servers::{Kind, Servers};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == bare::ARGUMENT) {
        return bare::serve();
    }
    let Some(options) = Options::read(arguments)? else {
        println!("This is a benchmark, which `cargo bench` runs.");
        return Ok(());
    };
    run(&options)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let cores = Cores::of_this_process()?;
    let mut servers = Servers::new(cores.clone(), options.plain.clone());
    let (mut results, mut plot) = (Results::default(), Plot::default());
    let (times, wanted) = (options.times, |row: &str| options.wants(row));

    if wanted("7") {
        let kinds = [(Kind::FixedWindow, "fixed-window"), (Kind::TokenBucket, "token-bucket")];
        for (kind, name) in kinds {
            let what = format!("bytes for each {name} counter, of 1,000,000");
            memory::per_counter(kind, &what, &mut servers, &mut results)?;
        }
    } else if wanted("4") {
        let server = servers.get(Kind::FixedWindow)?;
        server.fill(&policies::LEADS, servers::VERY_MANY_KEYS, http2::Answer::Ok)?;
    }
    rows::prepare(&wanted, &mut servers, &cores)?;

    let mut expiring = if wanted("8") { Some(expiry::fill(&mut servers)?) } else { None };
    // Counters expire when they do, so whatever else is measured makes way for it.
    let mut expire = |servers: &mut Servers, results: &mut Results| {
        if let Some(filled) = expiring.filter(|filled| Instant::now() >= expiry::due(*filled)) {
            expiring = expiry::measure(filled, servers, &cores, times, results)?;
        }
        Ok(())
    };
    for round in 0..options.rounds {
        eprintln!("round {} of {}, {:.0?} so far", round + 1, options.rounds, started.elapsed());
        rows::round(round, &wanted, &mut servers, &cores, times, &mut results, &mut expire)?;
        // Half as often: there are many attackers.
        if wanted("10") && round.is_multiple_of(2) {
            expire(&mut servers, &mut results)?;
            attack::round(&cores, times, &mut results)?;
        }
        if wanted("11") {
            expire(&mut servers, &mut results)?;
            disk::round(round, &mut servers, &cores, times, &mut results)?;
        }
        if wanted("12") {
            expire(&mut servers, &mut results)?;
            operator::scrapes(round, &mut servers, &mut results)?;
        }
        if wanted("13") {
            expire(&mut servers, &mut results)?;
            operator::reloads(round, &mut servers, &cores, times, &mut results)?;
        }
        if wanted("14") {
            expire(&mut servers, &mut results)?;
            shared::round(round, &mut servers, &cores, times, &mut results)?;
        }
        // Half as often: it is for the eye.
        if wanted("plot") && round.is_multiple_of(2) {
            let plot_times = options.plot_times;
            plot.round(round / 2, &mut servers, &cores, plot_times, &mut expire, &mut results)?;
        }
    }
    while let Some(filled) = expiring {
        std::thread::sleep(expiry::due(filled).saturating_duration_since(Instant::now()));
        expiring = expiry::measure(filled, &mut servers, &cores, times, &mut results)?;
    }

    let about = about(options, &cores, started);
    let text = report::markdown(&results, &about);
    println!("\n{text}");
    // Cargo's name for the directory of such things, beside which the report goes.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target directory")?.join("bench");
    fs::create_dir_all(&target)?;
    fs::write(target.join("report.md"), text)?;
    println!("written to {}", target.join("report.md").display());
    if wanted("plot") {
        fs::write(target.join("report.svg"), plot.svg())?;
        println!("written to {}", target.join("report.svg").display());
    }
    Ok(())
}

fn about(options: &Options, cores: &Cores, started: Instant) -> String {
    let pinning = match cores.count() {
        1 => "there is one core, which servers and load share",
        2 => "servers on one core, the load on the other",
        _ => "servers on the first core, the load on the last",
    };
    let plain = match &options.plain {
        Some(_) => "",
        None => " Without `--plain` there is no baseline that is built with Cargo's release settings.",
    };
    format!(
        "{} rounds of {:?} for each sample, {pinning}; {:.0?} in all. Ratios are of one round each, CPU is the \
         kernel's (`schedstat`).{plain}",
        options.rounds,
        options.times.measured,
        started.elapsed()
    )
}
