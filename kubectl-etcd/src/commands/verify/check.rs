//! The check of a whole file, with what it tells of its cluster on the way.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use etcd_snapshot::{Damage, Keep, Options, Pick, Report, VerifyError, live_keys};

use super::Recorded;
use crate::kube_system;
use crate::output::{Exit, Failed, Printer, Progress};
use crate::snapshot_file::SnapshotFile;

/// A file in which no damage was found.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) report: Report,
    /// What was recorded beside it, if that is of this very file.
    pub(crate) recorded: Recorded,
    /// UID of its namespace kube-system; of several API servers', the first.
    pub(crate) kube_system_uid: Option<String>,
}

/// Checks a file.
///
/// The outer error is about reading the file or about a file that is no snapshot at all, the inner about damage.
///
/// # Errors
/// See [`VerifyError`].
pub(crate) fn check(
    file: &SnapshotFile,
    cancelled: &AtomicBool,
    printer: Printer,
    what: &str,
) -> Result<Result<Checked, Box<Damage>>, VerifyError> {
    let bar = Progress::new(printer, what, 0);
    let options = Options { cancel: Some(cancelled), ..Options::default() };
    let keep = |key: &[u8]| if kube_system::is_key(key, None) { Keep::Value } else { Keep::Nothing };
    let progress = |at: etcd_snapshot::Progress| bar.update(at.hashed.min(at.walked), at.total);
    let verified = live_keys(file.source(), &options, &Pick::new(&keep), &progress);
    drop(bar);
    match verified {
        Ok((mut report, keys)) => {
            let recorded = Recorded::of(file, &report, printer);
            recorded.etcd_version.iter().for_each(|version| report.taken_from(version));
            let kube_system_uid = keys.values().find_map(|live| kube_system::uid(live.value.as_deref()?));
            Ok(Ok(Checked { report, recorded, kube_system_uid }))
        }
        Err(VerifyError::Damaged(damage)) => Ok(Err(damage)),
        Err(error) => Err(error),
    }
}

/// A file that could not be read, or is no snapshot.
pub(crate) fn explain(error: VerifyError, path: &Path) -> Failed {
    let name = path.display();
    match error {
        VerifyError::Io(error) => Failed::plain(format!("cannot read {name}")).source(&error),
        VerifyError::Cancelled => Failed::new(Exit::Interrupted, format!("stopped verifying {name}")),
        error => Failed::new(Exit::Damaged, format!("{name} is damaged or no etcd snapshot")).source(&error),
    }
}

/// What is wrong with a damaged file, and where.
pub(crate) fn damaged(path: &Path, damage: &Damage) -> Failed {
    const SHOWN: usize = 10;
    let mut failed = Failed::new(Exit::Damaged, format!("{} is damaged", path.display()))
        .causes(damage.findings.iter().take(SHOWN).map(ToString::to_string));
    let more = damage.findings.len().saturating_sub(SHOWN) as u64 + damage.omitted;
    if more > 0 {
        failed = failed.cause(format!("and {more} more; -o json shows them"));
    }
    failed.hint("do not restore this file; take another backup with\n  kubectl etcd backup")
}
