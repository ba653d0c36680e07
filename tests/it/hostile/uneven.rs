//! Connections of which some have much more to do than others.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use super::raw::Raw;
use super::{POLICY, free};
use crate::support::Spillway;

/// How long it takes until the server knows what a connection asks for.
const SEEN: Duration = Duration::from_millis(1_100);

/// How long each thread that serves connections has run, in nanoseconds.
fn workers(spillway: &Spillway) -> Vec<u64> {
    let tasks =
        fs::read_dir(format!("/proc/{}/task", spillway.id())).unwrap().map(|task| task.unwrap().path());
    let workers = tasks
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("worker-")));
    workers
        .map(|worker| {
            let times = fs::read_to_string(worker.join("schedstat")).unwrap();
            times.split_whitespace().next().unwrap().parse().unwrap()
        })
        .collect()
}

#[test]
fn two_busy_connections_are_not_served_by_one_thread_while_another_rests() {
    let spillway = Spillway::serving(POLICY);
    if workers(&spillway).len() < 2 {
        return;
    }
    // In turn, the third would meet the first where there are two threads. What a connection asks for is known when it
    // has been there for a second. Equal calls are equal work, however busy the machine is meanwhile.
    let mut first = Raw::to(&spillway);
    let busy = |raw: &mut Raw| {
        let begun = Instant::now();
        let mut calls = 0;
        while begun.elapsed() < SEEN {
            raw.call(&free());
            calls += 1;
        }
        calls
    };
    let before = busy(&mut first);
    let mut second = Raw::to(&spillway);
    second.call(&free());
    let calls = before + busy(&mut first);
    let mut third = Raw::to(&spillway);
    for _ in 0..calls {
        third.call(&free());
    }
    let times = workers(&spillway);
    let (most, all) = (times.iter().max().unwrap(), times.iter().sum::<u64>());
    assert!(most * 4 < all * 3, "{times:?} ns");
}
