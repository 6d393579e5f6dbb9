//! etcd outside of static pods, much as kubespray sets it up: a systemd unit with a file of variables. The lab's stand-in for systemd runs the unit.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::restores::{journal_file, kill_at, make, spoil_new_data, stage, stage_with};
use e2e::ssh::OverSsh;
use e2e::trouble::{etcdctl, processes};
use e2e::{Ran, Running, Scene, names, run, until};
use lab::{Etcd, Options};

const UNIT: &str = "[Unit]\nDescription=etcd\n[Service]\nType=notify\nUser=root\nEnvironmentFile=/etc/etcd/etcd.env\nExecStart=/usr/bin/etcd\nRestart=always\n\
                    [Install]\nWantedBy=multi-user.target\n";

/// Bytes that the database may have.
const QUOTA: i64 = 16_000_000;

/// The variables of a member of kubeadm's, under the names and in the places of kubespray.
fn variables(scene: &Scene, node: &str, called: &str) -> String {
    let (ip, pki) = (scene.lab.node_ip(node), "/etc/kubernetes/pki/etcd");
    let name = |node: &str| node.replace("cp", called);
    let url = |node: &str| format!("{}=https://{}:2380", name(node), scene.lab.node_ip(node));
    let cluster = scene.lab.node_names().into_iter().map(|node| url(&node));
    let cluster = cluster.collect::<Vec<_>>().join(",");
    format!(
        "# Environment file for etcd\nETCD_DATA_DIR=/var/lib/etcd\nETCD_NAME={}\nETCD_INITIAL_CLUSTER={cluster}\n\
         ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{ip}:2380\nETCD_ADVERTISE_CLIENT_URLS=https://{ip}:2379\n\
         ETCD_LISTEN_CLIENT_URLS=https://{ip}:2379,https://127.0.0.1:2379\nETCD_LISTEN_PEER_URLS=https://{ip}:2380\n\
         ETCD_TRUSTED_CA_FILE={pki}/ca.crt\nETCD_CERT_FILE={pki}/server.crt\nETCD_KEY_FILE={pki}/server.key\nETCD_CLIENT_CERT_AUTH=true\n\
         ETCD_PEER_TRUSTED_CA_FILE={pki}/ca.crt\nETCD_PEER_CERT_FILE={pki}/peer.crt\nETCD_PEER_KEY_FILE={pki}/peer.key\n\
         ETCD_PEER_CLIENT_CERT_AUTH=true\nETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=True\nETCD_QUOTA_BACKEND_BYTES={QUOTA}\n",
        name(node)
    )
}

/// The processes of the unit.
pub(crate) fn etcd(scene: &Scene, node: &str) -> Vec<u32> {
    processes(&scene.lab, node, &["/usr/bin/etcd"])
}

/// Takes the manifest of etcd away on a node, and has systemd start etcd on the same data.
pub(crate) fn as_a_unit(scene: &Scene, node: &str, called: &str) {
    let root = scene.lab.node_root(node);
    std::fs::rename(root.join("etc/kubernetes/manifests/etcd.yaml"), scene.path(&format!("{node}.yaml")))
        .expect("a manifest");
    until("the pod of etcd has ended", || processes(&scene.lab, node, &["etcd"]).is_empty());
    for folder in ["etc/systemd/system/multi-user.target.wants", "etc/etcd"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    std::fs::write(root.join("etc/systemd/system/etcd.service"), UNIT).expect("a unit");
    std::fs::write(root.join("etc/etcd/etcd.env"), variables(scene, node, called)).expect("variables");
    let link = root.join("etc/systemd/system/multi-user.target.wants/etcd.service");
    std::os::unix::fs::symlink("/etc/systemd/system/etcd.service", link).expect("a link");
    scene.lab.systemd(node).expect("systemd runs");
    until("systemd has started etcd", || !etcd(scene, node).is_empty());
}

/// All files of systemd on a node.
pub(crate) fn units(scene: &Scene, node: &str) -> Vec<String> {
    let folder = scene.lab.node_root(node).join("etc/systemd/system");
    let mut all = names(&folder);
    all.extend(names(&folder.join("multi-user.target.wants")));
    all
}

/// What is on a node whose etcd is an enabled unit that nothing holds.
pub(crate) const UNITS: [&str; 3] = ["etcd.service", "multi-user.target.wants", "etcd.service"];

/// The config maps that a node's own API server serves, of those that tell which state it is in.
pub(crate) fn config_maps(scene: &Scene, node: &str) -> Vec<String> {
    let server = format!("https://{}:6443", scene.lab.node_ip(node));
    let mut found = Vec::new();
    until("the API server of the node serves", || {
        let listed =
            run(scene.kubectl(&["--server", &server, "get", "configmaps", "-o", "name", "--request-timeout=5s"]));
        let ours = |name: &&str| ["goes", "comes", "later"].contains(name);
        found = listed
            .stdout
            .lines()
            .filter_map(|line| line.split('/').next_back())
            .filter(ours)
            .map(str::to_owned)
            .collect();
        listed.status.success()
    });
    found
}

/// That nothing holds etcd on the nodes, and that systemd runs one.
fn run_by_systemd(scene: &Scene, ssh: &OverSsh, nodes: &[&str]) {
    for node in nodes {
        assert_eq!(units(scene, node), UNITS, "{node}");
        run(ssh.on(&scene.lab, node, "systemctl is-active etcd.service")).expect_code(0);
        assert_eq!(etcd(scene, node).len(), 1, "{node}");
        let manifests = scene.lab.node_root(node).join("etc/kubernetes/manifests");
        until("only the control plane's manifests are there", || {
            names(&manifests) == ["kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"]
        });
    }
}

/// What only reads goes where the API server of the node does; what would stop etcd does not.
fn found_by_the_api_server(scene: &Scene) {
    until("the API server answers, and knows no pod of etcd", || {
        let pods = run(scene.kubectl(&["get", "pods", "-n", "kube-system", "-l", "component=etcd", "-o", "name"]));
        pods.status.success() && pods.stdout.trim().is_empty()
    });
    let line =
        "etcd runs outside of pods; reaching https://127.0.0.1:2379 from node cp1, with the files of its API server";
    let status = run(scene.plugin(&["status", "-o", "json", "--exit-code"])).expect_code(0);
    assert_eq!(status.stderr.matches(line).count(), 1, "{}", status.stderr);
    let said = status.json();
    let [member] = &said["members"].as_array().expect("members")[..] else { panic!("{said}") };
    assert_eq!((&member["name"], &member["via"]), (&"cp1".into(), &"sidecar".into()), "{said}");
    assert_eq!(said["clusters"][0]["contents"], "cluster", "{said}");
    let backup = run(scene.plugin(&["backup", "api.db", "--node", "cp1"])).expect_code(0);
    assert_eq!(backup.stderr.matches(line).count(), 1, "{}", backup.stderr);
    scene.ok(&["verify", "api.db", "--live"]);
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(scene.path("api.db.json")).expect("a record")).expect("JSON");
    assert_eq!((&record["source"]["name"], &record["members"][0]["name"]), (&"cp1".into(), &"cp1".into()), "{record}");
    let refused = run(scene.plugin(&["restore", "api.db", "--confirm", "lab"])).expect_code(4);
    refused
        .expect_error(&["uses an etcd there that is no pod in the API", "restore FILE --ssh --nodes NODE=ADDRESS,..."]);
    let elsewhere = run(scene.plugin(&["status", "--node", "cp9"])).expect_code(4);
    elsewhere.expect_error(&["no API server on node cp9 uses an etcd on that node"]);
    orders(|args| run(scene.plugin(args)), line);
    assert!(scene.sidecars().is_empty());
}

/// Orders that stop nothing for good; `line` is said first.
fn orders(go: impl Fn(&[&str]) -> Ran, line: &str) {
    let alarms = go(&["alarms"]).expect_code(0);
    alarms.expect_error(&["no alarm is raised", line]);
    let listed = go(&["member", "list", "-o", "json"]).expect_code(0).json();
    let member = &listed["members"][0];
    let said = (&member["name"], &member["status"], &member["via"], &member["node"]);
    assert_eq!(said, (&"cp1".into(), &"healthy".into(), &"sidecar".into(), &"cp1".into()), "{listed}");
    let compacted = go(&["compact", "--physical", "-o", "json"]).expect_code(0).json();
    assert_eq!((&compacted["state"], &compacted["asked"]), (&"compacted".into(), &"cp1".into()), "{compacted}");
    go(&["compact", "--revision", "1"]).expect_code(4).expect_error(&["is compacted already", "nothing was changed"]);
    go(&["defrag", "--threshold", "0"]).expect_code(4).expect_error(&["confirmation required", "nothing was changed"]);
    let done = go(&["defrag", "--threshold", "0", "--yes", "-o", "json"]).expect_code(0).json();
    assert!(done["members"][0]["freed"].is_u64() && done["planned"] == false, "{done}");
    go(&["member", "remove", "cp1", "--confirm", "cp1"]).expect_code(4).expect_error(&["nothing was changed"]);
}

/// When such an etcd is full no pod can be made: the commands say so, and name the way over SSH, by which etcd is emptied.
fn full(scene: &Scene, go: impl Fn(&[&str]) -> Ran) {
    let values = (0..40).map(|number| format!("{number}-{}", "x".repeat(1_000_000)));
    let refused = values.into_iter().find_map(|value| {
        let mut put = etcdctl(&scene.lab, "cp1", &["put", "/test/history"]);
        let mut child =
            put.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        child.stdin.take().expect("a pipe").write_all(value.as_bytes()).expect("etcdctl reads");
        let output = child.wait_with_output().expect("a child of ours");
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    });
    assert!(refused.as_ref().is_some_and(|said| said.contains("database space exceeded")), "{refused:?}");
    for command in ["alarms", "defrag"] {
        let ran = run(scene.plugin(&[command])).expect_code(1);
        ran.expect_error(&[
            "database space exceeded",
            "nothing was changed",
            "so no pod can be made",
            "\n  kubectl etcd defrag --ssh --nodes NODE=ADDRESS,...",
        ]);
    }
    let value =
        || run(etcdctl(&scene.lab, "cp1", &["get", "--print-value-only", "/test/history"])).expect_code(0).stdout;
    let before = value();
    go(&["compact", "--physical"]).expect_code(0);
    let done = go(&["defrag", "--yes", "-o", "json"]).expect_code(0).json();
    assert!(done["disarmed"] == true && done["freed"].as_u64() > Some(10_000_000), "{done}");
    assert!(value() == before, "the last value is kept");
    make(scene, "roomy", "1");
}

#[test]
fn etcd_as_a_systemd_unit_is_found_and_restored_over_ssh() {
    let scene = stage(1, Etcd::V3_4);
    as_a_unit(&scene, "cp1", "cp");
    found_by_the_api_server(&scene);
    // The server shows the folders that the node has when it starts.
    std::fs::create_dir_all(scene.lab.node_root("cp1").join(BACKUPS)).expect("a folder");
    let ssh = OverSsh::start(&scene.lab);
    let go = |args: &[&str]| run(ssh.plugin(&scene, &ssh.flags("root", args)));

    orders(go, "");
    full(&scene, go);
    let status = go(&["status", "-o", "json", "--exit-code"]).expect_code(0).json();
    let member = &status["members"][0];
    assert_eq!((&member["name"], member["quota"].as_i64()), (&"cp1".into(), Some(QUOTA)), "{status}");
    go(&["backup", "unit.db"]).expect_code(0);
    scene.ok(&["verify", "unit.db"]);
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(scene.path("unit.db.json")).expect("a record")).expect("JSON");
    let member = &record["members"][0];
    assert_eq!((&member["name"], &member["dataDir"]), (&"cp1".into(), &"/var/lib/etcd".into()), "{record}");
    go(&["verify", "unit.db", "--live"]).expect_code(0);
    let survey = go(&["recover", "-o", "json"]).expect_code(0).json();
    assert!(survey.to_string().contains("the unit /etc/systemd/system/etcd.service"), "{survey}");

    let on_node = run(ssh.sidecar_on(&scene.lab, "cp1", "status -o json")).expect_code(0).json();
    let own = &on_node["members"][0];
    assert_eq!(own["foundBy"], "the unit /etc/systemd/system/etcd.service", "{on_node}");
    assert_eq!(format!("{:x}", own["status"]["etcd"]["memberId"].as_u64().expect("an ID")), member["id"], "{on_node}");
    backed_up_with_the_files_of_the_unit(&scene, &ssh);
    restored_and_rolled_back(&scene, &ssh);
    ssh.assert_nothing_on_nodes(&scene.lab);
}

/// A folder on a node.
const BACKUPS: &str = "var/lib/backups";

/// As cron does, and from a workstation. Both have the files of the unit besides those of Kubernetes.
fn backed_up_with_the_files_of_the_unit(scene: &Scene, ssh: &OverSsh) {
    let mut keygen = Command::new("age-keygen");
    keygen.args(["-o", "identity.txt"]).current_dir(scene.folder.path());
    let said = run(keygen).expect_code(0).stderr;
    let recipient = said.trim().rsplit(' ').next().expect("a public key").to_owned();
    let files = |folder: &Path| {
        let newest = format!("file://{}/latest", folder.display());
        let verified = scene.ok(&["verify", &newest, "--identity", "identity.txt", "-o", "json"]).json();
        assert_eq!(verified["ok"], true, "{verified}");
        let script = format!(
            "age -d -i identity.txt $(find {} -name '*.node.tar.zst.age') | zstd -q -d | tar -t",
            folder.display()
        );
        let mut unpack = Command::new("bash");
        unpack.args(["-euo", "pipefail", "-c", &script]).current_dir(scene.folder.path());
        let all = run(unpack).expect_code(0).stdout;
        let unit = ["etc/systemd/system/etcd.service", "etc/etcd/etcd.env", "etc/kubernetes/pki/ca.key"];
        assert!(unit.iter().all(|file| all.lines().any(|line| line == *file)), "{all}");
    };
    let folder = scene.lab.node_root("cp1").join(BACKUPS);
    let backup = format!("backup --store file:///{BACKUPS} --recipient {recipient} --node-files --spool /{BACKUPS}");
    run(ssh.sidecar_on(&scene.lab, "cp1", &backup)).expect_code(0);
    files(&folder);
    let folder = scene.path("store");
    let url = format!("file://{}", folder.display());
    let backup = ["backup", "--store", &url, "--recipient", &recipient, "--node-files"];
    std::fs::create_dir(&folder).expect("a folder");
    run(ssh.plugin(scene, &ssh.flags("root", &backup))).expect_code(0);
    files(&folder);
}

fn restored_and_rolled_back(scene: &Scene, ssh: &OverSsh) {
    let go = |args: &[&str]| run(ssh.plugin(scene, &ssh.flags("root", args)));
    let unit = scene.lab.node_root("cp1").join("etc/systemd/system/etcd.service");
    let etcd = || etcd(scene, "cp1");
    let before = etcd();
    let plan = go(&["restore", "a.db", "--dry-run=client", "-o", "json"]).expect_code(0).json();
    assert_eq!(plan["transaction"]["nodes"][0]["unit"], "/etc/systemd/system/etcd.service", "{plan}");
    let by_hand = go(&["restore", "a.db", "--explain"]).expect_code(0).stdout;
    assert!(by_hand.contains("systemctl stop etcd.service") && !by_hand.contains("etcd.yaml"), "{by_hand}");

    // What systemd has not read is not what it would start.
    std::fs::write(&unit, format!("{UNIT}# changed\n")).expect("a unit");
    let ran = go(&["restore", "a.db", "--confirm", "cp1"]).expect_code(4);
    ran.expect_error(&[
        "systemd does not run etcd by /etc/systemd/system/etcd.service",
        "systemctl daemon-reload",
        "nothing was changed",
    ]);
    assert_eq!((etcd(), units(scene, "cp1")), (before, UNITS.map(str::to_owned).to_vec()));
    std::fs::write(&unit, UNIT).expect("a unit");
    run(ssh.on(&scene.lab, "cp1", "systemctl daemon-reload")).expect_code(0);

    go(&["restore", "a.db", "--confirm", "cp1"]).expect_code(0).expect_error(&["restored cluster cp1"]);
    assert_eq!(config_maps(scene, "cp1"), ["goes"]);
    run_by_systemd(scene, ssh, &["cp1"]);
    go(&["rollback", "--confirm", "cp1"]).expect_code(0);
    assert_eq!(config_maps(scene, "cp1"), ["comes"]);
    run_by_systemd(scene, ssh, &["cp1"]);
}

/// Three nodes of kubespray's kind, and the night on which two of them are gone for good.
#[test]
fn units_of_three_nodes_are_restored_and_a_quorum_is_rebuilt_of_one() {
    let scene = stage_with(Options { nodes: 3, api_server_grace: Some(1), ..Options::default() });
    let nodes = ["cp1", "cp2", "cp3"];
    // Members have names of their own, and every API server knows all of them.
    let all = nodes.map(|node| format!("https://{}:2379", scene.lab.node_ip(node))).join(",");
    for node in nodes {
        let manifest = scene.lab.node_root(node).join("etc/kubernetes/manifests/kube-apiserver.yaml");
        let text = std::fs::read_to_string(&manifest).expect("a manifest");
        let own = "--etcd-servers=https://127.0.0.1:2379";
        assert!(text.contains(own), "{text}");
        std::fs::write(&manifest, text.replace(own, &format!("--etcd-servers={all}"))).expect("a manifest");
        as_a_unit(&scene, node, "etcd");
    }
    let knows_all = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| memchr::memmem::find(&line, all.as_bytes()).is_some())
    };
    for node in nodes {
        until("the API server was started anew", || {
            processes(&scene.lab, node, &["kube-apiserver"]).iter().all(knows_all)
        });
        config_maps(&scene, node);
    }
    let ssh = OverSsh::start(&scene.lab);
    let go = |args: &[&str]| run(ssh.plugin(&scene, &ssh.flags("root", args)));
    until("etcd is healthy", || go(&["status", "--exit-code"]).status.success());
    // A participant that is killed while etcd is held goes on from there.
    let restore = ssh.flags("root", &["restore", "a.db", "--confirm", "cp1"]);
    let running = Running::start(ssh.plugin(&scene, &restore));
    kill_at(&scene, "cp2", "stopEtcd done");
    let (status, said) = running.end_within(Duration::from_secs(300));
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("restored cluster cp1"), "{said}");
    for node in nodes {
        assert_eq!(config_maps(&scene, node), ["goes"], "{node}");
    }
    run_by_systemd(&scene, &ssh, &nodes);

    make(&scene, "later", "1");
    for node in ["cp2", "cp3"] {
        scene.lab.lose(node).expect("the machine is gone");
    }
    // Somebody has stopped the survivor, and systemd is no more to start it until it is asked.
    run(ssh.on(&scene.lab, "cp1", "systemctl stop etcd.service")).expect_code(0);
    let survivor = format!("cp1={}", scene.lab.node_ip("cp1"));
    let go = |args: &[&str]| {
        let words = [&["recover", "--from", "best"], args].concat();
        run(ssh.plugin(&scene, &ssh.flags_with("root", &["--nodes", &survivor], &words)))
    };
    go(&["--confirm", "cp1"]).expect_code(4).expect_error(&["--gone", "nothing was changed"]);
    assert!(etcd(&scene, "cp1").is_empty());
    // etcd does not take the new data: the node is as it was found, with a unit that does not run and that nothing holds.
    let before = journal_file(&scene, "cp1");
    let words = ["recover", "--from", "best", "--gone", "etcd2,etcd3", "--confirm", "cp1"];
    let running = Running::start(ssh.plugin(&scene, &ssh.flags_with("root", &["--nodes", &survivor], &words)));
    until("the recovery has a journal", || journal_file(&scene, "cp1") != before);
    spoil_new_data(&scene, "cp1");
    let (status, said) = running.end_within(Duration::from_secs(300));
    assert_eq!(status.code(), Some(5), "{said}");
    assert!(said.contains("etcd started and ended twice"), "{said}");
    assert_eq!(units(&scene, "cp1"), UNITS);
    run(ssh.on(&scene.lab, "cp1", "systemctl is-active etcd.service")).expect_code(3);
    assert!(etcd(&scene, "cp1").is_empty());
    go(&["--gone", "etcd2,etcd3", "--confirm", "cp1"]).expect_code(0).expect_error(&["restored cluster cp1"]);
    assert_eq!(config_maps(&scene, "cp1"), ["goes", "later"]);
    run_by_systemd(&scene, &ssh, &["cp1"]);
    ssh.assert_nothing_on(&scene.lab, "cp1");
}
