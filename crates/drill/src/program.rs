//! Which etcd serves the backup: a program of the user's or that of an image, and whether it can read the file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::container::Image;
use crate::{Kind, Outcome, Trouble};

/// How long the program may take to print its version.
const PATIENCE: Duration = Duration::from_secs(20);

/// How to get an etcd.
const HOW_TO_GET: &str = "get the version that the cluster runs from https://github.com/etcd-io/etcd/releases, \
    or copy it from an etcd image or a control-plane node, and name it\n  --etcd PATH";

/// Without an etcd that can read the backup there is no drill, and nothing is known of the backup.
fn refused(message: impl Into<String>) -> Trouble {
    Trouble::new(Kind::Refused, message)
}

/// A program that says of itself that it is etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is from.
    pub origin: Origin,
    /// As it prints it: `3.5.16`.
    pub version: String,
    /// Major and minor version.
    pub(crate) minor: (u32, u32),
}

/// Where an etcd is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, absolute.
    File(PathBuf),
    /// A container image.
    Image(Image),
}

impl Program {
    /// Its path; in an image it is found there.
    #[must_use]
    pub fn path(&self) -> String {
        match &self.origin {
            Origin::File(path) => path.display().to_string(),
            Origin::Image(_) => "etcd".to_owned(),
        }
    }

    /// Asks a program for its version.
    ///
    /// # Errors
    /// It cannot be run, does not answer, or is no etcd.
    pub async fn ask(path: &Path) -> Outcome<Program> {
        let name = path.display();
        let mut command = tokio::process::Command::new(path);
        command.arg("--version").env_clear().env("ETCD_UNSUPPORTED_ARCH", "arm64");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(refused(format!("cannot run {name}")).source(&error).hint(HOW_TO_GET)),
            Err(_) => {
                let why = format!("it has not printed its version within {} seconds", PATIENCE.as_secs());
                return Err(refused(format!("cannot run {name}")).cause(why).hint(HOW_TO_GET));
            }
        };
        match version(&output.stdout) {
            Some((version, minor)) => Ok(Program { origin: Origin::File(path.to_owned()), version, minor }),
            None => Err(refused(format!("{name} is no etcd"))
                .cause(format!("{name} --version prints no version of etcd ({})", output.status))
                .hint(HOW_TO_GET)),
        }
    }

    /// Whether it can read a file that was written by this version of etcd. Gives what is worth knowing.
    ///
    /// # Errors
    /// It is older.
    pub fn fits(&self, file: Option<(u32, u32)>) -> Outcome<Option<String>> {
        let text = |(major, minor): (u32, u32)| format!("{major}.{minor}");
        match file {
            Some(file) if file > self.minor => {
                let message = format!("etcd {} cannot serve a snapshot of etcd {}", self.version, text(file));
                let (kind, flag) = match self.origin {
                    Origin::File(_) => ("a program", "--etcd PATH"),
                    Origin::Image(_) => ("an image", "--etcd-image REF"),
                };
                Err(refused(message)
                    .cause("an older etcd does not know all records of the snapshot")
                    .hint(format!("name {kind} of etcd {} or later\n  {flag}", text(file))))
            }
            Some(file) if file < self.minor => Ok(Some(format!(
                "the snapshot is of etcd {}, and the drill runs {}: that etcd {} serves it is not proved",
                text(file),
                self.version,
                text(file)
            ))),
            _ => Ok(None),
        }
    }
}

/// The program that is named, or the first `etcd` of a search path.
///
/// # Errors
/// There is none.
pub fn find(named: Option<&Path>, search: Option<&OsStr>) -> Outcome<PathBuf> {
    let path = match named {
        Some(named) => named.to_owned(),
        None => in_search_path(search, "etcd").ok_or_else(|| refused("no etcd was found on PATH").hint(HOW_TO_GET))?,
    };
    // etcd is started in another folder.
    std::path::absolute(&path).map_err(|error| Trouble::plain(format!("cannot run {}", path.display())).source(&error))
}

/// What `etcd --version` prints, and the minor version that it means.
pub(crate) fn version(stdout: &[u8]) -> Option<(String, (u32, u32))> {
    let said = String::from_utf8_lossy(stdout);
    let version = said.lines().find_map(|line| line.strip_prefix("etcd Version: ")).map(str::trim)?;
    Some((version.to_owned(), etcd_snapshot::minor(version)?))
}

/// The first program of that name in a search path.
pub(crate) fn in_search_path(search: Option<&OsStr>, name: &str) -> Option<PathBuf> {
    let folders = search.into_iter().flat_map(std::env::split_paths);
    folders.map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(version: &str, minor: (u32, u32)) -> Program {
        Program { origin: Origin::File("/bin/etcd".into()), version: version.to_owned(), minor }
    }

    #[test]
    fn an_older_etcd_is_refused_and_a_newer_one_is_told() {
        let refused = program("3.4.23", (3, 4)).fits(Some((3, 6))).expect_err("older");
        assert_eq!(refused.kind, Kind::Refused);
        assert!(refused.message.contains("3.4.23") && refused.message.contains("etcd 3.6"), "{refused}");
        assert_eq!(program("3.5.16", (3, 5)).fits(Some((3, 5))).expect("the same"), None);
        assert_eq!(program("3.5.16", (3, 5)).fits(None).expect("not known"), None);
        let told = program("3.10.1", (3, 10)).fits(Some((3, 9))).expect("newer").expect("a note");
        assert!(told.contains("etcd 3.9") && told.contains("3.10.1"), "{told}");
    }

    #[test]
    fn the_first_program_of_the_search_path_is_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().expect("a folder");
        let file = |folder: &str, mode: u32| {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join("etcd"), "").expect("a file");
            std::fs::set_permissions(folder.join("etcd"), std::fs::Permissions::from_mode(mode)).expect("a mode");
            folder
        };
        let folders = [root.path().join("nosuch"), file("text", 0o644), file("first", 0o755), file("second", 0o755)];
        let search = std::env::join_paths(&folders).expect("a path");
        assert_eq!(find(None, Some(&search)).expect("found"), folders[2].join("etcd"));
        let none = find(None, Some(OsStr::new(""))).expect_err("none");
        assert!(none.to_string().contains("--etcd PATH"), "{none}");
        assert_eq!(find(Some(Path::new("/opt/etcd")), None).expect("named"), Path::new("/opt/etcd"));
    }
}
