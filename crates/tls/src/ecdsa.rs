//! What ring lacks of ECDSA: the curve P-521, and SHA-512 with the other curves. Arithmetic is RustCrypto's.

use std::fmt;
use std::sync::Arc;

use p521::ecdsa::signature::Signer as _;
use p521::ecdsa::signature::hazmat::PrehashVerifier;
use p521::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ring::digest::{self, SHA256, SHA384, SHA512};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, PrivatePkcs8KeyDer, SignatureVerificationAlgorithm,
    SubjectPublicKeyInfoDer, alg_id,
};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

/// Verifies, given public key, hash and signature.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

/// Verification with one curve and one hash.
pub(crate) struct Ecdsa {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    hash: &'static digest::Algorithm,
    verify: Verify,
}

pub(crate) static P256_SHA512: &dyn SignatureVerificationAlgorithm =
    &Ecdsa { key: alg_id::ECDSA_P256, signature: alg_id::ECDSA_SHA512, hash: &SHA512, verify: p256 };
pub(crate) static P384_SHA512: &dyn SignatureVerificationAlgorithm =
    &Ecdsa { key: alg_id::ECDSA_P384, signature: alg_id::ECDSA_SHA512, hash: &SHA512, verify: p384 };
pub(crate) static P521_SHA256: &dyn SignatureVerificationAlgorithm =
    &Ecdsa { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA256, hash: &SHA256, verify: p521 };
pub(crate) static P521_SHA384: &dyn SignatureVerificationAlgorithm =
    &Ecdsa { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA384, hash: &SHA384, verify: p521 };
pub(crate) static P521_SHA512: &dyn SignatureVerificationAlgorithm =
    &Ecdsa { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA512, hash: &SHA512, verify: p521 };

fn p256(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
    p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?.verify_prehash(hash, &signature).ok()
}

fn p384(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
    p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?.verify_prehash(hash, &signature).ok()
}

fn p521(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    let signature = p521::ecdsa::Signature::from_der(signature).ok()?;
    p521::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?.verify_prehash(hash, &signature).ok()
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let hash = digest::digest(self.hash, message);
        (self.verify)(public_key, hash.as_ref(), signature).ok_or(InvalidSignature)
    }
}

impl fmt::Debug for Ecdsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ecdsa").field("hash", self.hash).finish_non_exhaustive()
    }
}

/// A private key on P-256 or P-384 with its public key, which ring wants to see and the format need not have.
pub(crate) fn completed(der: &PrivateKeyDer<'_>) -> Option<PrivateKeyDer<'static>> {
    let whole = match der {
        PrivateKeyDer::Sec1(sec1) => {
            let der = sec1.secret_sec1_der();
            let p256 = p256::SecretKey::from_sec1_der(der).ok().and_then(|key| key.to_pkcs8_der().ok());
            p256.or_else(|| p384::SecretKey::from_sec1_der(der).ok()?.to_pkcs8_der().ok())?
        }
        PrivateKeyDer::Pkcs8(pkcs8) => {
            let der = pkcs8.secret_pkcs8_der();
            let p256 = p256::SecretKey::from_pkcs8_der(der).ok().and_then(|key| key.to_pkcs8_der().ok());
            p256.or_else(|| p384::SecretKey::from_pkcs8_der(der).ok()?.to_pkcs8_der().ok())?
        }
        _ => return None,
    };
    Some(PrivatePkcs8KeyDer::from(whole.as_bytes().to_vec()).into())
}

/// A private key on P-521.
#[derive(Clone)]
pub(crate) struct P521Key(Arc<p521::ecdsa::SigningKey>);

impl P521Key {
    /// The key, if it is one on P-521.
    pub(crate) fn read(der: &PrivateKeyDer<'_>) -> Option<P521Key> {
        let secret = match der {
            PrivateKeyDer::Sec1(sec1) => p521::SecretKey::from_sec1_der(sec1.secret_sec1_der()).ok()?,
            PrivateKeyDer::Pkcs8(pkcs8) => p521::SecretKey::from_pkcs8_der(pkcs8.secret_pkcs8_der()).ok()?,
            _ => return None,
        };
        Some(P521Key(Arc::new(secret.into())))
    }
}

impl SigningKey for P521Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ECDSA_NISTP521_SHA512).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let point = self.0.verifying_key().to_sec1_point(false);
        Some(public_key_to_spki(&alg_id::ECDSA_P521, point.as_bytes()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for P521Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: p521::ecdsa::DerSignature =
            self.0.try_sign(message).map_err(|error| Error::General(format!("no ECDSA signature: {error}")))?;
        Ok(signature.as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP521_SHA512
    }
}

impl fmt::Debug for P521Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P521Key")
    }
}
