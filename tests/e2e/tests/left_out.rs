//! `kubectl etcd restore FILE --to-nodes`: the other nodes are left out of the new cluster.

use e2e::restores::{
    CLUSTER, State, during, journal, participants, restore, settled, settled_on, spoil_new_data, stage,
};
use e2e::trouble::{etcdctl, processes};
use e2e::{Scene, names, run, until};
use lab::Etcd;

/// A node that is left out has no API server any more, and its kubelet takes no pods.
const SHORT: [&str; 2] = ["--pod-running-timeout", "5s"];

/// How many members the etcd cluster has, as a node's own says.
fn members(scene: &Scene, node: &str) -> usize {
    let listed = run(etcdctl(&scene.lab, node, &["member", "list", "-w", "json"])).expect_code(0).json();
    listed["members"].as_array().expect("a list").len()
}

#[test]
fn a_node_is_stopped_and_left_out() {
    let scene = stage(3, Etcd::V3_5);
    let root = scene.lab.node_root("cp2");
    let others = ["cp1", "cp3"].map(str::to_owned);

    let report = run(restore(&scene, &["--to-nodes", "cp1,cp3", "-o", "json"])).expect_code(0).json();
    assert_eq!(settled_on(&scene, &others), State::New);
    assert_eq!((members(&scene, "cp1"), members(&scene, "cp3")), (2, 2));
    let left_out = &report["leftOut"][0];
    assert_eq!((&left_out["node"], report["nodes"].as_array().map(Vec::len)), (&"cp2".into(), Some(2)), "{report}");
    // It is stopped, its manifests are where the report says, and its data is as it was.
    until("its participant is gone", || participants(&scene, "cp2").is_empty());
    for program in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        assert!(processes(&scene.lab, "cp2", &[program]).is_empty(), "{program} runs on cp2");
    }
    let held = root.join(left_out["manifests"].as_str().expect("a folder").trim_start_matches('/'));
    assert_eq!(names(&held).len(), 4, "{:?}", names(&held));
    assert!(names(&root.join("etc/kubernetes/manifests")).is_empty());
    assert!(root.join("var/lib/etcd/member/snap/db").exists() && !root.join("var/lib/etcd/.kubectl-etcd").exists());
    let told = run(scene.plugin(&[&["restore", "--status"], &SHORT[..]].concat())).expect_code(0).stdout;
    assert!(told.contains("Left out: cp2"), "{told}");

    // Its member is part of the old data, which comes back without it.
    let ran = run(scene.plugin(&[&["rollback", "--keep-revisions", "--confirm", CLUSTER], &SHORT[..]].concat()))
        .expect_code(4);
    assert!(
        ran.stderr.contains("left nodes out (cp2)") && ran.stderr.contains("nothing was changed"),
        "{}",
        ran.stderr
    );
    // A member that has joined since is not stopped by it, and must not go on as the cluster that is given up.
    let added = ["member", "add", "new", "--peer-urls=https://192.0.2.1:2380", "-w", "json"];
    let added = run(etcdctl(&scene.lab, "cp1", &added)).expect_code(0).json();
    let ran = run(scene.plugin(&[&["rollback", "--confirm", CLUSTER], &SHORT[..]].concat()));
    assert!(matches!(ran.status.code(), Some(1 | 4)) && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    assert!(ran.stderr.contains("would keep running beside the new cluster"), "{}", ran.stderr);
    assert_eq!(settled_on(&scene, &others), State::New);
    let id = format!("{:x}", added["member"]["ID"].as_u64().expect("an ID"));
    run(etcdctl(&scene.lab, "cp1", &["member", "remove", &id])).expect_code(0);
    run(scene.plugin(&[&["rollback", "--confirm", CLUSTER], &SHORT[..]].concat())).expect_code(0);
    assert_eq!(settled_on(&scene, &others), State::Old);
    assert_eq!(members(&scene, "cp1"), 2);
    run(scene.plugin(&[&["cleanup", "--old-data", "--yes"], &SHORT[..]].concat())).expect_code(0);
    assert_eq!(names(&held).len(), 4, "its manifests are nothing that is cleaned up");
}

#[test]
fn a_restore_that_fails_brings_back_what_it_left_out() {
    let scene = stage(3, Etcd::V3_5);
    let flags = ["--to-nodes", "cp1,cp3", "--start-timeout", "15s"];
    let ran = during(&scene, &flags, |_| spoil_new_data(&scene, "cp3"));
    assert_eq!(ran.status.code(), Some(5), "{}", ran.stderr);
    assert!(journal(&scene, "cp2").contains(&"wentBack".to_owned()));
    assert_eq!(settled(&scene), State::Old);
}

#[test]
fn a_node_without_power_is_left_out() {
    let scene = stage(3, Etcd::V3_5);
    let others = ["cp1", "cp2"].map(str::to_owned);
    scene.lab.power_off("cp3").expect("cp3 goes down");
    let leads = |node: &str| run(etcdctl(&scene.lab, node, &["endpoint", "health"])).status.success();
    until("the others go on", || {
        leads("cp1") && leads("cp2") && run(scene.kubectl(&["get", "pods", "-A"])).status.success()
    });
    // Two that cannot be stopped could go on without the third.
    let ran = run(restore(&scene, &[&SHORT[..], &["--to-nodes", "cp9"]].concat())).expect_code(4);
    assert!(ran.stderr.contains("on node cp9") && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    let ran = run(restore(&scene, &[&SHORT[..], &["--to-nodes", "cp1,cp2"]].concat())).expect_code(0);
    assert!(ran.stderr.contains("node cp3 is left out and was not reached"), "{}", ran.stderr);
    assert_eq!(settled_on(&scene, &others), State::New);
    assert_eq!(members(&scene, "cp1"), 2);

    // With its old data it comes back to a cluster that does not know it.
    scene.lab.power_on("cp3").expect("cp3 comes up");
    until("its etcd runs", || !processes(&scene.lab, "cp3", &["etcd"]).is_empty());
    assert_eq!(settled_on(&scene, &others), State::New);
    run(etcdctl(&scene.lab, "cp3", &["put", "a", "b", "--command-timeout=2s"])).expect_code(1);
    assert_eq!(members(&scene, "cp1"), 2);
    run(scene.plugin(&[&["rollback", "--confirm", CLUSTER], &SHORT[..]].concat())).expect_code(0);
    assert_eq!(settled_on(&scene, &others), State::Old);
}
