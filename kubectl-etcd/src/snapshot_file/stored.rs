//! A backup in a store: found, checked and brought to a file without a name on this machine.

use std::fs::File;
use std::io::{self, Seek};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use etcd_store::fetch::{ChooseError, FindError, Found, TransferError};
use etcd_store::{Environment, Reference, Store};
use jiff::Timestamp;

use super::access::{Access, AccessArgs};
use super::unnamed::Unnamed;
use crate::context::Context;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome, Printer, Progress, bytes};
use crate::stores;

/// A backup that was found in a store, as it was typed.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) reference: Reference,
    pub(crate) found: Arc<Found>,
}

impl Stored {
    /// The reference of this very backup, also where the latest was asked for.
    pub(crate) fn name(&self) -> String {
        let reference = Reference {
            store: self.reference.store.clone(),
            cluster: Some(self.found.backup.cluster.clone()),
            wanted: etcd_store::Wanted::Backup(self.found.backup.name.clone()),
        };
        reference.to_string()
    }
}

/// Finds the backup that a FILE names, and checks its record. Reads nothing else.
///
/// # Errors
/// The store cannot be read; there is no such backup; its record is not to be believed (exit 3), or its signature does not count (exit 4).
pub(crate) async fn find(file: &Path, access: &AccessArgs, context: &Context) -> Outcome<Stored> {
    let typed = file.display().to_string();
    let reference: Reference = typed.parse().map_err(|error: etcd_store::ReferenceError| {
        // What was typed is not told: it may hold a password.
        Failed::new(Exit::Usage, error.to_string())
    })?;
    let access = access.read(context).await?;
    let store = Store::open(&reference.store, &Environment::of_process()).map_err(|error| stores::failed(&error))?;
    let trusted = access.trusted.as_ref();
    let find = Found::find(&store, reference.cluster.as_ref(), &reference.wanted, trusted, Timestamp::now());
    let found = context.interruptible(async { find.await.map_err(|error| not_found(error, &reference)) }).await?;
    for newer in &found.passed_over {
        context.printer.warn(newer);
    }
    stores::tell_foreign(&found.backup, context.printer);
    match &found.signer {
        None => access.tell_unchecked(context),
        Some(signer) => context.printer.note(format!("backup {} is signed by {signer}", found.backup.name)),
    }
    Ok(Stored { reference, found: Arc::new(found) })
}

fn not_found(error: FindError, reference: &Reference) -> Failed {
    let store = &reference.store;
    let list = format!("see which backups there are\n  kubectl etcd list {}", quoted(&store.to_string()));
    match error {
        FindError::Store(error) => stores::failed(&error),
        FindError::Choose(ChooseError::Several(newest)) => {
            const SHOWN: usize = 20;
            let failed = Failed::new(Exit::Usage, format!("{store} has backups of {} clusters", newest.len()));
            let failed = failed.causes(newest.iter().take(SHOWN).map(ToString::to_string));
            let example = newest
                .iter()
                .find(|one| one.backup.is_some())
                .or(newest.first())
                .map(|one| Reference { cluster: Some(one.cluster.clone()), ..reference.clone() });
            example.into_iter().fold(failed, |failed, example| {
                failed.hint(format!("name the cluster, as in\n  {}", quoted(&example.to_string())))
            })
        }
        FindError::Choose(error) => Failed::plain(format!("cannot read {reference}")).source(&error).hint(list),
        error @ (FindError::Unsigned(_) | FindError::Signature { .. }) => {
            Failed::new(Exit::Refused, format!("refused to read {reference}"))
                .source(&error)
                .unchanged()
                .hint("name the public key of whoever has signed it, if you trust that key\n  --trust-key FILE")
        }
        error => Failed::new(Exit::Damaged, format!("cannot read {reference}")).source(&error).hint(list),
    }
}

/// Brings the snapshot of a backup to a file without a name.
///
/// # Errors
/// No identity fits (exit 2); the backup is damaged (exit 3); the store cannot be read; there is no room. Nothing is left behind.
pub(super) async fn fetch(stored: &Stored, access: &Access, context: &Context) -> Outcome<File> {
    let found = &stored.found;
    let name = stored.name();
    let identities = access.identities.as_ref();
    found.fits(found.data(), identities).map_err(|error| not_read(error, &name))?;
    let size = found.record.snapshot.size;
    let target = Unnamed::new(&[std::env::temp_dir()], Some(size)).map_err(|none| {
        let failed = Failed::plain(format!("cannot fetch {name}")).causes(none.refused);
        let full =
            none.full.map(|folder| format!("{} is too full: the snapshot has {}", folder.display(), bytes(size)));
        failed.causes(full).hint("name a folder with room that can be written to\n  TMPDIR=FOLDER")
    })?;
    let watch = watch(context.printer, "fetch", found.data().size, context.cancelled());
    let open = async { found.open(identities, target, watch).await.map_err(|error| not_read(error, &name)) };
    let mut file = context.interruptible(open).await?.into_file();
    file.rewind().map_err(|error| Failed::plain(format!("cannot read {name}")).source(&error))?;
    Ok(file)
}

/// Shows how far a transfer is, and ends it once the user has interrupted.
pub(crate) fn watch(
    printer: Printer,
    what: &str,
    total: u64,
    cancelled: Arc<AtomicBool>,
) -> impl FnMut(u64) -> ControlFlow<()> + Clone + Send + 'static {
    let progress = Arc::new(Progress::new(printer, what, total));
    move |came| {
        progress.update(came, total);
        if cancelled.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// What it means that the bytes of a backup cannot be read.
pub(crate) fn not_read(error: TransferError, name: &str) -> Failed {
    match error {
        TransferError::Store(error) => stores::failed(&error),
        TransferError::Ended => Failed::new(Exit::Interrupted, format!("stopped reading {name}")),
        error @ TransferError::NoIdentityFits { .. } => Failed::new(Exit::Usage, format!("cannot decrypt {name}"))
            .source(&error)
            .hint("name an identity that it is encrypted for\n  --identity FILE"),
        TransferError::Write(error) if error.kind() == io::ErrorKind::StorageFull => {
            Failed::plain(format!("cannot fetch {name}"))
                .cause("there is no room for the snapshot on the disk")
                .hint("name a folder with room\n  TMPDIR=FOLDER")
        }
        error @ TransferError::Write(_) => Failed::plain(format!("cannot fetch {name}")).source(&error),
        error => Failed::new(Exit::Damaged, format!("{name} is damaged"))
            .source(&error)
            .hint("do not restore this backup; take the one before it, or another copy"),
    }
}
