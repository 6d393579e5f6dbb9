//! Nodes without any data of etcd, in a cluster that has lost its quorum: they take part, and a backup alone is enough.

use std::path::PathBuf;

use e2e::restores::{make, reached, stage};
use e2e::ssh::OverSsh;
use e2e::trouble::{etcdctl, processes, signal};
use e2e::{Ran, Scene, etcd_3_5, run, until};
use lab::Etcd;

fn data_dir(scene: &Scene, node: &str) -> PathBuf {
    scene.lab.node_root(node).join("var/lib/etcd")
}

/// Takes the data of a member away, and ends its etcd, which never gets to a log of its own again.
fn wipe(scene: &Scene, node: &str) {
    let gone = tempfile::tempdir_in(scene.lab.node_root(node).join("var/lib")).expect("a folder");
    // At once, whatever etcd writes meanwhile.
    std::fs::rename(data_dir(scene, node).join("member"), gone.path().join("member")).expect("the data goes");
    processes(&scene.lab, node, &["etcd"]).into_iter().for_each(|pid| signal(pid, "KILL"));
    until("etcd was started on what is left", || data_dir(scene, node).join("member/snap/db").exists());
}

fn members(scene: &Scene, node: &str) -> usize {
    let listed = run(etcdctl(&scene.lab, node, &["member", "list", "-w", "json"])).expect_code(0).json();
    listed["members"].as_array().map_or(0, Vec::len)
}

fn config_maps(scene: &Scene, node: &str) -> Vec<String> {
    let server = format!("https://{}:6443", scene.lab.node_ip(node));
    let listed = run(scene.kubectl(&["--server", &server, "get", "configmaps", "-o", "name"])).expect_code(0);
    let ours = |name: &&str| ["before", "after"].iter().any(|one| name.ends_with(one));
    listed.stdout.lines().filter_map(|line| line.split('/').next_back()).filter(ours).map(str::to_owned).collect()
}

#[test]
fn a_node_without_data_takes_part_and_a_backup_alone_is_enough() {
    let scene = stage(3, Etcd::V3_5);
    let ssh = OverSsh::start(&scene.lab);
    let address = |node: &str| format!("{node}={}", scene.lab.node_ip(node));
    let etcd = etcd_3_5().join("etcd").display().to_string();
    let go = |nodes: &[&str], args: &[&str]| -> Ran {
        let nodes = nodes.iter().map(|node| address(node)).collect::<Vec<_>>().join(",");
        let words = [&["recover"], args].concat();
        run(ssh.plugin(&scene, &ssh.flags_with("root", &["--nodes", &nodes], &words)))
    };
    make(&scene, "before", "1");
    scene.ok(&["backup", "b.db"]);
    make(&scene, "after", "1");

    // One of two that are left has lost its data: its etcd starts and ends all the time, and counts for no quorum.
    scene.lab.power_off("cp3").expect("it is switched off");
    wipe(&scene, "cp2");
    let best = ["--from", "best", "--etcd", &etcd];
    let shown = go(&["cp1", "cp2"], &["-o", "json"]).expect_code(0).json();
    assert_eq!(shown["best"], serde_json::json!(["cp1"]), "{shown}");
    assert_eq!(shown["nodes"][1]["survey"]["etcd"][0]["empty"], true, "{shown}");
    let ran = go(&["cp1", "cp2"], &[&best[..], &["--confirm", "cp1"]].concat()).expect_code(4);
    let ran = ran.expect_error(&["may have its quorum on nodes that were not seen: ", "nothing was changed"]);
    // etcd 3.5 need not have written its name to the database.
    let gone = ran.stderr.lines().find_map(|line| line.trim().strip_prefix("--gone ")).expect("the member is named");
    let gone = gone.split(' ').next().expect("a word");
    assert!(!data_dir(&scene, "cp2").join(".kubectl-etcd").exists());
    let ran = go(&["cp1", "cp2"], &[&best[..], &["--gone", gone, "--confirm", "cp1"]].concat()).expect_code(0);
    ran.expect_error(&["node cp2 has no data of etcd in /var/lib/etcd; the node takes part", "restored cluster cp1"]);
    assert_eq!((members(&scene, "cp2"), config_maps(&scene, "cp2").len()), (2, 2));

    // No data is left anywhere. What the backup says of the members is all that is known. The node that stays has to know that the other one has ended, too.
    reached(&scene, "cp2", "allEnded");
    scene.lab.power_off("cp1").expect("it is switched off");
    wipe(&scene, "cp2");
    go(&["cp2"], &["--from", "best", "--gone", "cp1", "--confirm", "cp2"])
        .expect_code(4)
        .expect_error(&["no log of etcd can be read on any node", "--from FILE"]);
    let file = ["--from", "b.db", "--confirm", "cp2"];
    go(&["cp2"], &file).expect_code(4).expect_error(&["may have its quorum on nodes that were not seen: ", "cp1"]);
    // One of three that was not seen is no quorum.
    let ran = go(&["cp2"], &[&file[..], &["--gone", "cp1"]].concat()).expect_code(0);
    ran.expect_error(&["no node has data that tells whose cluster this is", "restored cluster cp2"]);
    assert_eq!((members(&scene, "cp2"), config_maps(&scene, "cp2")), (1, vec!["before".to_owned()]));
    let status = run(etcdctl(&scene.lab, "cp2", &["endpoint", "status", "-w", "json"])).expect_code(0).json();
    let revision = status[0]["Status"]["header"]["revision"].as_i64();
    assert!(revision > Some(1_000_000_000), "{status}");
    ssh.assert_nothing_on(&scene.lab, "cp2");
}
