//! `kubectl etcd restore FILE` and `kubectl etcd rollback`, where all goes well; and what is refused before anything is touched.

use e2e::restores::{CLUSTER, State, age, journal, make, restore, settled, stage};
use e2e::{Scene, run};
use lab::Etcd;
use serde_json::Value;

/// The resource version of the list of config maps.
fn version(scene: &Scene) -> i64 {
    let listed = run(scene.kubectl(&["get", "configmaps", "-o", "json"])).expect_code(0).json();
    let own = |one: &Value| one["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok());
    listed["items"].as_array().expect("a list").iter().filter_map(own).max().expect("a version")
}

#[test]
fn a_control_plane_goes_back_to_a_snapshot_and_forth_again() {
    for (nodes, etcd, further) in
        [(1, Etcd::V3_4, true), (3, Etcd::V3_4, false), (1, Etcd::V3_5, false), (3, Etcd::V3_5, true)]
    {
        let scene = stage(nodes, etcd);
        assert_eq!(settled(&scene), State::Old);
        let before = version(&scene);
        let ran = run(restore(&scene, &["-o", "json"])).expect_code(0);
        let report = ran.json();
        assert_eq!(report["kind"], "RestoreReport", "{report}");
        assert_eq!(settled(&scene), State::New);
        // The backup's own pod was in the snapshot.
        assert!(scene.sidecars().is_empty(), "pods are left: {:?}", scene.sidecars());
        // Whoever has watched until then takes nothing new for old.
        make(&scene, "later", "1");
        assert!(version(&scene) > before, "resource versions rise");
        run(scene.kubectl(&["delete", "configmap", "later"])).expect_code(0);
        for node in scene.lab.node_names() {
            let done = journal(&scene, &node);
            assert!(done.contains(&"restored".to_owned()) && done.contains(&"finish done".to_owned()), "{done:?}");
            let aside = scene.lab.node_root(&node).join("var/lib/etcd/.kubectl-etcd");
            let id = report["id"].as_str().expect("an id");
            assert!(aside.join(id).join("old/member/snap/db").exists());
            assert!(!aside.join(id).join("snapshot.db").exists() && !aside.join(id).join("new/member").exists());
        }

        if !further {
            continue;
        }
        // A second one, and back to what it has set aside.
        age(&scene);
        assert_eq!(settled(&scene), State::Old);
        run(restore(&scene, &["-q"])).expect_code(0);
        assert_eq!(settled(&scene), State::New);
        let before = version(&scene);
        run(scene.plugin(&["rollback", "--confirm", CLUSTER])).expect_code(0);
        assert_eq!(settled(&scene), State::Old);
        make(&scene, "later", "1");
        assert!(version(&scene) > before, "resource versions rise");
        run(scene.kubectl(&["delete", "configmap", "later"])).expect_code(0);
        // And forth again, to what that has set aside, as it is.
        run(scene.plugin(&["rollback", "--keep-revisions", "--confirm", CLUSTER, "-q"])).expect_code(0);
        assert_eq!(settled(&scene), State::New);
        run(scene.plugin(&["cleanup", "--aside", "--yes"])).expect_code(0);
        for node in scene.lab.node_names() {
            assert!(!scene.lab.node_root(&node).join("var/lib/etcd/.kubectl-etcd").exists());
            assert!(journal(&scene, &node).is_empty());
        }
    }
}

#[test]
fn nothing_is_touched_unless_it_is_confirmed() {
    let scene = stage(1, Etcd::V3_5);
    for (flags, text) in [(&[][..], "--confirm"), (&["--confirm", "other"][..], "other")] {
        let ran = run(scene.plugin(&[&["restore", "a.db"], flags].concat())).expect_code(4);
        assert!(ran.stderr.contains(text) && ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
        let ran = run(scene.plugin(&[&["rollback"], flags].concat())).expect_code(4);
        assert!(ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    }
    let ran = run(scene.plugin(&["rollback", "--confirm", CLUSTER])).expect_code(4);
    assert!(ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    assert!(scene.sidecars().is_empty());
    scene.assert_nodes_untouched();
    assert_eq!(settled(&scene), State::Old);
}
