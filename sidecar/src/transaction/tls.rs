//! Mutual TLS between the nodes of one restore, with certificates that were made for it and are only ever in memory.

use std::sync::Arc;

use etcd_wire::restore::Identity;
use etcd_wire::{Failure, FailureCode};
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
        for authority in etcd_tls::certificates(identity.ca.as_bytes()) {
            roots.add(authority).map_err(|error| wrong(&error))?;
        }
        let roots = Arc::new(roots);
        let provider = etcd_tls::provider();
        let versions = [&rustls::version::TLS13];
        let own = etcd_tls::Identity::from_pem(identity.cert.as_bytes(), identity.key.as_bytes())
            .map_err(|error| wrong(&error))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| wrong(&error))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| wrong(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(own.server());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| wrong(&error))?
            .with_root_certificates(roots)
            .with_client_cert_resolver(own.client());
        Ok(Tls { server: Arc::new(server), client: Arc::new(client) })
    }
}
