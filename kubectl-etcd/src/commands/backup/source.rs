//! Where a backup is taken from: all members are asked, and one is chosen.

use super::choose::{self, Choice};
use super::identity::Identity;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{ApiServer, EtcdPod, Overrides};
use crate::etcd_clusters::{EtcdCluster, EtcdClusters, Evidence};
use crate::kube_system::{self, Served};
use crate::output::{Outcome, Printer};
use crate::road::Road;
use crate::sidecar::{Ask, Operation, SidecarArgs, Surveyed, survey};

/// The members, and what they and the API have said.
pub(super) struct Asked {
    /// All members that could be found, those that were not asked among them.
    pub(super) every: Vec<EtcdPod>,
    /// Whether the user has named which members are meant.
    named: bool,
    pub(super) api_servers: Vec<ApiServer>,
    pub(super) surveyed: Vec<Surveyed>,
    /// Namespace kube-system as the API serves it, or why that is not known.
    pub(super) served: Result<Served, String>,
    pub(super) road: Road,
}

/// Which members are meant.
pub(super) struct Meant<'a> {
    /// The one on this node.
    pub(super) node: Option<&'a str>,
    pub(super) overrides: &'a Overrides,
    pub(super) sidecar: &'a SidecarArgs,
    /// What the members' sidecars are for.
    pub(super) operation: Operation,
}

impl Asked {
    /// Finds the members and asks them, and the API.
    ///
    /// # Errors
    /// No member is found, or the user may not make the pods that ask them.
    pub(super) async fn ask(meant: &Meant<'_>, plane: &ControlPlane, context: &Context) -> Outcome<Asked> {
        // All members are recorded; those on `--node` are asked. A named node may run none of the pods (external etcd).
        let found = plane.find(context, meant.overrides, meant.node).await?;
        let every = match meant.node {
            None => found.members.clone(),
            Some(_) => plane.every(context, meant.overrides, &found.members).await,
        };
        let (named, api_servers) = (found.named, found.api_servers.clone());
        let road = plane.road(meant.sidecar, context).await?;
        let prefix = Evidence { api_servers: &api_servers, served: Err("") }.prefix();
        let ask = Ask { kube_system: Some(kube_system::key(prefix)), quorum_will_do: true };
        let members = found.readable(context.printer);
        let (surveyed, served) = tokio::join!(survey(&road, members, meant.operation, &ask), plane.served());
        let served = served.map_err(|failed| failed.one_line());
        Ok(Asked { every, named, api_servers, surveyed, served, road })
    }

    /// What tells the etcd clusters apart.
    pub(super) fn evidence(&self) -> Evidence<'_> {
        Evidence { api_servers: &self.api_servers, served: self.served.as_ref().map_err(String::as_str) }
    }
}

/// The member that was chosen.
pub(super) struct Source<'a> {
    pub(super) choice: Choice<'a>,
    pub(super) identity: Identity<'a>,
    /// Those of its cluster that were asked.
    pub(super) of_cluster: &'a [&'a Surveyed],
}

impl<'a> Source<'a> {
    /// Chooses, and tells what the user should know of the members. `clusters` are those of `asked`; `named` says that the user has named
    /// the member's node, and `name` is the cluster's.
    ///
    /// # Errors
    /// No member can be taken.
    pub(super) fn choose(
        asked: &'a Asked,
        clusters: &'a EtcdClusters<'a>,
        named: bool,
        name: &'a str,
        printer: Printer,
    ) -> Outcome<Source<'a>> {
        let cluster: Option<&EtcdCluster<'_>> = clusters.choose("backup")?;
        // Where a node is named, the other members were not asked: that they said nothing means nothing.
        let quorum = cluster.map(EtcdCluster::quorum).filter(|quorum| !(named && quorum.holds));
        if let Some(line) = quorum.and_then(|quorum| quorum.line()) {
            printer.warn(line);
        }
        for one in cluster.map(|_| &clusters.unplaced).into_iter().flatten() {
            let why = one.etcd().err().map(|failed| failed.one_line()).unwrap_or_default();
            printer.warn(format!(
                "member {} on node {} is not in the member list of those that answer, and may be one of another etcd cluster: {why}",
                one.member.name, one.member.node
            ));
        }
        let of_cluster = cluster.map(|cluster| cluster.members.as_slice()).unwrap_or_default();
        let candidates: Vec<&Surveyed> = of_cluster.iter().chain(&clusters.unplaced).copied().collect();
        let choice = choose::choose(&candidates, named)?;
        let identity = Identity { clusters, cluster, evidence: asked.evidence(), named: asked.named, name };
        Ok(Source { choice, identity, of_cluster })
    }

    /// Tells which member it is, and why.
    pub(super) fn tell(&self, printer: Printer) {
        let Choice { member, reason, warnings, .. } = &self.choice;
        printer.note(format!("taking the snapshot from {} on node {}: {reason}", member.name, member.node));
        for warning in warnings {
            printer.warn(warning);
        }
    }
}
