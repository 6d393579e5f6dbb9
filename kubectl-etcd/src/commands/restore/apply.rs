//! `kubectl etcd restore FILE`: shows the plan, asks, and carries it out.

use etcd_wire::restore::Marker;

use super::Args;
use super::live::{Planned, plan, read};
use super::plan::Plan;
use crate::connection::Connection;
use crate::context::Context;
use crate::discovery::{self, EtcdPod, Manifests, Overrides};
use crate::explain::{self, Facts};
use crate::output::confirm::{confirm, consent};
use crate::output::{Exit, Failed, Format, Outcome, Printer, print_data};
use crate::sidecar::{Operation, Pods};
use crate::transaction::{self, RestoreFlags, Terms, Work};

/// What says how a restore is to be done, and nothing to one that has begun.
const ONLY_FORTH: [&str; 10] = [
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
    /// Restore to these control-plane nodes only. The members of the others are left out of the new cluster, and their static pods
    /// stopped, which they stay; one that cannot be reached is left out as it is
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub(super) to_nodes: Vec<String>,
    /// Let revisions go below those that clients have seen: existing watches stop receiving events; restart kubelets and controllers
    #[arg(long, requires = "bump_revision")]
    pub(super) allow_lower_revisions: bool,
    /// Leave the new state in place should the API servers not become ready on it
    #[arg(long)]
    no_rollback: bool,
    /// Show how the last restore is on every node; no file is needed
    #[arg(long, conflicts_with_all = ONLY_FORTH)]
    pub(super) status: bool,
    /// Follow a restore that is unfinished to its end; no file is needed
    #[arg(long, conflicts_with_all = ONLY_FORTH, conflicts_with = "status")]
    pub(super) resume: bool,
    #[command(flatten)]
    pub(super) manifests: Manifests,
}

impl LiveArgs {
    /// What does not depend on the members.
    pub(super) fn terms(&self, connection: &Connection, marker: Option<Marker>) -> Terms {
        self.shared.terms(connection, self.no_rollback, marker)
    }
}

/// Prints how it is done by hand.
///
/// # Errors
/// No member is found, or one of them does not show what it takes.
pub(super) async fn explained(args: Args, context: Context) -> Outcome {
    let connection = context.connection.connect().await?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let mut members =
        discovery::find(&connection, context.connection.etcd_namespace(), &overrides, None).await?.all()?;
    let to = &args.live.to_nodes;
    if let Some(unknown) = to.iter().find(|node| !members.iter().any(|member| member.node == **node)) {
        return Err(Failed::new(Exit::Refused, format!("no etcd member runs on node {unknown}")));
    }
    members.retain(|member| to.is_empty() || to.contains(&member.node));
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
    let printer = context.printer;
    let snapshot = context.interruptible(read(&args, &context)).await?;
    let connection = context.interruptible(context.connection.connect()).await?;
    let applies = args.live.shared.dry_run.is_none();
    // A name that is wrong, and nobody to ask, are told before anything is made in the cluster.
    let flag = args.live.shared.confirm.as_deref();
    let consented = if applies || flag.is_some() {
        Some(consent(flag, &connection.cluster, Printer::interactive())?)
    } else {
        None
    };
    let planning = plan(&args, &context, &connection, &snapshot);
    let Planned { plan, upload, members, pods, hints } =
        context.interruptible(planning).await.map_err(Failed::unchanged)?;
    let refused = |plan: &Plan| {
        let failed =
            Failed::new(Exit::Refused, format!("{} would not be restored to this cluster", args.file().display()));
        let failed = failed.causes(plan.refusals.clone()).unchanged();
        hints.iter().fold(failed, Failed::hint)
    };
    let Some(order) = plan.transaction.as_ref().filter(|_| plan.refusals.is_empty()) else {
        let told = print_data(printer, args.output, &plan, || plan.whole_text(args.output == Format::Wide));
        return Err(refused(&plan).also(told));
    };
    if !applies {
        print_data(printer, args.output, &plan, || plan.whole_text(args.output == Format::Wide))?;
        if args.live.shared.dry_run.as_deref() == Some("server") {
            context.interruptible(prove(&pods, &members, printer)).await?;
        }
        printer.note("nothing was changed");
        return Ok(());
    }
    // Data is what was done; until then the plan is for whoever has to agree to it.
    if matches!(args.output, Format::Table | Format::Wide) && !printer.quiet() || flag.is_none() {
        printer.show(&plan.whole_text(args.output == Format::Wide));
        printer.show("\n");
    }
    if let Some(consented) = consented {
        context.interruptible(confirm(consented, &connection.cluster, printer)).await?;
    }
    let mut work = Work::new(&context, &connection, &pods, &members, &args.sidecar);
    work.upload = Some(upload);
    let mut ended = transaction::run(&work, order).await?;
    if let (Some(report), Some(changes)) = (&mut ended.report, &plan.changes) {
        report.nodes_gone.clone_from(&changes.nodes_gone);
        report.masters_gone.clone_from(&changes.masters_gone);
    }
    tell(ended, args.output, printer)
}

/// Prints the report and what is to be done next, and ends as the transaction did.
pub(crate) fn tell(ended: transaction::Ended, output: Format, printer: Printer) -> Outcome {
    if let Some(report) = &ended.report {
        let told = print_data(printer, output, report, || report.text());
        for advice in report.advice() {
            printer.note(advice);
        }
        return match ended.outcome {
            Ok(()) => told.map_err(|failed| {
                failed.after_change("the change is done; only its report is lost").hint("kubectl etcd restore --status")
            }),
            Err(failed) => Err(failed.also(told)),
        };
    }
    ended.outcome
}

/// Asks the API server whether it would take the pods that a restore makes.
pub(crate) async fn prove(pods: &Pods, members: &[EtcdPod], printer: Printer) -> Outcome {
    for member in members {
        pods.rehearse(member, Operation::Restore).await.map_err(|failed| failed.unchanged())?;
        printer.note(format!("the API server would take the privileged pod of a restore on node {}", member.node));
    }
    Ok(())
}
