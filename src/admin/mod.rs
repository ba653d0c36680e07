//! The operator's HTTP.

mod health;
mod http;

pub use health::Health;
pub use http::{Parts, router};
