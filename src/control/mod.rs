//! Configurations that change while the server runs: where they come from, and putting them in force.

mod awaited;
mod background;
mod change;
mod files;
mod history;
mod latest;
mod parts;
mod people;
mod publisher;
mod remote;
mod reporting;
mod slips;
mod tiers;
mod yielding;

pub use awaited::AwaitedStore;
pub use change::Change;
pub use files::{Watched, follow};
pub use history::{Event, HISTORY};
pub use latest::{Latest, Status, Version};
pub use people::{Amendment, KeptChanges, NotChanged, Recorded, SubjectChanges, amend_all, amend_by};
pub use publisher::{Published, Publisher};
pub use remote::Remote;
pub use reporting::{Reporting, waits_for_store};
pub use slips::slips;
pub use tiers::{TiersNotKept, hold_tiers};
pub use yielding::yielding;
