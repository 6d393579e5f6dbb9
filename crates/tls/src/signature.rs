//! Signatures by a key that is given as in a certificate.

use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};

/// Why a signature does not count.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No algorithm is for this kind of key and signature.
    Unsupported,
    /// The key did not make the signature.
    Wrong,
}

/// Checks a signature with whichever of `algorithms` is for this kind of key.
pub(crate) fn verify<'a>(
    algorithms: impl IntoIterator<Item = &'a &'static dyn SignatureVerificationAlgorithm>,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), Fault> {
    let algorithm = algorithms
        .into_iter()
        .find(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm.as_slice())
        .ok_or(Fault::Unsupported)?;
    algorithm.verify_signature(&key.bits, message, signature).map_err(|_| Fault::Wrong)
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    /// The whole, as in the certificate.
    pub(crate) info: SubjectPublicKeyInfoDer<'static>,
    /// What is inside the SEQUENCE of the AlgorithmIdentifier.
    pub(crate) algorithm: Vec<u8>,
    /// What is inside the BIT STRING.
    pub(crate) bits: Vec<u8>,
}
