//! TLS: certificates, keys and authorities in files, configurations that are made of them, and why a handshake failed.
//!
//! Files are PEM (RFC 7468). Keys are PKCS#1, PKCS#8 or SEC1. Whatever belongs together is read together and checked before it is
//! used, so a certificate never goes with a key that is not its own.

mod certificate;
mod client;
mod failure;
mod pem;
mod rejection;
mod revocation;
mod san;
mod server;
#[cfg(test)]
mod tests;

pub use self::certificate::{Certificate, Name};
pub use self::client::ClientFiles;
pub use self::failure::{Hints, find, told, words};
pub use self::pem::{FileError, Identity, authorities};
pub use self::rejection::{REASONS, Rejection};
pub use self::revocation::ListsUntil;
pub use self::san::San;
pub use self::server::{ClientAuth, Content, ServerFiles, ServerTls};
