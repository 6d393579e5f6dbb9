//! Looks at one node by a sidecar. Nothing is changed.

use etcd_doctor::{Change, Clock, Kept};
use etcd_wire::facts::{FactsRequest, HealthRequest, NodeFacts};
use etcd_wire::message::{HashKvRequest, MemberHash, NodeStatus, StatusRequest};
use etcd_wire::replace::ReplacedData;
use etcd_wire::restore::NodeRestore;
use jiff::Timestamp;

use crate::discovery::{EtcdPod, NodeTrouble};
use crate::output::{Failed, Outcome};
use crate::road::{Road, Sidecar};
use crate::sidecar::{Operation, Session, converse};

/// The port of restores without `--peer-port`.
const PEER_PORT: u16 = 2382;

/// What a sidecar told of its node, and the conversation with it.
pub(super) struct Visit {
    sidecar: Sidecar,
    session: Session,
    pub(super) status: Outcome<NodeStatus>,
    pub(super) facts: Outcome<NodeFacts>,
    pub(super) clock: Outcome<Clock>,
    pub(super) kept: Outcome<Vec<Kept>>,
}

impl Visit {
    /// Asks everything but the hash, for which all members have to be asked for one revision. `key` is that of namespace kube-system.
    ///
    /// # Errors
    /// No sidecar can be brought to the node.
    pub(super) async fn begin(road: &Road, member: &EtcdPod, manifests_dir: &str, key: &str) -> Outcome<Visit> {
        if let Some(trouble @ NodeTrouble::Silent { .. }) = &member.node_trouble {
            return Err(Failed::plain(trouble.describe(&member.node)));
        }
        let (sidecar, mut session) = converse(road, member, Operation::Doctor, "health").await?;
        let request = StatusRequest {
            etcd: member.access.clone(),
            certificates: member.certificate_files(),
            kube_system: Some(key.to_owned()),
            data_dir: None,
        };
        let status = session.status(request).await;
        let (facts, clock) = match request_of(member, manifests_dir) {
            Ok(request) => {
                let asked_at = Timestamp::now();
                let facts = session.facts(request).await;
                let clock = clock(&facts, asked_at, Timestamp::now());
                (facts, clock)
            }
            Err(failed) => (Err(failed.copy()), Err(failed)),
        };
        let kept = kept(&mut session, member).await;
        Ok(Visit { sidecar, session, status, facts, clock, kept })
    }

    /// Asks for the hash of all keys at a revision.
    pub(super) async fn hash(&mut self, member: &EtcdPod, revision: i64) -> Outcome<MemberHash> {
        self.session.hash_kv(HashKvRequest { etcd: member.access.clone(), revision }).await
    }

    /// Ends the conversation.
    pub(super) fn end(self, road: &Road) {
        road.rest(&self.sidecar, self.session);
    }
}

/// What restores and replacements have left.
async fn kept(session: &mut Session, member: &EtcdPod) -> Outcome<Vec<Kept>> {
    let of_restore = |one: NodeRestore| Kept {
        change: Change::Restore,
        ended: one.ended.is_some(),
        bytes: one.kept_bytes(),
        id: one.plan.id,
    };
    let of_replacement = |one: ReplacedData| Kept {
        change: Change::Replacement,
        // What has no journal that can be read is no replacement that could go on.
        ended: one.is_over() || one.problem.is_some(),
        bytes: one.bytes(),
        id: one.id,
    };
    let restores = session.restores().await?.into_iter().map(of_restore).collect::<Vec<_>>();
    let replaced = session.replaced_data(member.data_dir.iter().cloned().collect()).await?;
    Ok(restores.into_iter().chain(replaced.into_iter().map(of_replacement)).collect())
}

fn request_of(member: &EtcdPod, manifests_dir: &str) -> Outcome<FactsRequest> {
    let data_dir = member.data_dir.clone();
    let data_dir = data_dir.ok_or_else(|| Failed::plain("its data directory is not on a hostPath volume"))?;
    let urls = member.flags.iter().filter_map(|flag| flag.strip_prefix("--listen-metrics-urls="));
    let metrics_urls = urls.flat_map(|urls| urls.split(',')).map(|url| url.trim().to_owned()).collect();
    Ok(FactsRequest {
        data_dir,
        wal_dir: member.wal_dir.clone(),
        manifests_dir: manifests_dir.to_owned(),
        parts: member.parts,
        may_be_empty: false,
        health: Some(HealthRequest { metrics_urls, peer_port: PEER_PORT }),
    })
}

/// The node's clock was read between the question and its answer.
fn clock(facts: &Outcome<NodeFacts>, asked_at: Timestamp, answered_at: Timestamp) -> Outcome<Clock> {
    let facts = facts.as_ref().map_err(Failed::copy)?;
    let health = facts.health.as_ref().ok_or_else(|| Failed::plain("the sidecar did not tell the node's clock"))?;
    let (asked, answered) = (asked_at.as_millisecond(), answered_at.as_millisecond());
    let ahead_ms = health.clock_ms.saturating_sub(asked.midpoint(answered));
    Ok(Clock { ahead_ms, within_ms: (answered - asked) / 2 + 1 })
}

#[cfg(test)]
mod tests {
    use etcd_wire::facts::HealthFacts;

    use super::*;

    #[test]
    fn a_clock_is_known_as_far_as_the_answer_was_quick() {
        let none = || Err(String::new());
        let health = HealthFacts {
            clock_ms: 10_500,
            static_files: none().map(|()| Vec::new()),
            kubeadm_backups: none().map(|()| Vec::new()),
            database_members: none().map(|()| Vec::new()),
            unrecorded_promotions: none().map(|()| Vec::new()),
            wal_fsync: none().map(|()| Default::default()),
            peer_port_taken: none().map(|()| false),
        };
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).expect("a time");
        let facts = Ok(NodeFacts { health: Some(health), ..NodeFacts::default() });
        assert_eq!(clock(&facts, at(8000), at(9000)).expect("known"), Clock { ahead_ms: 2000, within_ms: 501 });
        assert!(clock(&Ok(NodeFacts::default()), at(0), at(1)).is_err());
    }

    #[test]
    fn what_the_pod_says_is_asked_for() {
        let member = EtcdPod {
            data_dir: Some("/var/lib/etcd".into()),
            flags: vec!["--name=a".into(), "--listen-metrics-urls=http://127.0.0.1:2381, http://10.0.0.1:2381".into()],
            ..EtcdPod::default()
        };
        let request = request_of(&member, "/m").expect("a request");
        let health = request.health.expect("health");
        assert_eq!(health.metrics_urls, ["http://127.0.0.1:2381", "http://10.0.0.1:2381"]);
        assert!(request_of(&EtcdPod::default(), "/m").is_err());
    }
}
