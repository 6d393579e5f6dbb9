//! The disk here: full, missing, read-only, or with a file in the way. And files that nobody else may read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::trouble::{UNCHANGED, fill, mend, stalled};
use e2e::{Scene, etcdutl, run, vendor};
use lab::Etcd;

/// A file system of its own, of some kilobytes, which goes with this.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(path: &'a Path, options: &str) -> Self {
        std::fs::create_dir(path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path);
        run(mount).expect_code(0);
        Mounted(path)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _shown_by_the_folder = Command::new("umount").arg(self.0).status();
        let _empty = std::fs::remove_dir(self.0);
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_full_disk_is_told_and_left_empty() {
    let scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 2);
    let path = scene.path("small");
    // No room for what the member announces; with room for the snapshot to the last page, but not for what is beside it.
    scene.ok(&["backup", "a.db"]);
    let pages = scene.path("a.db").metadata().unwrap().len().div_ceil(4096);
    for name in ["a.db", "a.db.json"] {
        std::fs::remove_file(scene.path(name)).unwrap();
    }
    for (options, why) in [
        ("size=1m".to_owned(), "and 1048576 bytes are free"),
        (format!("size={}k", pages * 4), "No space left on device"),
    ] {
        let mounted = Mounted::new(&path, &options);
        let ran = run(scene.plugin(&["backup", "small/a.db"])).expect_code(1);
        ran.expect_error(&["error: ", why, UNCHANGED, "hint: make room"]);
        assert!(e2e::names(&path).is_empty(), "{:?}", e2e::names(&path));
        drop(mounted);
        scene.assert_nothing_left();
    }
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_anything_is_done() {
    let scene = Scene::new(1, Etcd::V3_5);
    let refused = |file: &str, code: i32, texts: &[&str]| {
        let ran = run(scene.plugin(&["backup", file, "-v", "1"])).expect_code(code).expect_error(texts);
        assert!(!ran.stderr.contains("created on node"), "a pod was made:\n{}", ran.stderr);
    };
    refused("missing/a.db", 1, &["error: cannot write missing/a.db", "No such file or directory", UNCHANGED]);
    refused("nosuch/", 2, &["there is no folder nosuch/"]);
    scene.assert_nothing_left();

    let path = scene.path("readonly");
    let mounted = Mounted::new(&path, "ro");
    refused("readonly/a.db", 1, &["error: cannot write readonly/a.db", "Read-only file system", UNCHANGED]);
    drop(mounted);
    scene.assert_nothing_left();

    for (existing, code, texts) in [
        ("a.db", 4, ["a.db exists", "--force"]),
        ("a.db.json", 4, ["a.db.json exists", "--force"]),
        ("a.db.part", 1, ["File exists", "rm a.db.part"]),
    ] {
        std::fs::write(scene.path(existing), "mine").unwrap();
        refused("a.db", code, &texts);
        assert_eq!(scene.files(), [existing]);
        assert_eq!(std::fs::read(scene.path(existing)).unwrap(), b"mine");
        assert!(scene.sidecars().is_empty());
        std::fs::remove_file(scene.path(existing)).unwrap();
    }
    // All of them may go, if so asked; none of their mode stays.
    for name in ["a.db", "a.db.json", "a.db.part"] {
        std::fs::write(scene.path(name), "theirs").unwrap();
        std::fs::set_permissions(scene.path(name), PermissionsExt::from_mode(0o644)).unwrap();
    }
    scene.ok(&["backup", "a.db", "--force"]);
    assert_eq!(scene.files(), ["a.db", "a.db.json"]);
    scene.ok(&["verify", "a.db"]);
    for name in scene.files() {
        assert_eq!(mode(&scene.path(&name)), 0o600, "{name}");
        std::fs::remove_file(scene.path(&name)).unwrap();
    }
    scene.assert_nothing_left();
}

#[test]
fn a_snapshot_is_private_from_its_first_byte_whatever_the_umask() {
    let scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 3);
    let open = Command::new("sh");
    let plugin = scene.plugin(&["backup", "a.db"]);
    let mut shell = open;
    shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]).arg(plugin.get_program()).args(plugin.get_args());
    shell.current_dir(scene.folder.path()).env("KUBECONFIG", scene.lab.kubeconfig());
    run(shell).expect_code(0);
    for name in scene.files() {
        assert_eq!(mode(&scene.path(&name)), 0o600, "{name}");
        std::fs::remove_file(scene.path(&name)).unwrap();
    }
    let (running, part) = stalled(&scene, 2_500_000, "a.db");
    assert_eq!(mode(&part), 0o600);
    running.signal("INT");
    assert_eq!(running.end().0.code(), Some(130));
    mend(&scene);
    scene.assert_nothing_left();
}

#[test]
fn a_pipe_gets_the_same_bytes_or_an_error() {
    let scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 2);
    let ran = run(scene.plugin(&["backup", "-"])).expect_code(0).expect_error(&["written to stdout, sha256 "]);
    scene.assert_nothing_left();
    let piped = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(piped.path(), &ran.bytes).unwrap();
    let path = piped.path().to_str().unwrap();
    let theirs = vendor(etcdutl(), &["snapshot", "status", path, "-w", "json"]);
    let ours = scene.ok(&["verify", path, "-o", "json"]).json();
    for figure in ["hash", "revision", "totalKey", "totalSize"] {
        assert_eq!(ours[figure], theirs[figure], "{figure}");
    }
    assert_eq!(ours["digest"], "matches");

    let mut child = scene.plugin(&["backup", "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Broken pipe") && said.contains(UNCHANGED), "{said}");
    scene.assert_nothing_left();

    // A backup that is whole, of which only the report is lost.
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let into_full = |args: &[&str]| {
        let child = scene.plugin(args).stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = into_full(&["backup", "a.db", "-o", "json"]);
    assert!(code == Some(5) && said.contains("cannot write to stdout"), "{said}");
    assert!(said.contains("the backup is whole: a.db") && !said.contains(UNCHANGED), "{said}");
    assert_eq!(scene.files(), ["a.db", "a.db.json"]);
    scene.ok(&["verify", "a.db"]);
    for name in scene.files() {
        std::fs::remove_file(scene.path(&name)).unwrap();
    }
    scene.assert_nothing_left();
}
