//! Deletes what was decided. One failure does not end the others.

use super::deletion_order;
use crate::{Object, Store, StoreError};

/// What became of what was to be deleted.
#[derive(Debug, Default)]
pub struct Deleted {
    /// How many backups are gone, with all their objects.
    pub backups: usize,
    /// How many were to go.
    pub total: usize,
    /// How many objects are gone.
    pub objects: usize,
    /// Names of what was not deleted, or not wholly, and why.
    pub failed: Vec<(String, StoreError)>,
    /// It was ended before everything was tried.
    pub is_interrupted: bool,
}

impl std::fmt::Display for Deleted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} backups deleted ({} objects)", self.backups, self.total, self.objects)
    }
}

/// Deletes backups, given by name and objects, in their order. `goes_on` is asked before each, and `deleted` hears of each that is gone.
pub async fn carry_out(
    store: &Store,
    backups: Vec<(String, &[Object])>,
    goes_on: impl Fn() -> bool,
    deleted: impl Fn(&str),
) -> Deleted {
    let mut done = Deleted { total: backups.len(), ..Deleted::default() };
    for (name, objects) in backups {
        if !goes_on() {
            done.is_interrupted = true;
            return done;
        }
        match delete(store, objects, &mut done.objects).await {
            Ok(()) => {
                done.backups += 1;
                deleted(&name);
            }
            Err(error) => done.failed.push((name, error)),
        }
    }
    done
}

/// Deletes the objects of one backup, in an order that leaves no record without data: what comes after an object that stays, stays, too.
async fn delete(store: &Store, objects: &[Object], gone: &mut usize) -> Result<(), StoreError> {
    for key in deletion_order(objects) {
        match store.delete(&key).await {
            Ok(()) => *gone += 1,
            // Somebody else has deleted it.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is to be done where an object could not be deleted.
pub fn hint(error: &StoreError) -> Option<String> {
    match error.trouble() {
        crate::Trouble::AccessDenied => Some(
            "the credential may not delete, or the object is locked: a store with object lock deletes it only after its retention has ended"
                .to_owned(),
        ),
        _ => error.hint(),
    }
}
