//! Kubeconfig files as a test needs them, in a folder of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::Lab;
use serde_json::{Value, json};

/// The administrator's kubeconfig of a lab, in parts, and a folder for new ones.
pub(crate) struct Parts {
    folder: tempfile::TempDir,
    /// What stands below `cluster:`.
    pub(crate) cluster: Value,
    /// What stands below `user:`.
    pub(crate) user: Value,
}

impl Parts {
    pub(crate) fn of(lab: &Lab) -> Parts {
        let text = fs::read_to_string(lab.kubeconfig()).expect("the administrator's kubeconfig");
        let config: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        let (cluster, user) = (config["clusters"][0]["cluster"].clone(), config["users"][0]["user"].clone());
        Parts { folder: tempfile::tempdir().expect("a folder"), cluster, user }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file with this much of a kubeconfig: pairs of a section (`clusters`, `users`, `contexts`) and what is
    /// in it under the name `x`, and `current-context` as it is.
    pub(crate) fn write(&self, name: &str, sections: &[(&str, &Value)]) -> PathBuf {
        let mut config = json!({"apiVersion": "v1", "kind": "Config"});
        for &(section, value) in sections {
            config[section] = match section {
                "clusters" => json!([{"name": "x", "cluster": value}]),
                "users" => json!([{"name": "x", "user": value}]),
                "contexts" => json!([{"name": "x", "context": value}]),
                _ => value.clone(),
            };
        }
        let path = self.path(name);
        fs::write(&path, config.to_string()).expect("a kubeconfig is written");
        path
    }

    /// A whole kubeconfig of this cluster and this user.
    pub(crate) fn whole(&self, name: &str, cluster: &Value, user: &Value) -> PathBuf {
        let context = json!({"cluster": "x", "user": "x"});
        self.write(
            name,
            &[("clusters", cluster), ("users", user), ("contexts", &context), ("current-context", &json!("x"))],
        )
    }

    /// The user's certificate or key (`client-certificate`, `client-key`), as a PEM file.
    pub(crate) fn pem(&self, field: &str) -> PathBuf {
        let (encoded, path) = (self.path("encoded"), self.path(&format!("{field}.pem")));
        let data = self.user[format!("{field}-data")].as_str().expect("the administrator has a certificate");
        fs::write(&encoded, data).expect("a file is written");
        let decoded = Command::new("base64").arg("-d").arg(&encoded).output().expect("base64 runs");
        assert!(decoded.status.success());
        fs::write(&path, decoded.stdout).expect("a file is written");
        path
    }

    /// A program in the folder.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        fs::write(&path, text).expect("a script is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is made executable");
        path
    }
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the paths of a test are text")
}
