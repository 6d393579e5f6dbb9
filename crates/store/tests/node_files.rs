//! Archives of node files, with GNU tar both ways; and what such an archive must not have.

mod common;

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use common::*;
use etcd_store::node_files::{Kind, Limits, NodeFile, NodeFilesError, NodeFilesWriter, NodePath, read_node_files};
use proptest::prelude::*;

fn read(archive: &[u8]) -> Result<Vec<NodeFile>, NodeFilesError> {
    read_within(archive, Limits::default())
}

fn read_within(archive: &[u8], limits: Limits) -> Result<Vec<NodeFile>, NodeFilesError> {
    let mut all = Vec::new();
    read_node_files(archive, limits, |file| {
        all.push(file);
        Ok(())
    })?;
    Ok(all)
}

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

fn file(at: &str, kind: Kind) -> NodeFile {
    NodeFile { path: path(at), mode: 0o640, owner: 7, group: 8, modified: 1_790_000_000, kind }
}

fn write(files: &[NodeFile]) -> Result<Vec<u8>, NodeFilesError> {
    let mut writer = NodeFilesWriter::new(Vec::new(), Limits::default());
    files.iter().try_for_each(|file| writer.append(file))?;
    writer.finish()
}

#[test]
fn gnu_tar_unpacks_ours() {
    let long = format!("etc/{}/{}/x", "l".repeat(120), "m".repeat(130));
    let link = "n".repeat(140);
    let files = [
        file("etc/kubernetes", Kind::Folder),
        file("etc/kubernetes/pki/ca.key", Kind::File(b"key".to_vec())),
        file("etc/kubernetes/empty", Kind::File(Vec::new())),
        file("etc/kubernetes/link", Kind::Link("pki/ca.key".to_owned())),
        file("etc/kubernetes/up", Kind::Link("../kubernetes/pki".to_owned())),
        file("etc/kubernetes/far", Kind::Link(link.clone())),
        file(&long, Kind::File(vec![7; 1000])),
    ];
    let archive = write(&files).unwrap();
    assert_eq!(read(&archive).unwrap(), files);
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("a.tar");
    std::fs::write(&name, &archive).unwrap();
    let done = Command::new("tar").arg("-xpf").arg(&name).arg("-C").arg(folder.path()).output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    let at = |below: &str| folder.path().join(below);
    assert_eq!(std::fs::read(at("etc/kubernetes/pki/ca.key")).unwrap(), b"key");
    assert_eq!(std::fs::read(at(&long)).unwrap(), vec![7; 1000]);
    let metadata = std::fs::metadata(at("etc/kubernetes/pki/ca.key")).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.mtime()), (0o640, 1_790_000_000));
    assert_eq!(std::fs::read_link(at("etc/kubernetes/far")).unwrap().to_str(), Some(link.as_str()));
}

#[test]
fn archives_of_gnu_tar_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("etc/{}/{}", "l".repeat(120), "m".repeat(130));
    std::fs::create_dir_all(folder.path().join(&long)).unwrap();
    std::fs::write(folder.path().join(&long).join("x"), b"content").unwrap();
    std::os::unix::fs::symlink("x", folder.path().join(&long).join("link")).unwrap();
    for format in ["gnu", "posix", "ustar"] {
        let made = Command::new("tar")
            .args([
                "-C",
                folder.path().to_str().unwrap(),
                &format!("--format={format}"),
                "--sort=name",
                "-cf",
                "-",
                "./etc",
            ])
            .output()
            .unwrap();
        let files = match made.status.success() {
            true => read(&made.stdout).unwrap(),
            // The oldest format has no room for such names, and tar says so.
            false => {
                assert_eq!(format, "ustar");
                continue;
            }
        };
        let found = |at: &str| files.iter().find(|file| file.path.as_str() == at).map(|file| file.kind.clone());
        assert_eq!(found(&format!("{long}/x")), Some(Kind::File(b"content".to_vec())), "{format}");
        assert_eq!(found(&format!("{long}/link")), Some(Kind::Link("x".to_owned())), "{format}");
        assert_eq!(found("etc"), Some(Kind::Folder), "{format}");
    }
    // A hard link and a pipe are what a folder of certificates does not have.
    std::fs::hard_link(folder.path().join(&long).join("x"), folder.path().join("etc/hard")).unwrap();
    let pack = |names: &[&str]| {
        Command::new("tar").arg("-C").arg(folder.path()).args(["-cf", "-"]).args(names).output().unwrap().stdout
    };
    let error = read(&pack(&[&format!("{long}/x"), "etc/hard"])).unwrap_err();
    assert!(error.to_string().contains("hard link"), "{error}");
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    assert!(read(&pack(&["pipe"])).unwrap_err().to_string().contains("is a pipe"));
}

/// An archive with one entry as somebody else makes it.
fn raw(name: &str, kind: tar::EntryType, target: Option<&str>, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let field = &mut header.as_old_mut().name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    if let Some(target) = target {
        header.set_link_name_literal(target).unwrap();
    }
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn nothing_leads_out_of_the_folder() {
    use tar::EntryType as Type;
    for (name, kind, target, said) in [
        ("/etc/passwd", Type::Regular, None, "absolute"),
        ("../x", Type::Regular, None, "\"..\""),
        ("a/../../x", Type::Regular, None, "\"..\""),
        ("a//b", Type::Regular, None, "\"\""),
        ("a/./b", Type::Regular, None, "\".\""),
        ("./", Type::Directory, None, "is empty"),
        ("a\nb", Type::Regular, None, "control characters"),
        ("a", Type::Symlink, Some("/etc/passwd"), "leads out"),
        ("a", Type::Symlink, Some("../x"), "leads out"),
        ("a/b", Type::Symlink, Some("../../x"), "leads out"),
        ("a/b", Type::Symlink, Some("c/../../x"), "leads out"),
        ("a/b/c", Type::Symlink, Some("d/.."), "leads out"),
        ("a", Type::Link, Some("b"), "hard link"),
        ("a", Type::Char, None, "device"),
        ("a", Type::Block, None, "device"),
        ("a", Type::Fifo, None, "pipe"),
        ("a", Type::Continuous, None, "neither"),
        ("a", Type::XGlobalHeader, None, "neither"),
    ] {
        let error = read(&raw(name, kind, target, b"")).expect_err(name);
        assert!(error.to_string().contains(said), "{name}: {error}");
    }
    // Through a link that lies inside, and twice under one name.
    for (files, said) in [
        ([file("a", Kind::Link("b".into())), file("a/x", Kind::File(vec![]))], "below something that is no folder"),
        ([file("a", Kind::File(vec![])), file("a/x", Kind::Folder)], "below something that is no folder"),
        ([file("a", Kind::File(vec![])), file("a", Kind::File(vec![]))], "there twice"),
        ([file("a/x", Kind::File(vec![])), file("a", Kind::Link("b".into()))], "there twice"),
    ] {
        // Neither written nor read.
        assert!(write(&files).unwrap_err().to_string().contains(said));
        let [first, second] = files.map(|file| write(&[file]).unwrap());
        let both = [&first[..first.len() - 1024], &second].concat();
        let error = read(&both).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(write(&[file("a", Kind::Link("../x".into()))]).is_err());
}

#[test]
fn an_archive_has_bounds() {
    let files = [file("a", Kind::File(vec![1; 1000])), file("b", Kind::File(vec![1; 1000])), file("c", Kind::Folder)];
    let archive = write(&files).unwrap();
    let limits = Limits { entries: 3, file: 1000, total: 2000 };
    assert_eq!(read_within(&archive, limits).unwrap().len(), 3);
    for less in [Limits { entries: 2, ..limits }, Limits { file: 999, ..limits }, Limits { total: 1999, ..limits }] {
        assert!(read_within(&archive, less).is_err(), "{less:?}");
    }
    // A name without end.
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 50);
    header.set_cksum();
    let endless = io::Read::chain(&header.as_bytes()[..], io::repeat(b'a'));
    let small = Limits { entries: 10, file: 10, total: 10 };
    assert!(read_node_files(endless, small, |_| Ok(())).is_err());
}

#[test]
fn an_archive_ends_where_it_ends() {
    let archive = node_files();
    let whole = read(&archive).unwrap().len();
    for end in 0..archive.len() - 1 {
        assert!(read(&archive[..end]).is_err(), "cut at {end} of {}", archive.len());
    }
    let mut longer = archive.clone();
    longer.resize(archive.len() + 10_240, 0);
    assert_eq!(read(&longer).unwrap().len(), whole);
    longer.push(1);
    assert!(matches!(read(&longer), Err(NodeFilesError::Longer)));
    let twice = [&archive[..], &archive[..]].concat();
    assert!(matches!(read(&twice), Err(NodeFilesError::Longer)));
    // What the visitor says counts.
    let stopped = read_node_files(&archive[..], Limits::default(), |_| Err(io::ErrorKind::StorageFull.into()));
    assert!(matches!(stopped, Err(NodeFilesError::Io(error)) if error.kind() == io::ErrorKind::StorageFull));
}

proptest! {
    #[test]
    fn no_changed_byte_makes_another_path(place in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut archive = node_files();
        let at = place.index(archive.len());
        archive[at] ^= flip;
        if let Ok(files) = read(&archive) {
            for file in files {
                prop_assert!(!file.path.as_str().starts_with('/') && !file.path.as_str().split('/').any(|part| part == ".."));
            }
        }
    }

    #[test]
    fn whatever_is_written_is_read(parts in proptest::collection::vec("[a-zA-Z0-9._ -]{1,40}", 1..6), content: Vec<u8>) {
        let text = parts.join("/");
        if let Ok(path) = NodePath::parse(&text) {
            let one = NodeFile { path, ..file("a", Kind::File(content)) };
            prop_assert_eq!(read(&write(std::slice::from_ref(&one)).unwrap()).unwrap(), vec![one]);
        }
    }
}
