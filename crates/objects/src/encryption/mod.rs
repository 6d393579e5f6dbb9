//! Values that the API server has encrypted, with the keys of its EncryptionConfiguration.
//!
//! A value is `k8s:enc:PROVIDER:v1:NAME:` and ciphertext: kubernetes/apiserver
//! pkg/server/options/encryptionconfig/config.go @ v0.36.2. What a KMS has encrypted only it decrypts.

mod cipher;
mod config;

use std::fmt;

use zeroize::Zeroizing;

use crate::value::{ENCRYPTED, EncryptionKey, split_encrypted};

/// The keys of an API server.
#[derive(Default)]
pub struct Keyring {
    keys: Vec<Key>,
    /// Plugins that have their keys elsewhere, by `v1` or `v2` and name.
    plugins: Vec<(String, String)>,
}

struct Key {
    provider: Provider,
    name: String,
    secret: Zeroizing<Vec<u8>>,
}

/// What encrypts with a key that is in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    AesCbc,
    AesGcm,
    SecretBox,
}

impl Provider {
    const ALL: [Provider; 3] = [Provider::AesCbc, Provider::AesGcm, Provider::SecretBox];

    /// As the configuration and the values call it.
    fn name(self) -> &'static str {
        match self {
            Provider::AesCbc => "aescbc",
            Provider::AesGcm => "aesgcm",
            Provider::SecretBox => "secretbox",
        }
    }
}

/// The same configuration for an API server that can ask no KMS, as YAML; `None` if nothing is left of it.
///
/// # Errors
/// See [`ConfigError`].
pub fn without_kms(text: &str) -> Result<Option<String>, ConfigError> {
    config::without_kms(text)
}

/// Names only, never a key.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|key| format!("{}:v1:{}", key.provider.name(), key.name)).collect();
        f.debug_struct("Keyring").field("keys", &keys).field("plugins", &self.plugins).finish()
    }
}

/// Why a configuration cannot be used. No key is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither YAML nor JSON, or not of the form of an EncryptionConfiguration.
    #[error("this is no EncryptionConfiguration")]
    NotAConfiguration,
    /// A key that its provider cannot use.
    #[error("key {name} of {provider} {problem}")]
    Key {
        /// `aescbc`, `aesgcm` or `secretbox`.
        provider: &'static str,
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Why a value stays encrypted. Nothing of the value or of a key is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// It is not encrypted.
    #[error("the value is not encrypted")]
    NotEncrypted,
    /// By a KMS, which alone can decrypt it.
    #[error("the value is encrypted by the KMS plugin {}, which alone can decrypt it ({})", .0.name, .0.version)]
    Kms(EncryptionKey),
    /// By a provider that is not known.
    #[error("the value is encrypted by a provider that is not known: {0}")]
    UnknownProvider(EncryptionKey),
    /// The configuration has no such key.
    #[error("the configuration has no key {0}")]
    NoKey(EncryptionKey),
    /// None of the keys of that name fits, or the value is damaged, or it lies under another key of etcd than it was written to.
    #[error("the key {0} does not decrypt the value")]
    WrongKey(EncryptionKey),
}

impl Keyring {
    /// Reads an EncryptionConfiguration, `apiserver.config.k8s.io/v1` or the older `v1` EncryptionConfig, in YAML or JSON.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str) -> Result<Keyring, ConfigError> {
        config::parse(text)
    }

    /// Whether there is no key in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Which keys it has.
    pub fn keys(&self) -> impl Iterator<Item = EncryptionKey> {
        let key = |provider: &str, version: &str, name: &str| EncryptionKey {
            provider: provider.to_owned(),
            version: version.to_owned(),
            name: name.to_owned(),
        };
        let plugins = self.plugins.iter().map(move |(version, name)| key("kms", version, name));
        self.keys.iter().map(move |own| key(own.provider.name(), "v1", &own.name)).chain(plugins)
    }

    /// Decrypts a value. `key` is the whole key in etcd that it lies under: AES-GCM vouches for it, too.
    ///
    /// Of several keys of that name, as while one is being exchanged, each is tried, in the order of the configuration. AES-CBC vouches
    /// for nothing: one wrong key in 256 gives bytes without meaning, which then are no object.
    ///
    /// # Errors
    /// See [`DecryptError`].
    pub fn decrypt(&self, key: &[u8], value: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let (by, _) = split_encrypted(value).ok_or(DecryptError::NotEncrypted)?;
        let known = Provider::ALL.into_iter().find(|provider| provider.name() == by.provider && by.version == "v1");
        let Some(provider) = known else {
            return Err(if by.provider == "kms" { DecryptError::Kms(by) } else { DecryptError::UnknownProvider(by) });
        };
        let start = ENCRYPTED.len() + by.provider.len() + 1 + by.version.len() + 1;
        let rest = value.get(start..).unwrap_or_default();
        let mut named = false;
        for candidate in self.keys.iter().filter(|key| key.provider == provider) {
            // A name may hold a colon itself: so the value does not say where it ends, but the name does.
            let after_name = rest.strip_prefix(candidate.name.as_bytes());
            let Some(ciphertext) = after_name.and_then(|rest| rest.strip_prefix(b":")) else { continue };
            named = true;
            let plain = match provider {
                Provider::AesCbc => cipher::aes_cbc(&candidate.secret, ciphertext),
                Provider::AesGcm => cipher::aes_gcm(&candidate.secret, ciphertext, key),
                Provider::SecretBox => cipher::secret_box(&candidate.secret, ciphertext),
            };
            if let Some(plain) = plain {
                return Ok(Zeroizing::new(plain));
            }
        }
        Err(if named { DecryptError::WrongKey(by) } else { DecryptError::NoKey(by) })
    }
}
