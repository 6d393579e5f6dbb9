//! What speaks against a restore, and what could not be found out: pure functions of what was found.

use std::collections::BTreeMap;

use etcd_objects::key::Prefix;
use etcd_snapshot::minor;
use etcd_wire::facts::{Encryption, EncryptionKey};
use etcd_wire::restore::Parts;

use super::at_rest::{Verdict, judge, names};
use super::live::uid;
use super::new_cluster::{Known, NotThis, Running, permitted};
use super::node_role::{self, NodeRole};
use super::plan::{ApiNode, Found, Seen};
use super::room::Room;
use crate::commands::proposal::{ApiServerLeases, Named};
use crate::output::Failed;
use crate::output::visible::quoted;
use crate::transaction::{PeerUrls, peer_urls};

impl Seen<'_> {
    fn name(&self) -> String {
        format!("member {} on node {}", self.pod.name, self.pod.node)
    }

    /// Why its static pods could not be stopped.
    fn cannot_be_stopped(&self) -> Option<String> {
        match self.facts.as_ref()? {
            Err(why) => Some(format!("cannot read the static pod manifests of its node: {why}")),
            Ok(facts) if facts.manifests.is_some() => None,
            Ok(facts) => {
                let failures = facts.failures.iter().map(|failure| Failed::from(failure.clone()).one_line());
                Some(format!("its static pods cannot be stopped: {}", failures.collect::<Vec<_>>().join("; ")))
            }
        }
    }

    /// What its node's disk has against it.
    fn objections(&self, snapshot_bytes: u64, keys: &[EncryptionKey]) -> Vec<String> {
        let facts = match &self.facts {
            None => return Vec::new(),
            Some(Err(why)) => return vec![format!("cannot check the disk of its node: {why}")],
            Some(Ok(facts)) => facts,
        };
        let failures = facts.failures.iter().map(|failure| Failed::from(failure.clone()).one_line());
        let mut against: Vec<String> = failures.collect();
        against.extend(facts.disk.and_then(|disk| Room::of(&disk, snapshot_bytes).objection()));
        if self.pod.parts != Parts::Etcd
            && let Verdict::Lacks(keys) = judge(keys, &facts.encryption)
        {
            against.push(format!("its API server lacks the key by which values in the file are encrypted: {keys}"));
        }
        against
    }
}

impl ApiNode<'_> {
    /// What speaks against stopping and starting its API server.
    fn objections(&self, keys: &[EncryptionKey]) -> Vec<String> {
        let facts = match &self.facts {
            Err(why) => return vec![format!("cannot look at its static pods: {why}")],
            Ok(facts) => facts,
        };
        let mut against: Vec<String> =
            facts.failures.iter().map(|failure| Failed::from(failure.clone()).one_line()).collect();
        if let Verdict::Lacks(keys) = judge(keys, &facts.encryption) {
            against.push(format!("its API server lacks the key by which values in the file are encrypted: {keys}"));
        }
        against
    }
}

impl Found<'_> {
    /// What encrypts on the nodes with API servers that show the snapshot afterwards; with the node's name. `None` of one of which nothing is known.
    fn encryptions(&self) -> impl Iterator<Item = (&str, Option<Result<&Encryption, &String>>)> {
        let restored = self.members.iter().filter(|seen| self.role_of(seen) == NodeRole::Restored);
        let beside_etcd = restored.filter(|seen| seen.pod.parts != Parts::Etcd).map(|seen| {
            let facts = seen.facts.as_ref().map(|facts| facts.as_ref().map(|facts| &facts.encryption));
            (seen.pod.node.as_str(), facts)
        });
        let alone = self
            .without_etcd
            .iter()
            .map(|one| (one.pod.node.as_str(), Some(one.facts.as_ref().map(|facts| &facts.encryption))));
        beside_etcd.chain(alone)
    }

    /// What could not be found out, and does not stand in the way.
    pub(super) fn doubts(&self) -> Vec<String> {
        let unknown = |(node, encryption): (&str, Option<Result<&Encryption, &String>>)| match judge(
            &self.encryption_keys,
            encryption?.ok()?,
        ) {
            Verdict::Unknown(why) => Some(format!(
                "cannot check whether the API server on node {node} has the key that encrypts values in the file ({}): {why}",
                names(&self.encryption_keys)
            )),
            Verdict::Readable | Verdict::Lacks(_) => None,
        };
        let restored = self.members.iter().filter(|seen| self.role_of(seen) == NodeRole::Restored);
        let mut doubts: Vec<String> = self.encryptions().filter_map(unknown).collect();
        doubts.extend(restored.filter_map(|seen| match peer_urls(seen.pod, seen.status.as_ref().ok().copied()) {
            PeerUrls::Mended { urls, instead_of } => Some(format!(
                "member {} has peer URL {}, which the other members cannot reach; the restored member gets {} from its manifest",
                seen.pod.name,
                instead_of.join(","),
                urls.join(",")
            )),
            PeerUrls::Agreed(_) | PeerUrls::Manifest(_) => None,
        }));
        doubts.extend(self.perhaps_other_api_servers());
        doubts.extend(self.live.as_ref().err().map(|why| format!("the plan cannot show which objects change: {why}")));
        for name in node_role::not_reached(self.to_nodes, &self.members) {
            let why =
                self.members.iter().find(|seen| seen.pod.node == name).and_then(|seen| seen.status.as_ref().err());
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            doubts.push(format!(
                "{name} is left out and cannot be reached, so it cannot be stopped{why}. If it comes back, etcd and the API server start there with the old \
                 data, and the API server may show that data. Keep clients away from it, and join it again as a new member"
            ));
        }
        doubts
    }

    /// The keys that the API servers of all nodes have which get the snapshot.
    pub(super) fn shared_keys(&self) -> Known<Vec<EncryptionKey>> {
        let mut shared: Option<Vec<EncryptionKey>> = None;
        for (node, encryption) in self.encryptions() {
            let unknown = |why: &str| format!("what encrypts on node {node} is not known: {why}");
            let encryption = encryption.ok_or_else(|| unknown("no sidecar runs there"))?;
            let keys = match encryption.map_err(|why| unknown(why))? {
                Encryption::Off => Vec::new(),
                Encryption::Keys { keys } => keys.clone(),
                Encryption::Unread { why } => return Err(unknown(why)),
                Encryption::Unknown => return Err(unknown("its sidecar does not tell")),
            };
            shared = Some(match shared {
                None => keys,
                Some(others) => others.into_iter().filter(|key| keys.contains(key)).collect(),
            });
        }
        shared.ok_or_else(|| "no node gets the snapshot".to_owned())
    }

    /// The oldest version of etcd that a member has.
    pub(super) fn oldest_etcd(&self) -> Known<String> {
        let versions = self.members.iter().filter_map(|seen| Some(&seen.status.as_ref().ok()?.version));
        let oldest = versions.min_by_key(|version| minor(version));
        oldest.cloned().ok_or_else(|| "no member tells its version".to_owned())
    }

    /// The UIDs of the lost cluster and of the one whose place it takes, where that is what was asked for and the file is the right one.
    pub(super) fn takes_over(&self) -> Option<[&str; 2]> {
        let (lost, replaced) = (self.new_cluster?.as_str(), self.cluster.kube_system_uid.as_deref()?);
        let file = self.kube_system.and_then(uid);
        self.permitted(file.as_deref()).is_ok().then_some([lost, replaced])
    }

    /// Members of different etcd clusters, as where one is for events alone: their revisions have nothing in common.
    fn several_clusters(&self) -> Option<String> {
        let mut clusters: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for seen in self.members.iter().filter(|seen| self.role_of(seen) == NodeRole::Restored) {
            if let Ok(status) = &seen.status {
                clusters.entry(status.cluster_id).or_default().push(&seen.pod.name);
            }
        }
        let each = clusters.iter().map(|(id, names)| format!("{id:x} ({})", names.join(", ")));
        (clusters.len() > 1).then(|| {
            let each = each.collect::<Vec<_>>().join(" and ");
            format!("the members belong to several etcd clusters: {each}; -l names the pods of one, --to-nodes leaves nodes out")
        })
    }

    /// Whether the file may be restored here, by the cluster that it is of.
    pub(super) fn permitted(&self, file_uid: Option<&str>) -> Result<(), NotThis> {
        let command = format!("kubectl etcd restore {}", quoted(&self.file));
        // recover has no flag for it.
        let command = Some(command.as_str()).filter(|_| self.lost.is_none());
        let running = match &self.cluster.kube_system_uid {
            Some(uid) => Running::Of(uid),
            None if self.cluster.empty => Running::Nobodys,
            None => Running::Unknown,
        };
        permitted(file_uid, running, self.new_cluster, command)
    }

    /// Objects of a lost cluster lie where its API servers have kept them.
    fn other_prefix(&self) -> Option<String> {
        let (_, own) = (self.new_cluster?, self.server_prefix?);
        let (lost, own) = (self.prefix.as_str(), Prefix::new(own));
        (lost != own.as_str()).then(|| {
            format!("the objects of the lost cluster are below {lost}, and the API server reads those below {}: give it --etcd-prefix={lost}", own.as_str())
        })
    }

    /// API servers that nothing stops, as those of control-plane nodes without etcd are.
    fn other_api_servers(&self) -> Option<String> {
        if self.lost.is_some() {
            return None;
        }
        let named = if self.cluster.server.is_empty() { Named::OverSsh } else { Named::ByApi };
        match &self.live {
            Ok(live) => ApiServerLeases::of(live, self.prefix).objection(self.stopped_api_servers(), named),
            Err(why) if self.is_apart() => {
                Some(format!("it is not known which API servers run, because no member lists its keys: {why}"))
            }
            Err(_) => None,
        }
    }

    /// The same where the leases are those of a cluster that serves no more.
    fn perhaps_other_api_servers(&self) -> Option<String> {
        let gone = self.lost?.gone.len();
        let stopped = self.stopped_api_servers() + if self.is_apart() { 0 } else { gone };
        ApiServerLeases::of(self.live.as_ref().ok()?, self.prefix).doubt(stopped)
    }

    /// How many API servers are stopped, or are left out with their nodes.
    fn stopped_api_servers(&self) -> usize {
        let left_out = self.members.iter().filter(|seen| self.role_of(seen) != NodeRole::Restored);
        self.encryptions().count() + left_out.filter(|seen| seen.pod.parts != Parts::Etcd).count()
    }

    /// Whether etcd is on machines without an API server.
    fn is_apart(&self) -> bool {
        !self.without_etcd.is_empty() || self.members.iter().any(|seen| seen.pod.parts == Parts::Etcd)
    }

    /// Where etcd is on machines of its own, somebody has to say where the API servers are: nothing would stop them.
    fn no_api_server(&self) -> Option<String> {
        let alone = !self.members.is_empty() && self.members.iter().all(|seen| seen.pod.parts == Parts::Etcd);
        (alone && self.without_etcd.is_empty()).then(|| {
            "no node with an API server was named: API servers have to be stopped while the data is exchanged; name their nodes as well \
             (--nodes etcd1=10.0.0.21,...,cp1=10.0.0.11)"
                .to_owned()
        })
    }

    /// What speaks against a restore of this file here.
    pub(super) fn objections(&self, file_uid: Option<&str>) -> Vec<String> {
        let mut against = Vec::new();
        against.extend(self.permitted(file_uid).err().map(|not| not.why));
        against.extend(self.other_prefix());
        against.extend(self.several_clusters());
        against.extend(self.other_api_servers());
        against.extend(self.no_api_server());
        for one in &self.without_etcd {
            let of_node = one.objections(&self.encryption_keys).into_iter();
            against.extend(of_node.map(|what| format!("node {}: {what}", one.pod.node)));
        }
        let stopped = self.members.iter().filter(|seen| self.role_of(seen) == NodeRole::Stopped);
        against.extend(stopped.filter_map(|seen| Some(format!("{}: {}", seen.name(), seen.cannot_be_stopped()?))));
        for seen in self.members.iter().filter(|seen| self.role_of(seen) == NodeRole::Restored) {
            let (member, pod) = (seen.name(), seen.pod);
            let of_disk = seen.objections(self.report.total_size, &self.encryption_keys);
            against.extend(of_disk.into_iter().map(|what| format!("{member}: {what}")));
            let status = match &seen.status {
                Ok(status) => status,
                // It need not run where there is no quorum: what it has is known from its disk.
                Err(_) if self.lost.is_some() => {
                    if pod.data_dir.is_none() {
                        against.push(format!("{member} has a data directory that is not on a hostPath volume"));
                    }
                    continue;
                }
                Err(why) => {
                    let node = crate::output::visible::quoted(&pod.node);
                    against.push(format!(
                        "{member} does not answer: {why}; if it alone is bad, use kubectl etcd member replace {node}; --to-nodes can leave its node out"
                    ));
                    continue;
                }
            };
            // Through the API server nothing could be asked then.
            if self.cluster.server.is_empty() && status.leader_id == 0 && self.lost.is_none() {
                against.push(format!("{member} has no leader: etcd has lost its quorum"));
            }
            if status.learner && self.lost.is_none() {
                against.push(format!("{member} is a learner: promote or remove it first"));
            }
            if let (Some(its), Some(files)) = (minor(&status.version), self.report.etcd())
                && files > its
            {
                against.push(format!(
                    "{member} is etcd {}, the file was written by {}.{}",
                    status.version, files.0, files.1
                ));
            }
            if pod.data_dir.is_none() {
                against.push(format!("{member} has a data directory that is not on a hostPath volume"));
            }
        }
        if self.to_nodes.is_empty() && self.lost.is_none() {
            let lost = node_role::without_pod(&self.members).into_iter();
            against.extend(lost.map(|name| format!("member {name} of the etcd cluster has no pod here")));
        }
        against.extend(node_role::objections(self.to_nodes, &self.cluster.server, &self.members));
        against
    }
}
