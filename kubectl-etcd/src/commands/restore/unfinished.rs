//! `restore --status`, `--follow`, `--resume` and `--forget`: what becomes of a restore that has begun.

use etcd_recovery::Commands;
use etcd_transaction::{NodeSet, Operator};
use etcd_wire::restore::RestorePlan;

use super::Args;
use super::look::{Looked, look};
use super::restore_status::status;
use crate::commands::proposal::tell;
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::output::confirm::{Consent, confirm, consent};
use crate::output::{Exit, Failed, Outcome, Printer};
use crate::sidecar::Operation;
use crate::transaction::settle::{self, Resume};
use crate::transaction::{self, Watched, Work, recall, standing_of, unfinished};

/// Does it.
///
/// # Errors
/// No node can be asked, or the API server stays away; what is ordered cannot be done (exit 4) or was done in part (exit 5); with
/// `--follow` and `--resume`, however the restore ends.
pub(super) async fn run(args: Args, context: Context) -> Outcome {
    let printer = context.printer;
    let plane = context.interruptible(ControlPlane::open(&args.ssh, &context)).await?;
    // A name that is another cluster's is refused before anything else is done.
    if args.live.confirm().is_some() {
        agreed(&args, &plane)?;
    }
    let Looked { road, members, nodes } = context.interruptible(look(&args, &context, &plane)).await?;
    for node in &nodes {
        if let Err(failed) = &node.outcome {
            printer.warn(format!("node {}: {}", node.node, failed.one_line()));
        }
    }
    let begun = &args.live.begun;
    if begun.status {
        return status(&args, &context, &nodes);
    }
    let plan = match &begun.forget {
        Some(id) => Some(standing_of(id, &nodes).ok_or_else(|| unknown(id))?.plan.clone()),
        None => unfinished(&nodes).cloned(),
    };
    let Some(plan) = plan else {
        printer.note("no restore is unfinished");
        return status(&args, &context, &nodes);
    };
    let work = Work::new(&context, &plane, &road, &members, &args.sidecar);
    let mut watched = work.watch(Operation::Follow);
    if begun.forget.is_some() {
        return forget(&work, &mut watched, &plan).await;
    }
    printer.note(format!("following restore {}, begun by {}", plan.id, plan.started_by));
    if begun.resume {
        resume(&args, &work, &mut watched, &plan).await?;
    } else if let Some(standing) = standing_of(&plan.id, &nodes) {
        // What it waits for may be a person.
        let now = jiff::Timestamp::now();
        standing.told(now).iter().filter(|row| row.state == "blocked").for_each(|row| printer.warn(row.lines()));
    }
    let gone: Vec<&str> = begun.without.iter().map(String::as_str).collect();
    tell(transaction::follow_on(&work, &mut watched, &plan, &gone).await, args.output, printer)
}

fn unknown(id: &str) -> Failed {
    settle::unknown(id, Commands::Plugin).into()
}

/// What the flag or the user says to the risk of leaving nodes behind, before it is asked.
fn agreed(args: &Args, plane: &ControlPlane) -> Outcome<Consent> {
    const BEFORE: &str = "see what the nodes know with kubectl etcd restore --status";
    consent(args.live.confirm(), plane.cluster(), Printer::interactive(), BEFORE)
}

/// Brings the nodes what they need to end it.
async fn resume(args: &Args, work: &Work<'_>, watched: &mut [Watched<'_>], plan: &RestorePlan) -> Outcome {
    let (context, printer) = (work.context, work.printer);
    // As they are now: what was read before may have been minutes ago.
    let nodes = context.interruptible(async { Ok(recall(work, watched).await) }).await?;
    let standing = standing_of(&plan.id, &nodes).ok_or_else(|| unknown(&plan.id))?;
    let named = &args.live.begun.without;
    let resume = match named.is_empty() {
        true => settle::resume(&standing)?,
        false => settle::without(&standing, named)?,
    };
    match &resume {
        Resume::Follow => printer.note("the nodes need nothing; they end the restore by themselves"),
        Resume::Exclude { gone, .. } => {
            printer.warn(settle::risk(&standing, *gone));
            let consent = agreed(args, work.plane)?;
            context.interruptible(confirm(consent, work.plane.cluster(), printer)).await?;
        }
        Resume::Bring { .. } | Resume::Identities { .. } => {}
    }
    let interrupted = || {
        Failed::new(
            Exit::Changed,
            format!("interrupted; some nodes of restore {} may have been told and others not", plan.id),
        )
        .hint("repeat the command; all nodes are then told anew")
    };
    context.interruption.or(interrupted, transaction::carry_out(work, watched, plan, &resume)).await?
}

/// Ends the waiting of nodes that have ended it.
async fn forget(work: &Work<'_>, watched: &mut [Watched<'_>], plan: &RestorePlan) -> Outcome {
    let (context, printer, id) = (work.context, work.printer, &plan.id);
    let nodes = context.interruptible(async { Ok(recall(work, watched).await) }).await?;
    let standing = standing_of(id, &nodes).ok_or_else(|| unknown(id))?;
    let waiting = settle::forget(&standing)?;
    if waiting.is_empty() {
        printer.note(format!("no node waits for the end of restore {id} any more"));
        return Ok(());
    }
    let away = standing.name_all(standing.unread()).join(", ");
    let orders: [(NodeSet, Operator); 1] = [(waiting, Operator::Forget)];
    let interrupted = || {
        Failed::new(Exit::Changed, format!("interrupted; some nodes may wait for restore {id} still"))
            .hint(format!("repeat the command\n  {}", standing.forget_command()))
    };
    let dismissing = transaction::dismiss(work, watched, plan, &orders);
    context.interruption.or(interrupted, dismissing).await??;
    if !away.is_empty() {
        printer.note(format!(
            "the journals keep the decision, but no participant answers queries any more. When {away} returns, tell the decision\n  kubectl etcd restore --resume"
        ));
    }
    printer.result(format!("no node waits for restore {id} any more"));
    Ok(())
}
