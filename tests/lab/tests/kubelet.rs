//! The kubelet stand-in in a whole lab, pinned to what a real cluster's watches and execs said. Needs root, crun,
//! busybox-static and Debian's etcd.

mod kubelet_exec;
mod kubelet_node;
mod kubelet_outage;
mod kubelet_port_forward;
mod kubelet_proxy;
mod kubelet_sources;
mod kubelet_support;
mod kubelet_systemd;

use kubelet_support::{Admin, IMAGE, PODS, pod, wait};
use lab::Options;
use serde_json::{Value, json};

/// What is compared of an event: its type, the phase and the reason, every condition, whether the pod is to be
/// deleted, and of each container readiness and state with exit code, reason and message. Times and ids are not.
fn essence(event: &Value) -> Value {
    let mut event = event.clone();
    for container in event["containerStatuses"].as_array_mut().into_iter().flatten() {
        for state in container["state"].as_object_mut().into_iter().flat_map(|state| state.values_mut()) {
            for field in ["startedAt", "finishedAt", "containerID"] {
                state.as_object_mut().expect("a state is an object").remove(field);
            }
        }
    }
    json!({ "type": event["type"], "phase": event["phase"], "conditions": event["conditions"],
        "containerStatuses": event["containerStatuses"], "deletionTimestamp": event["deletionTimestamp"],
        "reason": event["reason"] })
}

/// An event of a watch in the form of the recorded ones.
fn seen(event: &Value) -> Value {
    let (object, status) = (&event["object"], &event["object"]["status"]);
    let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let conditions = list("conditions").into_iter();
    let conditions: serde_json::Map<String, Value> =
        conditions.map(|one| (one["type"].as_str().expect("a type").to_owned(), one["status"].clone())).collect();
    let containers = list("containerStatuses").into_iter();
    let containers: Vec<Value> =
        containers.map(|c| json!({ "ready": c["ready"], "state": c["state"], "started": c["started"] })).collect();
    essence(&json!({ "type": event["type"], "phase": status["phase"], "conditions": conditions,
        "containerStatuses": containers, "deletionTimestamp": !object["metadata"]["deletionTimestamp"].is_null(),
        "reason": status["reason"] }))
}

/// Makes the pod and compares what a watch tells with what was recorded. Of events that are equal one after the other
/// the first counts: a server and a kubelet may say a thing twice. At the end the pod is deleted, and that must be the
/// next the watch tells, so that nothing came after what was recorded.
async fn pinned(admin: &Admin, case: &str, change: impl FnOnce(&mut Value)) {
    let cases: Value = serde_json::from_str(include_str!("../../data/kubeadm/api.json")).expect("the fixture is JSON");
    let found = cases.as_array().into_iter().flatten().find(|one| one["case"] == case).expect("the case is there");
    let mut want: Vec<Value> = found["watch_events"].as_array().expect("events").iter().map(essence).collect();
    want.dedup();
    let mut pod = pod(&case.replace([' ', ','], "-"));
    change(&mut pod);
    let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().expect("a name"));
    let mut watch = admin.make(&pod).await;
    let mut last = Value::Null;
    for (index, want) in want.iter().enumerate() {
        if want["deletionTimestamp"] == true && last["deletionTimestamp"] == false {
            assert_eq!(admin.send("DELETE", &path, &Value::Null).await.0, 200);
        }
        last = next(&mut watch, &last).await;
        assert_eq!(last, *want, "{case}, state {index}");
    }
    if last["type"] != "DELETED" {
        assert_eq!(admin.send("DELETE", &path, &json!({ "gracePeriodSeconds": 0 })).await.0, 200);
        let end = next(&mut watch, &last).await;
        assert!(end["type"] == "DELETED" || end["deletionTimestamp"] == true, "{case}: {end}");
    }
}

/// The next event that differs from the last.
async fn next(watch: &mut kubelet_support::Watch, last: &Value) -> Value {
    seen(&watch.until(|event| seen(event) != *last).await)
}

#[tokio::test]
async fn a_watch_tells_of_pods_what_a_real_one_told() {
    let lab = kubelet_support::start();
    let admin = Admin::new(&lab);
    pinned(&admin, "a pod made, run, deleted", |_| {}).await;
    pinned(&admin, "command ends with 7", |pod| {
        pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", "exit 7"]);
    })
    .await;
    pinned(&admin, "image not there, never pull", |pod| {
        pod["spec"]["containers"][0]["image"] = json!("rig/none:1");
        pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    })
    .await;
    pinned(&admin, "image cannot be pulled", |pod| {
        pod["spec"]["containers"][0]["image"] = json!("127.0.0.1:9/none:1");
    })
    .await;
    pinned(&admin, "host path is missing", |pod| {
        pod["spec"]["volumes"] = json!([{ "name": "v", "hostPath": { "path": "/nope", "type": "Directory" } }]);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    })
    .await;
    pinned(&admin, "deadline passes", |pod| pod["spec"]["activeDeadlineSeconds"] = json!(3)).await;
    pinned(&admin, "node does not exist", |pod| pod["spec"]["nodeName"] = json!("nope")).await;
    assert!(!lab.node_root("cp1").join("nope").exists(), "a host path of type Directory is not made");
    kubelet_sources::a_pod_waits_for_what_it_takes(&lab, &admin).await;
    lab.stop().expect("the lab goes away");
}

/// A command that only one pod of this machine runs.
fn marked(number: u32) -> String {
    format!("sleep {}", 100_000_000 + 10 * std::process::id() + number)
}

/// Whether a process with these words runs.
fn runs(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("processes");
    let wanted: Vec<u8> = words.split(' ').flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    // A process that ended in between is not one that runs; one that nobody has buried has no words.
    processes.flatten().any(|one| std::fs::read(one.path().join("cmdline")).is_ok_and(|its| its.ends_with(&wanted)))
}

fn running(event: &Value, name: &str) -> bool {
    let object = &event["object"];
    object["metadata"]["name"] == name && object["status"]["phase"] == "Running"
}

#[tokio::test]
async fn a_static_pod_is_a_file_whose_name_has_no_dot_before_it() {
    let lab = kubelet_support::start();
    let admin = Admin::new(&lab);
    let folder = lab.node_root("cp1").join("etc/kubernetes/manifests");
    let write = |file: &str, name: &str, number: u32| {
        let manifest = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "kube-system" },
            "spec": { "hostNetwork": true, "terminationGracePeriodSeconds": 1, "containers": [{ "name": "main",
                "image": IMAGE, "command": ["/bin/sh", "-c", format!("{} & wait", marked(number))] }] } });
        // Written aside, so that nobody reads half of it.
        let aside = folder.join("../aside");
        std::fs::write(&aside, manifest.to_string()).expect("the manifest is written");
        std::fs::rename(aside, folder.join(file)).expect("the manifest is in its place");
    };
    let mut watch = admin.watch("").await;
    write(".hidden.yaml", "hidden", 0);
    write("shown.yaml", "shown", 1);
    watch.until(|event| running(event, "shown-cp1")).await;
    wait("the process", async || runs(&marked(1))).await;
    assert!(!runs(&marked(0)), "a file with a dot before its name is no static pod");
    assert_eq!(admin.get("hidden-cp1").await["reason"], "NotFound");
    let mirror = admin.get("shown-cp1").await;

    let (place, aside) = (folder.join("shown.yaml"), folder.join("../shown.yaml"));
    std::fs::rename(&place, &aside).expect("the manifest is away");
    watch.until(|event| event["type"] == "DELETED" && event["object"]["metadata"]["name"] == "shown-cp1").await;
    assert!(!runs(&marked(1)), "the mirror pod goes when its container has ended, not before");

    // The manifest was good, and the name alone kept it from running.
    std::fs::rename(folder.join(".hidden.yaml"), folder.join("hidden")).expect("the manifest has a name");
    watch.until(|event| running(event, "hidden-cp1")).await;
    std::fs::rename(&aside, &place).expect("the manifest is back");
    let back = watch.until(|event| running(event, "shown-cp1")).await;
    assert_ne!(back["object"]["metadata"]["uid"], mirror["metadata"]["uid"], "another mirror pod");
    wait("the process", async || runs(&marked(1))).await;
    lab.stop().expect("the lab goes away");
}

#[tokio::test]
async fn pods_outlive_the_api_server_but_not_their_objects() {
    let lab = kubelet_support::start_with(Options { api_server_grace: Some(1), ..Options::default() });
    let admin = Admin::new(&lab);
    for (name, number) in [("stays", 2), ("goes-now", 3), ("goes-later", 4)] {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", format!("{} & wait", marked(number))]);
        admin.make(&pod).await.until(|event| running(event, name)).await;
        wait("the process", async || runs(&marked(number))).await;
    }
    let remove = |name: &str| {
        let output = lab.etcdctl("cp1", &["del", &format!("/registry/pods/kube-system/{name}")]).expect("etcdctl runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "the object was there");
    };
    remove("goes-now");
    wait("the end of the pod", async || !runs(&marked(3))).await;
    let before = admin.get("stays").await["status"]["containerStatuses"].clone();

    let manifests = lab.node_root("cp1").join("etc/kubernetes/manifests");
    let (place, aside) = (manifests.join("kube-apiserver.yaml"), manifests.join("../kube-apiserver.yaml"));
    std::fs::rename(&place, &aside).expect("the manifest is away");
    wait("the end of the API server", async || !admin.ready().await).await;
    remove("goes-later");
    assert!(runs(&marked(2)) && runs(&marked(4)), "without an API server nothing ends");
    std::fs::rename(&aside, &place).expect("the manifest is back");
    wait("the API server's return", async || admin.ready().await).await;
    wait("the end of the pod that is not known any more", async || !runs(&marked(4))).await;
    assert!(runs(&marked(2)));
    assert_eq!(admin.get("stays").await["status"]["containerStatuses"], before, "the same container, not a new one");
    lab.stop().expect("the lab goes away");
}
