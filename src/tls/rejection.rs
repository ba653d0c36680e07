//! Why a server has refused a client in the handshake, or was refused by it.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use super::failure::{fault, find, rough};

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// One of [`REASONS`].
    pub reason: &'static str,
    /// The same for people, as a sentence about the client.
    pub words: String,
}

/// Every reason, as metrics name them.
pub const REASONS: [&str; 13] = [
    "alpn",
    "certificate_expired",
    "certificate_invalid",
    "certificate_missing",
    "certificate_name",
    "certificate_not_yet_valid",
    "certificate_revoked",
    "certificate_unknown_issuer",
    "client_refused",
    "client_left",
    "not_tls",
    "too_slow",
    "other",
];

/// A certificate has none of the names that are asked for.
#[derive(Debug, thiserror::Error)]
#[error("the client's certificate is for {presented}, which is none of the names that are let in")]
pub(super) struct WrongName {
    /// Its names, for people.
    pub(super) presented: String,
}

impl Rejection {
    /// The client has not finished the handshake within `time`.
    pub fn too_slow(time: Duration) -> Self {
        let words = format!("the client has not finished the handshake within {} s", time.as_secs());
        Self { reason: "too_slow", words }
    }

    /// The client has not finished, and others had to have their turn.
    pub fn displaced() -> Self {
        let words = "the client had not finished the handshake when there were too many at a time".to_owned();
        Self { reason: "too_slow", words }
    }

    /// Why a handshake ended with `error`.
    pub fn of(error: &io::Error) -> Self {
        let (reason, words) = match find(error) {
            Some(error) => because(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                ("client_left", "the client left before the handshake was over".to_owned())
            }
            None => ("client_left", error.to_string()),
        };
        Self { reason, words }
    }

    /// What `error` says of a client.
    pub(super) fn by(error: &rustls::Error) -> Self {
        let (reason, words) = because(error);
        Self { reason, words }
    }
}

fn because(error: &rustls::Error) -> (&'static str, String) {
    use rustls::Error::{
        AlertReceived, InvalidCertificate, InvalidMessage, NoApplicationProtocol, NoCertificatesPresented,
    };
    match error {
        NoCertificatesPresented => ("certificate_missing", "the client has shown no certificate".to_owned()),
        InvalidCertificate(error) => of_certificate(error),
        AlertReceived(alert) => {
            let about_us = matches!(
                alert,
                AlertDescription::UnknownCA
                    | AlertDescription::BadCertificate
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::UnsupportedCertificate
                    // An authority of the same name has not signed it.
                    | AlertDescription::DecryptError
            );
            let what = if about_us { "the server's certificate" } else { "the handshake" };
            ("client_refused", format!("the client does not accept {what} ({alert:?})"))
        }
        NoApplicationProtocol => {
            ("alpn", "the client offers other protocols than the one of this port (ALPN)".to_owned())
        }
        InvalidMessage(_) => ("not_tls", "the client does not speak TLS".to_owned()),
        other => ("other", other.to_string()),
    }
}

fn of_certificate(error: &CertificateError) -> (&'static str, String) {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext, NotValidYet,
        NotValidYetContext, Other, Revoked, UnknownIssuer, UnknownRevocationStatus,
    };
    let (reason, words) = match error {
        ExpiredContext { time, not_after } => {
            let since = Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs()));
            return ("certificate_expired", format!("the client's certificate expired {} ago", rough(since)));
        }
        Other(error) if error.0.is::<WrongName>() => return ("certificate_name", error.0.to_string()),
        Other(error) => {
            return (
                "certificate_invalid",
                format!("the client's certificate {}", fault(&error.0.to_string())),
            );
        }
        Expired => ("certificate_expired", "the client's certificate has expired"),
        NotValidYet | NotValidYetContext { .. } => {
            ("certificate_not_yet_valid", "the client's certificate is not valid yet; compare the clocks")
        }
        Revoked => ("certificate_revoked", "the client's certificate is revoked"),
        UnknownRevocationStatus => (
            "certificate_revoked",
            "no list of revoked certificates is of the authority that has issued the client's certificate",
        ),
        // One of the same name, but with another key, has not issued it either.
        UnknownIssuer | BadSignature => (
            "certificate_unknown_issuer",
            "no authority that is trusted for clients has issued the client's certificate",
        ),
        InvalidPurpose | InvalidPurposeContext { .. } => {
            ("certificate_invalid", "the client's certificate is not one for clients (extended key usage)")
        }
        other => return ("certificate_invalid", format!("the client's certificate is not valid: {other}")),
    };
    (reason, words.to_owned())
}
