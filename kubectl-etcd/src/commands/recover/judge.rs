//! What the surveys of the nodes come to. Pure.

use std::collections::BTreeSet;

use etcd_snapshot::wal::{Candidate, Place, Position, Standing, rank};
use etcd_wire::survey::{EtcdState, EtcdSurvey, NodeSurvey};
use serde::Serialize;

use super::Looked;
use crate::output::API_VERSION;

/// What is known of all nodes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: &'static str,
    kind: &'static str,
    cluster: String,
    pub(super) nodes: Vec<Node>,
    /// Data directories whose logs could be read, the one with the most of its cluster first.
    pub(super) members: Vec<Ranked>,
    /// Those with the most; none if logs of several clusters were found.
    pub(super) best: Vec<String>,
    /// What the members that the databases know come to.
    pub(super) quorum: Option<Quorum>,
    pub(super) warnings: Vec<String>,
}

/// A node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) node: String,
    pub(super) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) survey: Option<NodeSurvey>,
    /// Why there is no survey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// A member, by its log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ranked {
    /// Its node; with the data directory, where a node has several.
    pub(super) name: String,
    pub(super) cluster_id: String,
    pub(super) term: u64,
    pub(super) index: u64,
    /// In words.
    pub(super) standing: String,
}

/// Whether etcd may still serve.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Quorum {
    /// Members that vote.
    pub(super) voters: usize,
    /// How many of them are a quorum.
    pub(super) needed: usize,
    /// On how many nodes etcd runs.
    pub(super) running: usize,
    /// On how many nodes of voters etcd may run, as they were not looked at.
    pub(super) unseen: usize,
}

/// What a data directory is called: as its node, unless that has several with a log.
pub(super) fn name(node: &str, survey: &NodeSurvey, etcd: &EtcdSurvey) -> String {
    match directories(survey).count() > 1 {
        true => format!("{node} {}", etcd.data_dir),
        false => node.to_owned(),
    }
}

/// The data directories of a node that count: those with a log.
fn directories(survey: &NodeSurvey) -> impl Iterator<Item = &EtcdSurvey> {
    survey.etcd.iter().filter(|etcd| etcd.log.is_some())
}

pub(super) fn judge(cluster: &str, looked: &[Looked]) -> Report {
    let surveys = || looked.iter().filter_map(|one| Some((one.host.node.as_str(), one.found.as_ref().ok()?)));
    let mut candidates = Vec::new();
    for (node, survey) in surveys() {
        for etcd in directories(survey) {
            let Some(log) = &etcd.log else { continue };
            let name = name(node, survey, etcd);
            let last = Position { term: log.last.term, index: log.last.index };
            candidates.push(Candidate {
                name,
                cluster_id: u64::from_str_radix(&log.cluster_id, 16).unwrap_or_default(),
                last,
            });
        }
    }
    let ranking = rank(&candidates);
    let best: Vec<String> = ranking.best().unwrap_or_default().into_iter().map(str::to_owned).collect();
    let members =
        ranking.clusters.iter().flat_map(|(id, places)| places.iter().map(|place| ranked(*id, place))).collect();
    let quorum = quorum(looked);
    let mut warnings = warnings(looked, ranking.clusters.len(), quorum.as_ref());
    warnings.extend(misleading(looked, &best));
    let nodes = looked.iter().map(|one| Node {
        node: one.host.node.clone(),
        address: one.host.address.clone(),
        survey: one.found.as_ref().ok().cloned(),
        error: one.found.as_ref().err().map(|failed| failed.one_line()),
    });
    Report {
        api_version: API_VERSION,
        kind: "RecoverySurvey",
        cluster: cluster.to_owned(),
        nodes: nodes.collect(),
        members,
        best,
        quorum,
        warnings,
    }
}

fn ranked(cluster: u64, place: &Place) -> Ranked {
    let standing = match place.standing {
        Standing::First => "has the most".to_owned(),
        Standing::Behind { entries } => format!("lacks {entries} entries"),
        Standing::EarlierTerm { at_least: 0 } => "lacks entries of a later term".to_owned(),
        Standing::EarlierTerm { at_least } => format!("lacks at least {at_least} entries"),
    };
    Ranked {
        name: place.name.clone(),
        cluster_id: format!("{cluster:x}"),
        term: place.last.term,
        index: place.last.index,
        standing,
    }
}

/// By the database that knows the most voters: one that was wiped knows itself alone.
fn quorum(looked: &[Looked]) -> Option<Quorum> {
    let surveys = || looked.iter().filter_map(|one| one.found.as_ref().ok());
    let databases = surveys().flat_map(|survey| &survey.etcd).filter_map(|etcd| etcd.database.as_ref());
    let voters = databases.map(|database| database.members.iter().filter(|member| member.may_vote()).count()).max()?;
    let runs = |survey: &&NodeSurvey| survey.etcd.iter().any(|etcd| etcd.state != EtcdState::Stopped && !etcd.empty);
    let running = surveys().filter(runs).count();
    // A node without etcd has no member that could have been seen.
    let unseen = voters.saturating_sub(surveys().filter(|survey| !survey.etcd.is_empty()).count());
    (voters > 0).then_some(Quorum { voters, needed: voters / 2 + 1, running, unseen })
}

fn warnings(looked: &[Looked], clusters: usize, quorum: Option<&Quorum>) -> Vec<String> {
    let mut all = Vec::new();
    for one in looked {
        match &one.found {
            Err(failed) => all.push(format!("node {} was not looked at: {}", one.host.node, failed.one_line())),
            Ok(survey) => {
                // Of what is not there nothing else need be told.
                let bare = || survey.etcd.iter().filter(|etcd| etcd.is_bare());
                all.extend(
                    bare().map(|etcd| format!("node {} has no data of etcd in {}", one.host.node, etcd.data_dir)),
                );
                let read = survey.etcd.iter().filter(|etcd| !etcd.is_bare());
                let failures = read.flat_map(|etcd| &etcd.failures).chain(&survey.failures);
                all.extend(failures.map(|failure| format!("node {}: {failure}", one.host.node)));
                if survey.etcd.is_empty() {
                    all.push(format!(
                        "node {} has no etcd that can be found; if etcd is there, name its directory with --data-dir",
                        one.host.node
                    ));
                }
                let torn = survey.etcd.iter().filter_map(|etcd| etcd.log.as_ref()?.torn.as_ref());
                all.extend(torn.filter(|torn| torn.records_follow).map(|torn| {
                    format!(
                        "node {}: the log ends in {} at offset {}, and whole records follow: if the disk is damaged, acknowledged writes are lost there",
                        one.host.node, torn.segment, torn.offset
                    )
                }));
            }
        }
    }
    if clusters > 1 {
        all.push(
            "the logs are of several clusters. Compare the UID of namespace kube-system and the revision: a node whose data directory was wiped comes up as an \
             empty cluster"
                .to_owned(),
        );
    }
    let uids: BTreeSet<&str> = looked
        .iter()
        .filter_map(|one| one.found.as_ref().ok())
        .flat_map(|survey| &survey.etcd)
        .filter_map(|etcd| etcd.database.as_ref()?.kube_system_uid.as_deref())
        .collect();
    if uids.len() > 1 {
        all.push(format!(
            "the databases are of several clusters, by the UID of namespace kube-system: {}",
            Vec::from_iter(uids).join(", ")
        ));
    }
    if let Some(Quorum { voters, needed, running, unseen }) = quorum {
        if running >= needed {
            all.push(format!("etcd runs on {running} of {voters} nodes, which may be a quorum: do not recover a cluster that has one. See kubectl etcd status --ssh"));
        } else if running + unseen >= *needed {
            all.push(format!("{unseen} of {voters} members were not looked at; if etcd runs there, the cluster may still have a quorum"));
        }
    }
    all
}

/// A database whose revision is higher than those of the members with the most.
fn misleading(looked: &[Looked], best: &[String]) -> Option<String> {
    let revisions = || {
        let surveys = looked.iter().filter_map(|one| Some((&one.host.node, one.found.as_ref().ok()?)));
        surveys.filter_map(|(node, survey)| {
            Some((node, directories(survey).filter_map(|etcd| Some(etcd.database.as_ref()?.revision)).max()?))
        })
    };
    let highest = revisions().filter(|(node, _)| best.contains(node)).map(|(_, revision)| revision).max()?;
    let (node, _) = revisions().find(|(node, revision)| !best.contains(node) && *revision > highest)?;
    Some(format!(
        "the database on node {node} has the highest revision, and its log has less than that of node {}: go by term and index",
        best.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use etcd_wire::survey::{DatabaseSurvey, LogSurvey, RaftPosition, SurveyedMember};

    use super::*;
    use crate::output::Failed;
    use crate::road::Host;

    fn etcd(cluster: &str, term: u64, index: u64, revision: i64, state: EtcdState) -> EtcdSurvey {
        let member = |name: &str| SurveyedMember { name: name.to_owned(), ..SurveyedMember::default() };
        EtcdSurvey {
            data_dir: "/var/lib/etcd".to_owned(),
            state,
            log: Some(LogSurvey {
                cluster_id: cluster.to_owned(),
                last: RaftPosition { term, index },
                ..LogSurvey::default()
            }),
            database: Some(DatabaseSurvey {
                revision,
                members: ["cp1", "cp2", "cp3"].map(member).to_vec(),
                kube_system_uid: Some("uid".to_owned()),
                ..DatabaseSurvey::default()
            }),
            ..EtcdSurvey::default()
        }
    }

    fn node(name: &str, etcd: Vec<EtcdSurvey>) -> Looked {
        let host = Host { node: name.to_owned(), address: "10.0.0.1".to_owned() };
        Looked { host, found: Ok(NodeSurvey { node: name.to_owned(), etcd, failures: Vec::new() }) }
    }

    fn dead(name: &str) -> Looked {
        let host = Host { node: name.to_owned(), address: "10.0.0.1".to_owned() };
        Looked { host, found: Err(Failed::plain("ssh does not reach it")) }
    }

    const STOPPED: EtcdState = EtcdState::Stopped;
    const RUNNING: EtcdState = EtcdState::Running;

    #[test]
    fn the_best_goes_by_term_and_index_and_a_higher_revision_elsewhere_is_told() {
        let looked = [
            node("cp1", vec![etcd("c", 3, 100, 90, STOPPED)]),
            node("cp2", vec![etcd("c", 2, 110, 95, STOPPED)]),
            node("cp3", vec![etcd("c", 3, 98, 80, STOPPED)]),
        ];
        let report = judge("prod", &looked);
        assert_eq!(report.best, ["cp1"]);
        let standings: Vec<_> = report.members.iter().map(|one| (one.name.as_str(), one.standing.as_str())).collect();
        assert_eq!(
            standings,
            [("cp1", "has the most"), ("cp3", "lacks 2 entries"), ("cp2", "lacks entries of a later term")]
        );
        assert_eq!(report.quorum, Some(Quorum { voters: 3, needed: 2, running: 0, unseen: 0 }));
        let [told] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
        assert!(told.contains("node cp2 has the highest revision"), "{told}");
    }

    #[test]
    fn a_quorum_that_runs_or_may_run_is_told() {
        let two =
            [node("cp1", vec![etcd("c", 3, 1, 1, RUNNING)]), node("cp2", vec![etcd("c", 3, 1, 1, EtcdState::Unknown)])];
        assert!(judge("prod", &two).warnings.iter().any(|one| one.contains("may be a quorum")));
        let one = [node("cp1", vec![etcd("c", 3, 1, 1, RUNNING)]), dead("cp2"), dead("cp3")];
        let report = judge("prod", &one);
        assert_eq!(report.quorum, Some(Quorum { voters: 3, needed: 2, running: 1, unseen: 2 }));
        assert!(
            report.warnings.iter().any(|one| one.contains("2 of 3 members were not looked at")),
            "{:?}",
            report.warnings
        );
        assert_eq!(report.warnings.iter().filter(|one| one.contains("ssh does not reach it")).count(), 2);
        // Two of three that are surely stopped leave no quorum, wherever the third is.
        let none = [
            node("cp1", vec![etcd("c", 3, 1, 1, STOPPED)]),
            node("cp2", vec![etcd("c", 3, 1, 1, STOPPED)]),
            dead("cp3"),
        ];
        assert!(!judge("prod", &none).warnings.iter().any(|one| one.contains("quorum")));
    }

    #[test]
    fn of_several_clusters_none_is_the_best() {
        let looked =
            [node("cp1", vec![etcd("c", 3, 100, 90, STOPPED)]), node("cp2", vec![etcd("d", 9, 999, 7, RUNNING)])];
        let report = judge("prod", &looked);
        assert!(report.best.is_empty() && report.members.len() == 2);
        assert!(report.warnings.iter().any(|one| one.contains("several clusters")), "{:?}", report.warnings);
        // Two directories on one node are told apart.
        let mut other = etcd("c", 2, 1, 1, STOPPED);
        other.data_dir = "/srv/etcd".to_owned();
        let report = judge("prod", &[node("cp1", vec![etcd("c", 3, 100, 90, STOPPED), other])]);
        assert_eq!(report.best, ["cp1 /var/lib/etcd"]);
    }

    #[test]
    fn a_node_without_etcd_is_told() {
        let report = judge("prod", &[node("cp1", Vec::new()), dead("cp2")]);
        assert!(report.members.is_empty() && report.best.is_empty() && report.quorum.is_none());
        assert!(report.warnings[0].contains("has no etcd that can be found"), "{:?}", report.warnings);
    }
}
