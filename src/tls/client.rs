//! TLS to a server: whom a client trusts, and what it shows of itself.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::pem::{FileError, Identity, authorities, unusable};
use crate::telemetry::SystemAuthoritiesLeftOut;

/// The files of a client. They are read when a configuration is asked for, so a new certificate is shown from the next
/// connection on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificates of the authorities that are trusted; those of the system if there are none.
    pub authorities: Option<PathBuf>,
    /// The client's certificate and its chain, and the file of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    /// Reads the files and checks them.
    pub fn check(&self) -> Result<(), FileError> {
        self.read().map(|_| ())
    }

    fn read(&self) -> Result<(Option<RootCertStore>, Option<Identity>), FileError> {
        let trusted = self.authorities.as_deref().map(authorities).transpose()?;
        let identity = self.identity.as_ref().map(|(certificate, key)| Identity::read(certificate, key));
        Ok((trusted, identity.transpose()?))
    }

    /// A configuration as the files are now, for a client that speaks `protocols` (ALPN), the first one best: TLS 1.2 or 1.3.
    /// Each connection is a new session, so the server is verified each time.
    pub fn config(&self, protocols: &[&[u8]]) -> Result<ClientConfig, FileError> {
        let (trusted, identity) = self.read()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        // The provider has both versions.
        let builder = builder.map_err(|error| unusable(&PathBuf::new(), &error))?;
        let builder = builder.with_root_certificates(match trusted {
            Some(trusted) => trusted,
            None => of_the_system()?,
        });
        let mut config = match identity {
            Some(identity) => builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::new(identity.certified)))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// The authorities that the system trusts. What cannot be read of them is left out, as elsewhere, and told.
fn of_the_system() -> Result<RootCertStore, FileError> {
    let found = rustls_native_certs::load_native_certs();
    let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    usable(found.certs, &errors)
}

fn usable(certificates: Vec<CertificateDer<'static>>, errors: &[String]) -> Result<RootCertStore, FileError> {
    let mut store = RootCertStore::empty();
    let (authorities, left_out) = store.add_parsable_certificates(certificates);
    let reason = errors.first().map_or("none was found", String::as_str);
    if authorities == 0 {
        return Err(FileError::NoneOfSystem { reason: reason.to_owned() });
    }
    if !errors.is_empty() || left_out > 0 {
        SystemAuthoritiesLeftOut { authorities, left_out: errors.len() + left_out, reason }.emit();
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    #[test]
    fn a_system_that_trusts_nobody_is_told_of_and_one_that_is_half_read_will_do() {
        let unread = ["cannot read /etc/ssl/certs: permission denied".to_owned()];
        let error = usable(Vec::new(), &unread).unwrap_err();
        let told = "no authority that the system trusts can be read: cannot read /etc/ssl/certs: permission denied. Name a file of \
                    authorities, or set SSL_CERT_FILE";
        assert_eq!(error.to_string(), told);
        assert!(usable(Vec::new(), &[]).unwrap_err().to_string().contains(": none was found. "));

        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let found = vec![authority.der().clone(), CertificateDer::from(vec![0])];
        assert_eq!(usable(found, &unread).unwrap().len(), 1);
    }
}
