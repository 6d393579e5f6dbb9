//! `doctor`: a control plane in which nothing is wrong passes every check, and each illness is found, and nothing else.

use std::collections::BTreeMap;

use e2e::ssh::OverSsh;
use e2e::trouble::{processes, signal};
use e2e::{Ran, Scene, run, until};
use lab::{Etcd, Issue};
use serde_json::{Value, json};

use crate::image;

/// What was found, by the check: what it came to, and the evidence. Checks that passed are not in it.
fn found(ran: &Ran) -> BTreeMap<String, (String, String)> {
    let told = ran.json();
    let checks = told["checks"].as_array().expect("checks");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let not_ok = checks.iter().filter(|check| check["severity"] != "ok");
    let lines = |check: &Value| check["evidence"].as_array().expect("evidence").iter().map(text).collect::<Vec<_>>();
    not_ok.map(|check| (text(&check["check"]), (text(&check["severity"]), lines(check).join("; ")))).collect()
}

/// Asserts that these checks have found something, and no other.
#[track_caller]
fn assert_found(ran: &Ran, expected: &[(&str, &str, &str)]) {
    let found = found(ran);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let mut wanted: Vec<&str> = expected.iter().map(|(name, ..)| *name).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted, "{found:?}");
    for (name, severity, evidence) in expected {
        let (found, said) = &found[*name];
        assert!(found == severity && said.contains(evidence), "{name}: {found}: {said}");
    }
}

/// The finding of every run without --ssh.
const NO_SSH: (&str, &str, &str) = ("break-glass", "unknown", "pass --ssh");

/// A pod that goes on when it is told to end, and that no API has.
fn leave_a_pod(scene: &Scene) -> u32 {
    const SCRIPT: &str = "trap '' TERM; while :; do /busybox sleep 1; done";
    image::impostor(&scene.lab, "lab.example/stays:1", "exit 1");
    let command = ["/busybox", "sh", "-c", SCRIPT];
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stays", "namespace": "default"}, "spec": {
        "nodeName": "cp3", "hostNetwork": true, "terminationGracePeriodSeconds": 3600,
        "containers": [{"name": "stays", "image": "lab.example/stays:1", "command": command}]}});
    scene.apply(&pod.to_string());
    let process = || processes(&scene.lab, "cp3", &command);
    until("it runs", || process().len() == 1);
    let delete = ["delete", "pod", "stays", "-n", "default", "--force", "--grace-period=0"];
    run(scene.kubectl(&delete)).expect_code(0);
    process()[0]
}

/// What a restore leaves over: what the API does not know, or only the API.
fn leave_over(scene: &Scene) -> u32 {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "w9"}});
    let lease = |namespace: &str, name: &str, time: &str, labels: Value| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"namespace": namespace, "name": name, "labels": labels},
            "spec": {"holderIdentity": name, "renewTime": format!("2026-01-01T{time}.000000Z")}})
    };
    let of_api_server =
        |host: &str| json!({"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": host});
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"namespace": "default", "name": "kubernetes"},
        "subsets": [{"addresses": [{"ip": "192.0.2.9"}], "ports": [{"name": "https", "port": 6443}]}]});
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-9"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": "/srv"}, "claimRef": {"namespace": "default", "name": "data", "uid": "11111111-2222-4333-8444-555555555555"}}});
    let token = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": {
        "namespace": "default", "name": "robot-token", "annotations": {"kubernetes.io/service-account.name": "robot"}}});
    let none = || json!({});
    for object in [
        node,
        lease("kube-node-lease", "w9", "00:00:00", none()),
        lease("kube-node-lease", "cp1", "05:00:00", none()),
        lease("kube-system", "apiserver-old", "00:00:00", of_api_server("cp9")),
        lease("kube-system", "apiserver-new", "05:00:00", of_api_server("cp1")),
        endpoints,
        volume,
        token,
    ] {
        scene.apply(&object.to_string());
    }
    let put = scene.lab.etcdctl("cp1", &["put", "/registry/masterleases/192.0.2.9", "a record"]).unwrap();
    assert!(put.status.success(), "{put:?}");
    leave_a_pod(scene)
}

/// Types what mends a check, but for what is typed on a node.
fn type_what_mends(scene: &Scene, ran: &Ran, check: &str) {
    let told = ran.json();
    let found =
        told["checks"].as_array().and_then(|all| all.iter().find(|one| one["check"] == check)).expect("a check");
    for line in found["mend"].as_array().expect("commands") {
        let (command, _why) =
            line.as_str().and_then(|line| line.split_once(" (")).unwrap_or((line.as_str().expect("text"), ""));
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(words[0], "kubectl", "{line}");
        run(scene.kubectl(&words[1..])).expect_code(0);
    }
}

#[test]
fn each_illness_is_found_and_nothing_else() {
    let mut scene = Scene::new(3, Etcd::V3_4);
    let manifests = |scene: &Scene, node: &str| scene.lab.node_root(node).join("etc/kubernetes/manifests");

    // As kubeadm leaves its first node. Backups are not looked at.
    let ran = run(scene.plugin(&["doctor", "-o", "json", "--exit-code"])).expect_code(1);
    let no_store = |name| (name, "unknown", "pass --store");
    let first = ("initial-cluster", "warning", "cp1: with its data lost it comes up as an empty cluster of its own");
    assert_found(&ran, &[first, no_store("backup"), no_store("node-files"), NO_SSH]);
    scene.assert_nothing_left();

    // Mended as it says.
    let told = ran.json();
    let checks = told["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["check"] == "initial-cluster").expect("it was found");
    let mend = check["mend"][0].as_str().expect("text");
    let flags: Vec<&str> = mend.split(' ').filter(|word| word.starts_with("--")).collect();
    let etcd = manifests(&scene, "cp1").join("etcd.yaml");
    let text = std::fs::read_to_string(&etcd).unwrap();
    let line = text.lines().find(|line| line.contains("--initial-cluster=")).unwrap();
    let (indent, _) = line.split_once("--").unwrap();
    let lines: Vec<String> = flags.iter().map(|flag| format!("{indent}{flag}")).collect();
    let beside = etcd.with_file_name(".etcd.yaml");
    std::fs::write(&beside, text.replace(line, &lines.join("\n"))).unwrap();
    std::fs::rename(&beside, &etcd).unwrap();
    until("etcd has its new flags", || {
        let pod = run(scene.kubectl(&["get", "pod", "-n", "kube-system", "etcd-cp1", "-o", "json"]));
        pod.stdout.contains(flags[1]) && run(scene.plugin(&["status", "--exit-code"])).status.success()
    });

    // With a backup that has everything.
    let (store, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keygen = |args: &[&str]| {
        let mut command = std::process::Command::new("age-keygen");
        command.args(args).current_dir(keys.path());
        run(command).expect_code(0).stdout.trim().to_owned()
    };
    keygen(&["-o", "identity.txt"]);
    let recipient = keygen(&["-y", "identity.txt"]);
    let store = format!("file://{}", store.path().display());
    scene.ok(&["backup", "--store", &store, "--recipient", &recipient, "--node-files"]);
    scene.accept_nodes();
    let doctor = |scene: &Scene, code: i32| {
        let flags = ["doctor", "--store", &store, "--max-age", "6h", "--exit-code", "-o", "json"];
        run(scene.plugin(&flags)).expect_code(code)
    };
    assert_found(&doctor(&scene, 0), &[NO_SSH]);
    scene.assert_nothing_left();

    // A copy beside the original.
    let copy = manifests(&scene, "cp2").join("kube-scheduler.yaml.bak");
    std::fs::copy(manifests(&scene, "cp2").join("kube-scheduler.yaml"), &copy).unwrap();
    let stray = ("static-pods", "error", "cp2: kube-scheduler.yaml, kube-scheduler.yaml.bak all start kube-scheduler");
    assert_found(&doctor(&scene, 2), &[stray, NO_SSH]);
    std::fs::remove_file(&copy).unwrap();

    // The certificate that peers are shown has expired; the one that clients are shown has not.
    let pki = scene.lab.node_root("cp2").join("etc/kubernetes/pki/etcd");
    let peer = ["peer.crt", "peer.key"].map(|name| pki.join(name));
    scene.lab.reissue_all("cp2", Issue::Expired).unwrap();
    let expired = peer.each_ref().map(|file| std::fs::read(file).unwrap());
    scene.lab.reissue_all("cp2", Issue::Valid).unwrap();
    let valid = peer.each_ref().map(|file| std::fs::read(file).unwrap());
    let put =
        |pair: &[Vec<u8>; 2]| peer.iter().zip(pair).for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
    put(&expired);
    let ran = doctor(&scene, 2);
    assert_found(
        &ran,
        &[("certificates", "error", "cp2: /etc/kubernetes/pki/etcd/peer.crt expired 24 hours ago"), NO_SSH],
    );
    put(&valid);

    // What a restore leaves over; and what mends it, word for word.
    let stays = leave_over(&scene);
    let ran = doctor(&scene, 1);
    let left_over = [
        ("left-over-pods", "cp3: default/stays runs, and its UID "),
        (
            "left-over-nodes",
            "w9: its lease was renewed 5 hours before that of another node; its kubelet does not answer",
        ),
        (
            "left-over-leases",
            "lease apiserver-old of cp9 was renewed 5 hours before that of another API server; service kubernetes has address 192.0.2.9",
        ),
        ("left-over-volumes", "pv-9: its claim default/data is gone"),
        ("left-over-tokens", "default/robot-token: its ServiceAccount robot is gone"),
    ];
    let warned: Vec<_> =
        left_over.iter().map(|(check, evidence)| (*check, "warning", *evidence)).chain([NO_SSH]).collect();
    assert_found(&ran, &warned);
    for check in ["left-over-nodes", "left-over-leases", "left-over-volumes", "left-over-tokens"] {
        type_what_mends(&scene, &ran, check);
    }
    let record = scene.lab.etcdctl("cp1", &["get", "--keys-only", "/registry/masterleases/192.0.2.9"]).unwrap();
    assert!(record.status.success() && record.stdout.is_empty(), "{record:?}");
    // An API server writes these addresses itself.
    run(scene.kubectl(&["delete", "endpoints", "kubernetes", "-n", "default"])).expect_code(0);
    signal(stays, "KILL");
    assert_found(&doctor(&scene, 0), &[NO_SSH]);

    // A member that was added and never started.
    let added =
        scene.lab.etcdctl("cp1", &["member", "add", "ghost", "--learner", "--peer-urls=https://192.0.2.1:2380"]);
    let added = added.unwrap();
    assert!(added.status.success(), "{added:?}");
    let table = run(scene.plugin(&["doctor", "--store", &store, "--exit-code"])).expect_code(1);
    assert!(table.stdout.lines().take(3).all(|line| line.len() <= 80), "{}", table.stdout);
    assert!(table.stdout.contains("\nlearners      warning   member "), "{}", table.stdout);
    assert!(table.stdout.ends_with("\n0 errors, 1 warning, 1 not checked, 29 passed\n"), "{}", table.stdout);
    table.expect_error(&["1 check has found a warning"]);
    let list = scene.ok(&["member", "list", "-o", "json"]).json();
    let ghost = list["members"].as_array().unwrap().iter().find(|member| member["learner"] == true).unwrap();
    let id = ghost["id"].as_str().unwrap();
    scene.ok(&["member", "remove", id, "--confirm", id]);

    // The way that is left when no API server answers.
    let over = OverSsh::start(&scene.lab);
    let ran =
        run(over.plugin(&scene, &over.flags("root", &["doctor", "--store", &store, "-o", "json"]))).expect_code(0);
    let unasked = |name| (name, "unknown", "with --ssh no API server is asked");
    let of_api = ["kubeconfig", "kubernetes-versions"].into_iter().chain(left_over.iter().map(|(check, _)| *check));
    assert_found(&ran, &of_api.map(unasked).collect::<Vec<_>>());
    over.assert_nothing_on_nodes(&scene.lab);
    assert!(scene.sidecars().is_empty());
}

#[test]
fn a_check_is_taught_without_a_cluster() {
    let plugin = |args: &[&str]| {
        let mut command = std::process::Command::new(e2e::plugin());
        command.args(args).env("KUBECONFIG", "/nonexistent");
        run(command)
    };
    let page = plugin(&["doctor", "--explain", "static-pods"]).expect_code(0).stdout;
    assert!(page.starts_with("static-pods: ") && page.contains("mv /etc/kubernetes/manifests/etcd.yaml.bak"), "{page}");
    assert!(page.lines().all(|line| line.len() <= 80), "{page}");
    let list = plugin(&["doctor", "--explain"]).expect_code(0).stdout;
    assert!(list.starts_with("CHECK") && list.contains("\nbreak-glass "), "{list}");
    plugin(&["doctor", "--explain", "nonsense"]).expect_code(2).expect_error(&["there is no check", "break-glass"]);
    plugin(&["doctor", "--explain", "quorum", "-o", "json"]).expect_code(2).expect_error(&["has no effect"]);
}
