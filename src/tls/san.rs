//! Names that a client's certificate has to have.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use super::certificate::{Certificate, Name};

/// A `subjectAltName` that is asked for: a DNS name, an address, or a URI such as a SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct San {
    text: String,
    /// As a host, which may stand below a wildcard of the certificate.
    host: Option<ServerName<'static>>,
}

impl FromStr for San {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is neither a DNS name, an address nor a URI, as in `envoy.default`, `10.0.0.7` or \
                 `spiffe://cluster.local/ns/default/sa/envoy`"
            )
        };
        let text = text.trim();
        if let Some((scheme, rest)) = text.split_once("://") {
            let is_uri = !scheme.is_empty() && !rest.is_empty() && !text.contains(char::is_whitespace);
            return if is_uri { Ok(Self { text: text.to_owned(), host: None }) } else { Err(wrong()) };
        }
        let address = text.parse::<IpAddr>().map(|address| address.to_string());
        let name = address.unwrap_or_else(|_| text.to_ascii_lowercase());
        // A wildcard is asked for as such.
        let host = ServerName::try_from(name.strip_prefix("*.").unwrap_or(&name).to_owned());
        let host = host.map_err(|_| wrong())?;
        Ok(Self { host: (!name.starts_with("*.")).then_some(host), text: name })
    }
}

impl San {
    /// Whether a certificate, which says of itself what `read` has, is for this name.
    pub(super) fn is_of(&self, read: &Certificate, der: &CertificateDer<'_>) -> bool {
        let is_same = |name: &Name| match (name, &self.host) {
            // Paths of URIs are compared as they are.
            (Name::Uri(uri), None) => self.text.contains("://") && *uri == self.text,
            // A wildcard is met by that very wildcard.
            (Name::Dns(name), None) => !self.text.contains("://") && name.eq_ignore_ascii_case(&self.text),
            // Hosts are the library's to compare.
            (_, Some(_)) | (Name::Address(_), None) => false,
        };
        read.names.iter().any(is_same)
            || self.host.as_ref().is_some_and(|host| {
                let parsed = ParsedCertificate::try_from(der);
                parsed.is_ok_and(|parsed| verify_server_name(&parsed, host).is_ok())
            })
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
