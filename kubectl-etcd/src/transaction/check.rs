//! What is looked at after a restore: that all members serve the new state, and the API serves the marker.

use std::time::{Duration, Instant};

use etcd_wire::message::{HashKvRequest, HashOutcome, MemberHash, MemberStatus, StatusRequest};
use etcd_wire::restore::{Marker, Parts};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use serde::Serialize;

use super::Work;
use super::follow::Watched;
use super::verdict::NodeEnd;

/// How long members may take until all of them are well.
const HEALTHY: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(20);

/// What was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    /// Revision that every member has, at least.
    pub(crate) revision: Option<i64>,
    /// What the keys of all members hash to, and up to which revision.
    pub(crate) hash_kv: Option<u32>,
    pub(crate) hash_revision: Option<i64>,
    /// What is not as it should be.
    pub(crate) troubles: Vec<String>,
    /// What could not be told, or is otherwise worth knowing.
    pub(crate) remarks: Vec<String>,
}

/// What the members have to be.
#[derive(Debug)]
struct Expected {
    cluster_id: u64,
    revision: i64,
    members: usize,
}

type Answers<T> = Vec<(String, Result<T, String>)>;

/// Asks all members and the API. Trouble is in what it gives.
pub(crate) async fn check(work: &Work<'_>, watched: &mut [&mut Watched<'_>], ends: &[NodeEnd]) -> Check {
    let members = watched.iter_mut().map(|one| &mut **one).filter(|one| one.member.parts != Parts::ApiServer);
    let watched = &mut members.collect::<Vec<_>>()[..];
    let restores: Vec<_> = ends.iter().filter_map(|end| end.restore.as_ref()).collect();
    let staged: Vec<_> = restores.iter().filter_map(|restore| restore.staged.as_ref()).collect();
    let (Some(restore), Some(first)) = (restores.first(), staged.first()) else {
        return Check { remarks: vec!["no node tells what it has staged".to_owned()], ..Check::default() };
    };
    let expected = Expected {
        cluster_id: first.cluster_id,
        revision: staged.iter().map(|one| one.revision).min().unwrap_or(first.revision),
        members: restore.plan.serving().count(),
    };
    let mut check = Check::default();
    let begun = Instant::now();
    loop {
        let answers = statuses(work, watched).await;
        check.troubles = troubles(&expected, &answers);
        check.revision = answers.iter().filter_map(|(_, said)| Some(said.as_ref().ok()?.revision)).min();
        if check.troubles.is_empty() || begun.elapsed() > HEALTHY {
            break;
        }
        tokio::time::sleep(AGAIN).await;
    }
    if check.troubles.is_empty() {
        compare(work, watched, expected.revision, &mut check).await;
    }
    let stopped: Vec<&str> =
        restore.plan.nodes.iter().filter(|node| node.left_out).map(|node| node.node.as_str()).collect();
    if !stopped.is_empty() && restores.iter().any(|restore| restore.waits_for_others) {
        check.troubles.push(format!(
            "not all nodes that are left out ({}) have confirmed that they stay stopped",
            stopped.join(", ")
        ));
    }
    if let Some(marker) = &restore.plan.marker {
        serves(work, marker, &mut check).await;
    }
    check
}

async fn statuses(work: &Work<'_>, watched: &mut [&mut Watched<'_>]) -> Answers<MemberStatus> {
    join_all(watched.iter_mut().map(|one| async move {
        let (node, etcd) = (one.member.node.clone(), one.member.access.clone());
        let asked = async {
            let status = one.session(work).await?.status(StatusRequest { etcd, ..StatusRequest::default() }).await;
            status.inspect_err(|_| one.lose())
        };
        let said = match asked.await {
            Ok(status) => status.etcd.ok_or_else(|| {
                status.failure.map_or_else(|| "it says nothing".to_owned(), |failure| failure.to_string())
            }),
            Err(failed) => Err(failed.one_line()),
        };
        (node, said)
    }))
    .await
}

/// What is wrong with the members.
fn troubles(expected: &Expected, answers: &Answers<MemberStatus>) -> Vec<String> {
    let wrong = |(node, said): &(String, Result<MemberStatus, String>)| {
        let trouble = match said {
            Err(why) => format!("does not answer: {why}"),
            Ok(status) if status.cluster_id != expected.cluster_id => {
                format!("serves cluster {:x} instead of {:x}", status.cluster_id, expected.cluster_id)
            }
            Ok(status) if status.leader_id == 0 => "has no leader".to_owned(),
            Ok(status) if status.revision < expected.revision => {
                format!("is at revision {} instead of {}", status.revision, expected.revision)
            }
            Ok(status) if !status.members.is_empty() && status.members.len() != expected.members => {
                format!("knows {} members of {}", status.members.len(), expected.members)
            }
            Ok(status) => match status.errors.first() {
                Some(error) => format!("complains: {error}"),
                None => return None,
            },
        };
        Some(format!("the member on node {node} {trouble}"))
    };
    answers.iter().filter_map(wrong).collect()
}

/// Compares the members' keys: up to the revision that they began with or, if that is compacted away, up to what they all have.
async fn compare(work: &Work<'_>, watched: &mut [&mut Watched<'_>], begin: i64, check: &mut Check) {
    let newest = check.revision.filter(|revision| *revision > begin);
    for revision in std::iter::once(begin).chain(newest) {
        let answers = hashes(work, watched, revision).await;
        match equal(&answers) {
            Equality::Equal(hash) => {
                // What could not be compared before is of no interest any more.
                check.remarks.clear();
                (check.hash_kv, check.hash_revision) = (Some(hash), Some(revision));
                return;
            }
            Equality::Different(what) => {
                check.troubles.push(what);
                return;
            }
            Equality::NotComparable(why) => check.remarks.push(format!("at revision {revision}: {why}")),
        }
    }
}

async fn hashes(work: &Work<'_>, watched: &mut [&mut Watched<'_>], revision: i64) -> Answers<MemberHash> {
    join_all(watched.iter_mut().map(|one| async move {
        let (node, etcd) = (one.member.node.clone(), one.member.access.clone());
        let asked = async {
            let hash = one.session(work).await?.hash_kv(HashKvRequest { etcd, revision }).await;
            hash.inspect_err(|_| one.lose())
        };
        (node, asked.await.map_err(|failed| failed.one_line()))
    }))
    .await
}

#[derive(Debug, PartialEq)]
enum Equality {
    Equal(u32),
    Different(String),
    NotComparable(String),
}

fn equal(answers: &Answers<MemberHash>) -> Equality {
    let mut known: Vec<(&str, u32, i64)> = Vec::new();
    for (node, answer) in answers {
        match answer {
            Ok(MemberHash { outcome: HashOutcome::Known { hash, compact_revision }, .. }) => {
                known.push((node, *hash, *compact_revision));
            }
            Ok(MemberHash { outcome: HashOutcome::Compacted, .. }) => {
                return Equality::NotComparable(format!(
                    "the member on node {node} has compacted it, and tells no hash"
                ));
            }
            Ok(_) => return Equality::NotComparable(format!("the member on node {node} tells no hash")),
            Err(why) => return Equality::NotComparable(format!("the member on node {node} tells no hash: {why}")),
        }
    }
    let Some((one, hash, compacted)) = known.first().copied() else {
        return Equality::NotComparable("no member was asked".to_owned());
    };
    // What a compaction took away no longer counts.
    if let Some((other, ..)) = known.iter().find(|(.., its)| *its != compacted) {
        return Equality::NotComparable(format!("the members on nodes {one} and {other} have compacted differently"));
    }
    match known.iter().find(|(_, its, _)| *its != hash) {
        Some((other, its, _)) => Equality::Different(format!(
            "the members differ: the keys hash to {hash} on node {one}, and to {its} on node {other}"
        )),
        None => Equality::Equal(hash),
    }
}

async fn serves(work: &Work<'_>, marker: &Marker, check: &mut Check) {
    // Every node has read the marker from its own API server before it said that it is restored.
    let Some(connection) = work.plane.api() else { return };
    let namespaces: Api<Namespace> = Api::all(connection.client.clone());
    let metadata = match tokio::time::timeout(ANSWER, namespaces.get("kube-system")).await {
        Ok(Ok(namespace)) => namespace.metadata,
        Ok(Err(error)) => {
            check.troubles.push(format!("namespace kube-system cannot be read: {error}"));
            return;
        }
        Err(_) => {
            check.troubles.push("namespace kube-system cannot be read: the API server does not answer".to_owned());
            return;
        }
    };
    match marked(marker, metadata.uid.as_deref(), metadata.resource_version.as_deref()) {
        Ok(None) => {}
        Ok(Some(remark)) => check.remarks.push(remark),
        Err(trouble) => check.troubles.push(trouble),
    }
}

/// Whether that is the marker; something to remark if it was written since.
fn marked(marker: &Marker, uid: Option<&str>, version: Option<&str>) -> Result<Option<String>, String> {
    let (uid, version) = (uid.unwrap_or("none"), version.unwrap_or("none"));
    if uid != marker.uid {
        return Err(format!("the API serves a namespace kube-system with UID {uid} instead of {}", marker.uid));
    }
    match version.parse() {
        Ok(served) if marker.resource_version == served => Ok(None),
        Ok(served) if marker.resource_version < served => {
            Ok(Some(format!("namespace kube-system was written since it was restored, at revision {served}")))
        }
        _ => Err(format!(
            "the API serves namespace kube-system as of revision {version}, and it was to be that of {}",
            marker.resource_version
        )),
    }
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::Member;

    use super::*;

    #[test]
    fn a_member_that_is_not_well_is_told() {
        let expected = Expected { cluster_id: 10, revision: 5, members: 1 };
        let well = || MemberStatus {
            cluster_id: 10,
            leader_id: 3,
            revision: 6,
            members: vec![Member::default()],
            ..Default::default()
        };
        let said = |status| troubles(&expected, &vec![("cp1".to_owned(), status)]);
        assert!(said(Ok(well())).is_empty());
        for (status, text) in [
            (Err("no route".to_owned()), "does not answer: no route"),
            (Ok(MemberStatus { cluster_id: 11, ..well() }), "serves cluster b instead of a"),
            (Ok(MemberStatus { leader_id: 0, ..well() }), "no leader"),
            (Ok(MemberStatus { revision: 4, ..well() }), "is at revision 4"),
            (Ok(MemberStatus { members: vec![Member::default(); 2], ..well() }), "knows 2 members of 1"),
            (Ok(MemberStatus { errors: vec!["e".into()], ..well() }), "complains: e"),
        ] {
            let said = said(status);
            assert!(said.len() == 1 && said[0].contains(text), "{said:?}");
        }
    }

    #[test]
    fn hashes_are_compared_where_they_can_be() {
        let hash = |hash, compact_revision| {
            let outcome = HashOutcome::Known { hash, compact_revision };
            Ok(MemberHash { member_id: 1, current_revision: 9, outcome })
        };
        let asked = |answers: [Result<MemberHash, String>; 2]| {
            equal(&["cp1", "cp2"].map(str::to_owned).into_iter().zip(answers).collect())
        };
        assert_eq!(asked([hash(7, 3), hash(7, 3)]), Equality::Equal(7));
        assert!(matches!(asked([hash(7, 3), hash(8, 3)]), Equality::Different(_)));
        assert!(matches!(asked([hash(7, 3), hash(8, 4)]), Equality::NotComparable(_)));
        let compacted = MemberHash { member_id: 1, current_revision: 9, outcome: HashOutcome::Compacted };
        assert!(matches!(asked([hash(7, 3), Ok(compacted)]), Equality::NotComparable(why) if why.contains("cp2")));
        assert!(matches!(asked([hash(7, 3), Err("gone".into())]), Equality::NotComparable(_)));
        assert!(matches!(equal(&Vec::new()), Equality::NotComparable(_)));
    }

    #[test]
    fn the_marker_is_the_snapshots_own() {
        let marker = Marker { uid: "a-b".into(), resource_version: 12, key: None };
        assert_eq!(marked(&marker, Some("a-b"), Some("12")), Ok(None));
        assert!(marked(&marker, Some("a-b"), Some("13")).is_ok_and(|remark| remark.is_some()));
        for (uid, version) in [("c-d", "12"), ("a-b", "11"), ("a-b", "x")] {
            assert!(marked(&marker, Some(uid), Some(version)).is_err());
        }
        assert!(marked(&marker, None, None).is_err());
    }
}
