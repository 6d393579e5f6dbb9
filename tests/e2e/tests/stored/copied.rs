//! Backups on their way out of a store, and into another one.

use std::path::Path;
use std::process::Command;

use e2e::{Running, names, run};
use etcd_store::Part;
use jiff::{SignedDuration, Timestamp};

use super::offline::Offline;

#[test]
fn backups_are_copied_as_they_are() {
    use std::os::unix::fs::PermissionsExt;
    let offline = Offline::new();
    let name = offline.backup();
    let latest = offline.latest();
    let source = offline.path("store/v1").join(offline.cluster.as_str());
    let same = |folder: &Path| {
        assert_eq!(names(folder), names(&source));
        for one in names(&source) {
            assert!(std::fs::read(folder.join(&one)).unwrap() == std::fs::read(source.join(&one)).unwrap(), "{one}");
        }
    };
    std::fs::create_dir(offline.path("safe")).unwrap();
    offline.run(&["copy", &latest, "safe"]).expect_code(0);
    same(&offline.path("safe"));
    for one in names(&offline.path("safe")) {
        assert_eq!(offline.path("safe").join(&one).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{one}");
    }
    // A copy that was cut off goes on; what is in the way stays.
    std::fs::remove_file(offline.path("safe").join(format!("{name}.json"))).unwrap();
    offline.run(&["copy", &latest, "safe"]).expect_code(0).expect_error(&["were there already"]);
    same(&offline.path("safe"));
    std::fs::write(offline.path("safe").join(format!("{name}.json.sig")), "mine").unwrap();
    offline.run(&["copy", &latest, "safe"]).expect_code(4).expect_error(&["nothing is overwritten"]);
    assert_eq!(std::fs::read(offline.path("safe").join(format!("{name}.json.sig"))).unwrap(), b"mine");
    // The snapshot alone is read as a file is, with the record beside it or without.
    offline.run(&["copy", &latest, "etcd.db.zst.age"]).expect_code(0);
    offline.run(&["copy", &latest, "etcd.db.zst.age"]).expect_code(4).expect_error(&["nothing is overwritten"]);
    offline.run(&["verify", "etcd.db.zst.age", "--identity", "identity.txt"]).expect_code(0);
    offline.run(&["verify", "etcd.db.zst.age"]).expect_code(2).expect_error(&["encrypted with age", "--identity"]);
    offline
        .run(&["verify", "etcd.db.zst.age", "--identity", "other.txt"])
        .expect_code(2)
        .expect_error(&["no identity fits"]);
    let beside = format!("safe/{name}.db.zst.age");
    let told = offline.run(&["verify", &beside, "--identity", "identity.txt"]).expect_code(0);
    assert!(told.stdout.contains("cluster prod-eu"), "{}", told.stdout);
    let mut cut = std::fs::read(offline.path("etcd.db.zst.age")).unwrap();
    cut.pop();
    std::fs::write(offline.path("cut.db.zst.age"), cut).unwrap();
    offline.run(&["verify", "cut.db.zst.age", "--identity", "identity.txt"]).expect_code(3);
    // Into a store whose folder is not there: it may be one that is not mounted.
    let missing = format!("file://{}", offline.path("missing").display());
    offline.run(&["copy", &latest, &missing]).expect_code(1).expect_error(&["the folder does not exist"]);
    assert!(!offline.path("missing").exists());
    // Into another store, twice.
    std::fs::create_dir(offline.path("vault")).unwrap();
    let vault = format!("file://{}", offline.path("vault").display());
    for _ in 0..2 {
        offline.run(&["copy", &latest, &vault, "--trust-key", "sign.pub"]).expect_code(0);
        same(&offline.path("vault/v1").join(offline.cluster.as_str()));
    }
    offline.trusted(&["verify", &format!("{vault}/latest")]).expect_code(0);
    // What is damaged is not copied, and no half is left.
    let mut bytes = std::fs::read(offline.data(&name)).unwrap();
    bytes[200] ^= 1;
    std::fs::write(offline.data(&name), bytes).unwrap();
    std::fs::create_dir(offline.path("empty")).unwrap();
    offline.run(&["copy", &latest, "empty"]).expect_code(3);
    offline.run(&["copy", &latest, "half.age"]).expect_code(3);
    assert!(!offline.path("half.age").exists() && names(&offline.path("empty")).is_empty());
    offline.run(&["copy", "a.db", "b.db"]).expect_code(2);
    offline.run(&["copy", &latest, "nowhere/"]).expect_code(2);
}

/// A copy is as old as its original, whenever it was made: it keeps the name, and the store has had it for longer than that says.
#[test]
fn a_late_copy_is_not_fresh() {
    let offline = Offline::new();
    let snapshot = b"of yesterday".as_slice();
    let taken = Timestamp::now() - SignedDuration::from_hours(30);
    let name = offline.backup_of(snapshot, &offline.seal(snapshot), taken);
    std::fs::create_dir(offline.path("vault")).unwrap();
    let vault = format!("file://{}", offline.path("vault").display());
    offline.run(&["copy", &offline.latest(), &vault, "--trust-key", "sign.pub"]).expect_code(0);
    let told = offline.run(&["freshness", &vault, "--max-age", "24h", "-o", "json"]).expect_code(1).json();
    let item = &told["items"][0];
    assert_eq!((&item["state"], &item["name"]), (&"stale".into(), &name.to_string().into()), "{told}");
    // It is told to be a late one, and can be restored from.
    let listed = offline.run(&["list", &vault, "-o", "json"]).expect_code(0).json();
    assert_eq!(listed["items"][0]["state"], "backdated", "{listed}");
    offline.run(&["copy", &format!("{vault}/latest"), "again.db.zst.age"]).expect_code(0);
}

/// Ctrl-C while bytes are on their way, wherever they go: nothing is left that looks like a backup, or like a part of one.
#[test]
fn an_interrupted_copy_leaves_nothing() {
    let offline = Offline::new();
    offline.backup_of(b"", &vec![0; 256 << 20], Timestamp::now());
    let latest = offline.latest();
    for folder in ["safe", "vault", "beside"] {
        std::fs::create_dir(offline.path(folder)).unwrap();
    }
    let vault = format!("file://{}", offline.path("vault").display());
    let (safe, file) = (offline.path("safe"), offline.path("beside/a.db.zst.age"));
    let in_vault = offline.path("vault/v1").join(offline.cluster.as_str());
    for (to, there) in [
        (safe.to_str().unwrap(), safe.as_path()),
        (vault.as_str(), in_vault.as_path()),
        (file.to_str().unwrap(), file.parent().unwrap()),
    ] {
        let running = Running::start(offline.plugin(&["copy", &latest, to]));
        while !there.exists() || names(there).is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        running.signal("INT");
        let (status, said) = running.end();
        assert_eq!(status.code(), Some(130), "{to}: {said}");
        assert!(!there.exists() || names(there).is_empty(), "{to}: {:?}\n{said}", names(there));
    }
}

/// Where there is no room, the failure says so; no file has a name that it does not deserve, and no part of one stays.
#[test]
fn a_copy_to_a_full_disk_leaves_nothing() {
    let offline = Offline::new();
    let name = offline.backup();
    let small = offline.path("small");
    std::fs::create_dir(&small).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"]).arg(&small);
    run(mount).expect_code(0);
    let _mounted = Mounted(&small);
    let store = format!("file://{}", small.display());
    let file = small.join("a.db.zst.age");
    let latest = offline.latest();
    for to in [file.to_str().unwrap(), small.to_str().unwrap()] {
        offline.run(&["copy", &latest, to]).expect_code(1).expect_error(&["No space left on device", "hint: "]);
        assert_eq!(names(&small), [""; 0], "{to}");
    }
    offline.run(&["copy", &latest, &store]).expect_code(1).expect_error(&["hint: "]);
    let left = names(&small.join("v1").join(offline.cluster.as_str()));
    assert!(left.is_empty(), "{left:?}");
    assert!(offline.object(&name, Part::Record).is_file());
}

/// A file system that goes with this.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _shown_by_the_folder = Command::new("umount").arg(self.0).status();
    }
}
