//! Two replicas that are restarted one after the other, as Kubernetes does it, under traffic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::client::send;
use crate::gateway::{Gateway, wait_for};
use crate::support::{Spillway, command, metric};
use crate::tests::Test;

pub(crate) const ALL: &[(&str, Test)] = &[(
    "a_rolling_restart_fails_no_call_and_lets_none_pass",
    a_rolling_restart_fails_no_call_and_lets_none_pass,
)];

const CLIENTS: usize = 8;

fn a_rolling_restart_fails_no_call_and_lets_none_pass(gateway: &Gateway) {
    let start = |replica: usize| {
        let address = gateway.rolling_grpc[replica].to_string();
        let serve = ["serve", "--drain-delay", "3s", "--grpc-addr", &address, "--http-addr", "127.0.0.1:0"];
        Spillway::running(command(&serve).arg("--config").arg(gateway.config.path()))
    };
    let door = gateway.door("rolling");
    // What is not limited, because no replica was asked or none answered, has no header of a limit.
    let is_limited = |client: usize| {
        let answer = send(&format!("127.0.3.{client}"), door, "GET /leads", &[]);
        matches!(answer.status, 200 | 429) && answer.has_header_starting("x-ratelimit-limit")
    };
    let mut replicas = [0, 1].map(start);
    let is_asked = |replica: &Spillway| {
        wait_for("a call to the replica", || {
            let _ = is_limited(CLIENTS + 1);
            (metric(replica.http, "spillway_counters") > 0).then_some(())
        });
    };
    replicas.iter().for_each(is_asked);

    let done = AtomicBool::new(false);
    let reported: Vec<(usize, usize)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (done, is_limited) = (&done, &is_limited);
                scope.spawn(move || {
                    let (mut calls, mut limited) = (0, 0);
                    while !done.load(Ordering::Relaxed) {
                        calls += 1;
                        limited += usize::from(is_limited(client + 1));
                    }
                    (calls, limited)
                })
            })
            .collect();
        // However this ends, the clients do.
        let restart = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (number, replica) in replicas.iter_mut().enumerate() {
                replica.signal("TERM");
                replica.log_line("not ready any more");
                assert_eq!(replica.wait().code(), Some(0));
                *replica = start(number);
                is_asked(replica);
            }
        }));
        done.store(true, Ordering::Relaxed);
        let reported = clients.into_iter().map(|client| client.join().unwrap()).collect();
        restart.unwrap();
        reported
    });
    for (calls, limited) in reported {
        assert_eq!(calls, limited, "{} calls were not limited", calls - limited);
        assert!(calls > 20, "{calls} calls tell nothing");
    }
}
