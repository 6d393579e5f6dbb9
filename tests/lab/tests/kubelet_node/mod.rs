//! Pods that work on their node: privileged, among the node's own processes, on its folders. Made through the API, or
//! out of a file that outlives it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::Lab;
use serde_json::{Value, json};

use crate::kubelet_support::{Admin, IMAGE, pod, start, wait};

/// The folders of the node that such a pod mounts, each where it is on the node.
const FOLDERS: [&str; 3] = ["/etc/kubernetes", "/var/lib/etcd", "/var/lib/kubectl-etcd"];
/// The kubelet's first back-off: what is started again sooner was started at once.
const BACK_OFF: Duration = Duration::from_secs(10);

/// The spec of a pod that works on its node by this script.
fn spec(script: &str) -> Value {
    let mount = |(index, path): (usize, &&str)| json!({ "name": format!("v{index}"), "mountPath": path });
    let volume = |(index, path): (usize, &&str)| json!({ "name": format!("v{index}"), "hostPath": { "path": path, "type": "DirectoryOrCreate" } });
    json!({
        "hostNetwork": true, "hostPID": true, "restartPolicy": "Always", "terminationGracePeriodSeconds": 1,
        "volumes": FOLDERS.iter().enumerate().map(volume).collect::<Vec<_>>(),
        "containers": [{ "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
            "securityContext": { "privileged": true }, "command": ["/bin/sh", "-c", script],
            "volumeMounts": FOLDERS.iter().enumerate().map(mount).collect::<Vec<_>>() }],
    })
}

/// A script's way to the ids of the processes whose first word is exactly this.
fn find(word: &str) -> String {
    format!(
        "for p in /proc/[0-9]*; do w=$(busybox tr '\\0' '\\n' <$p/cmdline 2>/dev/null | busybox head -n 1); \
         [ \"$w\" = {word} ] && echo ${{p#/proc/}}; done"
    )
}

/// A static pod's file, in its place or out of the kubelet's sight.
pub(crate) struct Manifest {
    place: PathBuf,
    aside: PathBuf,
}

impl Manifest {
    /// A manifest that is in the folder already.
    pub(crate) fn there(lab: &Lab, name: &str) -> Self {
        let folder = lab.node_root("cp1").join("etc/kubernetes");
        Self { place: folder.join(format!("manifests/{name}.yaml")), aside: folder.join(format!("{name}.aside")) }
    }

    /// A new one, in its place.
    pub(crate) fn new(lab: &Lab, name: &str, spec: &Value) -> Self {
        let manifest = Self::there(lab, name);
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": { "name": name, "namespace": "kube-system" } });
        std::fs::write(&manifest.aside, pod.to_string()).expect("the manifest is written");
        manifest.put_back();
        manifest
    }

    pub(crate) fn take_away(&self) {
        std::fs::rename(&self.place, &self.aside).expect("the manifest is away");
    }

    pub(crate) fn put_back(&self) {
        std::fs::rename(&self.aside, &self.place).expect("the manifest is in its place");
    }
}

/// A file of the node, line by line; none when it is not there.
fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The processes of the node whose first word this is, by their ids on the node.
pub(crate) fn processes(lab: &Lab, word: &str) -> Vec<String> {
    // The kubelet's tools are this machine's; its processes are the node's.
    let output = lab.command("cp1", "/bin/busybox").expect("the node runs").args(["sh", "-c", &find(word)]).output();
    String::from_utf8(output.expect("a shell runs").stdout).expect("numbers").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_privileged_pod_sees_and_ends_the_nodes_processes() {
    let lab = start();
    let admin = Admin::new(&lab);
    let report = |name: &str| {
        format!(
            "cd /var/lib/kubectl-etcd; {{ {}; {}; busybox ls /etc/kubernetes/manifests \
             /var/lib/etcd; busybox hostname; }} >{name}.part; busybox mv {name}.part {name}; busybox sleep 1000 & wait",
            find("etcd"),
            find("kube-apiserver")
        )
    };
    let mut made = pod("made");
    made["spec"] = spec(&report("made"));
    made["spec"]["nodeName"] = json!("cp1");
    made["spec"].as_object_mut().expect("a spec").remove("hostPID");
    let mut of_the_node = pod("of-the-node");
    of_the_node["spec"] = spec(&report("of-the-node"));
    of_the_node["spec"]["nodeName"] = json!("cp1");
    for pod in [&made, &of_the_node] {
        assert_eq!(admin.send("POST", crate::PODS, pod).await.0, 201);
    }
    let manifest = Manifest::new(&lab, "static", &spec(&report("static")));
    let seen = lab.node_root("cp1").join("var/lib/kubectl-etcd");
    for name in ["made", "of-the-node", "static"] {
        wait(name, async || seen.join(name).exists()).await;
    }
    let node = [processes(&lab, "etcd"), processes(&lab, "kube-apiserver")].concat();
    assert_eq!(node.len(), 2, "one etcd, one API server");
    for (name, processes) in [("made", &[][..]), ("of-the-node", &node), ("static", &node)] {
        let lines = lines(&seen.join(name));
        let (found, rest) = lines.split_at(processes.len());
        assert_eq!(found, processes, "{name}: {lines:?}");
        for file in ["etcd.yaml", "static.yaml", "member", "cp1"] {
            assert!(rest.iter().any(|line| line == file), "{name}: {lines:?}");
        }
    }

    // Both are ended without harm to the node's processes, though they lived among them.
    manifest.take_away();
    assert_eq!(admin.send("DELETE", &format!("{}/of-the-node", crate::PODS), &Value::Null).await.0, 200);
    wait("the end of the static pod", async || admin.get("static-cp1").await["reason"] == "NotFound").await;
    wait("the end of the pod", async || admin.get("of-the-node").await["reason"] == "NotFound").await;
    assert_eq!([processes(&lab, "etcd"), processes(&lab, "kube-apiserver")].concat(), node);
    lab.stop().expect("the lab goes away");
}

#[tokio::test]
async fn a_static_pod_is_started_again_at_once_without_an_api_server() {
    let lab = start();
    let admin = Admin::new(&lab);
    let api_server = Manifest::there(&lab, "kube-apiserver");
    api_server.take_away();
    wait("the end of the API server", async || !admin.ready().await).await;

    let script = format!("echo $$ >>/var/lib/kubectl-etcd/starts; {} & wait", crate::marked(5));
    let restore = Manifest::new(&lab, "kubectl-etcd-restore", &spec(&script));
    let starts = lab.inside("cp1", "/var/lib/kubectl-etcd/starts").expect("the node runs");
    wait("the first start", async || lines(&starts).len() == 1 && crate::runs(&crate::marked(5))).await;
    let etcd = processes(&lab, "etcd");
    let killed = Instant::now();
    assert_eq!(lab.kill_container("cp1", "kubectl-etcd-restore").expect("it is killed"), 1);
    wait("the second start", async || lines(&starts).len() == 2).await;
    assert!(killed.elapsed() < BACK_OFF, "the first restart is at once, and took {:?}", killed.elapsed());
    wait("the second start's process", async || crate::runs(&crate::marked(5))).await;
    let marked = crate::marked(5).split(' ').next().expect("a word").to_owned();
    let ours = processes(&lab, &marked);
    assert_eq!(ours.len(), 1, "what the first start had running is gone: {ours:?}");
    assert_eq!(processes(&lab, "etcd"), etcd, "and nothing else");
    restore.take_away();
    wait("the end", async || !crate::runs(&crate::marked(5))).await;
    lab.stop().expect("the lab goes away");
}

#[tokio::test]
async fn a_manifest_that_comes_back_waits_for_the_end_of_what_it_was() {
    let lab = start();
    // It takes no notice of SIGTERM, and each start looks for what an earlier one has running.
    let script = format!(
        "cd /var/lib/kubectl-etcd; [ \"$({})\" ] && echo overlapped >>starts || echo alone >>starts; \
         trap 'echo asked >>starts' TERM; while :; do sleep 1000 & wait; done",
        find("sleep")
    );
    let mut spec = spec(&script);
    spec["terminationGracePeriodSeconds"] = json!(2);
    let manifest = Manifest::new(&lab, "stubborn", &spec);
    let starts = lab.inside("cp1", "/var/lib/kubectl-etcd/starts").expect("the node runs");
    for round in 0..2 {
        wait("a start", async || lines(&starts).len() == 1 + 2 * round).await;
        manifest.take_away();
        wait("SIGTERM", async || lines(&starts).len() == 2 + 2 * round).await;
        manifest.put_back();
    }
    wait("the last start", async || lines(&starts).len() == 5).await;
    assert_eq!(lines(&starts), ["alone", "asked", "alone", "asked", "alone"]);

    // Away and back sooner than anybody looks, and other files beside it: those run on.
    let etcd = processes(&lab, "etcd");
    let beside = Manifest::new(
        &lab,
        "beside",
        &json!({ "hostNetwork": true, "containers": [{ "name": "main",
        "image": IMAGE, "command": ["/bin/sh", "-c", format!("busybox {} & wait", crate::marked(6))] }] }),
    );
    wait("a pod beside it", async || crate::runs(&crate::marked(6))).await;
    for _ in 0..20 {
        manifest.take_away();
        manifest.put_back();
    }
    manifest.take_away();
    wait("SIGTERM", async || lines(&starts).last().is_some_and(|line| line == "asked")).await;
    assert!(!lines(&starts).contains(&"overlapped".to_owned()));
    assert_eq!(processes(&lab, "etcd"), etcd);
    assert!(crate::runs(&crate::marked(6)) && beside.place.exists());
    lab.stop().expect("the lab goes away");
}
