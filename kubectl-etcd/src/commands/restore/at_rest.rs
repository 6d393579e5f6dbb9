//! Whether an API server has the keys by which the values of a file are encrypted. Without them it could not read its own objects.

use etcd_wire::facts::{Encryption, EncryptionKey};

/// What is known of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has them all, as far as names tell.
    Readable,
    /// It lacks these.
    Lacks(String),
    /// It is not known, for this reason.
    Unknown(String),
}

/// Compares the keys of a file with those of an API server, by name: resources are not told apart.
pub(super) fn judge(file: &[EncryptionKey], server: &Encryption) -> Verdict {
    let has: &[EncryptionKey] = match server {
        _ if file.is_empty() => return Verdict::Readable,
        Encryption::Off => &[],
        Encryption::Keys { keys } => keys,
        Encryption::Unread { why } => return Verdict::Unknown(why.clone()),
        Encryption::Unknown => return Verdict::Unknown("its sidecar does not tell".to_owned()),
    };
    // A value shows a name only up to a colon, which the names of some kinds may have.
    let shown = |name: &str| name.split(':').next().map(str::to_owned);
    let same = |key: &EncryptionKey, other: &EncryptionKey| {
        (&key.provider, &key.version) == (&other.provider, &other.version) && shown(&key.name) == shown(&other.name)
    };
    let lacks: Vec<EncryptionKey> =
        file.iter().filter(|key| !has.iter().any(|other| same(key, other))).cloned().collect();
    if lacks.is_empty() { Verdict::Readable } else { Verdict::Lacks(names(&lacks)) }
}

/// Keys as values show them.
pub(super) fn names(keys: &[EncryptionKey]) -> String {
    let name = |key: &EncryptionKey| format!("{}:{}:{}", key.provider, key.version, key.name);
    keys.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What an API server does, in a few words.
pub(super) fn describe(server: &Encryption) -> String {
    match server {
        Encryption::Off => "none".to_owned(),
        Encryption::Keys { keys } if keys.is_empty() => "none".to_owned(),
        Encryption::Keys { keys } => names(keys),
        Encryption::Unread { .. } | Encryption::Unknown => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_by_provider_version_and_name() {
        let key = |provider: &str, version: &str, name: &str| EncryptionKey {
            provider: provider.into(),
            version: version.into(),
            name: name.into(),
        };
        let file = [key("aescbc", "v1", "key1"), key("kms", "v2", "vault")];
        let server = |keys: &[EncryptionKey]| Encryption::Keys { keys: keys.to_vec() };
        let all = server(&[key("secretbox", "v1", "x"), key("kms", "v2", "vault"), key("aescbc", "v1", "key1:old")]);
        assert_eq!(judge(&file, &all), Verdict::Readable);
        assert_eq!(judge(&[], &Encryption::Off), Verdict::Readable);
        for lacking in [Encryption::Off, server(&[]), server(&[key("aesgcm", "v1", "key1"), key("kms", "v1", "vault")])]
        {
            assert_eq!(judge(&file, &lacking), Verdict::Lacks("aescbc:v1:key1, kms:v2:vault".into()), "{lacking:?}");
        }
        assert_eq!(judge(&file, &Encryption::Unread { why: "w".into() }), Verdict::Unknown("w".into()));
        assert!(matches!(judge(&file, &Encryption::Unknown), Verdict::Unknown(_)));
        assert_eq!(judge(&[], &Encryption::Unknown), Verdict::Readable);
    }
}
