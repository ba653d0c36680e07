//! What PEM files hold: a certificate with its chain and key, authorities, lists of revoked certificates.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use crate::regular;

/// The most bytes of a file. Lists of revoked certificates are the longest of them.
const LONGEST: u64 = 64 << 20;

/// Why a file cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read `{}`: {}", path.display(), reason(error))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not, which the message says.
        error: io::Error,
    },
    /// It is longer than such a file can be.
    #[error("`{}` is longer than {} MiB, and is not read", .0.display(), LONGEST >> 20)]
    TooLong(PathBuf),
    /// A part of it that is to be PEM is not.
    #[error("`{}` is damaged: {reason}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What is asked of it is not there.
    #[error("there is no {what} in `{}`{}. It would begin with `{begins}`", path.display(), but(*held))]
    Without {
        /// The file.
        path: PathBuf,
        /// What is missed.
        what: &'static str,
        /// Its first line.
        begins: &'static str,
        /// What is there instead.
        held: Option<&'static str>,
    },
    /// The system is to say whom to trust, and says nobody.
    #[error(
        "no authority that the system trusts can be read: {reason}. Name a file of authorities, or set SSL_CERT_FILE"
    )]
    NoneOfSystem {
        /// Why not.
        reason: String,
    },
    /// Its key is under a password.
    #[error(
        "the key in `{}` is encrypted. Decrypt it, as with `openssl pkey -in {} -out plain.key`",
        .0.display(), .0.display()
    )]
    Encrypted(PathBuf),
    /// A certificate or a list in it means nothing.
    #[error("`{}` cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificate and key are no pair.
    #[error("the key in `{}` does not belong to the certificate in `{}`", key.display(), certificate.display())]
    NoPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl FileError {
    /// The file that is to be mended, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. }
            | Self::TooLong(path)
            | Self::NotPem { path, .. }
            | Self::Without { path, .. }
            | Self::Encrypted(path)
            | Self::Unusable { path, .. }
            | Self::NoPair { certificate: path, .. } => Some(path),
            Self::NoneOfSystem { .. } => None,
        }
    }
}

fn but(held: Option<&'static str>) -> String {
    held.map_or(String::new(), |held| format!(", but {held}"))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// A file, which is small enough to be read whole.
fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |error| FileError::Unreadable { path: path.to_owned(), error };
    let text = regular::read(path, LONGEST + 1).map_err(unreadable)?;
    if text.len() as u64 > LONGEST {
        return Err(FileError::TooLong(path.to_owned()));
    }
    Ok(text)
}

/// Every section of one kind. What else the file holds is left out.
fn sections<T: PemObject>(path: &Path, text: &[u8]) -> Result<Vec<T>, FileError> {
    T::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| damaged(path, &error))
}

fn damaged(path: &Path, error: &pem::Error) -> FileError {
    let reason = match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("there is no `-----END {}-----`", String::from_utf8_lossy(end_marker).trim())
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("`{}` begins nothing", String::from_utf8_lossy(line).trim())
        }
        pem::Error::Base64Decode(reason) => format!("what is between its lines is not Base64 ({reason})"),
        other => other.to_string(),
    };
    FileError::NotPem { path: path.to_owned(), reason }
}

/// What a file holds first, for people who named the wrong one.
fn held(text: &[u8]) -> Option<&'static str> {
    let mut rest = text;
    match pem::from_buf(&mut rest) {
        Ok(Some((kind, _))) => match kind {
            SectionKind::Certificate => Some("a certificate"),
            SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
                Some("a private key")
            }
            SectionKind::PublicKey => Some("a public key"),
            SectionKind::Crl => Some("a list of revoked certificates"),
            SectionKind::Csr => Some("a request for a certificate"),
            _ => None,
        },
        Ok(None) if text.is_empty() => Some("nothing"),
        // A DER file begins with a SEQUENCE.
        Ok(None) if text.first() == Some(&0x30) => {
            Some("DER, which `openssl x509 -inform der` and `openssl pkey -inform der` turn into PEM")
        }
        _ => None,
    }
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(path)?;
    let found: Vec<CertificateDer<'static>> = sections(path, &text)?;
    if found.is_empty() {
        return Err(FileError::Without {
            path: path.to_owned(),
            what: "certificate",
            begins: "-----BEGIN CERTIFICATE-----",
            held: held(&text),
        });
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let text = read(path)?;
    if is_encrypted(&text) {
        return Err(FileError::Encrypted(path.to_owned()));
    }
    let mut found: Vec<PrivateKeyDer<'static>> = sections(path, &text)?;
    if found.is_empty() {
        return Err(FileError::Without {
            path: path.to_owned(),
            what: "private key",
            begins: "-----BEGIN PRIVATE KEY-----",
            held: held(&text),
        });
    }
    Ok(found.swap_remove(0))
}

/// Whether a key is under a password, as PKCS#8 says it and as OpenSSL said it before.
fn is_encrypted(text: &[u8]) -> bool {
    let has = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// The authorities in a file.
pub fn authorities(path: &Path) -> Result<RootCertStore, FileError> {
    trusting(path, &certificates(path)?)
}

/// These authorities, which were read from `path`.
pub(super) fn trusting(path: &Path, certificates: &[CertificateDer<'_>]) -> Result<RootCertStore, FileError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate.clone().into_owned()).map_err(|error| unusable(path, &error))?;
    }
    Ok(store)
}

/// The lists of revoked certificates in a file.
pub(super) fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
    let text = read(path)?;
    let found: Vec<CertificateRevocationListDer<'static>> = sections(path, &text)?;
    if found.is_empty() {
        return Err(FileError::Without {
            path: path.to_owned(),
            what: "list of revoked certificates",
            begins: "-----BEGIN X509 CRL-----",
            held: held(&text),
        });
    }
    Ok(found)
}

pub(super) fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> FileError {
    FileError::Unusable { path: path.to_owned(), reason: reason.to_string() }
}

/// A certificate with its chain and the key that belongs to it: what one shows of oneself.
#[derive(Debug)]
pub struct Identity {
    /// The certificate, those that lead to its authority, and the key.
    pub certified: CertifiedKey,
    /// What the first certificate says.
    pub certificate: Certificate,
}

impl Identity {
    /// Reads a certificate and its key, each from its file, and checks that they are a pair.
    pub fn read(certificate_path: &Path, key_path: &Path) -> Result<Self, FileError> {
        let chain = certificates(certificate_path)?;
        let key = key(key_path)?;
        let certificate = match chain.first().map(Certificate::read) {
            Some(Ok(certificate)) => certificate,
            Some(Err(error)) => return Err(unusable(certificate_path, &error)),
            None => return Err(unusable(certificate_path, &"it is empty")),
        };
        let signing = aws_lc_rs::sign::any_supported_type(&key);
        let certified = CertifiedKey::new(chain, signing.map_err(|error| unusable(key_path, &error))?);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(Self { certified, certificate })
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(FileError::NoPair { certificate: certificate_path.to_owned(), key: key_path.to_owned() })
            }
            Err(error) => Err(unusable(certificate_path, &error)),
        }
    }
}
