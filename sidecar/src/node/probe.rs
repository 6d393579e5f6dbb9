//! What tests see of the disk: the operations on [`Place`]s of their own thread in order, of which one can be made to fail. On all threads, those on
//! one place can be made to hang.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Condvar, Mutex};

use super::Place;

#[derive(Default)]
struct Seen {
    operations: Vec<String>,
    /// How many are still done before one fails.
    left: Option<usize>,
}

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

static HANGING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static WORKS_AGAIN: Condvar = Condvar::new();

/// A place on a disk that hangs until this is dropped.
pub(crate) struct Hang(String);

/// Lets the disk hang for what is done at a place.
pub(crate) fn hang(place: &Place) -> Hang {
    HANGING.lock().unwrap().insert(place.display());
    Hang(place.display())
}

impl Drop for Hang {
    fn drop(&mut self) {
        HANGING.lock().unwrap().remove(&self.0);
        WORKS_AGAIN.notify_all();
    }
}

/// Notes an operation, or lets it hang or fail.
pub(super) fn at(what: &str, place: &Place) -> io::Result<()> {
    drop(WORKS_AGAIN.wait_while(HANGING.lock().unwrap(), |hanging| hanging.contains(&place.display())).unwrap());
    SEEN.with_borrow_mut(|seen| {
        let Some(seen) = seen else { return Ok(()) };
        if seen.left.is_some_and(|left| left <= seen.operations.len()) {
            return Err(io::Error::other("the disk of the test has failed"));
        }
        seen.operations.push(format!("{what} {}", place.display()));
        Ok(())
    })
}

/// Does something, and says what it did to the disk.
pub(crate) fn watch<T>(act: impl FnOnce() -> T) -> (T, Vec<String>) {
    observe(None, act)
}

/// Does something on a disk on which every operation fails after the first `count`.
pub(crate) fn fail_after<T>(count: usize, act: impl FnOnce() -> T) -> (T, Vec<String>) {
    observe(Some(count), act)
}

fn observe<T>(left: Option<usize>, act: impl FnOnce() -> T) -> (T, Vec<String>) {
    SEEN.set(Some(Seen { left, ..Seen::default() }));
    let outcome = act();
    (outcome, SEEN.take().map(|seen| seen.operations).unwrap_or_default())
}

/// Folders that were changed, these or by renames, and not synchronised afterwards.
pub(crate) fn unsynced(changed: &[Place], operations: &[String]) -> BTreeSet<String> {
    let mut dirty: BTreeSet<String> = changed.iter().map(Place::display).collect();
    for operation in operations {
        if let Some(folder) = operation.strip_prefix("sync ") {
            dirty.remove(folder);
        } else if let Some((from, to)) = operation.strip_prefix("rename ").and_then(|both| both.split_once(" to ")) {
            let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
            dirty.extend([from, to].into_iter().filter_map(folder));
        }
    }
    dirty
}
