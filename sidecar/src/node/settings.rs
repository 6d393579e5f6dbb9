//! The settings of an etcd, wherever they come from: flags, variables, or a configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use etcd_wire::message::{EtcdAccess, KeyPair};

use super::document;
use super::manifest::{Manifest, flags};

/// The settings that are told: where etcd is, who its peers are, how it is reached, and what a diagnosis looks at. Other variables may be secrets.
const TOLD: [&str; 29] = [
    "name",
    "data-dir",
    "wal-dir",
    "listen-client-urls",
    "advertise-client-urls",
    "listen-peer-urls",
    "initial-advertise-peer-urls",
    "listen-metrics-urls",
    "initial-cluster",
    "initial-cluster-state",
    "cert-file",
    "key-file",
    "trusted-ca-file",
    "client-cert-auth",
    "peer-cert-file",
    "peer-key-file",
    "peer-trusted-ca-file",
    "peer-client-cert-auth",
    "quota-backend-bytes",
    "snapshot-count",
    "auto-compaction-mode",
    "auto-compaction-retention",
    "heartbeat-interval",
    "election-timeout",
    "max-request-bytes",
    "metrics",
    "feature-gates",
    "experimental-initial-corrupt-check",
    "experimental-corrupt-check-time",
];
/// Those of them that are paths.
const PATHS: [&str; 8] = [
    "data-dir",
    "wal-dir",
    "cert-file",
    "key-file",
    "trusted-ca-file",
    "peer-cert-file",
    "peer-key-file",
    "peer-trusted-ca-file",
];
/// Those of them without which there is nothing to look at.
const DATA: [&str; 2] = ["data-dir", "wal-dir"];
/// Names the file that has all settings.
const CONFIG_FILE: &str = "config-file";
/// Sections of a configuration file, and what the flags put before the names in them (etcd server/embed/config.go, `configJSON`).
const SECTIONS: [(&str, &str); 2] = [("client-transport-security", ""), ("peer-transport-security", "peer-")];

/// Settings by the names of etcd's flags, without dashes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Of a command line and its variables: `ETCD_DATA_DIR` is `--data-dir`. Flags win (etcd server/etcdmain/config.go).
    pub(super) fn of(command: &[String], variables: &BTreeMap<String, String>) -> Settings {
        let variables = variables.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("ETCD_")?.to_lowercase().replace('_', "-");
            Some((name, value.clone()))
        });
        let mut all: BTreeMap<String, String> = variables.collect();
        all.extend(flags(command, false));
        Settings(all)
    }

    /// Of a static pod, whose paths are those that its container sees.
    pub(super) fn of_manifest(manifest: &Manifest) -> Settings {
        let flag = |name: &&str| Some(((*name).to_owned(), manifest.flag(name)?.to_owned()));
        Settings(TOLD.iter().chain(&[CONFIG_FILE]).filter_map(flag).collect())
    }

    /// The same with paths of the node. A certificate that is not the node's is left out: nobody outside of the container can use the file.
    ///
    /// # Errors
    /// The data is not on the node.
    pub(super) fn on_node(mut self, manifest: &Manifest) -> Result<Settings, String> {
        let inside = self.data_dir(Path::new("/")).display().to_string();
        self.0.insert("data-dir".to_owned(), inside);
        for name in PATHS {
            let Some(inside) = self.get(name).map(str::to_owned) else { continue };
            match manifest.host_path(&inside) {
                Some(path) => self.0.insert(name.to_owned(), path.display().to_string()),
                None if DATA.contains(&name) => return Err(format!("{inside} is not a path of the node")),
                None => self.0.remove(name),
            };
        }
        Ok(self)
    }

    /// With a configuration file, flags and variables do not count (etcd server/etcdmain/config.go).
    ///
    /// # Errors
    /// The file cannot be read, or is not what etcd takes.
    pub(super) fn with_file(self, read: impl FnOnce(&str) -> Result<Vec<u8>, String>) -> Result<Settings, String> {
        let Some(file) = self.get(CONFIG_FILE) else { return Ok(self) };
        Settings::of_file(&read(file)?)
    }

    fn of_file(contents: &[u8]) -> Result<Settings, String> {
        let file: BTreeMap<String, serde_yaml_ng::Value> = document::parse(contents)?;
        let mut all = BTreeMap::new();
        for (name, value) in file {
            let section = SECTIONS.iter().find(|(section, _)| *section == name);
            match (section, value) {
                (Some((_, prefix)), serde_yaml_ng::Value::Mapping(inside)) => {
                    for (name, value) in inside {
                        if let (Some(name), Some(value)) = (name.as_str(), scalar(&value)?) {
                            all.insert(format!("{prefix}{name}"), value);
                        }
                    }
                }
                (_, value) if TOLD.contains(&name.as_str()) => {
                    all.extend(scalar(&value)?.map(|value| (name, value)));
                }
                _ => {}
            }
        }
        Ok(Settings(all))
    }

    /// The configuration file that they name.
    pub(super) fn config_file(&self) -> Option<&str> {
        self.get(CONFIG_FILE)
    }

    /// A value that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The data directory. etcd names it after the member where nothing else is said (etcd server/embed/config.go).
    pub(super) fn data_dir(&self, working_directory: &Path) -> PathBuf {
        let usual = || format!("{}.etcd", self.get("name").unwrap_or("default"));
        working_directory.join(self.get("data-dir").map_or_else(usual, str::to_owned))
    }

    /// The directory of the write-ahead log, where it is set.
    pub(super) fn wal_dir(&self, working_directory: &Path) -> Option<PathBuf> {
        self.get("wal-dir").map(|dir| working_directory.join(dir))
    }

    /// What is told of them, with absolute paths.
    pub(super) fn told(&self, working_directory: &Path) -> BTreeMap<String, String> {
        let one = |name: &&str| {
            let value = self.get(name)?;
            let path = || working_directory.join(value).display().to_string();
            Some(((*name).to_owned(), if PATHS.contains(name) { path() } else { value.to_owned() }))
        };
        let mut told: BTreeMap<String, String> = TOLD.iter().filter_map(one).collect();
        told.insert("data-dir".to_owned(), self.data_dir(working_directory).display().to_string());
        told
    }
}

/// How to reach a member from its node by its settings: at a loopback address where it listens there. The client certificates are that of an API
/// server on the node, where one is given, kubeadm's for health checks, and the server's own, of which the first that is there is used.
pub(crate) fn access(settings: &BTreeMap<String, String>, api_server: Option<KeyPair>) -> EtcdAccess {
    let file = |name: &str| settings.get(name).cloned();
    let server = file("cert-file").zip(file("key-file")).map(|(cert, key)| KeyPair { cert, key });
    let health = server.as_ref().and_then(|server| {
        let folder = Path::new(&server.cert).parent()?;
        let name = |name: &str| folder.join(name).display().to_string();
        Some(KeyPair { cert: name("healthcheck-client.crt"), key: name("healthcheck-client.key") })
    });
    let urls = |name: &str| settings.get(name).map(String::as_str).unwrap_or_default();
    EtcdAccess {
        endpoints: endpoints(urls("listen-client-urls"), urls("advertise-client-urls")),
        ca: file("trusted-ca-file"),
        credentials: api_server.into_iter().chain(health).chain(server).collect(),
    }
}

/// URLs to reach a member at from its node, loopback addresses first; etcd's default where it names none.
pub(crate) fn endpoints(listen: &str, advertise: &str) -> Vec<String> {
    let split = |urls: &str| -> Vec<String> {
        urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
    };
    // 0.0.0.0 is an address to listen at, not one to connect to.
    let dialed = |url: String| url.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://127.0.0.1:");
    let loopback = |url: &String| ["://127.", "://localhost:", "://[::1]:"].iter().any(|host| url.contains(host));
    let mut all: Vec<String> = split(listen).into_iter().map(dialed).collect();
    all.sort_by_key(|url| !loopback(url));
    for url in split(advertise) {
        if !all.contains(&url) {
            all.push(url);
        }
    }
    if all.is_empty() { vec!["http://127.0.0.1:2379".to_owned()] } else { all }
}

/// A value as a flag would have it; `None` for an empty one.
fn scalar(value: &serde_yaml_ng::Value) -> Result<Option<String>, String> {
    match value {
        serde_yaml_ng::Value::Null => Ok(None),
        serde_yaml_ng::Value::Bool(value) => Ok(Some(value.to_string())),
        serde_yaml_ng::Value::Number(value) => Ok(Some(value.to_string())),
        serde_yaml_ng::Value::String(value) => Ok(Some(value.clone())),
        // Where it stands would be needed to say more, and what stands there may be a secret.
        _ => Err("a setting is not what it should be".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_reached_from_its_node() {
        let urls = endpoints(
            "https://10.0.0.1:2379, https://[::]:2379,https://0.0.0.0:1",
            "https://10.0.0.1:2379,https://a:1",
        );
        assert_eq!(urls, ["https://127.0.0.1:2379", "https://127.0.0.1:1", "https://10.0.0.1:2379", "https://a:1"]);
        assert_eq!(endpoints("", ""), ["http://127.0.0.1:2379"]);
        let settings = [("cert-file", "/pki/server.crt"), ("key-file", "/pki/server.key")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let certs =
            |pair| -> Vec<String> { access(&settings, pair).credentials.into_iter().map(|pair| pair.cert).collect() };
        assert_eq!(certs(None), ["/pki/healthcheck-client.crt", "/pki/server.crt"]);
        let pair = KeyPair { cert: "/api.crt".into(), key: "/api.key".into() };
        assert_eq!(certs(Some(pair)), ["/api.crt", "/pki/healthcheck-client.crt", "/pki/server.crt"]);
    }

    #[test]
    fn flags_win_over_variables_and_a_file_over_both() {
        let variables =
            [("ETCD_NAME", "b"), ("ETCD_CERT_FILE", "pki/x.pem"), ("ETCD_ROOT_PASSWORD", "hunter2"), ("HOME", "/")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let settings = Settings::of(&["etcd".into(), "--name=a".into()], &variables);
        let told = settings.told(Path::new("/srv"));
        let told: Vec<_> = told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(told, [("cert-file", "/srv/pki/x.pem"), ("data-dir", "/srv/a.etcd"), ("name", "a")]);

        let of_file = |text: &str| {
            let settings =
                Settings::of(&["etcd".into(), "--config-file=/f".into(), "--name=a".into()], &BTreeMap::new());
            settings.with_file(|file| {
                assert_eq!(file, "/f");
                Ok(text.as_bytes().to_vec())
            })
        };
        let text = "name: c\ndata-dir: /d\nquota-backend-bytes: 8589934592\ninitial-cluster:\ncors: [1]\n\
                    client-transport-security:\n  cert-file: /c.pem\n  client-cert-auth: true\n\
                    peer-transport-security: {cert-file: /p.pem}\n";
        let told = of_file(text).unwrap().told(Path::new("/"));
        let told: Vec<_> = told.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            told,
            [
                "cert-file=/c.pem",
                "client-cert-auth=true",
                "data-dir=/d",
                "name=c",
                "peer-cert-file=/p.pem",
                "quota-backend-bytes=8589934592"
            ]
        );
        assert!(of_file("name: [hunter2]\n").is_err_and(|why| !why.contains("hunter2")));
        assert!(of_file("- a\n").is_err());
    }
}
