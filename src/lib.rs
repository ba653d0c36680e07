#![doc = include_str!("ARCHITECTURE.md")]

pub mod admin;
pub mod algorithm;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod engine;
pub mod envoy;
pub mod explain;
pub mod hint;
pub mod limiter;
pub mod migrate;
pub mod model;
pub mod policy;
pub mod policy_test;
pub mod response;
pub mod rls;
pub mod store;
pub mod subjects;
pub mod telemetry;
pub mod top;
mod yaml;
