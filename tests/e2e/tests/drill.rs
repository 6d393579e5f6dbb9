//! `kubectl etcd drill` through the binary, with real etcds and no cluster: what it proves, what it refuses, and that nothing stays.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::{Ran, Running, Scene, names, plugin, run, unpacked, until, workspace};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::stored::offline::Offline;

/// The oldest and the newest that tests have.
const OLD: &str = "/usr/bin/etcd";

fn new() -> PathBuf {
    workspace().join("target/tools/etcd-3.5.16/etcd")
}

/// A folder with files, and one in which drills are made.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a folder"));
        std::fs::create_dir(place.path("drills")).expect("a folder");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).expect("a file");
        name.to_owned()
    }

    fn command(&self, etcd: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(plugin());
        command.arg("drill").args(args).arg("--etcd").arg(etcd).arg("--data-dir").arg(self.path("drills"));
        command.current_dir(self.0.path()).env("KUBECONFIG", "/nonexistent").stdin(Stdio::null());
        command
    }

    /// Drills; whatever comes of it, nothing stays.
    #[track_caller]
    fn drill(&self, etcd: &Path, args: &[&str]) -> Ran {
        let ran = run(self.command(etcd, args));
        self.assert_nothing_left();
        ran
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        assert_eq!(names(&self.path("drills")), [""; 0]);
        assert_eq!(self.etcds(), [0; 0]);
    }

    /// The processes of etcd that run in a folder of ours.
    fn etcds(&self) -> Vec<u32> {
        let drills = self.path("drills");
        let here =
            |id: &u32| std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|folder| folder.starts_with(&drills));
        let all = std::fs::read_dir("/proc").expect("processes").flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(here).collect()
    }
}

/// A real etcd that a test writes to, reached over a socket.
struct Etcd<'a> {
    folder: &'a Path,
    child: Child,
}

impl Etcd<'_> {
    fn start(folder: &Path) -> Etcd<'_> {
        let mut command = Command::new(new());
        command.args(["--listen-client-urls=unix://c:0", "--advertise-client-urls=unix://c:0"]);
        command.args(["--listen-peer-urls=unix://p:0", "--log-level=error", "--unsafe-no-fsync"]);
        let child = command.env_clear().current_dir(folder).spawn().expect("etcd starts");
        let etcd = Etcd { folder, child };
        until("etcd serves", || etcd.ctl(&["endpoint", "health"], b"").status.success());
        etcd
    }

    fn ctl(&self, args: &[&str], stdin: &[u8]) -> Ran {
        use std::io::Write as _;
        let mut command = Command::new(new().with_file_name("etcdctl"));
        command.arg("--endpoints=unix://c:0").args(args).current_dir(self.folder).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("etcdctl starts");
        // A command that reads nothing may have ended.
        let _unread = child.stdin.take().expect("a pipe").write_all(stdin);
        let output = child.wait_with_output().expect("etcdctl ends");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ran { status: output.status, stdout: stdout.into_owned(), stderr: stderr.into_owned(), bytes: Vec::new() }
    }

    fn put(&self, key: &str, value: &[u8]) {
        self.ctl(&["put", key], value).expect_code(0);
    }
}

impl Drop for Etcd<'_> {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A small disk.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: &Path, size: &str) -> Mounted {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder);
        run(mount).expect_code(0);
        Mounted(folder.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _shown_by_the_folder = Command::new("umount").arg(&self.0).status();
    }
}

fn check<'a>(drill: &'a Value, name: &str) -> &'a Value {
    let all = drill["checks"].as_array().expect("checks");
    all.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {drill}"))
}

#[test]
fn a_real_etcd_serves_a_file_of_every_version_that_it_can_read() {
    let place = Place::new();
    for (version, etcds) in [("3.4.23", vec![PathBuf::from(OLD), new()]), ("3.5.1", vec![new()])] {
        let file = place.file(&format!("{version}.db"), &unpacked(&format!("snapshots/{version}.db.zst")));
        let theirs: Value = serde_json::from_slice(
            &std::fs::read(workspace().join(format!("tests/data/snapshots/{version}.json"))).expect("figures"),
        )
        .expect("JSON");
        for etcd in etcds {
            let drill = place.drill(&etcd, &[&file, "-o", "json"]).expect_code(0).json();
            assert_eq!((&drill["verdict"], &drill["reasons"]), (&"passed".into(), &json!([])), "{drill}");
            for name in ["revision", "hashKv", "keys", "kubeSystemUid"] {
                assert_eq!(check(&drill, name)["result"], "equal", "{drill}");
            }
            assert!(check(&drill, "revision")["served"].as_str().is_some_and(|at| theirs.to_string().contains(at)));
            let resources = drill["resources"].as_array().expect("resources");
            assert!(resources.len() > 30 && resources.iter().all(|one| one["result"] == "read"), "{drill}");
            let phases = drill["rto"]["phases"].as_array().expect("phases").iter().map(|phase| phase["name"].clone());
            assert_eq!(phases.collect::<Vec<_>>(), ["open", "verify", "restore", "boot", "compare", "read"]);
        }
    }
    // One that is too old is named before anything is restored.
    for (file, etcd) in [("3.5.1.db", Path::new(OLD)), ("3.6.14.db", &new())] {
        if file == "3.6.14.db" {
            place.file(file, &unpacked("snapshots/3.6.14.db.zst"));
        }
        let minor = &file[..3];
        let message = format!("cannot serve a snapshot of etcd {minor}");
        place.drill(etcd, &[file]).expect_code(4).expect_error(&[&message, "nothing was changed", "--etcd PATH"]);
    }
}

#[test]
fn encryption_authentication_and_leases_are_drilled() {
    let place = Place::new();
    for version in ["3.4.23", "3.5.30"] {
        let file = place.file("auth.db", &unpacked(&format!("etcd/etcd-{version}-auth.db.zst")));
        let drill = place.drill(&new(), &[&file, "-o", "json"]).expect_code(0).json();
        assert_eq!((&drill["backup"]["auth"], &check(&drill, "hashKv")["result"]), (&true.into(), &"equal".into()));
    }
    let vectors = std::fs::read(workspace().join("crates/objects/tests/data/encryption.json")).expect("vectors");
    let vectors: Value = serde_json::from_slice(&vectors).expect("JSON");
    let value = |provider: &str| {
        let all = vectors["vectors"].as_array().expect("vectors").iter();
        // The first of each is an object.
        all.clone().find(|one| one["provider"] == provider).expect("a vector").clone()
    };
    let (cbc, box_) = (value("aescbc"), value("secretbox"));
    let folder = tempfile::tempdir().expect("a folder");
    let etcd = Etcd::start(folder.path());
    let key = vectors["etcdKey"].as_str().expect("a key");
    etcd.put(key, &base64(&cbc["value"]));
    let namespace = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":"5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d"}}"#;
    etcd.put("/registry/namespaces/kube-system", namespace.as_bytes());
    etcd.put("/registry/secrets/default/kms", b"k8s:enc:kms:v2:vault:xyz");
    let granted = etcd.ctl(&["lease", "grant", "600"], b"").expect_code(0).stdout;
    let lease = granted.split(' ').nth(1).expect("an id").to_owned();
    let event = r#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"e","namespace":"default"}}"#;
    etcd.ctl(&["put", "--lease", &lease, "/registry/events/default/e"], event.as_bytes()).expect_code(0);
    let save = |name: &str| {
        let path = place.path(name);
        etcd.ctl(&["snapshot", "save", path.to_str().expect("text")], b"").expect_code(0);
        name.to_owned()
    };
    let file = save("encrypted.db");

    // Without a configuration it is said what was not proved.
    let drill = place.drill(&new(), &[&file, "-o", "json"]).expect_code(0).json();
    assert_eq!((&drill["verdict"], &drill["backup"]["leases"]), (&"passed".into(), &1.into()), "{drill}");
    let results = |drill: &Value| -> Vec<String> {
        let all = drill["encryption"].as_array().expect("keys").iter();
        all.map(|one| format!("{} {}", one["key"].as_str().expect("a key"), one["result"].as_str().expect("a result")))
            .collect()
    };
    let name = cbc["name"].as_str().expect("a name");
    assert_eq!(results(&drill), [format!("aescbc:v1:{name} notProved"), "kms:v2:vault notProved".to_owned()]);
    let config = |provider: &str, name: &Value, secret: &Value| {
        let keys = json!({ "keys": [{"name": name, "secret": secret}] });
        json!({"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1",
            "resources": [{"resources": ["secrets"], "providers": [{provider: keys}]}]})
        .to_string()
    };
    place.file("right.yaml", config("aescbc", &cbc["name"], &cbc["secret"]).as_bytes());
    let with = ["--encryption-config", "right.yaml"];
    let ran = place.drill(&new(), &[&[file.as_str(), "-o", "json"][..], &with].concat()).expect_code(0);
    assert_eq!(results(&ran.json()), [format!("aescbc:v1:{name} read"), "kms:v2:vault notProved".to_owned()]);
    let secret = cbc["secret"].as_str().expect("a key");
    assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{ran:?}");
    // A configuration that does not decrypt what is there: no API server with it would, either.
    place.file("wrong.yaml", config("secretbox", &box_["name"], &box_["secret"]).as_bytes());
    let with = ["--encryption-config", "wrong.yaml"];
    let ran = place.drill(&new(), &[&[file.as_str(), "-o", "json"][..], &with].concat()).expect_code(3);
    assert_eq!(ran.json()["verdict"], "failed");
    ran.expect_error(&["the configuration has no key", "nothing was left behind"]);
}

fn base64(text: &Value) -> Vec<u8> {
    let mut decode = Command::new("base64");
    decode.args(["-d"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = decode.spawn().expect("base64 starts");
    use std::io::Write as _;
    child.stdin.take().expect("a pipe").write_all(text.as_str().expect("text").as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends").stdout
}

#[test]
fn what_is_damaged_or_cannot_be_served_fails_and_nothing_is_left() {
    let place = Place::new();
    let whole = unpacked("snapshots/3.5.1.db.zst");
    let mut torn = whole.clone();
    torn[whole.len() / 2] ^= 1;
    let damaged = place.file("damaged.db", &torn);
    place.drill(&new(), &[&damaged]).expect_code(3).expect_error(&["is damaged", "SHA-256"]);
    let cut = place.file("cut.db", &whole[..whole.len() / 2]);
    place.drill(&new(), &[&cut]).expect_code(3);
    let text = place.file("text.db", b"this is no snapshot, whatever it is called");
    place.drill(&new(), &[&text]).expect_code(3).expect_error(&["not an etcd snapshot"]);
    place.drill(&new(), &["nosuch.db"]).expect_code(1).expect_error(&["nosuch.db"]);
    // Values that the API server cannot read, though etcd serves them.
    let broken = place.file("broken.db", &unpacked("snapshots/broken-values.db.zst"));
    let ran = place.drill(&new(), &[&broken]).expect_code(3);
    ran.expect_error(&["the drill of broken.db has failed", "nodes/cp1"]);

    let good = place.file("good.db", &whole);
    let script = |name: &str, text: &str, mode: u32| {
        let path = place.path(name);
        std::fs::write(&path, text).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        path
    };
    let missing = place.path("nosuch");
    place.drill(&missing, &[&good]).expect_code(4).expect_error(&[
        "cannot run",
        "nosuch",
        "releases",
        "nothing was changed",
    ]);
    let plain = script("plain", "#!/bin/sh\n", 0o644);
    place.drill(&plain, &[&good]).expect_code(4).expect_error(&["cannot run", "ermission denied"]);
    let other = script("other", "#!/bin/sh\necho hello\n", 0o755);
    place.drill(&other, &[&good]).expect_code(4).expect_error(&["is no etcd"]);
    let dies = script(
        "dies",
        "#!/bin/sh\n[ \"$1\" = --version ] && { echo 'etcd Version: 3.5.16'; exit 0; }\necho the disk is broken >&2\nexit 7\n",
        0o755,
    );
    let ran = place.drill(&dies, &[&good]).expect_code(3);
    ran.expect_error(&["etcd does not start", "exit status: 7", "the disk is broken", "nothing was left behind"]);
    // Nowhere to restore to, and too little room.
    let elsewhere = |folder: &Path| {
        let mut command = Command::new(plugin());
        command.args(["drill", &good, "--etcd"]).arg(new()).arg("--data-dir").arg(folder);
        command.current_dir(place.0.path()).env("KUBECONFIG", "/nonexistent");
        run(command)
    };
    elsewhere(Path::new("/proc")).expect_code(1).expect_error(&[
        "cannot make a folder",
        "/proc",
        "nothing was changed",
    ]);
    let small = place.path("small");
    std::fs::create_dir(&small).expect("a folder");
    let mounted = Mounted::new(&small, "64m");
    elsewhere(&small).expect_code(4).expect_error(&["not enough room", "--data-dir FOLDER", "nothing was changed"]);
    assert_eq!(names(&small), [""; 0]);
    drop(mounted);
    place.assert_nothing_left();
    // Without a named etcd, one on PATH; and where there is none it is said how to get one.
    let mut command = Command::new(plugin());
    command.args(["drill", "good.db", "--data-dir", "drills"]).current_dir(place.0.path()).env("PATH", "/nonexistent");
    run(command).expect_code(4).expect_error(&["no etcd was found on PATH", "--etcd PATH"]);
    place.assert_nothing_left();
    // A plan changes nothing.
    let plan = place.drill(&new(), &[&good, "--dry-run=client"]).expect_code(0);
    assert!(plan.stdout.contains("3.5.16") && plan.stdout.contains("remove the folder"), "{}", plan.stdout);
}

#[test]
fn however_a_drill_is_ended_no_etcd_runs_and_nobody_else_can_look() {
    let place = Place::new();
    let good = place.file("good.db", &unpacked("snapshots/3.5.1.db.zst"));
    // It never serves, so that it can be ended while it boots.
    let stuck = place.path("stuck");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && { echo 'etcd Version: 3.5.16'; exit 0; }\nexec sleep 1000\n";
    std::fs::write(&stuck, script).expect("a script");
    std::fs::set_permissions(&stuck, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(130)), ("KILL", None)] {
        let running = Running::start(place.command(&stuck, &[&good]));
        until("etcd is started", || place.etcds().len() >= 2);
        let folders = names(&place.path("drills"));
        let mode = std::fs::metadata(place.path("drills").join(&folders[0])).expect("the folder").permissions().mode();
        assert_eq!((folders.len(), mode & 0o777), (1, 0o700));
        running.signal(signal);
        let (status, said) = running.end();
        assert_eq!(status.code(), code, "{signal}: {said}");
        until("etcd has ended", || place.etcds().is_empty());
        if signal == "KILL" {
            std::fs::remove_dir_all(place.path("drills").join(&folders[0])).expect("the folder is all that is left");
        } else {
            assert!(said.contains("nothing was left behind"), "{said}");
        }
        place.assert_nothing_left();
    }
}

/// A podman with a storage and a configuration of its own, so that nothing of this machine's is used or changed. It may run where no cgroup can be made and no limit
/// raised.
struct Podman(tempfile::TempDir);

impl Podman {
    fn new() -> Podman {
        let podman = Podman(tempfile::tempdir().expect("a folder"));
        let path = |name: &str| podman.path(name).display().to_string();
        let write = |name: &str, text: &str| std::fs::write(podman.path(name), text).expect("a file");
        write(
            "containers.conf",
            "[containers]\ncgroups = \"disabled\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"crun\"\n",
        );
        let (run, graph) = (path("run"), path("images"));
        write("storage.conf", &format!("[storage]\ndriver = \"vfs\"\nrunroot = \"{run}\"\ngraphroot = \"{graph}\"\n"));
        write("registries.conf", "unqualified-search-registries = []\n");
        // Docker's client is often there without its daemon.
        std::fs::create_dir(podman.path("bin")).expect("a folder");
        write("bin/docker", "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(podman.path("bin/docker"), mode).expect("a mode");
        podman
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same command, in mounts of its own: crun refuses a machine that has both versions of cgroups, whether or not it is to make any.
    fn around(&self, command: &Command) -> Command {
        let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
        let mut around = Command::new("unshare");
        around.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        around.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            around.current_dir(folder);
        }
        around.env("CONTAINERS_CONF", self.path("containers.conf")).env("KUBECONFIG", "/nonexistent");
        around.env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"));
        around.env("CONTAINERS_REGISTRIES_CONF", self.path("registries.conf"));
        let search = [self.path("bin"), "/usr/sbin".into(), "/usr/bin".into(), "/sbin".into(), "/bin".into()];
        around.env("PATH", std::env::join_paths(search).expect("a path")).stdin(Stdio::null());
        around
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut podman = Command::new("podman");
        podman.args(args);
        run(self.around(&podman))
    }

    /// Makes an image of files, each with its path in it. What programs need is added.
    fn image(&self, name: &str, files: &[(&Path, &str)]) -> String {
        let root = tempfile::tempdir().expect("a folder");
        for (file, at) in files {
            let at = root.path().join(at);
            std::fs::create_dir_all(at.parent().expect("a folder")).expect("a folder");
            std::fs::copy(file, &at).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        let tar = self.path(&format!("{name}.tar"));
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(root.path()).arg("-cf").arg(&tar).arg(".");
        run(pack).expect_code(0);
        let reference = format!("localhost/{name}:1");
        // etcd takes these for flags, too, and ends where a flag is given twice.
        let variables = ["--change=ENV ETCD_DATA_DIR=/elsewhere", "--change=ENV ETCD_QUOTA_BACKEND_BYTES=1"];
        let arguments = [&["import", "--quiet"], &variables[..], &[tar.to_str().expect("text"), &reference]].concat();
        self.run(&arguments).expect_code(0);
        std::fs::remove_file(tar).expect("the archive");
        reference
    }

    /// An image with an etcd and the libraries that it is linked with.
    fn image_of(&self, name: &str, etcd: &Path) -> String {
        let mut ldd = Command::new("ldd");
        ldd.arg(etcd);
        let said = run(ldd).stdout;
        let libraries = said.split_whitespace().filter(|word| word.starts_with('/'));
        let mut files = vec![(etcd, "usr/local/bin/etcd")];
        files.extend(libraries.map(|library| (Path::new(library), &library[1..])));
        self.image(name, &files)
    }

    #[track_caller]
    fn assert_no_container(&self) {
        assert_eq!(self.run(&["ps", "--all", "--quiet"]).expect_code(0).stdout, "");
    }
}

#[test]
fn the_etcd_of_an_image_serves_a_backup_and_no_container_is_left() {
    let (place, podman) = (Place::new(), Podman::new());
    let file = place.file("a.db", &unpacked("snapshots/3.5.1.db.zst"));
    let command = |args: &[&str]| {
        let mut command = Command::new(plugin());
        command.args(["drill", &file, "--data-dir"]).arg(place.path("drills")).args(args);
        podman.around(command.current_dir(place.0.path()))
    };
    let drill = |args: &[&str]| {
        let ran = run(command(args));
        place.assert_nothing_left();
        podman.assert_no_container();
        ran
    };
    let image = podman.image_of("etcd", &new());
    let plan = drill(&["--etcd-image", &image, "--dry-run=client", "-o", "json"]).expect_code(0).json();
    assert_eq!((&plan["engine"], &plan["etcdVersion"]), (&"podman".into(), &"3.5.16".into()), "{plan}");
    let drilled = drill(&["--etcd-image", &image, "-o", "json"]).expect_code(0).json();
    assert_eq!((&drilled["verdict"], &drilled["reasons"]), (&"passed".into(), &json!([])), "{drilled}");
    let etcd = &drilled["etcd"];
    assert_eq!(
        (&etcd["image"], &etcd["engine"], &etcd["version"]),
        (&image.into(), &"podman".into(), &"3.5.16".into())
    );
    assert!(etcd["imageId"].as_str().is_some_and(|id| id.starts_with("sha256:")), "{etcd}");

    let old = podman.image_of("old", Path::new(OLD));
    let ran = drill(&["--etcd-image", &old]).expect_code(4);
    ran.expect_error(&["cannot serve a snapshot of etcd 3.5", "--etcd-image REF", "nothing was changed"]);
    let ran = drill(&["--etcd-image", "nosuch:1"]).expect_code(4);
    ran.expect_error(&["cannot pull image nosuch:1", "short-name", "nothing was changed"]);
    let plan = drill(&["--etcd-image", "nosuch:1", "--dry-run=client"]).expect_code(0);
    assert!(plan.stdout.contains("1. pull image nosuch:1 with podman"), "{}", plan.stdout);
    let shell = Path::new("/bin/busybox");
    let none = podman.image("none", &[(shell, "bin/sh")]);
    drill(&["--etcd-image", &none])
        .expect_code(4)
        .expect_error(&["cannot run the etcd of image", "nothing was changed"]);
    drill(&["--etcd-image=-v"]).expect_code(2).expect_error(&["no name of an image"]);
    // No right to run containers, and nothing that could.
    let mut without = command(&["--etcd-image", &old]);
    without.env("PATH", podman.path("bin").display().to_string() + ":/usr/sbin");
    // unshare and sh are found by their own paths.
    std::os::unix::fs::symlink("/usr/bin/unshare", podman.path("bin/unshare")).expect("a link");
    std::os::unix::fs::symlink("/bin/sh", podman.path("bin/sh")).expect("a link");
    run(without).expect_code(4).expect_error(&["no container can be run", "Docker daemon", "--in-cluster"]);

    // It never serves, so that it can be ended while it boots.
    let script = place.path("stuck");
    let text =
        "#!/bin/sh\n[ \"$1\" = --version ] && { echo 'etcd Version: 3.5.16'; exit 0; }\nwhile :; do sleep 1; done\n";
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let stuck = podman.image("stuck", &[(shell, "bin/sh"), (shell, "bin/sleep"), (&script, "bin/etcd")]);
    for (signal, code) in [("INT", Some(130)), ("KILL", None)] {
        let running = Running::start(command(&["--etcd-image", &stuck]));
        // The one that is named after the folder: the one before it, which etcd's version is asked of, runs for a moment only.
        until("the container runs", || {
            !podman.run(&["ps", "--quiet", "--filter", "name=^kubectl-etcd-drill-"]).stdout.is_empty()
        });
        running.signal(signal);
        let (status, said) = running.end();
        assert_eq!(status.code(), code, "{signal}: {said}");
        until("the container is gone", || podman.run(&["ps", "--all", "--quiet"]).expect_code(0).stdout.is_empty());
        if signal == "KILL" {
            until("etcd has ended", || place.etcds().is_empty());
            let folders = names(&place.path("drills"));
            std::fs::remove_dir_all(place.path("drills").join(&folders[0])).expect("the folder is all that is left");
        }
        place.assert_nothing_left();
    }
}

#[test]
fn a_gigabyte_is_drilled() {
    let place = Place::new();
    let mut unpack = Command::new("zstd");
    unpack.args(["-dq", "-o"]).arg(place.path("a.db"));
    unpack.arg(workspace().join("tests/data/snapshots/gigabyte.db.zst"));
    run(unpack).expect_code(0);
    let drill = place.drill(&new(), &["a.db", "-o", "json"]).expect_code(0).json();
    assert_eq!((&drill["verdict"], &drill["reasons"]), (&"passed".into(), &json!([])), "{drill}");
    assert_eq!((&drill["backup"]["size"], &drill["backup"]["revision"]), (&1_067_470_880_u64.into(), &722.into()));
    assert_eq!((&check(&drill, "keys")["served"], &check(&drill, "keys")["result"]), (&"721".into(), &"equal".into()));
}

/// What the pod of a schedule runs.
#[test]
fn a_pod_drills_the_newest_backup_of_a_store() {
    let offline = Offline::new();
    let snapshot = unpacked("snapshots/3.5.1.db.zst");
    let name = offline.backup_of(&snapshot, &offline.seal(&snapshot), Timestamp::now());
    let place = Place::new();
    let sidecar = |etcd: &Path, more: &[&str]| {
        let mut command = Command::new(plugin().with_file_name("etcd-sidecar"));
        command.args(["drill", "--store", &offline.url(""), "--trust-key", "sign.pub", "--etcd"]).arg(etcd);
        command.arg("--data-dir").arg(place.path("drills")).args(more);
        command.current_dir(offline.path("")).stdin(Stdio::null());
        command
    };
    let drill = |etcd: &Path, more: &[&str]| {
        let ran = run(sidecar(etcd, more));
        place.assert_nothing_left();
        ran
    };
    let keys = ["--identity", "identity.txt"];
    let folder = offline.path("store/v1").join(offline.cluster.to_string());
    let before = names(&folder);
    let other = drill(&new(), &["--identity", "other.txt"]).expect_code(2);
    assert!(other.stderr.contains("--identity FILE"), "{}", other.stderr);
    drill(&place.path("nosuch"), &keys).expect_code(4);
    assert!(drill(Path::new(OLD), &keys).expect_code(4).stderr.contains("cannot serve a snapshot of etcd 3.5"));
    drill(&new(), &[&keys[..], &["--sign-key", "sign"]].concat()).expect_code(2);
    assert_eq!(drill(&new(), &keys).expect_code(0).json()["verdict"], "passed");
    assert_eq!(names(&folder), before, "nothing is written unasked");
    let ran = drill(&new(), &[&keys[..], &["--attest", "--sign-key", "sign"]].concat()).expect_code(0);
    assert!(ran.stderr.contains(".proof"), "{}", ran.stderr);
    assert_eq!(names(&folder).iter().filter(|name| name.contains(".booted-")).count(), 4);
    let level = ["freshness", &offline.url(""), "--max-age", "3h", "--level", "booted", "--trust-key", "sign.pub"];
    offline.run(&level).expect_code(0);

    // Ended while etcd boots.
    let stuck = place.path("stuck");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && { echo 'etcd Version: 3.5.16'; exit 0; }\nexec sleep 1000\n";
    std::fs::write(&stuck, script).expect("a script");
    std::fs::set_permissions(&stuck, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let running = Running::start(sidecar(&stuck, &keys));
    until("etcd is started", || place.etcds().len() >= 2);
    running.signal("TERM");
    let (status, said) = running.end();
    assert!(status.code() == Some(1) && said.contains("SIGTERM"), "{said}");
    place.assert_nothing_left();

    let data = offline.data(&name);
    let mut damaged = std::fs::read(&data).expect("the data");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&data, damaged).expect("a damaged object");
    assert!(drill(&new(), &keys).expect_code(1).stderr.contains("damaged"));
}

#[test]
fn a_drill_of_a_backup_in_a_store_is_attested_beside_it() {
    let mut offline = Offline::new();
    let snapshot = unpacked("snapshots/3.5.1.db.zst");
    let two_hours_ago = Timestamp::now() - SignedDuration::from_hours(2);
    let place = Place::new();
    let etcd = new();
    let etcd = etcd.to_str().expect("text");
    let drills = place.path("drills");
    let common = ["--etcd", etcd, "--data-dir", drills.to_str().expect("text"), "-o", "json"];
    let drill = |offline: &Offline, more: &[&str]| {
        let ran = offline.trusted(&[&["drill", &offline.latest()], &common[..], more].concat());
        place.assert_nothing_left();
        ran
    };
    // Its record says that it is of another cluster than the snapshot is of.
    let own = std::mem::replace(&mut offline.cluster, "00000000-9f4b-4b0e-8f0e-0d6a4b1f2c3d".parse().expect("a UID"));
    offline.backup_of(&snapshot, &offline.seal(&snapshot), two_hours_ago);
    let ran = drill(&offline, &["--attest"]).expect_code(3).expect_error(&["another cluster"]);
    assert_eq!(check(&ran.json(), "kubeSystemUid")["result"], "different");
    let proofs = |offline: &Offline| {
        let all = names(&offline.path("store/v1").join(offline.cluster.to_string()));
        all.into_iter().filter(|name| name.contains(".booted-")).count()
    };
    assert_eq!(proofs(&offline), 0);
    std::fs::remove_dir_all(offline.path("store/v1")).expect("an empty store");

    offline.cluster = own;
    offline.backup_of(&snapshot, &offline.seal(&snapshot), two_hours_ago);
    let fresh = |offline: &Offline| {
        offline.run(&["freshness", &offline.url(""), "--max-age", "3h", "--level", "booted", "--trust-key", "sign.pub"])
    };
    let drilled = drill(&offline, &[]).expect_code(0).json();
    let age = drilled["rpo"]["seconds"].as_i64().expect("an age");
    assert!((7200..7800).contains(&age), "{drilled}");
    assert_eq!(
        (&drilled["backup"]["cluster"], &check(&drilled, "kubeSystemUid")["source"]),
        (&"prod-eu".into(), &"record".into())
    );
    assert_eq!(proofs(&offline), 0);
    fresh(&offline).expect_code(1).expect_error(&["booted is asked for"]);
    drill(&offline, &["--attest", "--sign-key", "sign"]).expect_code(0);
    assert_eq!(proofs(&offline), 4, "a proof, a report, and their signatures");
    let folder = offline.path("store/v1").join(offline.cluster.to_string());
    let report = names(&folder).into_iter().find(|name| name.ends_with(".report")).expect("a report");
    let report: Value = serde_json::from_slice(&std::fs::read(folder.join(report)).expect("a report")).expect("JSON");
    assert_eq!((&report["kind"], &report["verdict"]), (&"Drill".into(), &"passed".into()), "{report}");
    fresh(&offline).expect_code(0);
    let list = offline.run(&["list", &offline.url(""), "-o", "json"]);
    assert!(list.expect_code(0).stdout.contains("booted"));
    // Of a file there is no store to write to.
    let file = place.file("a.db", &snapshot);
    place.drill(&new(), &[&file, "--attest"]).expect_code(2).expect_error(&["the file is in no store"]);
}

/// On a lab: nothing of the machine's etcds is used, the pod serves the backup with the image of the cluster's etcd, and it goes whatever comes of the drill.
#[test]
fn the_clusters_own_etcd_serves_a_backup_in_a_pod() {
    let scene = Scene::new(1, lab::Etcd::V3_4);
    let outside = tempfile::tempdir().expect("a folder");
    let path = |name: &str| outside.path().join(name).to_str().expect("text").to_owned();
    let file = path("etcd.db");
    scene.ok(&["backup", &file]);

    let plan = scene.ok(&["drill", &file, "--in-cluster", "--dry-run=client", "-o", "json"]).json();
    assert_eq!((&plan["node"], &plan["namespace"]), (&"cp1".into(), &"kube-system".into()));
    assert!(plan["image"].as_str().is_some_and(|image| image.contains("etcd:3.4")), "{plan}");
    scene.assert_nothing_left();

    let drill = scene.ok(&["drill", &file, "--in-cluster", "-o", "json"]).json();
    assert_eq!((&drill["verdict"], &drill["reasons"]), (&"passed".into(), &json!([])), "{drill}");
    for name in ["revision", "hashKv", "keys", "kubeSystemUid"] {
        assert_eq!(check(&drill, name)["result"], "equal", "{drill}");
    }
    // The pod was told what was recorded.
    assert_eq!(check(&drill, "kubeSystemUid")["source"], "record");
    assert_eq!((&drill["etcd"]["node"], &drill["etcd"]["image"]), (&"cp1".into(), &plan["image"]));
    assert_eq!((&drill["by"]["program"], &drill["backup"]["file"]), (&"kubectl-etcd".into(), &file.into()));
    let phases: Vec<_> = drill["rto"]["phases"].as_array().expect("phases").iter().map(|one| &one["name"]).collect();
    assert_eq!(phases, ["open", "verify", "send", "restore", "boot", "compare", "read"]);
    assert_eq!(drill["apiServer"], Value::Null);
    scene.assert_nothing_left();

    // With the API server of that node: it lists what etcd has.
    let with = ["drill", &path("etcd.db"), "--node", "cp1", "--api-server"];
    let plan = scene.ok(&[&with[..], &["--dry-run=client", "-o", "json"]].concat()).json();
    assert!(plan["apiServerImage"].as_str().is_some_and(|image| image.contains("kube-apiserver:")), "{plan}");
    let drill = scene.ok(&[&with[..], &["-o", "json"]].concat()).json();
    let server = &drill["apiServer"];
    assert_eq!(
        (&drill["verdict"], &drill["reasons"], &server["result"]),
        (&"passed".into(), &json!([]), &"listed".into())
    );
    assert_eq!((&server["version"], &server["image"]), (&"v1.36.2".into(), &plan["apiServerImage"]), "{server}");
    assert!(server["readySeconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{server}");
    let resources = server["resources"].as_array().expect("resources");
    for one in drill["resources"].as_array().expect("resources") {
        let listed = resources.iter().find(|listed| listed["resource"] == one["resource"]).expect("it is listed");
        assert_eq!((&listed["objects"], &listed["result"]), (&one["objects"], &"listed".into()), "{listed}");
        assert!(listed["listed"].as_u64() >= one["objects"].as_u64(), "{listed}");
    }
    let phases: Vec<_> = drill["rto"]["phases"].as_array().expect("phases").iter().map(|one| &one["name"]).collect();
    assert_eq!(phases, ["open", "verify", "send", "restore", "boot", "compare", "read", "apiServer", "list"]);
    scene.assert_nothing_left();
    let here = run(scene.plugin(&["drill", &path("etcd.db"), "--api-server"]));
    here.expect_code(2).expect_error(&["--api-server has no effect", "add --in-cluster or --node"]);

    // What that etcd cannot read, what is no snapshot, and a sidecar that no node has.
    let newer = path("newer.db");
    std::fs::write(&newer, unpacked("snapshots/3.5.1.db.zst")).expect("a file");
    run(scene.plugin(&["drill", &newer, "--node", "cp1"])).expect_code(4).expect_error(&["3.5"]);
    scene.assert_nothing_left();
    run(scene.plugin(&["drill", &newer, "--node", "cp9"])).expect_code(4).expect_error(&["cp9"]);
    let no_image = ["drill", &path("etcd.db"), "--in-cluster", "--image", "nowhere:1", "--image-pull-policy", "Never"];
    run(scene.plugin(&no_image)).expect_code(1).expect_error(&["nowhere:1"]);
    scene.assert_nothing_left();

    // Interrupted once the pod is there.
    let drilling = Running::start(scene.plugin(&["drill", &path("etcd.db"), "--in-cluster"]));
    until("the pod is there", || !scene.sidecars().is_empty());
    drilling.signal("INT");
    assert_eq!(drilling.end().0.code(), Some(130));
    scene.assert_nothing_left();
}
