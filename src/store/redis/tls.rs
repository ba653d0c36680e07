//! TLS to the server: what is trusted, what is shown, and what went wrong, for people.

use std::error::Error as _;
use std::path::{Path, PathBuf};

use redis::{ClientTlsConfig, ConnectionInfo, RedisError, TlsCertificates};

use super::url::WrongUrl;
use crate::regular;
use crate::tls::{self, ClientFiles, FileError, Hints};

/// How files are named in a URL.
const HINTS: Hints = Hints {
    authority: "tls_ca=/etc/spillway/ca.pem",
    certificate: "tls_cert=/etc/spillway/client.pem&tls_key=/etc/spillway/client.key",
};

/// Whom a client trusts, and what it shows of itself. Files are PEM, and are read when a connection is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificates of the authorities that are trusted; those of the system if there are none.
    pub authorities: Option<PathBuf>,
    /// The client's certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Whether a certificate of any name is good. An authority that is trusted has issued it all the same.
    pub any_name: bool,
}

impl TlsOptions {
    /// Whether anything is said of TLS.
    pub(super) fn is_some(&self) -> bool {
        *self != Self::default()
    }

    /// Whether a certificate goes with its key.
    pub(super) fn is_whole(&self) -> bool {
        self.certificate.is_some() == self.key.is_some()
    }

    /// A client as the files are now.
    pub(super) fn client(&self, server: ConnectionInfo) -> Result<redis::Client, WrongUrl> {
        let identity = self.certificate.clone().zip(self.key.clone());
        // The client library's own words for what is wrong with a file name no file.
        ClientFiles { authorities: self.authorities.clone(), identity }.check()?;
        let read = |path: &Path| {
            regular::read(path, u64::MAX)
                .map_err(|error| FileError::Unreadable { path: path.to_path_buf(), error })
        };
        let client_tls = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
            }
            _ => None,
        };
        let root_cert = self.authorities.as_deref().map(read).transpose()?;
        let wrong = |error: &RedisError| WrongUrl::Tls(error.to_string());
        let made = redis::Client::build_with_tls(server, TlsCertificates { client_tls, root_cert });
        let made = made.map_err(|error| wrong(&error))?;
        if !self.any_name {
            return Ok(made);
        }
        let server = made.get_connection_info().clone();
        let mut address = server.addr().clone();
        address.set_danger_accept_invalid_hostnames(true);
        redis::Client::open(server.set_addr(address)).map_err(|error| wrong(&error))
    }
}

/// Why there is no TLS, where that is why there is no connection.
pub(super) fn failure(error: &RedisError) -> Option<String> {
    tls::find(error.source()?).map(|error| tls::words(error, HINTS))
}
