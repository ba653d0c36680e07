//! Configurations that change while the server runs: where they come from, and putting them in force.

mod files;
mod telling;

pub use files::{Watched, follow};
pub use telling::Telling;
