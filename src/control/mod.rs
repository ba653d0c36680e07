//! Configurations that change while the server runs: where they come from, and putting them in force.

mod files;
mod publisher;
mod reporting;
mod tiers;

pub use files::{Watched, follow};
pub use publisher::{Change, Latest, Published, Publisher, Status, Version};
pub use reporting::Reporting;
pub use tiers::{TiersNotKept, hold_tiers};
