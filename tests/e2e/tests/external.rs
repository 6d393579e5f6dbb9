//! etcd on machines of its own, which no API server runs on: with units of systemd and without a kubelet, and as static pods of kubelets that know no
//! API server, which is kubeadm's way.

use std::time::Duration;

use e2e::restores::{journal_file, kill_at, make, participants, spoil_new_data, stage, stage_with};
use e2e::ssh::OverSsh;
use e2e::trouble::{etcdctl, processes};
use e2e::{Running, Scene, names, run, until};
use lab::{Etcd, Options};

use super::units::{UNITS, as_a_unit, config_maps, etcd, units};

const MANIFESTS: &str = "etc/kubernetes/manifests";
const SERVERS: [&str; 3] = ["kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"];

/// Leaves the control plane without etcd on cp1: its API server uses the etcd of these nodes.
fn without_etcd(scene: &Scene, others: &[&str]) {
    let listed = run(etcdctl(&scene.lab, others[0], &["member", "list"])).expect_code(0).stdout;
    let line = listed.lines().find(|line| line.contains(" cp1,")).expect("a member");
    let id = line.split(',').next().expect("an ID");
    // etcd removes none while it takes another one for unhealthy, as it does for a while after each of them was started anew.
    let removed = || run(etcdctl(&scene.lab, others[0], &["member", "remove", id])).status.success();
    until("the member of cp1 is removed", removed);
    let root = scene.lab.node_root("cp1");
    std::fs::remove_file(root.join(MANIFESTS).join("etcd.yaml")).expect("a manifest");
    let manifest = root.join(MANIFESTS).join("kube-apiserver.yaml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let own = "--etcd-servers=https://127.0.0.1:2379";
    assert!(text.contains(own), "{text}");
    let all = others.iter().map(|node| format!("https://{}:2379", scene.lab.node_ip(node))).collect::<Vec<_>>();
    std::fs::write(&manifest, text.replace(own, &format!("--etcd-servers={}", all.join(",")))).expect("a manifest");
    until("etcd has ended on cp1", || processes(&scene.lab, "cp1", &["etcd"]).is_empty());
    std::fs::remove_dir_all(root.join("var/lib/etcd/member")).expect("data");
    let knows = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| memchr::memmem::find(&line, all[0].as_bytes()).is_some())
    };
    let server = || processes(&scene.lab, "cp1", &["kube-apiserver"]);
    until("the API server of cp1 was started anew", || !server().is_empty() && server().iter().all(knows));
    config_maps(scene, "cp1");
}

/// Leaves etcd alone on a node.
fn etcd_alone(scene: &Scene, node: &str) {
    let manifests = scene.lab.node_root(node).join(MANIFESTS);
    for server in SERVERS {
        std::fs::remove_file(manifests.join(server)).expect("a manifest");
    }
    let ended = |program: &str| processes(&scene.lab, node, &[program]).is_empty();
    until("only etcd runs", || ended("kube-apiserver") && ended("kube-controller-manager") && ended("kube-scheduler"));
}

/// That nothing is held or placed on nodes: what runs is what ran.
fn as_before(scene: &Scene, ssh: &OverSsh, etcd_nodes: &[&str], own: &[&str]) {
    let nodes = || ["cp1"].iter().chain(etcd_nodes);
    until("the participants have gone", || nodes().all(|node| participants(scene, node).is_empty()));
    let of = |node: &str| names(&scene.lab.node_root(node).join(MANIFESTS));
    until("only the control plane's manifests are there", || of("cp1") == SERVERS);
    let beside = names(&scene.lab.node_root("cp1").join("etc/kubernetes"));
    assert!(!beside.iter().any(|name| name.contains("kubectl-etcd")), "{beside:?}");
    for node in etcd_nodes {
        match own {
            [] => {
                assert_eq!(units(scene, node), UNITS, "{node}");
                run(ssh.on(&scene.lab, node, "systemctl is-active etcd.service")).expect_code(0);
                assert!(!scene.lab.node_root(node).join(MANIFESTS).exists(), "{node}");
            }
            own => until("only the manifest of etcd is there", || of(node) == own),
        }
        let programs = run(ssh.on(&scene.lab, node, "find /var/lib/kubectl-etcd -name 'etcd-sidecar*'"));
        assert_eq!(programs.expect_code(0).stdout, "", "{node}");
    }
    nodes().for_each(|node| ssh.assert_nothing_on(&scene.lab, node));
}

#[test]
fn a_unit_of_etcd_on_a_machine_of_its_own_is_restored_with_the_api_server_that_uses_it() {
    let scene = stage(3, Etcd::V3_4);
    let others = ["cp2", "cp3"];
    others.iter().for_each(|node| as_a_unit(&scene, node, "cp"));
    without_etcd(&scene, &others);
    for node in others {
        etcd_alone(&scene, node);
        // A machine of etcd has no kubelet, and no folder of manifests.
        std::fs::remove_dir(scene.lab.node_root(node).join(MANIFESTS)).expect("an empty folder");
    }
    let ssh = OverSsh::start(&scene.lab);
    let go = |args: &[&str]| run(ssh.plugin(&scene, &ssh.flags("root", args)));
    let status = go(&["status", "-o", "json", "--exit-code"]).expect_code(0).json();
    let members = status["members"].as_array().expect("members");
    let on: Vec<&str> = members.iter().filter_map(|member| member["node"].as_str()).collect();
    assert_eq!(on, others, "{status}");
    go(&["backup", "b.db"]).expect_code(0);
    scene.ok(&["verify", "b.db"]);

    // Somebody has to say where the API servers are, and where etcd is.
    let only = |nodes: &[&str], args: &[&str]| {
        let named = nodes.iter().map(|node| format!("{node}={}", scene.lab.node_ip(node))).collect::<Vec<_>>();
        run(ssh.plugin(&scene, &ssh.flags_with("root", &["--nodes", &named.join(",")], args)))
    };
    let alone = only(&others, &["restore", "a.db", "--confirm", "cp2"]).expect_code(4);
    alone.expect_error(&["no node with an API server was named", "nothing was changed"]);
    let servers = only(&["cp1"], &["restore", "a.db", "--confirm", "cp1"]).expect_code(4);
    servers.expect_error(&["no node that was named has etcd", "the API server on node cp1 uses https://"]);
    let plan = go(&["restore", "a.db", "--dry-run=client", "-o", "json"]).expect_code(0).json();
    let nodes = &plan["transaction"]["nodes"];
    let parts = (&nodes[0]["node"], &nodes[0]["parts"], &nodes[1]["node"], &nodes[1]["parts"]);
    assert_eq!(parts, (&"cp1".into(), &"apiServer".into(), &"cp2".into(), &"etcd".into()), "{plan}");
    assert_eq!((&plan["apiServers"][0]["node"], &plan["transaction"]["coordinator"]), (&"cp1".into(), &"cp2".into()));
    assert!(journal_file(&scene, "cp1").is_none() && journal_file(&scene, "cp2").is_none());

    // The participant is started again where it is killed: by the kubelet, and by systemd.
    for (name, killed) in [("goes", "cp2"), ("comes", "cp1")] {
        let words: &[&str] =
            if name == "goes" { &["restore", "a.db", "--confirm", "cp1"] } else { &["rollback", "--confirm", "cp1"] };
        let running = Running::start(ssh.plugin(&scene, &ssh.flags("root", words)));
        kill_at(&scene, killed, "stopEtcd done");
        let (status, said) = running.end_within(Duration::from_secs(300));
        assert_eq!(status.code(), Some(0), "{said}");
        assert_eq!(config_maps(&scene, "cp1"), [name]);
        as_before(&scene, &ssh, &others, &[]);
    }
    let kept = go(&["cleanup", "--old-data", "--dry-run=client", "-o", "json"]).expect_code(0).json();
    assert!(kept.to_string().contains("/var/lib/etcd/.kubectl-etcd/"), "{kept}");

    // etcd does not take the new data: all is as it was.
    let before = journal_file(&scene, "cp2");
    let running = Running::start(ssh.plugin(&scene, &ssh.flags("root", &["restore", "a.db", "--confirm", "cp1"])));
    until("the restore has a journal", || journal_file(&scene, "cp2") != before);
    spoil_new_data(&scene, "cp2");
    let (status, said) = running.end_within(Duration::from_secs(300));
    assert_eq!(status.code(), Some(5), "{said}");
    assert!(said.contains("etcd started and ended twice"), "{said}");
    assert_eq!(config_maps(&scene, "cp1"), ["comes"]);
    as_before(&scene, &ssh, &others, &[]);

    // The night on which one machine is gone, and etcd does not start on the other one.
    make(&scene, "later", "1");
    scene.lab.lose("cp3").expect("the machine is gone");
    run(ssh.on(&scene.lab, "cp2", "systemctl stop etcd.service")).expect_code(0);
    until("etcd is stopped", || etcd(&scene, "cp2").is_empty());
    let left = ["cp1", "cp2"];
    let survey = only(&left, &["recover"]).expect_code(0);
    assert!(survey.stdout.contains("Node cp2 has the most"), "{}", survey.stdout);
    let recovered = only(&left, &["recover", "--from", "best", "--gone", "cp3", "--confirm", "cp1"]).expect_code(0);
    recovered.expect_error(&["restored cluster cp1"]);
    assert_eq!(config_maps(&scene, "cp1"), ["comes", "later"]);
    as_before(&scene, &ssh, &["cp2"], &[]);
}

#[test]
fn etcd_as_static_pods_of_machines_of_its_own_is_restored() {
    let scene = stage_with(Options { nodes: 3, ..Options::default() });
    let others = ["cp2", "cp3"];
    without_etcd(&scene, &others);
    others.iter().for_each(|node| etcd_alone(&scene, node));
    let ssh = OverSsh::start(&scene.lab);
    let go = |args: &[&str]| run(ssh.plugin(&scene, &ssh.flags("root", args)));
    until("etcd is healthy", || go(&["status", "--exit-code"]).status.success());
    go(&["restore", "a.db", "--confirm", "cp1"]).expect_code(0).expect_error(&["restored cluster cp1"]);
    assert_eq!(config_maps(&scene, "cp1"), ["goes"]);
    as_before(&scene, &ssh, &others, &["etcd.yaml"]);
    let told = go(&["restore", "--status"]).expect_code(0).stdout;
    assert!(told.contains("cp1") && told.contains("cp3"), "{told}");
}
