//! `kubectl etcd restore FILE --data-dir DIR`: offline, through the binary.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use e2e::trouble::fill;
use e2e::{Ran, Running, Scene, etcd_3_5, names, plugin, run, unpacked, until};
use lab::Etcd;
use serde_json::Value;

/// A folder with a snapshot in it, and no cluster anywhere.
struct Offline {
    folder: tempfile::TempDir,
}

impl Offline {
    fn with(snapshot: &str) -> Offline {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.db"), unpacked(snapshot)).unwrap();
        Offline { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn restore(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(plugin());
        command.args([&["restore", "a.db", "--data-dir", "new"], args].concat()).current_dir(self.folder.path());
        command.env("KUBECONFIG", "/nonexistent").env("HOME", self.folder.path());
        run(command)
    }

    /// Runs a restore that is to fail, and asserts that the folder is as it was.
    #[track_caller]
    fn refused(&self, args: &[&str], code: i32, texts: &[&str]) {
        let before = names(self.folder.path());
        let ran = self.restore(args).expect_code(code).expect_error(texts);
        assert_eq!(ran.stdout, "");
        assert_eq!(names(self.folder.path()), before);
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// A real etcd on a directory; its ports are any that are free.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(data_dir: &Path) -> Server {
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (url, peer) = (format!("http://127.0.0.1:{}", port()), format!("http://127.0.0.1:{}", port()));
        let mut command = Command::new(etcd_3_5().join("etcd"));
        command.arg("--data-dir").arg(data_dir).args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--log-level", "error"]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Server { process, url };
        until("etcd serves", || server.ctl(&["endpoint", "health"]).status.success());
        server
    }

    fn ctl(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(etcd_3_5().join("etcdctl"));
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(&self.url).args(args);
        run(command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[test]
fn a_backup_becomes_a_directory_that_etcd_serves() {
    let scene = Scene::new(1, Etcd::V3_5);
    scene.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: marker, namespace: default}\ndata: {a: b}\n");
    scene.ok(&["backup", "a.db"]);
    let verified = scene.ok(&["verify", "a.db", "-o", "json"]).json();
    let ran = run(scene.kubectl_etcd(&["restore", "a.db", "--data-dir", "new", "-o", "json"])).expect_code(0);
    let done = ran.json();
    assert_eq!(scene.files(), ["a.db", "a.db.json", "new"]);
    // As etcd's manifest has it.
    let (name, url) = ("cp1", format!("https://{}:2380", scene.lab.node_ip("cp1")));
    assert_eq!((&done["name"], &done["peerUrls"]), (&name.into(), &serde_json::json!([url])));
    assert!(ran.stderr.contains(&format!("member {name} has peer URL {url}, by a.db.json")), "{}", ran.stderr);
    assert_eq!(done["membersFrom"], "a.db.json");
    assert_eq!((&done["hashKv"], &done["keys"]), (&verified["hashKv"]["hash"], &verified["liveKeys"]));
    let revision = verified["revision"].as_i64().unwrap();
    assert_eq!(done["revision"], revision + 1_000_000_000);
    assert!(ran.stderr.contains("new is ready for etcd"), "{}", ran.stderr);
    // The next step names the directory that was built.
    let built = scene.path("new").display().to_string();
    let is_it = |line: &str| line.trim() == built;
    assert!(ran.stderr.contains("etcd.yaml") && ran.stderr.lines().any(is_it), "{built}\n{}", ran.stderr);
    for path in ["new", "new/member", "new/member/snap", "new/member/wal"] {
        assert_eq!(mode(&scene.path(path)), 0o700, "{path}");
        for name in names(&scene.path(path)) {
            let file = scene.path(path).join(name);
            assert!(file.is_dir() || mode(&file) == 0o600, "{}", file.display());
        }
    }

    // A directory in which etcd runs is not touched, by name or by lock.
    let server = Server::start(&scene.path("new"));
    let again = run(scene.plugin(&["restore", "a.db", "--data-dir", "new"])).expect_code(4);
    again.expect_error(&["error: new is in use", "hint: build another directory"]);
    let found = server.ctl(&["get", "/registry/configmaps/default/marker", "-w", "json"]).expect_code(0).json();
    assert_eq!(found["header"]["revision"], done["revision"]);
    assert_eq!(found["kvs"].as_array().map(Vec::len), Some(1));
    let count = server.ctl(&["get", "", "--prefix", "--keys-only", "-w", "json"]).expect_code(0).json();
    assert_eq!(count["count"], verified["liveKeys"]);
    server.ctl(&["put", "after", "1"]).expect_code(0);
    let old = server.ctl(&["get", "after", "--rev", &revision.to_string()]).expect_code(1);
    old.expect_error(&["compacted"]);
    drop(server);
    // Nor is one where etcd has been.
    let again = run(scene.plugin(&["restore", "a.db", "--data-dir", "new"])).expect_code(4);
    again.expect_error(&["error: new is not empty", "hint: name a directory that does not exist"]);
    scene.assert_nodes_untouched();
}

#[test]
fn members_are_those_that_the_file_records_unless_others_are_named() {
    let offline = Offline::with("etcd/etcd-3.5.30.db.zst");
    let built = |args: &[&str]| {
        let done = offline.restore(&[args, &["-o", "json"]].concat()).expect_code(0).json();
        std::fs::remove_dir_all(offline.path("new")).unwrap();
        ["name", "peerUrls", "membersFrom", "memberId"].map(|field| done[field].clone())
    };
    let [name, urls, from, _] = built(&[]);
    assert_eq!((name, urls), ("default".into(), serde_json::json!(["http://127.0.0.1:23791"])));
    assert_eq!(from, "the list of members in a.db");
    // What etcdutl makes by itself.
    let [_, urls, from, id] = built(&["--initial-cluster", "default=http://localhost:2380"]);
    assert_eq!((urls, id), (serde_json::json!(["http://localhost:2380"]), "8e9e05c52164694d".into()));
    assert_eq!(from, "--initial-cluster");

    let several = Offline::with("etcd/etcd-3.6.14-learner.db.zst");
    several.refused(&[], 2, &["which of 2 members", "a has peer URL http://127.0.0.1:24001", "--name a", "--name b"]);
    several.refused(&["--name", "x"], 2, &["records no member x", "--initial-cluster x=URL"]);
    let done = several.restore(&["--name", "b", "-o", "json"]).expect_code(0).json();
    assert_eq!((&done["name"], &done["peerUrls"]), (&"b".into(), &serde_json::json!(["http://127.0.0.1:24011"])));
}

#[test]
fn members_of_a_cluster_get_the_same_database() {
    let offline = Offline::with("etcd/etcd-3.5.30.db.zst");
    let cluster = "a=https://10.0.0.1:2380,b=https://10.0.0.2:2380,c=https://10.0.0.3:2380";
    let mut databases = Vec::new();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let flags = ["--initial-cluster", cluster, "--name", name, "--bump-revision", "7", "-o", "json"];
        let done = offline.restore(&[&flags[..], &["--wal-dir", "wal"]].concat()).expect_code(0).json();
        assert_eq!(done["revision"], 60);
        assert!(names(&offline.path("wal")).iter().all(|name| name.ends_with(".wal")));
        assert!(!offline.path("new/member/wal").exists());
        databases.push(std::fs::read(offline.path("new/member/snap/db")).unwrap());
        ids.push((done["clusterId"].clone(), done["memberId"].clone()));
        std::fs::remove_dir_all(offline.path("new")).unwrap();
        std::fs::remove_dir_all(offline.path("wal")).unwrap();
    }
    assert!(databases.iter().all(|database| *database == databases[0]));
    assert!(ids.iter().all(|(cluster, _)| *cluster == ids[0].0));
    assert!(ids[0].1 != ids[1].1 && ids[1].1 != ids[2].1 && ids[0].1 != ids[2].1, "{ids:?}");
}

#[test]
fn what_cannot_be_restored_leaves_nothing() {
    let offline = Offline::with("etcd/etcd-3.5.30.db.zst");
    offline.refused(&["--name", "x", "--initial-cluster", "y=http://h:2380"], 2, &["error: ", "\"x\""]);
    offline.refused(&["--initial-advertise-peer-urls", "http://other:2380"], 2, &["error: ", "http://other:2380"]);
    offline.refused(&["--initial-cluster", "default=http://h:2380/path"], 2, &["error: ", "path"]);
    offline.refused(&["--bump-revision", "-1"], 2, &["--bump-revision"]);
    offline.refused(&["--bump-revision", "9223372036854775807"], 1, &["error: ", "revision"]);
    offline.refused(&["--etcd-version", "3.4"], 4, &["error: cannot restore a.db", "3.5", "--allow-older-etcd"]);
    offline.refused(&["--allow-older-etcd"], 2, &["--etcd-version"]);
    std::fs::create_dir(offline.path("wal")).unwrap();
    std::fs::write(offline.path("wal/mine"), "").unwrap();
    offline.refused(&["--wal-dir", "wal"], 4, &["error: ", "not empty"]);
    std::fs::write(offline.path("new"), "").unwrap();
    offline.refused(&[], 1, &["error: "]);
    assert_eq!(std::fs::read(offline.path("new")).unwrap(), b"");
    std::fs::remove_file(offline.path("new")).unwrap();

    let mut bytes = unpacked("etcd/etcd-3.5.30.db.zst");
    bytes[20_000] ^= 1;
    std::fs::write(offline.path("a.db"), bytes).unwrap();
    offline.refused(&[], 3, &["error: a.db is damaged", "SHA-256"]);
    std::fs::write(offline.path("a.db"), "no snapshot").unwrap();
    offline.refused(&[], 3, &["error: a.db is damaged or no etcd snapshot"]);
    std::fs::remove_file(offline.path("a.db")).unwrap();
    offline.refused(&[], 1, &["error: cannot read a.db"]);
}

#[test]
fn a_copy_of_a_database_is_taken_when_it_is_asked_for() {
    let offline = Offline::with("restored/copied-3.5.30.db.zst");
    offline.refused(&[], 3, &["error: a.db has no digest at its end", "--skip-hash-check"]);
    let done = offline.restore(&["--skip-hash-check", "-o", "json", "--bump-revision", "0"]).expect_code(0).json();
    assert_eq!((&done["revision"], &done["snapshotRevision"]), (&Value::from(53), &Value::from(53)));
    // With the override, a snapshot goes down a version too.
    std::fs::remove_dir_all(offline.path("new")).unwrap();
    let flags = ["--skip-hash-check", "--etcd-version", "3.4.23", "--allow-older-etcd", "-q"];
    offline.restore(&flags).expect_code(0);
    assert!(offline.path("new/member/snap/db").exists());
}

#[test]
fn an_interruption_leaves_nothing() {
    let scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 60);
    scene.ok(&["backup", "a.db", "-q"]);
    for name in ["INT", "TERM"] {
        // An interruption that comes when all is done finds a whole directory; it is then tried again.
        let said = loop {
            let running = Running::start(scene.plugin(&["restore", "a.db", "--data-dir", "new"]));
            let begun = |file: &String| file.starts_with(".new.partial-") || file == "new";
            until("the directory is begun", || scene.files().iter().any(begun));
            running.signal(name);
            let (status, said) = running.end();
            if status.code() == Some(130) {
                break said;
            }
            assert!(status.success() && scene.path("new/member/snap/db").exists(), "{said}");
            std::fs::remove_dir_all(scene.path("new")).unwrap();
        };
        assert!(said.contains("interrupted, cleaning up") && said.contains("error: interrupted"), "{said}");
        assert_eq!(scene.files(), ["a.db", "a.db.json"]);
    }
}
