//! `verify --live`: whether the members of a cluster hold what the file holds, by etcd's own hash of the key space.

use std::collections::HashMap;
use std::path::Path;

use etcd_snapshot::{HashKvAt, Options, Report, hash_kv};
use etcd_wire::message::{HashKvRequest, HashOutcome, MemberHash};
use futures::future::join_all;
use serde::Serialize;

use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{Found, Overrides};
use crate::etcd_clusters::{EtcdClusters, Evidence};
use crate::idle::Idle;
use crate::kube_system;
use crate::output::{Failed, Outcome, ResultExt, Table, grouped};
use crate::road::{Road, SshArgs};
use crate::sidecar::{Ask, Operation, SidecarArgs, Surveyed, TransferError, survey};
use crate::snapshot_file::SnapshotFile;

/// What only a comparison with a cluster needs.
#[derive(Debug, clap::Args)]
pub(crate) struct LiveArgs {
    /// Also compare the hash of the keys with that of every member, at the file's revision
    #[arg(long)]
    pub(super) live: bool,
    /// With --live: only the member on this node
    #[arg(long, value_name = "NODE", requires = "live")]
    node: Option<String>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl LiveArgs {
    /// The flags that have no effect.
    pub(super) fn idle(&self) -> Vec<Idle> {
        const WHY: &str = "without --live only the file is read";
        match self.live {
            true => self.ssh.idle::<SidecarArgs>(),
            false => vec![Idle::connection(WHY), Idle::group::<LiveArgs>(WHY)],
        }
    }
}

/// A member beside the file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compared {
    name: String,
    node: String,
    member_id: Option<String>,
    /// The member's newest revision.
    current_revision: Option<i64>,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What the comparison came to.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Verdict {
    /// The member holds what the file holds.
    Equal { hash: u32, compact_revision: i64 },
    /// It does not.
    Different { hash: u32, expected: u32, compact_revision: i64 },
    /// Nobody can tell.
    NotComparable { reason: String },
}

impl Verdict {
    /// Of a member's hash beside that of a file with so many keys.
    fn of(hash: u32, expected: u32, compact_revision: i64, live_keys: u64) -> Verdict {
        match live_keys {
            _ if hash == expected => Verdict::Equal { hash, compact_revision },
            // Of a key space that was compacted at its last revision, with no key left, 3.5.5 and later may answer what they
            // remember of the compaction, under the compact revision before it.
            0 => Verdict::NotComparable {
                reason: "there are no keys, and etcd may answer what it hashed while it compacted".to_owned(),
            },
            _ => Verdict::Different { hash, expected, compact_revision },
        }
    }
}

/// Asks every member, and compares.
///
/// # Errors
/// The cluster cannot be reached, or has no etcd pods. A member that cannot be asked is a [`Compared`] that says why.
pub(super) async fn compare(
    args: &LiveArgs,
    context: &Context,
    file: &SnapshotFile,
    report: &Report,
) -> Outcome<Vec<Compared>> {
    let plane = ControlPlane::open(&args.ssh, context).await?;
    let Found { members, unreadable, api_servers, .. } =
        plane.find(context, &args.overrides, args.node.as_deref()).await?;
    let road = plane.road(&args.sidecar, context).await?;
    let prefix = Evidence { api_servers: &api_servers, served: Err("") }.prefix();
    let ask = Ask { kube_system: Some(kube_system::key(prefix)), quorum_will_do: true };
    let (surveyed, served) = tokio::join!(survey(&road, members, Operation::Verify, &ask), plane.served());
    let served = served.map_err(|failed| failed.one_line());
    let evidence = Evidence { api_servers: &api_servers, served: served.as_ref().map_err(String::as_str) };
    let clusters = EtcdClusters::of(&surveyed, &evidence);
    let cluster = clusters.choose("verify FILE --live")?.map(|cluster| cluster.id);
    let revision = report.hash_kv.revision;
    let asked = join_all(surveyed.iter().map(|one| hash(&road, one, cluster, revision))).await;

    let mut ours = HashMap::from([(report.hash_kv.compact_revision, report.hash_kv.hash)]);
    let mut compared = Vec::new();
    for (one, answer) in surveyed.iter().zip(asked) {
        let mut row = Compared {
            name: one.member.name.clone(),
            node: one.member.node.clone(),
            member_id: None,
            current_revision: None,
            verdict: Verdict::NotComparable { reason: String::new() },
        };
        row.verdict = match answer {
            Ok(answer) => {
                row.member_id = Some(format!("{:x}", answer.member_id));
                row.current_revision = Some(answer.current_revision);
                match theirs(&answer, report) {
                    Ok((hash, compact_revision)) => {
                        let expected = match ours.get(&compact_revision) {
                            Some(&known) => known,
                            None => rehash(context, file, revision, compact_revision).await?,
                        };
                        ours.insert(compact_revision, expected);
                        Verdict::of(hash, expected, compact_revision, report.live_keys)
                    }
                    Err(reason) => Verdict::NotComparable { reason },
                }
            }
            Err(failed) => Verdict::NotComparable { reason: failed.one_line() },
        };
        compared.push(row);
    }
    compared.extend(unreadable.into_iter().map(|one| Compared {
        name: one.pod,
        node: one.node.unwrap_or_default(),
        member_id: None,
        current_revision: None,
        verdict: Verdict::NotComparable { reason: one.failed.one_line() },
    }));
    Ok(compared)
}

/// Asks a member of the cluster that is compared. Revisions of another say nothing of the file.
async fn hash(road: &Road, one: &Surveyed, cluster: Option<u64>, revision: i64) -> Outcome<MemberHash> {
    let its = one.etcd()?.cluster_id;
    if Some(its) != cluster {
        let used = cluster.unwrap_or_default();
        return Err(Failed::plain(format!("it belongs to etcd cluster {its:x}, and the API server uses {used:x}")));
    }
    let sidecar = one.sidecar.as_ref().ok_or_else(|| Failed::plain("no sidecar runs on its node"))?;
    let mut session = road.session(sidecar).await.map_err(TransferError::into_failed)?;
    session.require("hashKv")?;
    let hash = session.hash_kv(HashKvRequest { etcd: one.member.access.clone(), revision }).await?;
    road.rest(sidecar, session);
    Ok(hash)
}

/// The member's hash and its compact revision, or why they say nothing about the file.
///
/// Rows up to a compaction count only as far as they are still current. The file has every row that a later compaction took
/// away, so its hash can be computed as of that one; as of an earlier compaction than its own, it cannot. A member from
/// 3.5.5 on answers that way when it remembers the hash of the very revision to which it has compacted.
fn theirs(answer: &MemberHash, report: &Report) -> Result<(u32, i64), String> {
    let ours = &report.hash_kv;
    match &answer.outcome {
        HashOutcome::Known { hash, compact_revision } if *compact_revision >= ours.compact_revision => {
            Ok((*hash, *compact_revision))
        }
        HashOutcome::Known { compact_revision, .. } => Err(format!(
            "the member answers as of its compaction to revision {compact_revision}, the file was compacted to {}",
            ours.compact_revision
        )),
        HashOutcome::Compacted => Err(format!("the member has compacted revision {} since", ours.revision)),
        HashOutcome::Future => Err(format!(
            "the member is at revision {} and has not reached {}: it lags, or this is another cluster's file",
            answer.current_revision, ours.revision
        )),
        HashOutcome::Unknown => Err("the sidecar says something that this plugin does not understand".to_owned()),
    }
}

/// The file's hash as of another compaction.
async fn rehash(context: &Context, file: &SnapshotFile, revision: i64, compact_revision: i64) -> Outcome<u32> {
    let (file, cancelled) = (file.clone(), context.cancelled());
    let name = file.path().display().to_string();
    let at = HashKvAt { revision, compact_revision: Some(compact_revision) };
    let hashed = tokio::task::spawn_blocking(move || {
        hash_kv(file.source(), &Options { cancel: Some(&cancelled), ..Options::default() }, at, &|_| {})
    })
    .await
    .or_fail(|| format!("cannot hash the keys of {name}"))?;
    Ok(hashed.or_fail(|| format!("cannot hash the keys of {name}"))?.hash)
}

/// Whether the members vouch for the file.
///
/// # Errors
/// A member holds something else, or none could be compared.
pub(super) fn judge(compared: &[Compared], path: &Path) -> Outcome {
    let name = path.display();
    let count = |wanted: fn(&Verdict) -> bool| compared.iter().filter(|one| wanted(&one.verdict)).count();
    let different = count(|verdict| matches!(verdict, Verdict::Different { .. }));
    if different > 0 {
        let failed = Failed::plain(format!("{name} differs from {different} of {} members", compared.len()));
        let failed = failed.cause("the file is whole, so it is another cluster's, or the members have diverged");
        return Err(failed.hint(
            "compare the members with each other, and the file's members with theirs\n  kubectl etcd status -o wide",
        ));
    }
    if count(|verdict| matches!(verdict, Verdict::Equal { .. })) == 0 {
        let failed = Failed::plain(format!("{name} is whole, but no member could be compared with it"));
        let failed = failed.causes(reasons(compared));
        return Err(failed.hint("the cluster compacts every few minutes: compare a backup soon after it was taken"));
    }
    Ok(())
}

/// Why members could not be compared: each reason once.
fn reasons(compared: &[Compared]) -> Vec<String> {
    let reason = |one: &Compared| match &one.verdict {
        Verdict::NotComparable { reason } => {
            Some((format!("member {} on node {}", one.name, one.node), reason.clone()))
        }
        _ => None,
    };
    grouped("members", compared.iter().filter_map(reason))
}

/// Why some of several members could not be compared. That none could is an error of its own, which says why.
pub(super) fn warnings(compared: &[Compared]) -> Vec<String> {
    let any = compared.iter().any(|one| !matches!(one.verdict, Verdict::NotComparable { .. }));
    if any { reasons(compared) } else { Vec::new() }
}

/// HASHKV is the member's, EXPECTED that of the file.
pub(super) fn table(compared: &[Compared]) -> String {
    let mut table = Table::new(&["MEMBER", "NODE", "REVISION", "HASHKV", "EXPECTED", "RESULT"]);
    for one in compared {
        let (hash, expected, result) = match &one.verdict {
            Verdict::Equal { hash, .. } => (hash.to_string(), hash.to_string(), "equal"),
            Verdict::Different { hash, expected, .. } => (hash.to_string(), expected.to_string(), "different"),
            Verdict::NotComparable { .. } => (String::new(), String::new(), "not comparable"),
        };
        let revision = one.current_revision.map_or_else(String::new, |revision| revision.to_string());
        table.row(vec![one.name.clone(), one.node.clone(), revision, hash, expected, result.to_owned()]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_hash_is_another_content_unless_there_is_none() {
        assert_eq!(Verdict::of(7, 7, 3, 0), Verdict::Equal { hash: 7, compact_revision: 3 });
        assert_eq!(Verdict::of(7, 8, 3, 1), Verdict::Different { hash: 7, expected: 8, compact_revision: 3 });
        assert!(matches!(Verdict::of(7, 8, 3, 0), Verdict::NotComparable { .. }));
    }
}
