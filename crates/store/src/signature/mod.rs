//! Who has written a record: signatures of OpenSSH, which `ssh-keygen -Y sign` makes and `ssh-keygen -Y verify` checks.
//!
//! The format is OpenSSH's PROTOCOL.sshsig. Ed25519 only, namespace [`NAMESPACE`].

mod allowed;

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use secrecy::ExposeSecret;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

use crate::small_file::{self, FileError};
use allowed::Trusted;

/// What our signatures are for: a signature for another purpose is none of a record.
pub const NAMESPACE: &str = "kubectl-etcd";

/// Bytes of the largest signature that is read. One of Ed25519 has about 300.
pub const LARGEST: usize = 16 << 10;

/// A private key that signs records.
#[derive(Clone)]
pub struct SigningKey(PrivateKey);

/// A file that gives no signing key. Nothing of the key is told.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds no key that can sign.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: NotASigningKey,
    },
}

/// Why a file gives no signing key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotASigningKey {
    /// A public key.
    #[error("this is a public key; name the file without .pub")]
    Public,
    /// It takes a passphrase.
    #[error(
        "the key is protected with a passphrase, which is not supported; make one without\n  ssh-keygen -t ed25519 -N '' -f FILE"
    )]
    Passphrase,
    /// It is of another type.
    #[error("the key is of type {0}, and only ssh-ed25519 is supported\n  ssh-keygen -t ed25519 -N '' -f FILE")]
    Type(String),
    /// It is something else, or damaged.
    #[error("this is not a private key of OpenSSH\n  ssh-keygen -t ed25519 -N '' -f FILE")]
    Form,
}

/// A signature could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign with the key: {0}")]
pub struct SignError(ssh_key::Error);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.fingerprint())
    }
}

impl SigningKey {
    /// Reads a private key of OpenSSH, of type Ed25519 and without a passphrase.
    ///
    /// # Errors
    /// The file cannot be read, or is no such key.
    pub fn read(path: &Path) -> Result<SigningKey, SigningKeyError> {
        let text = small_file::read_text(path)?;
        let content = |why| SigningKeyError::Content { path: path.to_owned(), why };
        signing_key(text.expose_secret()).map_err(content)
    }

    /// Signs bytes, for namespace [`NAMESPACE`]. Gives the text of the signature, as `ssh-keygen -Y sign` writes it.
    ///
    /// # Errors
    /// The key cannot sign; keys that were read can.
    pub fn sign(&self, bytes: &[u8]) -> Result<String, SignError> {
        let signature = self.0.sign(NAMESPACE, HashAlg::Sha512, bytes).map_err(SignError)?;
        signature.to_pem(LineEnding::LF).map_err(SignError)
    }

    /// The fingerprint, as `ssh-keygen -l` prints it: `SHA256:...`.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The public key, as a `.pub` file has it.
    ///
    /// # Errors
    /// It cannot be written as text; keys that were read can.
    pub fn public(&self) -> Result<String, SignError> {
        self.0.public_key().to_openssh().map_err(SignError)
    }

    /// Trusts what this key has signed, and nothing else.
    pub fn trusted(&self) -> TrustedKeys {
        TrustedKeys(vec![Trusted::of_public(self.0.public_key())])
    }
}

fn signing_key(text: &str) -> Result<SigningKey, NotASigningKey> {
    if PublicKey::from_openssh(text.trim()).is_ok() {
        return Err(NotASigningKey::Public);
    }
    let key = PrivateKey::from_openssh(text).map_err(|_| NotASigningKey::Form)?;
    // Of a key with a passphrase the public half is readable, so that its type is known.
    match key.algorithm() {
        Algorithm::Ed25519 if key.is_encrypted() => Err(NotASigningKey::Passphrase),
        Algorithm::Ed25519 => Ok(SigningKey(key)),
        other => Err(NotASigningKey::Type(other.to_string())),
    }
}

/// Public keys whose signatures count. At least one.
#[derive(Debug, Clone)]
pub struct TrustedKeys(Vec<Trusted>);

/// A file that says of no keys that they are trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// No file is named.
    #[error("no trust key is named")]
    None,
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It has no keys.
    #[error("{} has no public key", .0.display())]
    NoneIn(PathBuf),
    /// A line of it is not understood, and so none of it is believed.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why not.
        why: String,
    },
}

/// Whose a signature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The fingerprint of the key, as `ssh-keygen -l` prints it: `SHA256:...`.
    pub fingerprint: String,
    /// What the trust file calls it: its principals, or its comment. May be empty.
    pub name: String,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.is_empty() {
            true => f.write_str(&self.fingerprint),
            false => write!(f, "{} ({})", self.name, self.fingerprint),
        }
    }
}

/// A signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is no signature of OpenSSH, or of a type that is not supported.
    #[error("this is not a signature of OpenSSH with a key of type ssh-ed25519")]
    Form,
    /// It is of a key that is not trusted.
    #[error("it is of key {0}, which is not trusted")]
    Untrusted(String),
    /// It is of a trusted key that does not count for this, or not now.
    #[error("it is of key {fingerprint}, and the line that trusts this key {why}")]
    Limited {
        /// The key.
        fingerprint: String,
        /// What the trust file says of it.
        why: String,
    },
    /// It was made for another purpose.
    #[error("it was made for namespace {0:?}, not for {NAMESPACE}")]
    Namespace(String),
    /// It is of a trusted key, and of other bytes.
    #[error("it is a signature of other bytes, by key {0}: what was signed was changed afterwards")]
    Wrong(String),
}

impl TrustedKeys {
    /// Reads trust files: `.pub` files, or lines of `allowed_signers` as `man ssh-keygen` describes them. Of the latter the options
    /// `namespaces`, `valid-after` and `valid-before` are obeyed; any other is refused.
    ///
    /// # Errors
    /// No file is named, or any cannot be read, has no keys, or has a line that is not understood.
    pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<TrustedKeys, TrustError> {
        let mut all = Vec::new();
        for path in paths.iter().map(AsRef::as_ref) {
            let text = small_file::read_text(path)?;
            let before = all.len();
            for (line, content) in small_file::lines(text.expose_secret()) {
                let fail = |why| TrustError::Line { path: path.to_owned(), line, why };
                all.push(Trusted::parse(content).map_err(fail)?);
            }
            if all.len() == before {
                return Err(TrustError::NoneIn(path.to_owned()));
            }
        }
        if all.is_empty() { Err(TrustError::None) } else { Ok(TrustedKeys(all)) }
    }

    /// Checks a signature of bytes, with the keys that count now.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<Signer, SignatureError> {
        self.verify_at(bytes, signature, Timestamp::now())
    }

    /// Checks a signature of bytes, with the keys that count at a time.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify_at(&self, bytes: &[u8], signature: &[u8], now: Timestamp) -> Result<Signer, SignatureError> {
        let signature = SshSig::from_pem(signature).map_err(|_| SignatureError::Form)?;
        if signature.algorithm() != Algorithm::Ed25519 || !signature.reserved().is_empty() {
            return Err(SignatureError::Form);
        }
        let key = PublicKey::new(signature.public_key().clone(), "");
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let mut of_key = self.0.iter().filter(|trusted| trusted.key == *key.key_data()).peekable();
        if of_key.peek().is_none() {
            return Err(SignatureError::Untrusted(fingerprint));
        }
        if signature.namespace() != NAMESPACE {
            return Err(SignatureError::Namespace(signature.namespace().chars().take(80).collect()));
        }
        key.verify(NAMESPACE, bytes, &signature).map_err(|_| SignatureError::Wrong(fingerprint.clone()))?;
        // A key may have several lines: one that lets it count is enough.
        let mut limit = String::new();
        for trusted in of_key {
            match trusted.limit(NAMESPACE, now) {
                None => return Ok(Signer { fingerprint, name: trusted.name.clone() }),
                Some(why) => limit = why,
            }
        }
        Err(SignatureError::Limited { fingerprint, why: limit })
    }

    /// The fingerprints of the keys.
    pub fn fingerprints(&self) -> Vec<String> {
        let of = |trusted: &Trusted| trusted.key.fingerprint(HashAlg::Sha256).to_string();
        self.0.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests;
