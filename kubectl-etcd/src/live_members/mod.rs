//! The members of the one etcd cluster that a command gives orders to: seen, ordered, and waited for.

mod by_sidecar;
mod members;

use std::time::Duration;

use etcd_members::replace::Hashed;
use etcd_members::{Refusal, View};
use etcd_wire::order::Order;
use futures::future::join_all;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{ApiServer, Overrides, Reach};
use crate::etcd_clusters::{EtcdClusters, Evidence};
use crate::interruption::interrupted;
use crate::kube_system::Served;
use crate::member_probe::{self, Certificates, Looked, NotDone, Questions, probe};
use crate::output::{Exit, Failed, Outcome};
use crate::road::Road;
use crate::sidecar::{Ask, Operation, SidecarArgs, Surveyed, Via, survey};
pub(crate) use by_sidecar::{OnNodes, look_on_nodes};
pub(crate) use members::Listed;
use members::{cluster_of, list};

/// How long is waited between two looks.
const INTERVAL: Duration = Duration::from_millis(300);

/// How often members are asked for hashes that differ, but for the last time.
const HASH_TRIES: usize = 4;

/// How the members are asked and given orders.
#[derive(Clone)]
enum Way<'a> {
    /// `etcdctl` in their own containers, through the API server.
    Etcdctl {
        connection: &'a Connection,
        /// Key of namespace kube-system in etcd.
        key: String,
    },
    /// A sidecar for each, on its node or on one from which it is reached.
    Sidecars(Road),
}

/// Members that were asked, and what tells which cluster is meant.
struct Asked<'a> {
    way: Way<'a>,
    surveyed: Vec<Surveyed>,
    api_servers: Vec<ApiServer>,
    /// Namespace kube-system as the API serves it.
    served: Result<Served, Failed>,
}

/// A cluster at one moment.
pub(crate) struct Live<'a> {
    way: Way<'a>,
    /// ID of the cluster.
    pub(crate) id: u64,
    /// Its pods, those that do not answer among them.
    surveyed: Vec<Surveyed>,
    /// Its members, if any of them tells the list.
    listed: Vec<Listed>,
    view: View,
}

impl<'a> Live<'a> {
    /// Looks at the cluster that the API server uses, or that `reach` names: by `etcdctl` in its pods; over SSH, and where etcd runs outside of pods, by
    /// sidecars.
    ///
    /// # Errors
    /// No member answers, or nobody can tell which cluster is meant.
    pub(crate) async fn look(
        context: &Context,
        plane: &'a ControlPlane,
        reach: &Reach,
        sidecar: &SidecarArgs,
    ) -> Outcome<Live<'a>> {
        let asked = async {
            match plane.api() {
                Some(connection) => {
                    let looked = find(context, connection, reach).await?;
                    match looked.outside.is_some() {
                        true => outside(context, plane, looked, sidecar).await,
                        false => Ok(in_pods(context, connection, looked)),
                    }
                }
                None => on_nodes(context, plane, reach, sidecar).await,
            }
        };
        let asked = context.interruptible(asked).await?;
        Live::chosen(context, asked)
    }

    /// The same only by `etcdctl` in pods.
    ///
    /// # Errors
    /// See [`Live::look`].
    pub(crate) async fn look_in_pods(
        context: &Context,
        connection: &'a Connection,
        reach: &Reach,
    ) -> Outcome<Live<'a>> {
        let looked = context.interruptible(find(context, connection, reach)).await?;
        Live::chosen(context, in_pods(context, connection, looked))
    }

    /// The cluster that is meant, of those that members were found of.
    fn chosen(context: &Context, asked: Asked<'a>) -> Outcome<Live<'a>> {
        let Asked { way, surveyed, api_servers, served } = asked;
        let served = served.map_err(|failed| failed.one_line());
        let evidence = Evidence { api_servers: &api_servers, served: served.as_ref().map_err(String::as_str) };
        let clusters = EtcdClusters::of(&surveyed, &evidence);
        let chosen = clusters.choose("").map_err(|failed| Failed { hints: vec![CHOOSE.to_owned()], ..failed })?;
        let Some(cluster) = chosen else { return Err(nobody(context.connection.etcd_namespace(), &way, &surveyed)) };
        let (id, pods) = (cluster.id, cluster.members.iter().map(|one| one.member.clone()).collect::<Vec<_>>());
        let surveyed = surveyed.into_iter().filter(|one| pods.contains(&one.member)).collect();
        Ok(Live::of(way, id, surveyed))
    }

    fn of(way: Way<'a>, id: u64, surveyed: Vec<Surveyed>) -> Live<'a> {
        let listed = list(id, &surveyed);
        let view = View::new(listed.iter().map(|one| one.seen.clone()).collect());
        Live { way, id, surveyed, listed, view }
    }

    /// Asks the same members again.
    pub(crate) async fn again(&self) -> Live<'a> {
        let surveyed = match &self.way {
            Way::Etcdctl { connection, key } => {
                let members = self.surveyed.iter().map(|one| one.member.clone()).collect();
                let questions = Questions { kube_system: key, certificates: Certificates::OfNone };
                all(probe(connection, members, questions).await)
            }
            Way::Sidecars(road) => by_sidecar::again(road, &self.surveyed).await,
        };
        Live::of(self.way.clone(), self.id, self.own(surveyed))
    }

    /// Asks the pods that there are by now: a member that has joined since may have another pod, or may have had none. The same members if that fails, and
    /// where they are not asked in pods.
    async fn anew(&self, context: &Context, reach: &Reach) -> Live<'a> {
        let Way::Etcdctl { connection, .. } = &self.way else { return self.again().await };
        let Ok(Looked { probed, .. }) = find(context, connection, reach).await else { return self.again().await };
        Live::of(self.way.clone(), self.id, self.own(all(probed)))
    }

    /// Those of this cluster, and those of which that is not known.
    fn own(&self, surveyed: Vec<Surveyed>) -> Vec<Surveyed> {
        surveyed.into_iter().filter(|one| cluster_of(one).is_none_or(|id| id == self.id)).collect()
    }

    /// The members with what they say, for rules.
    ///
    /// # Errors
    /// No member tells the list.
    pub(crate) fn view(&self) -> Outcome<&View> {
        match self.listed.is_empty() {
            false => Ok(&self.view),
            true => Err(Refusal::new("the member list is not known")
                .cause("no member tells it: there is no quorum, or no voter can be asked")
                .hint("see what is wrong with the members\n  kubectl etcd status")
                .into()),
        }
    }

    /// The members of the list, by name.
    pub(crate) fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// What a member is called.
    pub(crate) fn title(&self, id: u64) -> String {
        self.view.member(id).map_or_else(|| format!("{id:x}"), etcd_members::Seen::title)
    }

    /// What the members say that answer.
    pub(crate) fn statuses(&self) -> Vec<&etcd_wire::message::MemberStatus> {
        self.surveyed.iter().filter_map(|one| one.outcome.as_ref().ok()?.etcd.as_ref()).collect()
    }

    /// Gives an order to a member, and waits until it is carried out. The first interruption does not end that.
    ///
    /// # Errors
    /// It was not carried out, or nobody knows; the user has interrupted twice.
    pub(crate) async fn order(&self, context: &Context, at: u64, order: Order) -> Outcome<Result<(), NotDone>> {
        let is_it = |one: &&Surveyed| one.etcd().is_ok_and(|status| status.member_id == at);
        let Some(asked) = self.surveyed.iter().find(is_it) else {
            let failed = Failed::plain(format!("member {} does not answer", self.title(at)));
            return Ok(Err(NotDone::Refused(failed)));
        };
        let urged = || {
            let failed = Failed::new(Exit::Changed, "interrupted before the member had answered");
            failed.effect(format!("member {} may still be at it", self.title(at))).hint("kubectl etcd status")
        };
        let ordered = async {
            match &self.way {
                Way::Etcdctl { connection, .. } => member_probe::order(connection, asked, order).await,
                Way::Sidecars(road) => by_sidecar::order(road, asked, self.id, order).await,
            }
        };
        context.interruption.unless_urged(urged, ordered).await
    }

    /// What the keys of members hash to, all asked at the newest revision that all of them have. Asked again while they differ: a compaction reaches members
    /// one after the other.
    pub(crate) async fn hashes(&self, members: &[u64]) -> Vec<Hashed> {
        let mut live = None;
        for _ in 0..HASH_TRIES {
            let now: &Live<'_> = live.as_ref().unwrap_or(self);
            let hashes = now.hashed(members).await;
            let known: Vec<_> = hashes.iter().filter_map(|one| one.outcome.as_ref().ok()).collect();
            if known.len() == hashes.len() && known.windows(2).all(|pair| pair[0] == pair[1]) {
                return hashes;
            }
            tokio::time::sleep(INTERVAL).await;
            live = Some(self.again().await);
        }
        live.as_ref().unwrap_or(self).hashed(members).await
    }

    async fn hashed(&self, members: &[u64]) -> Vec<Hashed> {
        let status = |id: u64| self.surveyed.iter().find(|one| one.etcd().is_ok_and(|status| status.member_id == id));
        let asked: Vec<(u64, Option<&Surveyed>)> = members.iter().map(|id| (*id, status(*id))).collect();
        let revisions = asked.iter().filter_map(|(_, one)| Some(one.as_ref()?.etcd().ok()?.revision));
        let revision = revisions.min().unwrap_or(0);
        let hashing = asked.into_iter().map(|(id, one)| async move {
            let outcome = match one {
                Some(one) => {
                    let hashed = match &self.way {
                        Way::Etcdctl { connection, .. } => member_probe::hash(connection, one, revision).await,
                        Way::Sidecars(road) => by_sidecar::hash(road, one, revision).await,
                    };
                    hashed.map_err(|failed| failed.one_line())
                }
                None => Err("it does not answer".to_owned()),
            };
            Hashed { id, outcome }
        });
        join_all(hashing).await
    }

    /// Looks until all members know another leader.
    ///
    /// # Errors
    /// They do not in time; exit 130 if the user interrupts.
    pub(crate) async fn until_led_by_another(
        &self,
        context: &Context,
        leader: u64,
        timeout: Duration,
    ) -> Outcome<Live<'a>> {
        let missing = |live: &Live<'_>| match live.view().map(|view| view.leader("").map(|leader| leader.id)) {
            Ok(Ok(id)) if id != leader => None,
            Ok(Ok(_)) => Some(format!("member {} leads still", live.title(leader))),
            _ => Some("the members know of no leader, or of several".to_owned()),
        };
        self.until(context, timeout, missing).await
    }

    /// Looks until nothing is missing; `missing` says what is.
    ///
    /// # Errors
    /// Something is missing still when the time is over; exit 130 if the user interrupts.
    pub(crate) async fn until(
        &self,
        context: &Context,
        timeout: Duration,
        missing: impl Fn(&Live<'a>) -> Option<String>,
    ) -> Outcome<Live<'a>> {
        self.looked(context, timeout, missing, || self.again()).await
    }

    /// The same where a member has joined: its pod is looked for each time.
    ///
    /// # Errors
    /// See [`Live::until`].
    pub(crate) async fn until_joined(
        &self,
        context: &Context,
        reach: &Reach,
        timeout: Duration,
        missing: impl Fn(&Live<'a>) -> Option<String>,
    ) -> Outcome<Live<'a>> {
        self.looked(context, timeout, missing, || self.anew(context, reach)).await
    }

    async fn looked<F: Future<Output = Live<'a>>>(
        &self,
        context: &Context,
        timeout: Duration,
        missing: impl Fn(&Live<'a>) -> Option<String>,
        look: impl Fn() -> F,
    ) -> Outcome<Live<'a>> {
        let deadline = Instant::now() + timeout;
        let looking = async {
            loop {
                let now = look().await;
                match missing(&now) {
                    None => return Ok(now),
                    Some(what) if Instant::now() >= deadline => {
                        let failed = Failed::plain(format!("waited {} s in vain", timeout.as_secs())).cause(what);
                        return Err(failed.hint("kubectl etcd status"));
                    }
                    Some(_) => tokio::time::sleep(INTERVAL).await,
                }
            }
        };
        context.interruption.or(interrupted, looking).await?
    }
}

/// Finds the members, and asks them.
async fn find(context: &Context, connection: &Connection, reach: &Reach) -> Outcome<Looked> {
    let overrides = Overrides { reach: reach.clone(), data_dir: None };
    let namespace = context.connection.etcd_namespace();
    member_probe::look(connection, context.printer, namespace, &overrides, None, Certificates::OfNone).await
}

/// The members in pods, and a warning of each that cannot be asked there.
fn in_pods<'a>(context: &Context, connection: &'a Connection, looked: Looked) -> Asked<'a> {
    let Looked { probed, unreadable, api_servers, served, key, .. } = looked;
    for one in &unreadable {
        context.printer.warn(one.failed.one_line());
    }
    for (member, why) in &probed.unreached {
        context.printer.warn(format!("the member on node {} cannot be asked: {}", member.node, why.one_line()));
    }
    Asked { way: Way::Etcdctl { connection, key }, surveyed: all(probed), api_servers, served }
}

/// Members outside of pods, which API servers use: asked by pods on the nodes of these API servers.
async fn outside<'a>(
    context: &Context,
    plane: &ControlPlane,
    looked: Looked,
    sidecar: &SidecarArgs,
) -> Outcome<Asked<'a>> {
    let Looked { probed, api_servers, served, key, outside, .. } = looked;
    outside.iter().for_each(|line| context.printer.note(line));
    let road = plane.road(sidecar, context).await?;
    let members =
        probed.asked.into_iter().map(|one| one.member).chain(probed.unreached.into_iter().map(|(member, _)| member));
    let ask = Ask { kube_system: Some(key), quorum_will_do: true };
    let surveyed = survey(&road, members.collect(), Operation::Order, &ask).await;
    Ok(Asked { way: Way::Sidecars(road), surveyed, api_servers, served })
}

/// Members on nodes that are reached over SSH.
async fn on_nodes<'a>(
    context: &Context,
    plane: &ControlPlane,
    reach: &Reach,
    sidecar: &SidecarArgs,
) -> Outcome<Asked<'a>> {
    let road = plane.road(sidecar, context).await?;
    let overrides = Overrides { reach: reach.clone(), data_dir: None };
    let OnNodes { surveyed, api_servers, .. } = look_on_nodes(context, plane, &road, &overrides, None).await?;
    let failures = surveyed.iter().filter_map(|one| Some((&one.member.node, one.outcome.as_ref().err()?)));
    for (node, failed) in failures {
        context.printer.warn(format!("the member on node {node} cannot be asked: {}", failed.one_line()));
    }
    Ok(Asked { way: Way::Sidecars(road), surveyed, api_servers, served: plane.served().await })
}

/// What to do where several clusters are possible.
const CHOOSE: &str =
    "choose a cluster: name its pods by their labels with -l\n  kubectl get pods -A --show-labels | grep etcd";

/// Those that can only be asked by a sidecar do not answer here.
fn all(probed: member_probe::Probed) -> Vec<Surveyed> {
    let unreached = probed.unreached.into_iter().map(|(member, why)| {
        Surveyed { member, outcome: Err(why), via: Via::Pod, sidecar: None, served: None }.named()
    });
    probed.asked.into_iter().chain(unreached).collect()
}

/// No member can be asked.
fn nobody(namespace: &str, way: &Way<'_>, surveyed: &[Surveyed]) -> Failed {
    let reasons = surveyed.iter().filter_map(|one| Some((one.member.name.clone(), one.etcd().err()?.one_line())));
    let reasons: Vec<(String, String)> = reasons.collect();
    let rights = reasons.iter().any(|(_, why)| why.contains("no right to"));
    let failed = Failed::plain("no member can be asked").each("members", reasons).unchanged();
    if matches!(way, Way::Sidecars(_)) {
        // Why a sidecar does not come through says best what to do.
        let mut hints: Vec<String> =
            surveyed.iter().filter_map(|one| one.etcd().err()).flat_map(|one| one.hints).collect();
        let mut seen = std::collections::HashSet::new();
        hints.retain(|hint| seen.insert(hint.clone()));
        return hints.into_iter().fold(failed, |failed, hint| failed.hint(hint));
    }
    if !rights {
        return failed.hint("kubectl etcd status");
    }
    let namespace = crate::output::visible::quoted(namespace);
    Failed { exit: Exit::Refused, ..failed }.hint(format!(
        "one of these rights is needed, see docs/RBAC.md\n  \
         kubectl auth can-i create pods --subresource=exec -n {namespace}\n  \
         kubectl auth can-i create nodes --subresource=proxy"
    ))
}
