//! `kubectl etcd member replace`: one member gets new data from the others, while clients write and whatever was left of its own.

use std::path::PathBuf;
use std::time::Duration;

use e2e::history::{self, Writers};
use e2e::restores::agree;
use e2e::ssh::OverSsh;
use e2e::trouble::{processes, signal};
use e2e::{Running, Scene, names, run, until, until_within};
use lab::Etcd;
use serde_json::Value;

fn manifest(scene: &Scene, node: &str) -> PathBuf {
    scene.lab.node_root(node).join("etc/kubernetes/manifests/etcd.yaml")
}

/// The names of the members that vote, of a report or a list.
fn voters(said: &Value) -> Vec<&str> {
    let members = said["members"].as_array().expect("members").iter();
    members
        .filter(|one| one["learner"] == false && one["status"] == "healthy")
        .filter_map(|one| one["name"].as_str())
        .collect()
}

/// A path on a node, here.
fn on_node(scene: &Scene, node: &str, path: &Value) -> PathBuf {
    scene.lab.node_root(node).join(path.as_str().expect("a path").trim_start_matches('/'))
}

/// How far the replacement on a node is, by its journal.
fn phase(scene: &Scene, node: &str) -> Option<String> {
    let folder = scene.lab.node_root(node).join("var/lib/kubectl-etcd");
    let journals = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path().join("replacement"));
    let text = std::fs::read_to_string(journals.filter(|path| path.exists()).max()?).ok()?;
    let record: Value = serde_json::from_str(&text).ok()?;
    Some(record["phase"].as_str()?.to_owned())
}

/// Asserts that nothing of a replacement is left on a node but its journal and the old data.
#[track_caller]
fn assert_tidy(scene: &Scene, node: &str, original: &[u8]) {
    assert_eq!(std::fs::read(manifest(scene, node)).unwrap(), original, "the manifest of {node}");
    let beside = names(&scene.lab.node_root(node).join("etc/kubernetes"));
    assert!(!beside.iter().any(|name| name.starts_with(".kubectl-etcd")), "{beside:?}");
    assert!(scene.sidecars().is_empty());
}

#[test]
fn a_member_gets_new_data_from_the_others() {
    let scene = Scene::new(3, Etcd::V3_5);
    let original = std::fs::read(manifest(&scene, "cp2")).unwrap();

    let go = |args: &[&str]| run(scene.plugin(&[&["member", "replace"], args].concat()));
    go(&[]).expect_code(2).expect_error(&["name the member"]);
    go(&["cp9"]).expect_code(4).expect_error(&[
        "no etcd pod is on a node",
        "kubectl etcd member remove cp9",
        "kubeadm",
    ]);
    go(&["cp2"]).expect_code(4).expect_error(&["confirmation required", "--confirm cp2", "nothing was changed"]);
    go(&["cp2", "--confirm", "cp3"]).expect_code(4).expect_error(&["this is member cp2", "nothing was changed"]);
    let server = format!("https://{}:6443", scene.lab.node_ip("cp1"));
    let asked = go(&["cp1", "--dry-run=client", "--server", &server]).expect_code(4);
    asked.expect_error(&["the API server of node cp1 is asked", "--server", "nothing was changed"]);
    let plan = go(&["cp2", "--dry-run=client", "-o", "json"]).expect_code(0).json();
    assert_eq!(
        (&plan["changed"], &plan["dryRun"], plan["steps"].as_array().map(Vec::len)),
        (&false.into(), &true.into(), Some(8)),
        "{plan}"
    );
    scene.assert_nothing_left();

    let writers = Writers::start(&scene);
    let done = go(&["cp2", "--confirm", "cp2", "-o", "json"]).expect_code(0).json();
    let writes = writers.stop();
    agree(&scene);
    history::check(&scene, &writes);
    assert_eq!(voters(&done), ["cp1", "cp2", "cp3"], "{done}");
    assert!(done["oldMemberId"] != done["newMemberId"] && done["newMemberId"].is_string(), "{done}");
    assert_eq!(voters(&scene.ok(&["member", "list", "-o", "json"]).json()), ["cp1", "cp2", "cp3"]);
    assert!(on_node(&scene, "cp2", &done["oldData"]).join("member/snap/db").exists(), "{done}");
    assert_tidy(&scene, "cp2", &original);
    let backups: Vec<String> = scene.files().into_iter().filter(|name| name.ends_with(".db")).collect();
    assert_eq!(backups.len(), 1, "{backups:?}");
    scene.ok(&["verify", &backups[0]]);

    damaged(&scene);
}

/// The data of a member is damaged, and its etcd and with it the API server of its node do not run: over SSH, and killed on the way.
fn damaged(scene: &Scene) {
    let ssh = OverSsh::start(&scene.lab);
    let original = std::fs::read(manifest(scene, "cp3")).unwrap();
    let data = scene.lab.node_root("cp3").join("var/lib/etcd/member/snap/db");
    std::fs::write(&data, "this is no database").unwrap();
    for pid in processes(&scene.lab, "cp3", &["etcd"]) {
        signal(pid, "KILL");
    }
    until("the member does not answer", || {
        let list = scene.ok(&["member", "list", "-o", "json"]).json();
        voters(&list) == ["cp1", "cp2"]
    });

    let args = ["member", "replace", "cp3", "--confirm", "cp3", "-o", "json"];
    let words = ssh.flags("root", &args);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let running = Running::start(scene.plugin(&words));
    // The kubelet may wait for its own API server before it stops anything.
    until_within("the member is removed", Duration::from_secs(240), || {
        phase(scene, "cp3").as_deref() == Some("removed")
    });
    for pid in ssh.sidecars(&scene.lab, "cp3") {
        signal(pid, "KILL");
    }
    let (status, said) = running.end();
    assert_eq!(status.code(), Some(5), "{said}");
    for part in ["is not replaced yet", "run the same command again", "kubectl etcd member replace cp3"] {
        assert!(said.contains(part), "{said}");
    }
    // It is unfinished: nothing else may begin on this node, and the same goes on. The node has no manifest of etcd, and no mirror of its pod in the API.
    run(scene.kubectl(&["delete", "pod", "-n", "kube-system", "etcd-cp3", "--ignore-not-found"])).expect_code(0);
    tidied_but_for_the_unfinished_one(scene, &ssh);
    let done = run(scene.plugin(&[&words[..], &["--no-backup"]].concat())).expect_code(0);
    let done = done.expect_error(&["node cp3 has no etcd pod", "goes on with the unfinished replacement"]);
    let done = done.json();
    assert_eq!(voters(&done), ["cp1", "cp2", "cp3"], "{done}");
    let kept = on_node(scene, "cp3", &done["oldData"]).join("member/snap/db");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "this is no database");
    agree(scene);
    assert_tidy(scene, "cp3", &original);
    ssh.assert_nothing_on_nodes(&scene.lab);

    // Now it can go, too, and what has no journal is named.
    let strange = on_node(scene, "cp1", &"/var/lib/etcd/.kubectl-etcd/strange/old".into());
    std::fs::create_dir_all(&strange).unwrap();
    let listed = run(scene.plugin(&["cleanup", "--old-data", "--dry-run=client"])).expect_code(0);
    assert!(listed.stdout.contains("replaced member") && listed.stdout.contains("no journal"), "{}", listed.stdout);
    listed.expect_error(&["node cp1: strange stays", "rm -r /var/lib/etcd/.kubectl-etcd/strange"]);
    assert!(kept.exists());
    run(scene.plugin(&["cleanup", "--old-data"])).expect_code(4).expect_error(&["nothing was removed"]);
    let gone = run(scene.plugin(&["cleanup", "--old-data", "--yes"])).expect_code(0);
    gone.expect_error(&["node cp3: old data of replaced member cp3", "removed"]);
    assert_eq!(phase(scene, "cp3"), None);
    assert!(!on_node(scene, "cp3", &"/var/lib/etcd/.kubectl-etcd".into()).exists() && strange.exists());
    assert!(scene.sidecars().is_empty());
}

/// Removes the old data of the replacement that has ended, on cp2, over SSH. That of the one on cp3 is unfinished, and nothing of it goes.
fn tidied_but_for_the_unfinished_one(scene: &Scene, ssh: &OverSsh) {
    let cleanup = |more: &[&str]| {
        let words = ssh.flags("root", &[&["cleanup", "--old-data", "-o", "json"], more].concat());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(scene.plugin(&words)).expect_code(0).json()
    };
    let of = |said: &Value, node: &str| {
        let nodes = said["nodes"].as_array().expect("nodes");
        let node = nodes.iter().find(|one| one["node"] == node).expect("the node");
        assert_eq!(node["replacements"].as_array().map(Vec::len), Some(1), "{said}");
        node["replacements"][0].clone()
    };
    let listed = cleanup(&["--dry-run=client"]);
    let (two, three) = (of(&listed, "cp2"), of(&listed, "cp3"));
    assert_eq!((&two["member"], &two["phase"], &two["removable"]), (&"cp2".into(), &"done".into(), &true.into()));
    assert_eq!((&three["phase"], &three["removable"]), (&"removed".into(), &false.into()));
    let old = on_node(scene, "cp2", &two["oldData"]);
    assert!(old.exists() && two["oldDataBytes"].as_u64().is_some_and(|bytes| bytes > 0), "{two}");
    let done = cleanup(&["--yes"]);
    let removed = |node: &str| of(&done, node)["removed"] == true;
    assert!(removed("cp2") && !removed("cp3") && !old.exists(), "{done}");
    assert_eq!((phase(scene, "cp2"), phase(scene, "cp3").as_deref()), (None, Some("removed")));
}
