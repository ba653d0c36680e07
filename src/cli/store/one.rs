//! The counters of one request, in a store that no server has open.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use super::Wrong;
use crate::cli::args::OfRequest;
use crate::cli::check::report;
use crate::cli::compatibility::Environment;
use crate::cli::explain::{Typed, parse, unknown_domain};
use crate::cli::{FAILED, WRONG_COMMAND, WRONG_INPUT, complain};
use crate::clock::{Clock as _, ManualClock, SystemClock};
use crate::config;
use crate::engine::Scratch;
use crate::explain::{self, DescriptorExplained};
use crate::limiter::Limiter;
use crate::model::{CellKey, Descriptor, Hits, Request};
use crate::policy::{Keyer, Policy};
use crate::store::MemoryStore;
use crate::store::disk::Offline;

/// Tells the counts of the counters that a request is charged to; and forgets these, if they are to be `reset`.
pub(super) fn run(
    directory: &Path,
    of: &OfRequest,
    environment: &Environment,
    reset: bool,
) -> Result<String, Wrong> {
    let (policy, domain, typed) = read(of, environment)?;
    let store = Offline::open(directory)?;
    let descriptors = typed.iter().map(|entries| Descriptor::of_text(entries, Hits::Look)).collect();
    let request = Request { domain: domain.as_bytes(), descriptors };
    let memory = MemoryStore::default();
    let clock = ManualClock::at(SystemClock::new().now());
    let limiter =
        Arc::new(Limiter::with_keys(policy, Keyer::from_secret(store.secret()), memory.clone(), clock));
    let policy = limiter.engine.policy();

    let plan = limiter.engine.plan(Scratch::default(), &policy, &request, limiter.clock.read());
    let mut keys: Vec<CellKey> = plan.charges().iter().map(|charge| charge.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let in_memory = plan.charges().iter().filter(|charge| !charge.durability.is_kept()).count();
    let kept = store.lend(&keys, &memory)?;
    let Some(explanation) = explain::decide(&limiter.worker(), &policy, &request) else {
        complain("error: the counters cannot be read\n");
        return Err(Wrong::Told(ExitCode::from(FAILED)));
    };
    let mut said = told(&explanation.call.descriptors);
    if keys.is_empty() {
        said.push_str("\nthis request is charged to no counter\n");
    } else if kept.is_empty() {
        said.push_str("\nthe store has no counter of this request\n");
    } else if reset {
        store.remove(&kept)?;
        let counters =
            if kept.len() == 1 { "1 counter is".to_owned() } else { format!("{} counters are", kept.len()) };
        said.push_str(&format!("\n{counters} reset: the next request is counted as the first one\n"));
    }
    if in_memory > 0 {
        said.push_str(
            "limits that are not durable are counted in the memory of their server, and not here\n",
        );
    }
    store.close()?;
    Ok(said)
}

/// The policy, the domain and the entries of each descriptor.
fn read<'a>(of: &'a OfRequest, environment: &Environment) -> Result<(Policy, &'a str, Vec<Typed>), Wrong> {
    let Some(domain) = &of.domain else {
        return Err(Wrong::Name(
            "the request whose counters are meant is missing, as in `--domain shop 'api_key=k'`".to_owned(),
        ));
    };
    let typed: Result<Vec<_>, _> = of.descriptors.iter().map(|descriptor| parse(descriptor)).collect();
    let typed = typed.map_err(|wrong| {
        complain(&format!("error: {wrong}\n"));
        Wrong::Told(ExitCode::from(WRONG_COMMAND))
    })?;
    let files = of.config.as_ref().unwrap_or(&environment.config);
    let policy = match config::load(&[files], environment.options(of.merging)) {
        Ok(loaded) => loaded.policy,
        Err(diagnostics) => {
            complain(&report(&diagnostics, &io::stderr()));
            return Err(Wrong::Told(ExitCode::from(WRONG_INPUT)));
        }
    };
    if policy.domain(domain.as_bytes()).is_none() {
        return Err(Wrong::Name(unknown_domain(domain, &policy)));
    }
    Ok((policy, domain, typed))
}

/// What a request would be told of each limit.
fn told(descriptors: &[DescriptorExplained]) -> String {
    descriptors.iter().map(DescriptorExplained::counts).collect::<Vec<_>>().join("\n")
}
