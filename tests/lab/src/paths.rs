//! Where a lab keeps its things: one record a lab under `/run/lab`, one state folder a lab, one folder a node in it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The folder of the records, one file a running lab.
pub(crate) const RECORDS: &str = "/run/lab";

/// A lab's state folder.
#[derive(Debug, Clone)]
pub(crate) struct State(PathBuf);

impl State {
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    pub(crate) fn users(&self) -> PathBuf {
        self.0.join("users")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.log"))
    }

    pub(crate) fn node(&self, name: &str) -> NodeDir {
        NodeDir(self.0.join("nodes").join(name))
    }
}

/// A node's folder in the state folder.
#[derive(Debug, Clone)]
pub(crate) struct NodeDir(PathBuf);

impl NodeDir {
    /// All that is the node's.
    pub(crate) fn all(&self) -> &Path {
        &self.0
    }

    /// What the node takes for its `/`.
    pub(crate) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// A path of the node on this machine.
    pub(crate) fn host(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.host(MANIFESTS)
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.host(PKI)
    }

    /// The OCI runtime's own state.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.0.join("runtime")
    }

    /// One folder a container: bundle, overlay, process id.
    pub(crate) fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    /// One folder a pod: its emptyDir volumes and its containers' output.
    pub(crate) fn pods(&self) -> PathBuf {
        self.0.join("pods")
    }

    /// Where the disk is mounted that its data directory shares with the journals, if it has one.
    pub(crate) fn disk(&self) -> PathBuf {
        self.0.join("disk")
    }

    /// What is on the node's disk, if it has one of its own.
    pub(crate) fn disk_image(&self) -> PathBuf {
        self.0.join("disk.img")
    }

    pub(crate) fn kubelet_log(&self) -> PathBuf {
        self.0.join("kubelet.log")
    }
}

/// Where kubeadm has the kubelet look for static pods.
pub(crate) const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// kubeadm's certificate folder.
pub(crate) const PKI: &str = "/etc/kubernetes/pki";
/// kubeadm's data directory of etcd.
pub(crate) const DATA_DIR: &str = "/var/lib/etcd";
/// The folder of the journals of restores.
pub(crate) const JOURNALS: &str = "/var/lib/kubectl-etcd";
/// Where a node with a service manager has the client of it.
pub(crate) const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// The folder of the units of a node.
pub(crate) const UNITS: &str = "/etc/systemd/system";
/// The folder of the API server's fault file.
pub(crate) const LAB_DIR: &str = "/var/lib/lab";

/// The addresses of one lab: a /24 of its own.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Subnet(pub(crate) u8);

impl Subnet {
    /// The bridge's own address.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, self.0, 1)
    }

    /// The load balancer's address.
    pub(crate) fn balancer(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, self.0, 2)
    }

    /// The address of the node with this number, from 1.
    pub(crate) fn node(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, self.0, 10 + number)
    }

    pub(crate) fn bridge(self) -> String {
        format!("lab{}", self.0)
    }
}

/// The name of the node with this number, from 1.
pub(crate) fn node_name(number: u8) -> String {
    format!("cp{number}")
}
