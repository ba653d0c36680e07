//! Replicas that share a Valkey while something breaks: a short form of `cargo bench --bench fleet`, whose table has the rest.

use std::time::Duration;

#[allow(dead_code, reason = "the benchmark uses more of it")]
#[path = "../../bench/fleet/scenario/mod.rs"]
mod scenario;

use scenario::{Fault, Load, Scenario, Times, run};

/// One at a time: each has more to do than this machine may have cores.
fn check(fault: Fault, leases: bool) {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let load = Load { limit: 60, rate: 1_500, new_keys: 3, keys: 5 };
    let of = Duration::from_millis;
    let times = Times { breaks: of(800), mended: of(1_600), ends: of(4_000) };
    let rows = run(Scenario { fault, replicas: 2, leases, load, times });
    let wrong: Vec<_> = rows.iter().filter_map(|row| Some(format!("{row}\n{}", row.wrong()?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.iter().any(|row| row.most > 0), "nothing was admitted");
}

#[test]
fn a_replica_that_is_killed_frees_nobody() {
    check(Fault::ReplicaKilled, true);
}

#[test]
fn a_replica_that_is_cut_off_lets_no_more_than_its_share_pass() {
    check(Fault::Partition, false);
}

#[test]
fn a_failover_lets_no_more_pass_than_its_new_master_lacks() {
    check(Fault::Failover, false);
}

#[test]
fn a_redis_that_is_killed_counts_on_from_its_file() {
    check(Fault::RedisRestarted, true);
}
