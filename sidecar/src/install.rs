//! `etcd-sidecar install`: puts this program into a folder of its pod, from which a container of another image runs it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use etcd_wire::{Failure, FailureCode};

use crate::transaction::OWN;

/// What the file is called there.
pub(crate) const NAME: &str = "etcd-sidecar";

/// Where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the copy.
    folder: PathBuf,
}

/// Copies.
///
/// # Errors
/// The copy cannot be written, or there is one.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    copy(Path::new(OWN), &args.folder).map_err(|error| {
        let message = format!("cannot copy this program to {}", args.folder.display());
        Failure::new(FailureCode::Storage, message).source(&error)
    })
}

fn copy(program: &Path, folder: &Path) -> std::io::Result<()> {
    let mut source = File::open(program)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(folder.join(NAME))?;
    std::io::copy(&mut source, &mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_runs_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        copy(Path::new("/bin/true"), folder.path()).unwrap();
        assert!(std::process::Command::new(folder.path().join(NAME)).status().unwrap().success());
        assert_eq!(copy(Path::new("/bin/true"), folder.path()).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    }
}
