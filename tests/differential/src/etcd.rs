//! The vendor's programs, by version.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::Setup;

/// The token of all clusters that are restored.
pub const TOKEN: &str = "restored";

/// The versions that `tests/install` provides, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Etcd {
    /// Debian 12's.
    V3_4_23,
    /// PyPI's.
    V3_5_1,
    /// Debian 13's.
    V3_5_16,
}

/// What `snapshot status -w json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Status {
    /// CRC-32C of all buckets.
    pub hash: u32,
    /// Revision of the last row.
    pub revision: i64,
    /// Items of all buckets.
    pub total_key: u64,
    /// Bytes of the database.
    pub total_size: u64,
}

impl Etcd {
    /// All of them.
    pub const ALL: [Etcd; 3] = [Etcd::V3_4_23, Etcd::V3_5_1, Etcd::V3_5_16];

    /// Those that can read a file of this one.
    pub fn and_newer(self) -> impl Iterator<Item = Etcd> {
        Self::ALL.into_iter().filter(move |other| *other >= self)
    }

    /// Its major and minor version.
    pub fn version(self) -> (u32, u32) {
        match self {
            Etcd::V3_4_23 => (3, 4),
            Etcd::V3_5_1 | Etcd::V3_5_16 => (3, 5),
        }
    }

    /// Whether it answers HashKV at a compaction's revision from what it remembers of that compaction.
    pub fn remembers_hashes(self) -> bool {
        self >= Etcd::V3_5_16
    }

    fn folder(self) -> PathBuf {
        let tools = workspace().join("target/tools");
        match self {
            Etcd::V3_4_23 => PathBuf::from("/usr/bin"),
            Etcd::V3_5_1 => tools.join("etcd-3.5.1"),
            Etcd::V3_5_16 => tools.join("etcd-3.5.16"),
        }
    }

    /// The server.
    pub fn server(self) -> PathBuf {
        self.folder().join("etcd")
    }

    /// Its tool for files: etcdutl, or in 3.4 etcdctl.
    pub fn tool(self) -> Command {
        let name = if self == Etcd::V3_4_23 { "etcdctl" } else { "etcdutl" };
        let mut command = Command::new(self.folder().join(name));
        command.env("ETCDCTL_API", "3");
        command
    }

    /// Its `snapshot status`, which checks the pages as bbolt does; an error is what the tool said.
    pub fn status(self, file: &Path) -> Result<Status, String> {
        let output = self.tool().args(["snapshot", "status", "-w", "json"]).arg(file).output().expect("the tool runs");
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// Its `snapshot restore` of a member, with more flags; an error is what the tool said.
    pub fn restore(self, file: &Path, setup: &Setup, more: &[&str]) -> Result<(), String> {
        let mut command = self.tool();
        command
            .args(["snapshot", "restore"])
            .arg(file)
            .arg("--data-dir")
            .arg(&setup.data_dir)
            .args(["--name", &setup.name, "--initial-cluster", &setup.initial_cluster])
            .args(["--initial-cluster-token", TOKEN, "--initial-advertise-peer-urls", &setup.peer_url()])
            .args(setup.wal_dir.iter().flat_map(|folder| [Path::new("--wal-dir"), folder]))
            .args(more);
        let output = command.output().expect("the tool runs");
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

/// The root of the sources.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate is in tests/differential").to_owned()
}
