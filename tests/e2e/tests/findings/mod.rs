//! What an audit of restores found, end to end: a coordinator that is lost after the votes, manifests that another program writes again, and
//! disks that hang. Nobody waits for what is lost, no write that somebody was told had succeeded is gone, and no cluster is half old and half new.

mod forget;

use std::time::Duration;

use e2e::history::{Writers, check};
use e2e::restores::{
    State, decided, during, hang_disk_at, journal, journal_file, journals_until, on_node, participants, reached,
    settled, stage, stage_with,
};
use e2e::{Scene, names, run, until};
use lab::{Etcd, Options};

/// Whether a restore has ended on a node.
fn ended(scene: &Scene, node: &str) -> bool {
    journal(scene, node).iter().any(|entry| entry == "restored" || entry == "wentBack")
}

#[test]
fn the_coordinator_is_lost_after_the_votes() {
    let scene = stage(3, Etcd::V3_5);
    let others = ["cp2", "cp3"].map(str::to_owned);
    let writers = Writers::start(&scene);
    let ran = during(&scene, &[], |running| {
        // It has the votes of all, or will never have them.
        reached(&scene, "cp3", "yes");
        scene.lab.cut_off("cp1").expect("cp1 is cut off");
        running.signal("KILL");
        journals_until(&scene, "the others decide", Duration::from_secs(90), || {
            others.iter().all(|node| decided(&scene, node))
        });
        journals_until(&scene, "the others end", Duration::from_secs(240), || {
            others.iter().all(|node| ended(&scene, node))
        });
        let here = settled_state(&scene, &others);
        // They serve without it, and so does nobody else.
        assert_ne!(here, None, "{:?}", journal(&scene, "cp2"));
        resumed_on_the_node(&scene);
        scene.lab.rejoin("cp1").expect("cp1 is back");
    });
    assert_eq!(ran.status.code(), None);
    journals_until(&scene, "cp1 follows", Duration::from_secs(240), || ended(&scene, "cp1"));
    settled(&scene);
    check(&scene, &writers.stop());
}

/// cp1 hears nobody and has no API server: a person at the node brings the decision of cp2.
fn resumed_on_the_node(scene: &Scene) {
    let status = run(on_node(scene, "cp1", &["--status"])).expect_code(0).stdout;
    assert!(status.contains("this node: its participant answers") && status.contains("cp2 "), "{status}");
    let copy = scene.lab.node_root("cp1").join("var/lib/kubectl-etcd/cp2-journal");
    std::fs::copy(journal_file(scene, "cp2").expect("a journal"), &copy).expect("the journal is copied");
    let resume = ["--resume", "--journal", "/var/lib/kubectl-etcd/cp2-journal"];
    // It may have heard the decision, or voted no, before it was cut off: then nothing is needed.
    let knew = decided(scene, "cp1");
    let told = run(on_node(scene, "cp1", &resume)).expect_code(0).stdout;
    assert!(told.contains("node cp1 knows now that") || (knew && told.contains("nothing is needed")), "{told}");
    until("cp1 knows it", || decided(scene, "cp1"));
    std::fs::remove_file(copy).expect("the copy is removed");
}

/// How a restore ended on nodes, which is the same on all of them.
fn settled_state(scene: &Scene, nodes: &[String]) -> Option<String> {
    let end = |node: &String| {
        journal(scene, node).into_iter().find(|entry| ["restored", "wentBack"].contains(&entry.as_str()))
    };
    let first = end(nodes.first()?)?;
    nodes.iter().all(|node| end(node).as_ref() == Some(&first)).then_some(first)
}

#[test]
fn a_manifest_is_written_again_while_it_is_held() {
    let scene = stage(3, Etcd::V3_5);
    let manifests = scene.lab.node_root("cp2").join("etc/kubernetes/manifests");
    let file = manifests.join("kube-apiserver.yaml");
    let text = std::fs::read_to_string(&file).expect("a manifest");
    let write = |text: &str| {
        // It gets its name when it is whole.
        let draft = scene.lab.node_root("cp2").join("etc/kubernetes/draft.yaml");
        std::fs::write(&draft, text).expect("a manifest is written");
        std::fs::rename(&draft, &file).expect("the manifest is placed");
    };
    // The same bytes: they go aside again, and the restore goes on.
    let ran = during(&scene, &[], |_| {
        reached(&scene, "cp2", "stopEtcd done");
        write(&text);
    });
    assert_eq!(ran.status.code(), Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("kube-apiserver"), "{}", ran.stderr);
    assert_eq!(settled(&scene), State::New);
    assert_eq!(std::fs::read_to_string(&file).expect("a manifest"), text);

    // Other bytes: everyone goes back, and both versions are kept.
    e2e::restores::age(&scene);
    let other = format!("{text}\n# of configuration management\n");
    let ran = during(&scene, &[], |_| {
        reached(&scene, "cp2", "stopApi done");
        write(&other);
    });
    assert_eq!(ran.status.code(), Some(5), "{}", ran.stderr);
    assert!(ran.stderr.contains("kube-apiserver"), "{}", ran.stderr);
    until("every node went back", || scene.lab.node_names().iter().all(|node| ended(&scene, node)));
    assert_eq!(std::fs::read_to_string(&file).expect("a manifest"), text, "the one that was there before is back");
    let kubernetes = scene.lab.node_root("cp2").join("etc/kubernetes");
    let held = names(&kubernetes).into_iter().find(|name| name.starts_with(".kubectl-etcd-")).expect("it is kept");
    let kept = names(&kubernetes.join(&held));
    assert_eq!(kept.len(), 1, "{kept:?}");
    let found = std::fs::read_to_string(kubernetes.join(held).join(&kept[0])).expect("a copy");
    assert_eq!(found, other);
    let status = run(scene.plugin(&["restore", "--status", "-o", "wide"])).expect_code(0).stdout;
    assert!(status.contains(&kept[0]), "{status}");
    run(scene.plugin(&["cleanup", "--old-data", "--yes"])).expect_code(0);
    assert_eq!(settled(&scene), State::Old);
}

#[test]
fn a_disk_hangs_on_the_coordinator() {
    let scene = stage_with(Options { nodes: 3, etcd: Etcd::V3_5, data_disk: Some(900), ..Options::default() });
    let others = ["cp2", "cp3"].map(str::to_owned);
    let writers = Writers::start(&scene);
    let ran = during(&scene, &[], |running| {
        hang_disk_at(&scene, "cp1", "stopEtcd done");
        assert!(!journal(&scene, "cp1").contains(&"yes".to_owned()), "cp1 had voted: {:?}", journal(&scene, "cp1"));
        running.signal("KILL");
        // 47 seconds, and then what going back takes, while the disk still hangs, be it under the exchange of the data or under the start of etcd.
        journals_until(&scene, "the others go back", Duration::from_secs(300), || {
            others.iter().all(|node| ended(&scene, node))
        });
        assert_eq!(settled_state(&scene, &others).as_deref(), Some("wentBack"));
        scene.lab.thaw_disk("cp1").expect("cp1's disk works again");
    });
    assert_eq!(ran.status.code(), None);
    journals_until(&scene, "cp1 follows", Duration::from_secs(240), || ended(&scene, "cp1"));
    assert_eq!(settled(&scene), State::Old);
    check(&scene, &writers.stop());
    until("the participants are gone", || {
        scene.lab.node_names().iter().all(|node| participants(&scene, node).is_empty())
    });
}
