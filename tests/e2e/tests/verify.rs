//! `kubectl etcd verify` through the binary, offline: the vendor's figures for every file, and damage of every kind.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use e2e::{Ran, etcdutl, plugin, run, unpacked, vendor, workspace};
use serde_json::Value;

/// A folder with one file in it, and no cluster anywhere.
struct Offline {
    folder: tempfile::TempDir,
}

impl Offline {
    fn new() -> Offline {
        Offline { folder: tempfile::tempdir().unwrap() }
    }

    fn verify(&self, name: &str) -> Ran {
        let mut command = Command::new(plugin());
        command.args(["verify", name, "-o", "json"]).current_dir(self.folder.path());
        command.env("KUBECONFIG", "/nonexistent").env("HOME", self.folder.path());
        run(command)
    }

    /// Verifies these bytes, and that they and their time are as they were.
    fn of(&self, bytes: &[u8]) -> Ran {
        let path = self.folder.path().join("a.db");
        std::fs::write(&path, bytes).unwrap();
        let past = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        let ran = self.verify("a.db");
        assert!(std::fs::read(&path).unwrap() == bytes, "verify has changed the file");
        assert_eq!(path.metadata().unwrap().modified().unwrap(), past, "verify has touched the file");
        assert_eq!(e2e::names(self.folder.path()), ["a.db"]);
        ran
    }

    fn damaged(&self, bytes: &[u8], what: &str) {
        let ran = self.of(bytes);
        assert_eq!(ran.status.code(), Some(3), "{what}: {}{}", ran.stdout, ran.stderr);
        assert!(
            ran.stderr.contains("error: a.db is damaged") && ran.stderr.contains("cause: "),
            "{what}: {}",
            ran.stderr
        );
    }
}

fn recorded(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn equal(ours: &Value, theirs: &Value, figures: &[&str], name: &str) {
    for figure in figures {
        assert_eq!(ours[figure], theirs[figure], "{name}: {figure}");
    }
}

const FOUR: [&str; 4] = ["hash", "revision", "totalKey", "totalSize"];

#[test]
fn recorded_snapshots_have_the_figures_of_the_tool_of_their_version() {
    let offline = Offline::new();
    for version in ["3.4.23", "3.5.1", "3.5.30", "3.6.14", "3.7.1", "kubeadm-ha"] {
        let ran = offline.of(&unpacked(&format!("snapshots/{version}.db.zst"))).expect_code(0);
        let ours = ran.json();
        let theirs = recorded(&workspace().join(format!("tests/data/snapshots/{version}.json")));
        let theirs = &theirs["snapshot_status"];
        equal(&ours, theirs, &FOUR, version);
        if theirs.get("version").is_some() {
            assert_eq!(ours["version"], theirs["version"], "{version}");
        }
        assert_eq!((&ours["ok"], &ours["digest"]), (&true.into(), &"matches".into()), "{version}");
        assert!(ours["findings"].as_array().is_some_and(Vec::is_empty));
    }
}

#[test]
fn a_record_beside_a_file_is_believed_only_if_it_is_of_that_file() {
    let offline = Offline::new();
    let write = |name: &str, content: &[u8]| std::fs::write(offline.folder.path().join(name), content).unwrap();
    let bytes = unpacked("snapshots/3.5.1.db.zst");
    write("a.db", &bytes);
    let sha256 = offline.verify("a.db").expect_code(0).json()["fileSha256"].clone();
    let record = |size: usize, sha256: &Value| {
        serde_json::json!({"source": {"etcdVersion": "3.5.1"}, "snapshot": {"size": size, "sha256": sha256}})
            .to_string()
    };
    let of_release = |ran: &Ran| ran.stderr.contains("etcd 3.5.1 can lose part of a member's data");
    write("a.db.json", record(bytes.len(), &sha256).as_bytes());
    let ran = offline.verify("a.db").expect_code(0);
    assert!(of_release(&ran) && !ran.stderr.contains("a.db.json"), "{}", ran.stderr);
    // What is left of another backup, whatever it says.
    let other = Value::from("0".repeat(64));
    for (record, why) in [
        (record(bytes.len(), &other), "is of another file: it records another SHA-256; nothing of it is used"),
        (record(1, &sha256), "is of another file: it records 1 bytes, and"),
        ("{}".to_owned(), "does not say of which file it is; nothing of it is used"),
        ("no JSON".to_owned(), "is no JSON"),
    ] {
        write("a.db.json", record.as_bytes());
        let ran = offline.verify("a.db").expect_code(0).expect_error(&[&format!("Warning: a.db.json {why}")]);
        assert!(!of_release(&ran), "{}", ran.stderr);
        assert_eq!(ran.json()["warnings"], serde_json::json!([]));
    }
}

/// What both tools here say of a file; each counts keys as those of its version do.
fn tools_agree(offline: &Offline, ours: &Value, name: &str, writer: &str) {
    let path = offline.folder.path().join("a.db");
    let args = ["snapshot", "status", path.to_str().unwrap(), "-w", "json"];
    for (tool, version) in [(etcdutl(), "3.5.1"), ("etcdctl".into(), "3.4.23")] {
        let theirs = vendor(tool, &args);
        equal(ours, &theirs, &["hash", "revision", "totalSize"], name);
        if writer == version {
            equal(ours, &theirs, &FOUR, name);
        }
    }
}

#[test]
fn the_tools_of_today_say_the_same() {
    let offline = Offline::new();
    for version in ["3.4.23", "3.5.1", "3.5.30", "kubeadm-ha"] {
        let ours = offline.of(&unpacked(&format!("snapshots/{version}.db.zst"))).expect_code(0).json();
        tools_agree(&offline, &ours, version, version);
    }
}

#[test]
fn files_of_every_version_and_kind_are_whole() {
    let offline = Offline::new();
    let names = e2e::names(&workspace().join("tests/data/etcd"));
    let mut seen = 0;
    for name in names.iter().filter(|name| name.ends_with(".db.zst")) {
        let ran = offline.of(&unpacked(&format!("etcd/{name}")));
        let ours = ran.expect_code(0).json();
        let version = name.trim_start_matches("etcd-").split(['-']).next().unwrap().trim_end_matches(".db.zst");
        if version.starts_with("3.4") || version.starts_with("3.5") {
            tools_agree(&offline, &ours, name, version);
        }
        seen += 1;
    }
    assert!(seen >= 15, "{names:?}");
}

#[test]
fn what_is_no_snapshot_is_called_so() {
    let offline = Offline::new();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("one byte", vec![0]),
        ("a program", std::fs::read("/bin/true").unwrap()),
        ("zeros", vec![0; 100_000]),
    ] {
        offline.damaged(&bytes, what);
    }
    let snapshot = unpacked("snapshots/3.5.1.db.zst");
    for (bytes, said) in [
        (b"apiVersion: v1\nkind: List\n".repeat(1000), "error: a.db is text in YAML or JSON"),
        ([b"PK\x03\x04".as_slice(), &snapshot[..40_000]].concat(), "error: a.db is a zip archive"),
        ([b"\xFD7zXZ\0".as_slice(), &snapshot[..40_000]].concat(), "error: a.db is compressed with xz"),
    ] {
        offline.of(&bytes).expect_code(2).expect_error(&[said, "hint: "]);
    }
}

#[test]
fn what_gzip_and_zstd_have_compressed_is_read_as_it_is() {
    let offline = Offline::new();
    let snapshot = unpacked("snapshots/3.5.1.db.zst");
    let plain = offline.of(&snapshot).expect_code(0).json();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &snapshot).unwrap();
    let zst = std::fs::read(workspace().join("tests/data/snapshots/3.5.1.db.zst")).unwrap();
    for (compression, bytes) in [("gzip", gz.finish().unwrap()), ("zstd", zst)] {
        let mut packed = offline.of(&bytes).expect_code(0).json();
        assert_eq!(packed.as_object_mut().unwrap().remove("compression"), Some(compression.into()));
        assert_eq!(packed, plain);
        let cut = offline.of(&bytes[..bytes.len() - 9]).expect_code(3);
        cut.expect_error(&["error: a.db is compressed with ", "the file was cut"]);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_no_damage() {
    let offline = Offline::new();
    offline.verify("missing.db").expect_code(1).expect_error(&["error: cannot read missing.db", "cause: "]);
    offline.verify(".").expect_code(2).expect_error(&["error: . is a folder, not a regular file"]);
    assert!(e2e::names(offline.folder.path()).is_empty());
}

#[test]
fn a_copy_of_a_database_is_whole_but_unproven() {
    let offline = Offline::new();
    for name in ["u3530", "c3423"] {
        let ran = offline.of(&unpacked(&format!("restored/{name}.db.zst"))).expect_code(0);
        assert_eq!(ran.json()["digest"], "absent");
        ran.expect_error(&["Warning: ", "no digest", "nothing proves its bytes"]);
    }
}

/// The file of the matrix: the smallest of the recorded ones.
fn small() -> Vec<u8> {
    unpacked("snapshots/3.4.23.db.zst")
}

#[test]
fn a_truncated_file_is_damaged() {
    let offline = Offline::new();
    let whole = small();
    let pages = whole.len() / 4096;
    // At page boundaries over the whole file, and between them; the last bytes take the digest apart, or away.
    let at_pages = (1..pages).step_by(pages / 30);
    let mut lengths: Vec<usize> =
        at_pages.flat_map(|page| [page * 4096, page * 4096 + 1, page * 4096 + 2000]).collect();
    lengths.extend([
        16,
        80,
        8191,
        whole.len() - 1,
        whole.len() - 16,
        whole.len() - 31,
        whole.len() - 32,
        whole.len() - 33,
    ]);
    for length in lengths {
        offline.damaged(&whole[..length], &format!("{length} of {} bytes", whole.len()));
    }
    offline.damaged(&[whole.as_slice(), b"\0"].concat(), "a byte more");
    offline.damaged(&[whole.as_slice(), whole.as_slice()].concat(), "twice");
}

#[test]
fn a_single_flipped_bit_is_damage() {
    let offline = Offline::new();
    let whole = small();
    for n in 0..40 {
        // Spread over the file; the last ones are in the digest.
        let at = if n < 36 { whole.len() / 36 * n + n * 7 } else { whole.len() - 1 - (n - 36) * 9 };
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (n % 8);
        offline.damaged(&bytes, &format!("bit {} of byte {at}", n % 8));
    }
    // The digest alone is wrong: every page is sound, and it is damage all the same, with the figures told.
    let mut bytes = whole.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x80;
    let ran = offline.of(&bytes).expect_code(3);
    let json = ran.json();
    assert_eq!((&json["ok"], &json["digest"]), (&false.into(), &"mismatch".into()));
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["revision"], 545);
    ran.expect_error(&["SHA-256"]);
}
