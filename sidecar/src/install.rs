//! `etcd-sidecar install`: puts this program, or one of the image that it runs in, into a folder of its pod, from which a container of another image runs it.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use etcd_wire::{Failure, FailureCode};

use crate::on_node::OWN;

/// What the file is called there.
pub(crate) const NAME: &str = "etcd-sidecar";
/// Where images have their programs, besides PATH.
const PROGRAMS: &str = "/usr/local/bin:/usr/bin:/bin:/";

/// Where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the copy.
    folder: PathBuf,
    /// Copy this program of the image, by its name [default: the sidecar itself].
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
}

/// Copies.
///
/// # Errors
/// The copy cannot be written, or there is one; or the image has no such program.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let name = args.program.as_deref().unwrap_or(NAME);
    let program = match &args.program {
        None => PathBuf::from(OWN),
        Some(name) => find(name, std::env::var_os("PATH").as_deref())?,
    };
    copy(&program, &args.folder, name).map_err(|error| {
        let message = format!("cannot copy {name} to {}", args.folder.display());
        Failure::new(FailureCode::Storage, message).source(&error)
    })
}

/// The program of that name in the search path, or where images have programs.
fn find(name: &str, search: Option<&OsStr>) -> Result<PathBuf, Failure> {
    let is_name = matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    let folders = search.into_iter().chain([OsStr::new(PROGRAMS)]).flat_map(std::env::split_paths);
    let found = folders.map(|folder| folder.join(name)).find(|path| is_name && path.is_file());
    found.ok_or_else(|| Failure::new(FailureCode::Refused, format!("this image has no program {name}")))
}

fn copy(program: &Path, folder: &Path, name: &str) -> std::io::Result<()> {
    let mut source = File::open(program)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(folder.join(name))?;
    std::io::copy(&mut source, &mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_runs_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        copy(Path::new("/bin/true"), folder.path(), NAME).unwrap();
        assert!(std::process::Command::new(folder.path().join(NAME)).status().unwrap().success());
        assert_eq!(
            copy(Path::new("/bin/true"), folder.path(), NAME).unwrap_err().kind(),
            std::io::ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn a_program_of_the_image_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kube-apiserver"), "").unwrap();
        let search = Some(folder.path().as_os_str());
        assert_eq!(find("kube-apiserver", search).unwrap(), folder.path().join("kube-apiserver"));
        assert!(find("true", None).is_ok());
        assert_eq!(find("nosuch", search).unwrap_err().code, FailureCode::Refused);
        assert!(find("../bin/true", None).is_err() && find("/bin/true", None).is_err());
    }
}
