//! Files as people have them, and as they should not be.

use std::fs;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair, SanType};
use tempfile::TempDir;

use super::*;

/// A PKCS#1 key of 2048 bits and its certificate, as Envoy Gateway writes them.
const PKCS1: (&str, &str) = (include_str!("tests/pkcs1.pem"), include_str!("tests/pkcs1.key"));
/// The same of an EC key in SEC1.
const SEC1: (&str, &str) = (include_str!("tests/sec1.pem"), include_str!("tests/sec1.key"));

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// What is wrong with a certificate and a key, with `…` for the directory.
    fn wrong(&self, certificate: &str, key: &str) -> String {
        let (certificate, key) = (self.file("c.pem", certificate), self.file("c.key", key));
        let wrong = Identity::read(&certificate, &key).unwrap_err().to_string();
        wrong.replace(self.0.path().to_str().unwrap(), "…")
    }
}

/// A certificate that signed itself, and its key in PKCS#8.
fn pair() -> (String, String) {
    let mut params = CertificateParams::new(["envoy.default".to_owned(), "10.0.0.7".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://cluster.local/ns/a/sa/b".try_into().unwrap()));
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_key_may_be_pkcs8_pkcs1_or_sec1() {
    let (certificate, key) = pair();
    let files = Files::new();
    for (certificate, key) in [(certificate.as_str(), key.as_str()), PKCS1, SEC1] {
        let read = Identity::read(&files.file("c.pem", certificate), &files.file("c.key", key));
        read.unwrap();
    }
    // Both in one file, as some have it.
    let both = files.file("both.pem", format!("{key}\n{certificate}"));
    let read = Identity::read(&both, &both).unwrap().certificate;
    let names = [
        Name::Dns("envoy.default".to_owned()),
        Name::Address([10, 0, 0, 7].into()),
        Name::Uri("spiffe://cluster.local/ns/a/sa/b".to_owned()),
    ];
    assert_eq!(read.names, names);
    assert_eq!(read.not_after, 1_924_992_000);
}

#[test]
fn a_name_is_asked_for_by_its_kind() {
    let is_of = |asked: &str, name: SanType| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names.push(name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let read = Certificate::read(certificate.der()).unwrap();
        asked.parse::<San>().unwrap().is_of(&read, certificate.der())
    };
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let uri = |name: &str| SanType::URI(name.try_into().unwrap());
    let address = || SanType::IpAddress([10, 0, 0, 7].into());
    assert!(is_of("envoy.default", dns("Envoy.default")));
    assert!(is_of("envoy.default.svc", dns("*.default.svc")));
    assert!(is_of("*.default", dns("*.default")) && !is_of("*.default", dns("envoy.default")));
    assert!(is_of("spiffe://a/b", uri("spiffe://a/b")) && !is_of("spiffe://a/b", uri("spiffe://a/B")));
    assert!(is_of("10.0.0.7", address()) && !is_of("10.0.0.8", address()));
    // Texts that are the same, of other kinds.
    assert!(!is_of("10.0.0.7", dns("10.0.0.7")));
    assert!(!is_of("spiffe://a/b", dns("spiffe://a/b")));
    assert!(!is_of("envoy.default", uri("envoy.default")));
}

#[test]
fn what_is_wrong_is_said_with_the_file() {
    let files = Files::new();
    let ((certificate, key), (_, other)) = (pair(), pair());
    for (certificate, key, expected) in [
        (&*certificate, &*other, "the key in `…/c.key` does not belong to the certificate in `…/c.pem`"),
        (
            &key,
            &certificate,
            "there is no certificate in `…/c.pem`, but a private key. It would begin with `-----BEGIN CERTIFICATE-----`",
        ),
        (
            &certificate,
            &certificate,
            "there is no private key in `…/c.key`, but a certificate. It would begin with `-----BEGIN PRIVATE KEY-----`",
        ),
        (
            "",
            &key,
            "there is no certificate in `…/c.pem`, but nothing. It would begin with `-----BEGIN CERTIFICATE-----`",
        ),
        (
            "hello",
            &key,
            "there is no certificate in `…/c.pem`. It would begin with `-----BEGIN CERTIFICATE-----`",
        ),
        (
            &certificate[..certificate.len() / 2],
            &key,
            "`…/c.pem` is damaged: there is no `-----END CERTIFICATE-----`",
        ),
        (
            &certificate,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "the key in `…/c.key` is encrypted. Decrypt it, as with `openssl pkey -in …/c.key -out plain.key`",
        ),
    ] {
        assert_eq!(files.wrong(certificate, key), expected);
    }
    let missing = files.0.path().join("missing.pem");
    let wrong = authorities(&missing).unwrap_err().to_string();
    assert_eq!(wrong, format!("cannot read `{}`: there is no such file", missing.display()));
    let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let wrong = authorities(&files.file("ca.pem", empty)).unwrap_err().to_string();
    assert!(wrong.contains("ca.pem` cannot be used: "), "{wrong}");
}

#[test]
fn a_client_is_configured_as_its_files_are() {
    let files = Files::new();
    let (certificate, key) = pair();
    let identity = (files.file("c.pem", &certificate), files.file("c.key", &key));
    let client = ClientFiles { authorities: Some(identity.0.clone()), identity: Some(identity) };
    assert_eq!(client.config(&[b"h2"]).unwrap().alpn_protocols, [b"h2"]);
    client.check().unwrap();
    fs::remove_file(files.0.path().join("c.key")).unwrap();
    let wrong = client.config(&[]).unwrap_err().to_string();
    assert!(wrong.starts_with("cannot read `") && wrong.contains("c.key"), "{wrong}");
    assert!(ClientFiles::default().config(&[]).is_ok(), "the system's authorities are trusted");
}
