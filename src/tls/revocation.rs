//! Until when lists of revoked certificates are up to date.
//!
//! A list whose `nextUpdate` has passed still counts: whom it names stays out, and nobody else does. OpenSSL, and with it Envoy and
//! nginx, refuses every client then. That suits a server whose refusal is a refusal. The client of a rate limiter is Envoy, to
//! which a refused handshake is a limiter that is away, and which lets every request pass by default: a list that a broken job
//! has not renewed would switch all limits off, to keep out a client that it may not even name. So it is told loudly instead, each
//! minute and by a number that an alert can watch.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateRevocationListDer;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;

/// When the lists of a port are out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListsUntil {
    /// The file of the list that is out of date first.
    pub path: PathBuf,
    /// Its `nextUpdate` (RFC 5280, 5.1.2.5), in seconds since 1970.
    pub next_update: u64,
}

impl ListsUntil {
    /// The earlier one of `self` and what `list` says, which is from the file at `path`.
    pub(super) fn earlier(
        first: Option<Self>,
        path: &Path,
        list: &CertificateRevocationListDer<'_>,
    ) -> Option<Self> {
        // Whether the list can be used at all is for the verifier to say.
        let read = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(list).ok();
        let next = read.and_then(|list| list.tbs_cert_list.next_update);
        let Some(next_update) = next.map(|time| time.to_unix_duration().as_secs()) else { return first };
        first
            .filter(|first| first.next_update <= next_update)
            .or_else(|| Some(Self { path: path.to_owned(), next_update }))
    }
}
