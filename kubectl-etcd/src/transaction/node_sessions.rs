//! The nodes of a restore while the plugin still holds their hands: prepared, staged, armed, and told to begin.

use std::time::Duration;

use etcd_recovery::identities;
use etcd_wire::restore::{
    ArmRequest, PrepareRequest, Prepared, RestoreKind, RestoreNode, RestorePlan, Runs, StageRequest, Staged,
};
use futures::future::{join_all, try_join_all};

use super::Work;
use super::operator::no_certificates;
use crate::output::{Exit, Failed, Outcome, Progress, ResultExt, bytes};
use crate::road::Sidecar;
use crate::sidecar::{Committed, Operation, Session, Stage, build, converse};

/// How far above the highest revision that a member has the new data begins: more than is written until it is in place, which the nodes
/// check; and no more than can be made good in less than a minute should they go back after clients have seen it.
pub(crate) const MARGIN: i64 = 100_000;

/// What a sidecar has to be able to do.
pub(super) const CAPABILITY: &str = "restore";
/// How long a node may take to take back what it has begun, when a session ends in order.
const FAREWELL: Duration = Duration::from_secs(20);

/// A node that takes part.
pub(super) struct Hand {
    pub(super) sidecar: Sidecar,
    pub(super) session: Session,
}

/// All nodes, in the order of the plan.
pub(super) struct NodeSessions<'a> {
    work: &'a Work<'a>,
    plan: &'a RestorePlan,
    pub(super) hands: Vec<Hand>,
}

impl<'a> NodeSessions<'a> {
    /// Runs a sidecar on every node, and opens the sessions.
    ///
    /// # Errors
    /// A pod does not start, a session does not open, or a sidecar is of another build (exit 4). None stays open.
    pub(super) async fn gather(work: &'a Work<'a>, plan: &'a RestorePlan) -> Outcome<NodeSessions<'a>> {
        let opened = work.members.iter().map(|member| async move {
            let opened = converse(work.road, member, Operation::Restore, CAPABILITY).await;
            opened.map(|(sidecar, session)| Hand { sidecar, session })
        });
        let hands = try_join_all(opened).await?;
        let nodes = work.members.iter().map(|member| member.node.as_str());
        build::same(nodes.zip(hands.iter().map(|hand| hand.session.peer())))?;
        Ok(NodeSessions { work, plan, hands })
    }

    /// Prepares the nodes, puts the new data beside the old where there will be a member, and starts the participants. Gives what was staged.
    ///
    /// # Errors
    /// Whatever speaks against it. Nothing has changed then, and [`NodeSessions::dismiss`] takes away what was put beside the data.
    pub(super) async fn ready(&mut self) -> Outcome<Staged> {
        let prepared = self.prepare().await?;
        let seen = prepared.iter().map(|node| node.revision).max().unwrap_or(0);
        let staged = self.stage(seen.saturating_add(MARGIN)).await?;
        self.arm(&staged).await?;
        Ok(staged)
    }

    /// One after the other by name, so that of two restores at the same time the second is refused at the first node.
    async fn prepare(&mut self) -> Outcome<Vec<Prepared>> {
        let snapshot_bytes = self.work.upload.as_ref().map_or(0, |upload| upload.bytes);
        let mut all = Vec::new();
        for (node, hand) in self.plan.nodes.iter().zip(&mut self.hands) {
            let request = PrepareRequest { plan: self.plan.clone(), node: node.node.clone(), snapshot_bytes };
            let prepared = hand.session.prepare(request).await;
            let prepared = prepared.map_err(|failed| on(&node.node, "prepare it", failed))?;
            let ready = match () {
                () if node.left_out => format!("node {}: will be stopped and left out", node.node),
                () if !node.has_etcd() => {
                    format!("node {}: has no etcd; the API server is stopped, and starts again afterwards", node.node)
                }
                () => {
                    let (free, aside) = (bytes(prepared.free_bytes), &prepared.aside);
                    format!("node {}: {free} free; the current data will be kept in {aside}", node.node)
                }
            };
            self.work.printer.note(ready);
            for folder in &prepared.removed {
                let note = format!("node {}: removed {folder}, the copy of a recover that was killed", node.node);
                self.work.printer.note(note);
            }
            all.push(prepared);
        }
        Ok(all)
    }

    /// `raise_to` is the revision that the new data begins with: that which was set aside, and a snapshot's whose bump is left to us.
    async fn stage(&mut self, raise_to: i64) -> Outcome<Staged> {
        let upload = self.work.upload.as_ref();
        let from = upload.and_then(|upload| upload.raised_from);
        let bump = from.and_then(|from| u64::try_from(raise_to - from).ok()).unwrap_or(0);
        let names: Vec<String> = self.plan.serving().map(|node| format!("node {}", node.node)).collect();
        let bars = match upload {
            Some(upload) => Progress::several(self.work.printer, &names, upload.bytes),
            None => Vec::new(),
        };
        let serves = |node: &RestoreNode| !node.left_out && node.has_etcd();
        let serving = self.plan.nodes.iter().zip(&mut self.hands).filter(|(node, _)| serves(node));
        let staging = serving.enumerate().map(|(index, (node, hand))| {
            let (bar, node) = (bars.get(index), &node.node);
            let told = move |stage| match (bar, upload, stage) {
                (Some(bar), Some(upload), Stage::Sent(sent)) => bar.update(sent, upload.bytes),
                (Some(bar), _, Stage::Building) => bar.turn("verifies the snapshot and builds the new data"),
                _ => {}
            };
            async move {
                let staged = hand.session.stage(upload, StageRequest { raise_to, bump }, told).await;
                staged.map_err(|failed| on(node, "build the new data", failed))
            }
        });
        let staged = try_join_all(staging).await?;
        drop(bars);
        let (first, warnings) = agreed(self.plan, &staged)?;
        for warning in warnings {
            self.work.printer.warn(warning);
        }
        self.work.printer.note(format!(
            "the new data is on every node: {}, revision {}",
            bytes(first.database_bytes),
            first.revision
        ));
        Ok(first)
    }

    async fn arm(&mut self, staged: &Staged) -> Outcome {
        let identities = identities(&self.plan.id, self.plan.nodes.len()).or_fail(no_certificates)?;
        let runs = match self.work.plane.api() {
            Some(_) => Runs::Image(self.work.image.clone()),
            None => Runs::OwnBinary,
        };
        let runs = &runs;
        if self.plan.quorum_lost.is_some() {
            // A kubelet tells its API server of a pod first, which keeps it waiting as long as etcd does not answer.
            self.work
                .printer
                .note("starting a participant on every node; without a quorum of etcd this takes up to a minute");
        }
        let arming =
            self.hands.iter_mut().zip(identities).zip(&self.plan.nodes).map(|((hand, identity), node)| async move {
                let staged = (node.left_out || !node.has_etcd()).then(|| staged.clone());
                let armed = hand.session.arm(ArmRequest { identity, runs: runs.clone(), staged }).await;
                armed.map_err(|failed| on(&node.node, "start its participant", failed))
            });
        // All of them, so that none is left in the middle of it.
        join_all(arming).await.into_iter().collect()
    }

    /// Tells the coordinator to begin.
    pub(super) async fn commit(&mut self) -> Committed {
        let coordinator = self.plan.nodes.iter().position(|node| node.node == self.plan.coordinator);
        match coordinator.and_then(|index| self.hands.get_mut(index)) {
            Some(hand) => match hand.session.commit().await {
                Committed::Refused(failed) => Committed::Refused(failed),
                other => other,
            },
            None => Committed::Refused(Failed::plain("the plan has no coordinator")),
        }
    }

    /// Ends the sessions in order, so that every node takes back what it has begun.
    pub(super) async fn dismiss(self) {
        join_all(self.hands.into_iter().map(|hand| hand.session.close(FAREWELL))).await;
    }
}

/// What all serving nodes have staged, in their order, and what they warn of.
///
/// # Errors
/// They have not staged the same.
fn agreed(plan: &RestorePlan, staged: &[Staged]) -> Outcome<(Staged, Vec<String>)> {
    let Some(first) = staged.first() else { return Err(Failed::plain("the plan has no nodes")) };
    // Data that was set aside is compared by its cluster only: members are never all at the same entry.
    let same = |other: &Staged| match plan.kind {
        RestoreKind::Snapshot { .. } | RestoreKind::Aside { raise: true, .. } => {
            (other.cluster_id, other.revision, other.hash_kv, other.database_bytes)
                == (first.cluster_id, first.revision, first.hash_kv, first.database_bytes)
        }
        RestoreKind::Aside { .. } => other.cluster_id == first.cluster_id,
    };
    if let Some(index) = staged.iter().position(|one| !same(one)) {
        let said = |index: usize| {
            let node = plan.serving().nth(index).map(|node| node.node.as_str()).unwrap_or_default();
            let one = &staged[index];
            let hash = one.hash_kv.map_or_else(String::new, |hash| format!(", hash {hash}"));
            format!(
                "node {node} has cluster {:x}, revision {}, {} bytes{hash}",
                one.cluster_id, one.revision, one.database_bytes
            )
        };
        let failed =
            Failed::new(Exit::Refused, "the nodes have not built the same data").cause(said(0)).cause(said(index));
        return Err(match plan.kind {
            RestoreKind::Snapshot { .. } => failed,
            RestoreKind::Aside { .. } => failed.hint(
                "a member was behind when it was stopped; put the old directories back as they are, and the members catch up\n  \
                 kubectl etcd rollback --keep-revisions",
            ),
        });
    }
    let mut warnings: Vec<String> = Vec::new();
    for warning in staged.iter().flat_map(|one| &one.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    let revision = staged.iter().map(|one| one.revision).min().unwrap_or(first.revision);
    Ok((Staged { revision, ..first.clone() }, warnings))
}

fn on(node: &str, doing: &str, failed: Failed) -> Failed {
    failed.context(format!("node {node}: cannot {doing}"))
}

#[cfg(test)]
mod tests {
    use super::super::order::tests::{kind, pod, terms};
    use super::super::order::{Part, draw_up, new_id};
    use super::*;

    #[test]
    fn nodes_that_built_different_things_do_not_go_on() {
        let (one, two) = (pod("cp1"), pod("cp2"));
        let id = new_id(jiff::Timestamp::UNIX_EPOCH);
        let mut plan = draw_up(id, kind(), &terms(), &[Part::of(&one), Part::of(&two)], Vec::new()).expect("in order");
        let staged = Staged { cluster_id: 1, revision: 9, hash_kv: Some(3), database_bytes: 8, ..Default::default() };
        let other = Staged { member_id: 5, warnings: vec!["w".into(), "w".into()], ..staged.clone() };
        let (both, warnings) = agreed(&plan, &[staged.clone(), other]).expect("the same");
        assert_eq!((both.revision, warnings), (9, vec!["w".to_owned()]));
        let spoil: [fn(&mut Staged); 4] =
            [|one| one.cluster_id = 2, |one| one.revision = 8, |one| one.hash_kv = None, |one| one.database_bytes = 9];
        for (index, spoil) in spoil.into_iter().enumerate() {
            let mut other = staged.clone();
            spoil(&mut other);
            plan.kind = kind();
            let failed = agreed(&plan, &[staged.clone(), other.clone()]).expect_err("different");
            assert!(failed.exit == Exit::Refused && failed.causes[1].contains("cp2"), "{failed}");
            plan.kind = RestoreKind::Aside { of: "x".into(), raise: false, token: String::new() };
            assert_eq!(agreed(&plan, &[staged.clone(), other]).is_err(), index == 0);
        }
    }
}
