//! ring, and what it lacks.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, KeyProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{PrivateKeyDer, SignatureVerificationAlgorithm};
use rustls::sign::SigningKey;
use rustls::{Error, SignatureScheme};

use crate::ecdsa::{self, P256_SHA512, P384_SHA512, P521_SHA256, P521_SHA384, P521_SHA512, P521Key};

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let ring = ring::default_provider();
    let signature_verification_algorithms = with_all_curves(&ring.signature_verification_algorithms);
    Arc::new(CryptoProvider { signature_verification_algorithms, key_provider: &Keys, ..ring })
});

/// The one provider of cryptography: ring's, with ECDSA on P-521, and with SHA-512 on the other curves.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// Called once: rustls wants lists that live for ever.
fn with_all_curves(ring: &WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    let more = [P521_SHA512, P521_SHA384, P521_SHA256, P384_SHA512, P256_SHA512];
    let all: Vec<Algorithm> = ring.all.iter().copied().chain(more).collect();
    let mapping = ring.mapping.iter().map(|(scheme, algorithms)| {
        // In TLS 1.2 a scheme says nothing about the curve; in TLS 1.3 the first of a list is the one.
        let more: Option<Algorithm> = match *scheme {
            SignatureScheme::ECDSA_NISTP384_SHA384 => Some(P521_SHA384),
            SignatureScheme::ECDSA_NISTP256_SHA256 => Some(P521_SHA256),
            _ => None,
        };
        let algorithms: Vec<Algorithm> = algorithms.iter().copied().chain(more).collect();
        (*scheme, &*algorithms.leak())
    });
    let p521: &[Algorithm] = vec![P521_SHA512, P384_SHA512, P256_SHA512].leak();
    let mapping: Vec<_> = mapping.chain([(SignatureScheme::ECDSA_NISTP521_SHA512, p521)]).collect();
    WebPkiSupportedAlgorithms { all: all.leak(), mapping: mapping.leak() }
}

#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        if let Some(key) = P521Key::read(&key) {
            return Ok(Arc::new(key));
        }
        let key = ecdsa::completed(&key).unwrap_or(key);
        ring::default_provider().key_provider.load_private_key(key)
    }
}
