//! No API server is asked: a restore, its rollback and what they leave over SSH; and a quorum that is lost and rebuilt.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::restores::{State, journal_file, make, settled, spoil_new_data, stage};
use e2e::ssh::OverSsh;
use e2e::trouble::{etcdctl, processes, signal};
use e2e::{Ran, Running, Scene, etcd_3_5, run, until};
use lab::Etcd;

/// What the plugin calls a cluster of which it knows the nodes only.
const CLUSTER: &str = "cp1";

#[test]
fn a_control_plane_is_restored_over_ssh_and_rebuilt_once_its_quorum_is_lost() {
    let scene = stage(3, Etcd::V3_5);
    let ssh = OverSsh::start(&scene.lab);
    let go = |args: &[&str]| run(ssh.plugin(&scene, &ssh.flags("root", args)));

    go(&["restore", "a.db", "--dry-run=server"]).expect_code(2).expect_error(&["with --ssh none is asked"]);
    let plan = go(&["restore", "a.db", "--dry-run=client", "-o", "json"]).expect_code(0).json();
    assert_eq!(plan["cluster"]["kubeSystemUid"], plan["snapshot"]["kubeSystemUid"], "{plan}");
    assert!(plan["transaction"].is_object() && plan["resources"].is_array(), "{plan}");
    go(&["restore", "a.db", "--confirm", "other"]).expect_code(4).expect_error(&["this is cluster cp1"]);
    let ran = go(&["restore", "a.db", "--confirm", CLUSTER]).expect_code(0);
    ran.expect_error(&["restored cluster cp1 to revision"]);
    assert_eq!(settled(&scene), State::New);
    let shown = go(&["restore", "--status", "-o", "json"]).expect_code(0).json();
    assert_eq!((shown["unfinished"].is_null(), &shown["decision"]), (true, &"commit".into()), "{shown}");
    go(&["rollback", "--confirm", CLUSTER]).expect_code(0);
    assert_eq!(settled(&scene), State::Old);
    go(&["cleanup"]).expect_code(0).expect_error(&["no participant of a restore is on the nodes that answer"]);
    go(&["cleanup", "--old-data", "--yes"]).expect_code(0).expect_error(&["old data of restore"]);
    let ran = go(&["rollback", "--confirm", CLUSTER]).expect_code(4);
    ran.expect_error(&["there is nothing to roll back to"]);
    ssh.assert_nothing_on_nodes(&scene.lab);

    let ran = go(&["recover", "--from", "best", "--gone", "cp3", "--confirm", CLUSTER]).expect_code(4);
    ran.expect_error(&["etcd runs on 3 nodes, and 2 of 3 members are a quorum", "nothing was changed"]);
    lost_and_rebuilt(&scene, &ssh);
}

/// The member that leads, which has every write that was acknowledged.
fn leader(scene: &Scene) -> String {
    let leads = |node: &String| {
        let said = run(etcdctl(&scene.lab, node, &["endpoint", "status", "-w", "json"])).expect_code(0).json();
        said[0]["Status"]["leader"] == said[0]["Status"]["header"]["member_id"]
    };
    scene.lab.node_names().into_iter().find(leads).expect("a leader")
}

/// A survivor whose etcd does not take the new data is as it was found, without a quorum, and nothing is in the way of the next try.
fn given_up(scene: &Scene, survivor: &str, recover: Command) {
    let running = Running::start(recover);
    spoil_new_data(scene, survivor);
    let (status, said) = running.end_within(Duration::from_secs(300));
    assert_eq!(status.code(), Some(5), "{said}");
    let file = journal_file(scene, survivor).expect("a journal");
    let id = file.parent().and_then(|folder| folder.file_name()).expect("an id").to_owned();
    let root = scene.lab.node_root(survivor);
    assert_eq!(e2e::names(&root.join("var/lib/etcd/.kubectl-etcd").join(&id)), ["served"], "{said}");
    let program = root.join("var/lib/kubectl-etcd").join(&id).join("bin");
    until("the participant's program is gone", || !program.exists());
    let manifests = e2e::names(&root.join("etc/kubernetes/manifests"));
    for name in ["etcd.yaml", "kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"] {
        assert!(manifests.contains(&name.to_owned()), "{manifests:?}");
    }
    assert!(!manifests.contains(&"kubectl-etcd-restore.yaml".to_owned()), "{manifests:?}");
    until("etcd runs on the old data", || !processes(&scene.lab, survivor, &["etcd"]).is_empty());
}

/// All members are killed under writes, and two machines do not come back.
fn lost_and_rebuilt(scene: &Scene, ssh: &OverSsh) {
    make(scene, "before", "1");
    let survivor = leader(scene);
    let dead: Vec<String> = scene.lab.node_names().into_iter().filter(|node| *node != survivor).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writes = std::thread::scope(|scope| {
        let (told, survivor, lab) = (Arc::clone(&stop), &survivor, &scene.lab);
        let writer = scope.spawn(move || {
            let mut acknowledged = 0;
            while !told.load(Ordering::Relaxed) {
                let put = ["put", &format!("/acknowledged/{acknowledged:05}"), "1", "--command-timeout=2s"];
                if !run(etcdctl(lab, survivor, &put)).status.success() {
                    break;
                }
                acknowledged += 1;
            }
            acknowledged
        });
        until("writes are acknowledged", || {
            let listed = run(etcdctl(lab, survivor, &["get", "/acknowledged/00050", "--keys-only"]));
            listed.stdout.contains("00050")
        });
        dead.iter().for_each(|node| lab.power_off(node).expect("it is switched off"));
        for pid in processes(lab, survivor, &["etcd"]) {
            signal(pid, "KILL");
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("no panic")
    });

    let nodes = format!("{survivor}={}", scene.lab.node_ip(&survivor));
    let etcd = etcd_3_5().join("etcd").display().to_string();
    let go = |args: &[&str]| -> Ran {
        let words = [&["recover", "--from", "best", "--etcd", &etcd], args].concat();
        run(ssh.plugin(scene, &ssh.flags_with("root", &["--nodes", &nodes], &words)))
    };
    let files = || e2e::names(scene.folder.path()).into_iter().filter(|name| name.starts_with("etcd-recovered-"));
    let ran = go(&["--confirm", &survivor]).expect_code(4);
    ran.expect_error(&["may have its quorum on nodes that were not seen", "--gone", "nothing was changed"]);
    assert_eq!(files().count(), 0);
    let gone = dead.join(",");
    go(&["--gone", &format!("{gone},{survivor}"), "--confirm", &survivor]).expect_code(4).expect_error(&["answers"]);
    let plan = go(&["--gone", &gone, "--dry-run=client", "-o", "json"]).expect_code(0).json();
    assert_eq!(plan["transaction"]["quorumLost"]["gone"].as_array().map(Vec::len), Some(2), "{plan}");
    assert_eq!(plan["objects"].as_array().map(Vec::len), Some(0), "{plan}");
    let kept: Vec<String> = files().filter(|name| name.ends_with(".db")).collect();
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(scene.path(kept).metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    scene.ok(&["verify", kept]);
    for name in files().collect::<Vec<_>>() {
        std::fs::remove_file(scene.path(&name)).expect("it is ours");
    }

    let words = ["recover", "--from", "best", "--etcd", &etcd, "--gone", &gone, "--confirm", &survivor];
    let recover = ssh.plugin(scene, &ssh.flags_with("root", &["--nodes", &nodes], &words));
    given_up(scene, &survivor, recover);

    let ran = go(&["--gone", &gone, "--confirm", &survivor]).expect_code(0);
    let server = format!("https://{}:6443", scene.lab.node_ip(&survivor));
    let ready = run(scene.kubectl(&["--server", &server, "get", "configmap", "before", "-o", "json"])).expect_code(0);
    ran.expect_error(&["restored cluster", "must not serve the old data", "kubeadm join"]);
    assert_eq!(ready.json()["data"]["v"], "1");
    let listed =
        run(etcdctl(&scene.lab, &survivor, &["get", "/acknowledged/", "--prefix", "--keys-only"])).expect_code(0);
    let found = listed.stdout.lines().filter(|line| line.starts_with("/acknowledged/")).count();
    assert!(found >= writes, "{writes} writes were acknowledged, and {found} are there");
    let members = run(etcdctl(&scene.lab, &survivor, &["member", "list", "-w", "json"])).expect_code(0).json();
    assert_eq!(members["members"].as_array().map(Vec::len), Some(1), "{members}");
}
