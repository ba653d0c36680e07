//! Everything that needs no other server: the program as a person runs it, and the service over a real socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod allocations;
mod apis;
mod architecture;
mod check;
mod check_envoy;
mod circles;
mod cli;
mod compatibility;
mod concurrency;
mod demo;
mod deploy;
mod drain;
mod env;
mod exit_codes;
mod flood;
mod fuzz;
mod grafana;
#[cfg(target_os = "linux")] // What a process costs is read from /proc.
mod hostile;
mod json;
mod metrics;
mod migrate;
mod model;
mod page;
mod readme;
mod reference;
mod reload;
mod rls;
mod store;
#[allow(dead_code, reason = "the soak uses more of it")]
#[path = "../support/mod.rs"]
mod support;
mod test_command;
mod tls;
mod top;
mod traces;
mod xds;
