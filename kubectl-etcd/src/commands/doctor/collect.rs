//! Collects what the checks judge. Whatever cannot be found out is told with its reason, and stops nothing else.

use std::collections::BTreeSet;

use etcd_doctor::{Component, Facts, Known, Login, Node, Start};
use etcd_wire::message::{Certificate, HashOutcome, KubeSystem, MemberHash, NodeStatus};
use futures::future::join_all;
use jiff::Timestamp;

use super::visit::Visit;
use super::{Args, backups, components};
use crate::connection::{Connection, ConnectionArgs};
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{self, ApiServer, EtcdPod, Unreadable};
use crate::etcd_clusters::{EtcdClusters, Evidence};
use crate::kube_system::{self, Served};
use crate::left_overs::{self, Besides, Patience};
use crate::member_probe::{self, Certificates, Looked, Probed};
use crate::output::{Failed, Outcome};
use crate::sidecar::{Surveyed, Via};

/// Members that were found, before their nodes are looked at.
struct Found {
    members: Vec<Member>,
    unreadable: Vec<Unreadable>,
    api_servers: Vec<ApiServer>,
    served: Result<Served, String>,
    /// Key of namespace kube-system.
    key: String,
}

/// A member, and what it told without a sidecar.
struct Member {
    pod: EtcdPod,
    told: Outcome<NodeStatus>,
    served: Option<Certificate>,
}

/// Everything that checks judge.
///
/// # Errors
/// No member of etcd was found, or the members are of several clusters and nothing tells which is meant.
pub(super) async fn facts(
    args: &Args,
    context: &Context,
    plane: &ControlPlane,
    store: Option<&backups::Asked>,
) -> Outcome<Facts> {
    let mut found = match plane.api() {
        Some(connection) => by_api(args, context, connection).await?,
        None => on_nodes(args, context, plane).await?,
    };
    let road = plane.road(&args.sidecar, context).await;
    let mut visits = join_all(found.members.iter_mut().map(|member| {
        member.pod.manifests_dir = Some(args.manifests.manifests_dir.clone());
        let (road, pod, key) = (&road, &member.pod, &found.key);
        async move {
            let road = road.as_ref().map_err(Failed::copy)?;
            Visit::begin(road, pod, &args.manifests.manifests_dir, key).await
        }
    }))
    .await;
    let surveyed: Vec<Surveyed> =
        found.members.iter().zip(&visits).map(|(member, visit)| merged(member, visit)).collect();
    let evidence = Evidence { api_servers: &found.api_servers, served: found.served.as_ref().map_err(String::as_str) };
    let meant = meant(&surveyed, &evidence)?;
    let hashes = hashes(&surveyed, &meant, &mut visits).await;
    let nodes: Vec<Node> = meant
        .iter()
        .filter_map(|&index| Some((surveyed.get(index)?, visits.get(index)?, hashes.get(index)?)))
        .map(|(one, visit, hash)| node(one, visit, hash.clone()))
        .collect();
    let uid = found.served.as_ref().ok().map(|served| served.uid.clone()).or_else(|| uid_in(&surveyed, &meant));
    let names: BTreeSet<String> = nodes.iter().map(|node| node.node.clone()).collect();
    let (logins, (components, kubeconfig), backups) = (
        logins(plane, &found, &visits),
        of_api(plane, &context.connection, &names).await,
        backups::look(store, uid.as_deref(), Timestamp::now()).await,
    );
    if let Ok(road) = road {
        visits.into_iter().flatten().for_each(|visit| visit.end(&road));
    }
    let left_overs = left_overs::look(plane.api(), Patience::Twice, Besides::default()).await;
    let unreadable = found.unreadable.iter().map(|one| format!("{}: {}", one.pod, one.failed.one_line())).collect();
    Ok(Facts {
        now: Timestamp::now().as_second(),
        nodes,
        unreadable,
        components,
        kubeconfig,
        backups,
        logins,
        left_overs,
    })
}

/// The members as `status` finds and asks them: without a pod, so that much is known also where no pod can be made.
async fn by_api(args: &Args, context: &Context, connection: &Connection) -> Outcome<Found> {
    let namespace = context.connection.etcd_namespace();
    let all = Certificates::Unseen(&[]);
    let looked = member_probe::look(connection, context.printer, namespace, &args.overrides, None, all).await?;
    let Looked { probed: Probed { asked, unreached }, unreadable, api_servers, served, key, named: _, outside: _ } =
        looked;
    let asked = asked.into_iter().map(|one| Member { pod: one.member, told: one.outcome, served: one.served });
    let unreached = unreached.into_iter().map(|(pod, why)| Member { pod, told: Err(why), served: None });
    let mut members: Vec<Member> = asked.chain(unreached).collect();
    members.sort_by(|a, b| (&a.pod.node, &a.pod.pod).cmp(&(&b.pod.node, &b.pod.pod)));
    let mut pods: Vec<EtcdPod> = members.iter().map(|member| member.pod.clone()).collect();
    // Without it the sidecar says that it cannot see the file.
    if discovery::add_encryption_configs(connection, namespace, &mut pods).await.is_ok() {
        members.iter_mut().zip(pods).for_each(|(member, pod)| member.pod = pod);
    }
    Ok(Found { members, unreadable, api_servers, served: served.map_err(|failed| failed.one_line()), key })
}

/// The members by the manifests on their nodes.
async fn on_nodes(args: &Args, context: &Context, plane: &ControlPlane) -> Outcome<Found> {
    let discovery::Found { members, unreadable, api_servers, .. } = plane.find(context, &args.overrides, None).await?;
    let key = kube_system::key(Evidence { api_servers: &api_servers, served: Err("") }.prefix());
    let untold = |pod| Member { pod, told: Err(Failed::plain("it was not asked")), served: None };
    let members = members.into_iter().map(untold).collect();
    let served = plane.served().await.map_err(|failed| failed.one_line());
    Ok(Found { members, unreadable, api_servers, served, key })
}

/// What a member says: to the sidecar on its node, which it tells most, or else without one.
fn merged(member: &Member, visit: &Outcome<Visit>) -> Surveyed {
    let by_sidecar = visit.as_ref().ok().and_then(|visit| visit.status.as_ref().ok());
    let outcome = match (by_sidecar, &member.told) {
        (Some(status), _) if status.etcd.is_some() => Ok(status.clone()),
        (_, Ok(status)) => Ok(status.clone()),
        (Some(status), Err(_)) => Ok(status.clone()),
        (None, Err(failed)) => Err(visit.as_ref().err().map_or_else(|| failed.copy(), Failed::copy)),
    };
    let (pod, served) = (member.pod.clone(), member.served.clone());
    Surveyed { member: pod, outcome, via: Via::Sidecar, sidecar: None, served }.named()
}

/// The members of the cluster that the API server uses, and those that do not answer, by their indexes.
///
/// # Errors
/// There are several clusters, and nothing tells which.
fn meant(surveyed: &[Surveyed], evidence: &Evidence<'_>) -> Outcome<Vec<usize>> {
    let clusters = EtcdClusters::of(surveyed, evidence);
    let chosen = clusters.choose("doctor").map_err(|failed| {
        let hints = vec!["name the pods of one cluster by their labels: -l SELECTOR".to_owned()];
        Failed { hints, ..failed }
    })?;
    let of_it = chosen.map(|cluster| cluster.members.as_slice()).unwrap_or_default();
    let is_meant = |one: &Surveyed| of_it.iter().chain(&clusters.unplaced).any(|other| std::ptr::eq(*other, one));
    Ok(surveyed.iter().enumerate().filter(|(_, one)| is_meant(one)).map(|(index, _)| index).collect())
}

/// The hash of every member that votes, at one revision that all have. `None` of a learner, which is not asked.
async fn hashes(
    surveyed: &[Surveyed],
    meant: &[usize],
    visits: &mut [Outcome<Visit>],
) -> Vec<Known<Option<MemberHash>>> {
    let voter = |index: usize| {
        let status = surveyed.get(index).filter(|_| meant.contains(&index))?.etcd().ok()?;
        (!status.learner).then_some(status.revision)
    };
    let mut revision = (0..surveyed.len()).filter_map(voter).min();
    let mut hashes = Vec::new();
    // What is compacted, or not yet, may be there at the revision that members have by then.
    for _round in 0..2 {
        let asked = visits.iter_mut().enumerate().map(|(index, visit)| async move {
            match (surveyed.get(index), visit) {
                (Some(one), _) if one.etcd().is_ok_and(|status| status.learner) => Ok(None),
                (Some(one), Ok(visit)) => match revision.filter(|_| voter(index).is_some()) {
                    Some(revision) => {
                        visit.hash(&one.member, revision).await.map(Some).map_err(|failed| failed.one_line())
                    }
                    None => Err("it does not answer".to_owned()),
                },
                (_, Err(failed)) => Err(failed.one_line()),
                (None, Ok(_)) => Err("it was not asked".to_owned()),
            }
        });
        hashes = join_all(asked).await;
        let told = || hashes.iter().filter_map(|one: &Known<Option<MemberHash>>| one.as_ref().ok()?.as_ref());
        if is_comparable(told()) {
            break;
        }
        revision = told().map(|hash| hash.current_revision).min();
    }
    hashes
}

/// Whether all hashes are there, and cover the same part of the history.
fn is_comparable<'a>(hashes: impl Iterator<Item = &'a MemberHash>) -> bool {
    let covered: BTreeSet<Option<i64>> = hashes
        .map(|hash| match hash.outcome {
            HashOutcome::Known { compact_revision, .. } => Some(compact_revision),
            HashOutcome::Compacted | HashOutcome::Future | HashOutcome::Unknown => None,
        })
        .collect();
    covered.len() < 2 && !covered.contains(&None)
}

fn node(one: &Surveyed, visit: &Outcome<Visit>, hash: Known<Option<MemberHash>>) -> Node {
    let pod = &one.member;
    let of_visit = || visit.as_ref().map_err(Failed::one_line);
    let known = |failed: &Failed| failed.one_line();
    Node {
        node: pod.node.clone(),
        member: pod.name.clone(),
        start: start(pod),
        flags: pod.flags.clone(),
        quota: pod.quota,
        status: one.etcd().cloned().map_err(|failed| failed.one_line()),
        served: one.served.clone(),
        certificates: of_visit().and_then(|visit| {
            let status = visit.status.as_ref().map_err(known)?;
            Ok(that_count(pod, status.certificates.clone()))
        }),
        hash,
        disk: of_visit().and_then(|visit| visit.facts.as_ref().cloned().map_err(known)),
        clock: of_visit().and_then(|visit| visit.clock.as_ref().copied().map_err(known)),
        kept: of_visit().and_then(|visit| visit.kept.as_ref().cloned().map_err(known)),
    }
}

/// How a member is started, and so where its settings are changed.
fn start(pod: &EtcdPod) -> Start {
    match (&pod.settings_source, pod.pod.is_empty()) {
        (Some(source), _) => Start::Service(source.clone()),
        (None, false) => Start::StaticPod,
        (None, true) => Start::Unknown,
    }
}

/// Client certificates are tried in turn, so one that is not there is no fault; the others must be.
fn that_count(pod: &EtcdPod, mut files: Vec<Certificate>) -> Vec<Certificate> {
    let paths = &pod.certificates;
    let wanted = [&paths.server_cert, &paths.peer_cert, &paths.ca, &paths.peer_ca];
    files.retain(|file| file.not_after.is_some() || wanted.contains(&&Some(file.path.clone())));
    files
}

/// UID of namespace kube-system as a member has it.
fn uid_in(surveyed: &[Surveyed], meant: &[usize]) -> Option<String> {
    let statuses = meant.iter().filter_map(|&index| surveyed.get(index)?.etcd().ok());
    statuses.into_iter().find_map(|status| match &status.kube_system {
        Some(KubeSystem::Held { value, .. }) => kube_system::uid(value),
        _ => None,
    })
}

/// Which nodes were reached over SSH.
fn logins(plane: &ControlPlane, found: &Found, visits: &[Outcome<Visit>]) -> Known<Vec<Login>> {
    if plane.api().is_some() {
        return Err("not tried: pass --ssh".to_owned());
    }
    let reached = found.members.iter().zip(visits).map(|(member, visit)| Login {
        node: member.pod.node.clone(),
        outcome: visit.as_ref().map(|_| ()).map_err(Failed::one_line),
    });
    let unreached = found.unreadable.iter().map(|one| Login {
        node: one.node.clone().unwrap_or_else(|| one.pod.clone()),
        outcome: Err(one.failed.one_line()),
    });
    Ok(reached.chain(unreached).collect())
}

type OfApi = (Known<Vec<Component>>, Known<Option<Certificate>>);

/// What only the API server and the way to it tell.
async fn of_api(plane: &ControlPlane, args: &ConnectionArgs, nodes: &BTreeSet<String>) -> OfApi {
    const NOT_ASKED: &str = "with --ssh no API server is asked";
    match plane.api() {
        None => (Err(NOT_ASKED.to_owned()), Err(NOT_ASKED.to_owned())),
        Some(connection) => {
            (components::versions(connection, nodes).await, kubeconfig(args).map_err(|failed| failed.one_line()))
        }
    }
}

/// The client certificate that this program logs in with.
fn kubeconfig(args: &ConnectionArgs) -> Outcome<Option<Certificate>> {
    let Some(pem) = args.client_certificate()? else { return Ok(None) };
    let path = "the client certificate".to_owned();
    let first = etcd_tls::certificates(&pem).first().map(|der| etcd_tls::Certificate::parse(der));
    Ok(Some(match first {
        Some(Ok(parsed)) => Certificate {
            path,
            subject: Some(parsed.subject),
            not_after: Some(parsed.not_after),
            ..Certificate::default()
        },
        Some(Err(why)) => Certificate { path, error: Some(why), ..Certificate::default() },
        None => Certificate { path, error: Some("there is no certificate in it".to_owned()), ..Certificate::default() },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd_clusters::samples::{answers, held, silent};

    #[test]
    fn another_etcd_of_the_cluster_is_not_looked_at() {
        let nodes = ["cp1", "cp2"];
        let evidence = Evidence { api_servers: &[], served: Err("no right") };
        let one = [answers("cp1", 2379, 9, &nodes, held("ours")), silent("cp2", 2379)];
        assert_eq!(meant(&one, &evidence).expect("one cluster"), [0, 1]);
        let two = [answers("cp1", 2379, 9, &nodes[..1], held("a")), answers("cp2", 2379, 5, &nodes[1..], held("b"))];
        let failed = meant(&two, &evidence).expect_err("nothing tells which");
        assert!(failed.hints.iter().all(|hint| !hint.contains("--node")), "{failed}");
    }

    #[test]
    fn hashes_are_compared_where_they_cover_the_same_history() {
        let hash = |outcome| MemberHash { member_id: 1, current_revision: 9, outcome };
        let known = |compact_revision| hash(HashOutcome::Known { hash: 1, compact_revision });
        assert!(is_comparable([known(3), known(3)].iter()));
        assert!(!is_comparable([known(3), known(4)].iter()));
        assert!(!is_comparable([known(3), hash(HashOutcome::Compacted)].iter()));
        assert!(is_comparable([].iter()));
    }

    #[test]
    fn a_client_certificate_that_is_not_there_is_no_fault() {
        let mut pod = EtcdPod::default();
        pod.certificates.peer_cert = Some("/pki/peer.crt".to_owned());
        let lost = |path: &str| Certificate {
            path: path.to_owned(),
            error: Some("no such file".to_owned()),
            ..Certificate::default()
        };
        let counted = that_count(&pod, vec![lost("/pki/healthcheck-client.crt"), lost("/pki/peer.crt")]);
        assert_eq!(counted.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["/pki/peer.crt"]);
    }
}
