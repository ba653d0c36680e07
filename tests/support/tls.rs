//! Certificates of the tests' own authorities, and a real Redis that wants TLS.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use tempfile::TempDir;

use super::Process;
use super::valkey::started;

/// An authority, in a directory with the certificates that it has issued.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// For how long certificates are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Good {
    Now,
    /// Not any more.
    Once,
    /// For so many days from today on, the last of them not whole.
    Days(i32),
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, directory: tempfile::tempdir().unwrap() };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes `<file>.pem` and `<file>.key`, for a server or a client of that name.
    pub(crate) fn issue(&self, file: &str, name: &str, good: Good) {
        let is_uri = name.contains("://");
        let names = if is_uri { Vec::new() } else { vec![name.to_owned()] };
        let mut params = CertificateParams::new(names).unwrap();
        if is_uri {
            params.subject_alt_names.push(SanType::URI(name.try_into().unwrap()));
        }
        params.serial_number = Some(serial(file));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if good == Good::Once {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        if let Good::Days(days) = good {
            let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
            let end = today.checked_add(jiff::Span::new().days(days)).unwrap();
            let [month, day] = [end.month(), end.day()].map(|part| u8::try_from(part).unwrap());
            params.not_after = rcgen::date_time_ymd(end.year().into(), month, day);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

impl Authority {
    /// Writes `<file>.pem`: the list of those that were issued under these names, and are revoked.
    pub(crate) fn revoke(&self, file: &str, revoked: &[&str]) {
        self.revoke_until(file, revoked, 2124);
    }

    /// The same, where the list is up to date until that year begins.
    pub(crate) fn revoke_until(&self, file: &str, revoked: &[&str], year: i32) {
        let revoked = revoked.iter().map(|name| RevokedCertParams {
            serial_number: serial(name),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(year, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), list.pem().unwrap()).unwrap();
    }
}

/// The serial number of what is issued under a name.
fn serial(file: &str) -> SerialNumber {
    // The first bit would make it a negative number.
    SerialNumber::from_slice(&[&[1], file.as_bytes()].concat())
}

/// A running `redis-server` that takes TLS only.
pub(crate) struct TlsRedis {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl TlsRedis {
    /// One that shows `server.pem` of that authority, with more settings.
    pub(crate) fn start(authority: &Authority, settings: &[&str]) -> Self {
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            if let Some(process) = run(address, authority, settings) {
                return Self { process, address };
            }
        }
        panic!("no redis-server would start");
    }

    /// Ends it, and starts it on the same port with the certificate that is there now.
    pub(crate) fn restart(&mut self, authority: &Authority, settings: &[&str]) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        self.process = run(self.address, authority, settings).unwrap();
    }
}

fn run(address: SocketAddr, authority: &Authority, settings: &[&str]) -> Option<Process> {
    let (libraries, server) = binary();
    let mut command = Command::new(server);
    command.env("LD_LIBRARY_PATH", libraries);
    command.args(["--bind", "127.0.0.1", "--port", "0", "--save", ""]);
    command.args(["--tls-port", &address.port().to_string(), "--dir", &authority.path("")]);
    command.args(["--tls-ca-cert-file", &authority.path("ca.pem"), "--tls-auth-clients", "no"]);
    command.args(["--tls-cert-file", &authority.path("server.pem")]);
    command.args(["--tls-key-file", &authority.path("server.key")]).args(settings);
    started(&mut command, address)
}

/// The directory of its libraries, and the program, found once.
fn binary() -> &'static (PathBuf, PathBuf) {
    static BINARY: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    BINARY.get_or_init(|| {
        let found = Command::new("python3").arg("envoy/redis.py").stderr(Stdio::inherit()).output();
        let found = found.unwrap();
        assert!(found.status.success(), "there is no redis-server, and none could be had");
        let told = String::from_utf8(found.stdout).unwrap();
        let mut lines = told.lines();
        (lines.next().unwrap().into(), lines.next().unwrap().into())
    })
}
