//! A node is lost after its vote and does not come back: the others end the restore without it, and stop waiting for it when they are told
//! to.

use std::time::Duration;

use e2e::restores::{
    CLUSTER, State, age, during, journal, journal_file, participants, reached, restore, settled_on, stage,
};
use e2e::trouble::etcdctl;
use e2e::{run, until, until_within};
use lab::Etcd;

/// The lost node is not waited for.
const SHORT: [&str; 2] = ["--pod-running-timeout", "5s"];

#[test]
fn a_node_that_is_lost_after_its_vote_is_forgotten() {
    let scene = stage(3, Etcd::V3_5);
    let others = ["cp1".to_owned(), "cp2".to_owned()];
    let ran = during(&scene, &SHORT, |running| {
        reached(&scene, "cp1", "commit");
        scene.lab.power_off("cp3").expect("cp3 goes down");
        // The nodes end the restore without the plugin.
        running.signal("KILL");
    });
    let third = journal(&scene, "cp3");
    assert!(!third.contains(&"restored".to_owned()), "cp3 was faster than its end: {third:?}");
    let file = journal_file(&scene, "cp1").expect("a journal");
    let id = file.parent().and_then(|folder| folder.file_name()).and_then(|name| name.to_str()).expect("an ID");
    assert_eq!(ran.status.code(), None, "{}", ran.stderr);
    for node in &others {
        until_within("the others have ended it", Duration::from_secs(240), || {
            journal(&scene, node).contains(&"restored".to_owned())
        });
        assert!(!participants(&scene, node).is_empty(), "{node} stays to tell cp3");
    }
    // What is told is what is to be typed.
    let forget = format!("kubectl etcd restore --forget {id}");
    let status = [&["restore", "--status", "-o", "json"][..], &SHORT].concat();
    let mut told = serde_json::Value::Null;
    until("both nodes can be asked", || {
        told = run(scene.plugin(&status)).expect_code(0).json();
        told["advice"][0]["nodes"] == serde_json::json!(["cp3"])
    });
    assert_eq!(told["decision"], "commit", "{told}");
    let advice = told["advice"].as_array().and_then(|all| all.first()).expect("advice");
    assert_eq!((&advice["state"], &advice["nodes"][0]), (&"notConfirmed".into(), &"cp3".into()), "{told}");
    assert_eq!(advice["commands"][0], forget.as_str(), "{told}");
    let flags = [&["--to-nodes", "cp1,cp2"][..], &SHORT].concat();
    let refused = run(restore(&scene, &flags)).expect_code(4);
    assert!(
        refused.stderr.contains("--forget") && refused.stderr.contains("nothing was changed"),
        "{}",
        refused.stderr
    );
    let refused = run(scene.plugin(&[&["rollback", "--confirm", CLUSTER][..], &SHORT].concat())).expect_code(4);
    assert!(refused.stderr.contains(&forget), "{}", refused.stderr);
    // Nobody is left behind where a quorum has decided.
    let without = ["restore", "--resume", "--without", "cp2", "--confirm", CLUSTER];
    let refused = run(scene.plugin(&[&without[..], &SHORT].concat())).expect_code(4);
    assert!(refused.stderr.contains("--without names cp2, whose node answers"), "{}", refused.stderr);
    let wrong = run(scene.plugin(&[&["restore", "--forget", "20200101-000000-aaaaa"][..], &SHORT].concat()));
    assert!(wrong.expect_code(4).stderr.contains("has a journal of restore"), "an ID that nobody knows");

    run(scene.plugin(&[&["restore", "--forget", id][..], &SHORT].concat()))
        .expect_code(0)
        .expect_error(&[&format!("no node waits for restore {id} any more")]);
    assert!(others.iter().all(|node| participants(&scene, node).is_empty()));
    assert!(others.iter().all(|node| journal_file(&scene, node).is_some()), "the journals keep the decision");
    assert_eq!(settled_on(&scene, &others), State::New);
    let leads = |node: &str| run(etcdctl(&scene.lab, node, &["endpoint", "health"])).status.success();
    until("both members serve", || leads("cp1") && leads("cp2"));
    // Nothing is in the way of the next, without the node that is gone.
    age(&scene);
    run(restore(&scene, &flags)).expect_code(0);
    assert_eq!(settled_on(&scene, &others), State::New);
}
