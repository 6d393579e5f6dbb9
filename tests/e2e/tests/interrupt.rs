//! Ctrl-C at every stage of a backup, once and twice, and the signals that end programs otherwise.

use std::process::ExitStatus;

use e2e::trouble::{cut, fill, mend, processes, signal, stalled};
use e2e::{Running, Scene, run, until};
use lab::{Etcd, Lab};
use serde_json::json;

const CLEANING: &str = "interrupted, cleaning up; interrupt again to stop at once";

fn backup(scene: &Scene) -> Running {
    Running::start(scene.plugin(&["backup", "a.db", "--compress", "none", "-v", "1"]))
}

#[track_caller]
fn interrupted_and_clean(scene: &Scene, (status, said): (ExitStatus, String)) {
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains(CLEANING) && said.contains("error: interrupted"), "{said}");
    // What is left is told, and nothing is.
    assert!(!said.contains("left behind") && !said.contains("still there"), "{said}");
    scene.assert_nothing_left();
}

/// The kubelet of a node, stopped where it stands: no pod starts there, and none goes.
struct Stopped(u32);

impl Stopped {
    fn new(lab: &Lab) -> Stopped {
        let kubelet = lab.init("cp1").unwrap();
        signal(kubelet, "STOP");
        Stopped(kubelet)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

#[test]
fn while_the_api_is_asked_and_once_it_has_the_pod() {
    let scene = Scene::new(1, Etcd::V3_5);
    // Before there is a pod: every answer of the API takes its time.
    scene.lab.set_faults(&json!({"delayMs": 1500})).unwrap();
    let running = backup(&scene);
    until("the file is begun", || scene.path("a.db.part").exists());
    running.signal("INT");
    let ended = running.end();
    assert!(!ended.1.contains("created on node"), "{}", ended.1);
    interrupted_and_clean(&scene, ended);

    // From the moment when the API has the pod.
    mend(&scene);
    let running = backup(&scene);
    until("there is a pod", || !scene.sidecars().is_empty());
    running.signal("INT");
    interrupted_and_clean(&scene, running.end());
}

#[test]
fn while_the_pod_starts() {
    let scene = Scene::new(1, Etcd::V3_5);
    for name in ["INT", "TERM", "HUP"] {
        let kubelet = Stopped::new(&scene.lab);
        let mut running = backup(&scene);
        running.wait_for("created on node cp1");
        running.signal(name);
        running.wait_for(CLEANING);
        drop(kubelet);
        interrupted_and_clean(&scene, running.end());
    }
    // The terminal is gone: nobody hears it, and nothing is left all the same.
    let kubelet = Stopped::new(&scene.lab);
    let running = Running::deaf(scene.plugin(&["backup", "a.db"]));
    until("there is a pod", || !scene.sidecars().is_empty());
    running.signal("HUP");
    drop(kubelet);
    assert_eq!(running.end().0.code(), Some(130));
    scene.assert_nothing_left();
}

#[test]
fn while_the_members_are_asked() {
    let scene = Scene::new(1, Etcd::V3_5);
    // The greeting comes, the answer does not.
    cut(&scene, 200, "stall");
    for name in ["INT", "TERM"] {
        let mut running = backup(&scene);
        running.wait_for("created on node cp1");
        until("the session runs", || !processes(&scene.lab, "cp1", &["/etcd-sidecar", "serve"]).is_empty());
        running.signal(name);
        interrupted_and_clean(&scene, running.end());
    }
    // The same goes for a command that makes no pods.
    let mut running = Running::start(scene.plugin(&["status", "--watch", "-v", "6"]));
    running.wait_for("requesting");
    running.signal("INT");
    interrupted_and_clean(&scene, running.end());
}

#[test]
fn during_the_transfer() {
    let scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 3);
    for name in ["INT", "TERM", "HUP"] {
        let (running, _) = stalled(&scene, 2_500_000, "a.db");
        running.signal(name);
        interrupted_and_clean(&scene, running.end());
    }
    // Into a pipe.
    let mut running = Running::start(scene.plugin(&["backup", "-", "--compress", "none"]));
    running.wait_for("taking the snapshot from");
    running.signal("INT");
    interrupted_and_clean(&scene, running.end());
    // The session ends with the plugin, and the member can be taken again.
    mend(&scene);
    scene.ok(&["backup", "a.db"]);
    scene.ok(&["verify", "a.db"]);
}

/// Whether the API has been asked to delete the pod.
fn deletion_asked(scene: &Scene, pod: &str) -> bool {
    let template = "jsonpath={.metadata.deletionTimestamp}";
    let ran = run(scene.kubectl(&["get", "pod", "-n", "kube-system", pod, "-o", template])).expect_code(0);
    !ran.stdout.is_empty()
}

#[test]
fn twice_stops_at_once_and_names_what_is_left() {
    let scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 3);
    for at_once in [false, true] {
        // No pod goes whose kubelet stands still: only the second interruption ends this.
        let (mut running, part) = stalled(&scene, 2_500_000, "a.db");
        let kubelet = Stopped::new(&scene.lab);
        let pods = scene.sidecars();
        running.signal("INT");
        running.wait_for(CLEANING);
        if !at_once {
            until("the pod is being deleted", || deletion_asked(&scene, &pods[0]));
        }
        assert!(running.runs());
        running.signal("INT");
        let (status, said) = running.end();
        assert_eq!(status.code(), Some(130), "{said}");
        for text in [&format!("pod kube-system/{} may be left behind", pods[0]), "hint: kubectl etcd cleanup"] {
            assert!(said.contains(text), "{text:?} is not in:\n{said}");
        }
        assert!(!part.exists() && scene.files().is_empty(), "{:?}", scene.files());
        assert_eq!(scene.sidecars(), pods);
        drop(kubelet);
        if at_once {
            // The request to delete it may never have been sent.
            scene.ok(&["cleanup", "--yes"]);
        }
        until("the pod is gone", || scene.sidecars().is_empty());
        mend(&scene);
        scene.assert_nothing_left();
    }
}

#[test]
fn while_the_pods_are_deleted() {
    let scene = Scene::new(1, Etcd::V3_5);
    for signals in [["INT"].as_slice(), &["TERM", "INT"]] {
        // The backup is done; its pod does not go.
        let mut running = backup(&scene);
        running.wait_for("backed up cluster");
        let kubelet = Stopped::new(&scene.lab);
        assert!(!scene.sidecars().is_empty(), "the pod has gone too fast");
        for name in signals {
            running.signal(name);
        }
        let (status, said) = running.end();
        drop(kubelet);
        assert_eq!(status.code(), Some(130), "{said}");
        assert!(said.contains("may be left behind") && said.contains("hint: kubectl etcd cleanup"), "{said}");
        // The file is whole and stays; only the pod was in question.
        assert_eq!(scene.files(), ["a.db", "a.db.json"]);
        scene.ok(&["verify", "a.db"]);
        until("the pod is gone", || scene.sidecars().is_empty());
        for name in scene.files() {
            std::fs::remove_file(scene.path(&name)).unwrap();
        }
        scene.assert_nothing_left();
    }
}
