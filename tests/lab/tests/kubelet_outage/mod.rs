//! The control plane goes and comes back with its manifests, and with other data.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::{Lab, Options};
use serde_json::{Value, json};

use crate::kubelet_node::{Manifest, processes};
use crate::kubelet_support::{Admin, PODS, pod, start, start_with, wait};

const CONTROL_PLANE: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
const KUBE_SYSTEM: &str = "/api/v1/namespaces/kube-system";
/// What a server has to say something in that is to say nothing.
const SILENCE: Duration = Duration::from_millis(500);

/// Ends the node's API servers as who cannot wait for them does. Its processes are the node's, its kill this machine's.
fn kill(lab: &Lab, word: &str) {
    let mut kill = lab.command("cp1", "/bin/busybox").expect("the node runs");
    let status = kill.args(["kill", "-KILL"]).args(processes(lab, word)).status().expect("kill runs");
    assert!(status.success());
}

/// Waits until nothing of the node's has this first word.
async fn gone(lab: &Lab, word: &str) {
    wait(word, async || processes(lab, word).is_empty()).await;
}

#[tokio::test]
async fn an_api_server_spends_its_whole_grace_period() {
    let grace = 3;
    let lab = start_with(Options { api_server_grace: Some(grace), ..Options::default() });
    let admin = Admin::new(&lab);
    let mut watch = admin.watch("").await;
    let manifest = Manifest::there(&lab, "kube-apiserver");
    let begun = Instant::now();
    manifest.take_away();
    wait("the end of its port", async || admin.connect().await.is_err()).await;
    // Whoever had a connection before has it still, and learns what becomes of its mirror pod past the server.
    let deleted = lab.etcdctl("cp1", &["del", "/registry/pods/kube-system/kube-scheduler-cp1"]).expect("etcdctl runs");
    assert!(deleted.status.success());
    watch
        .until(|event| event["object"]["metadata"]["name"] == "kube-scheduler-cp1" && event["type"] == "DELETED")
        .await;
    gone(&lab, "kube-apiserver").await;
    assert!(begun.elapsed() >= Duration::from_secs(grace.into()), "it ended after {:?}", begun.elapsed());
    lab.stop().expect("the lab goes away");
}

#[tokio::test]
async fn an_api_server_is_ready_once_etcd_answers() {
    let lab = start();
    let (admin, own) = (Admin::new(&lab), Admin::of_node(&lab, "cp1"));
    let manifests = CONTROL_PLANE.map(|name| Manifest::there(&lab, name));
    let [etcd, api_server, ..] = &manifests;
    for manifest in [api_server, etcd] {
        manifest.take_away();
    }
    wait("the end of its port", async || own.connect().await.is_err()).await;
    let begun = Instant::now();
    kill(&lab, "kube-apiserver");
    gone(&lab, "etcd").await;
    gone(&lab, "kube-apiserver").await;
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waits for a killed one: {:?}", begun.elapsed());

    api_server.put_back();
    wait("its process", async || !processes(&lab, "kube-apiserver").is_empty()).await;
    assert!(tokio::time::timeout(SILENCE, own.ready()).await.is_err() || !own.ready().await, "ready without etcd");
    etcd.put_back();
    wait("the API server", async || own.ready().await && admin.ready().await).await;
    lab.stop().expect("the lab goes away");
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs").success());
}

async fn uids(admin: &Admin) -> Vec<Value> {
    let (_, list) = admin.send("GET", PODS, &Value::Null).await;
    let pods = list["items"].as_array().expect("a list").iter();
    pods.map(|pod| pod["metadata"]["uid"].clone()).collect()
}

/// A restore by hand: everything stops, the data is another, and everything comes back.
#[tokio::test]
async fn other_data_is_another_cluster_with_the_same_nodes() {
    let lab = start();
    let (admin, own) = (Admin::new(&lab), Admin::of_node(&lab, "cp1"));
    let running = |event: &Value| event["object"]["status"]["phase"] == "Running";
    let settings = "/api/v1/namespaces/default/configmaps";
    let made = |name: &str| json!({ "metadata": { "name": name } });
    let long = |name: &str, number: u32| {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", format!("{} & wait", crate::marked(number))]);
        pod
    };
    admin.make(&long("before", 7)).await.until(running).await;
    assert_eq!(admin.send("POST", settings, &made("before")).await.0, 201);
    let (_, namespace) = own.send("GET", KUBE_SYSTEM, &Value::Null).await;
    assert_eq!(namespace["kind"], "Namespace", "{namespace}");

    let data = lab.node_root("cp1").join("var/lib/etcd");
    let (member, saved, aside) = (data.join("member"), data.join("../saved"), data.join("aside"));
    let manifests = CONTROL_PLANE.map(|name| Manifest::there(&lab, name));
    let stop = async || {
        manifests.iter().for_each(Manifest::take_away);
        wait("the end of its port", async || own.connect().await.is_err()).await;
        kill(&lab, "kube-apiserver");
        for name in CONTROL_PLANE {
            gone(&lab, name).await;
        }
    };
    let go_on = async || {
        manifests.iter().for_each(Manifest::put_back);
        wait("the API server", async || own.ready().await && admin.ready().await).await;
    };
    stop().await;
    copy(&member, &saved);
    go_on().await;
    admin.make(&long("after", 8)).await.until(running).await;
    assert_eq!(admin.send("POST", settings, &made("after")).await.0, 201);
    wait("its process", async || crate::runs(&crate::marked(8))).await;
    let (_, list) = admin.send("GET", settings, &Value::Null).await;
    let late = list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
    wait("all mirror pods", async || uids(&admin).await.len() == 6).await;

    stop().await;
    std::fs::rename(&member, &aside).expect("the data is away");
    std::fs::rename(&saved, &member).expect("the saved data is in its place");
    go_on().await;
    wait("the end of the pod that never was", async || !crate::runs(&crate::marked(8))).await;
    assert!(crate::runs(&crate::marked(7)), "the pod of both times runs on");
    let (_, list) = admin.send("GET", settings, &Value::Null).await;
    let names: Vec<_> = list["items"].as_array().expect("a list").iter().map(|one| &one["metadata"]["name"]).collect();
    assert!(names.contains(&&json!("before")) && !names.contains(&&json!("after")), "{names:?}");
    let early = list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
    assert!(early < late, "the revisions are the restored etcd's: {early:?}, {late:?}");
    assert_eq!(own.send("GET", KUBE_SYSTEM, &Value::Null).await.1["metadata"]["uid"], namespace["metadata"]["uid"]);
    // Nothing is lost for the nodes: every static pod has its mirror pod, whatever the data knew of it.
    wait("all mirror pods", async || uids(&admin).await.len() == 5).await;
    lab.stop().expect("the lab goes away");
}
