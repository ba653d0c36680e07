//! HTTP/2 connections: from the accepted socket to the calls of the service.

mod activity;
mod arrival;
mod authority;
mod connection;
mod deadline;
mod deferred;
mod fitness;
mod flood;
mod heavy;
mod routed;
mod watched;

pub use activity::Activity;
pub use arrival::Unfinished;
pub use connection::{Server, Shared};
pub use heavy::Heavy;
