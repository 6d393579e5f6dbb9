//! What pods take of Secrets and ConfigMaps: variables and files.

use lab::Lab;
use serde_json::{Value, json};

use crate::kubelet_support::{Admin, PODS, pod};

/// Where objects of a kind are.
fn of(plural: &str) -> String {
    PODS.replace("/pods", &format!("/{plural}"))
}

fn waits_for(event: &Value) -> Value {
    event["object"]["status"]["containerStatuses"][0]["state"]["waiting"].clone()
}

/// A pod waits for a volume, and then for its variables, in a kubelet's words; and has both as their objects say.
pub(crate) async fn a_pod_waits_for_what_it_takes(lab: &Lab, admin: &Admin) {
    let mut taker = pod("taker");
    let spec = &mut taker["spec"];
    spec["volumes"] = json!([{ "name": "keys", "secret": { "secretName": "keys", "defaultMode": 256 } },
        { "name": "map", "configMap": { "name": "map" } }, { "name": "none", "secret": { "secretName": "none", "optional": true } }]);
    let container = &mut spec["containers"][0];
    container["volumeMounts"] = json!([{ "name": "keys", "mountPath": "/keys" }, { "name": "map", "mountPath": "/map" },
        { "name": "none", "mountPath": "/none" }]);
    container["envFrom"] = json!([{ "configMapRef": { "name": "map" } }, { "prefix": "P_", "secretRef": { "name": "variables" } },
        { "secretRef": { "name": "none", "optional": true } }]);
    container["env"] = json!([{ "name": "own", "value": "counts" }]);
    let script = "echo $shared $P_shared $own; busybox stat -c %a /keys/key; busybox cat /keys/key /map/shared; \
        busybox touch /keys/new 2>/dev/null || echo read-only; busybox ls /none";
    container["command"] = json!(["/bin/sh", "-c", script]);
    let mut watch = admin.make(&taker).await;
    let mut events = admin.send("GET", &of("events"), &Value::Null).await.1;
    let failed = "MountVolume.SetUp failed for volume \"keys\" : secret \"keys\" not found";
    let told = |events: &Value| events["items"].as_array().into_iter().flatten().any(|one| one["message"] == failed);
    while !told(&events) {
        events = admin.send("GET", &of("events"), &Value::Null).await.1;
    }
    let create = async |plural: &str, kind: &str, name: &str, field: &str, data: Value| {
        let object = json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name }, field: data });
        let (code, made) = admin.send("POST", &of(plural), &object).await;
        assert_eq!(code, 201, "{made}");
    };
    create("configmaps", "ConfigMap", "map", "data", json!({ "shared": "map", "own": "lost" })).await;
    create("secrets", "Secret", "keys", "data", json!({ "key": "c2VjcmV0Cg==" })).await;
    let waiting = watch.until(|event| waits_for(event)["reason"] == "CreateContainerConfigError").await;
    assert_eq!(waits_for(&waiting)["message"], "secret \"variables\" not found");
    create("secrets", "Secret", "variables", "data", json!({ "shared": "aGlkZGVu" })).await;
    watch.until(|event| event["object"]["status"]["phase"] == "Succeeded").await;
    let (_, log) = admin.text("GET", &format!("{PODS}/taker/log")).await;
    assert_eq!(log, "map hidden counts\n400\nsecret\nmapread-only\n");
    // Nothing of it stays on the node.
    admin.send("DELETE", &format!("{PODS}/taker"), &json!({ "gracePeriodSeconds": 0 })).await;
    watch.until(|event| event["type"] == "DELETED").await;
    let pods = lab.node_root("cp1").join("../pods");
    let kept =
        || std::fs::read_dir(&pods).expect("the pods").flatten().any(|one| one.path().join("volumes/keys").exists());
    crate::kubelet_support::wait("the end of the volume", async || !kept()).await;
}
