//! `kubectl etcd restore FILE`: shows the plan, asks, and carries it out.

use std::time::Duration;

use etcd_wire::restore::Marker;

use super::Args;
use super::live::{Planned, plan, read};
use crate::commands::proposal::{Means, early_consent, propose};
use crate::connection::{Connection, parse_duration};
use crate::context::Context;
use crate::discovery::{self, Manifests, Overrides};
use crate::explain::{self, Facts};
use crate::output::{Failed, Outcome};
use crate::transaction::{RestoreFlags, Terms};

/// What says how a restore is to be done, and nothing to one that has begun.
const ONLY_A_NEW_ONE: [&str; 10] = [
    "file",
    "dry_run",
    "confirm",
    "peer_port",
    "start_timeout",
    "to_nodes",
    "no_rollback",
    "bump_revision",
    "allow_lower_revisions",
    "skip_hash_check",
];

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
    /// Keep the new data even if the API servers do not become ready on it
    #[arg(long)]
    no_rollback: bool,
    /// Show the state of the last restore on every node; needs no file. While the API server is away, wait for it
    #[arg(long, conflicts_with_all = ONLY_A_NEW_ONE)]
    pub(super) status: bool,
    /// Follow an unfinished restore to its end; needs no file
    #[arg(long, conflicts_with_all = ONLY_A_NEW_ONE, conflicts_with = "status")]
    pub(super) follow: bool,
    /// Give the nodes of an unfinished restore new certificates, which nodes that restarted have lost, and follow it to its end; needs
    /// no file
    #[arg(long, conflicts_with_all = ONLY_A_NEW_ONE, conflicts_with_all = ["status", "follow"])]
    pub(super) resume: bool,
    /// How long --status, --follow and --resume wait for an API server that is away; 0 does not wait
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) manifests: Manifests,
}

impl LiveArgs {
    /// What does not depend on the members.
    pub(super) async fn terms(&self, connection: &Connection, marker: Option<Marker>) -> Terms {
        self.shared.terms(connection, self.no_rollback, marker).await
    }

    /// Whether it is about a restore that has begun.
    pub(super) fn looks_back(&self) -> bool {
        self.status || self.follow || self.resume
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
    let snapshot = context.interruptible(read(&args, &context)).await?;
    let connection = context.interruptible(context.connection.connect()).await?;
    let flags = &args.live.shared;
    let consent = early_consent(flags, &connection)?;
    let planning = plan(&args, &context, &connection, &snapshot);
    let Planned { plan, upload, members, pods } = context.interruptible(planning).await.map_err(Failed::unchanged)?;
    let means = Means {
        context: &context,
        connection: &connection,
        pods: &pods,
        members: &members,
        sidecar: &args.sidecar,
        flags,
        output: args.output,
        upload: Some(upload),
        consent,
    };
    propose(&plan, means).await
}
