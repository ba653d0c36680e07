//! TLS to the server: what is trusted, what is shown, and what went wrong, for people.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use redis::{ClientTlsConfig, ConnectionInfo, RedisError, TlsCertificates};
use rustls::{AlertDescription, CertificateError};

use super::url::WrongUrl;

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
        let read = |path: &Path| {
            fs::read(path).map_err(|source| WrongUrl::File { path: path.to_path_buf(), source })
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
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        let error = error
            .downcast_ref::<Arc<dyn Error + Send + Sync>>()
            .map_or(error, |shared| &**shared as &(dyn Error + 'static));
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(words(error));
        }
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = within.map_or_else(|| error.source(), |within| Some(within));
    }
    None
}

fn words(error: &rustls::Error) -> String {
    use CertificateError::{BadSignature, Expired, ExpiredContext, NotValidForNameContext, UnknownIssuer};
    match error {
        // One of the same name, but with another key, has not issued it either.
        rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature) => {
            "no authority that is trusted here has issued its certificate. Name the one that did, as in \
             `tls_ca=/etc/spillway/ca.pem`"
                .into()
        }
        rustls::Error::InvalidCertificate(ExpiredContext { time, not_after }) => {
            let since = time.as_secs().saturating_sub(not_after.as_secs());
            format!("its certificate expired {} ago", rough(Duration::from_secs(since)))
        }
        rustls::Error::InvalidCertificate(Expired) => "its certificate has expired".into(),
        rustls::Error::InvalidCertificate(NotValidForNameContext { expected, presented }) => {
            let presented = presented.iter().map(|name| format!("`{}`", plain(name)));
            let presented = presented.collect::<Vec<_>>().join(", ");
            format!("its certificate is for {presented}, not for `{}`", expected.to_str())
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it asks for a client certificate. Name one and its key, as in \
             `tls_cert=/etc/spillway/client.pem&tls_key=/etc/spillway/client.key`"
                .into()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied),
        ) => format!("it does not accept the client certificate ({alert:?})"),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS on that port".into(),
        other => format!("there is no TLS to it: {other}"),
    }
}

/// `DnsName("a")` as `a`.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
