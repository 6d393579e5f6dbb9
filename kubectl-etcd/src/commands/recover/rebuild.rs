//! `recover --from`: the quorum is rebuilt from a member, or from a backup.

use std::path::PathBuf;

use etcd_wire::Compression;
use etcd_wire::replay::ReplayRequest;

use super::interlocks::{BY_UNIT, Decided, From, Known, Refusal, Source, decide};
use super::{Args, Looked};
use crate::commands::backup::{self, Brought};
use crate::commands::proposal::early_consent;
use crate::commands::restore::{self, Contents, How, Lost};
use crate::commands::verify::Record;
use crate::context::Context;
use crate::control_plane::{ControlPlane, PlannedBy};
use crate::output::{Exit, Failed, Outcome};
use crate::road::{Host, Road};

/// Decides by the surveys, brings the snapshot of the member that has the most here, shows the plan, and carries it out.
///
/// # Errors
/// Something speaks against it, or it was not confirmed (exit 4); and however it ends once it has begun.
pub(super) async fn run(
    args: &Args,
    word: &str,
    looked: &[Looked],
    plane: &ControlPlane,
    road: &Road,
    context: &Context,
) -> Outcome {
    early_consent(&args.flags, plane)?;
    let from = From::read(word, looked);
    let how = How {
        reach: &args.reach,
        manifests: &args.manifests,
        flags: &args.flags,
        access: &args.access,
        output: args.output,
    };
    let of_file = match &from {
        From::File(file) => Some(context.interruptible(restore::contents(file, &how, context)).await?),
        From::Best | From::Node(_) => None,
    };
    let backup = backup_of(args, plane);
    let known = Known {
        file_uid: of_file.as_ref().and_then(|of_file| of_file.kube_system_uid.as_deref()),
        file_members: of_file.as_ref().map(|of_file| of_file.members.as_slice()).unwrap_or_default(),
        gone: &args.gone,
        backup: backup.as_ref().map(|(file, revision)| (file.as_str(), *revision)),
    };
    let decided = decide(looked, &from, &known).map_err(|refusal| refused(refusal, plane.cluster()))?;
    for warning in &decided.warnings {
        context.printer.warn(warning);
    }
    let best = match &decided.best {
        Some(best) => bring(args, best, plane, road, context).await,
        None => Err(Failed::plain("no log of etcd can be read on any node")),
    };
    let (file, before) = match (from, best) {
        (From::File(file), Ok(best)) => (file, keys(&best, &how, context).await),
        // What is lost with it is not known; the plan says so.
        (From::File(file), Err(failed)) => (file, Err(failed)),
        (From::Best | From::Node(_), Err(failed)) => return Err(failed.unchanged()),
        (From::Best | From::Node(_), Ok(best)) => {
            match decided.source.as_ref().filter(|one| decided.best.as_ref() != Some(one)) {
                None => {
                    let before = keys(&best, &how, context).await;
                    (best.path, before)
                }
                Some(source) => {
                    let chosen = bring(args, source, plane, road, context).await.map_err(Failed::unchanged)?;
                    (chosen.path, keys(&best, &how, context).await)
                }
            }
        }
    };
    let lost = lost(&decided, looked, before)?;
    restore::recover(&file, &how, &lost, plane, context).await?;
    if args.flags.dry_run.is_none() {
        afterwards(&lost.gone, by_unit(looked)).into_iter().for_each(|line| context.printer.note(line));
    }
    Ok(())
}

fn refused(refusal: Refusal, cluster: &str) -> Failed {
    let failed = Failed::new(Exit::Refused, format!("cannot recover cluster {cluster}"));
    refusal.hints.into_iter().fold(failed.causes(refusal.causes).unchanged(), Failed::hint)
}

/// The backup whose record is `--plan`, with its revision.
fn backup_of(args: &Args, plane: &ControlPlane) -> Option<(String, i64)> {
    if let Some(PlannedBy { backup, revision }) = plane.planned_by() {
        return Some((backup.clone(), (*revision)?));
    }
    let file = args.ssh.plan.as_ref()?.to_str()?.strip_suffix(".json")?.to_owned();
    let revision = Record::beside(&PathBuf::from(&file))?.revision?;
    Some((file, revision))
}

/// Has a member's node make a snapshot with everything that its log has, and keeps it here.
async fn bring(args: &Args, source: &Source, plane: &ControlPlane, road: &Road, context: &Context) -> Outcome<Brought> {
    let request = ReplayRequest {
        data_dir: source.data_dir.clone(),
        wal_dir: source.wal_dir.clone(),
        etcd: args.etcd.clone(),
        last: source.last,
        may_run: source.may_run,
        compression: Compression::Zstd,
    };
    context.interruptible(backup::bring(plane.cluster(), &source.node, request, road, context)).await
}

async fn keys(brought: &Brought, how: &How<'_>, context: &Context) -> Outcome<crate::commands::proposal::Keys> {
    let Contents { keys, .. } = context.interruptible(restore::contents(&brought.path, how, context)).await?;
    Ok(keys)
}

fn lost(decided: &Decided, looked: &[Looked], before: Outcome<crate::commands::proposal::Keys>) -> Outcome<Lost> {
    // A node without etcd may have an API server, which has to be stopped.
    let has_none = |one: &&Looked| one.found.as_ref().is_ok_and(|survey| survey.etcd.is_empty());
    let is_named = |one: &&Looked| !decided.gone.contains(&one.host.node);
    let without_etcd: Vec<String> =
        looked.iter().filter(has_none).filter(is_named).map(|one| one.host.node.clone()).collect();
    let takes_part = |host: &&Host| decided.nodes.contains(&host.node) || without_etcd.contains(&host.node);
    let hosts = looked.iter().map(|one| &one.host).filter(takes_part).cloned().collect();
    Ok(Lost {
        hosts,
        without_etcd,
        gone: decided.gone.clone(),
        ends: decided.ends.clone(),
        highest: decided.highest,
        kube_system_uid: decided.kube_system_uid.clone(),
        before,
    })
}

/// Whether a unit starts etcd on a node.
fn by_unit(looked: &[Looked]) -> bool {
    let surveys = looked.iter().filter_map(|one| one.found.as_ref().ok());
    surveys.flat_map(|survey| &survey.etcd).any(|etcd| etcd.found_by.starts_with(BY_UNIT))
}

/// What is to be done about the members that are gone, before they join again as the report of the restore tells.
fn afterwards(gone: &[String], by_unit: bool) -> Vec<String> {
    if gone.is_empty() {
        return Vec::new();
    }
    let names = gone.join(", ");
    let how = match by_unit {
        true => "disable its etcd first\n  systemctl disable etcd",
        false => {
            "set its manifests aside first\n  mkdir -p /root/stopped && mv /etc/kubernetes/manifests/*.yaml /root/stopped/"
        }
    };
    vec![
        format!(
            "{names} must not serve the old data: if such a machine can start again, start it without a network, or from a rescue system, and {how}"
        ),
        "take a backup now; let one node after the other join, and look at the members each time\n  kubectl etcd backup\n  kubectl etcd member list".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_about_the_dead_majority_is_said() {
        assert!(afterwards(&[], false).is_empty());
        let said = |by_unit| afterwards(&["cp2".into(), "cp3".into()], by_unit).join("\n");
        for (by_unit, own) in [(false, "/etc/kubernetes/manifests/*.yaml"), (true, "systemctl disable etcd")] {
            for text in ["cp2, cp3 must not serve", own, "kubectl etcd member list"] {
                assert!(said(by_unit).contains(text), "{}", said(by_unit));
            }
        }
        // The report of the restore tells how a node joins.
        assert!(!said(true).contains("kubeadm") && !said(false).contains("kubeadm"));
    }
}
