//! The main job, end to end, on one node and on three, with etcd 3.4 and 3.5: what the README promises.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use e2e::{Scene, etcdutl, plugin, run, vendor};
use lab::Etcd;
use serde_json::Value;

fn config_maps(count: usize) -> String {
    let one = |n| {
        let value = "x".repeat(n);
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}, namespace: default}}\ndata: {{n: '{value}'}}\n"
        )
    };
    (0..count).map(one).collect()
}

/// Takes a backup in every form and holds it against what the vendor's tools, the API and the nodes say.
fn main_job(scene: &Scene) {
    scene.apply(&config_maps(100));
    let taken = run(scene.kubectl_etcd(&["backup", "one.db", "-o", "json"])).expect_code(0);
    assert_eq!(scene.files(), ["one.db", "one.db.json"]);
    for name in scene.files() {
        assert_eq!(scene.path(&name).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let written: Value = serde_json::from_slice(&std::fs::read(scene.path("one.db.json")).unwrap()).unwrap();
    assert_eq!(written, taken.json());
    describes_the_cluster(scene, &written);

    let file = scene.path("one.db");
    let file = file.to_str().unwrap();
    let verified = scene.ok(&["verify", file, "-o", "json"]).json();
    let tool = if scene.lab.etcd_version().starts_with("3.4") { "etcdctl".into() } else { etcdutl() };
    let theirs = vendor(tool, &["snapshot", "status", file, "-w", "json"]);
    for name in ["hash", "revision", "totalKey", "totalSize"] {
        assert_eq!(verified[name], theirs[name], "{name}");
        assert_eq!(written["snapshot"][name], theirs[name], "{name}");
    }
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.arg(file);
    let sum = run(sha256sum).expect_code(0).stdout;
    assert_eq!(sum.split_whitespace().next(), written["snapshot"]["sha256"].as_str());
    assert!(scene.sidecars().is_empty());
    scene.assert_nodes_untouched();
}

fn describes_the_cluster(scene: &Scene, written: &Value) {
    let uid = run(scene.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"])).expect_code(0);
    assert_eq!(written["cluster"]["kubeSystemUid"], uid.stdout.as_str());
    assert_eq!(written["cluster"]["server"], scene.lab.server());
    let members = written["members"].as_array().expect("members");
    let nodes: Vec<&str> = members.iter().filter_map(|member| member["node"].as_str()).collect();
    assert_eq!(nodes, scene.lab.node_names());
    for member in members {
        assert_eq!(member["etcdVersion"], scene.lab.etcd_version());
        assert_eq!(member["dataDir"], "/var/lib/etcd");
        assert_eq!(member["certificates"]["ca"], "/etc/kubernetes/pki/etcd/ca.crt");
        assert!(member["clientUrls"][0].as_str().is_some_and(|url| url.starts_with("https://")));
    }
    if members.len() > 1 {
        assert_eq!(written["source"]["role"], "follower");
    }
}

#[test]
fn one_node_with_etcd_3_4() {
    main_job(&Scene::new(1, Etcd::V3_4));
}

#[test]
fn one_node_with_etcd_3_5() {
    let mut scene = Scene::new(1, Etcd::V3_5);
    main_job(&scene);
    beside_another_etcd(&mut scene);
}

/// An etcd of its own with the same labels, as for events, on the same node: it is told from that of the API server, which is taken.
fn beside_another_etcd(scene: &mut Scene) {
    let manifest = scene.lab.node_root("cp1").join("etc/kubernetes/manifests/etcd.yaml");
    let mut text = std::fs::read_to_string(&manifest).unwrap();
    for (from, to) in [
        (":2379", ":2389"),
        (":2380", ":2390"),
        (":2381", ":2391"),
        ("/var/lib/etcd", "/var/lib/etcd-events"),
        ("--name=cp1", "--name=events"),
        ("initial-cluster=cp1=", "initial-cluster=events="),
        ("    tier: control-plane\n  name: etcd\n", "    app: events\n    tier: control-plane\n  name: etcd-events\n"),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        text = text.replace(from, to);
    }
    std::fs::write(manifest.with_file_name("etcd-events.yaml"), text).unwrap();
    let clusters = || {
        let json = scene.ok(&["status", "-o", "json"]).json();
        json["clusters"].as_array().expect("a list").clone()
    };
    e2e::until("the other etcd answers", || clusters().len() == 2);
    let contents: Vec<Value> = clusters().iter().map(|cluster| cluster["contents"].clone()).collect();
    assert_eq!(contents, ["cluster", "none"]);
    let taken = scene.ok(&["backup", "main.db", "-o", "json"]).json();
    assert_eq!((&taken["source"]["name"], &taken["contents"]), (&"cp1".into(), &"cluster".into()));
    assert_eq!(taken["members"].as_array().map(Vec::len), Some(1));
    // Named, it is taken, and said to be none of the cluster.
    let taken = scene.ok(&["backup", "events.db", "-l", "app=events", "-o", "json"]);
    taken.expect_error(&["its snapshot is no backup of the objects of cluster lab"]);
    scene.accept_nodes();
}

#[test]
fn three_nodes_with_etcd_3_4() {
    main_job(&Scene::new(3, Etcd::V3_4));
}

#[test]
fn three_nodes_with_etcd_3_5() {
    let scene = Scene::new(3, Etcd::V3_5);
    main_job(&scene);
    every_form(&scene);
    status(&scene);
    versions(&scene);
}

/// A node that is down costs a few seconds, and nothing else: a quorum's answers do, the other members' sidecars are
/// still there after it, and the pod that nobody will ever end does not stay.
#[test]
fn a_node_that_is_down_is_passed_over() {
    let scene = Scene::new(3, Etcd::V3_4);
    let kubelet = scene.lab.init("cp3").unwrap();
    e2e::trouble::signal(kubelet, "STOP");
    let ran = run(scene.plugin(&["backup", "one.db", "-o", "json"]));
    let left = scene.sidecars();
    e2e::trouble::signal(kubelet, "CONT");
    let ran = ran.expect_code(0).expect_error(&["2 of 3 members answer; quorum holds"]);
    let taken = ran.json();
    assert_ne!(taken["source"]["node"], "cp3");
    assert_eq!(taken["members"].as_array().map(Vec::len), Some(3));
    assert!(left.is_empty(), "{left:?}");
    scene.ok(&["verify", "one.db"]);
}

fn every_form(scene: &Scene) {
    let verifies = |name: &str| {
        let path = scene.path(name);
        let report = scene.ok(&["verify", path.to_str().unwrap(), "-o", "json"]).json();
        assert_eq!((&report["ok"], &report["digest"]), (&true.into(), &"matches".into()), "{name}");
    };
    // Without a name: the cluster and the time make one.
    // The keys are another user's, who alone may read them, and etcd runs as root all the same (as Kubespray has it).
    for node in scene.lab.node_names() {
        let folder = scene.lab.node_root(&node).join("etc/kubernetes/pki/etcd");
        for path in e2e::names(&folder).iter().map(|name| folder.join(name)).chain([folder.clone()]) {
            std::os::unix::fs::chown(&path, Some(2003), Some(2004)).unwrap();
            let mode = if path == folder { 0o700 } else { 0o400 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let before = scene.files();
    scene.ok(&["backup"]);
    let new: Vec<String> = scene.files().into_iter().filter(|name| !before.contains(name)).collect();
    assert!(new.len() == 2 && new[0].starts_with("etcd-lab-2") && new[0].ends_with("Z.db"), "{new:?}");
    assert_eq!(new[1], format!("{}.json", new[0]));

    // From a member that is named, uncompressed.
    let ran = scene.ok(&["backup", "two.db", "--node", "cp2", "--compress", "none", "-o", "json"]);
    assert_eq!(ran.json()["source"]["node"], "cp2");
    assert_eq!(ran.json()["members"].as_array().map(Vec::len), Some(3));
    verifies("two.db");

    // Into a pipe, with nothing written beside it.
    let before = scene.files();
    let piped = scene.ok(&["backup", "-"]);
    assert_eq!(scene.files(), before);
    std::fs::write(scene.path("piped.db"), &piped.bytes).unwrap();
    verifies("piped.db");

    // With a copy on the node, which is the same, byte by byte.
    let kept = scene.lab.node_root("cp1").join("var/lib/etcd-backups");
    std::fs::create_dir_all(&kept).unwrap();
    // Whoever owns the folder, and whatever its mode.
    std::os::unix::fs::chown(&kept, Some(2001), Some(2002)).unwrap();
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o500)).unwrap();
    scene.ok(&["backup", "three.db", "--node", "cp1", "--on-node", "/var/lib/etcd-backups"]);
    assert_eq!(e2e::names(&kept), ["three.db"]);
    assert_eq!(std::fs::read(kept.join("three.db")).unwrap(), std::fs::read(scene.path("three.db")).unwrap());
    let copy = kept.join("three.db").metadata().unwrap();
    assert_eq!((copy.permissions().mode() & 0o777, copy.uid(), copy.gid()), (0o600, 0, 0));
    assert!(scene.sidecars().is_empty());
}

fn status(scene: &Scene) {
    let json = scene.ok(&["status", "-o", "json"]).json();
    let members = json["members"].as_array().unwrap();
    assert_eq!(members.len(), 3);
    assert_eq!(members.iter().filter(|member| member["role"] == "leader").count(), 1);
    for member in members {
        assert_eq!(member["version"], scene.lab.etcd_version());
        assert_eq!(member["quota"], 2_147_483_648_i64);
        assert!(member["dbSize"].as_i64() >= member["dbSizeInUse"].as_i64());
        assert!(member["lag"].as_u64().unwrap() < 1000 && member["raftTerm"].as_u64().unwrap() > 0);
        assert_eq!(member["alarms"], serde_json::json!([]));
        assert!(member["servedCertificate"]["notAfter"].is_string(), "{member}");
    }
    let wide = scene.ok(&["status", "-o", "wide"]).stdout;
    let header = wide.lines().next().unwrap();
    assert!(header.starts_with("NAME") && header.contains("QUOTA") && header.contains("TERM"), "{header}");
    let lines: Vec<&str> = wide.lines().skip(4).collect();
    assert_eq!(lines, ["", "3 of 3 members healthy; can lose 1"], "{wide}");
    let yaml = scene.ok(&["status", "-o", "yaml", "--node", "cp3"]).stdout;
    assert!(yaml.contains("kind: Status") && yaml.contains("node: cp3"), "{yaml}");
    assert!(scene.sidecars().is_empty());
}

fn versions(scene: &Scene) {
    let json = run(scene.kubectl_etcd(&["version", "-o", "json"])).expect_code(0).json();
    assert_eq!(json["etcd"].as_array().map(Vec::len), Some(3));
    assert!(json["serverVersion"].as_str().is_some_and(|version| version.starts_with('v')));
    let mut offline = Command::new(plugin());
    offline.args(["version", "--client", "-o", "json"]).env("KUBECONFIG", "/nowhere");
    let client = run(offline).expect_code(0).json();
    assert_eq!((&client["protocol"], &client["serverVersion"]), (&"1.0".into(), &Value::Null));
}
