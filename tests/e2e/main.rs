//! Real Envoy in front, real upstream behind: the whole way of a request, in both directions.
//!
//! Envoy is started once, from `envoy/envoy.yaml`, and ended with the last test; that is why these run under a harness
//! of their own, which prints what `cargo test` prints.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod apis;
mod client;
mod gateway;
mod operator;
mod published;
mod rolling;
mod stalled;
mod store;
#[allow(dead_code, reason = "it serves two test programs, and each uses what it needs")]
#[path = "../support/mod.rs"]
mod support;
mod tests;
mod traces;
mod transport;
mod xds;

use std::sync::{Arc, PoisonError, RwLock};

use libtest_mimic::{Arguments, Trial};

use gateway::Gateway;

fn main() {
    let arguments = Arguments::from_args();
    if arguments.list {
        libtest_mimic::run(&arguments, trials(None)).exit();
    }
    let gateway = Arc::new(Gateway::start());
    let conclusion = libtest_mimic::run(&arguments, trials(Some(&gateway)));
    // Ends Envoy; `exit` would not.
    drop(gateway);
    conclusion.exit();
}

fn trials(gateway: Option<&Arc<Gateway>>) -> Vec<Trial> {
    // What is about Envoy's 20 ms has the machine to itself; the others run side by side.
    let machine = Arc::new(RwLock::new(()));
    let all = tests::ALL.iter().chain(apis::ALL).chain(rolling::ALL).chain(store::ALL).chain(stalled::ALL);
    let all = all.chain(operator::ALL).chain(transport::ALL).chain(xds::ALL).chain(traces::ALL);
    let each = all.map(|(name, test)| {
        let (gateway, machine) = (gateway.cloned(), Arc::clone(&machine));
        let is_alone = tests::ALONE.contains(name);
        Trial::test(*name, move || {
            // Whoever failed in its turn has told why; the next one may go on.
            let _alone = is_alone.then(|| machine.write().unwrap_or_else(PoisonError::into_inner));
            let _beside = (!is_alone).then(|| machine.read().unwrap_or_else(PoisonError::into_inner));
            test(gateway.ok_or("no gateway was started")?.as_ref());
            Ok(())
        })
    });
    each.collect()
}
