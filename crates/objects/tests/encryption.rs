//! Decryption against values that other implementations have encrypted; `data/encryption.py` made them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use etcd_objects::encryption::{ConfigError, DecryptError, Keyring};
use etcd_objects::value::{EncryptionKey, Format};
use serde_json::{Value, json};

struct Vector {
    provider: String,
    name: String,
    secret: String,
    plain: Vec<u8>,
    value: Vec<u8>,
}

fn vectors() -> (Vec<u8>, Vec<Vector>) {
    let all: Value = serde_json::from_str(include_str!("data/encryption.json")).expect("JSON");
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).expect("text").to_owned();
    let bytes = |value: &Value, field: &str| STANDARD.decode(text(value, field)).expect("base64");
    let vectors = all.get("vectors").and_then(Value::as_array).expect("vectors");
    let vector = |v: &Value| Vector {
        provider: text(v, "provider"),
        name: text(v, "name"),
        secret: text(v, "secret"),
        plain: bytes(v, "plain"),
        value: bytes(v, "value"),
    };
    (text(&all, "etcdKey").into_bytes(), vectors.iter().map(vector).collect())
}

/// A configuration with these keys, each as (provider, name, secret).
fn configuration(keys: &[(&str, &str, &str)]) -> String {
    let provider = |(provider, name, secret): &(&str, &str, &str)| json!({*provider: {"keys": [{"name": name, "secret": secret}]}});
    let mut providers: Vec<Value> = keys.iter().map(provider).collect();
    providers.push(json!({"identity": {}}));
    let resources = json!([{"resources": ["secrets"], "providers": providers}]);
    let all =
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": resources});
    all.to_string()
}

fn ring(keys: &[(&str, &str, &str)]) -> Keyring {
    Keyring::parse(&configuration(keys)).expect("a configuration")
}

fn by(provider: &str, version: &str, name: &str) -> EncryptionKey {
    EncryptionKey { provider: provider.into(), version: version.into(), name: name.into() }
}

const WRONG: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn values_of_every_provider_and_key_size() {
    let (etcd_key, vectors) = vectors();
    assert_eq!(vectors.len(), 28);
    for Vector { provider, name, secret, plain, value } in &vectors {
        let key = (provider.as_str(), name.as_str(), secret.as_str());
        // While keys are exchanged two may bear one name.
        for ring in [ring(&[key]), ring(&[(provider, name, WRONG), key])] {
            let found = ring.decrypt(&etcd_key, value).expect("decrypted");
            assert_eq!(*found, *plain, "{provider} {name}");
        }
        assert_eq!(Format::of(value), Format::Encrypted(by(provider, "v1", name)));

        let other = by(provider, "v1", name);
        assert_eq!(ring(&[]).decrypt(&etcd_key, value), Err(DecryptError::NoKey(other.clone())));
        let wrong = ring(&[(provider, name, WRONG)]).decrypt(&etcd_key, value);
        // CBC vouches for nothing: one wrong key in 256 leaves a padding by chance, but these vectors are what they are.
        assert_eq!(wrong, Err(DecryptError::WrongKey(other.clone())), "{provider} {name}");
        let elsewhere = ring(&[key]).decrypt(b"/registry/secrets/default/other", value);
        assert_eq!(elsewhere.is_err(), provider == "aesgcm");
        // Cut anywhere it is no longer itself, and never a reason to panic.
        for length in 0..value.len() {
            let cut = ring(&[key]).decrypt(&etcd_key, value.get(..length).unwrap_or_default());
            assert!(cut.is_err() || provider == "aescbc", "{provider} {length}");
        }
    }
}

#[test]
fn yaml_and_names_with_colons() {
    let (etcd_key, vectors) = vectors();
    let Vector { secret, plain, value, .. } = vectors.iter().find(|v| v.provider == "secretbox").expect("one");
    let text = format!(
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets, configmaps]\n  \
         providers:\n  - secretbox:\n      keys:\n      - name: a:b\n        secret: {secret}\n  - kms:\n      apiVersion: v2\n      \
         name: vault\n      endpoint: unix:///run/kms.sock\n  - identity: {{}}\n"
    );
    let ring = Keyring::parse(&text).expect("a configuration");
    assert_eq!(ring.keys().collect::<Vec<_>>(), [by("secretbox", "v1", "a:b"), by("kms", "v2", "vault")]);
    let renamed =
        [b"k8s:enc:secretbox:v1:a:b:", value.strip_prefix(b"k8s:enc:secretbox:v1:key32:").expect("it")].concat();
    assert_eq!(*ring.decrypt(&etcd_key, &renamed).expect("decrypted"), *plain);
}

#[test]
fn what_only_others_can_decrypt() {
    let ring = ring(&[]);
    let cases: [(&[u8], DecryptError); 4] = [
        (b"k8s:enc:kms:v1:vault:\x00\x01", DecryptError::Kms(by("kms", "v1", "vault"))),
        (b"k8s:enc:kms:v2:vault:x", DecryptError::Kms(by("kms", "v2", "vault"))),
        (b"k8s:enc:rot13:v9:a:x", DecryptError::UnknownProvider(by("rot13", "v9", "a"))),
        (b"{}", DecryptError::NotEncrypted),
    ];
    for (value, error) in cases {
        assert_eq!(ring.decrypt(b"/registry/secrets/a/b", value), Err(error));
    }
}

#[test]
fn no_key_is_shown() {
    let secret = "c2VjcmV0IGlzIHNlY3VyZSwgSSB0aGluazEyMzQ1Njc4";
    let error = |keys: &[(&str, &str, &str)]| Keyring::parse(&configuration(keys)).expect_err("an error");
    let cases = [
        (error(&[("aescbc", "a", "%%c2VjcmV0")]), "key a of aescbc is not in base64"),
        (error(&[("aesgcm", "a", "c2VjcmV0")]), "key a of aesgcm does not have the 16, 24 or 32 bytes of an AES key"),
        (error(&[("secretbox", "a", "c2VjcmV0")]), "key a of secretbox does not have 32 bytes"),
    ];
    for (error, text) in cases {
        assert_eq!(error.to_string(), text);
        assert!(!format!("{error:?}").contains("c2VjcmV0"));
    }
    let broken = format!("kind: EncryptionConfiguration\nresources: {secret}\n");
    let error = Keyring::parse(&broken).expect_err("an error");
    assert_eq!(error, ConfigError::NotAConfiguration);
    assert_eq!(Keyring::parse("kind: Pod").expect_err("an error"), ConfigError::NotAConfiguration);
    let shown = format!("{:?}", ring(&[("aescbc", "a", WRONG)]));
    assert_eq!(shown, r#"Keyring { keys: ["aescbc:v1:a"], plugins: [] }"#);
}
