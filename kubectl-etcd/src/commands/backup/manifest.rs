//! `FILE.json`: of what the snapshot is, for whoever restores it years later.

use std::path::Path;

use etcd_members::role;
use etcd_snapshot::Report;
use etcd_wire::message::{Member as Listed, MemberStatus, Sha256};
use jiff::Timestamp;
use serde::Serialize;

use super::choose::Choice;
use crate::control_plane::ControlPlane;
use crate::discovery::{ApiServer, EtcdPod};
use crate::etcd_clusters::lists;
use crate::kube_system::Served;
use crate::output::API_VERSION;
use crate::output::{Failed, Table, bytes, timestamp};
use crate::sidecar::Surveyed;

/// The whole document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    api_version: &'static str,
    kind: &'static str,
    /// When the backup began, UTC.
    taken_at: String,
    plugin_version: &'static str,
    sidecar_image: String,
    /// What the snapshot holds: `cluster`, the resources of an etcd of their own (`events`), or `other`.
    contents: String,
    cluster: Cluster,
    source: Source,
    members: Vec<Member>,
    /// The nodes with API servers: some may have no member.
    api_servers: Vec<ApiServerNode>,
    snapshot: Snapshot,
    /// Where on the source's node a copy is.
    on_node: Option<String>,
}

/// Which cluster it is, by everything that can tell it from another.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    /// Name in the kubeconfig.
    name: String,
    server: String,
    /// UID of the namespace kube-system, which a cluster keeps for life.
    kube_system_uid: Option<String>,
    kubernetes_version: Option<String>,
    etcd_cluster_id: String,
    #[serde(skip)]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    node: String,
    name: String,
    member_id: String,
    endpoint: String,
    role: &'static str,
    etcd_version: String,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    #[serde(flatten)]
    pod: EtcdPod,
    id: Option<String>,
    role: Option<&'static str>,
    /// What the member itself said; `None` for one that was not asked or did not answer.
    etcd_version: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiServerNode {
    node: String,
    addresses: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    file: String,
    /// Bytes of the file, with the digest at its end.
    size: u64,
    /// SHA-256 of the file.
    sha256: String,
    /// The rest is known once the pages were checked: not for a snapshot that went into a pipe.
    revision: Option<i64>,
    hash: Option<u32>,
    total_key: Option<u64>,
    total_size: Option<u64>,
    version: Option<String>,
}

/// What is known of the snapshot itself.
pub(super) struct Taken<'a> {
    pub(super) at: Timestamp,
    pub(super) file: String,
    pub(super) sha256: [u8; 32],
    /// Bytes of the database, without the digest.
    pub(super) length: u64,
    pub(super) report: Option<&'a Report>,
    pub(super) kept: Option<String>,
    /// See [`crate::etcd_clusters::Contents`].
    pub(super) contents: String,
}

/// Whose the snapshot is.
pub(super) struct Known<'a> {
    /// Namespace kube-system as the API serves it, or why that is not known.
    pub(super) served: Result<&'a Served, &'a str>,
    /// UID of the namespace in the snapshot, where it could be read.
    pub(super) in_file: Option<String>,
}

impl Cluster {
    /// Asks the API server. A user who may not see the namespace (which `identity` then says) still gets a backup, with a warning.
    pub(super) async fn ask(plane: &ControlPlane, status: &MemberStatus, identity: Known<'_>) -> Cluster {
        let mut cluster = Cluster {
            name: plane.cluster().to_owned(),
            server: plane.server().to_owned(),
            etcd_cluster_id: format!("{:x}", status.cluster_id),
            ..Cluster::default()
        };
        match (identity.served, identity.in_file) {
            (Ok(served), _) => cluster.kube_system_uid = Some(served.uid.clone()),
            // Nobody else can be asked.
            (Err(_), Some(uid)) if plane.api().is_none() => cluster.kube_system_uid = Some(uid),
            (Err(why), _) => cluster.warnings.push(format!("the cluster's identity is not recorded: {why}")),
        }
        match plane.kubernetes_version().await {
            Ok(version) => cluster.kubernetes_version = version,
            Err(error) => {
                let failed = Failed::plain("the Kubernetes version is not recorded");
                cluster.warnings.push(failed.source(&error).one_line());
            }
        }
        cluster
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Member {
    fn without_pod(listed: &Listed) -> Member {
        let pod = EtcdPod {
            name: listed.name.clone(),
            client_urls: listed.client_urls.clone(),
            peer_urls: listed.peer_urls.clone(),
            ..EtcdPod::default()
        };
        Member { pod, id: Some(format!("{:x}", listed.id)), role: None, etcd_version: None }
    }
}

impl Manifest {
    pub(super) fn of(
        cluster: Cluster,
        choice: &Choice<'_>,
        (every, api_servers): (&[EtcdPod], &[ApiServer]),
        cluster_members: &[&Surveyed],
        image: &str,
        taken: Taken<'_>,
    ) -> Manifest {
        let status = choice.status;
        let source = Source {
            node: choice.member.node.clone(),
            name: choice.member.name.clone(),
            member_id: format!("{:x}", status.member_id),
            endpoint: status.endpoint.clone(),
            role: role(status),
            etcd_version: status.version.clone(),
            reason: choice.reason.clone(),
        };
        let asked = |pod: &EtcdPod| {
            let same = |one: &&&Surveyed| (&one.member.node, &one.member.pod) == (&pod.node, &pod.pod);
            cluster_members.iter().find(same).copied()
        };
        // Members of other clusters are none of this one's.
        let known = |pod: &EtcdPod| !pod.pod.is_empty() || pod.service.is_some();
        let ours = |pod: &&EtcdPod| known(pod) && (asked(pod).is_some() || lists(&status.members, pod));
        let member = |pod: &EtcdPod| {
            let said = asked(pod).and_then(|one| one.etcd().ok());
            let listed = status.members.iter().find(|listed| listed.name == pod.name).map(|listed| listed.id);
            Member {
                pod: pod.clone(),
                id: said.map(|said| said.member_id).or(listed).map(|id| format!("{id:x}")),
                role: said.map(role),
                etcd_version: said.map(|said| said.version.clone()),
            }
        };
        let mut members: Vec<Member> = every.iter().filter(ours).map(member).collect();
        // Members that etcd knows of and that no pod was found for; all of them, where etcd runs outside the cluster.
        let known = |listed: &Listed| members.iter().any(|one| one.pod.name == listed.name);
        let others: Vec<Member> =
            status.members.iter().filter(|listed| !known(listed)).map(Member::without_pod).collect();
        members.extend(others);
        let report = taken.report;
        Manifest {
            api_version: API_VERSION,
            kind: "Backup",
            taken_at: timestamp(taken.at),
            plugin_version: env!("CARGO_PKG_VERSION"),
            sidecar_image: image.to_owned(),
            contents: taken.contents,
            cluster,
            source,
            members,
            api_servers: api_servers
                .iter()
                .filter(|server| !server.node.is_empty())
                .map(|server| ApiServerNode { node: server.node.clone(), addresses: server.addresses.clone() })
                .collect(),
            snapshot: Snapshot {
                file: taken.file,
                size: taken.length + 32,
                sha256: Sha256(taken.sha256).to_string(),
                revision: report.map(|report| report.revision),
                hash: report.map(|report| report.hash),
                total_key: report.map(|report| report.total_key),
                total_size: report.map(|report| report.total_size),
                version: report.map(|report| report.version.clone()),
            },
            on_node: taken.kept,
        }
    }

    pub(super) fn sha256(&self) -> &str {
        &self.snapshot.sha256
    }

    /// For people: the figures that matter.
    pub(super) fn human(&self, path: &Path, wide: bool) -> String {
        let mut headers = vec!["FILE", "SIZE", "REVISION", "KEYS"];
        let shown = |number: Option<String>| number.unwrap_or_default();
        let mut row = vec![
            path.display().to_string(),
            bytes(self.snapshot.size),
            shown(self.snapshot.revision.map(|r| r.to_string())),
            shown(self.snapshot.total_key.map(|k| k.to_string())),
        ];
        if wide {
            headers.extend(["HASH", "MEMBER", "ETCD"]);
            row.push(shown(self.snapshot.hash.map(|h| format!("{h:x}"))));
            row.extend([self.source.name.clone(), self.source.etcd_version.clone()]);
        }
        let mut table = Table::new(&headers);
        table.row(row);
        table.to_string()
    }

    /// How the backup has ended, in a line, and what is to be done next in another.
    pub(super) fn result(&self, path: &Path, took: &str) -> String {
        let revision = self.snapshot.revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
        format!(
            "backed up cluster {} in {took}: {}{revision}, verified\n  next, copy {} off this machine",
            self.cluster.name,
            bytes(self.snapshot.size),
            path.display()
        )
    }
}
