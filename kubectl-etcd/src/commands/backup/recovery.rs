//! What is recorded of the control plane for a restore on new machines: a pure function of what discovery and the survey have found.

use std::collections::{BTreeMap, BTreeSet};

use etcd_store::{Api, Certificate, Member, Node, RecoveryPlan};
use etcd_wire::message::MemberStatus;

use crate::discovery::{ApiServer, EtcdPod};
use crate::etcd_clusters::lists;
use crate::sidecar::Surveyed;

/// What is known of a control plane.
pub(super) struct Known<'a> {
    /// The API's address in the kubeconfig; empty if none was asked.
    pub(super) server: &'a str,
    pub(super) api_servers: &'a [ApiServer],
    /// All members whose pods were found.
    pub(super) every: &'a [EtcdPod],
    /// Those of the cluster that were asked.
    pub(super) asked: &'a [&'a Surveyed],
    /// What the member says that the snapshot is taken from.
    pub(super) status: &'a MemberStatus,
}

impl Known<'_> {
    /// The plan. The manifests are not in it: only a pod that reads the files of a node sees them.
    pub(super) fn plan(&self) -> RecoveryPlan {
        let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
        // An etcd outside of pods is not always on the node that it is reached from: what it says of itself counts.
        for pod in self.every.iter().filter(|pod| !pod.pod.is_empty() || pod.service.is_some()) {
            let asked = self.asked_of(pod);
            // Members of other clusters are none of this one's.
            if asked.is_none() && !lists(&self.status.members, pod) {
                continue;
            }
            let node = nodes.entry(pod.node.clone()).or_default();
            node.addresses.clone_from(&pod.addresses);
            node.member = Some(self.member(pod, asked));
        }
        for api_server in self.api_servers.iter().filter(|one| !one.node.is_empty()) {
            let node = nodes.entry(api_server.node.clone()).or_default();
            if node.addresses.is_empty() {
                node.addresses.clone_from(&api_server.addresses);
            }
        }
        let named: BTreeSet<&str> =
            nodes.values().filter_map(|node| Some(node.member.as_ref()?.name.as_str())).collect();
        // Members that etcd knows of and that no pod was found for; all of them, where etcd runs outside of the cluster.
        let others = self.status.members.iter().filter(|listed| !named.contains(listed.name.as_str()));
        let others: Vec<Node> = others
            .map(|listed| Node {
                member: Some(Member {
                    name: listed.name.clone(),
                    id: Some(format!("{:x}", listed.id)),
                    peer_urls: listed.peer_urls.clone(),
                    client_urls: listed.client_urls.clone(),
                    ..Member::default()
                }),
                ..Node::default()
            })
            .collect();
        let nodes = nodes.into_iter().map(|(name, node)| Node { name, ..node }).chain(others).collect();
        let secure_port = self.api_servers.iter().find_map(|one| one.secure_port);
        let api = (!self.server.is_empty()).then(|| Api { server: self.server.to_owned(), secure_port });
        RecoveryPlan { nodes, api }
    }

    fn asked_of(&self, pod: &EtcdPod) -> Option<&Surveyed> {
        let same = |one: &&&Surveyed| (&one.member.node, &one.member.pod) == (&pod.node, &pod.pod);
        self.asked.iter().find(same).copied()
    }

    fn member(&self, pod: &EtcdPod, asked: Option<&Surveyed>) -> Member {
        let name = asked.map_or(&pod.name, |asked| &asked.member.name);
        let id = asked.and_then(|asked| Some(asked.etcd().ok()?.member_id));
        let listed = self.status.members.iter().find(|listed| Some(listed.id) == id || listed.name == *name);
        // What etcd says of its URLs counts: a member's flags say only with which ones it once joined.
        let urls = |said: Option<&Vec<String>>, flags: &[String]| match said {
            Some(said) if !said.is_empty() => said.clone(),
            _ => flags.to_vec(),
        };
        let owned = asked.and_then(|asked| asked.outcome.as_ref().ok()?.data_dir);
        Member {
            name: name.clone(),
            id: id.or(listed.map(|listed| listed.id)).map(|id| format!("{id:x}")),
            peer_urls: urls(listed.map(|listed| &listed.peer_urls), &pod.peer_urls),
            client_urls: urls(listed.map(|listed| &listed.client_urls), &pod.client_urls),
            data_dir: pod.data_dir.clone(),
            wal_dir: pod.wal_dir.clone(),
            image: Some(pod.image.clone()).filter(|image| !image.is_empty()),
            flags: pod.flags.clone(),
            quota_bytes: pod.set_quota().and_then(|quota| u64::try_from(quota).ok()),
            owner: owned.map(|owned| format!("{}:{}", owned.owner, owned.group)),
            mode: owned.map(|owned| format!("{:04o}", owned.mode)),
            certificates: certificates(pod, asked),
        }
    }
}

fn certificates(pod: &EtcdPod, asked: Option<&Surveyed>) -> Vec<Certificate> {
    let paths = &pod.certificates;
    let told = asked.and_then(|asked| asked.outcome.as_ref().ok()).map(|status| status.certificates.as_slice());
    let fingerprint =
        |path: &str| told?.iter().find(|one| one.path == path)?.fingerprint.map(|print| print.to_string());
    let named =
        [("ca", &paths.ca), ("server", &paths.server_cert), ("peer-ca", &paths.peer_ca), ("peer", &paths.peer_cert)];
    let named = named.into_iter().filter_map(|(purpose, path)| Some((purpose, path.clone()?)));
    let clients = pod.access.credentials.iter().map(|pair| ("client", pair.cert.clone()));
    let mut all: Vec<Certificate> = named
        .chain(clients)
        .map(|(purpose, path)| Certificate { purpose: purpose.to_owned(), fingerprint: fingerprint(&path), path })
        .collect();
    // A client certificate may be the server's: it is told once for each purpose.
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::{Certificate as Told, Member as Listed, NodeStatus, Owned, Sha256};

    use super::*;
    use crate::sidecar::Via;

    fn pod(node: &str) -> EtcdPod {
        let mut pod = EtcdPod {
            node: node.to_owned(),
            name: node.to_owned(),
            pod: format!("etcd-{node}"),
            image: "etcd:3.6".to_owned(),
            peer_urls: vec!["https://old:2380".to_owned()],
            data_dir: Some("/var/lib/etcd".to_owned()),
            addresses: vec!["10.0.0.1".to_owned()],
            flags: vec!["--name=x".to_owned()],
            ..EtcdPod::default()
        };
        pod.certificates.ca = Some("/pki/ca.crt".to_owned());
        pod.certificates.peer_ca = Some("/elsewhere/ca.crt".to_owned());
        pod
    }

    fn surveyed(pod: EtcdPod, id: u64) -> Surveyed {
        let status = MemberStatus { member_id: id, ..MemberStatus::default() };
        let ca = Told { path: "/pki/ca.crt".to_owned(), fingerprint: Some(Sha256([0xab; 32])), ..Told::default() };
        let data_dir = Some(Owned { owner: 997, group: 996, mode: 0o700 });
        let status = NodeStatus { etcd: Some(status), certificates: vec![ca], data_dir, ..NodeStatus::default() };
        Surveyed { member: pod, outcome: Ok(status), via: Via::Sidecar, sidecar: None, served: None }
    }

    #[test]
    fn what_is_known_is_recorded_and_the_rest_is_left_open() {
        let listed = |id, name: &str| Listed {
            id,
            name: name.to_owned(),
            peer_urls: vec![format!("https://{name}:2380")],
            ..Listed::default()
        };
        let status = MemberStatus {
            members: vec![listed(0xa1, "cp1"), listed(0xa2, "cp2"), listed(0xa3, "outside")],
            ..MemberStatus::default()
        };
        // cp2 was not asked; the other one is of another etcd.
        let mut events = pod("cp1");
        (events.pod, events.name, events.peer_urls) =
            ("etcd-events".into(), "events".into(), vec!["https://e:2382".into()]);
        let mut second = pod("cp2");
        second.peer_urls = vec!["https://cp2:2380".to_owned()];
        let every = [pod("cp1"), second, events];
        let first = surveyed(pod("cp1"), 0xa1);
        let api_servers = [ApiServer {
            node: "cp3".into(),
            addresses: vec!["10.0.0.3".into()],
            secure_port: Some(6443),
            ..Default::default()
        }];
        let known = Known {
            server: "https://api:6443",
            api_servers: &api_servers,
            every: &every,
            asked: &[&first],
            status: &status,
        };
        let plan = known.plan();
        assert_eq!(plan.api.as_ref().and_then(|api| api.secure_port), Some(6443));
        let names: Vec<&str> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["cp1", "cp2", "cp3", ""]);
        let of = |index: usize| plan.nodes[index].member.as_ref().expect("a member");
        assert_eq!((of(0).name.as_str(), of(0).id.as_deref()), ("cp1", Some("a1")));
        assert_eq!(of(0).peer_urls, ["https://cp1:2380"]);
        assert_eq!(
            (of(0).flags.as_slice(), of(0).quota_bytes, of(0).owner.as_deref(), of(0).mode.as_deref()),
            (&["--name=x".to_owned()][..], None, Some("997:996"), Some("0700"))
        );
        assert_eq!((&of(1).owner, &of(1).mode), (&None, &None));
        let prints: Vec<_> =
            of(0).certificates.iter().map(|one| (one.purpose.as_str(), one.fingerprint.as_deref())).collect();
        assert_eq!(prints, [("ca", Some("ab".repeat(32).as_str())), ("peer-ca", None)]);
        assert_eq!((of(1).id.as_deref(), of(1).certificates[0].fingerprint.as_deref()), (Some("a2"), None));
        assert!(plan.nodes[2].member.is_none() && plan.nodes[2].addresses == ["10.0.0.3"]);
        assert_eq!((of(3).name.as_str(), &of(3).data_dir), ("outside", &None));
    }
}
