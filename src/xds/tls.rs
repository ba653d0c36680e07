//! TLS to a control plane.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::chain;
use crate::config::Fingerprint;
use crate::tls::ClientFiles;

/// Whom to trust as a control plane, and what to show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XdsTls {
    /// The authorities, and the client's own certificate. They are read for each connection.
    files: ClientFiles,
    /// The name that the server's certificate must have; its host if none is said.
    server_name: Option<String>,
}

impl XdsTls {
    /// TLS to a server whose certificate is of one of the `authorities` (those of the system if none are said) and has that name,
    /// with an `identity` of the client's own: a certificate and its key.
    ///
    /// # Errors
    ///
    /// Why these files cannot be used.
    pub fn of_files(
        authorities: Option<PathBuf>,
        identity: Option<(PathBuf, PathBuf)>,
        server_name: Option<String>,
    ) -> Result<Self, String> {
        let tls = Self { files: ClientFiles { authorities, identity }, server_name };
        tls.files.check().map_err(|error| error.to_string())?;
        Ok(tls)
    }

    /// Begins TLS on `stream`, to the server `host`.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<TlsStream<TcpStream>, String> {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || files.config(&[b"h2"])).await;
        let config = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("`{name}` is no name that a certificate can have"))?;
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.map_err(|error| chain(&error))
    }

    /// How the files look now.
    pub(super) fn looks(&self) -> Vec<Fingerprint> {
        let ClientFiles { authorities, identity } = &self.files;
        let own = identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        Fingerprint::of_each(authorities.iter().chain(own).map(PathBuf::as_path))
    }

    /// Whether the files can be used as they are.
    pub(super) fn can_be_used(&self) -> bool {
        self.files.check().is_ok()
    }
}
