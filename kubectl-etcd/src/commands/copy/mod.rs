//! `kubectl etcd copy`: a backup out of a store, or into another, its bytes as they are.

mod files;
mod target;

use std::path::PathBuf;

use etcd_store::copy::{CopyError, Done, copy, is_too_large, items};
use etcd_store::{Environment, Store, StoreUrl};

use crate::context::Context;
use crate::idle::Idle;
use crate::interruption::interrupted;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome, bytes};
use crate::snapshot_file::{AccessArgs, Stored, find, is_stored, not_read, watch};
use crate::stores;
use target::Target;

const EXAMPLES: &str = "\
Examples:
  # All objects of the newest backup, into a folder that is there
  kubectl etcd copy s3://backups/prod/latest ./safe --trust-key sign.pub

  # The snapshot alone, encrypted as it is
  kubectl etcd copy s3://backups/prod/latest etcd.db.zst.age

  # Into another store
  kubectl etcd copy s3://backups/prod/latest file:///mnt/vault";

/// Copy a backup out of a store, or into another one
///
/// Copies bytes as they are: no identity is needed, and nothing is decrypted. The bytes of the snapshot and of node files are compared with the
/// record. Whether the record is yours is checked only with --trust-key, and whether the snapshot can be restored by kubectl etcd verify alone.
///
/// Into a folder or another store all objects of the backup are copied, its record last: a copy that was cut off is no backup, and the same
/// command goes on where it stopped. A copy keeps the name, and with it the time, of the backup. To a file only the snapshot is copied. Files are readable by their owner alone. Nothing that exists is
/// overwritten: what is there with the same bytes is kept, and anything else is an error. docs/STORE.md says how to read a copy without this
/// program.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Backup in a store: STORE/latest, STORE/NAME
    backup: PathBuf,
    /// File for the snapshot alone; or a folder, or another store, for all objects
    #[arg(value_name = "FILE|FOLDER|STORE")]
    to: PathBuf,
    #[command(flatten)]
    access: AccessArgs,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        vec![Idle::connection("copy asks no cluster"), Idle::flags(&["identity"], "copy decrypts nothing")]
    }
}

/// Copies.
///
/// # Errors
/// The backup is not to be believed or damaged (exit 3, 4), something else is in the way, or something cannot be read or written. What was
/// copied before stays, and is no backup without its record.
pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    if !is_stored(&args.backup) {
        let name = args.backup.display();
        let failed = Failed::new(Exit::Usage, format!("{name} is no backup in a store"));
        return Err(failed.hint("a file is copied by\n  cp"));
    }
    let target = Target::of(&args.to)?;
    let stored = find(&args.backup, &args.access, &context).await?;
    let name = stored.name();
    let again = again(&name, &args);
    for object in stored.found.backup.objects.iter().filter(|object| is_too_large(object)) {
        context.printer.warn(format!("{} is not copied: it has {}", object.key, bytes(object.size)));
    }
    match target {
        Target::File(path) => {
            let data = stored.found.data().clone();
            let key = stored.found.backup.data();
            context.interruptible(files::object(&stored, &key, &data, &path, &context)).await?;
            context.printer.note(format!("copied {} of {name} to {}", bytes(data.size), path.display()));
        }
        Target::Folder(folder) => {
            let copying = context.interruptible(files::all(&stored, &folder, &context)).await;
            let (copied, kept) = copying.map_err(|failed| to_go_on(failed, &again))?;
            context.printer.note(summary(copied, kept, &name, &folder.display().to_string()));
        }
        Target::Store(url) => {
            let (copied, kept) = into_store(&stored, &url, &again, &context).await?;
            context.printer.note(summary(copied, kept, &name, &url.to_string()));
        }
    }
    context.printer.data(&format!("{}\n", args.to.display()))
}

fn summary(copied: u64, kept: u64, name: &str, to: &str) -> String {
    match kept {
        0 => format!("copied {copied} objects of {name} to {to}"),
        kept => format!("copied {copied} objects of {name} to {to}; {kept} were there already"),
    }
}

/// Copies all objects into another store.
async fn into_store(stored: &Stored, url: &StoreUrl, again: &str, context: &Context) -> Outcome<(u64, u64)> {
    let found = &stored.found;
    let store = Store::open(url, &Environment::of_process()).map_err(|error| stores::failed(&error))?;
    let failed = |error| told(error, &stored.name(), url, again);
    let list = async { store.list(Some(&found.backup.cluster)).await.map_err(|error| failed(CopyError::Store(error))) };
    let there = context.interruptible(list).await?;
    let (mut copied, mut kept) = (0, 0);
    for item in items(found) {
        let watch = watch(context.printer, "copy", item.size, context.cancelled());
        if context.interruption.happened() {
            return Err(to_go_on(interrupted(), again));
        }
        // The first interruption is heard by what is read, and the upload is given up then: what was sent of it stays otherwise, unseen.
        let copied_one = copy(found, &item, &store, &there, watch);
        let urged = || to_go_on(interrupted(), again);
        match context.interruption.unless_urged(urged, copied_one).await?.map_err(failed)? {
            Done::Copied => copied += 1,
            Done::Kept => kept += 1,
        }
    }
    Ok((copied, kept))
}

fn told(error: CopyError, name: &str, to: &StoreUrl, again: &str) -> Failed {
    let failed = match error {
        CopyError::Transfer(error) => not_read(error, name),
        CopyError::Left(error, parts) => not_read(error, name).effect(parts),
        CopyError::Store(error) => stores::failed(&error),
        error @ CopyError::Taken(_) => Failed::new(Exit::Refused, format!("cannot copy to {to}")).source(&error),
    };
    to_go_on(failed, again)
}

/// The command that copies the rest of this very backup, also where the latest was asked for.
fn again(name: &str, args: &Args) -> String {
    let to = args.to.display().to_string();
    let keys = args.access.trust.trust_key.iter();
    let keys = keys.map(|key| format!(" --trust-key {}", quoted(&key.display().to_string()))).collect::<String>();
    format!("kubectl etcd copy {} {}{keys}", quoted(name), quoted(&to))
}

/// What is left of a copy of all objects that has failed, and what completes it. What is damaged, or in the way, the same command meets again.
fn to_go_on(failed: Failed, again: &str) -> Failed {
    let failed = failed.effect("what was copied stays; without its record it is no backup");
    match failed.exit {
        Exit::Failed | Exit::Interrupted => failed.hint(format!("go on with\n  {again}")),
        _ => failed,
    }
}
