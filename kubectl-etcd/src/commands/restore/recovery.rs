//! The restore of a cluster that has lost its quorum: the same plan, confirmation and transaction, with what is known from disks in place of what etcd
//! answers.

use std::path::Path;

use etcd_wire::survey::SurveyedMember;

use super::live::{Planned, plan, read};
use super::{Bump, Lost, Wanted};
use crate::commands::proposal::{Keys, Means, early_consent, propose};
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{Manifests, Reach};
use crate::output::{Failed, Format, Outcome};
use crate::sidecar::SidecarArgs;
use crate::snapshot_file::AccessArgs;
use crate::transaction::RestoreFlags;

/// What a snapshot has.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The keys of a snapshot.
    pub(crate) keys: Keys,
    /// The cluster that it is of.
    pub(crate) kube_system_uid: Option<String>,
    /// The members of the cluster when it was written.
    pub(crate) members: Vec<SurveyedMember>,
}

/// How a cluster without quorum is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) reach: &'a Reach,
    pub(crate) manifests: &'a Manifests,
    pub(crate) flags: &'a RestoreFlags,
    pub(crate) access: &'a AccessArgs,
    pub(crate) output: Format,
}

fn wanted<'a>(file: &'a Path, how: &How<'a>, sidecar: &'a SidecarArgs, lost: Option<&'a Lost>) -> Wanted<'a> {
    Wanted {
        file,
        bump: Bump::Auto,
        skip_hash_check: false,
        allow_lower_revisions: false,
        to_nodes: &[],
        reach: how.reach,
        manifests: how.manifests,
        sidecar,
        flags: how.flags,
        keep_unready: false,
        lost,
        new_cluster: None,
    }
}

/// Verifies a file, and tells what is in it.
///
/// # Errors
/// It is damaged (exit 3), or cannot be read.
pub(crate) async fn contents(file: &Path, how: &How<'_>, context: &Context) -> Outcome<Contents> {
    let sidecar = SidecarArgs::default();
    let snapshot = read(&wanted(file, how, &sidecar, None), how.access, context).await?;
    Ok(Contents {
        keys: snapshot.keys(),
        kube_system_uid: snapshot.kube_system_uid(),
        members: snapshot.members().iter().map(member).collect(),
    })
}

fn member(member: &etcd_snapshot::Member) -> SurveyedMember {
    SurveyedMember {
        id: member.id.clone(),
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        learner: member.is_learner,
    }
}

/// Shows the plan, and carries it out unless it is only to be shown.
///
/// # Errors
/// As those of a restore.
pub(crate) async fn recover(
    file: &Path,
    how: &How<'_>,
    lost: &Lost,
    plane: &ControlPlane,
    context: &Context,
) -> Outcome {
    let sidecar = SidecarArgs::default();
    let consent = early_consent(how.flags, plane)?;
    let wanted = wanted(file, how, &sidecar, Some(lost));
    let snapshot = context.interruptible(read(&wanted, how.access, context)).await?;
    let planning = plan(&wanted, context, plane, &snapshot);
    let Planned { plan, upload, members, road } = context.interruptible(planning).await.map_err(Failed::unchanged)?;
    let means = Means {
        context,
        plane,
        road: &road,
        members: &members,
        sidecar: &sidecar,
        flags: how.flags,
        output: how.output,
        upload: Some(upload),
        consent,
        first: None,
    };
    propose(&plan, means).await
}
