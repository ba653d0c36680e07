#![doc = include_str!("ARCHITECTURE.md")]

pub mod admin;
pub mod algorithm;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod limiter;
pub mod model;
pub mod policy;
pub mod response;
pub mod rls;
pub mod store;
pub mod subjects;
pub mod telemetry;
pub mod trial;
mod yaml;
