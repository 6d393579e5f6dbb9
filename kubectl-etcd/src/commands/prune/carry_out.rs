//! Deletes what a plan says, and tells what became of that.

use etcd_store::{Store, retention};

use super::show::Proposal;
use crate::context::Context;
use crate::interruption::interrupted;
use crate::output::{Exit, Failed, Outcome};

/// Deletes the backups of a plan one after the other, the oldest first.
///
/// # Errors
/// An object stays (exit 1, or 5 if others were deleted), or the user has interrupted.
pub(super) async fn carry_out(store: &Store, proposal: &Proposal, context: &Context) -> Outcome {
    let goes_on = || !context.interruption.happened();
    let told = |name: &str| context.printer.detail(format!("deleted {name}"));
    let mut done = retention::carry_out(store, proposal.deletions().collect(), goes_on, told).await;
    if done.is_interrupted {
        return Err(interrupted().effect(done.to_string()));
    }
    for file in proposal.deleted_files() {
        match store.delete_part_file(file).await {
            Ok(()) => done.objects += 1,
            Err(error) if error.is_not_found() => {}
            Err(error) => done.failed.push((file.name().to_owned(), error)),
        }
    }
    context.printer.result(done.to_string());
    if done.failed.is_empty() {
        return Ok(());
    }
    let exit = if done.objects == 0 { Exit::Failed } else { Exit::Changed };
    let message = match done.total - done.backups {
        0 => format!("{} files of killed writers are not deleted", done.failed.len()),
        left => format!("{left} of {} backups are not deleted, or not wholly", done.total),
    };
    let hint = done.failed.iter().rev().find_map(|(_, error)| retention::hint(error));
    let each: Vec<(String, String)> = done.failed.into_iter().map(|(name, error)| (name, error.to_string())).collect();
    let failed = Failed::new(exit, message).each("backups", each);
    let failed = if exit == Exit::Failed { failed.unchanged() } else { failed };
    Err(match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    })
}
