//! By which keys an API server encrypts what it stores: the names only. A key itself is never sent, nor told in an error.

use etcd_wire::facts::{Encryption, EncryptionKey};
use serde::Deserialize;

use super::document;
use super::manifest::Manifest;

/// The API server's flag that names its configuration.
const FLAG: &str = "encryption-provider-config";

/// What the API server's manifest, and the file that it names, say.
pub(super) fn of(api_server: &Manifest) -> Encryption {
    let Some(inside) = api_server.flag(FLAG) else { return Encryption::Off };
    let unread = |why: String| Encryption::Unread { why };
    let Some(path) = api_server.host_path(inside) else {
        return unread(format!("{inside} of the API server's container is no file of the node"));
    };
    let shown = path.display();
    match document::read(&path) {
        Ok(Some(contents)) => match keys(&contents) {
            Ok(keys) => Encryption::Keys { keys },
            Err(why) => unread(format!("{shown}: {why}")),
        },
        Ok(None) => unread(format!("{shown} is no file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            unread(format!("{shown} is in no folder that the sidecar can see"))
        }
        Err(error) => unread(format!("{shown}: {error}")),
    }
}

/// The names of the keys in an `EncryptionConfiguration`, each once, in its order.
///
/// Read from kubernetes apiserver pkg/apis/apiserver/v1/types_encryption.go and, for the names that values bear,
/// pkg/server/options/encryptionconfig/config.go @ v1.36.0.
fn keys(contents: &[u8]) -> Result<Vec<EncryptionKey>, String> {
    let configuration: Configuration = document::parse(contents)?;
    // The second is how it was called before Kubernetes 1.13.
    if !matches!(configuration.kind.as_str(), "EncryptionConfiguration" | "EncryptionConfig") {
        return Err("it is no EncryptionConfiguration".to_owned());
    }
    let mut found = Vec::new();
    let mut add = |provider: &str, version: &str, name: String| {
        let key = EncryptionKey { provider: provider.to_owned(), version: version.to_owned(), name };
        if !found.contains(&key) {
            found.push(key);
        }
    };
    let resources = configuration.resources.into_iter().flatten();
    for provider in resources.flat_map(|resource| resource.providers.into_iter().flatten()) {
        for (kind, keys) in
            [("aescbc", provider.aescbc), ("aesgcm", provider.aesgcm), ("secretbox", provider.secretbox)]
        {
            for key in keys.and_then(|keys| keys.keys).into_iter().flatten() {
                add(kind, "v1", key.name);
            }
        }
        if let Some(kms) = provider.kms {
            add("kms", kms.api_version.as_deref().filter(|version| !version.is_empty()).unwrap_or("v1"), kms.name);
        }
    }
    Ok(found)
}

/// What counts of a configuration. The secrets have no field.
#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    kind: String,
    resources: Option<Vec<Resource>>,
}

#[derive(Deserialize)]
struct Resource {
    providers: Option<Vec<Provider>>,
}

#[derive(Deserialize)]
struct Provider {
    aescbc: Option<Keys>,
    aesgcm: Option<Keys>,
    secretbox: Option<Keys>,
    kms: Option<Kms>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Option<Vec<Key>>,
}

#[derive(Deserialize)]
struct Key {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kms {
    api_version: Option<String>,
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = "\
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, configmaps]
  providers:
  - aescbc:
      keys:
      - {name: key2, secret: U0VDUkVULXR3bw==}
      - {name: key1, secret: U0VDUkVULW9uZQ==}
  - secretbox: {keys: [{name: box, secret: U0VDUkVULWJveA==}]}
  - kms: {name: old, endpoint: unix:///k.sock}
  - kms: {apiVersion: v2, name: new, endpoint: unix:///k.sock, timeout: 3s}
  - identity: {}
- resources: ['*.*']
  providers:
  - aesgcm: {keys: [{name: key1, secret: U0VDUkVULWdjbQ==}]}
  - aescbc: {keys: [{name: key1, secret: U0VDUkVULW9uZQ==}]}
  - identity: {}
";

    fn api_server(flag: &str, host: &std::path::Path) -> Manifest {
        let pod = serde_json::json!({
            "kind": "Pod", "metadata": {"name": "kube-apiserver", "namespace": "kube-system"},
            "spec": {
                "containers": [{"command": ["kube-apiserver", flag], "volumeMounts": [{"name": "k", "mountPath": "/enc"}]}],
                "volumes": [{"name": "k", "hostPath": {"path": host}}],
            },
        });
        Manifest::parse("a.yaml", pod.to_string().as_bytes()).unwrap().unwrap().1
    }

    #[test]
    fn the_names_of_the_keys_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("c.yaml"), CONFIGURATION).unwrap();
        let Encryption::Keys { keys } = of(&api_server("--encryption-provider-config=/enc/c.yaml", folder.path()))
        else {
            panic!("keys");
        };
        let names: Vec<_> = keys.iter().map(|key| format!("{}:{}:{}", key.provider, key.version, key.name)).collect();
        assert_eq!(
            names,
            ["aescbc:v1:key2", "aescbc:v1:key1", "secretbox:v1:box", "kms:v1:old", "kms:v2:new", "aesgcm:v1:key1"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_and_no_secret_with_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of(&api_server("--secure-port=6443", folder.path())), Encryption::Off);
        let why = |flag: &str| match of(&api_server(flag, folder.path())) {
            Encryption::Unread { why } => why,
            other => panic!("{other:?}"),
        };
        let flag = "--encryption-provider-config=/enc/c.yaml";
        assert!(why("--encryption-provider-config=/elsewhere/c.yaml").contains("no file of the node"));
        assert!(why(flag).contains("c.yaml is in no folder that the sidecar can see"));
        assert!(why("--encryption-provider-config=/enc").contains("is no file"));
        for wrong in [
            "SECRET",
            "kind: SECRET",
            "kind: EncryptionConfiguration\nresources: SECRET",
            "kind: EncryptionConfiguration\nresources: [{providers: [{aescbc: {keys: [SECRET]}}]}]",
            "kind: EncryptionConfiguration\nresources: [{providers: [{aescbc: {keys: [{secret: SECRET}]}}]}]",
            "kind: EncryptionConfiguration\nresources: [{providers: [{aescbc: {keys: {SECRET: 1}}}]}]",
            "kind: EncryptionConfiguration\nresources: [SECRET",
            "",
        ] {
            std::fs::write(folder.path().join("c.yaml"), wrong).unwrap();
            let why = why(flag);
            assert!(!why.contains("SECRET") && why.contains("c.yaml: "), "{why}");
        }
        // As of a cluster that has turned it off again.
        std::fs::write(
            folder.path().join("c.yaml"),
            "kind: EncryptionConfiguration\nresources: [{providers: [{identity: {}}]}]",
        )
        .unwrap();
        assert_eq!(of(&api_server(flag, folder.path())), Encryption::Keys { keys: vec![] });
    }
}
