//! `kubectl etcd restore FILE`: shows the plan, asks, and carries it out.

use etcd_store::ClusterUid;

use super::Args;
use super::Wanted;
use super::begun_args::BegunArgs;
use super::live::{Planned, plan, read};
use crate::commands::backup::StoreArgs;
use crate::commands::proposal::{First, Means, early_consent, propose};
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{Manifests, Overrides};
use crate::explain::{self, Facts};
use crate::output::{Failed, Outcome};
use crate::transaction::RestoreFlags;

/// What only the restore of a running control plane needs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Restore the running control plane")]
pub(super) struct LiveArgs {
    #[command(flatten)]
    shared: RestoreFlags,
    /// Restore only these control-plane nodes. The new cluster has no members on the others: their static pods are stopped and stay
    /// stopped; a node that cannot be reached stays as it is
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub(super) to_nodes: Vec<String>,
    /// The cluster that the file is of, by the UID of its namespace kube-system, if it is another one whose machines are all lost: this control plane takes
    /// over its state
    #[arg(long, value_name = "UID")]
    pub(super) new_cluster: Option<ClusterUid>,
    /// Allow revisions below those that clients have seen: existing watches stop receiving events; restart kubelets and controllers
    #[arg(long, requires = "bump_revision")]
    pub(super) allow_lower_revisions: bool,
    /// Do not wait longer than --start-timeout for API servers that are not ready. After the decision the new data stays in any case
    #[arg(long)]
    no_rollback: bool,
    #[command(flatten)]
    pub(super) begun: BegunArgs,
    #[command(flatten)]
    pub(super) manifests: Manifests,
    #[command(flatten)]
    pub(super) store: StoreArgs,
}

impl LiveArgs {
    /// The name of the cluster, as the user has typed it to confirm.
    pub(super) fn confirm(&self) -> Option<&str> {
        self.shared.confirm.as_deref()
    }
}

/// Prints how it is done by hand.
///
/// # Errors
/// No member is found, or one of them does not show what it takes.
pub(super) async fn explained(args: Args, context: Context) -> Outcome {
    let plane = ControlPlane::open(&args.ssh, &context).await?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let members = plane.find(&context, &overrides, None).await?.all_nodes()?;
    let facts = Facts::of(plane.cluster(), &members, &args.live.manifests.manifests_dir);
    let file = args.file().display().to_string();
    let restore =
        explain::Restore { file: &file, bump: args.bump_revision.amount(), skip_hash_check: args.skip_hash_check };
    context.printer.data(&explain::restore(&facts, &restore)?)
}

/// Shows the plan, and carries it out unless it is only to be shown.
///
/// # Errors
/// The file is damaged (exit 3), something speaks against it, or it was not confirmed (exit 4); and however it ends once it has begun.
pub(super) async fn run(args: Args, context: Context) -> Outcome {
    let destination = args.live.store.destination().map_err(Failed::unchanged)?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let flags = &args.live.shared;
    if args.ssh.ssh.is_some() {
        flags.without_api()?;
    }
    let wanted = Wanted {
        file: args.file(),
        bump: args.bump_revision,
        skip_hash_check: args.skip_hash_check,
        allow_lower_revisions: args.live.allow_lower_revisions,
        to_nodes: &args.live.to_nodes,
        reach: &args.reach,
        manifests: &args.live.manifests,
        sidecar: &args.sidecar,
        flags,
        keep_unready: args.live.no_rollback,
        lost: None,
        new_cluster: args.live.new_cluster.as_ref(),
    };
    let snapshot = context.interruptible(read(&wanted, &args.access, &context)).await?;
    let plane = context.interruptible(ControlPlane::open(&args.ssh, &context)).await?;
    let consent = early_consent(flags, &plane)?;
    let planning = plan(&wanted, &context, &plane, &snapshot);
    let Planned { plan, upload, members, road } = context.interruptible(planning).await.map_err(Failed::unchanged)?;
    let means = Means {
        context: &context,
        plane: &plane,
        road: &road,
        members: &members,
        sidecar: &args.sidecar,
        flags,
        output: args.output,
        upload: Some(upload),
        consent,
        first: destination.as_ref().map(|destination| First { destination, overrides: &overrides }),
    };
    propose(&plan, means).await
}
