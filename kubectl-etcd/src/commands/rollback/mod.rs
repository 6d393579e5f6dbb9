//! `kubectl etcd rollback`: the data from before the last restore comes back.

mod changes;
mod plan;
mod show;

use changes::changes;
use plan::{Found, Plan};

use crate::commands::proposal::{Means, Proposal as _, early_consent, propose};
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{Manifests, Overrides, Reach};
use crate::explain::{self, Facts};
use crate::idle::Idle;
use crate::interruption::interrupted;
use crate::output::{Format, Outcome};
use crate::road::SshArgs;
use crate::sidecar::{Operation, SidecarArgs};
use crate::transaction::{self, RestoreFlags, Work, silence};

const EXAMPLES: &str = "\
Examples:
  # Show what a rollback would change; nothing is changed
  kubectl etcd rollback --dry-run=client

  # Roll back the last restore; type the name of the cluster to confirm
  kubectl etcd rollback

  # The same in a script
  kubectl etcd rollback --confirm prod-eu

  # Roll back an earlier restore; --dry-run=client lists them
  kubectl etcd rollback --id 20261121-100000-abcde

  # Over SSH, where no API server answers
  kubectl etcd rollback --ssh=root@ --nodes cp1=10.0.0.11,cp2=10.0.0.12,cp3=10.0.0.13";

/// Put back the data from before the last restore
///
/// Finds the last restore, shows what a rollback would change, and asks for the name of the cluster. The old data must be there on all
/// nodes that were restored: if a node lacks it, nothing is changed, and --id chooses another restore. A rollback is done as a restore
/// is: API server and etcd stop on all nodes, the data directories are swapped, and all starts again, within a minute. If anything
/// fails, all nodes roll back to the current data. The current data is kept; roll back again to return to it.
///
/// The old data does not have what was written since the restore. It is built anew on the nodes, at a revision above all that
/// clients have seen, so that existing watches start again. The old directories stay as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    shared: RestoreFlags,
    /// Restore to undo, instead of the last one; --dry-run=client lists them
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Put the old directories back as they are, without raising the revision: revisions go below those that clients have seen, and
    /// existing watches stop receiving events; restart kubelets and controllers
    #[arg(long)]
    keep_revisions: bool,
    /// Print the commands that do the same by hand on this cluster, and do nothing
    #[arg(long, conflicts_with_all = ["dry_run", "confirm"])]
    explain: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        const WHY: &str = "--explain prints commands, and does nothing";
        let explained = [
            Idle::flags(&["keep_revisions", "peer_port", "start_timeout", "output"], WHY),
            Idle::group::<SidecarArgs>(WHY),
        ];
        explained.into_iter().filter(|_| self.explain).chain(self.ssh.idle::<SidecarArgs>()).collect()
    }
}

/// Prints how it is done by hand.
async fn explained(args: &Args, context: &Context) -> Outcome {
    let plane = ControlPlane::open(&args.ssh, context).await?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let members = plane.find(context, &overrides, None).await?.all_nodes()?;
    let facts = Facts::of(plane.cluster(), &members, &args.manifests.manifests_dir);
    context.printer.data(&explain::rollback(&facts, args.id.as_deref())?)
}

/// Shows the plan, and carries it out unless it is only to be shown.
///
/// # Errors
/// Nothing can come back, or it was not confirmed (exit 4); and however it ends once it has begun.
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.explain {
        return context.interruptible(explained(&args, &context)).await;
    }
    let printer = context.printer;
    if args.ssh.ssh.is_some() {
        args.shared.without_api()?;
    }
    let plane = context.interruptible(ControlPlane::open(&args.ssh, &context)).await?;
    let consent = early_consent(&args.shared, &plane)?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let finding = plane.with_manifests(&context, &overrides, &args.manifests);
    let members = context.interruptible(finding).await?.all_nodes()?;
    let road = context.interruptible(plane.road(&args.sidecar, &context)).await?;
    let work = Work::new(&context, &plane, &road, &members, &args.sidecar);
    let mut watched = work.watch(Operation::Recall);
    let recalling = async { Ok(transaction::recall(&work, &mut watched).await) };
    let nodes = context.interruptible(recalling).await?;
    if let Some(failed) = silence(&nodes) {
        return Err(failed.unchanged());
    }
    // The transaction has sidecars of another kind.
    context.interruption.or(interrupted, transaction::forget(&work, watched)).await?;
    // What is there to be served is in the old data, and nobody can look into that: that the API is ready is enough.
    let terms = context.interruptible(async { Ok(args.shared.terms(&plane, false, None).await) }).await?;
    let keep_revisions = args.keep_revisions;
    let mut plan = Plan::make(&Found {
        keep_revisions,
        server: plane.server(),
        terms: &terms,
        members: &members,
        nodes: &nodes,
        id: args.id.as_deref(),
    });
    if let (Some(order), Some(earlier)) = (plan.transaction(), plan.restored()) {
        let of = earlier.to_owned();
        let looking = changes(&road, &members, order, &of, plan.other_cluster, &args.sidecar);
        let looked = context.interruptible(async { Ok(looking.await) }).await?;
        plan.add(looked);
    }
    for warning in &plan.warnings {
        printer.warn(warning);
    }
    let means = Means {
        context: &context,
        plane: &plane,
        road: &road,
        members: &members,
        sidecar: &args.sidecar,
        flags: &args.shared,
        output: args.output,
        upload: None,
        consent,
        first: None,
    };
    propose(&plan, means).await
}
