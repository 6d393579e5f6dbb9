//! A restore that does not come to its end leaves nothing, and touches nothing of anybody's.

#![cfg(unix)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use etcd_snapshot::restore::{
    Destination, Membership, NewCluster, RestoreError, RestoreOptions, RestoreProgress, Restored, restore,
};
use etcd_snapshot::{DigestCheck, Source, VerifyError};
use support::builder::{Image, bucket, inline, row, row_key};
use support::unpack;

const OPTIONS: RestoreOptions<'_> = RestoreOptions {
    bump: 1000,
    digest: DigestCheck::Compute,
    etcd_version: None,
    allow_older_etcd: false,
    cancel: None,
};

const WAL: &str = "0000000000000000-0000000000000000.wal";

fn one() -> Membership {
    let cluster = NewCluster {
        name: "default".to_owned(),
        initial_cluster: "default=http://localhost:2380".to_owned(),
        initial_cluster_token: "etcd-cluster".to_owned(),
        initial_advertise_peer_urls: Some("http://localhost:2380".to_owned()),
    };
    cluster.validate().expect("a cluster")
}

fn snapshot() -> Vec<u8> {
    unpack("snapshots/3.5.30.db.zst")
}

/// A snapshot of some megabytes, so that there is much to interrupt.
fn large() -> Vec<u8> {
    let (rows, each) = (40_u64, 100);
    let mut image = Image::new(5 + rows * each);
    // The branch page takes two.
    let page = |index| 5 + index * each;
    let index = (0, b"consistent_index".to_vec(), 7_u64.to_be_bytes().to_vec());
    image.leaf(2, &[bucket("key", 3), inline("meta", &[index])]);
    image.branch(3, &(0..rows).map(|index| (row_key(index + 2), page(index))).collect::<Vec<_>>());
    for index in 0..rows {
        // Its pages to the last one: 16 bytes of header and of element, 17 of key.
        let mut item = row(index + 2, "k", 0);
        item.2.extend([0x10, 2, 0x18, index as u8 + 2, 0x20, index as u8 + 1, 0x2a, 0xb0, 0x9f, 0x06]);
        item.2.extend(vec![0x20; 102_320]);
        image.leaf(page(index), &[item]);
    }
    image.file()
}

/// Everything under a folder: path, mode, time of change, and bytes of files.
fn state(folder: &Path) -> Vec<(PathBuf, u32, i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).expect("it was just found");
        let mut bytes = Vec::new();
        // A folder's own time tells of what came and went; only what is there counts.
        let mut changed = 0;
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else {
            changed = metadata.mtime_nsec();
            bytes = fs::read(&path).unwrap_or_default();
        }
        found.push((path, metadata.mode(), changed, bytes));
    }
    found.sort();
    found
}

/// Restores what must be refused, and compares everything in the folder before and after.
fn refused(
    folder: &Path,
    source: &dyn Source,
    destination: &Destination,
    options: &RestoreOptions<'_>,
) -> RestoreError {
    let before = state(folder);
    let error = restore(source, &one(), destination, options, &|_| {}).expect_err("it must be refused");
    assert_eq!(state(folder), before, "{error}");
    error
}

fn at(data_dir: PathBuf) -> Destination {
    Destination { data_dir, wal_dir: None }
}

#[test]
fn a_snapshot_that_is_not_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = at(folder.path().join("data"));
    let refused =
        |bytes: Vec<u8>, digest| refused(folder.path(), &bytes, &data_dir, &RestoreOptions { digest, ..OPTIONS });
    let sound = snapshot();

    // Bytes of a value carry no checksum but the digest: `etcdutl snapshot status` does not see it.
    let mut flipped = sound.clone();
    let value = flipped.windows(10).position(|bytes| bytes == b"kubernetes").expect("a value has that word");
    flipped[value] ^= 1;
    assert!(matches!(refused(flipped.clone(), DigestCheck::Compute), RestoreError::Verify(VerifyError::Damaged(_))));
    let mut wrong = [0; 32];
    wrong.copy_from_slice(&sound[sound.len() - 32..]);
    wrong[0] ^= 1;
    assert!(matches!(refused(sound.clone(), DigestCheck::Known(wrong)), RestoreError::Verify(VerifyError::Damaged(_))));

    let mut broken = sound.clone();
    // The header of page 5: it says it is another.
    broken[5 * 4096] ^= 0xff;
    for digest in [DigestCheck::Compute, DigestCheck::Skip] {
        assert!(matches!(refused(broken.clone(), digest), RestoreError::Verify(VerifyError::Damaged(_))));
    }
    for length in [0, 100, 4096, sound.len() / 2, sound.len() - 33] {
        let error = refused(sound[..length].to_vec(), DigestCheck::Skip);
        assert!(
            matches!(error, RestoreError::Verify(VerifyError::NotASnapshot(_) | VerifyError::Truncated { .. })),
            "{error}"
        );
    }
    let copy = unpack("restored/u351.db.zst");
    assert!(matches!(refused(copy, DigestCheck::Compute), RestoreError::NoDigest));
}

#[test]
fn a_source_that_cannot_be_read_to_its_end() {
    struct Failing(Vec<u8>, u64);
    impl Source for Failing {
        fn len(&self) -> u64 {
            Source::len(&self.0)
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            if offset > self.1 { Err(std::io::Error::other("the disk")) } else { self.0.read_at(offset, buffer) }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    for limit in [100_000, 300_000, 590_000] {
        let error = refused(folder.path(), &Failing(snapshot(), limit), &at(folder.path().join("data")), &OPTIONS);
        assert!(matches!(error, RestoreError::Verify(VerifyError::Io(_))), "{error}");
    }
}

#[test]
fn a_newer_etcds_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, version, fits) in [
        ("3.4.23", (3, 4), true),
        ("3.5.30", (3, 4), false),
        ("3.6.14", (3, 5), false),
        ("3.6.14", (3, 6), true),
        ("3.7.1", (3, 6), false),
        ("3.7.1", (4, 0), true),
    ] {
        let bytes = unpack(&format!("snapshots/{name}.db.zst"));
        let destination = at(folder.path().join(format!("{name}-{fits}")));
        let options = RestoreOptions { etcd_version: Some(version), ..OPTIONS };
        if fits {
            restore(&bytes, &one(), &destination, &options, &|_| {}).expect(name);
            continue;
        }
        match refused(folder.path(), &bytes, &destination, &options) {
            RestoreError::NewerEtcd { snapshot, server } => {
                assert!(name.starts_with(&snapshot));
                assert_eq!(server, format!("{}.{}", version.0, version.1));
            }
            error => panic!("{error}"),
        }
        let options = RestoreOptions { allow_older_etcd: true, ..options };
        restore(&bytes, &one(), &destination, &options, &|_| {}).expect(name);
    }
}

#[test]
fn a_data_directory_with_something_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    fs::create_dir_all(data_dir.join("member/snap")).expect("room");
    let database = data_dir.join("member/snap/db");
    fs::write(&database, "somebody's").expect("room");
    let error = refused(folder.path(), &snapshot(), &at(data_dir.clone()), &OPTIONS);
    assert!(matches!(error, RestoreError::DataDirNotEmpty(path) if path == data_dir));

    // As bbolt does.
    let running = fs::File::open(&database).expect("a file");
    running.lock().expect("nobody else has it");
    let error = refused(folder.path(), &snapshot(), &at(data_dir.clone()), &OPTIONS);
    assert!(matches!(error, RestoreError::DataDirInUse(path) if path == data_dir));
}

#[test]
fn places_where_no_directory_can_be() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), "somebody's").expect("room");
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).expect("room");
    for data_dir in ["file", "file/below", "file/far/below", "link", "link/below"] {
        let error = refused(folder.path(), &snapshot(), &at(folder.path().join(data_dir)), &OPTIONS);
        assert!(matches!(error, RestoreError::Io { .. }), "{data_dir}: {error}");
    }
    assert!(matches!(
        refused(folder.path(), &snapshot(), &at(PathBuf::from("/")), &OPTIONS),
        RestoreError::DataDirNotEmpty(_)
    ));
    assert!(matches!(refused(folder.path(), &snapshot(), &at(PathBuf::new()), &OPTIONS), RestoreError::Io { .. }));
}

#[test]
fn logs_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let at = |data_dir: &str, wal_dir: &str| Destination { data_dir: path(data_dir), wal_dir: Some(path(wal_dir)) };
    for (data_dir, wal_dir) in
        [("data", "data"), ("data", "data/wal"), ("wal/data", "wal"), ("data", "data/member/snap")]
    {
        let error = refused(folder.path(), &snapshot(), &at(data_dir, wal_dir), &OPTIONS);
        assert!(matches!(error, RestoreError::DirectoriesOverlap { .. }), "{data_dir} {wal_dir}: {error}");
    }
    fs::create_dir(path("full")).expect("room");
    fs::write(path("full/0.wal"), "somebody's").expect("room");
    let error = refused(folder.path(), &snapshot(), &at("data", "full"), &OPTIONS);
    assert!(matches!(error, RestoreError::WalDirNotEmpty(found) if found == path("full")));
    assert!(matches!(
        refused(folder.path(), &snapshot(), &at("a/b", "full/0.wal/c"), &OPTIONS),
        RestoreError::Io { .. }
    ));

    // One that is there keeps its mode; one that is not is made; the default by its name is the default.
    fs::create_dir(path("empty")).expect("room");
    fs::set_permissions(path("empty"), fs::Permissions::from_mode(0o750)).expect("my own");
    fs::create_dir(path("empty/lost+found")).expect("room");
    for (data_dir, wal_dir, mode) in [("1", "empty", 0o750), ("2", "new", 0o700), ("3", "3/member/wal", 0o700)] {
        restore(&snapshot(), &one(), &at(data_dir, wal_dir), &OPTIONS, &|_| {}).expect(data_dir);
        assert_eq!(fs::metadata(path(wal_dir)).expect("a folder").mode() & 0o7777, mode);
        assert_eq!(fs::metadata(path(wal_dir).join(WAL)).expect("a log").mode() & 0o7777, 0o600);
        assert_eq!(path(data_dir).join("member/wal").exists(), data_dir == "3");
    }
}

#[test]
fn directories_above_are_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let destination = Destination { data_dir: path("a/b/data"), wal_dir: Some(path("a/c/wal")) };
    let mut damaged = snapshot();
    damaged[50_000] ^= 1;
    refused(folder.path(), &damaged, &destination, &OPTIONS);
    restore(&snapshot(), &one(), &destination, &OPTIONS, &|_| {}).expect("a sound snapshot");
    for made in ["a", "a/b", "a/c"] {
        assert_eq!(fs::metadata(path(made)).expect("a folder").mode() & 0o7777, 0o700, "{made}");
    }
    assert!(path("a/c/wal").join(WAL).exists() && path("a/b/data/member/snap/db").exists());
}

#[test]
fn a_directory_that_is_there_and_empty_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    // What a filesystem has, and what a restore leaves when the machine stops.
    for leftover in ["lost+found", ".member.partial-0123456789abcdef"] {
        fs::create_dir_all(data_dir.join(leftover)).expect("room");
    }
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o755)).expect("my own");
    let inode = fs::metadata(&data_dir).expect("a folder").ino();
    restore(&snapshot(), &one(), &at(data_dir.clone()), &OPTIONS, &|_| {}).expect("a sound snapshot");
    let metadata = fs::metadata(&data_dir).expect("a folder");
    assert_eq!((metadata.ino(), metadata.mode() & 0o7777), (inode, 0o755));
    assert_eq!(fs::metadata(data_dir.join("member")).expect("a folder").mode() & 0o7777, 0o700);
    let mut names: Vec<_> =
        fs::read_dir(&data_dir).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, [".member.partial-0123456789abcdef", "lost+found", "member"]);
}

/// Restores, and does something when so many steps are done. Gives the number of steps too.
fn at_step(
    source: &dyn Source,
    destination: &Destination,
    options: &RestoreOptions<'_>,
    step: u64,
    act: impl Fn() + Sync,
) -> (Result<Restored, RestoreError>, u64) {
    let steps = AtomicU64::new(0);
    let progress = |at: RestoreProgress| {
        assert!(at.done <= at.total);
        if steps.fetch_add(1, Ordering::Relaxed) == step {
            act();
        }
    };
    let result = restore(source, &one(), destination, options, &progress);
    (result, steps.into_inner())
}

#[test]
fn a_cancelled_one_at_any_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = large();
    let destination = Destination { data_dir: folder.path().join("data"), wal_dir: Some(folder.path().join("wal")) };
    let before = state(folder.path());
    for step in 0.. {
        let cancel = AtomicBool::new(false);
        let options = RestoreOptions { cancel: Some(&cancel), ..OPTIONS };
        let (result, steps) = at_step(&source, &destination, &options, step, || cancel.store(true, Ordering::Relaxed));
        match result {
            Err(error) => {
                assert!(matches!(error, RestoreError::Verify(VerifyError::Cancelled)), "{step}: {error}");
                assert_eq!(state(folder.path()), before, "{step}");
            }
            // The last steps are too late.
            Ok(_) => {
                assert!(step > 8 && step + 3 > steps, "{step} of {steps}");
                break;
            }
        }
    }
}

/// Somebody else makes the directory while it is built, or puts a log into the one for the log.
#[test]
fn others_are_faster() {
    let source = large();
    for in_the_way in ["data/member/snap/db", "wal/0000000000000000-0000000000000000.wal"] {
        for data_dir_exists in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join(in_the_way);
            let destination =
                Destination { data_dir: folder.path().join("data"), wal_dir: Some(folder.path().join("wal")) };
            if data_dir_exists {
                fs::create_dir(folder.path().join("data")).expect("room");
            }
            let act = || {
                fs::create_dir_all(path.parent().expect("a folder")).expect("room");
                fs::write(&path, "somebody's").expect("room");
            };
            let (result, _) = at_step(&source, &destination, &OPTIONS, 2, act);
            assert!(matches!(result, Err(RestoreError::Io { .. })), "{in_the_way}: {result:?}");
            let left = state(folder.path());
            let files: Vec<_> = left.iter().filter(|(path, ..)| path.is_file()).collect();
            assert!(matches!(files[..], [(found, .., bytes)] if *found == path && bytes == b"somebody's"), "{left:?}");
            assert!(!left.iter().any(|(path, ..)| path.to_string_lossy().contains("partial")), "{left:?}");
        }
    }
}

/// Only root can make a filesystem that is too small.
#[test]
fn a_full_disk() {
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(&self.0).status();
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let small = folder.path().join("small");
    fs::create_dir(&small).expect("room");
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&small).stderr(std::process::Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        return;
    }
    let small = Mounted(small);
    for destination in [at(small.0.join("data")), at(small.0.clone())] {
        match refused(&small.0, &large(), &destination, &OPTIONS) {
            RestoreError::Io { path, source, .. } => {
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                assert!(path.ends_with("member/snap/db") || path.ends_with("snap/db"));
            }
            error => panic!("{error}"),
        }
    }
    restore(&snapshot(), &one(), &at(small.0.join("data")), &OPTIONS, &|_| {}).expect("there is room for a small one");
}

/// Once the directory is there, all of it is.
#[test]
fn a_directory_is_never_there_without_its_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, data_dir) = (large(), folder.path().join("data"));
    let seen = AtomicBool::new(false);
    let destination = at(data_dir.clone());
    restore(&source, &one(), &destination, &OPTIONS, &|_| seen.store(data_dir.exists(), Ordering::Relaxed))
        .expect("a sound snapshot");
    assert!(!seen.into_inner());
    assert!(data_dir.join("member/wal").join(WAL).exists());
}

/// A disk that does not give back what it got.
#[test]
fn what_was_written_wrongly() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().expect("a folder");
    let source = large();
    let before = state(folder.path());
    let options = RestoreOptions { digest: DigestCheck::Skip, ..OPTIONS };
    let flipped = AtomicBool::new(false);
    let result = restore(&source, &one(), &at(folder.path().join("data")), &options, &|at: RestoreProgress| {
        // Some of it is read again by now; the values of the last leaf are not.
        if at.done * 3 > at.total * 2 && !flipped.swap(true, Ordering::Relaxed) {
            let partial =
                fs::read_dir(folder.path()).expect("a folder").next().expect("what is built").expect("an entry").path();
            let database =
                fs::File::options().read(true).write(true).open(partial.join("member/snap/db")).expect("a database");
            let position = database.metadata().expect("a file").len() - 50_000;
            let mut byte = [0];
            database.read_exact_at(&mut byte, position).expect("a byte");
            database.write_all_at(&[byte[0] ^ 1], position).expect("room");
        }
    });
    assert!(flipped.into_inner());
    assert!(matches!(&result, Err(RestoreError::ReadBack(what)) if what.contains("the rows")), "{result:?}");
    assert_eq!(state(folder.path()), before);
}
