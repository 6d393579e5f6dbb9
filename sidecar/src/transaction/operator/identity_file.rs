//! New certificates, each in a file that an operator carries to its node. A file holds a key: nobody but its owner may read it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use etcd_transaction::{NodeSet, Operator};
use etcd_wire::restore::{Identity, RestorePlan};
use etcd_wire::{Failure, FailureCode};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::super::journal::storage;

/// More than any such file has.
const MOST: u64 = 1 << 20;
/// What a file says that it is.
const KIND: &str = "kubectl-etcd restore identity";

/// What one node gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IdentityFile {
    kind: String,
    /// The restore.
    pub(super) id: String,
    /// Whose it is.
    pub(super) node: String,
    /// Its new certificate.
    pub(super) identity: Identity,
    /// Nodes that are gone for good, without which the others decide, and the epoch of their ballots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) without: Option<(NodeSet, u8)>,
}

impl IdentityFile {
    /// What the `index`th node of a plan gets.
    pub(super) fn new(plan: &RestorePlan, index: usize, identity: Identity, order: Option<Operator>) -> IdentityFile {
        let without = match order {
            Some(Operator::Exclude { nodes, epoch }) => Some((nodes, epoch)),
            _ => None,
        };
        let node = plan.nodes.get(index).map(|node| node.node.clone()).unwrap_or_default();
        IdentityFile { kind: KIND.to_owned(), id: plan.id.clone(), node, identity, without }
    }

    /// The order that comes with it.
    pub(super) fn order(&self) -> Option<Operator> {
        self.without.map(|(nodes, epoch)| Operator::Exclude { nodes, epoch })
    }
}

/// Writes a file for each node, and gives their paths. All of them or none is there afterwards; what is there is not replaced.
///
/// # Errors
/// [`FailureCode::Refused`]: others may look into the folder, or a file is there. [`FailureCode::Storage`].
pub(super) fn write(folder: &Path, files: &[IdentityFile]) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| storage(&format!("write certificates into {}", folder.display()), &error);
    let made = match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            private(folder, &folder.symlink_metadata().map_err(failed)?, true)?;
            false
        }
        Err(error) => return Err(failed(error)),
    };
    let mut written: Vec<PathBuf> = Vec::new();
    let outcome = files.iter().try_for_each(|file| {
        let path = folder.join(format!("{}-{}.identity.json", file.id, file.node));
        // A name with a slash leads elsewhere.
        if path.parent() != Some(folder) {
            return Err(std::io::Error::other(format!("{:?} is no name of a node", file.node)));
        }
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        written.push(path);
        new.write_all(&serde_json::to_vec(file)?)?;
        new.sync_all()
    });
    let outcome = outcome.and_then(|()| File::open(folder)?.sync_all());
    let Err(error) = outcome else { return Ok(written) };
    let failure = match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let message = format!("there are certificates in {} already", folder.display());
            Failure::new(FailureCode::Refused, message)
                .source(&error)
                .hint("name another directory, or delete the earlier files if no node has taken one")
        }
        _ => failed(error),
    };
    let cleared = written.iter().try_for_each(std::fs::remove_file);
    let cleared = if made { cleared.and_then(|()| std::fs::remove_dir(folder)) } else { cleared };
    Err(match cleared {
        Ok(()) => failure,
        Err(worse) => failure.cause(format!("and what was written cannot be removed: {worse}")),
    })
}

/// Reads a node's file.
///
/// # Errors
/// [`FailureCode::Refused`]: others may read it, or it is none. [`FailureCode::Storage`]. No error shows anything of it.
pub(super) fn read(file: &Path) -> Result<IdentityFile, Failure> {
    let failed = |error: std::io::Error| storage(&format!("read {}", file.display()), &error);
    let no_links = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let open = OpenOptions::new().read(true).custom_flags(no_links).open(file).map_err(failed)?;
    private(file, &open.metadata().map_err(failed)?, false)?;
    let mut bytes = Vec::new();
    open.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
    let none = || Failure::new(FailureCode::Refused, format!("{} is no certificate file of a restore", file.display()));
    // What serde says may quote the key.
    let read: IdentityFile = serde_json::from_slice(&bytes)
        .map_err(|error| none().cause(format!("it is damaged in line {}, column {}", error.line(), error.column())))?;
    if read.kind == KIND { Ok(read) } else { Err(none()) }
}

/// Refuses what others than the user of this process may read or change.
fn private(path: &Path, found: &std::fs::Metadata, folder: bool) -> Result<(), Failure> {
    let refused = |why: &str, hint: String| {
        Err(Failure::new(FailureCode::Refused, format!("{} {why}", path.display())).hint(hint))
    };
    if found.is_dir() != folder || (!folder && !found.is_file()) {
        let what = if folder { "is no directory" } else { "is no file" };
        return refused(what, "name another one".to_owned());
    }
    if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o077 != 0 {
        let mode = if folder { "700" } else { "600" };
        let hint = format!("if it is yours\n  chown root:root {0}\n  chmod {mode} {0}", path.display());
        return refused("can be read by others, and it is for keys", hint);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::super::layout::tests::plan;
    use super::*;

    fn file(root: &Path, node: &str) -> IdentityFile {
        let identity = Identity { ca: "ca".into(), cert: "cert".into(), key: "secret".into() };
        let order = Operator::Exclude { nodes: NodeSet::of(etcd_transaction::Node(1)), epoch: 1 };
        let one = IdentityFile::new(&plan(root), 0, identity, Some(order));
        assert_eq!(one.order(), Some(order));
        IdentityFile { node: node.into(), ..one }
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn each_node_has_a_file_that_nobody_else_reads() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new");
        let files = [file(root.path(), "cp1"), file(root.path(), "cp2")];
        let written = write(&folder, &files).unwrap();
        assert_eq!(written[1], folder.join("20261121-100000-abcde-cp2.identity.json"));
        assert_eq!(folder.metadata().unwrap().mode() & 0o7777, 0o700);
        for (path, file) in written.iter().zip(&files) {
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
            assert_eq!(&read(path).unwrap(), file);
            assert!(!format!("{file:?}").contains("secret"));
        }
        // What others can read is not used.
        chmod(&written[0], 0o644);
        assert_eq!(read(&written[0]).unwrap_err().code, FailureCode::Refused);
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&written[1], &link).unwrap();
        assert_eq!(read(&link).unwrap_err().code, FailureCode::Storage);
        std::fs::write(&written[1], "{\"kind\": \"secret\", \"id\": 5").unwrap();
        let damaged = read(&written[1]).unwrap_err();
        assert!(damaged.code == FailureCode::Refused && !format!("{damaged:?}").contains("secret"), "{damaged:?}");
    }

    #[test]
    fn all_files_are_written_or_none() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new");
        let wrong = [file(root.path(), "cp1"), file(root.path(), "../cp2")];
        assert_eq!(write(&folder, &wrong).unwrap_err().code, FailureCode::Storage);
        assert!(!folder.exists());
        write(&folder, &[file(root.path(), "cp2")]).unwrap();
        let both = [file(root.path(), "cp1"), file(root.path(), "cp2")];
        assert_eq!(write(&folder, &both).unwrap_err().code, FailureCode::Refused);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "the earlier one is left alone");
        chmod(&folder, 0o755);
        assert_eq!(write(&folder, &[file(root.path(), "cp3")]).unwrap_err().code, FailureCode::Refused);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }
}
