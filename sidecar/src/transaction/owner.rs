//! Whose the new data is: that of whoever has the old, level by level, with the same modes and SELinux labels.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FileType, XattrFlags};
use rustix::io::Errno;

use crate::node::Place;

const SELINUX: &str = "security.selinux";

/// Makes a new tree belong to whom the old one does. A folder is as the one of its name in the old tree, or else as the one around it;
/// a file as the one of its name, or else as another one of its kind (`.wal`, `.snap`), whose names are never the same. Where there is none, it gets
/// owner and label of the folder, and keeps its mode.
pub(super) fn adopt(old: &Place, new: &Place) -> io::Result<()> {
    let (like, folder) = (old.open()?, new.open()?);
    let there = old.names()?;
    for name in new.names()? {
        let (one, same) = (new.join(&name), old.join(&name));
        if is(&one, FileType::Directory)? {
            let like = if same.is_folder()? { &same } else { old };
            adopt(like, &one)?;
            continue;
        }
        let file = one.open_file()?;
        let kind = |other: &&std::ffi::OsString| extension(other).is_some() && extension(other) == extension(&name);
        let like_file = if there.contains(&name) { Some(&name) } else { there.iter().rev().find(kind) };
        let like_file = like_file.map(|name| old.join(name));
        match like_file {
            Some(like) if is(&like, FileType::RegularFile)? => give(&like.open_file()?, &file)?,
            _ => {
                let mode = file.metadata()?.mode();
                give(&like, &file)?;
                file.set_permissions(PermissionsExt::from_mode(mode & 0o777))?;
            }
        }
    }
    give(&like, &folder)
}

fn extension(name: &OsStr) -> Option<&OsStr> {
    Path::new(name).extension()
}

fn is(place: &Place, kind: FileType) -> io::Result<bool> {
    Ok(place.stat()?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind))
}

/// Owner, group, mode and label.
pub(super) fn give(like: &File, to: &File) -> io::Result<()> {
    let metadata = like.metadata()?;
    std::os::unix::fs::fchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    // After the owner: a change of owner takes bits away.
    to.set_permissions(PermissionsExt::from_mode(metadata.mode() & 0o7777))?;
    give_label(like, to)
}

/// The SELinux label, where there is one.
pub(super) fn give_label(like: &File, to: &File) -> io::Result<()> {
    let mut buffer = vec![0; 512];
    match rustix::fs::fgetxattr(like, SELINUX, &mut buffer[..]) {
        Ok(length) => match rustix::fs::fsetxattr(to, SELINUX, &buffer[..length], XattrFlags::empty()) {
            // A file system that is mounted with context= has one label for all files, which can be read and not set.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        },
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use fs_err as fs;

    use super::*;

    fn set(path: &Path, owner: (u32, u32), mode: u32) {
        // Only root can give a file to somebody else.
        if rustix::process::geteuid().is_root() {
            lchown(path, Some(owner.0), Some(owner.1)).unwrap();
        }
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn shown(path: &Path) -> (u32, u32, u32) {
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
    }

    /// A member's folder as etcd has it, and a new one as the engine makes it.
    fn trees(root: &Path) -> (Place, Place) {
        for (tree, log, snap) in
            [("old", "0-1.wal", "0000000000000002-0000000000000003.snap"), ("new", "0-0.wal", "0-1.snap")]
        {
            for folder in ["snap", "wal"] {
                fs::create_dir_all(root.join(tree).join(folder)).unwrap();
                fs::set_permissions(root.join(tree).join(folder), std::fs::Permissions::from_mode(0o700)).unwrap();
            }
            for file in ["snap/db".to_owned(), format!("wal/{log}"), format!("snap/{snap}")] {
                let path = root.join(tree).join(file);
                fs::write(&path, "").unwrap();
                fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        (Place::new(root).join("old"), Place::new(root).join("new"))
    }

    #[test]
    fn every_level_is_as_it_was() {
        // Owner, group and mode of the folder, of those in it, and of the files: root's own, CIS 1.1.11 and 1.1.12, and odd ones.
        let (root, etcd, other) = ((0, 0), (2001, 2002), (2003, 2004));
        let cases = [
            ((root, 0o700), (root, 0o700), (root, 0o600)),
            ((etcd, 0o700), (etcd, 0o700), (etcd, 0o600)),
            ((etcd, 0o750), (other, 0o2770), (root, 0o640)),
            ((other, 0o500), (etcd, 0o711), (other, 0o400)),
        ];
        for (top, folders, files) in cases {
            let folder = tempfile::tempdir().unwrap();
            let (old, new) = trees(folder.path());
            let at = |place: &Place, name: &str| place.join(name).path();
            for name in ["snap/db", "snap/0000000000000002-0000000000000003.snap", "wal/0-1.wal"] {
                set(&at(&old, name), files.0, files.1);
            }
            for name in ["snap", "wal"] {
                set(&at(&old, name), folders.0, folders.1);
            }
            set(&old.path(), top.0, top.1);
            adopt(&old, &new).unwrap();
            assert_eq!(shown(&new.path()), shown(&old.path()));
            for (name, like) in [
                ("snap", "snap"),
                ("wal", "wal"),
                ("snap/db", "snap/db"),
                ("wal/0-0.wal", "wal/0-1.wal"),
                ("snap/0-1.snap", "snap/0000000000000002-0000000000000003.snap"),
            ] {
                assert_eq!(shown(&at(&new, name)), shown(&at(&old, like)), "{name}");
            }
        }
    }

    #[test]
    fn what_has_no_like_belongs_to_the_folders_owner_and_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = trees(folder.path());
        fs::remove_file(old.join("snap/0000000000000002-0000000000000003.snap").path()).unwrap();
        fs::remove_dir_all(old.join("wal").path()).unwrap();
        set(&old.path(), (2001, 2002), 0o755);
        set(&old.join("snap").path(), (2001, 2002), 0o755);
        adopt(&old, &new).unwrap();
        let (owner, group, _) = shown(&old.path());
        assert_eq!(shown(&new.join("snap/0-1.snap").path()), (owner, group, 0o600));
        assert_eq!(shown(&new.join("wal/0-0.wal").path()), (owner, group, 0o600));
        assert_eq!(shown(&new.join("wal").path()), (owner, group, 0o755));
    }

    #[test]
    fn links_in_the_old_data_are_no_likes_and_in_the_new_data_nothing_is_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = trees(folder.path());
        let victim = folder.path().join("victim");
        fs::write(&victim, "").unwrap();
        set(&victim, (0, 0), 0o644);
        set(&old.join("snap").path(), (2001, 2002), 0o700);
        fs::remove_file(old.join("snap/db").path()).unwrap();
        symlink(&victim, old.join("snap/db").path()).unwrap();
        adopt(&old, &new).unwrap();
        let (owner, group, _) = shown(&old.join("snap").path());
        assert_eq!(shown(&new.join("snap/db").path()), (owner, group, 0o600));
        symlink(&victim, new.join("snap/link").path()).unwrap();
        let before = shown(&victim);
        assert!(adopt(&old, &new).is_err());
        assert_eq!(shown(&victim), before);
    }

    /// A label can be set where the kernel has no SELinux, too, by whoever may.
    #[test]
    fn the_label_goes_along() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = trees(folder.path());
        let label = b"system_u:object_r:etcd_var_lib_t:s0\0";
        let like = old.join("snap/db").open_file().unwrap();
        if rustix::fs::fsetxattr(&like, SELINUX, label, XattrFlags::empty()).is_err() {
            return;
        }
        adopt(&old, &new).unwrap();
        let mut buffer = [0; 64];
        let length = rustix::fs::fgetxattr(new.join("snap/db").open_file().unwrap(), SELINUX, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], label);
    }
}
