use std::io::Write;

use etcd_snapshot::Source;

use super::*;

/// A folder, with one file in it.
struct Place {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Place {
    fn of(name: &str, bytes: &[u8]) -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("written");
        Place { folder, file }
    }

    fn open(&self) -> Outcome<SnapshotFile> {
        let opened = SnapshotFile::open_here(&self.file, None, Printer::new(true), &AtomicBool::new(false));
        // Also as long as it is open.
        let names: Vec<_> = std::fs::read_dir(self.folder.path()).expect("a folder").collect();
        assert_eq!(names.len(), 1, "{names:?}");
        opened
    }

    fn bytes(&self) -> Vec<u8> {
        let file = self.open().unwrap_or_else(|failed| panic!("{failed}"));
        let mut bytes = vec![0; usize::try_from(file.source().len()).expect("a length")];
        file.source().read_at(0, &mut bytes).expect("read");
        bytes
    }
}

/// What nothing is recognised as, and does not compress to nothing.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n * n / 7) as u8).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("compressed")
}

/// A frame that a reader passes over: RFC 8878, 3.1.2.
fn skippable() -> Vec<u8> {
    [&[0x5A, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"abc"].concat()
}

#[test]
fn compressed_files_are_read_whole() {
    let whole = content(3_000_000);
    let (one, other) = whole.split_at(1_234_567);
    for (name, packed, compression) in [
        ("a.db", whole.clone(), None),
        ("a.db.gz", gzip(&whole), Some(Compression::Gzip)),
        ("several.gz", [gzip(one), gzip(b""), gzip(other)].concat(), Some(Compression::Gzip)),
        ("a.db.zst", zstd(&whole), Some(Compression::Zstd)),
        ("any-name", [skippable(), zstd(one), skippable(), zstd(b""), zstd(other)].concat(), Some(Compression::Zstd)),
    ] {
        let place = Place::of(name, &packed);
        assert!(place.bytes() == whole, "{name}");
        assert_eq!(place.open().map(|file| file.compression()).ok(), Some(compression), "{name}");
    }
}

#[test]
fn what_is_cut_or_followed_by_something_else_is_damaged() {
    let whole = content(400_000);
    for packed in [gzip(&whole), zstd(&whole)] {
        for length in [5, 12, packed.len() / 2, packed.len() - 5, packed.len() - 1] {
            let failed = Place::of("a", &packed[..length]).open().expect_err("cut");
            assert_eq!(failed.exit, Exit::Damaged, "{length}: {failed}");
            assert!(failed.to_string().contains("the file was cut"), "{length}: {failed}");
        }
        for behind in [&b"\n"[..], b"\0\0\0\0\0\0\0\0\0\0\0\0", b"not compressed at all"] {
            let failed = Place::of("a", &[&packed, behind].concat()).open().expect_err("garbage");
            let said = format!("ends at byte {}, and {} bytes of something else follow", packed.len(), behind.len());
            assert!(failed.exit == Exit::Damaged && failed.to_string().contains(&said), "{failed}");
        }
    }
    // zstd has no checksum unless that is asked for: the digest in the snapshot tells.
    let mut flipped = gzip(&whole);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    assert_eq!(Place::of("a", &flipped).open().expect_err("damaged").exit, Exit::Damaged);
}

#[test]
fn what_is_no_snapshot_is_told_by_name() {
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (name, bytes, said) in [
        ("a.db.xz", b"\xFD7zXZ\0\0\0".to_vec(), &["is compressed with xz", "xz -dk "][..]),
        ("a.zip", b"PK\x03\x04".to_vec(), &["is a zip archive", "unzip "]),
        ("a.tgz", gzip(&tar), &["is a tar archive, compressed with gzip", "tar -xf "]),
        ("a.gz", gzip(b"apiVersion: v1\n"), &["is text in YAML or JSON", ", compressed with gzip"]),
        ("a.zst", zstd(b"BZh9"), &["is compressed with bzip2, compressed with zstd", "zstd -dc "]),
        ("a.gz", gzip(&zstd(b"x")), &["is compressed twice, with gzip and zstd", "gzip -dc "]),
    ] {
        let failed = Place::of(name, &bytes).open().expect_err(name);
        assert_eq!(failed.exit, Exit::Usage, "{failed}");
        let told = failed.to_string();
        assert!(said.iter().all(|said| told.contains(said)), "{told}");
    }
    let place = Place::of("a.db", b"");
    std::fs::rename(&place.file, place.folder.path().join("a.db.json")).expect("renamed");
    assert!(SnapshotFile::open_here(&place.file, None, Printer::new(true), &AtomicBool::new(false)).is_err());
    let beside = place.folder.path().join("a.db.json");
    std::fs::write(&beside, b"{\"kind\": \"Backup\"}").expect("written");
    std::fs::write(&place.file, b"snapshot").expect("written");
    let failed =
        SnapshotFile::open_here(&beside, None, Printer::new(true), &AtomicBool::new(false)).expect_err("a document");
    assert!(failed.to_string().contains(&format!("the backup itself is\n  {}\n", place.file.display())), "{failed}");
}

#[cfg(unix)]
#[test]
fn folders_and_pipes_are_refused_before_they_are_opened() {
    let place = Place::of("a", b"");
    let open = |path: &Path| SnapshotFile::open_here(path, None, Printer::new(true), &AtomicBool::new(false));
    let pipe = place.folder.path().join("pipe");
    // No writer ever comes.
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
    let failed = open(&pipe).expect_err("a pipe");
    assert!(failed.exit == Exit::Usage && failed.to_string().contains("not a regular file"), "{failed}");
    let database = place.folder.path().join("member/snap/db");
    std::fs::create_dir_all(database.parent().expect("a folder")).expect("folders");
    std::fs::write(&database, b"").expect("written");
    for folder in [place.folder.path(), &place.folder.path().join("member")] {
        let failed = open(folder).expect_err("a folder");
        let copy = format!("cp {} etcd.db", database.display());
        assert!(failed.exit == Exit::Usage && failed.to_string().contains(&copy), "{failed}");
    }
    let odd = place.folder.path().join("a b");
    std::fs::create_dir(&odd).expect("a folder");
    std::fs::write(odd.join("db"), b"").expect("written");
    let failed = open(&odd).expect_err("a folder");
    assert!(failed.to_string().contains(&format!("cp '{}/db' etcd.db", odd.display())), "{failed}");
    std::fs::write(odd.join("b.xz"), b"\xFD7zXZ\0").expect("written");
    let failed = open(&odd.join("b.xz")).expect_err("no snapshot");
    assert!(failed.to_string().contains(&format!("xz -dk '{}/b.xz'", odd.display())), "{failed}");
    let failed = open(&place.folder.path().join("nosuch.db")).expect_err("nothing");
    assert!(failed.exit == Exit::Failed && failed.message.starts_with("cannot read "), "{failed}");
}

#[test]
fn unpacking_ends_when_it_cannot_be_done_or_is_not_wanted() {
    // A frame that says it has 2^62 bytes: RFC 8878, 3.1.1.1.
    let header = [&[0x28, 0xB5, 0x2F, 0xFD, 0xE0][..], &(1_u64 << 62).to_le_bytes()].concat();
    let failed = Place::of("bomb.zst", &header).open().expect_err("no room");
    if cfg!(unix) {
        let told = failed.to_string();
        assert!(failed.exit == Exit::Failed && told.contains("not enough room: the snapshot takes at least"), "{told}");
    }
    let place = Place::of("a.gz", &gzip(&content(1_000_000)));
    let failed =
        SnapshotFile::open_here(&place.file, None, Printer::new(true), &AtomicBool::new(true)).expect_err("unwanted");
    assert_eq!(failed.exit, Exit::Interrupted);
    // The next folder is taken where one cannot be written to.
    let file = File::open(&place.file).expect("the file");
    let (good, bad) = (tempfile::tempdir().expect("a folder"), place.folder.path().join("nosuch"));
    let progress = Progress::new(Printer::new(true), "unpack", 0);
    let unpack = |folders: &[PathBuf]| {
        let (compression, cancelled) = (Compression::Gzip, &AtomicBool::new(false));
        Unpacking { path: &place.file, file: &file, compression, folders, cancelled, progress: &progress }.run()
    };
    assert!(
        unpack(&[bad.clone(), good.path().to_owned()])
            .is_ok_and(|file| file.metadata().is_ok_and(|m| m.len() == 1_000_000))
    );
    assert_eq!(std::fs::read_dir(good.path()).expect("a folder").count(), 0);
    let failed = unpack(&[bad]).expect_err("nowhere");
    assert!(failed.to_string().contains("nosuch") && failed.to_string().contains("TMPDIR="), "{failed}");
}

#[test]
fn a_compressed_backup_has_the_names_of_both() {
    let names = |name: &str, bytes: &[u8]| -> Vec<String> {
        let file = Place::of(name, bytes).open().unwrap_or_else(|failed| panic!("{failed}"));
        file.names().iter().map(|name| name.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names("a.db", b"x"), ["a.db"]);
    assert_eq!(names("a.db.gz", &gzip(b"x")), ["a.db.gz", "a.db"]);
    assert_eq!(names("a.db.zst", &zstd(b"x")), ["a.db.zst", "a.db"]);
    assert_eq!(names("a.gz", &zstd(b"x")), ["a.gz"]);
    assert_eq!(names("a.db.gz", b"x"), ["a.db.gz"]);
}
