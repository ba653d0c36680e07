//! What a certificate says of itself (RFC 5280).

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The most names that are shown of a certificate.
const SHOWN: usize = 5;

/// A name that a certificate is for. Names of different kinds are never the same, whatever their texts are: authorities may be
/// bound to some of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A DNS name.
    Dns(String),
    /// An address.
    Address(IpAddr),
    /// A URI, such as a SPIFFE ID.
    Uri(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(text) | Self::Uri(text) => f.write_str(text),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A certificate's names and until when it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its `subjectAltName`: DNS names, addresses and URIs, in its order.
    pub names: Vec<Name>,
    /// Whose it is, as RFC 4514 writes it: `CN=clients of the gateway`.
    pub subject: String,
    /// The last second in which it is good, in seconds since 1970.
    pub not_after: u64,
}

impl Certificate {
    /// What `der` says.
    ///
    /// # Errors
    ///
    /// When it is no certificate.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, x509_cert::der::Error> {
        let certificate = x509_cert::Certificate::from_der(der)?;
        let certificate = certificate.tbs_certificate();
        let names = certificate.get_extension::<SubjectAltName>()?.map(|(_, names)| names.0);
        Ok(Self {
            names: names.unwrap_or_default().iter().filter_map(name).collect(),
            subject: certificate.subject().to_string(),
            not_after: certificate.validity().not_after.to_unix_duration().as_secs(),
        })
    }

    /// Its names for people: the first of them, and how many more there are.
    pub fn shown(&self) -> String {
        let shown =
            self.names.iter().take(SHOWN).map(|name| format!("`{}`", name.to_string().escape_debug()));
        let shown = shown.collect::<Vec<_>>().join(", ");
        match self.names.len().saturating_sub(SHOWN) {
            0 if shown.is_empty() => "no name".to_owned(),
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }
}

fn name(name: &GeneralName) -> Option<Name> {
    match name {
        GeneralName::DnsName(name) => Some(Name::Dns(name.to_string())),
        GeneralName::UniformResourceIdentifier(uri) => Some(Name::Uri(uri.to_string())),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let address = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            address.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(Name::Address)
        }
        _ => None,
    }
}
