//! `kubectl etcd verify --live`: the members of a cluster beside a file.

use e2e::{Scene, run, unpacked};
use lab::{Etcd, Lab};
use serde_json::Value;

fn etcdctl(lab: &Lab, args: &[&str]) {
    let output = lab.etcdctl("cp1", args).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn compare(scene: &Scene, code: i32) -> (Value, String) {
    let ran = run(scene.plugin(&["verify", "a.db", "--live", "-o", "json"])).expect_code(code);
    assert!(scene.sidecars().is_empty(), "pods are left");
    scene.assert_nodes_untouched();
    (ran.json(), ran.stderr)
}

fn results(said: &Value) -> Vec<&str> {
    said["live"].as_array().unwrap().iter().map(|one| one["result"].as_str().unwrap()).collect()
}

#[test]
fn a_backup_is_what_the_members_hold_until_they_forget_it() {
    for etcd in [Etcd::V3_4, Etcd::V3_5] {
        let scene = Scene::new(3, etcd);
        // Something of the past that a compaction will take, and something that it will leave.
        for value in ["1", "2", "3"] {
            etcdctl(&scene.lab, &["put", "a", value]);
        }
        etcdctl(&scene.lab, &["put", "b", "1"]);
        etcdctl(&scene.lab, &["del", "b"]);
        scene.ok(&["backup", "a.db"]);
        let revision = scene.ok(&["verify", "a.db", "-o", "json"]).json()["revision"].as_i64().unwrap();
        let (said, _) = compare(&scene, 0);
        assert_eq!(results(&said), ["equal"; 3]);
        assert_eq!(said["live"][0]["hash"], said["hashKv"]["hash"]);

        // Later changes do not matter, nor does a compaction to before the backup: the hash is another then.
        etcdctl(&scene.lab, &["put", "a", "4"]);
        etcdctl(&scene.lab, &["compact", &(revision - 1).to_string()]);
        let (said, _) = compare(&scene, 0);
        assert_eq!(results(&said), ["equal"; 3], "{said}");
        assert_eq!(said["live"][0]["compactRevision"], revision - 1);
        let table = scene.ok(&["verify", "a.db", "--live", "--node", "cp2"]).stdout;
        assert!(table.contains("equal") && table.contains("cp2") && !table.contains("cp1"), "{table}");

        // One to after it does.
        etcdctl(&scene.lab, &["compact", &(revision + 1).to_string()]);
        let (said, errors) = compare(&scene, 1);
        assert_eq!(results(&said), ["notComparable"; 3]);
        assert_eq!(said["ok"], true);
        for text in ["no member could be compared", "has compacted revision", "compare a backup soon after"] {
            assert!(errors.contains(text), "{text:?} is not in:\n{errors}");
        }
    }
}

#[test]
fn the_file_of_another_cluster_is_noticed() {
    let scene = Scene::new(1, Etcd::V3_5);
    std::fs::write(scene.path("a.db"), unpacked("etcd/etcd-3.5.30-auth.db.zst")).unwrap();
    let (said, errors) = compare(&scene, 1);
    assert_eq!(results(&said), ["different"]);
    assert_eq!(said["live"][0]["expected"], said["hashKv"]["hash"]);
    assert!(errors.contains("a.db differs from 1 of 1 members"), "{errors}");
    // One that is far ahead.
    std::fs::write(scene.path("a.db"), unpacked("etcd/etcd-3.5.30.db.zst")).unwrap();
    let (said, errors) = compare(&scene, 1);
    assert_eq!(results(&said), ["notComparable"]);
    assert!(errors.contains("has not reached 53"), "{errors}");
}

#[test]
fn flags_that_only_a_comparison_needs_are_refused_without_it() {
    let scene = Scene::new(1, Etcd::V3_5);
    std::fs::write(scene.path("a.db"), unpacked("etcd/etcd-3.5.30.db.zst")).unwrap();
    for flag in [["--image", "x"], ["--cacert", "/ca.crt"], ["--node", "cp1"]] {
        let ran = run(scene.plugin(&["verify", "a.db", flag[0], flag[1]])).expect_code(2);
        assert!(ran.stderr.contains("--live") && ran.stdout.is_empty(), "{}", ran.stderr);
    }
    // The environment may hold them for other commands.
    let mut command = scene.plugin(&["verify", "a.db"]);
    command.env("KUBECTL_ETCD_IMAGE", "x");
    run(command).expect_code(0);
    // A damaged file is told, and no cluster is asked.
    let mut bytes = unpacked("etcd/etcd-3.5.30.db.zst");
    bytes[20_000] ^= 1;
    std::fs::write(scene.path("a.db"), bytes).unwrap();
    let ran = run(scene.plugin(&["verify", "a.db", "--live", "--kubeconfig", "/nonexistent"])).expect_code(3);
    assert!(ran.stderr.contains("a.db is damaged"), "{}", ran.stderr);
}
