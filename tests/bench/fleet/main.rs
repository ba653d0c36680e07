//! Two and three replicas on one Valkey, while one of them or the Valkey breaks: what a client counts as let through, beside what is
//! promised, as a table.
//!
//! `cargo bench --bench fleet` runs everything in about three minutes. It ends with an error if a promise was not kept.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it reports, and ends when anything is wrong")]

mod scenario;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use scenario::{Fault, HEAD, Load, Scenario, Times, run};

const LOAD: Load = Load { limit: 200, rate: 9_000, new_keys: 4, keys: 20 };
const TIMES: Times = Times {
    breaks: Duration::from_millis(1_500),
    mended: Duration::from_millis(2_500),
    ends: Duration::from_secs(7),
};

fn main() -> ExitCode {
    println!(
        "{} calls a second, a limit of {} in an hour for each of {} keys at a time and mode; it breaks after {:?}, for {:?}.\n\n{HEAD}",
        LOAD.rate,
        LOAD.limit,
        LOAD.keys,
        TIMES.breaks,
        TIMES.mended.saturating_sub(TIMES.breaks)
    );
    let mut wrong = Vec::new();
    for fault in Fault::ALL {
        for leases in [false, true] {
            for replicas in [2, 3] {
                for row in run(Scenario { fault, replicas, leases, load: LOAD, times: TIMES }) {
                    println!("{row}");
                    wrong.extend(row.wrong().map(|wrong| format!("{row}\n  {wrong}")));
                }
            }
        }
    }
    println!("\n{} promises were not kept.", wrong.len());
    for wrong in &wrong {
        println!("{wrong}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
