//! `kubectl etcd restore FILE` and `kubectl etcd rollback`, where all goes well; and what is refused before anything is touched.

#[path = "support/other_build.rs"]
mod image;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use e2e::restores::{
    CLUSTER, State, age, decided, during, journal, make, restore, rolls_back_by_itself, settled, spoil_api_servers,
    stage, version,
};
use e2e::trouble::{etcdctl, processes};
use e2e::{Running, Scene, names, plugin, run, until};
use lab::Etcd;
use serde_json::Value;

#[test]
fn a_control_plane_goes_back_to_a_snapshot_and_forth_again() {
    for (nodes, etcd, further) in
        [(1, Etcd::V3_4, true), (3, Etcd::V3_4, false), (1, Etcd::V3_5, false), (3, Etcd::V3_5, true)]
    {
        let scene = stage(nodes, etcd);
        assert_eq!(settled(&scene), State::Old);
        let before = version(&scene);
        let ran = run(restore(&scene, &["-o", "json"])).expect_code(0);
        let report = ran.json();
        assert_eq!(report["kind"], "RestoreReport", "{report}");
        // Nothing is left over, and all of it was looked for.
        let left_overs = report["leftOvers"].as_array().expect("checks");
        let all_pass = left_overs.iter().all(|check| check["severity"] == "ok");
        assert!(left_overs.len() == 5 && all_pass, "{left_overs:?}");
        let revision = report["snapshotRevision"].as_i64().expect("the snapshot's revision");
        let result = format!("restored cluster {CLUSTER} to revision {revision}; API away ");
        assert!(ran.stderr.lines().last().is_some_and(|line| line.starts_with(&result)), "{}", ran.stderr);
        let by = report["startedBy"].as_str().unwrap_or_default();
        assert!(by.starts_with("kubernetes-admin ("), "the API server sees another user: {by}");
        assert_eq!(settled(&scene), State::New);
        // The backup's own pod was in the snapshot.
        assert!(scene.sidecars().is_empty(), "pods are left: {:?}", scene.sidecars());
        // Whoever has watched until then takes nothing new for old.
        assert!(version(&scene) > before, "resource versions rise");
        for node in scene.lab.node_names() {
            let done = journal(&scene, &node);
            assert!(done.contains(&"restored".to_owned()) && done.contains(&"finish done".to_owned()), "{done:?}");
            let aside = scene.lab.node_root(&node).join("var/lib/etcd/.kubectl-etcd");
            let id = report["id"].as_str().expect("an id");
            assert!(aside.join(id).join("old/member/snap/db").exists());
            assert!(!aside.join(id).join("snapshot.db").exists() && !aside.join(id).join("new/member").exists());
        }

        if !further {
            continue;
        }
        // A second one, and back to what it has set aside.
        age(&scene);
        assert_eq!(settled(&scene), State::Old);
        run(restore(&scene, &["-q"])).expect_code(0);
        assert_eq!(settled(&scene), State::New);
        let before = version(&scene);
        // What would be lost: `goes` is there now, `comes` only in the old data.
        let plan = run(scene.plugin(&["rollback", "--dry-run=client", "-o", "json"])).expect_code(0).json();
        let maps = plan["resources"].as_array().and_then(|all| all.iter().find(|one| one["resource"] == "configmaps"));
        let counts = maps.map(|maps| ["vanish", "comeBack", "change"].map(|what| maps[what].as_u64()));
        assert_eq!(counts, Some([Some(1); 3]), "{plan}");
        let ran = run(scene.plugin(&["rollback", "--confirm", CLUSTER])).expect_code(0);
        let result = format!("rolled back cluster {CLUSTER} to before restore ");
        assert!(ran.stderr.lines().last().is_some_and(|line| line.starts_with(&result)), "{}", ran.stderr);
        for line in ["  default  configmaps  goes", "  default  configmaps  comes", "  default  configmaps  changes"] {
            assert!(ran.stderr.lines().any(|other| other == line), "{line:?} is not in:\n{}", ran.stderr);
        }
        assert_eq!(settled(&scene), State::Old);
        assert!(version(&scene) > before, "resource versions rise");
        // And forth again, to what that has set aside, as it is.
        run(scene.plugin(&["rollback", "--keep-revisions", "--confirm", CLUSTER, "-q"])).expect_code(0);
        assert_eq!(settled(&scene), State::New);
        run(scene.plugin(&["cleanup", "--old-data", "--yes"])).expect_code(0);
        for node in scene.lab.node_names() {
            assert!(!scene.lab.node_root(&node).join("var/lib/etcd/.kubectl-etcd").exists());
            assert!(journal(&scene, &node).is_empty());
        }
    }
}

/// A workstation's clock is an hour ahead of the nodes', and another's an hour behind. Each makes certificates for the nodes.
#[test]
fn clocks_are_an_hour_apart() {
    let scene = stage(3, Etcd::V3_5);
    let library = std::fs::read_dir("/usr/lib").expect("libraries").flatten();
    let library = library.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    let library = library.expect("the package faketime is installed");
    let mut now = Vec::new();
    for shift in ["+1h", "-1h"] {
        let mut command = restore(&scene, &["-o", "json"]);
        command.env("LD_PRELOAD", &library).env("FAKETIME", shift).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let report = run(command).expect_code(0).json();
        assert_eq!(settled(&scene), State::New);
        age(&scene);
        // The names of restores begin with the workstation's day and time.
        now.push(report["id"].as_str().and_then(|id| id.get(..11)).expect("an id").to_owned());
    }
    assert_ne!(now[0], now[1], "the clock was not shifted");
    // Which one is the last is told by the nodes' clocks.
    let told = run(scene.plugin(&["restore", "--status", "-o", "json"])).expect_code(0).json();
    assert!(told["last"].as_str().is_some_and(|id| id.starts_with(&now[1])), "{told}");
    run(scene.plugin(&["rollback", "--confirm", CLUSTER])).expect_code(0);
    assert_eq!(settled(&scene), State::Old);
}

/// etcd's log lies in a directory beside the data; and etcd runs as a user of its own, whom data, log and keys belong to, and nobody else
/// may read them (CIS Kubernetes benchmark 1.1.1 to 1.1.12).
#[test]
fn a_log_of_its_own_directory_goes_with_the_data_and_both_stay_etcds() {
    let scene = stage(1, Etcd::V3_5);
    let root = scene.lab.node_root("cp1");
    let (manifests, wal) = (root.join("etc/kubernetes/manifests"), root.join("var/lib/etcd-wal"));
    let text = std::fs::read_to_string(manifests.join("etcd.yaml")).expect("a manifest");
    let text = text
        .replace("    - --data-dir=/var/lib/etcd\n", "    - --data-dir=/var/lib/etcd\n    - --wal-dir=/var/lib/etcd-wal\n")
        .replace("    volumeMounts:\n", "    volumeMounts:\n    - mountPath: /var/lib/etcd-wal\n      name: etcd-wal\n")
        .replace(
            "  volumes:\n",
            "  volumes:\n  - hostPath:\n      path: /var/lib/etcd-wal\n      type: DirectoryOrCreate\n    name: etcd-wal\n",
        )
        .replace("  securityContext:\n", "  securityContext:\n    runAsGroup: 2002\n    runAsUser: 2001\n");
    assert_eq!((text.matches("etcd-wal").count(), text.matches("runAsUser").count()), (5, 1), "{text}");
    std::fs::remove_file(manifests.join("etcd.yaml")).expect("the manifest is taken away");
    until("etcd has ended", || processes(&scene.lab, "cp1", &["etcd"]).is_empty());
    std::fs::rename(root.join("var/lib/etcd/member/wal"), &wal).expect("the log moves");
    for (folder, mode) in [("var/lib/etcd", 0o600), ("var/lib/etcd-wal", 0o600), ("etc/kubernetes/pki/etcd", 0o400)] {
        own(&root.join(folder), mode);
    }
    // Each level has a mode of its own.
    set_mode(&root.join("var/lib/etcd/member/snap"), 0o750);
    set_mode(&root.join("var/lib/etcd/member/snap/db"), 0o640);
    // It gets its name when it is whole, with the mode that it is to have.
    std::fs::write(root.join("etc/kubernetes/etcd.yaml"), text).expect("a manifest is written");
    set_mode(&root.join("etc/kubernetes/etcd.yaml"), 0o600);
    std::fs::rename(root.join("etc/kubernetes/etcd.yaml"), manifests.join("etcd.yaml"))
        .expect("the manifest is placed");
    assert_eq!(settled(&scene), State::Old);
    let before = owners(&root);
    assert_eq!(before["var/lib/etcd/member/snap/db"], "2001:2002 640", "{before:?}");
    scene.ok(&["backup", "b.db", "-q"]);
    let status = scene.ok(&["status", "-o", "json"]).json();
    assert_eq!(status["members"][0]["role"], "leader", "{status}");

    let segments = || names(&wal).into_iter().filter(|name| name.ends_with(".wal")).count();
    run(restore(&scene, &[])).expect_code(0);
    assert_eq!((settled(&scene), segments()), (State::New, 1));
    assert_eq!(owners(&root), before);
    for folder in ["etcd", "etcd-wal"] {
        let ours = root.join("var/lib").join(folder).join(".kubectl-etcd").metadata().expect("our folder");
        assert_eq!((ours.uid(), ours.mode() & 0o7777), (0, 0o700));
    }
    // Back by the node itself, because its API server does not become ready.
    age(&scene);
    let ran = during(&scene, &["--start-timeout", "15s"], |_| {
        spoil_api_servers(&scene, &["cp1"], |node| rolls_back_by_itself(&scene, node) && decided(&scene, node));
    });
    assert_eq!(ran.status.code(), Some(5), "{}", ran.stderr);
    assert_eq!((settled(&scene), segments()), (State::Old, 1));
    assert_eq!(owners(&root), before);
    run(scene.plugin(&["cleanup", "--old-data", "--yes"])).expect_code(0);
    assert!(!wal.join(".kubectl-etcd").exists() && !root.join("var/lib/etcd/.kubectl-etcd").exists());
    assert_eq!(settled(&scene), State::Old);
}

/// Asserts that the pods of a run that only looks are not privileged, mount nothing writable, and do not see the key of an authority.
#[track_caller]
fn only_looks(scene: &Scene, args: &[&str]) {
    let mut running = Running::start(scene.plugin(args));
    let mut seen = BTreeMap::new();
    while running.runs() {
        let selector = "app.kubernetes.io/managed-by=kubectl-etcd";
        let listed = run(scene.kubectl(&["get", "pods", "-A", "-l", selector, "-o", "json"])).expect_code(0).json();
        for pod in listed["items"].as_array().expect("a list") {
            seen.insert(pod["metadata"]["name"].to_string(), pod["spec"]["containers"][0].clone());
        }
    }
    let (status, said) = running.end();
    assert!(status.success() && !seen.is_empty(), "{said}");
    for container in seen.values() {
        assert_eq!(container["securityContext"]["privileged"], false, "{container}");
        for mount in container["volumeMounts"].as_array().expect("mounts") {
            assert_eq!(mount["readOnly"], true, "{container}");
            let path = Path::new(mount["mountPath"].as_str().expect("a path"));
            for key in ["/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/etcd/ca.key"] {
                assert!(!Path::new(key).starts_with(path), "{container} sees {key}");
            }
        }
    }
}

/// Gives a folder and all in it to etcd's user, and its files a mode.
fn own(folder: &Path, mode: u32) {
    std::os::unix::fs::chown(folder, Some(2001), Some(2002)).expect("a folder is given away");
    set_mode(folder, 0o700);
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_dir() {
            own(&path, mode);
        } else {
            std::os::unix::fs::chown(&path, Some(2001), Some(2002)).expect("a file is given away");
            set_mode(&path, mode);
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode is set");
}

/// Owner, group and mode of everything of etcd's on a node, and of the manifests; of files whose names change, of one of each kind.
fn owners(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, below: &Path, all: &mut BTreeMap<String, String>) {
        let path = root.join(below);
        let meta = path.metadata().expect("a file");
        let kind = match below.extension().and_then(|kind| kind.to_str()) {
            Some(kind @ ("wal" | "snap")) => below.with_file_name(format!("*.{kind}")),
            // What etcd has made ready, and will use soon.
            Some("tmp") => return,
            _ => below.to_owned(),
        };
        let shown = format!("{}:{} {:o}", meta.uid(), meta.gid(), meta.mode() & 0o7777);
        all.insert(kind.display().to_string(), shown);
        if meta.is_dir() {
            names(&path)
                .iter()
                .filter(|name| *name != ".kubectl-etcd")
                .for_each(|name| walk(root, &below.join(name), all));
        }
    }
    let mut all = BTreeMap::new();
    for folder in ["var/lib/etcd", "var/lib/etcd-wal", "etc/kubernetes/pki/etcd", "etc/kubernetes/manifests"] {
        walk(root, Path::new(folder), &mut all);
    }
    // Only the restored data has a snapshot of raft's from its beginning.
    all.remove("var/lib/etcd/member/snap/*.snap");
    all
}

#[test]
fn a_dry_run_and_a_port_that_is_taken_change_nothing() {
    let scene = stage(1, Etcd::V3_5);
    only_looks(&scene, &["restore", "a.db", "--dry-run=client"]);
    let lower = run(restore(&scene, &["--bump-revision", "0"])).expect_code(4);
    lower.expect_error(&["a member has served revision", "the least bump that is safe is", "nothing was changed"]);
    for dry_run in ["--dry-run=client", "--dry-run=server"] {
        let plan = run(scene.plugin(&["restore", "a.db", dry_run, "-o", "json"])).expect_code(0);
        assert_eq!(plan.json()["kind"], "RestorePlan");
        assert_eq!(
            plan.stderr.contains("would admit the privileged pod"),
            dry_run.ends_with("server"),
            "{}",
            plan.stderr
        );
    }
    let ran = run(restore(&scene, &["--peer-port", "6443"]));
    assert!(matches!(ran.status.code(), Some(1 | 4)) && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    assert!(ran.stderr.contains("6443"), "{}", ran.stderr);
    // A backup that is to be taken first, and cannot be.
    let store = format!("file://{}", scene.path("store").display());
    let into = |url: &str| ["--store", url, "--no-encryption"].map(str::to_owned);
    let told = run(scene.plugin(&["restore", "a.db", "--dry-run=client", "--store", &store, "--no-encryption"]));
    told.expect_code(0).expect_error(&["a backup of class pre-restore would be taken into"]);
    assert!(!scene.path("store").exists());
    let nowhere = into("file:///proc/nowhere");
    let ran = run(restore(&scene, &nowhere.each_ref().map(String::as_str))).expect_code(4);
    ran.expect_error(&[
        "the backup of the current state failed, so nothing was restored",
        "nothing was changed on any node",
    ]);
    assert!(scene.sidecars().is_empty() && journal(&scene, "cp1").is_empty());
    scene.assert_nodes_untouched();
    assert_eq!(settled(&scene), State::Old);

    // As on a directory that was built with etcdutl's defaults.
    let members = || {
        run(etcdctl(&scene.lab, "cp1", &["member", "list", "-w", "json"])).expect_code(0).json()["members"][0].clone()
    };
    let id = format!("{:x}", members()["ID"].as_u64().expect("an id"));
    let local = "--peer-urls=http://localhost:2380";
    run(etcdctl(&scene.lab, "cp1", &["member", "update", &id, local])).expect_code(0);
    std::fs::create_dir(scene.path("store")).unwrap();
    let ran = run(restore(&scene, &into(&store).each_ref().map(String::as_str))).expect_code(0);
    let ran = ran.expect_error(&["has peer URL http://localhost:2380", "the current state is backed up as"]);
    let folders = names(&scene.path("store/v1"));
    let taken = names(&scene.path("store/v1").join(&folders[0]));
    assert!(taken.len() == 2 && taken.iter().all(|name| name.contains("-pre-restore-")), "{taken:?}: {}", ran.stderr);
    let own = format!("https://{}:2380", scene.lab.node_ip("cp1"));
    assert_eq!(members()["peerURLs"], serde_json::json!([own]));
    let done = journal(&scene, "cp1");
    only_looks(&scene, &["restore", "--status"]);
    only_looks(&scene, &["rollback", "--dry-run=client"]);
    for dry_run in ["--dry-run=client", "--dry-run=server"] {
        let plan = run(scene.plugin(&["rollback", dry_run, "-o", "json"])).expect_code(0).json();
        assert_eq!((&plan["kind"], plan["transaction"].is_object()), (&"RollbackPlan".into(), true), "{plan}");
    }
    assert_eq!((settled(&scene), journal(&scene, "cp1")), (State::New, done));
}

#[test]
fn nothing_is_touched_unless_it_is_confirmed() {
    let scene = stage(1, Etcd::V3_5);
    for (flags, text) in [(&[][..], "--confirm"), (&["--confirm", "other"][..], "other")] {
        let ran = run(scene.plugin(&[&["restore", "a.db"], flags].concat())).expect_code(4);
        assert!(ran.stderr.contains(text) && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
        let ran = run(scene.plugin(&[&["rollback"], flags].concat())).expect_code(4);
        assert!(ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    }
    let ran = run(scene.plugin(&["rollback", "--confirm", CLUSTER])).expect_code(4);
    assert!(ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    // Nor with a sidecar of other sources.
    let mut show = Command::new(plugin());
    show.args(["version", "--client", "-o", "json"]);
    let own = run(show).expect_code(0).json()["build"].as_str().expect("a build").to_owned();
    let other: String = own.chars().rev().collect();
    image::of_build(&scene.lab, "lab.example/other:1", &own, &other);
    let ran = run(restore(&scene, &["--image", "lab.example/other:1"])).expect_code(4);
    let texts = ["the plugin and the sidecar are different builds", &own, "the sidecar on node cp1", &other, "--image"];
    ran.expect_error(&texts).expect_error(&["nothing was changed", "the plan would not be carried out"]);
    assert!(scene.sidecars().is_empty());
    scene.assert_nodes_untouched();
    assert_eq!(settled(&scene), State::Old);
    out_of_a_store(&scene);
}

/// A backup in a store is put back as a file is, object by object or as a whole; and the current state is stored first, or nothing happens.
fn out_of_a_store(scene: &Scene) {
    let tool = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(scene.path(""));
        run(command).expect_code(0).stdout
    };
    tool("age-keygen", &["-o", "identity.txt"]);
    let recipient = tool("age-keygen", &["-y", "identity.txt"]);
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "sign"]);
    std::fs::create_dir(scene.path("store")).unwrap();
    let url = format!("file://{}", scene.path("store").display());
    let latest = format!("{url}/latest");
    let to = ["--store", &url, "--recipient", recipient.trim(), "--sign-key", "sign"];
    let keys = ["--identity", "identity.txt", "--trust-key", "sign.pub"];
    let confirmed = ["--confirm", CLUSTER];
    let records = || {
        let folder = std::fs::read_dir(scene.path("store/v1")).unwrap().next().unwrap().unwrap().path();
        let files: Vec<String> = names(&folder).into_iter().filter(|name| name.ends_with(".json")).collect();
        files.iter().map(|name| serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()).collect()
    };
    scene.ok(&[&["backup"], &to[..]].concat());
    run(scene.kubectl(&["delete", "configmap", "comes"])).expect_code(0);
    scene.ok(&[&["apply", &latest, "configmap/comes", "-n", "default", "--yes"], &keys[..]].concat());
    assert_eq!(settled(scene), State::Old);

    // The opposite of what made it old.
    make(scene, "goes", "1");
    let patch = ["patch", "configmap", "changes", "--type", "merge", "-p", r#"{"data":{"v":"1"}}"#];
    run(scene.kubectl(&patch)).expect_code(0);
    run(scene.kubectl(&["delete", "configmap", "comes"])).expect_code(0);
    assert_eq!(settled(scene), State::New);
    // There is no room to check the backup of the current state, so nothing is restored. It stays in the store as what it is.
    let mut crowded = restore(scene, &to);
    crowded.env("TMPDIR", "/proc");
    run(crowded).expect_code(4).expect_error(&["was not checked: nothing was restored", "TMPDIR=FOLDER"]);
    assert_eq!(settled(scene), State::New);
    std::fs::create_dir(scene.path("tmp")).unwrap();
    let mut command = scene.plugin(&[&["restore", &latest], &keys[..], &to, &confirmed].concat());
    command.env("TMPDIR", scene.path("tmp"));
    let done = run(command).expect_code(0);
    assert!(done.stderr.contains("the current state is backed up as "), "{}", done.stderr);
    assert_eq!(settled(scene), State::Old);
    assert_eq!(names(&scene.path("tmp")), [""; 0]);
    let records: Vec<Value> = records();
    let of = |class: &str, level: &str| {
        let mut found = records.iter().filter(|record| record["class"] == class && record["level"] == level);
        found.next().unwrap_or_else(|| panic!("a backup of class {class} and level {level}: {records:?}"))
    };
    assert_eq!(of("pre-restore", "digest")["snapshot"]["revision"], Value::Null);
    let before = format!("{url}/{}", of("pre-restore", "written")["name"].as_str().unwrap());
    let had = scene.ok(&[&["get", &before, "configmaps", "-n", "default", "-o", "name"], &keys[..]].concat()).stdout;
    assert!(had.contains("configmap/goes") && !had.contains("configmap/comes"), "{had}");
}
