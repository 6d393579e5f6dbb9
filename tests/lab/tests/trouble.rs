//! What befalls nodes as a whole: they lose each other, their power, and the room on their disk. Needs root, crun,
//! busybox-static, kubectl and Debian's etcd.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lab::{Lab, Options};
use serde_json::{Value, json};

const IMAGE: &str = "rig/busybox:1";

fn start(options: Options) -> Lab {
    let folder = tempfile::tempdir().expect("a folder");
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let files = [("bin/busybox", busybox.as_slice()), ("bin/sh", busybox.as_slice())];
    let image = folder.path().join("image.tar");
    let archive = lab::docker_archive(IMAGE, &json!({ "Env": ["PATH=/bin"] }), &files).expect("an image");
    std::fs::write(&image, archive).expect("the image is written");
    let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_lab")));
    Lab::start(Options { program, images: vec![image], ..options }).expect("a lab starts")
}

/// Waits for what another process will bring about; the time is only how long a failure takes.
fn wait(what: &str, check: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < until, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn healthy(lab: &Lab, node: &str) -> bool {
    let args = ["endpoint", "health", "--dial-timeout=1s", "--command-timeout=2s"];
    lab.etcdctl(node, &args).expect("etcdctl runs").status.success()
}

fn kubectl(lab: &Lab, args: &[&str], input: &str) -> Output {
    let mut kubectl = Command::new("kubectl");
    kubectl.env("KUBECONFIG", lab.kubeconfig()).env("HOME", lab.kubeconfig().parent().expect("a folder"));
    kubectl.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = kubectl.spawn().expect("kubectl runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("kubectl reads");
    child.wait_with_output().expect("kubectl ends")
}

fn status(lab: &Lab, pod: &str) -> Value {
    let output = kubectl(lab, &["get", "pod", "-n", "kube-system", pod, "-o", "json"], "");
    serde_json::from_slice::<Value>(&output.stdout).map_or(Value::Null, |pod| pod["status"].clone())
}

/// busybox on a node; what is on this machine's disk is on the node's.
fn busybox(lab: &Lab, node: &str, args: &[&str]) -> Command {
    let mut command = lab.command(node, "/bin/busybox").expect("the node runs");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Whether a connection from a node to another's etcd comes about. A refusal would end this test: nothing refuses here.
fn reaches(lab: &Lab, from: &str, to: &str) -> bool {
    let ip = lab.node_ip(to).to_string();
    let connected = busybox(lab, from, &["nc", "-w", "1", &ip, "2379"]).stdin(Stdio::null()).status();
    connected.expect("nc runs").success()
}

#[test]
fn a_cut_swallows_what_is_sent() {
    let lab = start(Options { nodes: 3, ..Options::default() });
    // The nodes have joined one by one, as kubeadm's do: each names those that were there.
    for (node, members) in [("cp1", 1), ("cp2", 2), ("cp3", 3)] {
        let manifest = lab.node_root(node).join("etc/kubernetes/manifests/etcd.yaml");
        let manifest = std::fs::read_to_string(manifest).expect("a manifest");
        let named = manifest.lines().find_map(|line| line.trim().strip_prefix("- --initial-cluster=")).expect("a flag");
        assert_eq!(named.split(',').count(), members, "{node}: {named}");
        assert!(named.contains(&format!("{node}=https://{}:2380", lab.node_ip(node))), "{node}: {named}");
        assert_eq!(manifest.contains("--initial-cluster-state=existing"), members > 1, "{node}");
    }
    let ip = lab.node_ip("cp2").to_string();
    let mut hanging = busybox(&lab, "cp1", &["nc", &ip, "2379"]).spawn().expect("nc runs");
    let connected = format!(":{:04X} 01", 2379);
    let of_nc = || {
        let tcp = lab.command("cp1", "/bin/busybox").expect("the node runs").args(["cat", "/proc/net/tcp"]).output();
        let tcp = String::from_utf8(tcp.expect("cat runs").stdout).expect("text");
        // The kernel writes an address as the number it is in memory; all machines the lab runs on have the low byte first.
        let to = u32::from_le_bytes(lab.node_ip("cp2").octets());
        tcp.lines().filter(|line| line.contains(&format!("{to:08X}{connected}"))).count()
    };
    wait("the connection", || of_nc() == 1);
    lab.cut("cp1", "cp2").expect("cut");
    hanging.stdin.as_mut().expect("a pipe").write_all(b"this is no TLS\n").expect("nc reads");
    assert!(!reaches(&lab, "cp1", "cp2") && !reaches(&lab, "cp2", "cp1"));
    assert!(reaches(&lab, "cp1", "cp3") && reaches(&lab, "cp3", "cp2"));
    assert!(hanging.try_wait().expect("a child").is_none(), "a connection hangs, and is not reset");
    lab.heal("cp1", "cp2").expect("healed");
    assert!(reaches(&lab, "cp1", "cp2") && reaches(&lab, "cp2", "cp1"));
    // What was sent meanwhile arrives, and etcd hangs up.
    assert!(hanging.wait().expect("nc ends").success());

    lab.cut_off("cp1").expect("cut off");
    wait("etcd without its friends", || !healthy(&lab, "cp1"));
    wait("a leader among the others", || healthy(&lab, "cp2") && healthy(&lab, "cp3"));
    // The load balancer does without the one it cannot reach.
    wait("an API server", || kubectl(&lab, &["get", "--raw", "/readyz"], "").status.success());
    lab.rejoin("cp1").expect("rejoined");
    wait("all of etcd", || healthy(&lab, "cp1"));
    assert!(lab.cut("cp1", "cp9").is_err() && lab.cut("cp1", "cp1").is_err());
    lab.stop().expect("the lab goes away");
}

fn pod(name: &str, restart: &str) -> String {
    let script = "echo up >>/run/ups; echo up >>/srv/ups; while :; do busybox sleep 1000; done";
    let mounts = ["run", "srv"].map(|name| json!({ "name": name, "mountPath": format!("/{name}") }));
    let volumes = ["run", "srv"].map(|folder| {
        let path = format!("/{folder}/{name}");
        json!({ "name": folder, "hostPath": { "path": path, "type": "DirectoryOrCreate" } })
    });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "kube-system" },
        "spec": { "nodeName": "cp2", "hostNetwork": true, "restartPolicy": restart, "volumes": volumes, "containers": [{
            "name": "main", "image": IMAGE, "command": ["/bin/sh", "-c", script], "volumeMounts": mounts }] } });
    pod.to_string()
}

#[test]
fn a_node_without_power_keeps_its_disk_alone() {
    let lab = start(Options { nodes: 3, ..Options::default() });
    for (name, restart) in [("once", "Never"), ("always", "Always")] {
        let made = kubectl(&lab, &["create", "--validate=false", "-f", "-"], &pod(name, restart));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        wait("its start", || lab.node_root("cp2").join(format!("srv/{name}/ups")).exists());
        wait("its status", || status(&lab, name)["phase"] == "Running");
    }
    let ups = |place: PathBuf| std::fs::read_to_string(place).unwrap_or_default().lines().count();
    let on_disk = |name: &str| ups(lab.node_root("cp2").join(format!("srv/{name}/ups")));
    let in_memory = |name: &str| ups(lab.inside("cp2", &format!("/run/{name}/ups")).expect("the node runs"));
    assert_eq!((in_memory("once"), in_memory("always")), (1, 1));
    assert!(!lab.node_root("cp2").join("run/once").exists(), "the node's /run is its own");

    assert!(lab.power_on("cp2").is_err(), "it is on");
    lab.power_off("cp2").expect("it is switched off");
    assert!(lab.init("cp2").is_err() && !healthy(&lab, "cp2"));
    wait("the others", || healthy(&lab, "cp1") && healthy(&lab, "cp3"));
    lab.power_off("cp2").expect("it is off");
    lab.power_on("cp2").expect("it is switched on");
    wait("its etcd", || healthy(&lab, "cp2"));
    wait("what is to run always", || on_disk("always") == 2);
    wait("what was to run once", || status(&lab, "once")["phase"] == "Failed");
    let ended = &status(&lab, "once")["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(255), &json!("Unknown")));
    assert_eq!((on_disk("once"), in_memory("always")), (1, 1));
    assert!(lab.inside("cp2", "/run/once").is_ok_and(|place| !place.exists()));

    for node in lab.node_names() {
        lab.power_off(&node).expect("it is switched off");
    }
    for node in lab.node_names() {
        lab.power_on(&node).expect("it is switched on");
    }
    wait("all of etcd", || lab.node_names().iter().all(|node| healthy(&lab, node)));
    for node in lab.node_names() {
        let server = format!("https://{}:6443", lab.node_ip(&node));
        wait("its API server", || {
            kubectl(&lab, &["get", "--raw", "/readyz", "--server", &server], "").status.success()
        });
    }
    wait("what is to run always", || on_disk("always") == 3);

    lab.lose("cp2").expect("it is lost");
    assert!(!lab.node_root("cp2").exists() && lab.power_on("cp2").is_err());
    lab.lose("cp2").expect("it is lost already");
    assert!(healthy(&lab, "cp1") && healthy(&lab, "cp3"));
    lab.stop().expect("the lab goes away");
}

#[test]
fn a_data_disk_is_a_file_system_of_its_own_and_can_be_full() {
    let lab = start(Options { data_disk: Some(256), ..Options::default() });
    let data = lab.node_root("cp1").join("var/lib/etcd");
    let device = |path: &Path| path.metadata().expect("it is there").dev();
    assert_ne!(device(&data), device(&data.join("..")));
    assert_eq!(device(&lab.inside("cp1", "/var/lib/etcd").expect("the node runs")), device(&data));
    let names = |place: &Path| {
        let entries = std::fs::read_dir(place).expect("a folder").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("text")).collect();
        names.sort();
        names
    };
    assert_eq!(names(&data), ["lost+found", "member"]);
    lab.fill_disk("cp1", 0).expect("it is filled");
    let full = || std::fs::write(data.join("x"), [1; 8192]).expect_err("the disk is full").kind();
    assert_eq!(full(), std::io::ErrorKind::StorageFull);
    lab.fill_disk("cp1", 0).expect("it is full");
    lab.free_disk("cp1").expect("it is freed");
    std::fs::write(data.join("x"), [1; 8192]).expect("there is room");

    // It is there when the node is not.
    lab.power_off("cp1").expect("it is switched off");
    assert_eq!(names(&data), ["lost+found", "member", "x"]);
    lab.power_on("cp1").expect("it is switched on");
    wait("etcd", || healthy(&lab, "cp1"));
    lab.stop().expect("the lab goes away");
    assert!(!data.exists());
}

/// The state of a process that is no more than a sleep or a write: `S`, or `D` for one that cannot be interrupted.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

#[test]
fn a_disk_can_hang_and_fail_and_is_no_obstacle_to_the_end_of_its_node() {
    let lab = start(Options { node_disk: Some(400), ..Options::default() });
    let root = lab.node_root("cp1");
    let (data, journals) = (root.join("var/lib/etcd"), root.join("var/lib/kubectl-etcd"));
    let device = |path: &Path| path.metadata().expect("it is there").dev();
    assert_eq!(device(&data), device(&journals));
    assert_ne!(device(&data), device(&root));
    assert_eq!(device(&lab.inside("cp1", "/var/lib/kubectl-etcd").expect("the node runs")), device(&data));
    let put = |key: &str| {
        lab.etcdctl("cp1", &["put", key, "1", "--command-timeout=3s"]).expect("etcdctl runs").status.success()
    };
    assert!(put("/before"));

    // It hangs: a write waits, however it is asked to end, and is made in the end.
    lab.freeze_disk("cp1").expect("it hangs");
    assert!(lab.freeze_disk("cp1").is_err(), "it hangs already");
    assert!(!put("/hangs"), "etcd has its log there");
    let inside = lab.inside("cp1", "/var/lib/kubectl-etcd").expect("the node runs");
    assert!(std::fs::read_dir(&inside).is_ok(), "reads go on");
    let file = inside.join("file");
    let mut touch = Command::new("/bin/busybox").arg("touch").arg(&file).spawn().expect("touch runs");
    wait("a writer that waits", || state(touch.id()) == Some('D'));
    touch.kill().expect("it is killed");
    assert_eq!(state(touch.id()), Some('D'));
    lab.thaw_disk("cp1").expect("it goes on");
    touch.wait().expect("it ends");
    wait("etcd", || put("/after"));
    lab.thaw_disk("cp1").expect("it goes on already");

    // The power goes while it hangs: nothing waits for it.
    lab.freeze_disk("cp1").expect("it hangs");
    assert!(!put("/hangs"));
    lab.power_off("cp1").expect("it is switched off");
    assert!(lab.mend_disk("cp1").is_err(), "it does not fail");
    lab.power_on("cp1").expect("it is switched on");
    wait("etcd", || put("/again"));

    // It fails: what is written is an error, and etcd does not go on. There is no device mapper for that on every machine, so
    // the lab takes the file away that is behind the disk.
    lab.fail_disk("cp1").expect("it fails");
    assert!(lab.fail_disk("cp1").is_err() && lab.mend_disk("cp1").is_err(), "it fails already, and the node is on");
    let written =
        std::fs::write(data.join("x"), [1; 8192]).and_then(|()| std::fs::File::open(data.join("x"))?.sync_all());
    assert!(written.is_err(), "a write fails");
    assert!(!put("/fails"));
    lab.power_off("cp1").expect("it is switched off");
    lab.mend_disk("cp1").expect("it is mended");
    assert!(!data.join("x").exists());
    lab.power_on("cp1").expect("it is switched on");
    wait("etcd", || put("/mended"));
    let keys = lab.etcdctl("cp1", &["get", "--prefix", "/", "--keys-only"]).expect("etcdctl runs").stdout;
    let keys = String::from_utf8(keys).expect("text");
    for key in ["/before", "/after", "/again", "/mended"] {
        assert!(keys.lines().any(|line| line == key), "{key} is not in {keys}");
    }
    assert!(!keys.lines().any(|line| line == "/fails"));

    // A lab goes away with a disk that hangs.
    lab.freeze_disk("cp1").expect("it hangs");
    assert!(!put("/hangs"));
    lab.stop().expect("the lab goes away");
    assert!(!root.exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*root.to_string_lossy()));
}

/// What kubectl said of a request that must be refused.
fn refused(lab: &Lab, args: &[&str], input: &str) -> String {
    let output = kubectl(lab, args, input);
    assert!(!output.status.success(), "kubectl {args:?} succeeded");
    String::from_utf8(output.stderr).expect("text")
}

const CONFIG_MAP: &str =
    r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}"#;

#[test]
fn an_api_server_without_a_quorum_of_etcd_makes_its_clients_wait_and_then_refuses() {
    let lab = start(Options { nodes: 3, ..Options::default() });
    let server = format!("https://{}:6443", lab.node_ip("cp1"));
    let jane = lab.kubeconfig_for("jane", &[]).expect("a kubeconfig");
    let as_jane = ["get", "nodes", "--kubeconfig", jane.to_str().expect("text"), "--server", &server];
    assert!(refused(&lab, &as_jane, "").contains("nodes is forbidden"));
    lab.power_off("cp2").expect("it is switched off");
    lab.power_off("cp3").expect("it is switched off");
    wait("the end of the quorum", || {
        let leader = lab.etcdctl("cp1", &["endpoint", "status", "-w", "json"]).expect("etcdctl runs");
        let status: Value = serde_json::from_slice(&leader.stdout).unwrap_or_default();
        status[0]["Status"]["leader"] == 0 || status[0]["Status"].get("leader").is_none()
    });
    // The rights are still known, though nothing can be read.
    assert!(refused(&lab, &as_jane, "").contains("nodes is forbidden"));
    let raw = |path: &str| refused(&lab, &["get", "--raw", path, "--server", &server], "");
    let said = raw("/api/v1/nodes?timeout=3s");
    assert!(said.contains("unable to return a response in the time allotted"), "{said}");
    assert!(raw("/readyz").contains("[-]etcd failed"));
    // etcd itself gives a write up, after seven seconds.
    let words = ["create", "--validate=false", "--server", &server, "-f", "-"];
    let said = refused(&lab, &words, CONFIG_MAP);
    assert!(said.contains("rpc error: code = Unknown desc = context deadline exceeded"), "{said}");

    lab.power_on("cp2").expect("it is switched on");
    wait("the quorum", || kubectl(&lab, &["get", "nodes", "--server", &server], "").status.success());
    lab.stop().expect("the lab goes away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_refuses_writes_loses_its_mirror_pod_and_is_rescued_by_its_kubelet() {
    let lab = start(Options { etcd_quota: Some(2_000_000), ..Options::default() });
    let create = ["create", "--validate=false", "-f", "-"];
    let mirror = ["get", "pod", "-n", "kube-system", "etcd-cp1"];
    assert!(lab.lose_mirror("cp1").await.is_err(), "there is room for another");
    assert!(kubectl(&lab, &mirror, "").status.success());
    lab.exhaust().await.expect("it is full");
    let full = "Error from server: error when creating \"STDIN\": etcdserver: mvcc: database space exceeded\n";
    assert_eq!(refused(&lab, &create, CONFIG_MAP), full);
    assert!(kubectl(&lab, &["get", "nodes"], "").status.success(), "reads go on");
    lab.lose_mirror("cp1").await.expect("it is lost");
    assert!(refused(&lab, &mirror, "").contains("NotFound"));

    let proxy = "/api/v1/nodes/cp1/proxy";
    let pods = kubectl(&lab, &["get", "--raw", &format!("{proxy}/pods")], "").stdout;
    let pods: Value = serde_json::from_slice(&pods).expect("JSON");
    let names: Vec<_> = pods["items"].as_array().expect("a list").iter().map(|pod| &pod["metadata"]["name"]).collect();
    assert!(names.contains(&&json!("etcd-cp1")), "{names:?}");
    let pki = "/etc/kubernetes/pki/etcd";
    let tls = format!("--cacert {pki}/ca.crt --cert {pki}/healthcheck-client.crt --key {pki}/healthcheck-client.key");
    let etcdctl = |words: &str| {
        let cmd = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("cmd", &format!("etcdctl {tls} {words}"))
            .finish();
        let path = format!("{proxy}/run/kube-system/etcd-cp1/etcd?{cmd}");
        let output = kubectl(&lab, &["create", "--raw", &path, "-f", "/dev/null"], "");
        assert!(output.status.success(), "etcdctl {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(etcdctl("alarm list").contains("alarm:NOSPACE"));
    etcdctl("del --prefix /registry/pods/filled/");
    etcdctl("del --prefix /registry/secrets/filled/");
    let status: Value = serde_json::from_str(&etcdctl("endpoint status -w json")).expect("JSON");
    etcdctl(&format!("compact {} --physical", status[0]["Status"]["header"]["revision"]));
    etcdctl("defrag");
    etcdctl("alarm disarm");
    assert!(kubectl(&lab, &create, CONFIG_MAP).status.success(), "there is room");
    wait("the mirror pod", || kubectl(&lab, &mirror, "").status.success());
    lab.stop().expect("the lab goes away");
}
