//! What it costs the process: memory, file descriptors, time.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::raw::{INITIAL_WINDOW_SIZE, PREFACE, Raw, begun, settings, whole};
use super::{Others, POLICY, counted, free};
use crate::rls::channel;
use crate::support::{PATIENCE, Spillway};

fn descriptors(spillway: &Spillway) -> usize {
    fs::read_dir(format!("/proc/{}/fd", spillway.id())).unwrap().count()
}

/// The most memory that it ever had, in KiB, to some dozens: the system counts pages for each core, and adds them up now and then. So it
/// may be less than before.
pub(super) fn peak(spillway: &Spillway) -> u64 {
    status(spillway, "VmHWM:")
}

/// The memory that it has, in KiB.
pub(super) fn resident(spillway: &Spillway) -> u64 {
    status(spillway, "VmRSS:")
}

fn status(spillway: &Spillway, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", spillway.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How long its threads have run, or waited for a processor to run on: what a busy machine does not change much.
fn busy(spillway: &Spillway) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", spillway.id())).unwrap();
    let of_task = |path: PathBuf| {
        // A thread may have ended meanwhile.
        let times = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        times.split_whitespace().take(2).map(|time| time.parse::<u64>().unwrap()).sum::<u64>()
    };
    Duration::from_nanos(tasks.map(|task| of_task(task.unwrap().path())).sum())
}

/// Looks until it `is`, for as long as a failure may take.
pub(super) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let asked = tokio::time::Instant::now();
    while !is() {
        assert!(asked.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_reads_nothing_costs_little_memory() {
    const CALLS: u32 = 1000;
    let spillway = Spillway::serving(POLICY);
    let others = Others::of(&spillway);
    others.are_answered(&spillway);
    let before = peak(&spillway);
    // No byte of an answer may be sent.
    let mut raw = Raw::with(&spillway, &[(INITIAL_WINDOW_SIZE, 0)]);
    let calls: Vec<_> =
        (0..CALLS).map(|_| raw.stream()).flat_map(|stream| whole(stream, &counted())).collect();
    raw.send(&calls);
    until("all calls are counted", || others.counted() == CALLS);
    others.are_answered(&spillway);
    let more = peak(&spillway).saturating_sub(before);
    assert!(more < 16 << 10, "{more} KiB for {CALLS} answers that nobody reads");
}

#[test]
fn connections_that_break_off_leave_nothing_behind() {
    let spillway = Spillway::serving(POLICY);
    let others = Others::of(&spillway);
    others.are_answered(&spillway);
    // The last new connection of the others may not be gone yet.
    let before = descriptors(&spillway);
    let greeting = [PREFACE, &settings(&[])].concat();
    let message = free();
    let call = [greeting.clone(), whole(1, &message)].concat();
    let ends = [
        0,                                       // before anything
        7,                                       // within the preface
        PREFACE.len() + 4,                       // within a frame's header
        greeting.len(),                          // before any call
        greeting.len() + 20,                     // within a list of headers
        greeting.len() + begun(1).len(),         // before a message
        greeting.len() + begun(1).len() + 9 + 3, // within a message's prefix
        call.len() - 1,                          // within a message
        call.len(),                              // before the answer
    ];
    for n in 0..1000 {
        let mut socket = TcpStream::connect(spillway.grpc).unwrap();
        socket.write_all(&call[..ends[n % ends.len()]]).unwrap();
        // Who comes after so many is answered, so none of them waits to be accepted: the system would have the next ones
        // try again after a second.
        if n % 50 == 49 {
            others.are_answered(&spillway);
        }
    }
    until("all descriptors are closed", || descriptors(&spillway) <= before);
    others.are_answered(&spillway);
}

#[test]
fn without_descriptors_the_server_waits_for_some_at_rest() {
    const WHILE: Duration = Duration::from_millis(100);
    let spillway = Spillway::serving(POLICY);
    let others = Others::of(&spillway);
    let most = descriptors(&spillway) + 20;
    let lowered = Command::new("prlimit")
        .args([format!("--pid={}", spillway.id()), format!("--nofile={most}:")])
        .status()
        .expect("prlimit, of util-linux");
    assert!(lowered.success());

    let greeting = [PREFACE, &settings(&[])].concat();
    let held: Vec<_> = (0..100)
        .map(|_| {
            let mut socket = TcpStream::connect(spillway.grpc).unwrap();
            socket.write_all(&greeting).unwrap();
            socket
        })
        .collect();
    until("no descriptor is left", || descriptors(&spillway) >= most - 1);

    // What is measured is what it does when nothing happens, so for once nothing must happen for a while. On a busy
    // machine little work may wait for long, but not in every such while.
    let rests = || {
        let before = busy(&spillway);
        others.runtime.block_on(async { tokio::time::sleep(WHILE).await });
        busy(&spillway).saturating_sub(before) < WHILE / 2
    };
    let rests = (0..5).any(|_| rests());
    for channel in &others.channels {
        others.remaining(channel, "free");
    }
    assert!(rests, "busy for more than half of each {WHILE:?}");

    drop(held);
    let new = others.runtime.block_on(async { tokio::time::timeout(PATIENCE, channel(&spillway)).await });
    others.remaining(&new.expect("a new connection is taken"), "free");
    others.are_answered(&spillway);
}
