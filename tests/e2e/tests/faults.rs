//! What happens to restores: processes killed at every step, nodes that lose each other or their power, disks that are full, journals that
//! are torn, data that etcd does not take. After each the cluster is wholly old or wholly new, serves, and its members agree.

use std::time::Duration;

use e2e::history::{self, Writers};
use e2e::restores::{
    State, age, agree, decided, during, is_late, journal, journal_file, kill_at, participants, reached, restore,
    rolls_back_by_itself, settled, spoil_api_servers, spoil_new_data, stage, stage_with, version,
};
use e2e::trouble::{etcdctl, fill, processes, signal};
use e2e::{Running, Scene, run, until, until_within};
use lab::{Etcd, Options};

/// Every entry that a journal gets in a restore that goes well, from the one on at which there is a participant.
const STEPS: [&str; 16] = [
    "preflight",
    "preflight done",
    "stopApi",
    "stopApi done",
    "stopEtcd",
    "stopEtcd done",
    "swap",
    "swap done",
    "launchEtcd",
    "launchEtcd done",
    "startEtcd",
    "yes",
    "commit",
    "startApi",
    "startApi done",
    "finish",
];

/// Restores with the participant on a node killed at some steps in turn, at all with `RESTORE_FAULTS=all`. It goes on, or everyone goes back. That
/// this is so at every step, and in every order of events, is simulated in `crates/transaction`.
fn killed_everywhere(scene: &Scene, node: &str, some: &[&str]) {
    let all = std::env::var("RESTORE_FAULTS").is_ok_and(|which| which == "all");
    for step in if all { &STEPS[..] } else { some } {
        let ran = during(scene, &[], |_| kill_at(scene, node, step));
        let new = settled(scene) == State::New;
        assert_eq!(ran.status.code() == Some(0), new, "{node} was killed at {step}: {}", ran.stderr);
        for one in scene.lab.node_names() {
            let ended = journal(scene, &one);
            let restored = ended.contains(&"restored".to_owned());
            assert_eq!(restored, new, "{node} was killed at {step}, {one}: {ended:?}");
        }
        if new {
            age(scene);
        }
    }
}

#[test]
fn a_participant_is_killed() {
    killed_everywhere(&stage(3, Etcd::V3_5), "cp2", &["swap"]);
}

#[test]
fn the_coordinator_is_killed() {
    killed_everywhere(&stage(3, Etcd::V3_5), "cp1", &["yes"]);
}

#[test]
fn the_plugin_is_killed() {
    let scene = stage(3, Etcd::V3_5);
    // Before the nodes are on their own they take back what was begun.
    let running = Running::start(restore(&scene, &[]));
    until("a node is prepared", || scene.lab.node_names().iter().any(|node| !journal(&scene, node).is_empty()));
    running.signal("KILL");
    drop(running);
    // A node whose participant ran already has given it up, and says so in its journal.
    let given_up = |node: &String| journal(&scene, node).contains(&"givenUp".to_owned());
    let nothing = |node: &String| {
        let data = scene.lab.node_root(node).join("var/lib/etcd/.kubectl-etcd");
        (journal_file(&scene, node).is_none() || given_up(node))
            && !data.exists()
            && participants(&scene, node).is_empty()
    };
    let gone_on = || scene.lab.node_names().iter().any(|node| journal(&scene, node).contains(&"stopApi".to_owned()));
    // Participants that were started wait two minutes for the word to begin.
    until_within("nothing is left, or it goes on", Duration::from_secs(200), || {
        scene.lab.node_names().iter().all(nothing) || gone_on()
    });
    if !gone_on() {
        run(scene.plugin(&["cleanup", "--yes"])).expect_code(0);
        if !scene.lab.node_names().iter().any(given_up) {
            scene.assert_nodes_untouched();
        }
        assert_eq!(settled(&scene), State::Old);
    }

    // Later it goes on without it.
    let ran = during(&scene, &[], |running| {
        for node in scene.lab.node_names() {
            reached(&scene, &node, "stopApi done");
        }
        running.signal("KILL");
        // Whoever looks meanwhile waits, and sees the end.
        let looked = run(scene.plugin(&["restore", "--status"])).expect_code(0);
        let looked = looked.expect_error(&["the API server is away, which is normal during a restore"]);
        assert_eq!(looked.stdout.matches("   restored   ").count(), 3, "{}", looked.stdout);
    });
    assert_eq!(ran.status.code(), None);
    until("every node has ended it", || {
        scene.lab.node_names().iter().all(|node| journal(&scene, node).contains(&"restored".to_owned()))
    });
    assert_eq!(settled(&scene), State::New);
    let told = run(scene.plugin(&["restore", "--status", "-o", "json"])).expect_code(0);
    assert_eq!(told.stdout.matches("\"restored\"").count(), 3, "{}", told.stdout);
}

#[test]
fn two_nodes_lose_each_other() {
    let scene = stage(3, Etcd::V3_5);
    // Before everyone has voted: all go back, the lost one by itself. What happens later is simulated.
    let ran = during(&scene, &["--start-timeout", "20s"], |_| {
        reached(&scene, "cp1", "stopEtcd");
        scene.lab.cut("cp1", "cp2").expect("the road is cut");
        until("it is decided", || decided(&scene, "cp1"));
        scene.lab.heal("cp1", "cp2").expect("the road is mended");
    });
    assert_eq!(ran.status.code(), Some(5), "{}", ran.stderr);
    assert_eq!(settled(&scene), State::Old);
}

#[test]
fn a_node_goes_down() {
    let mut scene = stage(3, Etcd::V3_5);
    // In the middle of it: the others go back, and it comes back to them.
    let ran = during(&scene, &["--start-timeout", "20s"], |_| {
        reached(&scene, "cp3", "stopEtcd done");
        scene.lab.power_off("cp3").expect("cp3 goes down");
        until("it is decided", || journal(&scene, "cp1").iter().any(|entry| entry == "abort"));
        scene.lab.power_on("cp3").expect("cp3 comes up");
    });
    assert_ne!(ran.status.code(), Some(0), "{}", ran.stderr);
    assert_eq!(settled(&scene), State::Old);

    // When it has voted: the others decide without it, and it hears of that when it is back. Its certificate is on its disk.
    let ran = during(&scene, &[], |running| {
        reached(&scene, "cp3", "yes");
        scene.lab.power_off("cp3").expect("cp3 goes down");
        until("it is decided", || decided(&scene, "cp1") && decided(&scene, "cp2"));
        running.signal("KILL");
        scene.lab.power_on("cp3").expect("cp3 comes up");
    });
    assert_eq!(ran.status.code(), None);
    let ended = |node: &String| journal(&scene, node).iter().any(|entry| entry == "restored" || entry == "wentBack");
    until_within("every node has ended it", Duration::from_secs(240), || scene.lab.node_names().iter().all(ended));
    if settled(&scene) == State::New {
        age(&scene);
    }
    scene.accept_nodes();

    // Before it: nothing is begun.
    scene.lab.power_off("cp3").expect("cp3 goes down");
    // An election may be on.
    let leads = |node: &str| run(etcdctl(&scene.lab, node, &["endpoint", "health"])).status.success();
    until("the others go on", || {
        leads("cp1") && leads("cp2") && run(scene.kubectl(&["get", "pods", "-A"])).status.success()
    });
    let ran = run(restore(&scene, &["--pod-running-timeout", "5s"])).expect_code(4);
    assert!(ran.stderr.contains("cp3") && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    assert!(["cp1", "cp2"].iter().all(|node| participants(&scene, node).is_empty()));
    scene.lab.power_on("cp3").expect("cp3 comes up");
    assert_eq!(settled(&scene), State::Old);
}

#[test]
fn a_disk_is_full_and_a_data_directory_is_a_mount_point() {
    let scene = stage_with(Options { nodes: 3, etcd: Etcd::V3_5, data_disk: Some(900), ..Options::default() });
    fill(&scene.lab, 60);
    scene.ok(&["backup", "a.db", "-q", "--force"]);
    let left = |node: &String| scene.lab.node_root(node).join("var/lib/etcd/.kubectl-etcd").exists();
    // Too full for what is needed: nothing is begun.
    scene.lab.fill_disk("cp2", 80).expect("cp2's disk is filled");
    let ran = run(restore(&scene, &[])).expect_code(4);
    assert!(ran.stderr.contains("cp2") && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    scene.lab.free_disk("cp2").expect("there is room again");
    // Full when the node is prepared already: the file finds no room.
    let ran = during(&scene, &[], |running| {
        running.signal("STOP");
        scene.lab.fill_disk("cp2", 30).expect("cp2's disk is filled");
        running.signal("CONT");
    });
    scene.lab.free_disk("cp2").expect("there is room again");
    assert!(matches!(ran.status.code(), Some(1 | 4)), "{}", ran.stderr);
    assert!(ran.stderr.contains("cp2") && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    until("nothing is left", || !scene.lab.node_names().iter().any(left));
    assert!(scene.lab.node_names().iter().all(|node| journal_file(&scene, node).is_none()));
    run(restore(&scene, &[])).expect_code(0);
    agree(&scene);
    assert!(scene.lab.node_names().iter().all(left), "the old data is kept");
}

#[test]
fn etcd_does_not_take_the_new_data() {
    let scene = stage(3, Etcd::V3_5);
    let writers = Writers::start(&scene);
    let ran = during(&scene, &["--start-timeout", "20s"], |_| spoil_new_data(&scene, "cp2"));
    assert_eq!(ran.status.code(), Some(5), "{}", ran.stderr);
    ran.expect_error(&["error: the restore failed", "cp2", "launch etcd", "the API server was away for "]);
    assert_eq!(settled(&scene), State::Old);
    // What etcd may have written to is kept and named, on nodes that came so far; the rest is gone.
    let status = run(scene.plugin(&["restore", "--status", "-o", "wide"])).expect_code(0);
    for node in scene.lab.node_names() {
        let file = journal_file(&scene, &node).expect("a journal");
        let id = file.parent().and_then(|folder| folder.file_name()).expect("an id").to_owned();
        let ours = scene.lab.node_root(&node).join("var/lib/etcd/.kubectl-etcd").join(id);
        let entries = journal(&scene, &node);
        let launched = entries.contains(&"launchEtcd".to_owned());
        assert_eq!(entries.contains(&"kept".to_owned()), launched, "{node}: {entries:?}");
        let left: Vec<_> =
            std::fs::read_dir(&ours).into_iter().flatten().map(|entry| entry.expect("a name").file_name()).collect();
        assert_eq!(left, if launched { vec!["served"] } else { Vec::new() }, "{node}");
        assert_eq!(ours.join("served/member/snap/db").exists(), launched, "{node}");
        let line = status.stdout.lines().find(|line| line.starts_with(&node)).unwrap_or_default();
        assert_eq!(line.contains("/served"), launched, "{}", status.stdout);
    }
    // Nothing is in the way of the next.
    run(restore(&scene, &[])).expect_code(0);
    assert_eq!(settled(&scene), State::New);
    // What was acknowledged before the first was rolled back outlived that, and what was after the second is there.
    history::check(&scene, &writers.stop());
    run(scene.plugin(&["cleanup", "--old-data", "--yes"])).expect_code(0);
    for node in scene.lab.node_names() {
        assert!(!scene.lab.node_root(&node).join("var/lib/etcd/.kubectl-etcd").exists(), "{node}");
    }
}

#[test]
fn the_api_server_does_not_become_ready() {
    let scene = stage(3, Etcd::V3_5);
    let (before, writers) = (version(&scene), Writers::start(&scene));
    // Of none: the nodes roll back by themselves, with a second transaction.
    let all = ["cp1", "cp2", "cp3"];
    let decided_anew = |node: &str| rolls_back_by_itself(&scene, node) && decided(&scene, node);
    let flags = ["--start-timeout", "15s"];
    let killed = std::cell::Cell::new(false);
    let ran = during(&scene, &flags, |_| {
        spoil_api_servers(&scene, &all, |node| {
            // A process that is killed when it has armed the node for that goes on with it.
            if !killed.get() && rolls_back_by_itself(&scene, "cp2") {
                killed.set(true);
                kill_at(&scene, "cp2", "armed");
            }
            decided_anew(node)
        });
    });
    assert!(killed.get());
    assert_eq!(ran.status.code(), Some(5), "{}", ran.stderr);
    for text in ["all nodes rolled back to the old data by themselves", "nothing listens on port 6443"] {
        assert!(ran.stderr.contains(text), "{text:?} is not in:\n{}", ran.stderr);
    }
    // Every write that was acknowledged is there: before the restore, and since its rollback.
    let writes = writers.stop();
    assert_eq!(settled(&scene), State::Old);
    assert!(version(&scene) > before, "resource versions rise");
    let maps = run(scene.kubectl(&["get", "configmaps", "-o", "name"])).expect_code(0).stdout;
    let maps: std::collections::BTreeSet<&str> =
        maps.lines().filter_map(|line| line.strip_prefix("configmap/")).collect();
    let acknowledged = writes.iter().filter(|write| matches!(write.outcome, history::Outcome::Acknowledged(_)));
    let lost: Vec<_> = acknowledged.filter(|write| !maps.contains(write.name.as_str())).collect();
    assert!(lost.is_empty(), "{lost:?}");
    history::check(&scene, &writes);
    let status = run(scene.plugin(&["restore", "--status", "-o", "json"])).expect_code(0).json();
    assert!(status["last"].as_str().is_some_and(|id| id.ends_with("-r")), "{status}");
    assert!(status["unfinished"].is_null(), "{status}");

    // Of one of three: the new data stays, and the nodes try until their API servers are ready.
    let late = |node: &str| is_late(&scene, node);
    let ran = during(&scene, &flags, |_| spoil_api_servers(&scene, &["cp2", "cp3"], late));
    assert!(matches!(ran.status.code(), Some(0 | 5)), "{}", ran.stderr);
    assert!(ran.stderr.contains("cp3") && ran.stderr.contains("API server"), "{}", ran.stderr);
    assert_eq!(settled(&scene), State::New);
    assert!(!all.iter().any(|node| rolls_back_by_itself(&scene, node)));
    age(&scene);
    // Or it does not wait for that.
    let ran =
        during(&scene, &["--start-timeout", "15s", "--no-rollback"], |_| spoil_api_servers(&scene, &["cp3"], late));
    assert_eq!(settled(&scene), State::New, "{}", ran.stderr);
}

#[test]
fn a_journal_is_torn() {
    let scene = stage(3, Etcd::V3_5);
    let ran = during(&scene, &[], |_| {
        reached(&scene, "cp2", "swap");
        // Stopped, so that it does not write between the two. Which entry is the last one by then depends on how busy the machine is. The disk had it,
        // and the others may have heard of it: what it was about is done again.
        let pids = participants(&scene, "cp2");
        pids.iter().for_each(|pid| signal(*pid, "STOP"));
        let file = journal_file(&scene, "cp2").expect("a journal");
        let length = std::fs::metadata(&file).expect("a journal").len();
        let torn = std::fs::OpenOptions::new().write(true).open(&file).expect("a journal");
        torn.set_len(length - 7).expect("it is torn");
        pids.iter().for_each(|pid| signal(*pid, "KILL"));
    });
    let new = settled(&scene) == State::New;
    assert_eq!(ran.status.code() == Some(0), new, "{}", ran.stderr);
}

#[test]
fn two_restore_at_once() {
    let scene = stage(3, Etcd::V3_5);
    let first = Running::start(restore(&scene, &[]));
    until("the first has a node", || journal_file(&scene, "cp1").is_some());
    // It stands still while the second tries, so that it cannot be through before.
    first.signal("STOP");
    let second = run(restore(&scene, &[])).expect_code(4);
    assert!(second.stderr.contains("restore --status"), "{}", second.stderr);
    first.signal("CONT");
    let (status, said) = first.end();
    assert!(status.success(), "{said}");
    assert_eq!(settled(&scene), State::New);
    let ids = std::fs::read_dir(scene.lab.node_root("cp1").join("var/lib/kubectl-etcd")).expect("journals").count();
    assert_eq!(ids, 1, "the second has begun nothing");
}

#[test]
fn other_static_pods_are_left_alone() {
    let scene = stage(1, Etcd::V3_4);
    let version = scene.lab.etcd_version().to_owned();
    let pod = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"own","namespace":"kube-system"}},"spec":{{"hostNetwork":true,
        "containers":[{{"name":"own","image":"registry.k8s.io/etcd:{version}-0","command":["etcdctl","watch","--endpoints=http://127.0.0.1:1","x"]}}]}}}}"#
    );
    let file = scene.lab.node_root("cp1").join("etc/kubernetes/manifests/own-pod.yaml");
    std::fs::write(&file, &pod).expect("a manifest is written");
    let own = || processes(&scene.lab, "cp1", &["etcdctl", "watch"]);
    until("it runs", || !own().is_empty());
    let before = own();
    run(restore(&scene, &[])).expect_code(0);
    assert_eq!(settled(&scene), State::New);
    assert_eq!((std::fs::read_to_string(&file).expect("it is there"), own()), (pod, before));
}
