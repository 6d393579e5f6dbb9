//! etcd outside of static pods, much as kubespray sets it up: a systemd unit with a file of variables. No systemd runs here; the test starts etcd as the
//! unit says.

use std::io::Write as _;
use std::process::{Command, Stdio};

use e2e::restores::stage;
use e2e::ssh::OverSsh;
use e2e::trouble::{etcdctl, processes};
use e2e::{Ran, Running, Scene, run, until};
use lab::Etcd;

const UNIT: &str = "[Unit]\nDescription=etcd\n[Service]\nType=notify\nUser=root\nEnvironmentFile=/etc/etcd/etcd.env\nExecStart=/usr/bin/etcd\nRestart=always\n";

/// Bytes that the database may have.
const QUOTA: i64 = 16_000_000;

/// The variables of a member of kubeadm's, under the names and in the places of kubespray.
fn variables(ip: &str) -> String {
    let pki = "/etc/kubernetes/pki/etcd";
    format!(
        "# Environment file for etcd\nETCD_DATA_DIR=/var/lib/etcd\nETCD_NAME=cp1\nETCD_INITIAL_CLUSTER=cp1=https://{ip}:2380\n\
         ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{ip}:2380\nETCD_ADVERTISE_CLIENT_URLS=https://{ip}:2379\n\
         ETCD_LISTEN_CLIENT_URLS=https://{ip}:2379,https://127.0.0.1:2379\nETCD_LISTEN_PEER_URLS=https://{ip}:2380\n\
         ETCD_TRUSTED_CA_FILE={pki}/ca.crt\nETCD_CERT_FILE={pki}/server.crt\nETCD_KEY_FILE={pki}/server.key\nETCD_CLIENT_CERT_AUTH=true\n\
         ETCD_PEER_TRUSTED_CA_FILE={pki}/ca.crt\nETCD_PEER_CERT_FILE={pki}/peer.crt\nETCD_PEER_KEY_FILE={pki}/peer.key\n\
         ETCD_PEER_CLIENT_CERT_AUTH=true\nETCD_QUOTA_BACKEND_BYTES={QUOTA}\n"
    )
}

/// Takes the manifest of etcd away, and starts etcd as a unit on the same data.
fn as_a_unit(scene: &Scene) -> Running {
    let root = scene.lab.node_root("cp1");
    let etcd = || processes(&scene.lab, "cp1", &["etcd"]);
    std::fs::rename(root.join("etc/kubernetes/manifests/etcd.yaml"), scene.path("etcd.yaml")).expect("a manifest");
    until("the pod of etcd has ended", || etcd().is_empty());
    for folder in ["etc/systemd/system", "etc/etcd"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    std::fs::write(root.join("etc/systemd/system/etcd.service"), UNIT).expect("a unit");
    let variables = variables(&scene.lab.node_ip("cp1").to_string());
    std::fs::write(root.join("etc/etcd/etcd.env"), &variables).expect("variables");
    let variables =
        variables.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| name.starts_with("ETCD_"));
    let places = variables.map(|(name, value)| match value.strip_prefix('/') {
        Some(path) => (name.to_owned(), root.join(path).display().to_string()),
        None => (name.to_owned(), value.to_owned()),
    });
    // The lab's nodes have no program of their own: the paths are those of the node's file tree seen from here.
    let mut command: Command = scene.lab.command("cp1", "/usr/bin/etcd").expect("the node runs");
    command.envs(places);
    let mut running = Running::start(command);
    running.wait_for("ready to serve client requests");
    running
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
    refused.expect_error(&["uses an etcd there that is no pod in the API", "--data-dir DIR"]);
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
    e2e::restores::make(scene, "roomy", "1");
}

#[test]
fn etcd_as_a_systemd_unit_is_found_over_ssh_and_only_what_stops_it_is_refused() {
    let scene = stage(1, Etcd::V3_4);
    let _etcd = as_a_unit(&scene);
    found_by_the_api_server(&scene);
    // The server shows the folders that the node has when it starts.
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
    let before = processes(&scene.lab, "cp1", &["etcd"]);
    let ran = go(&["restore", "a.db", "--confirm", "cp1"]).expect_code(4);
    ran.expect_error(&[
        "etcd on node cp1 is not a static pod",
        "the unit /etc/systemd/system/etcd.service",
        "--data-dir DIR",
    ]);
    go(&["rollback", "--confirm", "cp1"]).expect_code(4).expect_error(&["not a static pod"]);
    assert_eq!(processes(&scene.lab, "cp1", &["etcd"]), before);
    ssh.assert_nothing_on_nodes(&scene.lab);
}
