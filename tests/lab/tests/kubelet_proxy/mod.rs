//! What reaches a node's kubelet through the API server: its pods, with mirror pods or without, and commands in their
//! containers. Also with kubectl.

use std::process::Command;

use lab::Lab;
use serde_json::{Value, json};

use crate::kubelet_support::{Admin, PODS, pod, start};

const PROXY: &str = "/api/v1/nodes/cp1/proxy";

/// The path that runs a command in etcd's container.
fn run(words: &str) -> String {
    let cmd: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("cmd", words).finish();
    format!("{PROXY}/run/kube-system/etcd-cp1/etcd?{cmd}")
}

fn kubectl(lab: &Lab, words: &[&str]) -> String {
    let mut kubectl = Command::new("kubectl");
    kubectl.env("KUBECONFIG", lab.kubeconfig()).env("HOME", lab.kubeconfig().parent().expect("a folder"));
    let output = kubectl.args(words).output().expect("kubectl runs");
    assert!(output.status.success(), "kubectl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut items = list["items"].as_array().expect("a list").iter();
    items.find(|pod| pod["metadata"]["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[tokio::test]
async fn a_kubelet_lists_its_static_pods_itself() {
    let lab = start();
    let admin = Admin::new(&lab);
    let made = pod("made");
    admin.make(&made).await.until(|event| event["object"]["status"]["phase"] == "Running").await;
    let (code, list) = admin.send("GET", &format!("{PROXY}/pods"), &Value::Null).await;
    assert_eq!((code, &list["kind"], &list["apiVersion"]), (200, &json!("PodList"), &json!("v1")));

    let (etcd, mirror) = (named(&list, "etcd-cp1"), admin.get("etcd-cp1").await);
    let annotations = &etcd["metadata"]["annotations"];
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    assert_eq!(annotations["kubernetes.io/config.hash"], etcd["metadata"]["uid"]);
    assert_eq!(mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"], etcd["metadata"]["uid"]);
    assert!(annotations.get("kubernetes.io/config.mirror").is_none(), "{annotations}");
    assert_ne!(mirror["metadata"]["uid"], etcd["metadata"]["uid"]);
    assert_eq!(etcd["metadata"]["labels"], json!({ "component": "etcd", "tier": "control-plane" }));
    assert!(etcd.get("kind").is_none(), "an item of a list has no kind");
    let (spec, of_mirror) = (&etcd["spec"], &mirror["spec"]);
    for field in ["containers", "volumes", "hostNetwork", "nodeName", "dnsPolicy", "restartPolicy", "tolerations"] {
        assert_eq!(spec[field], of_mirror[field], "{field}");
    }
    assert_eq!(etcd["status"]["phase"], "Running");
    assert_eq!(etcd["status"]["containerStatuses"], mirror["status"]["containerStatuses"]);

    // A pod of the API is the API's.
    let of_api = admin.get("made").await;
    assert_eq!(named(&list, "made")["metadata"]["uid"], of_api["metadata"]["uid"]);

    // A mirror pod that cannot be made is missing in the API alone.
    let refuse = json!({ "refusePods": "no room" });
    lab.set_faults(&refuse).expect("faults");
    assert_eq!(admin.send("DELETE", &format!("{PODS}/etcd-cp1"), &Value::Null).await.0, 200);
    assert_eq!(admin.send("GET", &format!("{PODS}/etcd-cp1"), &Value::Null).await.0, 404);
    let list: Value = serde_json::from_str(&kubectl(&lab, &["get", "--raw", &format!("{PROXY}/pods")])).expect("JSON");
    assert_eq!(named(&list, "etcd-cp1")["status"]["phase"], "Running");
    let version = admin.text("POST", &run("etcdctl version")).await;
    assert!(version.0 == 200 && version.1.starts_with("etcdctl version: 3."), "{version:?}");
    lab.stop().expect("the lab goes away");
}

#[tokio::test]
async fn a_command_runs_in_a_container_through_the_nodes_proxy() {
    let lab = start();
    let admin = Admin::new(&lab);
    let pki = "/etc/kubernetes/pki/etcd";
    let tls = format!("--cacert {pki}/ca.crt --cert {pki}/healthcheck-client.crt --key {pki}/healthcheck-client.key");
    let (code, status) =
        admin.send("POST", &run(&format!("etcdctl {tls} endpoint status -w json")), &Value::Null).await;
    assert_eq!((code, &status[0]["Endpoint"]), (200, &json!("127.0.0.1:2379")));
    // What is written to stderr comes with the rest.
    let (code, health) = admin.text("POST", &run(&format!("etcdctl {tls} endpoint health"))).await;
    assert!(code == 200 && health.contains("is healthy"), "{health}");

    let (code, failed) = admin.text("POST", &run("etcdctl nonsense --now")).await;
    assert_eq!(code, 500);
    assert!(failed.starts_with("command 'etcdctl nonsense --now' exited with 1: "), "{failed}");
    let (code, missing) = admin.text("POST", &run("/bin/nothing x")).await;
    assert_eq!(code, 500);
    let want = "rpc error: code = Unknown desc = failed to exec in container: failed to start exec ";
    assert!(missing.starts_with(want) && missing.contains("exec: \"/bin/nothing\": "), "{missing}");
    assert_eq!(admin.text("GET", &run("etcdctl version")).await, (405, "405: Method Not Allowed".into()));
    let nopod = admin.text("POST", &format!("{PROXY}/run/kube-system/nopod/etcd?cmd=x")).await;
    assert_eq!(nopod, (404, "pod does not exist".into()));
    let nope = admin.text("POST", &format!("{PROXY}/run/kube-system/etcd-cp1/nope?cmd=x")).await;
    assert_eq!(nope, (500, "container not found (\"nope\")".into()));

    let words = ["create", "--raw", &run("etcdctl version"), "-f", "/dev/null"];
    assert!(kubectl(&lab, &words).starts_with("etcdctl version: 3."));
    // As in the images of etcd it needs neither a path nor a variable.
    let words = ["exec", "-n", "kube-system", "etcd-cp1", "--", "etcdctl", "version"];
    assert!(kubectl(&lab, &words).starts_with("etcdctl version: 3."));
    lab.stop().expect("the lab goes away");
}

#[tokio::test]
async fn the_proxy_of_a_node_refuses_in_the_real_servers_words() {
    let lab = start();
    let admin = Admin::new(&lab);
    let message = |(code, answer): (u16, Value)| (code, answer["message"].as_str().expect("a message").to_owned());
    assert_eq!(admin.text("GET", &format!("{PROXY}/healthz")).await, (200, "ok".into()));
    assert_eq!(admin.text("GET", "/api/v1/nodes/https:cp1:10250/proxy/healthz").await, (200, "ok".into()));
    assert_eq!(admin.text("GET", &format!("{PROXY}/nowhere")).await, (404, "404 page not found\n".into()));
    assert_eq!(admin.text("GET", PROXY).await, (301, String::new()));
    let none = admin.send("GET", "/api/v1/nodes/cp9/proxy/pods", &Value::Null).await;
    assert_eq!(message(none), (404, "nodes \"cp9\" not found".into()));
    let ftp = admin.send("GET", "/api/v1/nodes/ftp:cp1:1/proxy/pods", &Value::Null).await;
    assert_eq!(message(ftp), (400, "invalid node request \"ftp:cp1:1\"".into()));
    // Nobody listens on this port of the node.
    let deaf = json!({ "metadata": { "name": "deaf" }, "status": {
        "addresses": [{ "type": "InternalIP", "address": lab.node_ip("cp1") }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": 9 } } } });
    assert_eq!(admin.send("POST", "/api/v1/nodes", &deaf).await.0, 201);
    let (code, answer) = admin.send("GET", "/api/v1/nodes/deaf/proxy/pods", &Value::Null).await;
    assert_eq!((code, &answer["reason"]), (503, &json!("ServiceUnavailable")));
    let want = format!("error trying to reach service: dial tcp {}:9: ", lab.node_ip("cp1"));
    assert!(answer["message"].as_str().is_some_and(|message| message.starts_with(&want)), "{answer}");

    // The right to read is not the right to run.
    let jane = Admin::user(&lab, "jane");
    let refused = |verb: &str| {
        format!(
            "nodes \"cp1\" is forbidden: User \"jane\" cannot {verb} resource \"nodes/proxy\" in API group \"\" at the \
             cluster scope"
        )
    };
    let pods = format!("{PROXY}/pods");
    assert_eq!(message(jane.send("GET", &pods, &Value::Null).await), (403, refused("get")));
    let role = json!({ "metadata": { "name": "reader" },
        "rules": [{ "apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"] }] });
    let binding = json!({ "metadata": { "name": "reader" },
        "subjects": [{ "kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io" }],
        "roleRef": { "kind": "ClusterRole", "name": "reader", "apiGroup": "rbac.authorization.k8s.io" } });
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    assert_eq!(admin.send("POST", &format!("{rbac}/clusterroles"), &role).await.0, 201);
    assert_eq!(admin.send("POST", &format!("{rbac}/clusterrolebindings"), &binding).await.0, 201);
    assert_eq!(jane.send("GET", &pods, &Value::Null).await.0, 200);
    assert_eq!(message(jane.send("POST", &run("etcdctl version"), &Value::Null).await), (403, refused("create")));

    // The kubelet itself obeys the API server alone.
    let straight = Admin::at_kubelet(&lab);
    let forbidden = "Forbidden (user=kubernetes-admin, verb=get, resource=nodes, subresource(s)=[pods proxy])\n";
    assert_eq!(straight.text("GET", "/pods").await, (403, forbidden.into()));
    lab.stop().expect("the lab goes away");
}
