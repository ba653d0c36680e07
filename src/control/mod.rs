//! Configurations that change while the server runs: where they come from, and putting them in force.

mod change;
mod files;
mod history;
mod publisher;
mod reporting;

pub use change::Change;
pub use files::{Watched, follow};
pub use history::{Event, HISTORY};
pub use publisher::{Latest, Published, Publisher, Status, Version};
pub use reporting::Reporting;
