//! A certificate and its key.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};

use crate::certificate::Certificate;
use crate::pem;
use crate::provider::provider;

/// Why a certificate and a key are of no use. No error shows anything of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No block `CERTIFICATE`.
    #[error("there is no certificate in the certificate's file")]
    NoCertificate,
    /// The first certificate cannot be read.
    #[error("the certificate is {0}")]
    Certificate(String),
    /// No block that ends in `PRIVATE KEY`.
    #[error("there is no private key in the key's file")]
    NoKey,
    /// The key needs a passphrase.
    #[error("the private key is encrypted with a passphrase: write it without one, with `openssl pkey`")]
    Encrypted,
    /// A key of another kind than those that can be used.
    #[error(
        "the private key cannot be used: it must be RSA with 2048 to 4096 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    Key,
    /// The key is another certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// A certificate, what is presented with it, and its key.
#[derive(Debug, Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// Reads the PEM of both, as Go's `X509KeyPair`. Either may also have what the other is for.
    ///
    /// # Errors
    /// They cannot be read, cannot be used, or do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Identity, IdentityError> {
        let chain = certificates(certificate);
        let first = chain.first().ok_or(IdentityError::NoCertificate)?;
        let own = Certificate::parse(first).map_err(IdentityError::Certificate)?;
        let key = private_key(key)?;
        if key.public_key().as_ref() != Some(&own.key.info) {
            return Err(IdentityError::Mismatch);
        }
        Ok(Identity(Arc::new(CertifiedKey::new(chain, key))))
    }

    /// Presents this certificate to every server that asks for one.
    #[must_use]
    pub fn client(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.0)))
    }

    /// Presents this certificate to every client.
    #[must_use]
    pub fn server(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.0)))
    }
}

/// The certificates of a PEM file, unread.
#[must_use]
pub fn certificates(text: &[u8]) -> Vec<CertificateDer<'static>> {
    let blocks = pem::blocks(text).into_iter().filter(|block| block.label == "CERTIFICATE");
    blocks.map(|block| CertificateDer::from(block.der)).collect()
}

/// The first key of a PEM file. As in Go, the label does not tell its form.
fn private_key(text: &[u8]) -> Result<Arc<dyn SigningKey>, IdentityError> {
    let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let block = pem::blocks(text).into_iter().find(|block| is_key(&block.label)).ok_or(IdentityError::NoKey)?;
    if block.headers || block.label == "ENCRYPTED PRIVATE KEY" {
        return Err(IdentityError::Encrypted);
    }
    let forms: [fn(Vec<u8>) -> PrivateKeyDer<'static>; 3] = [
        |der| PrivatePkcs8KeyDer::from(der).into(),
        |der| PrivateSec1KeyDer::from(der).into(),
        |der| PrivatePkcs1KeyDer::from(der).into(),
    ];
    let provider = provider();
    forms
        .into_iter()
        .find_map(|form| provider.key_provider.load_private_key(form(block.der.clone())).ok())
        .ok_or(IdentityError::Key)
}
