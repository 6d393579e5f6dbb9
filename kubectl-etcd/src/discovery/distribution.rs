//! Which kind of Kubernetes shows no etcd pods, and how its etcd is backed up. Pure functions.

use k8s_openapi::api::core::v1::Node;

use crate::output::visible::quoted;
use crate::typed::Typed;

/// What is known of a cluster.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) nodes: Vec<NodeFacts>,
    /// Whether there is a namespace `openshift-etcd`.
    pub(super) openshift: bool,
}

/// What a Node object tells.
#[derive(Debug, Default, Clone)]
pub(super) struct NodeFacts {
    name: String,
    /// Keys of labels and annotations.
    keys: Vec<String>,
    provider: String,
    kubelet: String,
    os: String,
}

impl From<&Node> for NodeFacts {
    fn from(node: &Node) -> NodeFacts {
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        let labels = node.metadata.labels.iter().flatten().map(|(key, _)| key.clone());
        let annotations = node.metadata.annotations.iter().flatten().map(|(key, _)| key.clone());
        NodeFacts {
            name: node.metadata.name.clone().unwrap_or_default(),
            keys: labels.chain(annotations).collect(),
            provider: node.spec.as_ref().and_then(|spec| spec.provider_id.clone()).unwrap_or_default(),
            kubelet: info.map(|info| info.kubelet_version.clone()).unwrap_or_default(),
            os: info.map(|info| info.os_image.clone()).unwrap_or_default(),
        }
    }
}

impl NodeFacts {
    fn has(&self, prefix: &str) -> bool {
        self.keys.iter().any(|key| key.starts_with(prefix))
    }

    fn is_control_plane(&self) -> bool {
        ["control-plane", "master", "etcd"].iter().any(|role| self.has(&format!("node-role.kubernetes.io/{role}")))
    }
}

/// Managed control planes: name, the label that nodes have, and what is in the version of the kubelet.
const MANAGED: [(&str, &str, &str); 11] = [
    ("EKS", "eks.amazonaws.com/", "-eks-"),
    ("GKE", "cloud.google.com/gke-", "-gke."),
    ("AKS", "kubernetes.azure.com/cluster", ""),
    ("DigitalOcean Kubernetes (DOKS)", "doks.digitalocean.com/", ""),
    ("Linode Kubernetes Engine (LKE)", "lke.linode.com/", ""),
    ("Oracle OKE", "oke.oraclecloud.com/", ""),
    ("IBM Cloud Kubernetes Service", "ibm-cloud.kubernetes.io/", "+IKS"),
    ("Alibaba Cloud ACK", "alibabacloud.com/nodepool-id", "-aliyun."),
    ("Scaleway Kapsule", "k8s.scaleway.com/", ""),
    ("OVHcloud Managed Kubernetes", "k8s.ovh.net/", ""),
    ("Vultr Kubernetes Engine", "vke.vultr.com/", ""),
];

/// Kinds of Kubernetes whose etcd is not in pods as kubeadm makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    K3s,
    /// k3s on SQLite, or on another database.
    K3sWithoutEtcd,
    Rke2,
    K0s,
    Talos,
    OpenShift,
    Kops,
    MicroK8s,
    /// The provider runs the control plane.
    Managed(&'static str),
    /// None of the nodes belongs to a control plane: somebody else runs it.
    Hosted,
}

/// Which kind it is, as far as that can be told.
pub(super) fn distribution(facts: &Facts) -> Option<Distribution> {
    let nodes = &facts.nodes;
    let any = |test: &dyn Fn(&NodeFacts) -> bool| nodes.iter().any(test);
    if any(&|node| node.kubelet.contains("+rke2r")) {
        return Some(Distribution::Rke2);
    }
    if any(&|node| node.kubelet.contains("+k3s")) {
        let etcd = any(&|node| node.has("node-role.kubernetes.io/etcd") || node.has("etcd.k3s.cattle.io/"));
        return Some(if etcd { Distribution::K3s } else { Distribution::K3sWithoutEtcd });
    }
    if any(&|node| node.kubelet.contains("+k0s")) {
        return Some(Distribution::K0s);
    }
    if any(&|node| node.os.starts_with("Talos")) {
        return Some(Distribution::Talos);
    }
    if facts.openshift || any(&|node| node.has("machineconfiguration.openshift.io/")) {
        return Some(Distribution::OpenShift);
    }
    if any(&|node| node.has("kops.k8s.io/")) {
        return Some(Distribution::Kops);
    }
    if any(&|node| node.has("microk8s.io/")) {
        return Some(Distribution::MicroK8s);
    }
    if nodes.is_empty() || any(&NodeFacts::is_control_plane) {
        return None;
    }
    let of = |(_, label, version): &&(&str, &str, &str)| {
        any(&|node| node.has(label) || (!version.is_empty() && node.kubelet.contains(version)))
    };
    match MANAGED.iter().find(of) {
        Some((name, ..)) => Some(Distribution::Managed(name)),
        None if nodes.iter().all(|node| !node.provider.is_empty()) => Some(Distribution::Hosted),
        None => None,
    }
}

/// Where etcd is in one of these kinds, and the commands for it.
struct Vendor {
    cause: &'static str,
    /// Where the commands run.
    place: &'static str,
    look: &'static str,
    save: &'static str,
    restore: &'static str,
    /// The URL of a member on its node, and the folder of certificate, key and authority, where they are always the same.
    reach: Option<(&'static str, [&'static str; 3])>,
}

impl Distribution {
    fn vendor(self) -> Option<Vendor> {
        Some(match self {
            Distribution::K3s => Vendor {
                cause: "this is k3s: etcd runs in the k3s process of its servers, not in pods",
                place: "on a server node",
                look: "k3s etcd-snapshot ls",
                save: "k3s etcd-snapshot save",
                restore: "k3s server --cluster-reset --cluster-reset-restore-path=FILE",
                reach: Some((
                    "https://127.0.0.1:2379",
                    [
                        "/var/lib/rancher/k3s/server/tls/etcd/server-ca.crt",
                        "/var/lib/rancher/k3s/server/tls/etcd/client.crt",
                        "/var/lib/rancher/k3s/server/tls/etcd/client.key",
                    ],
                )),
            },
            Distribution::Rke2 => Vendor {
                cause: "this is RKE2: its agent writes the etcd pods, and rewrites them",
                place: "on a server node",
                look: "rke2 etcd-snapshot ls",
                save: "rke2 etcd-snapshot save",
                restore: "rke2 server --cluster-reset --cluster-reset-restore-path=FILE",
                reach: Some((
                    "https://127.0.0.1:2379",
                    [
                        "/var/lib/rancher/rke2/server/tls/etcd/server-ca.crt",
                        "/var/lib/rancher/rke2/server/tls/etcd/client.crt",
                        "/var/lib/rancher/rke2/server/tls/etcd/client.key",
                    ],
                )),
            },
            Distribution::K0s => Vendor {
                cause: "this is k0s: etcd runs as a process of its controllers, which are no nodes of the cluster",
                place: "on a controller",
                look: "k0s etcd member-list",
                save: "k0s backup --save-path=DIR",
                restore: "k0s restore FILE",
                reach: None,
            },
            Distribution::Talos => Vendor {
                cause: "this is Talos Linux: etcd is a service of the operating system, not a pod",
                place: "from here",
                look: "talosctl -n NODE_IP etcd status",
                save: "talosctl -n NODE_IP etcd snapshot db.snapshot",
                restore: "talosctl -n NODE_IP bootstrap --recover-from=./db.snapshot",
                reach: None,
            },
            Distribution::OpenShift => Vendor {
                cause: "this is OpenShift: an operator writes the etcd pods, in namespace openshift-etcd",
                place: "from here",
                look: "oc get pods -n openshift-etcd -l app=etcd",
                save: "oc debug --as-root node/NODE -- chroot /host \\\n    /usr/local/bin/cluster-backup.sh /home/core/assets/backup",
                restore: "oc debug --as-root node/NODE -- chroot /host \\\n    /usr/local/bin/cluster-restore.sh /home/core/assets/backup",
                reach: None,
            },
            Distribution::Kops => Vendor {
                cause: "this is kOps: etcd-manager runs etcd, and backs it up to the state store by itself",
                place: "with access to the store that `kops get cluster -o yaml` shows as backupStore",
                look: "etcd-manager-ctl --backup-store=STORE list-backups",
                save: "etcd-manager-ctl --backup-store=STORE list-backups",
                restore: "etcd-manager-ctl --backup-store=STORE restore-backup NAME",
                reach: None,
            },
            Distribution::MicroK8s => Vendor {
                cause: "this is MicroK8s: its data is in dqlite, not in etcd",
                place: "on a node",
                look: "microk8s status",
                save: "microk8s dbctl backup",
                restore: "microk8s dbctl restore FILE",
                reach: None,
            },
            Distribution::K3sWithoutEtcd | Distribution::Managed(_) | Distribution::Hosted => return None,
        })
    }

    /// What kind it is.
    pub(super) fn cause(self, facts: &Facts) -> String {
        match self {
            Distribution::K3sWithoutEtcd => {
                "this is k3s without embedded etcd: its data is in SQLite, or in a database that it was given"
                    .to_owned()
            }
            Distribution::Managed(name) => {
                format!("this is {name}: the provider runs the control plane, and hides its etcd")
            }
            Distribution::Hosted => {
                format!("none of the {} nodes is of the control plane: it runs elsewhere", facts.nodes.len())
            }
            other => other.vendor().map(|vendor| vendor.cause.to_owned()).unwrap_or_default(),
        }
    }

    /// What does here what was typed, and what of ours works. `reachable`: how a member is reached is told besides.
    pub(super) fn hints(self, facts: &Facts, typed: &Typed, reachable: bool) -> Vec<String> {
        match self {
            Distribution::Managed(_) => {
                return vec![
                    "the provider backs up and restores etcd; kubectl etcd cannot. To back up your own objects, use a \
                     tool that works through the API, such as Velero"
                        .to_owned(),
                ];
            }
            Distribution::Hosted => {
                return vec![
                    "who runs the control plane backs up its etcd: the provider, or the cluster that hosts it"
                        .to_owned(),
                ];
            }
            Distribution::K3sWithoutEtcd => {
                return vec![
                    "there is no etcd to back up: k3s says how its database is\n  \
                     https://docs.k3s.io/datastore/backup-restore"
                        .to_owned(),
                ];
            }
            _ => {}
        }
        let Some(vendor) = self.vendor() else { return Vec::new() };
        let node = facts.nodes.iter().find(|node| node.is_control_plane()).map_or("NODE", |node| &node.name);
        let command = match typed.command() {
            "backup" => vendor.save,
            "restore" | "rollback" => vendor.restore,
            _ => vendor.look,
        };
        let mut hints =
            vec![format!("{}\n  {}", vendor.place, command.replace("NODE ", &format!("{} ", quoted(node))))];
        let reads = ["backup", "status", "verify"].contains(&typed.command());
        match vendor.reach {
            Some((url, [ca, cert, key])) if reads && !reachable => {
                let flags =
                    [("--node", node), ("--endpoints", url), ("--cacert", ca), ("--cert", cert), ("--key", key)];
                hints.push(format!(
                    "or reach a member by the files in the default data directory\n  {}",
                    lines(&typed.with(&flags))
                ));
            }
            _ => {}
        }
        if self != Distribution::MicroK8s {
            hints.push(
                "a snapshot file of it can be checked and looked into here\n  kubectl etcd verify FILE\n  \
                 kubectl etcd inspect FILE"
                    .to_owned(),
            );
        }
        hints
    }
}

/// A command line with its flags for etcd on lines of their own.
pub(super) fn lines(command: &str) -> String {
    ["--endpoints", "--cacert", "--cert", "--key"]
        .iter()
        .fold(command.to_owned(), |command, flag| command.replace(&format!(" {flag} "), &format!(" \\\n    {flag} ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(keys: &[&str], kubelet: &str, os: &str, provider: &str) -> NodeFacts {
        let labels: serde_json::Map<String, serde_json::Value> =
            keys.iter().map(|key| ((*key).to_owned(), "".into())).collect();
        let node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "n1", "labels": labels},
            "spec": {"providerID": provider},
            "status": {"nodeInfo": {"kubeletVersion": kubelet, "osImage": os, "architecture": "", "bootID": "",
                "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
                "operatingSystem": "", "systemUUID": ""}}}))
        .expect("a node");
        NodeFacts::from(&node)
    }

    const CP: &str = "node-role.kubernetes.io/control-plane";

    #[test]
    fn each_kind_is_known_by_its_nodes() {
        let ubuntu = "Ubuntu 24.04";
        for (keys, kubelet, os, provider, kind) in [
            (&[CP, "node-role.kubernetes.io/etcd"][..], "v1.31.2+k3s1", ubuntu, "k3s://n1", Some(Distribution::K3s)),
            (&[CP], "v1.31.2+k3s1", ubuntu, "k3s://n1", Some(Distribution::K3sWithoutEtcd)),
            (&[CP], "v1.31.2+rke2r1", ubuntu, "rke2://n1", Some(Distribution::Rke2)),
            (&[], "v1.31.2+k0s", ubuntu, "", Some(Distribution::K0s)),
            (&[CP], "v1.31.2", "Talos (v1.8.1)", "", Some(Distribution::Talos)),
            (&[CP, "kops.k8s.io/instancegroup"], "v1.31.2", ubuntu, "aws:///eu/i-1", Some(Distribution::Kops)),
            (&["microk8s.io/cluster"], "v1.31.2", ubuntu, "", Some(Distribution::MicroK8s)),
            (&[CP, "machineconfiguration.openshift.io/state"], "v1.31.2", "RHCOS", "", Some(Distribution::OpenShift)),
            (&[], "v1.31.2-eks-7f9249a", "Amazon Linux", "aws:///eu/i-1", Some(Distribution::Managed("EKS"))),
            (&[], "v1.31.2-gke.1354000", "COS", "gce://p/z/n", Some(Distribution::Managed("GKE"))),
            (&["kubernetes.azure.com/cluster"], "v1.31.2", ubuntu, "azure:///x", Some(Distribution::Managed("AKS"))),
            // EKS Anywhere: kubeadm's control plane with the vendor's version.
            (&[CP], "v1.31.2-eks-7f9249a", ubuntu, "vsphere://x", None),
            (&[], "v1.31.2", ubuntu, "aws:///eu/i-1", Some(Distribution::Hosted)),
            (&[], "v1.31.2", ubuntu, "", None),
            (&[CP], "v1.31.2", ubuntu, "", None),
        ] {
            let facts = Facts { nodes: vec![node(keys, kubelet, os, provider)], openshift: false };
            assert_eq!(distribution(&facts), kind, "{keys:?} {kubelet} {os} {provider}");
        }
        assert_eq!(distribution(&Facts::default()), None);
        assert_eq!(distribution(&Facts { openshift: true, ..Facts::default() }), Some(Distribution::OpenShift));
    }

    fn hints(kind: Distribution, command: &str) -> String {
        let facts = Facts { nodes: vec![node(&[CP], "", "", "")], openshift: false };
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let typed = Typed::new(command.split(' ').next().unwrap_or_default(), &words);
        format!("{}\n{}", kind.cause(&facts), kind.hints(&facts, &typed, false).join("\n"))
    }

    #[test]
    fn a_hint_is_the_vendors_own_command_for_what_was_typed() {
        use Distribution::{Hosted, K0s, K3s, K3sWithoutEtcd, Kops, Managed, MicroK8s, OpenShift, Rke2, Talos};
        for (kind, command, parts) in [
            (K3s, "backup a.db", &["this is k3s", "k3s etcd-snapshot save", "kubectl etcd backup a.db --node n1"][..]),
            (K3s, "backup a.db", &["--cacert /var/lib/rancher/k3s/server/tls/etcd/server-ca.crt"]),
            (K3s, "restore a.db", &["k3s server --cluster-reset --cluster-reset-restore-path=FILE"]),
            (K3sWithoutEtcd, "backup", &["SQLite", "there is no etcd to back up"]),
            (Rke2, "backup", &["rke2 etcd-snapshot save", "/var/lib/rancher/rke2/server/tls/etcd/client.key"]),
            (Talos, "backup", &["Talos", "talosctl -n NODE_IP etcd snapshot db.snapshot", "kubectl etcd verify FILE"]),
            (Talos, "status", &["talosctl -n NODE_IP etcd status"]),
            (Talos, "restore a.db", &["bootstrap --recover-from"]),
            (OpenShift, "backup", &["oc debug --as-root node/n1 -- chroot /host", "cluster-backup.sh"]),
            (Kops, "restore a.db", &["kOps", "etcd-manager-ctl --backup-store=STORE restore-backup"]),
            (K0s, "backup", &["k0s backup --save-path=DIR"]),
            (MicroK8s, "backup", &["dqlite", "microk8s dbctl backup"]),
            (Managed("EKS"), "backup", &["this is EKS", "the provider backs up and restores etcd"]),
            (Hosted, "backup", &["none of the 1 nodes", "who runs the control plane"]),
        ] {
            let said = hints(kind, command);
            for part in parts {
                assert!(said.contains(part), "{kind:?} {command}: {part:?} is not in {said}");
            }
            let managed = matches!(kind, Managed(_) | Hosted);
            assert_eq!(said.contains("provider"), managed, "{kind:?}: {said}");
        }
        // A restore changes manifests that an agent rewrites: only its own command is named.
        assert!(!hints(K3s, "restore a.db").contains("--endpoints"));
    }
}
