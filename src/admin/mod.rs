//! The operator's HTTP: probes and metrics on one port, and on another what is to be seen and changed while the server runs.

mod answer;
mod api;
mod asked;
mod audit;
mod certificates;
mod changes;
mod compatibility;
mod connection;
mod desk;
mod differences;
mod guard;
mod health;
mod heavy;
mod http;
mod live;
mod page;
mod people;
mod port;
mod reads;
mod reloads;
mod router;
mod shown;
mod token;
mod viewers;

pub use api::StorePlace;
pub use connection::Connection;
pub use health::Health;
pub use http::{Parts, router as operators_router};
pub use port::{AdminParts, admin_router};
pub use token::TokenFile;
