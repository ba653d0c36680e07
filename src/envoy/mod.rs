//! An Envoy configuration beside the policies that it asks: what Envoy can send, and what that comes to.
//!
//! What Envoy does with each field was observed with Envoy 1.40. Nothing here is needed to serve.

mod action;
mod check;
mod findings;
mod proxy;
mod reach;
mod resources;
mod value;

pub use check::check;
