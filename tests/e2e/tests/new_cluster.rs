//! `kubectl etcd restore --new-cluster`: new machines take over the state of a cluster whose machines are all lost.

use std::process::Command;

use e2e::restores::{CLUSTER, agree, make};
use e2e::{Ran, Scene, run, until};
use lab::Etcd;
use serde_json::{Value, json};

/// An object as the cluster's API server serves it; null if there is none.
fn get(scene: &Scene, what: &[&str]) -> Value {
    let ran = run(scene.kubectl(&[&["get", "--ignore-not-found", "-o", "json"], what].concat())).expect_code(0);
    serde_json::from_str(&ran.stdout).unwrap_or_default()
}

fn uid(scene: &Scene, namespace: &str) -> Value {
    get(scene, &["namespace", namespace])["metadata"]["uid"].clone()
}

/// The ConfigMaps that controllers of a real cluster write, of the lab's own authorities.
fn tell_authorities(scene: &Scene) {
    let pki = scene.lab.node_root("cp1").join("etc/kubernetes/pki");
    let read = |name: &str| std::fs::read_to_string(pki.join(name)).expect("a certificate");
    for (name, key, file) in [
        ("kube-root-ca.crt", "ca.crt", "ca.crt"),
        ("extension-apiserver-authentication", "requestheader-client-ca-file", "front-proxy-ca.crt"),
    ] {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kube-system"}, "data": {key: read(file)}});
        scene.apply(&map.to_string());
    }
}

/// What a plan says of one subject.
fn compared<'a>(plan: &'a Value, subject: &str) -> &'a Value {
    let all = plan["newCluster"]["comparisons"].as_array().unwrap_or_else(|| panic!("no comparisons: {plan}"));
    all.iter().find(|one| one["subject"] == subject).unwrap_or_else(|| panic!("{subject}: {plan}"))
}

#[test]
fn new_machines_take_over_the_state_of_a_lost_cluster() {
    let here = tempfile::tempdir().unwrap();
    let store = here.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let (url, identity_file) = (format!("file://{}", store.display()), here.path().join("identity.txt"));
    let identity_file = identity_file.to_str().unwrap();
    let keygen = |flag: &str| {
        let mut command = Command::new("age-keygen");
        command.args([flag, identity_file]);
        run(command).expect_code(0).stdout
    };
    keygen("-o");
    let recipient = keygen("-y");

    // The cluster that will be lost, with a machine more than the new one has.
    let lost = Scene::new(3, Etcd::V3_4);
    lost.apply(r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}"#);
    make(&lost, "of-the-lost", "1");
    tell_authorities(&lost);
    let (lost_system, lost_shop) = (uid(&lost, "kube-system"), uid(&lost, "shop"));
    let lost_uid = lost_system.as_str().expect("a UID").to_owned();
    lost.ok(&["backup", "--store", &url, "--recipient", recipient.trim(), "--node-files"]);
    drop(lost);

    // Another, with its own keys.
    let new = Scene::new(1, Etcd::V3_5);
    make(&new, "of-the-new", "1");
    tell_authorities(&new);
    let new_system = uid(&new, "kube-system");
    assert!(new_system.is_string() && new_system != lost_system);
    let latest = format!("{url}/latest");
    let restore = |flags: &[&str]| -> Ran {
        run(new.plugin(&[&["restore", &latest, "--identity", identity_file][..], flags].concat()))
    };

    // Only by its name; and nothing is changed before that.
    let confirm = ["--confirm", CLUSTER];
    let flag = format!("--new-cluster {lost_uid}");
    restore(&confirm).expect_code(4).expect_error(&[
        "another cluster's",
        &flag,
        "docs/RESTORE.md",
        "nothing was changed",
    ]);
    let wrong = ["--new-cluster", new_system.as_str().unwrap(), "--confirm", CLUSTER];
    restore(&wrong).expect_code(4).expect_error(&["--new-cluster names cluster", &lost_uid, "nothing was changed"]);
    assert!(new.sidecars().is_empty());
    new.assert_nodes_untouched();

    // The plan compares both.
    let take = ["--new-cluster", &lost_uid];
    let plan = restore(&[&take[..], &["--dry-run=client", "-o", "json"]].concat()).expect_code(0).json();
    for (subject, result) in [
        ("clusterCa", "differs"),
        ("frontProxyCa", "differs"),
        ("nodes", "differs"),
        ("kubernetes", "same"),
        ("etcd", "same"),
        ("encryptionKeys", "same"),
        // The practice API server tells neither its keys nor how kubeadm set it up.
        ("serviceAccountKeys", "notCompared"),
        ("serviceNetwork", "notCompared"),
    ] {
        assert_eq!(compared(&plan, subject)["result"], result, "{plan}");
    }
    // The files of a node tell the lost key, which is public.
    let id = compared(&plan, "serviceAccountKeys")["lost"].as_str().expect("from the node files").to_owned();
    assert_eq!(id.len(), 43, "{id}");
    let gone: Vec<&Value> =
        plan["newCluster"]["nodesWithoutMachine"].as_array().unwrap().iter().map(|one| &one["node"]).collect();
    assert_eq!(gone, ["cp2", "cp3"]);
    assert_eq!(plan["transaction"]["replaces"], new_system);
    let text = restore(&[&take[..], &["--dry-run=server"]].concat()).expect_code(0).stdout;
    for part in ["Differs: cluster CA", "Not compared:", "Nodes without a machine:", "  cp2: ", "of-the-new"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    new.assert_nodes_untouched();

    let ran = restore(&[&take[..], &confirm, &["-o", "json"]].concat()).expect_code(0);
    assert!(ran.stderr.contains("kubeadm init phase bootstrap-token"), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!((&report["result"], &report["nodesWithoutMachine"][0]["node"]), (&"restored".into(), &"cp2".into()));
    assert_eq!(report["check"]["troubles"], json!([]), "{report}");
    // Their machines are gone, so that their kubelets cannot be asked what they run.
    let left_over = |check: &str| {
        let found = report["leftOvers"].as_array().and_then(|all| all.iter().find(|one| one["check"] == check));
        found.unwrap_or_else(|| panic!("no check {check}: {report}")).clone()
    };
    let machines = left_over("left-over-nodes");
    let commands = ["cp2", "cp3"].map(|node| format!("kubectl delete node {node} (if its machine is gone for good)"));
    assert_eq!((&machines["severity"], &machines["mend"]), (&json!("warning"), &json!(commands)), "{report}");
    let evidence = machines["evidence"][0].as_str().expect("text");
    assert!(evidence.starts_with("cp2: it came back with the restored data, with "), "{evidence}");
    assert_eq!(left_over("left-over-pods")["severity"], "unknown", "{report}");
    for check in ["left-over-leases", "left-over-volumes", "left-over-tokens"] {
        assert_eq!(left_over(check)["severity"], "ok", "{report}");
    }
    // The API server serves the lost cluster now.
    assert_eq!((uid(&new, "kube-system"), uid(&new, "shop")), (lost_system, lost_shop));
    assert!(get(&new, &["configmap", "of-the-lost"]).is_object() && get(&new, &["configmap", "of-the-new"]).is_null());
    agree(&new);
    // What the report says is to be done about the machines that are gone, of which nothing else takes care here.
    run(new.kubectl(&["delete", "node", "cp2", "cp3"])).expect_code(0);
    let pods = get(&new, &["pods", "-n", "kube-system"]);
    let on_lost = |pod: &&Value| matches!(pod["spec"]["nodeName"].as_str(), Some("cp2" | "cp3"));
    for pod in pods["items"].as_array().unwrap().iter().filter(on_lost) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        run(new.kubectl(&["delete", "pod", "-n", "kube-system", name, "--force", "--grace-period=0"])).expect_code(0);
    }

    // Its file is now one of this cluster.
    restore(&[&take[..], &["--dry-run=client"]].concat()).expect_code(4).expect_error(&["--new-cluster is not needed"]);
    restore(&["--dry-run=client"]).expect_code(0);

    // And back to the cluster that was there before.
    let plan = new.ok(&["rollback", "--dry-run=client", "-o", "json"]).json();
    let all = plan["resources"].as_array().unwrap();
    assert!(all.iter().all(|one| one["stay"] == 0), "revisions of two clusters were compared: {plan}");
    new.ok(&["rollback", "--confirm", CLUSTER]);
    until("the API server serves the new cluster again", || uid(&new, "kube-system") == new_system);
    assert!(get(&new, &["configmap", "of-the-new"]).is_object() && get(&new, &["namespace", "shop"]).is_null());
    agree(&new);
}
