//! What is recorded of the control plane for a restore on new machines: what the members say, and what the manifests, or the unit of etcd, and the
//! certificates of this node show. Nodes bear the names of their members: a pod does not ask the API.

use etcd_store::{Api, Certificate, ManifestDigest, Member, RecoveryPlan};
use etcd_wire::Digest;
use etcd_wire::message::{MemberStatus, Sha256};
use serde::Deserialize;

use super::node::{KUBERNETES, Node};
use crate::certificate;

/// The plan. `local` is the ID of the member on this node.
pub(super) fn plan(node: &Node, status: &MemberStatus, local: Option<u64>) -> RecoveryPlan {
    let nodes = status.members.iter().map(|listed| {
        let member = Member {
            name: listed.name.clone(),
            id: Some(format!("{:x}", listed.id)),
            peer_urls: listed.peer_urls.clone(),
            client_urls: listed.client_urls.clone(),
            ..Member::default()
        };
        let of = etcd_store::Node {
            name: listed.name.clone(),
            addresses: addresses(&listed.peer_urls),
            ..etcd_store::Node::default()
        };
        match local == Some(listed.id) {
            true => etcd_store::Node {
                member: Some(with_settings(member, node)),
                manifests_folder: node.static_pods().next().map(|_| format!("{KUBERNETES}/manifests")),
                manifests: digests(node),
                ..of
            },
            false => etcd_store::Node { member: Some(member), ..of },
        }
    });
    let secure_port = node.api_server().and_then(|server| server.flag("secure-port")?.parse().ok());
    let api = server(node).map(|server| Api { server, secure_port });
    RecoveryPlan { nodes: nodes.collect(), api }
}

/// The hosts of URLs, each once.
fn addresses(urls: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for host in
        urls.iter().filter_map(|url| Some(url.parse::<http::Uri>().ok()?.host()?.trim_matches(['[', ']']).to_owned()))
    {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

fn with_settings(member: Member, node: &Node) -> Member {
    let etcd = node.etcd();
    let path = |flag: &str| Some(node.host(flag)?.display().to_string());
    Member {
        data_dir: path("data-dir"),
        wal_dir: path("wal-dir"),
        image: Some(etcd.image.clone()).filter(|image| !image.is_empty()),
        flags: match &etcd.unit {
            // The words of its command line may have variables in them, and variables may be secrets.
            Some(unit) => unit.settings.iter().map(|(name, value)| format!("--{name}={value}")).collect(),
            None => etcd.argv.iter().filter(|word| word.starts_with('-')).cloned().collect(),
        },
        quota_bytes: etcd.flag("quota-backend-bytes").and_then(|quota| quota.parse().ok()),
        certificates: certificates(node),
        ..member
    }
}

fn certificates(node: &Node) -> Vec<Certificate> {
    let flags = [
        ("ca", "trusted-ca-file"),
        ("server", "cert-file"),
        ("peer-ca", "peer-trusted-ca-file"),
        ("peer", "peer-cert-file"),
    ];
    let found = flags.into_iter().filter_map(|(purpose, flag)| {
        let host = node.host(flag)?;
        let told = certificate::describe(&node.here(&host).display().to_string());
        let fingerprint = told.fingerprint.map(|print| print.to_string());
        Some(Certificate { purpose: purpose.to_owned(), path: host.display().to_string(), fingerprint })
    });
    found.collect()
}

/// Digests of the manifests that can be read.
fn digests(node: &Node) -> Vec<ManifestDigest> {
    let found = node.static_pods().filter_map(|manifest| {
        let bytes = std::fs::read(node.dir.join(&manifest.file)).ok()?;
        let mut digest = Digest::new();
        digest.update(&bytes);
        Some(ManifestDigest { file: manifest.file.clone(), sha256: Sha256(digest.finish()).to_string() })
    });
    found.collect()
}

/// Where the API is, as the kubelet of this node is told. Nothing else is read of its file, which has keys.
fn server(node: &Node) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        clusters: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        cluster: Cluster,
    }
    #[derive(Deserialize)]
    struct Cluster {
        server: String,
    }
    let bytes = std::fs::read(node.folder.join("kubelet.conf")).ok()?;
    let config: Config = serde_yaml_ng::from_slice(&bytes).ok()?;
    config.clusters.into_iter().next().map(|entry| entry.cluster.server)
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::Member as Listed;

    use super::super::node::tests::kubeadm;
    use super::*;

    #[test]
    fn what_the_node_shows_is_recorded_and_the_rest_is_left_open() {
        let (folder, node) = kubeadm();
        let kubelet =
            "clusters:\n- name: x\n  cluster: {server: 'https://api:6443'}\nusers: [{user: {token: SECRET}}]\n";
        std::fs::write(folder.path().join("kubelet.conf"), kubelet).unwrap();
        let listed = |id, name: &str| Listed {
            id,
            name: name.to_owned(),
            peer_urls: vec![format!("https://10.0.0.{id}:2380")],
            ..Listed::default()
        };
        let status = MemberStatus { members: vec![listed(1, "cp1"), listed(2, "cp2")], ..MemberStatus::default() };
        let plan = plan(&node, &status, Some(2));
        let api = plan.api.as_ref().expect("an API");
        assert_eq!((api.server.as_str(), api.secure_port), ("https://api:6443", Some(6443)));
        let (first, second) = (&plan.nodes[0], &plan.nodes[1]);
        assert_eq!((first.name.as_str(), first.addresses.as_slice()), ("cp1", &["10.0.0.1".to_owned()][..]));
        assert!(first.manifests.is_empty() && first.member.as_ref().expect("a member").data_dir.is_none());
        let member = second.member.as_ref().expect("a member");
        assert_eq!((member.id.as_deref(), member.data_dir.as_deref()), (Some("2"), Some("/var/lib/etcd")));
        assert!(member.image.as_ref().expect("an image").contains("etcd:"));
        assert!(member.flags.iter().any(|flag| flag.starts_with("--data-dir=")));
        let purposes: Vec<&str> = member.certificates.iter().map(|one| one.purpose.as_str()).collect();
        assert_eq!(purposes, ["ca", "server", "peer-ca", "peer"]);
        assert_eq!(member.certificates[0].path, "/etc/kubernetes/pki/etcd/ca.crt");
        assert_eq!(second.manifests.len(), 4);
        assert!(!format!("{plan:?}").contains("SECRET"));
    }

    #[test]
    fn hosts_of_urls() {
        let urls = ["https://10.0.0.1:2380", "https://[fd00::1]:2380", "https://10.0.0.1:2381", "nonsense "];
        assert_eq!(addresses(&urls.map(str::to_owned)), ["10.0.0.1", "fd00::1"]);
    }
}
