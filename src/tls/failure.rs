//! Why there is no TLS, in words for the people on either side.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

/// What a client's user can write about its files.
#[derive(Clone, Copy, Debug)]
pub struct Hints {
    /// How an authority is named, as `tls_ca=/etc/spillway/ca.pem`.
    pub authority: &'static str,
    /// How a certificate and its key are named.
    pub certificate: &'static str,
}

/// The error of TLS that is the cause of `error`.
pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next: Option<&'a (dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let error = error
            .downcast_ref::<Arc<dyn Error + Send + Sync>>()
            .map_or(error, |shared| &**shared as &(dyn Error + 'static));
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(error);
        }
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = within.map_or_else(|| error.source(), |within| Some(within));
    }
    None
}

/// An error with its causes, in one line; where TLS is the cause, what is wrong with that.
pub fn told(error: &(dyn Error + 'static), hints: Hints) -> String {
    if let Some(error) = find(error).cloned().or_else(|| refusal(error)) {
        return words(&error, hints);
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        // Some say what their causes say.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

/// The refusal of a server that is the cause of `error`, made anew of its text: HTTP/2 keeps no more of what ended its connection.
fn refusal(error: &(dyn Error + 'static)) -> Option<rustls::Error> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, UnknownCA,
    };
    let refusals = [
        AccessDenied,
        BadCertificate,
        CertificateExpired,
        CertificateRequired,
        CertificateRevoked,
        CertificateUnknown,
        UnknownCA,
    ];
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.find_map(|cause| {
        let text = cause.to_string();
        let mut alerts = refusals.iter().map(|alert| rustls::Error::AlertReceived(*alert));
        alerts.find(|refusal| text == refusal.to_string())
    })
}

/// Why a client has no TLS to a server, as a sentence about the server: «it …».
pub fn words(error: &rustls::Error, hints: Hints) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForNameContext, NotValidYet, NotValidYetContext,
        Other, Revoked, UnknownIssuer,
    };
    match error {
        // One of the same name, but with another key, has not issued it either.
        rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature) => format!(
            "no authority that is trusted here has issued its certificate. Name the one that did, as in `{}`",
            hints.authority
        ),
        rustls::Error::InvalidCertificate(ExpiredContext { time, not_after }) => {
            let since = time.as_secs().saturating_sub(not_after.as_secs());
            format!("its certificate expired {} ago", rough(Duration::from_secs(since)))
        }
        rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
            "its certificate is not valid yet; compare the clocks".into()
        }
        rustls::Error::InvalidCertificate(Revoked) => "its certificate is revoked".into(),
        rustls::Error::InvalidCertificate(Expired) => "its certificate has expired".into(),
        rustls::Error::InvalidCertificate(NotValidForNameContext { expected, presented }) => {
            let presented = presented.iter().map(|name| format!("`{}`", plain(name)));
            let presented = presented.collect::<Vec<_>>().join(", ");
            format!("its certificate is for {presented}, not for `{}`", expected.to_str())
        }
        rustls::Error::InvalidCertificate(Other(kind)) => {
            format!("its certificate {}", fault(&kind.0.to_string()))
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            format!("it asks for a client certificate. Name one and its key, as in `{}`", hints.certificate)
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

/// What is wrong with a certificate, of which the library below only names the kind, as `CaUsedAsEndEntity`.
pub(super) fn fault(kind: &str) -> String {
    match kind {
        "CaUsedAsEndEntity" => "is an authority's, and stands for no one else".into(),
        "UnsupportedCertVersion" => {
            "is of version 1 of X.509, and must be of version 3. OpenSSL makes one of version 3 when it is \
            given extensions, as by `openssl x509 -req -extfile`"
                .into()
        }
        _ => format!("is not valid ({kind})"),
    }
}

/// `DnsName("a")` as `a`.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

pub(super) fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_by_tls_is_known_by_its_text() {
        let hints = Hints { authority: "ca=/ca.crt", certificate: "cert=/tls.crt" };
        let refused = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let text = io::Error::other(refused.to_string());
        let words = told(&text, hints);
        assert!(words.starts_with("it asks for a client certificate"), "{words}");
        assert_eq!(words, told(&io::Error::other(refused), hints));
        assert_eq!(told(&io::Error::other("a"), hints), "a");
    }

    #[test]
    fn what_the_library_calls_by_a_kind_is_told_in_words() {
        assert!(fault("CaUsedAsEndEntity").starts_with("is an authority's"));
        assert!(fault("UnsupportedCertVersion").contains("version 3"));
        assert_eq!(fault("BadDer"), "is not valid (BadDer)");
    }
}
