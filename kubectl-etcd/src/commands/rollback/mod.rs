//! `kubectl etcd rollback`: the data that the last restore has set aside comes back.

mod plan;

use crate::commands::restore::{prove, tell};
use crate::context::Context;
use crate::discovery::{self, Manifests, Overrides, Reach};
use crate::explain::{self, Facts};
use crate::idle::Idle;
use crate::output::confirm::{confirm, consent};
use crate::output::{Exit, Failed, Format, Outcome, Printer, print_data};
use crate::sidecar::{Operation, Pods, SidecarArgs, access};
use crate::transaction::{self, RestoreFlags, Work, silence};
use plan::{Found, Plan};

const EXAMPLES: &str = "\
Examples:
  # What would come back; nothing is touched
  kubectl etcd rollback --dry-run=client

  # Back to before the last restore; the cluster's name has to be typed
  kubectl etcd rollback

  # The same from a script
  kubectl etcd rollback --confirm prod-eu

  # Back to before an earlier restore; --dry-run=client lists them
  kubectl etcd rollback --id 20261121-100000-abcde";

/// Put back the data that the last restore has set aside
///
/// Finds the last restore, shows what would be done to undo it, and asks for the cluster's name. Its old data must be kept on all nodes
/// that it restored: where it is missing on one, nothing is done, and --id chooses another restore. It is then done as a restore is: API server and etcd are stopped on all nodes, the data is exchanged, and all is started
/// again, in a minute or less; the nodes go back by themselves if anything fails. The data of now is kept in its turn: another
/// rollback puts that back.
///
/// What was written since the restore is not in the data that comes back. It is built anew on the nodes with a revision above all
/// that clients have seen, as a restore does with a snapshot: a client that watches would not notice that revisions went down, and
/// would hear nothing any more. The directories that were set aside stay as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    shared: RestoreFlags,
    /// Restore to undo, in place of the last one; --dry-run=client lists them
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Put the directories back as they are, without raising the revision. It lets revisions go below those that clients have seen:
    /// existing watches stop receiving events; restart kubelets and controllers
    #[arg(long)]
    keep_revisions: bool,
    /// Print the commands that do the same by hand on this cluster, and do nothing
    #[arg(long, conflicts_with_all = ["dry_run", "confirm"])]
    explain: bool,
    /// Output format
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        const WHY: &str = "--explain prints commands, and does nothing";
        match self.explain {
            true => vec![
                Idle::flags(&["keep_revisions", "peer_port", "start_timeout", "output"], WHY),
                Idle::group::<SidecarArgs>(WHY),
            ],
            false => Vec::new(),
        }
    }
}

/// Prints how it is done by hand.
async fn explained(args: &Args, context: &Context) -> Outcome {
    let connection = context.connection.connect().await?;
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let namespace = context.connection.etcd_namespace();
    let members = discovery::find(&connection, namespace, &overrides, None).await?.all()?;
    let facts = Facts::of(&connection.cluster, &members, &args.manifests.manifests_dir);
    context.printer.data(&explain::rollback(&facts, args.id.as_deref())?)
}

/// Shows the plan, and carries it out unless it is only to be shown.
///
/// # Errors
/// Nothing can come back, or it was not confirmed (exit 4); and however it ends once it has begun.
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if args.explain {
        return explained(&args, &context).await;
    }
    let printer = context.printer;
    let connection = context.interruptible(context.connection.connect()).await?;
    let applies = args.shared.dry_run.is_none();
    let flag = args.shared.confirm.as_deref();
    let consented = if applies || flag.is_some() {
        Some(consent(flag, &connection.cluster, Printer::interactive())?)
    } else {
        None
    };
    let overrides = Overrides { reach: args.reach.clone(), data_dir: None };
    let finding =
        discovery::with_manifests(&connection, context.connection.etcd_namespace(), &overrides, &args.manifests);
    let members = context.interruptible(finding).await?.all()?;
    context.interruptible(access::preflight(&connection, &args.sidecar.pod_namespace)).await?;
    let pods = context.keep_track(Pods::new(&connection, &args.sidecar, printer));
    let work = Work::new(&context, &connection, &pods, &members, &args.sidecar);
    let mut watched = work.watch(Operation::Recall);
    let recalling = async { Ok(transaction::recall(&work, &mut watched).await) };
    let nodes = context.interruptible(recalling).await?;
    if let Some(failed) = silence(&nodes) {
        return Err(failed.unchanged());
    }
    // The transaction has sidecars of another kind.
    transaction::forget(&work, watched).await;
    // What is there to be served is in the old data, and nobody can look into that: that the API is ready is enough.
    let terms = args.shared.terms(&connection, false, None);
    let keep_revisions = args.keep_revisions;
    let plan = Plan::make(&Found {
        keep_revisions,
        server: &connection.server,
        terms: &terms,
        members: &members,
        nodes: &nodes,
        id: args.id.as_deref(),
    });
    let Some(order) = plan.transaction.as_ref().filter(|_| plan.refusals.is_empty()) else {
        let told = print_data(printer, args.output, &plan, || plan.text());
        let failed = Failed::new(Exit::Refused, format!("cluster {} would not go back", connection.cluster));
        let failed = failed.causes(plan.refusals.iter().cloned()).unchanged().also(told);
        return Err(match plan.another() {
            Some(id) => failed.hint(format!(
                "the old data of another restore is on all nodes; to undo that one\n  kubectl etcd rollback --id {id}"
            )),
            None => failed,
        });
    };
    if !applies {
        print_data(printer, args.output, &plan, || plan.text())?;
        if args.shared.dry_run.as_deref() == Some("server") {
            context.interruptible(prove(&pods, &members, printer)).await?;
        }
        printer.note("nothing was changed");
        return Ok(());
    }
    if args.output == Format::Table && !printer.quiet() || flag.is_none() {
        printer.show(&plan.text());
        printer.show("\n");
    }
    if let Some(consented) = consented {
        context.interruptible(confirm(consented, &connection.cluster, printer)).await?;
    }
    let members: Vec<_> =
        members.iter().filter(|one| order.nodes.iter().any(|node| node.node == one.node)).cloned().collect();
    let work = Work::new(&context, &connection, &pods, &members, &args.sidecar);
    let ended = transaction::run(&work, order).await?;
    tell(ended, args.output, printer)
}
