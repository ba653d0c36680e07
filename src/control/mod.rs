//! Configurations that change while the server runs: where they come from, and putting them in force.

mod change;
mod files;
mod history;
mod people;
mod publisher;
mod reporting;
mod tiers;

pub use change::Change;
pub use files::{Watched, follow};
pub use history::{Event, HISTORY};
pub use people::{Amendment, NotChanged, Recorded, SubjectChanges, amend_all};
pub use publisher::{Latest, Published, Publisher, Status, Version};
pub use reporting::Reporting;
pub use tiers::{TiersNotKept, hold_tiers};
