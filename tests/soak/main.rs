//! Every attacker at once, beside an Envoy that does nothing wrong, while the policy is reloaded each second.
//!
//! `make soak MINUTES=20` runs it. It prints what each client did and what the server held, and fails when the Envoy had a
//! failed call, memory grew beyond its bound, a task ended, or the log had more than ten lines a second. All traffic
//! stays on loopback, and every attacker has a rate, so that they cost the server more than they cost the machine.

#![allow(clippy::print_stdout, reason = "the figures are for a person's eyes")]
#![allow(clippy::unwrap_used, reason = "a soak that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a soak takes real time, and attackers pace themselves in it")]

mod attackers;
mod envoy;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../it/hostile/hpack.rs"]
mod hpack;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../it/hostile/raw.rs"]
mod raw;
#[allow(dead_code, reason = "it serves other test programs besides")]
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use attackers::ATTACKERS;
use envoy::Gateway;
use support::{Spillway, directory};

/// What the server may come to hold, in KiB.
const MOST_MEMORY: u64 = 768 << 10;
const MOST_LINES_A_SECOND: u64 = 10;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let minutes =
        words.iter().position(|word| word == "--minutes").and_then(|at| words.get(at + 1)?.parse().ok());
    let Some(minutes) = minutes.filter(|minutes: &f64| *minutes > 0.0) else {
        println!("soak: `make soak MINUTES=20` runs it");
        return ExitCode::SUCCESS;
    };
    soak(Duration::from_secs_f64(minutes * 60.0))
}

fn soak(lasting: Duration) -> ExitCode {
    let policy = attackers::policy();
    let config = directory(&[("policy.yaml", &policy)]);
    let mut spillway = Spillway::start(config.path(), "127.0.0.1:0");
    let gateway = Gateway::before(spillway.grpc);
    let (stop, good, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let done: Vec<AtomicU64> = ATTACKERS.iter().map(|_| AtomicU64::new(0)).collect();
    let (mut memory, mut threads, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    let (grpc, http, id) = (spillway.grpc, spillway.http, spillway.id());
    let begun = Instant::now();

    thread::scope(|scope| {
        let good_client = scope.spawn(|| gateway.is_called(&stop, &good, &failed));
        for (attacker, done) in ATTACKERS.iter().zip(&done) {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let turn = Instant::now();
                    (attacker.attack)(grpc, http);
                    done.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(attacker.every.saturating_sub(turn.elapsed()));
                }
            });
        }
        for n in 0.. {
            if begun.elapsed() >= lasting {
                break;
            }
            // Every third is one with a mistake.
            let text = if n % 3 == 2 { "domain: [".to_owned() } else { format!("{policy}# {n}\n") };
            let new = config.path().join(".new");
            fs::write(&new, text).unwrap();
            fs::rename(new, config.path().join("policy.yaml")).unwrap();
            memory.push(status(id, "VmRSS:"));
            threads.push(thread_counts(id));
            thread::sleep(Duration::from_secs(1));
        }
        stop.store(true, Ordering::Relaxed);
        latencies = good_client.join().unwrap();
    });

    let seconds = begun.elapsed().as_secs();
    let text = metrics(http);
    let lines = spillway.lines_so_far() as u64;
    latencies.sort_unstable();
    let percentile = |thousandths: usize| latencies[(latencies.len() - 1) * thousandths / 1_000];
    println!("{seconds} s");
    for (attacker, done) in ATTACKERS.iter().zip(&done) {
        println!("  {:<58} {:>9}", attacker.what, done.load(Ordering::Relaxed));
    }
    let (good, failed) = (good.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!(
        "good client: {good} calls, {failed} failed; p50 {:?}, p99 {:?}, p99.9 {:?}",
        percentile(500),
        percentile(990),
        percentile(999)
    );
    let peak = memory.iter().copied().max().unwrap_or_default();
    println!("memory: {} MiB at most, {} MiB at the end", peak >> 10, memory.last().unwrap_or(&0) >> 10);
    println!("log: {lines} lines");
    println!("{text}");
    let held = [
        ("no call of the good client failed", failed == 0 && good > 0),
        ("memory stayed within its bound", peak <= MOST_MEMORY),
        (
            "no task ended",
            text.contains("spillway_tasks_ended_total 0\n")
                && text.contains("spillway_calls_panicked_total 0\n"),
        ),
        ("no thread was lost", are_all_there(&threads)),
        ("the log had few lines", lines <= (seconds + 1) * MOST_LINES_A_SECOND),
    ];
    for (what, holds) in held {
        println!("{}  {what}", if holds { "ok    " } else { "FAILED" });
    }
    spillway.signal("TERM");
    let ended = spillway.wait().success();
    println!("{}  it ended in good order", if ended { "ok    " } else { "FAILED" });
    if ended && held.iter().all(|(_, holds)| *holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many threads of its own the process has, and how many of tokio's. Of these some end when they had nothing to do for ten seconds.
fn thread_counts(id: u32) -> (usize, usize) {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let (of_tokio, own): (Vec<_>, Vec<_>) = names.partition(|name| name.trim_end() == "tokio-rt-worker");
    (own.len(), of_tokio.len())
}

/// Whether all of its own are there that were there first, and as many of tokio's as there were at the fewest in the first minute.
fn are_all_there(counts: &[(usize, usize)]) -> bool {
    let fewest = counts.iter().take(60).map(|(_, of_tokio)| of_tokio).min();
    let (Some(first), Some(last), Some(fewest)) = (counts.first(), counts.last(), fewest) else {
        return false;
    };
    last.0 >= first.0 && last.1 >= *fewest
}

/// A number that the system knows of the process.
fn status(id: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What `/metrics` tells, without its comments.
fn metrics(http: SocketAddr) -> String {
    let mut stream = TcpStream::connect(http).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let mut numbers: Vec<_> = answer.lines().filter(|line| line.starts_with("spillway_")).collect();
    numbers.push("");
    numbers.join("\n")
}
