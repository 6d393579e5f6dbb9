//! `doctor`: a control plane in which nothing is wrong passes every check, and each illness is found, and nothing else.

use std::collections::BTreeMap;

use e2e::ssh::OverSsh;
use e2e::{Ran, Scene, run, until};
use lab::{Etcd, Issue};
use serde_json::Value;

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

    // A member that was added and never started.
    let added =
        scene.lab.etcdctl("cp1", &["member", "add", "ghost", "--learner", "--peer-urls=https://192.0.2.1:2380"]);
    let added = added.unwrap();
    assert!(added.status.success(), "{added:?}");
    let table = run(scene.plugin(&["doctor", "--store", &store, "--exit-code"])).expect_code(1);
    assert!(table.stdout.lines().take(3).all(|line| line.len() <= 80), "{}", table.stdout);
    assert!(table.stdout.contains("\nlearners      warning   member "), "{}", table.stdout);
    assert!(table.stdout.ends_with("\n0 errors, 1 warning, 1 not checked, 23 passed\n"), "{}", table.stdout);
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
    assert_found(&ran, &[unasked("kubeconfig"), unasked("kubernetes-versions")]);
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
