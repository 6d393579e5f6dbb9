//! One way to change a whole control plane: the plan is shown, refused or confirmed, carried out, and its end is told.

use etcd_doctor::CameBack;
use etcd_store::{Class, Level};
use etcd_wire::restore::RestorePlan;
use serde::Serialize;

use crate::commands::backup::{self, Destination};
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{EtcdPod, Overrides};
use crate::output::confirm::{Consent, confirm, consent};
use crate::output::{Exit, Failed, Format, Outcome, Printer, print_data};
use crate::road::Road;
use crate::sidecar::{Operation, SidecarArgs, Upload};
use crate::transaction::{self, Ended, Report, RestoreFlags, Work};

/// A plan that can be shown and carried out.
pub(crate) trait Proposal: Serialize {
    /// For people; `wide` names all objects.
    fn text(&self, wide: bool) -> String;

    /// What the nodes are told to do; `None` if something speaks against it.
    fn transaction(&self) -> Option<&RestorePlan>;

    /// Why it is refused.
    fn refused(&self) -> Failed;

    /// Nodes that come back with the data, and are no nodes of the cluster before.
    fn came_back(&self) -> Vec<CameBack>;

    /// Adds to the report of what was done what only the plan knows.
    fn complete(&self, report: &mut Report);
}

/// What a plan is carried out with.
pub(crate) struct Means<'a> {
    pub(crate) context: &'a Context,
    pub(crate) plane: &'a ControlPlane,
    pub(crate) road: &'a Road,
    /// The members, those of nodes that do not take part among them.
    pub(crate) members: &'a [EtcdPod],
    pub(crate) sidecar: &'a SidecarArgs,
    pub(crate) flags: &'a RestoreFlags,
    pub(crate) output: Format,
    /// The file that every node gets, if they get one.
    pub(crate) upload: Option<Upload>,
    /// See [`early_consent`].
    pub(crate) consent: Option<Consent>,
    /// Where a backup of the current state goes before anything is changed, if it is to be taken.
    pub(crate) first: Option<First<'a>>,
}

/// A backup of what is about to be replaced.
pub(crate) struct First<'a> {
    pub(crate) destination: &'a Destination,
    pub(crate) overrides: &'a Overrides,
}

/// What the flags say about the confirmation, before anything is made in the cluster. `None` if none is needed.
///
/// # Errors
/// Exit 4: `--confirm` names another cluster, or there is no terminal to ask on.
pub(crate) fn early_consent(flags: &RestoreFlags, plane: &ControlPlane) -> Outcome<Option<Consent>> {
    let name = flags.confirm.as_deref();
    let needed = flags.dry_run.is_none() || name.is_some();
    let before = "read the plan with --dry-run=client";
    needed.then(|| consent(name, plane.cluster(), Printer::interactive(), before)).transpose()
}

/// Shows a plan, and carries it out unless it is refused or only to be shown.
///
/// # Errors
/// It is refused or not confirmed (exit 4), and however it ends once it has begun.
pub(crate) async fn propose(proposal: &impl Proposal, means: Means<'_>) -> Outcome {
    let Means { context, plane, road, flags, output, .. } = means;
    let printer = context.printer;
    let text = || proposal.text(output == Format::Wide);
    let Some(order) = proposal.transaction() else {
        let told = print_data(printer, output, proposal, text);
        return Err(proposal.refused().unchanged().also(told));
    };
    let members: Vec<EtcdPod> =
        means.members.iter().filter(|one| order.nodes.iter().any(|node| node.node == one.node)).cloned().collect();
    if let Some(dry_run) = flags.dry_run.as_deref() {
        print_data(printer, output, proposal, text)?;
        if dry_run == "server" {
            context.interruptible(prove(road, &members, printer)).await?;
        }
        if let Some(first) = &means.first {
            let url = first.destination.store.url();
            printer
                .note(format!("before anything is changed, a backup of class pre-restore would be taken into {url}"));
        }
        printer.note("nothing was changed");
        return Ok(());
    }
    // Data is what was done; until then the plan is for whoever has to agree to it.
    let for_people = matches!(output, Format::Table | Format::Wide);
    if for_people && !printer.quiet() || flags.confirm.is_none() {
        printer.show(&text());
        printer.show("\n");
    }
    if let Some(consent) = means.consent {
        context.interruptible(confirm(consent, plane.cluster(), printer)).await?;
    }
    if let Some(first) = &means.first {
        back_up(first, means.sidecar, plane, context).await?;
    }
    let mut work = Work::new(context, plane, road, &members, means.sidecar);
    work.upload = means.upload;
    work.came_back = proposal.came_back();
    let mut ended = transaction::run(&work, order).await?;
    if let Some(report) = &mut ended.report {
        proposal.complete(report);
    }
    tell(ended, output, printer)
}

/// Takes a backup of what is about to be replaced.
///
/// # Errors
/// There is none: then nothing may be replaced.
async fn back_up(first: &First<'_>, sidecar: &SidecarArgs, plane: &ControlPlane, context: &Context) -> Outcome {
    let First { destination, overrides } = first;
    let class = Class::PreRestore;
    let order =
        backup::Order { destination, class, node: None, compress: "zstd", node_files: false, overrides, sidecar };
    let taken = backup::take(&order, plane, context).await.map_err(|failed| {
        let exit = if failed.exit == Exit::Failed { Exit::Refused } else { failed.exit };
        Failed { exit, ..failed }
            .context("the backup of the current state failed, so nothing was restored")
            .hint("without --store no backup is taken first")
    })?;
    let (name, url) = (&taken.record.name, destination.store.url());
    if taken.record.level < Level::Written {
        return Err(Failed::new(
            Exit::Refused,
            format!("the backup of the current state, {name}, was not checked: nothing was restored"),
        )
        .cause(format!("the backup is in {url}; its bytes have etcd's digest, and its pages were not read"))
        .hint(
            "make room for the snapshot where temporary files lie, or name a folder that has room\n  TMPDIR=FOLDER",
        ));
    }
    context.printer.note(format!("the current state is backed up as {name} in {url}"));
    Ok(())
}

/// Prints the report, what is to be done next and, last, the result; ends as the transaction did.
pub(crate) fn tell(ended: Ended, output: Format, printer: Printer) -> Outcome {
    let Some(report) = &ended.report else { return ended.outcome };
    let told = print_data(printer, output, report, || report.text());
    for advice in report.advice() {
        printer.note(advice);
    }
    match ended.outcome {
        Ok(()) => {
            printer.result(report.result_line());
            told.map_err(|failed| {
                failed.after_change("the change is done; only its report is lost").hint("kubectl etcd restore --status")
            })
        }
        Err(failed) => Err(failed.also(told)),
    }
}

/// Asks the API server whether it would admit the pods that a restore makes.
async fn prove(road: &Road, members: &[EtcdPod], printer: Printer) -> Outcome {
    for member in members {
        road.rehearse(member, Operation::Restore).await.map_err(Failed::unchanged)?;
        printer.note(format!("the API server would admit the privileged pod of a restore on node {}", member.node));
    }
    Ok(())
}
