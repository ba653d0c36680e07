//! `--grpc-tls-…` and `--admin-tls-…`: which ports speak TLS, and whom they let in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compatibility::Environment;
use super::{WRONG_COMMAND, WRONG_INPUT};
use crate::app::{AtRotation, Certificates};
use crate::telemetry::TlsPort;
use crate::tls::{ClientAuth, FileError, San, ServerFiles};

/// What can be said of TLS. Files are PEM.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Tls {
    /// Speak TLS for gRPC, with the certificate in this PEM file and the chain behind it; files of TLS are read again when they
    /// change
    #[arg(long, value_name = "PATH", env = "SPILLWAY_GRPC_TLS_CERT")]
    grpc_tls_cert: Option<PathBuf>,
    /// Its private key: PKCS#8, PKCS#1 or SEC1
    #[arg(long, value_name = "PATH", env = "SPILLWAY_GRPC_TLS_KEY")]
    grpc_tls_key: Option<PathBuf>,
    /// Ask clients for a certificate that one of these authorities has issued
    #[arg(long, value_name = "PATH", env = "SPILLWAY_GRPC_TLS_CLIENT_CA")]
    grpc_tls_client_ca: Option<PathBuf>,
    /// Names of which a client's certificate has to have one, with `,` between them: DNS names, addresses, URIs as
    /// `spiffe://cluster.local/ns/default/sa/envoy`
    #[arg(long, value_name = "NAMES", env = "SPILLWAY_GRPC_TLS_CLIENT_SAN", value_delimiter = ',')]
    grpc_tls_client_san: Vec<San>,
    /// Files with lists of revoked certificates (CRLs), with `,` between them; each authority of clients needs one then
    #[arg(long, value_name = "PATHS", env = "SPILLWAY_GRPC_TLS_CRL", value_delimiter = ',')]
    grpc_tls_crl: Vec<PathBuf>,
    /// Speak TLS on the admin port, with the certificate in this PEM file and the chain behind it
    #[arg(long, value_name = "PATH", env = "SPILLWAY_ADMIN_TLS_CERT")]
    admin_tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "PATH", env = "SPILLWAY_ADMIN_TLS_KEY")]
    admin_tls_key: Option<PathBuf>,
    /// Let operators in by a certificate that one of these authorities has issued, in the place of the token
    #[arg(long, value_name = "PATH", env = "SPILLWAY_ADMIN_TLS_CLIENT_CA")]
    admin_tls_client_ca: Option<PathBuf>,
    /// Names of which an operator's certificate has to have one, with `,` between them
    #[arg(long, value_name = "NAMES", env = "SPILLWAY_ADMIN_TLS_CLIENT_SAN", value_delimiter = ',')]
    admin_tls_client_san: Vec<San>,
    /// Files with lists of revoked certificates of operators, with `,` between them
    #[arg(long, value_name = "PATHS", env = "SPILLWAY_ADMIN_TLS_CRL", value_delimiter = ',')]
    admin_tls_crl: Vec<PathBuf>,
    /// Close connections for gRPC whose handshake was made with certificates that have been replaced: within ten seconds of that,
    /// after the calls in flight. Without it they last as long as others, unless their client would not be let in any more
    #[arg(long = "tls-close-at-rotation", env = "SPILLWAY_TLS_CLOSE_AT_ROTATION")]
    close_at_rotation: bool,
}

/// What the variables of envoyproxy/ratelimit say of TLS for gRPC.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsVariables {
    /// `GRPC_SERVER_USE_TLS`; what follows says nothing without it.
    pub(super) is_used: bool,
    /// `GRPC_SERVER_TLS_CERT`.
    pub(super) certificate: Option<PathBuf>,
    /// `GRPC_SERVER_TLS_KEY`.
    pub(super) key: Option<PathBuf>,
    /// `GRPC_CLIENT_TLS_CACERT`.
    pub(super) authorities: Option<PathBuf>,
    /// `GRPC_CLIENT_TLS_SAN`.
    pub(super) names: Vec<San>,
}

/// A sentence that says why the server must not start so, and its exit code.
pub(super) type Wrong = (String, u8);

impl Tls {
    /// The certificates for gRPC, if it speaks TLS.
    pub(super) fn grpc(&self, environment: &Environment) -> Result<Option<Arc<Certificates>>, Wrong> {
        let none = TlsVariables::default();
        let variables = if environment.tls.is_used { &environment.tls } else { &none };
        let or =
            |flag: &Option<PathBuf>, variable: &Option<PathBuf>| flag.clone().or_else(|| variable.clone());
        let certificate = or(&self.grpc_tls_cert, &variables.certificate);
        let key = or(&self.grpc_tls_key, &variables.key);
        let authorities = or(&self.grpc_tls_client_ca, &variables.authorities);
        // Who sets variables is told of them by their names.
        let missing = if !variables.is_used {
            None
        } else if certificate.is_none() || key.is_none() {
            Some(
                "GRPC_SERVER_USE_TLS asks for TLS, and there is no certificate with its key; set GRPC_SERVER_TLS_CERT and \
                 GRPC_SERVER_TLS_KEY to their files",
            )
        } else if !variables.names.is_empty() && authorities.is_none() {
            Some(
                "GRPC_CLIENT_TLS_SAN says whose certificates are let in, and clients are not asked for any; set \
                 GRPC_CLIENT_TLS_CACERT to the file of their authorities",
            )
        } else {
            None
        };
        if let Some(missing) = missing {
            return Err((missing.to_owned(), WRONG_COMMAND));
        }
        let names =
            if self.grpc_tls_client_san.is_empty() { &variables.names } else { &self.grpc_tls_client_san };
        let asked = Asked { port: "grpc", certificate, key, authorities, names, revoked: &self.grpc_tls_crl };
        let at_rotation = if self.close_at_rotation { AtRotation::Close } else { AtRotation::Keep };
        asked.read(TlsPort::Grpc, false, at_rotation)
    }

    /// The certificates of the admin port, if it speaks TLS. Where there is a token, too, either lets an operator in.
    pub(super) fn admin(&self, has_token: bool) -> Result<Option<Arc<Certificates>>, Wrong> {
        let asked = Asked {
            port: "admin",
            certificate: self.admin_tls_cert.clone(),
            key: self.admin_tls_key.clone(),
            authorities: self.admin_tls_client_ca.clone(),
            names: &self.admin_tls_client_san,
            revoked: &self.admin_tls_crl,
        };
        asked.read(TlsPort::Admin, has_token, AtRotation::Keep)
    }
}

/// What is said of one port.
struct Asked<'a> {
    port: &'static str,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    authorities: Option<PathBuf>,
    names: &'a [San],
    revoked: &'a [PathBuf],
}

impl Asked<'_> {
    fn read(
        self,
        port: TlsPort,
        optional: bool,
        at_rotation: AtRotation,
    ) -> Result<Option<Arc<Certificates>>, Wrong> {
        let Some(files) = self.files(optional).map_err(|wrong| (wrong, WRONG_COMMAND))? else {
            return Ok(None);
        };
        let is = |path: &Path, error: &FileError| error.path() == Some(path);
        let flag = |error: &FileError| match &files.clients {
            _ if is(&files.certificate, error) => "cert",
            _ if is(&files.key, error) => "key",
            Some(clients) if is(&clients.authorities, error) => "client-ca",
            Some(clients) if clients.revoked.iter().any(|path| is(path, error)) => "crl",
            _ => "cert",
        };
        let told = |error: &FileError| format!("--{}-tls-{}: {error}", self.port, flag(error));
        match Certificates::read(port, files.clone(), at_rotation) {
            Ok(certificates) => Ok(Some(Arc::new(certificates))),
            Err(error) => Err((told(&error), WRONG_INPUT)),
        }
    }

    /// The files, if there is to be TLS; they go together.
    fn files(&self, optional: bool) -> Result<Option<ServerFiles>, String> {
        let port = self.port;
        let asks_of_clients = [
            ("client-ca", self.authorities.is_some()),
            ("client-san", !self.names.is_empty()),
            ("crl", !self.revoked.is_empty()),
        ];
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (None, None) => {
                return match asks_of_clients.iter().find(|(_, is_said)| *is_said) {
                    None => Ok(None),
                    Some((flag, _)) => Err(format!(
                        "--{port}-tls-{flag}: the port speaks no TLS; give `--{port}-tls-cert PATH` and `--{port}-tls-key PATH` too"
                    )),
                };
            }
            (Some(_), None) => {
                return Err(format!(
                    "--{port}-tls-cert: the certificate has no key; give `--{port}-tls-key PATH` too"
                ));
            }
            (None, Some(_)) => {
                return Err(format!(
                    "--{port}-tls-key: the key has no certificate; give `--{port}-tls-cert PATH` too"
                ));
            }
        };
        let Some(authorities) = self.authorities.clone() else {
            return match asks_of_clients.iter().find(|(_, is_said)| *is_said) {
                None => Ok(Some(ServerFiles { certificate, key, clients: None })),
                Some((flag, _)) => Err(format!(
                    "--{port}-tls-{flag}: clients are not asked for certificates; give `--{port}-tls-client-ca PATH` too"
                )),
            };
        };
        let (revoked, names) = (self.revoked.to_vec(), self.names.to_vec());
        let clients = Some(ClientAuth { authorities, revoked, names, optional });
        Ok(Some(ServerFiles { certificate, key, clients }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_together_is_asked_for_together() {
        let names = ["envoy.default".parse().unwrap()];
        let path = |name: &str| Some(PathBuf::from(name));
        let said = |certificate, key, authorities, names: &[San]| {
            let asked = Asked { port: "grpc", certificate, key, authorities, names, revoked: &[] };
            asked.files(false).map(|files| files.is_some())
        };
        assert_eq!(said(None, None, None, &[]), Ok(false));
        assert_eq!(said(path("c"), path("k"), None, &[]), Ok(true));
        assert_eq!(said(path("c"), path("k"), path("ca"), &names), Ok(true));
        for (wrong, expected) in [
            (
                said(path("c"), None, None, &[]),
                "--grpc-tls-cert: the certificate has no key; give `--grpc-tls-key PATH` too",
            ),
            (
                said(None, path("k"), None, &[]),
                "--grpc-tls-key: the key has no certificate; give `--grpc-tls-cert PATH` too",
            ),
            (
                said(None, None, path("ca"), &[]),
                "--grpc-tls-client-ca: the port speaks no TLS; give `--grpc-tls-cert PATH` and `--grpc-tls-key PATH` too",
            ),
            (
                said(path("c"), path("k"), None, &names),
                "--grpc-tls-client-san: clients are not asked for certificates; give `--grpc-tls-client-ca PATH` too",
            ),
        ] {
            assert_eq!(wrong, Err(expected.to_owned()));
        }
    }
}
