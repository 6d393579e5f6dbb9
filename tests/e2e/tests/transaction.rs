//! `kubectl etcd restore FILE` and `kubectl etcd rollback`, where all goes well; and what is refused before anything is touched.

use std::collections::BTreeMap;
use std::path::Path;

use e2e::restores::{CLUSTER, State, age, journal, restore, settled, stage, version};
use e2e::trouble::{etcdctl, processes};
use e2e::{Running, Scene, names, run, until};
use lab::Etcd;

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
        run(scene.plugin(&["rollback", "--confirm", CLUSTER])).expect_code(0);
        assert_eq!(settled(&scene), State::Old);
        assert!(version(&scene) > before, "resource versions rise");
        // And forth again, to what that has set aside, as it is.
        run(scene.plugin(&["rollback", "--keep-revisions", "--confirm", CLUSTER, "-q"])).expect_code(0);
        assert_eq!(settled(&scene), State::New);
        run(scene.plugin(&["cleanup", "--aside", "--yes"])).expect_code(0);
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

/// etcd's log lies in a directory beside the data.
#[test]
fn a_log_of_its_own_directory_goes_with_the_data() {
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
        );
    assert_eq!(text.matches("etcd-wal").count(), 5, "{text}");
    std::fs::remove_file(manifests.join("etcd.yaml")).expect("the manifest is taken away");
    until("etcd has ended", || processes(&scene.lab, "cp1", &["etcd"]).is_empty());
    std::fs::rename(root.join("var/lib/etcd/member/wal"), &wal).expect("the log moves");
    std::fs::write(manifests.join("etcd.yaml"), text).expect("a manifest is written");
    assert_eq!(settled(&scene), State::Old);

    let segments = || names(&wal).into_iter().filter(|name| name.ends_with(".wal")).count();
    run(restore(&scene, &[])).expect_code(0);
    assert_eq!((settled(&scene), segments()), (State::New, 1));
    run(scene.plugin(&["rollback", "--confirm", CLUSTER])).expect_code(0);
    assert_eq!((settled(&scene), segments()), (State::Old, 1));
    run(scene.plugin(&["cleanup", "--aside", "--yes"])).expect_code(0);
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
            plan.stderr.contains("would take the privileged pod"),
            dry_run.ends_with("server"),
            "{}",
            plan.stderr
        );
    }
    let ran = run(restore(&scene, &["--peer-port", "6443"]));
    assert!(matches!(ran.status.code(), Some(1 | 4)) && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    assert!(ran.stderr.contains("6443"), "{}", ran.stderr);
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
    run(restore(&scene, &[])).expect_code(0).expect_error(&["has peer URL http://localhost:2380"]);
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
    assert!(scene.sidecars().is_empty());
    scene.assert_nodes_untouched();
    assert_eq!(settled(&scene), State::Old);
}
