//! An etcd that the node starts itself, outside of static pods: as a systemd unit, or as installers leave its variables in a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Failure;

/// Answer to [`Request::Services`](crate::Request::Services).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeServices {
    /// Those that were found.
    pub etcd: Vec<EtcdService>,
    /// What could not be read.
    pub failures: Vec<Failure>,
}

/// How an etcd outside of static pods is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EtcdService {
    /// What has named it, for people: `the unit /etc/systemd/system/etcd.service`.
    pub found_by: String,
    /// Its settings by the names of etcd's flags, without dashes, whether they come from flags, variables or a configuration file. Those of a
    /// configuration file's sections have the flags' names, too: `client-transport-security.cert-file` is `cert-file`. Paths are the node's own,
    /// absolute. Only what tells where etcd is and how to reach it; variables may be secrets.
    pub settings: BTreeMap<String, String>,
    /// Where they come from; `None` from sidecars that do not tell.
    pub source: Option<SettingsSource>,
}

/// Where the settings of an etcd outside of static pods are, for whoever wants to change one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SettingsSource {
    /// The file of the systemd unit that starts it; `None` where only variables that an installer has left were found.
    pub unit: Option<String>,
    /// The flags on its command line, by their names without dashes. They win over variables.
    pub flags: Vec<String>,
    /// Files with variables, the last of which wins.
    pub environment_files: Vec<String>,
    /// Its configuration file. With one, neither flags nor variables count.
    pub config_file: Option<String>,
}
/// Whether a flag or a feature of a program in Go is on: as strconv.ParseBool reads it. kubespray writes `True`.
pub fn is_true(value: &str) -> bool {
    matches!(value.trim(), "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Whether a list of features (`--feature-gates=A=true,B=false`) turns one on.
pub fn has_feature(gates: &str, name: &str) -> bool {
    gates.split(',').any(|gate| gate.trim().split_once('=').is_some_and(|(gate, on)| gate == name && is_true(on)))
}
