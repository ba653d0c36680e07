//! HTTP/2 connections: from the accepted socket to the calls of the service.

mod activity;
mod authority;
mod connection;
mod deadline;
mod flood;
mod grpc_request;
mod lifetime;
mod long_requests;
mod message;
mod reply;
mod routed;
mod seldom;
mod state;
mod streams;

pub use activity::Activity;
pub use authority::InvalidAuthority;
pub use connection::{Server, Shared};
pub use lifetime::MaxAge;
pub use long_requests::LongRequests;
pub use message::MemoryBudget;
pub use seldom::Seldom;
