//! What is known of a control plane. Whoever collects it changes nothing.

use etcd_wire::facts::{Encryption, HealthFacts, NodeFacts};
use etcd_wire::message::{Certificate, MemberHash, MemberStatus};

use crate::left_overs::LeftOvers;
use crate::start::Start;

/// Something that is known, or why it is not: one line.
pub type Known<T> = Result<T, String>;

/// Everything that checks judge.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The clock of who asks.
    pub now: i64,
    /// The nodes on which members of etcd run, as far as they are known.
    pub nodes: Vec<Node>,
    /// Members of which nothing else is known, each with the reason.
    pub unreadable: Vec<String>,
    /// Versions of the Kubernetes components of the control plane.
    pub components: Known<Vec<Component>>,
    /// The client certificate of the kubeconfig; `None` if the user has another way to log in.
    pub kubeconfig: Known<Option<Certificate>>,
    /// What a store has of the cluster.
    pub backups: Known<Backups>,
    /// Who could be reached without an API server.
    pub logins: Known<Vec<Login>>,
    /// What a restore may have left over.
    pub left_overs: LeftOvers,
}

/// A node and its member.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name of the node.
    pub node: String,
    /// The member's name in etcd.
    pub member: String,
    /// How etcd is started there.
    pub start: Start,
    /// The flags of etcd's command line as `--name=value`; empty where they are not known.
    pub flags: Vec<String>,
    /// Bytes that the member's database may have, where the server does not tell; 0: that is not known.
    pub quota: i64,
    /// What the member says of itself.
    pub status: Known<MemberStatus>,
    /// The certificate that it presents to clients, where that was looked at.
    pub served: Option<Certificate>,
    /// The files of certificates on the node.
    pub certificates: Known<Vec<Certificate>>,
    /// What its keys hash to. All members were asked for one revision; `None` of a learner, which is not asked.
    pub hash: Known<Option<MemberHash>>,
    /// What the node's disk tells.
    pub disk: Known<NodeFacts>,
    /// How far the node's clock is from that of who asks.
    pub clock: Known<Clock>,
    /// What restores, and replacements of its member, have left on the node.
    pub kept: Known<Vec<Kept>>,
}

impl Node {
    /// The value of a flag of etcd.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        let mut values =
            self.flags.iter().filter_map(|flag| flag.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='));
        values.next_back()
    }

    pub(crate) fn status(&self) -> Known<&MemberStatus> {
        self.status.as_ref().map_err(Clone::clone)
    }

    pub(crate) fn certificates(&self) -> Known<&[Certificate]> {
        self.certificates.as_deref().map_err(Clone::clone)
    }

    pub(crate) fn clock(&self) -> Known<&Clock> {
        self.clock.as_ref().map_err(Clone::clone)
    }

    pub(crate) fn disk(&self) -> Known<&NodeFacts> {
        self.disk.as_ref().map_err(Clone::clone)
    }

    pub(crate) fn health(&self) -> Known<&HealthFacts> {
        self.disk()?.health.as_ref().ok_or_else(|| "the sidecar cannot tell: it is of another version".to_owned())
    }

    pub(crate) fn encryption(&self) -> Known<&Encryption> {
        match &self.disk()?.encryption {
            Encryption::Unknown => Err("the API server's manifest is not known".to_owned()),
            known => Ok(known),
        }
    }

    /// Names the member for people: with its node, where the names differ.
    pub(crate) fn title(&self) -> String {
        match self.member.is_empty() || self.member == self.node {
            true => self.node.clone(),
            false => format!("{} (node {})", self.member, self.node),
        }
    }
}

/// How far a clock is ahead, and how certain that is. Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// Ahead of the clock of who asks.
    pub ahead_ms: i64,
    /// By how much that may be wrong, either way.
    pub within_ms: i64,
}

/// What a change by this program was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change {
    /// A restore, a rollback or a recovery.
    #[default]
    Restore,
    /// A replacement of the node's member.
    Replacement,
}

/// A change that has left something on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// What it was.
    pub change: Change,
    /// Its ID.
    pub id: String,
    /// Whether it has ended on this node.
    pub ended: bool,
    /// Bytes of old data.
    pub bytes: u64,
}

/// A component of Kubernetes on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Component {
    /// Name of the node.
    pub node: String,
    /// `kubelet`, `kube-apiserver`.
    pub name: &'static str,
    /// Such as `v1.33.1`.
    pub version: String,
}

/// What a store has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backups {
    /// The store, for people.
    pub store: String,
    /// The newest backup that counts; `None`: there is none.
    pub newest: Option<BackupAge>,
    /// The age from which on it is too old, seconds.
    pub max_age: i64,
    /// Why none counts, or a newer one does not.
    pub why: String,
}

/// The newest backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupAge {
    /// Its name.
    pub name: String,
    /// Seconds.
    pub age: i64,
    /// Whether certificates and keys of the control plane are stored with it.
    pub has_node_files: bool,
}

/// A node that was logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Name of the node.
    pub node: String,
    /// Whether a program could be run there as root, or why not.
    pub outcome: Known<()>,
}
