//! The settings of an etcd, wherever they come from: flags, variables, or a configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::document;
use super::manifest::flags;

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

    /// Of pairs.
    pub(super) fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Settings {
        let known = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        Settings(known.collect())
    }

    /// With a configuration file, flags and variables do not count (etcd server/etcdmain/config.go).
    ///
    /// # Errors
    /// The file cannot be read, or is not what etcd takes.
    pub(super) fn with_file(self, read: impl FnOnce(&str) -> Result<Vec<u8>, String>) -> Result<Settings, String> {
        let Some(file) = self.get("config-file") else { return Ok(self) };
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
