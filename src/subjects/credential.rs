//! Where credentials are seen: hashed at once, and known by a number from then on.

use std::fmt;

use sha2::{Digest, Sha256};

/// What a credential is known by: the same after every reload and restart, on every replica.
///
/// The first 16 bytes of SHA-256 over the kind, a zero byte and the SHA-256 of the credential. Nobody can compute a
/// credential, or its SHA-256, from it; to find a second credential with the number of one of a million takes 2¹⁰⁸
/// tries. The hash inside has a fixed length, so no two pairs of kind and credential are written alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId([u8; 16]);

impl CredentialId {
    /// The number of this credential, registered or not.
    pub fn of(kind: &str, credential: &[u8]) -> Self {
        Self::of_hashed(kind, &sha256(credential))
    }

    /// The number of the credential with this SHA-256.
    pub(super) fn of_hashed(kind: &str, hash: &[u8; 32]) -> Self {
        let whole = Sha256::new().chain_update(kind).chain_update([0]).chain_update(hash).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&whole[..16]);
        Self(id)
    }

    /// Sixteen bytes, evenly spread.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What a credential is hashed to before its kind is known.
#[derive(Clone, Copy)]
pub struct CredentialHash(pub(super) [u8; 32]);

impl CredentialHash {
    /// The hash of this credential, registered or not.
    pub fn of(credential: &[u8]) -> Self {
        Self(sha256(credential))
    }
}

/// Shows nothing, as [`CredentialId`].
impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialHash(..)")
    }
}

/// Shows nothing: short credentials could be guessed from the bytes.
impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialId(..)")
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The 32 bytes that 64 hexadecimal digits, in either case, spell.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// An `Authorization` header's value without a leading `Bearer` or `Basic`, in any case, and the spaces after it
/// (RFC 9110 §11.1), or tabs, which upstreams take for spaces; any other value as it is.
pub fn strip_scheme(value: &[u8]) -> &[u8] {
    for scheme in ["bearer", "basic"] {
        let Some((name, rest)) = value.split_at_checked(scheme.len()) else { continue };
        if name.eq_ignore_ascii_case(scheme.as_bytes()) && matches!(rest, [b' ' | b'\t', ..]) {
            let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            return &rest[spaces..];
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_stripped_in_any_case_with_all_its_spaces() {
        for (value, credential) in [
            ("Bearer key_1", "key_1"),
            ("bearer   key_1", "key_1"),
            ("BASIC dXNlcjpwYXNz", "dXNlcjpwYXNz"),
            ("Bearer ", ""),
            ("Bearer key 1 ", "key 1 "),
            ("Bearer Basic key_1", "Basic key_1"),
            ("Bearer\tkey_1", "key_1"),
            ("Bearer \t key_1", "key_1"),
            ("Bearerkey_1", "Bearerkey_1"),
            ("Bearer", "Bearer"),
            (" Bearer key_1", " Bearer key_1"),
            ("Digest key_1", "Digest key_1"),
            ("key_1", "key_1"),
            ("", ""),
        ] {
            assert_eq!(strip_scheme(value.as_bytes()), credential.as_bytes(), "{value:?}");
        }
        assert_eq!(strip_scheme(b"Bearer \xff\xfe"), b"\xff\xfe");
    }

    /// Counters on disk are named by it: a change of these bytes loses them.
    #[test]
    fn the_number_of_a_credential_never_changes() {
        let id = CredentialId::of("api_key", b"key_acme_1");
        let hex = id.as_bytes().map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex, "e2b43ee2a8dcca58202ebfb02d767dd0");
    }

    #[test]
    fn hexadecimal_is_64_digits_and_nothing_else() {
        let hex = "9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert_eq!(from_hex(hex), Some(sha256(b"test")));
        for wrong in [&hex[1..], &format!("{hex}0"), &hex.replace('9', "g"), "", &"é".repeat(32)] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
