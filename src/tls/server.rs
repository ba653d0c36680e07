//! TLS of a port: what the server shows, and which clients it lets in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use sha2::{Digest as _, Sha256};

use super::certificate::Certificate;
use super::pem::{FileError, Identity, certificates, revocations, trusting, unusable};
use super::rejection::{Rejection, WrongName};
use super::revocation::ListsUntil;
use super::san::San;

/// The files of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The server's certificate and its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Which clients are let in; without it all of them.
    pub clients: Option<ClientAuth>,
}

/// Which clients are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// The certificates of the authorities that issue theirs.
    pub authorities: PathBuf,
    /// Lists of certificates that the authorities have taken back.
    pub revoked: Vec<PathBuf>,
    /// Names of which a certificate has to have one, if there are any here.
    pub names: Vec<San>,
    /// Whether a client that shows no certificate is let in, to be known otherwise. One that shows a wrong one is not.
    pub optional: bool,
}

/// A port's configuration, as its files were.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// For handshakes.
    pub config: Arc<ServerConfig>,
    /// What the server shows.
    pub certificate: Certificate,
    /// The authorities of clients' certificates, where clients are asked for one. Of what is used and not understood here nothing is told.
    pub authorities: Option<Vec<Certificate>>,
    /// When the first list of revoked clients' certificates is out of date, if there are lists.
    pub lists_until: Option<ListsUntil>,
    /// What the files said.
    pub content: Content,
    /// Who verifies clients, if anybody does.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// What the files of a port said, in short: files that were only written anew say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// What the server shows. Its key belongs to that, so it is the same as long as this is.
    pub shown: [u8; 32],
    /// Which clients are let in.
    pub clients: [u8; 32],
}

/// SHA-256 of parts, of which none runs into the next.
#[derive(Default)]
struct Digest(Sha256);

impl Digest {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl ServerTls {
    /// Why a client that shows these certificates, its own first, is not let in `at` so many seconds since 1970.
    pub fn rejects(&self, shown: &[CertificateDer<'_>], at: u64) -> Option<Rejection> {
        let (verifier, (own, others)) = (self.verifier.as_ref()?, shown.split_first()?);
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        verifier.verify_client_cert(own, others, at).err().map(|error| Rejection::by(&error))
    }
}

impl ServerFiles {
    /// All of the files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let of_clients = self.clients.iter();
        let of_clients = of_clients.flat_map(|clients| clients.revoked.iter().chain([&clients.authorities]));
        [&self.certificate, &self.key].into_iter().chain(of_clients).map(PathBuf::as_path)
    }

    /// Reads all files and makes a configuration of them, of TLS 1.2 and 1.3. It announces `protocols` (ALPN), and takes clients
    /// that name none.
    ///
    /// No session is resumed: a client is verified in each handshake, by the authorities and the lists as they are then.
    pub fn read(&self, protocols: &[&[u8]]) -> Result<ServerTls, FileError> {
        let identity = Identity::read(&self.certificate, &self.key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| unusable(&self.certificate, &error))?;
        let (mut verifier, mut lists_until, mut of_clients) = (None, None, Digest::default());
        let mut authorities = None;
        let builder = match &self.clients {
            Some(clients) => {
                // Read once: they may be exchanged meanwhile.
                let trusted = certificates(&clients.authorities)?;
                let (of_files, until) = clients.verifier(&trusted, provider, &mut of_clients)?;
                authorities = Some(trusted.iter().filter_map(|der| Certificate::read(der).ok()).collect());
                (verifier, lists_until) = (Some(Arc::clone(&of_files)), until);
                builder.with_client_cert_verifier(of_files)
            }
            None => builder.with_no_client_auth(),
        };
        let mut shown = Digest::default();
        for der in &identity.certified.cert {
            shown.add(der);
        }
        let content = Content { shown: shown.end(), clients: of_clients.end() };
        let certificate = identity.certificate;
        let resolver = SingleCertAndKey::from(Arc::new(identity.certified));
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let config = Arc::new(config);
        Ok(ServerTls { config, certificate, authorities, lists_until, content, verifier })
    }
}

impl ClientAuth {
    /// What verifies clients by these authorities of the file, and when its first list is out of date. What the files say goes into
    /// `content`.
    fn verifier(
        &self,
        trusted: &[CertificateDer<'_>],
        provider: Arc<rustls::crypto::CryptoProvider>,
        content: &mut Digest,
    ) -> Result<(Arc<dyn ClientCertVerifier>, Option<ListsUntil>), FileError> {
        let trusted = Arc::new(trusting(&self.authorities, trusted)?);
        for root in &trusted.roots {
            content.add(&root.subject);
            content.add(&root.subject_public_key_info);
            content.add(root.name_constraints.as_deref().unwrap_or_default());
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(trusted, provider);
        if self.optional {
            builder = builder.allow_unauthenticated();
        }
        let mut until = None;
        for path in &self.revoked {
            let lists = revocations(path)?;
            until = lists.iter().fold(until, |first, list| ListsUntil::earlier(first, path, list));
            for list in &lists {
                content.add(list);
            }
            builder = builder.with_crls(lists);
        }
        // Authorities revoke what they issue to clients; few of them publish lists about themselves.
        let inner = builder.only_check_end_entity_revocation().build();
        let path = self.revoked.first().unwrap_or(&self.authorities);
        let inner = inner.map_err(|error| unusable(path, &error))?;
        if self.names.is_empty() {
            return Ok((inner, until));
        }
        Ok((Arc::new(Named { inner, names: self.names.clone() }), until))
    }
}

/// Lets in clients whose certificates have one of some names, beside what else is asked of them.
#[derive(Debug)]
struct Named {
    inner: Arc<dyn ClientCertVerifier>,
    names: Vec<San>,
}

impl ClientCertVerifier for Named {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        let read = Certificate::read(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if self.names.iter().any(|name| name.is_of(&read, end_entity)) {
            return Ok(verified);
        }
        let wrong = WrongName { presented: read.shown() };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }

    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
