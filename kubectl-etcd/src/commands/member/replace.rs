//! `member replace`: one member gets new data from the rest of its cluster. Judged here, done by its node, and looked at afterwards.

use std::time::{Duration, Instant};

use etcd_members::replace::{Replacement as Judged, Step, Target, equal, replacement};
use etcd_wire::message::Member;
use etcd_wire::replace::{ReplacePhase, ReplacePlan, Replacement};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde::Serialize;

use super::Args;
use super::list::{Row, rows};
use crate::commands::backup;
use crate::connection::Connection;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{self, EtcdPod, Overrides, address, is_loopback};
use crate::live_members::Live;
use crate::output::confirm::{confirm_name, consent_to};
use crate::output::visible::quoted;
use crate::output::{API_VERSION, Exit, Failed, Format, Outcome, Printer, print_data};
use crate::road::{Road, Sidecar};
use crate::sidecar::access::explain;
use crate::sidecar::{Operation, Session, TransferError, build, converse};
use crate::transaction::new_id;

/// What a sidecar has to be able to do.
const CAPABILITY: &str = "replaceMember";
/// How often the node is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);
/// How long the way to the node may be away before it is given up. The node goes on.
const AWAY: Duration = Duration::from_secs(60);
/// How long it may take until all members show the new one as a healthy voter.
const SHOWN: Duration = Duration::from_secs(60);

/// The phases of a replacement that comes to its end, in their order.
const ORDER: [ReplacePhase; 8] = {
    use ReplacePhase::{Begun, CaughtUp, Joining, OwnManifest, Removed, Removing, SetAside, Stopped};
    [Begun, Stopped, Removing, Removed, SetAside, Joining, CaughtUp, OwnManifest]
};

/// What is done, or was.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    cluster_id: String,
    node: String,
    member: String,
    dry_run: bool,
    changed: bool,
    /// ID of the member that is replaced; null if it was removed before.
    old_member_id: Option<String>,
    /// ID of a learner of an earlier try, which is removed.
    learner_id: Option<String>,
    /// ID of the new member, once there is one.
    new_member_id: Option<String>,
    /// Where the old data is kept on the node; null if there was none.
    old_data: Option<String>,
    /// Manifests of other programs that were kept on the node.
    kept: Vec<String>,
    steps: Vec<String>,
    /// The members: afterwards, or in a dry run as they are.
    members: Vec<Row>,
    /// The same for people.
    #[serde(skip)]
    told: String,
}

/// A member that may be replaced, and what its node is told.
struct Wanted<'a> {
    pod: &'a EtcdPod,
    judged: Judged,
    plan: ReplacePlan,
    steps: Vec<String>,
}

/// Replaces the member on a node.
///
/// # Errors
/// It is refused, or fails. What has been changed then is told.
pub(super) async fn run(
    args: &Args,
    context: &Context,
    connection: &Connection,
    named: &str,
    format: Format,
) -> Outcome {
    let live = Live::look_in_pods(context, connection, &args.reach).await?;
    live.view()?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let namespace = context.connection.etcd_namespace();
    let finding = discovery::with_manifests(connection, namespace, &overrides, &args.manifests);
    let found = context.interruptible(finding).await?;
    let unfinished;
    let pod = match pod_of(&found.members, named) {
        Ok(pod) => pod,
        Err(failed) if found.members.iter().any(|pod| pod.node == named || pod.name == named) => return Err(failed),
        Err(failed) => match context.interruptible(unfinished_on(args, context, connection, named)).await {
            Ok(Some(plan)) => {
                unfinished = pod_of_plan(plan);
                &unfinished
            }
            Ok(None) => return Err(failed),
            Err(why) if why.exit == Exit::Interrupted => return Err(why),
            Err(why) => {
                return Err(
                    failed.cause(format!("cannot look for an unfinished replacement there: {}", why.one_line()))
                );
            }
        },
    };
    leads_elsewhere(pod, &connection.server)?;
    let wanted = context.interruptible(judge(args, &live, pod)).await?;
    let replace = Replace { args, context, live: &live };
    if args.dry_run.is_some() {
        return replace.report(&wanted, None, &live, format);
    }
    replace.carry_out(&wanted, format).await
}

/// The etcd pod of a node, by the node's name or the member's.
fn pod_of<'a>(pods: &'a [EtcdPod], named: &str) -> Outcome<&'a EtcdPod> {
    let on_node: Vec<&EtcdPod> = pods.iter().filter(|pod| pod.node == named).collect();
    let fit = if on_node.is_empty() { pods.iter().filter(|pod| pod.name == named).collect() } else { on_node };
    match fit.as_slice() {
        [pod] => Ok(pod),
        [] => {
            let known: Vec<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
            let failed = Failed::new(Exit::Refused, format!("no etcd pod is on a node {named:?}"));
            let failed = failed.cause(format!("etcd pods are on {}", known.join(", "))).unchanged();
            Err(failed.hint(format!(
                "if the node is gone for good: remove its member, then join a new node\n  kubectl etcd member remove {}\n  \
                 kubeadm token create --print-join-command    # and add --control-plane",
                quoted(named)
            )))
        }
        _ => {
            let failed = Failed::new(Exit::Refused, format!("several etcd pods are on node {named}"));
            Err(failed.unchanged().hint("name the pods of one cluster by their labels with -l"))
        }
    }
}

/// The plan of a replacement that is unfinished on a node without an etcd pod: etcd's manifest is held there.
async fn unfinished_on(
    args: &Args,
    context: &Context,
    connection: &Connection,
    node: &str,
) -> Outcome<Option<ReplacePlan>> {
    let plane = ControlPlane::open(&args.ssh, context).await?;
    let known = match plane.hosts() {
        Some(hosts) => hosts.iter().any(|host| host.node == node),
        None => {
            let nodes: Api<Node> = Api::all(connection.client.clone());
            let found = nodes.get_opt(node).await;
            let doing = || format!("look for node {node}");
            found.map_err(|error| explain(&error, "get", "nodes", "", doing()))?.is_some()
        }
    };
    if !known {
        return Ok(None);
    }
    let road = plane.road(&args.sidecar, context).await?;
    context.printer.note(format!("node {node} has no etcd pod; looking for an unfinished replacement there"));
    let bare = EtcdPod { node: node.to_owned(), ..EtcdPod::default() };
    let (_, mut session) = converse(&road, &bare, Operation::Follow, CAPABILITY).await?;
    session.unfinished_replacement().await
}

/// The pod of a member as the plan of its replacement has it.
fn pod_of_plan(plan: ReplacePlan) -> EtcdPod {
    EtcdPod {
        node: plan.node,
        name: plan.member,
        peer_urls: plan.peer_urls,
        data_dir: Some(plan.data_dir),
        wal_dir: plan.wal_dir,
        manifests_dir: Some(plan.manifests_dir),
        access: plan.etcd,
        ..EtcdPod::default()
    }
}

/// The API server on the node has no etcd while its member is replaced: the command must not depend on that one.
fn leads_elsewhere(pod: &EtcdPod, server: &str) -> Outcome {
    let host = |url: &str| address(url).map(|(host, _)| host);
    let Some(server_host) = host(server) else { return Ok(()) };
    let urls = pod.peer_urls.iter().chain(&pod.client_urls);
    let own =
        urls.filter_map(|url| host(url)).chain(pod.addresses.iter().cloned()).chain([pod.node.to_ascii_lowercase()]);
    match own.into_iter().any(|own| own == server_host && !is_loopback(&own)) {
        false => Ok(()),
        true => {
            let why = format!("the API server of node {} is asked, which has no etcd meanwhile: {server}", pod.node);
            Err(Failed::new(Exit::Refused, why)
                .unchanged()
                .hint("ask that of another node\n  --server https://ADDRESS:6443"))
        }
    }
}

/// Judges by what all members say, and says what the node is to do.
async fn judge<'a>(args: &Args, live: &Live<'_>, pod: &'a EtcdPod) -> Outcome<Wanted<'a>> {
    let refused = |why: String| Failed::new(Exit::Refused, why).unchanged();
    let node = &pod.node;
    if pod.name.is_empty() {
        return Err(refused(format!("the name of the member on node {node} is not known")));
    }
    let leads_nowhere = |url: &String| address(url).is_none_or(|(host, _)| is_loopback(&host));
    if pod.peer_urls.is_empty() || pod.peer_urls.iter().any(leads_nowhere) {
        let urls = pod.peer_urls.join(", ");
        return Err(refused(format!(
            "member {} on node {node} has no peer URL that others can reach: {urls}",
            pod.name
        )));
    }
    let data_dir = pod.data_dir.clone();
    let data_dir =
        data_dir.ok_or_else(|| refused(format!("the data directory on node {node} is not on a hostPath volume")))?;
    let manifests_dir = pod.manifests_dir.clone().ok_or_else(|| refused(format!("node {node} has no static pods")))?;
    let view = live.view()?;
    let list: Vec<Member> = live
        .listed()
        .iter()
        .map(|one| Member {
            id: one.seen.id,
            name: one.seen.name.clone(),
            peer_urls: one.peer_urls.clone(),
            client_urls: one.client_urls.clone(),
            learner: one.seen.learner,
        })
        .collect();
    let target = Target { node, name: &pod.name, peer_urls: &pod.peer_urls };
    let asked: Vec<u64> =
        list.iter().filter(|member| !target.is(member) && !member.learner).map(|member| member.id).collect();
    let hashes = live.hashes(&asked).await;
    let judged = replacement(view, &list, &target, &hashes)?;
    let is_other = |member: &&Member| judged.others.contains(&member.id);
    let others: Vec<String> =
        list.iter().filter(is_other).filter_map(|member| member.client_urls.first().cloned()).collect();
    if let Some(url) = others.iter().find(|url| leads_nowhere(url)) {
        return Err(refused(format!("a member has the client URL {url}, which node {node} cannot reach")));
    }
    let plan = ReplacePlan {
        id: new_id(Timestamp::now()),
        node: node.clone(),
        member: pod.name.clone(),
        cluster_id: live.id,
        peer_urls: pod.peer_urls.clone(),
        data_dir,
        wal_dir: pod.wal_dir.clone(),
        manifests_dir,
        etcd: pod.access.clone(),
        others,
        quorum: u32::try_from(judged.quorum).unwrap_or(u32::MAX),
        patience: u32::try_from(args.timeout.as_secs()).unwrap_or(u32::MAX).max(1),
        build: etcd_build::ID.to_owned(),
    };
    let steps = steps(&judged, &plan, args.no_backup);
    Ok(Wanted { pod, judged, plan, steps })
}

/// The steps, a line each.
fn steps(judged: &Judged, plan: &ReplacePlan, no_backup: bool) -> Vec<String> {
    let ReplacePlan { node, member, data_dir, .. } = plan;
    let of = |step: Step| match step {
        Step::Stop => format!("stop etcd on node {node}; its API server is away until the end"),
        Step::Remove(id) if judged.learner == Some(id) => format!("remove the learner {id:x} of an earlier try"),
        Step::Remove(id) => format!("remove member {member} ({id:x}) from the cluster"),
        Step::SetAside => format!("keep the old data in {data_dir}/.kubectl-etcd/ID/old"),
        Step::AddLearner => format!("add {member} as a learner with {}", plan.peer_urls.join(",")),
        Step::Join => {
            "start etcd without data, with all members in --initial-cluster; wait until it has everything".to_owned()
        }
        Step::OwnManifest => "give etcd its own manifest back; wait until it runs with that".to_owned(),
        Step::Promote => format!("let {member} vote"),
    };
    let backup = (!no_backup).then(|| "take a backup of a healthy member into this folder".to_owned());
    backup.into_iter().chain(judged.steps().into_iter().map(of)).collect()
}

struct Replace<'a> {
    args: &'a Args,
    context: &'a Context,
    live: &'a Live<'a>,
}

impl Replace<'_> {
    async fn carry_out(&self, wanted: &Wanted<'_>, format: Format) -> Outcome {
        let (context, printer) = (self.context, self.context.printer);
        let (node, member) = (&wanted.plan.node, &wanted.plan.member);
        let look = "look at it with --dry-run=client";
        let given = consent_to("member", self.args.confirm.as_deref(), member, Printer::interactive(), look)?;
        printer.show(&plan_text(wanted));
        context.interruptible(confirm_name("member", given, member, printer)).await?;
        if !self.args.no_backup {
            backup::before(&self.source(wanted)?, &self.args.reach, &self.args.ssh, &self.args.sidecar, context)
                .await?;
        }
        let road = match context.road() {
            Some(road) => road.clone(),
            None => {
                let plane = ControlPlane::open(&self.args.ssh, context).await?;
                plane.road(&self.args.sidecar, context).await?
            }
        };
        let opening = converse(&road, wanted.pod, Operation::Replace, CAPABILITY);
        let opened = context.interruptible(opening).await.map_err(|failed| self.no_way(node, failed))?;
        let (sidecar, mut session) = opened;
        build::same([(node.as_str(), session.peer())])?;
        let urged = || {
            let failed = Failed::new(Exit::Changed, "interrupted while the member is replaced");
            failed.effect(format!("etcd on node {node} may be stopped")).hint(self.again())
        };
        let working = async {
            let begun = match session.replace(wanted.plan.clone()).await {
                Ok(begun) => begun,
                Err(TransferError::Final(failed)) => return Err(failed.unchanged()),
                Err(TransferError::Transport(failed)) => {
                    let failed = Failed { exit: Exit::Changed, ..failed };
                    return Err(failed.effect(format!("node {node} may have begun")).hint(self.again()));
                }
            };
            if begun.id != wanted.plan.id {
                printer.note(format!("node {node} goes on with the unfinished replacement {}", begun.id));
            }
            self.follow(wanted, &road, &sidecar, session, begun).await
        };
        let ended = context.interruption.unless_urged(urged, working).await??;
        let done = self.ended(wanted, ended)?;
        let live = self.shown(wanted, &done).await?;
        let told = format!("member {member} on node {node} is replaced");
        self.report(wanted, Some(&done), &live, format).map_err(|failed| failed.after_change(told))
    }

    /// The node of a healthy member that the backup is taken of.
    fn source(&self, wanted: &Wanted<'_>) -> Outcome<String> {
        let listed = self.live.listed().iter().filter(|one| wanted.judged.others.contains(&one.seen.id));
        let fit = listed.filter_map(|one| Some((one.node.clone()?, one.seen.status.as_ref()?, &one.seen.name)));
        let best = etcd_members::best(fit.collect(), |(_, status, name)| (*status, name.as_str()));
        best.map(|(node, ..)| node).ok_or_else(|| {
            let failed = Failed::new(Exit::Refused, "no other member has a pod that a backup can be taken of");
            failed.unchanged().hint("take one by other means, then\n  --no-backup")
        })
    }

    fn no_way(&self, node: &str, failed: Failed) -> Failed {
        let failed = failed.context(format!("no sidecar can be brought to node {node}")).unchanged();
        match self.args.ssh.ssh.is_some() {
            true => failed,
            false => failed.hint(format!(
                "if the kubelet of node {node} asks the API server of its own node, which has no etcd: over SSH\n  \
                 --ssh=root@ --nodes {node}=ADDRESS,OTHER=ADDRESS"
            )),
        }
    }

    /// What is typed to go on.
    fn again(&self) -> String {
        format!(
            "run the same command again: the node goes on where it was\n  kubectl etcd member replace {}",
            quoted(self.named())
        )
    }

    fn named(&self) -> &str {
        self.args.member.as_deref().unwrap_or_default()
    }

    /// Asks the node how far it is until it has ended. A way that breaks is opened again.
    async fn follow(
        &self,
        wanted: &Wanted<'_>,
        road: &Road,
        sidecar: &Sidecar,
        session: Session,
        begun: Replacement,
    ) -> Outcome<Replacement> {
        let (node, id) = (&wanted.plan.node, begun.id.clone());
        let (mut now, mut session, mut shown) = (begun, Some(session), None);
        let mut away: Option<Instant> = None;
        loop {
            // Also those that were over before the node was asked again.
            for phase in ORDER.into_iter().filter(|phase| Some(*phase) > shown && *phase <= now.phase) {
                if let Some(text) = doing(phase, &wanted.plan) {
                    self.context.printer.note(text);
                }
            }
            shown = Some(now.phase);
            if now.phase.is_over() || !now.running {
                return Ok(now);
            }
            tokio::time::sleep(LOOK).await;
            let asked = match &mut session {
                Some(open) => open.replacement(&id).await,
                None => match road.session(sidecar).await {
                    Ok(mut open) => {
                        let asked = open.replacement(&id).await;
                        session = Some(open);
                        asked
                    }
                    Err(error) => Err(error),
                },
            };
            match asked {
                Ok(replacement) => (now, away) = (replacement, None),
                Err(error) => {
                    session = None;
                    let failed = error.into_failed();
                    if away.get_or_insert_with(Instant::now).elapsed() > AWAY {
                        let failed =
                            failed.context(format!("the way to node {node} is lost while its member is replaced"));
                        let failed = Failed { exit: Exit::Changed, ..failed };
                        return Err(failed.effect("the node may go on by itself").hint(self.again()));
                    }
                }
            }
        }
    }

    /// What the node has said at its end.
    fn ended(&self, wanted: &Wanted<'_>, ended: Replacement) -> Outcome<Replacement> {
        let (node, member) = (&wanted.plan.node, &wanted.plan.member);
        let why = || match &ended.failure {
            Some(failure) => Failed::from(failure.clone()),
            None => Failed::plain("the sidecar was ended"),
        };
        match ended.phase {
            ReplacePhase::Done => {
                for path in &ended.kept {
                    self.context.printer.warn(format!(
                        "another program has written a manifest of etcd meanwhile; it is kept in {path}"
                    ));
                }
                Ok(ended)
            }
            ReplacePhase::Undone => {
                Err(why().context(format!("member {member} on node {node} is not replaced")).effect(format!(
                    "etcd on node {node} was stopped and started again with its own data; the cluster is as it was"
                )))
            }
            phase => {
                let failed = Failed { exit: Exit::Changed, ..why() };
                let failed = failed.context(format!("member {member} on node {node} is not replaced yet"));
                let failed = failed.effect(match phase.is_past_return() {
                    true => {
                        format!("member {member} is removed from the cluster, or is a learner of it; the others serve")
                    }
                    false => format!("etcd on node {node} may be stopped; the cluster is as it was"),
                });
                let failed = match &ended.old_data {
                    Some(path) => failed.effect(format!("the old data is kept on node {node} in {path}")),
                    None => failed,
                };
                Err(failed.hint(self.again()))
            }
        }
    }

    /// Looks until all members show the new one as a healthy voter with the same data.
    async fn shown(&self, wanted: &Wanted<'_>, done: &Replacement) -> Outcome<Live<'_>> {
        let member = &wanted.plan.member;
        let missing = |live: &Live<'_>| {
            let view = live.view().ok()?;
            match live.listed().iter().find(|one| Some(one.seen.id) == done.new_member) {
                None => Some(format!("member {member} is not in the member list")),
                Some(one) if one.seen.learner => Some(format!("member {member} does not vote")),
                Some(one) => view.trouble(&one.seen).map(|trouble| format!("member {member} {trouble}")),
            }
        };
        let after = |failed: Failed| match failed.exit {
            Exit::Interrupted => failed.effect(format!("member {member} is replaced, and votes")),
            _ => {
                failed.after_change(format!("member {member} is replaced, and votes")).hint("kubectl etcd member list")
            }
        };
        let live = self.live.until_joined(self.context, &self.args.reach, SHOWN, missing).await.map_err(after)?;
        let view = live.view().map_err(after)?;
        let voters: Vec<_> = view.voters().collect();
        let ids: Vec<u64> = voters.iter().map(|one| one.id).collect();
        let hashes = self.context.interruptible(async { Ok(live.hashes(&ids).await) }).await.map_err(after)?;
        if let Err(causes) = equal(&voters, &hashes) {
            let failed = Failed::new(
                Exit::Changed,
                format!("member {member} votes, and the data of the members is not known to be equal"),
            );
            return Err(after(failed.causes(causes)));
        }
        Ok(live)
    }

    fn report(&self, wanted: &Wanted<'_>, done: Option<&Replacement>, live: &Live<'_>, format: Format) -> Outcome {
        let hex = |id: Option<u64>| id.map(|id| format!("{id:x}"));
        let ReplacePlan { node, member, .. } = &wanted.plan;
        let told = match done {
            None => format!("{}nothing was changed\n", plan_text(wanted)),
            Some(done) => {
                let id = hex(done.new_member).unwrap_or_default();
                let old = match &done.old_data {
                    Some(path) => format!(
                        "The old data is kept on node {node} in {path}; nothing needs it: remove it when you like.\n"
                    ),
                    None => format!("Node {node} had no old data.\n"),
                };
                let voters = live.view()?.voters().count();
                format!(
                    "member {member} on node {node} is replaced: it votes with ID {id}, and all {voters} voters have equal data\n{old}\
                     The API server of node {node} was away, and the node may be NotReady for a minute.\n"
                )
            }
        };
        let report = Report {
            api_version: API_VERSION,
            kind: "MemberReplacement",
            cluster_id: format!("{:x}", live.id),
            node: node.clone(),
            member: member.clone(),
            dry_run: self.args.dry_run.is_some(),
            changed: done.is_some(),
            old_member_id: hex(wanted.judged.member),
            learner_id: hex(wanted.judged.learner),
            new_member_id: hex(done.and_then(|done| done.new_member)),
            old_data: done.and_then(|done| done.old_data.clone()),
            kept: done.map(|done| done.kept.clone()).unwrap_or_default(),
            steps: wanted.steps.clone(),
            members: live.view().map(|view| rows(live, view)).unwrap_or_default(),
            told,
        };
        print_data(self.context.printer, format, &report, || report.told.clone())
    }
}

/// What a node does in a phase.
fn doing(phase: ReplacePhase, plan: &ReplacePlan) -> Option<String> {
    let ReplacePlan { node, member, .. } = plan;
    Some(match phase {
        ReplacePhase::Begun => format!("stopping etcd on node {node}"),
        ReplacePhase::Stopped => "etcd has ended; looking whether the others have their quorum".to_owned(),
        ReplacePhase::Removing => format!("removing member {member} from the cluster"),
        ReplacePhase::Removed => "setting the old data aside".to_owned(),
        ReplacePhase::SetAside => format!("adding {member} as a learner"),
        ReplacePhase::Joining => "starting etcd without data, and waiting until it has everything".to_owned(),
        ReplacePhase::CaughtUp => "giving etcd its own manifest back".to_owned(),
        ReplacePhase::OwnManifest => format!("waiting until etcd runs again, then {member} votes"),
        ReplacePhase::Done | ReplacePhase::Undone | ReplacePhase::Unknown => return None,
    })
}

/// The plan for people.
fn plan_text(wanted: &Wanted<'_>) -> String {
    let ReplacePlan { node, member, .. } = &wanted.plan;
    let id = wanted.judged.member.map_or_else(|| "not in the cluster any more".to_owned(), |id| format!("{id:x}"));
    let (others, quorum) = (wanted.judged.others.len(), wanted.judged.quorum);
    let mut text = format!(
        "Member:  {member} ({id}) on node {node}\nOthers:  {others} healthy with equal data; the quorum is {quorum} while etcd is stopped there\n"
    );
    text.extend(wanted.steps.iter().zip(1..).map(|(step, number)| format!("{number:>2}. {step}\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, name: &str) -> EtcdPod {
        EtcdPod {
            node: node.into(),
            name: name.into(),
            peer_urls: vec!["https://10.0.0.2:2380".into()],
            addresses: vec!["10.0.0.2".into()],
            ..EtcdPod::default()
        }
    }

    #[test]
    fn the_pod_is_found_by_its_node_or_its_member() {
        let pods = [pod("cp1", "a"), pod("cp2", "cp1"), pod("cp3", "c")];
        assert_eq!(pod_of(&pods, "cp1").expect("a node").name, "a");
        assert_eq!(pod_of(&pods, "c").expect("a member").node, "cp3");
        let failed = pod_of(&pods, "cp9").expect_err("none");
        assert!(failed.exit == Exit::Refused && failed.hints[0].contains("kubectl etcd member remove cp9"), "{failed}");
        assert!(
            failed.hints[0].contains("kubeadm token create") && failed.causes[0].contains("cp1, cp2, cp3"),
            "{failed}"
        );
        assert_eq!(pod_of(&[pod("cp1", "a"), pod("cp1", "b")], "cp1").expect_err("two").exit, Exit::Refused);
    }

    #[test]
    fn the_api_server_of_the_node_is_not_relied_on() {
        let pod = pod("cp2", "cp2");
        for (server, allowed) in [
            ("https://10.0.0.1:6443", true),
            ("https://10.0.0.2:6443", false),
            ("https://cp2:6443", false),
            ("https://api.example:6443", true),
            ("https://127.0.0.1:6443", true),
        ] {
            assert_eq!(leads_elsewhere(&pod, server).is_ok(), allowed, "{server}");
        }
    }

    #[test]
    fn the_steps_are_told_in_their_order() {
        let plan =
            ReplacePlan { node: "n2".into(), member: "m2".into(), data_dir: "/d".into(), ..ReplacePlan::default() };
        let judged = Judged { member: Some(0xa), learner: Some(0xb), others: vec![1, 2], quorum: 2 };
        let told = steps(&judged, &plan, false);
        let order = [
            "take a backup",
            "stop etcd on node n2",
            "remove member m2 (a)",
            "remove the learner b",
            "keep the old data in /d/",
            "add m2",
            "start etcd without data",
            "own manifest back",
            "let m2 vote",
        ];
        assert_eq!(told.len(), order.len());
        assert!(told.iter().zip(order).all(|(step, part)| step.contains(part)), "{told:?}");
        assert_eq!(steps(&judged, &plan, true).len(), order.len() - 1);
        let phases = [ReplacePhase::Begun, ReplacePhase::Joining, ReplacePhase::OwnManifest];
        assert!(
            phases.iter().all(|phase| doing(*phase, &plan).is_some()) && doing(ReplacePhase::Done, &plan).is_none()
        );
    }
}
