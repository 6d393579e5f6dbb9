//! `kubectl etcd restore FILE`: shows the plan, asks, and carries it out.

use etcd_wire::restore::Marker;

use super::Args;
use super::begun_args::BegunArgs;
use super::live::{Planned, plan, read};
use crate::commands::backup::StoreArgs;
use crate::commands::proposal::{First, Means, early_consent, propose};
use crate::connection::Connection;
use crate::context::Context;
use crate::discovery::{self, Manifests, Overrides};
use crate::explain::{self, Facts};
use crate::output::{Failed, Outcome};
use crate::transaction::{RestoreFlags, Terms};

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

    /// What does not depend on the members.
    pub(super) async fn terms(&self, connection: &Connection, marker: Option<Marker>) -> Terms {
        self.shared.terms(connection, self.no_rollback, marker).await
    }
}

/// Prints how it is done by hand.
///
/// # Errors
/// No member is found, or one of them does not show what it takes.
pub(super) async fn explained(args: Args, context: Context) -> Outcome {
    let connection = context.connection.connect().await?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let members = discovery::find(&connection, context.connection.etcd_namespace(), &overrides, None).await?.all()?;
    let facts = Facts::of(&connection.cluster, &members, &args.live.manifests.manifests_dir);
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
    let snapshot = context.interruptible(read(&args, &context)).await?;
    let connection = context.interruptible(context.connection.connect()).await?;
    let flags = &args.live.shared;
    let consent = early_consent(flags, &connection)?;
    let planning = plan(&args, &context, &connection, &snapshot);
    let Planned { plan, upload, members, road } = context.interruptible(planning).await.map_err(Failed::unchanged)?;
    let means = Means {
        context: &context,
        connection: &connection,
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
