//! One customer's counters in a store that no server has open: `spillway store inspect` and `reset` with a descriptor.
//!
//! Counters are known by keyed hashes, so nobody finds a customer's by looking through them. With the policy and the store's secret
//! their keys are made once more, as a request would make them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::args::Whose;
use super::check::{counted, report};
use super::compatibility::Environment;
use super::explain::{json, unknown_domain};
use super::store::Wrong;
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config;
use crate::control::{amend_by, hold_tiers};
use crate::engine::Scratch;
use crate::explain;
use crate::explain::typed;
use crate::limiter::Limiter;
use crate::model::{CellKey, Descriptor, Hits, Request};
use crate::policy::{Keyer, Policy};
use crate::store::disk::Offline;
use crate::store::{MemoryRecords, MemoryStore, Records};

/// What is done with the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Show,
    Reset,
}

/// Shows the counters that a request with these descriptors would be charged to as `explain` does, without charging them; and
/// resets them.
pub(super) fn run(
    directory: &Path,
    whose: &Whose,
    action: Action,
    environment: &Environment,
) -> Result<String, Wrong> {
    let domain = whose.domain.as_deref().unwrap_or_default();
    let typed: Result<Vec<_>, _> = whose.descriptors.iter().map(|descriptor| typed(descriptor)).collect();
    let typed = typed.map_err(Wrong::Typed)?;
    let mut policy = load(whose, environment)?;
    if policy.domain(domain.as_bytes()).is_none() {
        return Err(Wrong::Descriptor(unknown_domain(domain, &policy)));
    }
    let descriptors = typed.iter().map(|entries| Descriptor::of_text(entries, Hits::Look)).collect();
    let request = Request { domain: domain.as_bytes(), descriptors };

    let store = Offline::open(directory)?;
    let clock = ManualClock::at(SystemClock::new().now());
    // By the tiers, and with the changes of subjects, that a server would go by. Nothing of this is written.
    let known = Arc::new(MemoryRecords::default());
    known.apply(store.records()?)?;
    amend_by(&mut policy, Arc::<MemoryRecords>::clone(&known))
        .map_err(|wrong| Wrong::Descriptor(wrong.message))?;
    hold_tiers(&mut policy, &*known, clock.now()).map_err(|error| Wrong::Descriptor(error.to_string()))?;
    let memory = MemoryStore::default();
    let keyer = Keyer::from_secret(store.secret());
    let limiter = Arc::new(Limiter::with_keys(policy, keyer, memory.clone(), clock));
    let policy = limiter.engine.policy();
    let plan = limiter.engine.plan(Scratch::default(), &policy, &request, limiter.clock.read());
    let kept = plan.charges().iter().filter(|charge| charge.is_durable());
    let mut keys: Vec<CellKey> = kept.map(|charge| charge.key).collect();
    let elsewhere = plan.charges().len() - keys.len();
    keys.sort_unstable();
    keys.dedup();
    let found = store.copy_to(&keys, &memory)?;
    let explanation = explain::decide(&limiter.worker(), &policy, &request, None);
    let explanation =
        explanation.ok_or_else(|| Wrong::Descriptor("the counters cannot be read".to_owned()))?;
    let mut said = if whose.json { json(&explanation) } else { explanation.text() };
    if action == Action::Reset {
        store.remove(&keys)?;
        said = format!("{said}\nreset: {}; the numbers are those of before\n", counted(found, "counter"));
    }
    if elsewhere > 0 && !whose.json {
        said.push_str(&format!(
            "\n{} not durable: a server counts them in its memory, and they are shown as unused\n",
            if elsewhere == 1 { "1 limit is".to_owned() } else { format!("{elsewhere} limits are") }
        ));
    }
    store.close()?;
    Ok(said)
}

fn load(whose: &Whose, environment: &Environment) -> Result<Policy, Wrong> {
    let files = whose.config.as_ref().unwrap_or(&environment.config);
    let loaded = config::load(&[files], environment.options(whose.merging));
    loaded.map(|loaded| loaded.policy).map_err(|found| Wrong::Policy(report(&found, &io::stderr())))
}
