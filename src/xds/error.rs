//! Errors as people read them.

use crate::tls::{self, Hints};

/// How what is missed is said.
const HINTS: Hints = Hints {
    authority: "https://gateway:18001?ca=/certs/ca.crt",
    certificate: "https://gateway:18001?cert=/certs/tls.crt&key=/certs/tls.key",
};

/// An error with its causes, in one line; where TLS is the cause, what is wrong with that.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    tls::told(error, HINTS)
}
