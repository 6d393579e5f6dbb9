//! Mutual TLS between the nodes of one restore, with certificates that were made for it and are only ever in memory.

use std::sync::Arc;

use etcd_wire::restore::Identity;
use etcd_wire::{Failure, FailureCode};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Both sides of a node's conversations with the others.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl Tls {
    /// # Errors
    /// The identity is not one.
    pub(super) fn new(identity: &Identity) -> Result<Tls, Failure> {
        let wrong = |error: &dyn std::error::Error| {
            Failure::new(FailureCode::BadRequest, "the certificates of the restore cannot be used").source(error)
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(identity.ca.as_bytes())? {
            roots.add(authority).map_err(|error| wrong(&error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = [&rustls::version::TLS13];
        let pair = || Ok::<_, Failure>((certificates(identity.cert.as_bytes())?, key(identity.key.as_bytes())?));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| wrong(&error))?;
        let (chain, secret) = pair()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| wrong(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, secret)
            .map_err(|error| wrong(&error))?;
        let (chain, secret) = pair()?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| wrong(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, secret)
            .map_err(|error| wrong(&error))?;
        Ok(Tls { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// The certificates in a PEM file's contents; at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Failure> {
    crate::certificate::chain(pem)
        .map_err(|error| Failure::new(FailureCode::Credentials, "a certificate cannot be read").cause(error))
}

/// The key in a PEM file's contents.
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Failure> {
    crate::certificate::key(pem)
        .map_err(|error| Failure::new(FailureCode::Credentials, "a key cannot be read").cause(error))
}
