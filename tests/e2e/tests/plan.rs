//! `kubectl etcd restore --dry-run=client`: what a restore of the running cluster would change.

use std::path::Path;

use e2e::trouble::etcdctl;
use e2e::{Scene, run, unpacked, until};
use lab::Etcd;
use serde_json::Value;

const NEITHER: [&str; 2] = ["restore", "a.db"];
const PLAN: [&str; 5] = ["restore", "a.db", "--dry-run=client", "-o", "json"];

fn config_map(name: &str, value: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"default"}},"data":{{"v":"{value}"}}}}"#
    )
}

fn plan(scene: &Scene, code: i32) -> (Value, String) {
    let ran = run(scene.plugin(&PLAN)).expect_code(code);
    assert!(scene.sidecars().is_empty(), "pods are left");
    scene.assert_nodes_untouched();
    (ran.json(), ran.stderr)
}

fn counts(plan: &Value, resource: &str) -> [u64; 3] {
    let resources = plan["resources"].as_array().unwrap();
    let one = resources.iter().find(|one| one["resource"] == resource).unwrap_or_else(|| panic!("{resource}: {plan}"));
    ["vanish", "comeBack", "change"].map(|what| one[what].as_u64().unwrap())
}

#[test]
fn what_was_made_deleted_and_changed_since_is_counted() {
    for (nodes, etcd) in [(1, Etcd::V3_4), (3, Etcd::V3_5)] {
        let scene = Scene::new(nodes, etcd);
        for name in ["stays", "goes", "changes"] {
            scene.apply(&config_map(name, "1"));
        }
        scene.ok(&["backup", "a.db"]);
        let files = scene.files();
        let (same, _) = plan(&scene, 0);
        assert_eq!(counts(&same, "configmaps"), [0, 0, 0]);
        run(scene.kubectl(&["delete", "configmap", "goes"])).expect_code(0);
        let patch = ["patch", "configmap", "changes", "--type", "merge", "-p", r#"{"data":{"v":"2"}}"#];
        run(scene.kubectl(&patch)).expect_code(0);
        scene.apply(&config_map("comes", "1"));
        scene.apply(&config_map("comes-too", "1"));
        let (said, errors) = plan(&scene, 0);
        assert_eq!(counts(&said, "configmaps"), [2, 1, 1]);
        assert_eq!(said["refusals"], Value::Array(vec![]));
        assert!(errors.contains("nothing was changed"), "{errors}");
        assert_eq!(said["members"].as_array().unwrap().len(), usize::from(nodes));
        assert_eq!(said["snapshot"]["kubeSystemUid"], said["cluster"]["kubeSystemUid"]);
        assert!(said["snapshot"]["takenAt"].is_string());
        // Above all that any member has.
        let (highest, restored) = (&said["revision"]["highest"], &said["revision"]["restored"]);
        assert_eq!(restored.as_i64(), highest.as_i64().map(|highest| highest + 100_000));

        // What each node's disk tells.
        for member in said["members"].as_array().unwrap() {
            let (node, disk) = (member["node"].as_str().unwrap(), &member["disk"]);
            let total = said["snapshot"]["totalSize"].as_u64().unwrap();
            assert_eq!(disk["neededBytes"].as_u64(), Some(2 * total + (128 << 20)));
            let db = scene.lab.node_root(node).join("var/lib/etcd/member/snap/db");
            let (database, now) = (disk["databaseBytes"].as_u64().unwrap(), db.metadata().unwrap().len());
            assert!(database > 0 && database <= now, "{member}: {now}");
            assert!(disk["freeBytes"].as_u64().unwrap() > 128 << 20, "{member}");
            assert_eq!(member["manifests"]["kube-scheduler"], "kube-scheduler.yaml");
            assert_eq!((&member["encryption"]["state"], &disk["wal"]), (&"off".into(), &Value::Null));
            assert_eq!(member["aside"], "/var/lib/etcd/.kubectl-etcd/ID/old");
        }
        assert!(said["snapshot"]["ageSeconds"].as_i64().unwrap() >= 0);

        let text = scene.ok(&["restore", "a.db", "--dry-run=client"]).stdout;
        for line in
            ["  default  configmaps  comes, comes-too", "  default  configmaps  goes", "  default  configmaps  changes"]
        {
            assert!(text.lines().any(|other| other == line), "{line:?} is not in:\n{text}");
        }
        // Neither pods of our own nor heartbeats, on a terminal of 80 columns.
        assert!(!text.contains("etcd-sidecar-") && text.lines().all(|line| line.len() <= 80), "{text}");
        let table = scene.ok(&["restore", "a.db", "--dry-run=client", "-o", "wide"]).stdout;
        assert!(table.lines().any(|line| line.split_whitespace().take(4).eq(["configmaps", "2", "1", "1"])), "{table}");
        assert_eq!(scene.files(), files);
    }
}

#[test]
fn the_file_of_another_cluster_is_refused() {
    let scene = Scene::new(1, Etcd::V3_4);
    std::fs::write(scene.path("a.db"), unpacked("snapshots/3.5.30.db.zst")).unwrap();
    let (said, errors) = plan(&scene, 4);
    for text in ["is another cluster's", "the file was written by 3.5", "nothing was changed"] {
        assert!(errors.contains(text), "{text:?} is not in:\n{errors}");
    }
    assert_eq!(said["refusals"].as_array().unwrap().len(), 2);
    assert_eq!(said["resources"], Value::Null);
    // One that is of no Kubernetes at all.
    std::fs::write(scene.path("a.db"), unpacked("etcd/etcd-3.4.23.db.zst")).unwrap();
    let (_, errors) = plan(&scene, 4);
    assert!(errors.contains("cannot tell which cluster the file is from"), "{errors}");

    // Without a terminal nobody is asked; flags that mean nothing are refused.
    let ran = run(scene.plugin(&NEITHER)).expect_code(4);
    assert!(
        ran.stderr.contains("confirmation required: no terminal") && ran.stderr.contains("--dry-run=client"),
        "{}",
        ran.stderr
    );
    for (flags, text) in [
        (["--data-dir", "d", "--image", "x"], "--image"),
        (["--data-dir", "d", "--dry-run", "client"], "--dry-run"),
        (["--data-dir", "d", "--manifests-dir", "/m"], "--manifests-dir"),
        (["--wal-dir", "w", "--name", "x"], "--data-dir"),
    ] {
        let ran = run(scene.plugin(&[&NEITHER[..], &flags].concat())).expect_code(2);
        assert!(ran.stderr.contains(text) && ran.stdout.is_empty(), "{}", ran.stderr);
    }
    assert_eq!(scene.files(), ["a.db"]);
    scene.assert_nodes_untouched();
}

/// A configuration as the API server reads it.
const CONFIGURATION: &str = "\
kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
- resources: [secrets]
  providers:
  - aescbc: {keys: [{name: NAME, secret: VE9QLVNFQ1JFVA==}]}
  - identity: {}
";

/// The secret of [`CONFIGURATION`], and one of a length that a key has.
const SHORT_SECRET: &str = "VE9QLVNFQ1JFVA==";
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

#[test]
fn what_the_nodes_disk_says_stands_in_the_way_or_not() {
    let mut scene = Scene::new(1, Etcd::V3_5);
    let put = ["put", "/registry/secrets/default/s", "k8s:enc:aescbc:v1:key9:x"];
    run(etcdctl(&scene.lab, "cp1", &put)).expect_code(0);
    scene.ok(&["backup", "a.db"]);

    // The API server's manifest does not name a key.
    let (said, errors) = plan(&scene, 4);
    assert!(errors.contains("member cp1 on node cp1: its API server lacks the key"), "{errors}");
    assert!(errors.contains("encrypted: aescbc:v1:key9"), "{errors}");
    assert_eq!(said["snapshot"]["encryptionKeys"][0]["name"], "key9");
    // Nor does a configuration that has another.
    std::fs::write(scene.path("other.yaml"), CONFIGURATION.replace("NAME", "key8").replace(SHORT_SECRET, SECRET))
        .unwrap();
    let inspected = scene.ok(&["inspect", "a.db", "--encryption-config", "other.yaml", "-o", "json"]);
    let one = &inspected.json()["encryption"][0];
    assert_eq!((&one["key"], &one["objects"], &one["decrypted"]), (&"key9".into(), &1.into(), &0.into()));
    assert!(inspected.stderr.contains("1 objects encrypted by aescbc:v1:key9 cannot be read"), "{}", inspected.stderr);

    // The API server runs with a configuration: the plan's pod sees that file, and no other beside it.
    let root = scene.lab.node_root("cp1");
    let manifests = root.join("etc/kubernetes/manifests");
    let api_server = std::fs::read_to_string(manifests.join("kube-apiserver.yaml")).unwrap();
    let with = |folder: &Path, path: &str| {
        let changed = api_server
            .replace("- kube-apiserver\n", &format!("- kube-apiserver\n    - --encryption-provider-config={path}\n"));
        assert_ne!(changed, api_server);
        std::fs::write(folder.join("kube-apiserver.yaml"), changed).unwrap();
    };
    let inside = "/etc/kubernetes/pki/enc.yaml";
    with(&manifests, inside);
    let shown = |scene: &Scene| {
        let pod = run(scene.kubectl(&["get", "pod", "kube-apiserver-cp1", "-n", "kube-system", "-o", "json"]));
        pod.status.success() && pod.stdout.contains(inside)
    };
    until("the API server runs with the flag", || shown(&scene));
    let mut configured = |path: &str, name: &str, flags: &[&str], code: i32| {
        let file = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, CONFIGURATION.replace("NAME", name)).unwrap();
        scene.accept_nodes();
        let ran = run(scene.plugin(&[&PLAN[..], flags].concat())).expect_code(code);
        scene.assert_nodes_untouched();
        assert!(!ran.stdout.contains("VE9Q") && !ran.stderr.contains("VE9Q"), "a secret left the node");
        ran
    };
    let has = configured(inside, "key9", &[], 0).json();
    assert_eq!(has["members"][0]["encryption"]["keys"][0]["name"], "key9");
    configured(inside, "key1", &[], 4).expect_error(&["lacks the key", "aescbc:v1:key9"]);
    // A copy of the manifests that no kubelet reads, whose API server has another one.
    let copy = root.join("etc/kubernetes/copy");
    std::fs::create_dir(&copy).unwrap();
    for name in e2e::names(&manifests) {
        std::fs::copy(manifests.join(&name), copy.join(&name)).unwrap();
    }
    let elsewhere = "/usr/share/ca-certificates/enc.yaml";
    with(&copy, elsewhere);
    let outside = configured(elsewhere, "key9", &["--manifests-dir", "/etc/kubernetes/copy"], 0);
    let outside = outside.expect_error(&["cannot check whether the API server on node cp1 has the key"]);
    assert_eq!(outside.json()["members"][0]["encryption"]["state"], "unread");

    // A folder without them, and one that is not there.
    let pki = [&PLAN[..], &["--manifests-dir", "/etc/kubernetes/pki"]].concat();
    let texts = ["there is no manifest of etcd in /etc/kubernetes/pki", "--manifests-dir PATH"];
    run(scene.plugin(&pki)).expect_code(4).expect_error(&texts);
    let nowhere = [&PLAN[..], &["--manifests-dir", "/nowhere/at/all"]].concat();
    run(scene.plugin(&nowhere)).expect_code(4).expect_error(&["/nowhere/at/all is not a directory", "--manifests-dir"]);
    let relative = [&PLAN[..], &["--manifests-dir", "manifests"]].concat();
    run(scene.plugin(&relative)).expect_code(2).expect_error(&["it must be absolute"]);
}

#[test]
fn a_damaged_file_is_told_before_a_cluster_is_asked() {
    let scene = Scene::new(1, Etcd::V3_5);
    let mut bytes = unpacked("snapshots/3.5.30.db.zst");
    bytes[200_000] ^= 1;
    std::fs::write(scene.path("a.db"), &bytes).unwrap();
    let nowhere = ["--kubeconfig", "/nonexistent"];
    let ran = run(scene.plugin(&[&PLAN[..], &nowhere].concat())).expect_code(3);
    assert!(ran.stderr.contains("a.db is damaged") && ran.stdout.is_empty(), "{}", ran.stderr);
    // A copy of a database is not taken unasked.
    std::fs::write(scene.path("a.db"), unpacked("restored/u351.db.zst")).unwrap();
    let ran = run(scene.plugin(&[&PLAN[..], &nowhere].concat())).expect_code(3);
    assert!(ran.stderr.contains("--skip-hash-check"), "{}", ran.stderr);
    assert_eq!(scene.files(), ["a.db"]);
}
