//! Deletes what a plan says. One failure does not end the others.

use etcd_store::retention::deletion_order;
use etcd_store::{Key, Store, Trouble};

use super::show::Proposal;
use crate::context::Context;
use crate::interruption::interrupted;
use crate::output::{Exit, Failed, Outcome};
use crate::stores;

/// What became of the objects of a plan.
#[derive(Debug, Default)]
struct Done {
    backups: usize,
    objects: usize,
    /// What could not be deleted, and why.
    failed: Vec<(String, String)>,
    hint: Option<String>,
}

/// Deletes the backups of a plan one after the other, the oldest first.
///
/// # Errors
/// An object stays (exit 1, or 5 if others were deleted), or the user has interrupted.
pub(super) async fn carry_out(store: &Store, proposal: &Proposal, context: &Context) -> Outcome {
    let mut done = Done::default();
    let total = proposal.deletions().count();
    for (name, objects) in proposal.deletions() {
        if context.interruption.happened() {
            return Err(interrupted().effect(said(&done, total)));
        }
        if delete(store, &name, &deletion_order(objects), &mut done).await {
            done.backups += 1;
            context.printer.detail(format!("deleted {name}"));
        }
    }
    context.printer.result(said(&done, total));
    if done.failed.is_empty() {
        return Ok(());
    }
    let exit = if done.objects == 0 { Exit::Failed } else { Exit::Changed };
    let message = format!("{} of {total} backups are not deleted, or not wholly", total - done.backups);
    let failed = Failed::new(exit, message).each("backups", done.failed);
    let failed = if exit == Exit::Failed { failed.unchanged() } else { failed };
    Err(match done.hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    })
}

fn said(done: &Done, total: usize) -> String {
    format!("{} of {total} backups deleted ({} objects)", done.backups, done.objects)
}

/// Deletes the objects of one backup, in an order that leaves no record without data: what comes after an object that stays, stays, too.
async fn delete(store: &Store, name: &str, keys: &[Key], done: &mut Done) -> bool {
    for key in keys {
        match store.delete(key).await {
            Ok(()) => done.objects += 1,
            // Somebody else has deleted it.
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                done.hint = match error.trouble() {
                    Trouble::AccessDenied => Some(
                        "the credential may not delete, or the object is locked: a store with object lock deletes it only after its retention has ended"
                            .to_owned(),
                    ),
                    _ => stores::failed(&error).hints.into_iter().next(),
                }
                .or_else(|| done.hint.take());
                done.failed.push((name.to_owned(), error.to_string()));
                return false;
            }
        }
    }
    true
}
