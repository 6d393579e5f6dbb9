//! etcd refuses, is ill, or goes away: what is said of it, which member is taken, and that nothing is left.

use std::path::PathBuf;
use std::time::Duration;

use e2e::trouble::{UNCHANGED, fill, processes, signal, size};
use e2e::{Ran, Running, Scene, run, until};
use lab::{Etcd, Issue, Lab, Options};
use serde_json::Value;

#[track_caller]
fn refused(scene: &Scene, args: &[&str], code: i32, texts: &[&str]) {
    let ran = run(scene.plugin(&[&["backup"], args].concat())).expect_code(code);
    ran.expect_error(&[UNCHANGED]).expect_error(texts);
    scene.assert_nothing_left();
}

/// Backs up, and takes the file away: it is whole, and this is what is written beside it.
#[track_caller]
fn taken(scene: &Scene, args: &[&str]) -> (Ran, Value) {
    let ran = scene.ok(&[&["backup", "a.db", "-o", "json"], args].concat());
    scene.ok(&["verify", "a.db"]);
    for name in scene.files() {
        std::fs::remove_file(scene.path(&name)).unwrap();
    }
    assert!(scene.sidecars().is_empty());
    let json = ran.json();
    (ran, json)
}

#[track_caller]
fn etcdctl(lab: &Lab, node: &str, args: &[&str]) -> String {
    let output = lab.etcdctl(node, args).unwrap();
    assert!(output.status.success(), "etcdctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn client_certificates_that_etcd_refuses() {
    let mut scene = Scene::new(1, Etcd::V3_5);
    for (issue, texts) in [
        (Issue::Expired, ["cp1 on node cp1", "expired", "hint: ", "kubeadm certs renew"]),
        (Issue::OtherCa, ["cp1 on node cp1", "refuses the client certificate", "hint: ", "kubeadm certs renew"]),
    ] {
        scene.lab.reissue("cp1", issue).unwrap();
        scene.accept_nodes();
        refused(&scene, &["a.db"], 1, &texts);
        refused(&scene, &["-", "--node", "cp1"], 1, &texts);
        // On a busy machine, no answer comes within the time that it has at first.
        until("status tells why etcd refuses", || {
            let ran = run(scene.plugin(&["status"])).expect_code(1);
            [texts[1], "kubeadm certs"].iter().all(|text| ran.stderr.contains(text))
        });
    }
    scene.lab.reissue("cp1", Issue::Valid).unwrap();
    taken(&scene, &[]);
}

#[test]
fn with_three_members_another_one_is_taken() {
    let mut scene = Scene::new(3, Etcd::V3_5);
    for node in ["cp1", "cp2"] {
        scene.lab.reissue(node, Issue::Expired).unwrap();
    }
    let (_, json) = taken(&scene, &[]);
    assert_eq!(json["source"]["node"], "cp3");
    // None is left: each is named, with what it said.
    scene.lab.reissue("cp3", Issue::OtherCa).unwrap();
    scene.accept_nodes();
    let texts =
        ["no member can be snapshotted", "cp1 on node cp1: ", "cp2 on node cp2: ", "cp3 on node cp3: ", "expired"];
    refused(&scene, &["a.db"], 1, &texts);
}

#[test]
fn a_server_certificate_that_has_expired() {
    let mut scene = Scene::new(3, Etcd::V3_5);
    // etcd reads its certificates at every handshake; what is connected stays so.
    scene.lab.reissue_all("cp2", Issue::Expired).unwrap();
    scene.accept_nodes();
    refused(&scene, &["a.db", "--node", "cp2"], 1, &["cp2 on node cp2", "expired", "hint: "]);
    let (_, json) = taken(&scene, &[]);
    assert_ne!(json["source"]["node"], "cp2");
    scene.lab.reissue_all("cp2", Issue::Valid).unwrap();
}

#[test]
fn authentication() {
    let scene = Scene::new(1, Etcd::V3_5);
    for args in [
        ["user", "add", "root", "--no-password"].as_slice(),
        &["user", "grant-role", "root", "root"],
        &["role", "add", "api"],
        &["role", "grant-permission", "api", "readwrite", "", "--prefix"],
        &["user", "add", "kube-apiserver-etcd-client", "--no-password"],
        &["user", "grant-role", "kube-apiserver-etcd-client", "api"],
        &["auth", "enable"],
    ] {
        etcdctl(&scene.lab, "cp1", args);
    }
    let denied = "authentication is on in etcd";
    refused(&scene, &["a.db"], 1, &[denied, "hint: use a client certificate whose common name is an etcd user"]);
    // The member does not even tell whose it is.
    refused(&scene, &["-"], 4, &[denied, "use a client certificate whose common name is an etcd user"]);
}

/// The manifest of a node's etcd, out of the kubelet's sight until it is put back.
struct Away {
    manifest: PathBuf,
    text: String,
}

impl Away {
    fn take(scene: &Scene, node: &str) -> Away {
        let manifest = scene.lab.node_root(node).join("etc/kubernetes/manifests/etcd.yaml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        std::fs::remove_file(&manifest).unwrap();
        until("etcd has ended", || processes(&scene.lab, node, &["etcd"]).is_empty());
        Away { manifest, text }
    }

    fn put_back(&self, change: impl FnOnce(&str) -> String) {
        let text = change(&self.text);
        let beside = self.manifest.with_extension("part");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, &self.manifest).unwrap();
    }
}

#[test]
fn a_learner_is_never_taken() {
    let options = Options { nodes: 3, etcd: Etcd::V3_5, api_server_grace: Some(1), ..Options::default() };
    let mut scene = Scene::with(options);
    // A learner serves no API server: the third one, which its node's kubelet asks, gets another member.
    let manifest = scene.lab.node_root("cp3").join("etc/kubernetes/manifests/kube-apiserver.yaml");
    let other = format!("--etcd-servers=https://{}:2379", scene.lab.node_ip("cp1"));
    let text = std::fs::read_to_string(&manifest).unwrap().replace("--etcd-servers=https://127.0.0.1:2379", &other);
    std::fs::write(&manifest, text).unwrap();
    until("the API server asks another member", || {
        let local = format!("https://{}:6443", scene.lab.node_ip("cp3"));
        let moved = processes(&scene.lab, "cp3", &["kube-apiserver"])
            .iter()
            .any(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&other)));
        moved && run(scene.kubectl(&["--server", &local, "get", "--raw", "/readyz"])).status.success()
    });
    let away = Away::take(&scene, "cp3");
    let list: Value = serde_json::from_str(&etcdctl(&scene.lab, "cp1", &["member", "list", "-w", "json"])).unwrap();
    let third = list["members"].as_array().unwrap().iter().find(|member| member["name"] == "cp3").unwrap();
    let id = format!("{:x}", third["ID"].as_u64().unwrap());
    etcdctl(&scene.lab, "cp1", &["member", "remove", &id]);
    let data = scene.lab.node_root("cp3").join("var/lib/etcd");
    std::fs::remove_dir_all(data.join("member")).unwrap();
    let peer = format!("--peer-urls=https://{}:2380", scene.lab.node_ip("cp3"));
    // etcd takes no new member before the others have been together for a while.
    until("the learner is a member", || {
        scene.lab.etcdctl("cp1", &["member", "add", "cp3", "--learner", &peer]).unwrap().status.success()
    });
    // Its manifest is that of a node that joins a cluster: it names all three.
    away.put_back(str::to_owned);
    until("the learner answers", || scene.lab.etcdctl("cp3", &["endpoint", "status"]).unwrap().status.success());
    scene.accept_nodes();

    let members = scene.ok(&["status", "-o", "json"]).json();
    let of = |node: &str| members["members"].as_array().unwrap().iter().find(|m| m["node"] == node).unwrap().clone();
    assert_eq!((&of("cp3")["learner"], &of("cp3")["role"]), (&true.into(), &"learner".into()));
    assert_eq!(of("cp1")["learner"], false);
    let (_, json) = taken(&scene, &[]);
    assert_eq!(json["source"]["role"], "follower");
    assert_ne!(json["source"]["node"], "cp3");
    refused(&scene, &["a.db", "--node", "cp3"], 4, &["cp3 on node cp3: is a learner"]);
}

/// Gives a member a quota that its database exceeds, and waits until it has raised its alarm.
fn no_space(scene: &Scene, node: &str) {
    let away = Away::take(scene, node);
    away.put_back(|text| {
        let data = text.lines().find(|line| line.contains("--data-dir=")).unwrap();
        text.replace(data, &format!("{data}\n    - --quota-backend-bytes=65536"))
    });
    until("the alarm is raised", || {
        let _refused = scene.lab.etcdctl(node, &["put", "/some/key", &"x".repeat(10_000)]).unwrap();
        let listed = scene.lab.etcdctl(node, &["alarm", "list"]).unwrap();
        String::from_utf8_lossy(&listed.stdout).contains("NOSPACE")
    });
}

#[test]
fn without_space_no_pod_can_be_made() {
    let mut scene = Scene::new(3, Etcd::V3_5);
    no_space(&scene, "cp2");
    scene.accept_nodes();
    // The alarm of one member stops the writes of all, and with them every pod.
    for args in [["a.db"].as_slice(), &["a.db", "--node", "cp1"]] {
        refused(&scene, args, 1, &["database space exceeded", "alarm NOSPACE", "hint: etcd takes no writes"]);
    }
    // What makes none goes on.
    scene.ok(&["status"]).expect_error(&["member cp2 on node cp2 has raised the alarm NOSPACE", "etcd is full"]);
    scene.assert_nothing_left();
}

/// Kills or stops the etcd of a member in the middle of a transfer from it. Waits until all is well again.
fn etcd_gone(scene: &Scene, name: &str, texts: &[&str]) {
    let running = Running::start(scene.plugin(&["backup", "a.db", "--node", "cp2", "--compress", "none"]));
    let part = scene.path("a.db.part");
    while size(&part) == 0 {
        std::thread::sleep(Duration::from_millis(1));
        assert!(!scene.path("a.db").exists(), "the transfer was too fast");
    }
    // What is to come does not fit into the buffers on the way.
    running.signal("STOP");
    let etcd = processes(&scene.lab, "cp2", &["etcd"]);
    assert_eq!(etcd.len(), 1);
    signal(etcd[0], name);
    running.signal("CONT");
    if name == "STOP" {
        // The sidecar gives up an etcd that has fallen silent, and the plugin the sidecar.
        until("the session ends", || processes(&scene.lab, "cp2", &["/etcd-sidecar", "serve"]).is_empty());
        signal(etcd[0], "CONT");
    }
    let (status, said) = running.end();
    assert_eq!(status.code(), Some(1), "{said}");
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
    assert!(said.contains(UNCHANGED), "{said}");
    until("etcd runs again", || scene.lab.etcdctl("cp2", &["endpoint", "health"]).unwrap().status.success());
    scene.assert_nothing_left();
}

#[test]
fn etcd_that_stops_in_the_middle() {
    let scene = Scene::new(3, Etcd::V3_5);
    fill(&scene.lab, 48);
    etcd_gone(&scene, "KILL", &["error: cannot go on with the snapshot"]);
    etcd_gone(&scene, "STOP", &["sent nothing of its snapshot for 30 seconds", "hint: look at etcd"]);
    let (_, json) = taken(&scene, &["--node", "cp2"]);
    assert_eq!(json["source"]["node"], "cp2");
}
