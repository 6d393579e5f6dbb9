//! EncryptionConfiguration: kubernetes/apiserver pkg/apis/apiserver/v1/types_encryption.go @ v0.36.2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{ConfigError, Key, Keyring, Provider};

#[derive(Deserialize)]
struct Configuration {
    kind: String,
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    providers: Vec<Providers>,
}

/// One of them is set; `identity` has nothing to say.
#[derive(Deserialize)]
struct Providers {
    aescbc: Option<Keys>,
    aesgcm: Option<Keys>,
    secretbox: Option<Keys>,
    kms: Option<Plugin>,
}

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    keys: Vec<NamedKey>,
}

#[derive(Deserialize)]
struct NamedKey {
    name: String,
    secret: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plugin {
    name: String,
    api_version: Option<String>,
}

pub(super) fn parse(text: &str) -> Result<Keyring, ConfigError> {
    // The parser's message might hold a key. JSON is YAML.
    let configuration: Configuration = serde_yaml_ng::from_str(text).map_err(|_| ConfigError::NotAConfiguration)?;
    // `EncryptionConfig` is what it was called before 1.13.
    if !matches!(configuration.kind.as_str(), "EncryptionConfiguration" | "EncryptionConfig") {
        return Err(ConfigError::NotAConfiguration);
    }
    let mut ring = Keyring::default();
    for providers in configuration.resources.into_iter().flat_map(|resource| resource.providers) {
        if let Some(Plugin { name, api_version }) = providers.kms {
            let plugin = (api_version.unwrap_or_else(|| "v1".to_owned()), name);
            if !ring.plugins.contains(&plugin) {
                ring.plugins.push(plugin);
            }
        }
        let kept = [
            (Provider::AesCbc, providers.aescbc),
            (Provider::AesGcm, providers.aesgcm),
            (Provider::SecretBox, providers.secretbox),
        ];
        for (provider, keys) in kept {
            for key in keys.into_iter().flat_map(|keys| keys.keys) {
                add(&mut ring, provider, key)?;
            }
        }
    }
    Ok(ring)
}

pub(super) fn without_kms(text: &str) -> Result<Option<String>, ConfigError> {
    use serde_yaml_ng::Value;
    // The parser's message might hold a key.
    let mut all: Value = serde_yaml_ng::from_str(text).map_err(|_| ConfigError::NotAConfiguration)?;
    let resources = all.get_mut("resources").and_then(Value::as_sequence_mut).ok_or(ConfigError::NotAConfiguration)?;
    for resource in resources.iter_mut() {
        if let Some(providers) = resource.get_mut("providers").and_then(Value::as_sequence_mut) {
            providers.retain(|provider| provider.get("kms").is_none());
        }
    }
    let has_some = |resource: &Value| {
        resource.get("providers").and_then(Value::as_sequence).is_some_and(|providers| !providers.is_empty())
    };
    resources.retain(has_some);
    if resources.is_empty() {
        return Ok(None);
    }
    serde_yaml_ng::to_string(&all).map(Some).map_err(|_| ConfigError::NotAConfiguration)
}

/// Adds a key; the same one, said for several resources, once.
fn add(ring: &mut Keyring, provider: Provider, NamedKey { name, secret }: NamedKey) -> Result<(), ConfigError> {
    let fail = |problem| ConfigError::Key { provider: provider.name(), name: name.clone(), problem };
    let secret = Zeroizing::new(STANDARD.decode(secret.as_bytes()).map_err(|_| fail("is not in base64"))?);
    let sizes: &[usize] = if provider == Provider::SecretBox { &[32] } else { &[16, 24, 32] };
    if !sizes.contains(&secret.len()) {
        let of_aes = "does not have the 16, 24 or 32 bytes of an AES key";
        return Err(fail(if provider == Provider::SecretBox { "does not have 32 bytes" } else { of_aes }));
    }
    let is_there = |key: &Key| key.provider == provider && key.name == name && key.secret == secret;
    if !ring.keys.iter().any(is_there) {
        ring.keys.push(Key { provider, name, secret });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_its_kms_a_configuration_keeps_everything_else() {
        let text = "kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
- resources: [secrets]
  providers:
  - kms: {apiVersion: v2, name: vault, endpoint: unix:///vault.sock}
  - aescbc: {keys: [{name: key1, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}
  - identity: {}
- resources: [configmaps]
  providers:
  - kms: {apiVersion: v2, name: vault, endpoint: unix:///vault.sock}
";
        let left = without_kms(text).expect("a configuration").expect("something is left");
        assert!(!left.contains("kms") && !left.contains("configmaps"), "{left}");
        assert!(
            left.contains("secrets") && left.contains("identity") && left.contains("apiserver.config.k8s.io/v1"),
            "{left}"
        );
        let keys =
            |text: &str| parse(text).expect("a configuration").keys().map(|key| key.to_string()).collect::<Vec<_>>();
        assert_eq!((keys(&left), keys(text).len()), (vec!["aescbc:v1:key1".to_owned()], 2));
        let alone = &text[..text.find("  - aescbc").expect("it is there")];
        assert_eq!(without_kms(alone), Ok(None));
        assert_eq!(without_kms("kind: x"), Err(ConfigError::NotAConfiguration));
    }
}
