//! The pod of a drill: the cluster's own etcd image, into which an init container puts a copy of the sidecar, and where it is wanted another one the program of the
//! cluster's own API server. Pure.
//!
//! Nothing of a node is mounted, no port is open, and the pod has neither a token nor a right on the node.

use serde_json::{Value, json};

use super::spec::{CONTAINER, SidecarArgs};
use crate::discovery::EtcdPod;

/// Where the copy of the sidecar is, in both containers.
const FOLDER: &str = "/program";
/// The copy.
pub(super) const SIDECAR: &str = "/program/etcd-sidecar";
/// Where the drill is.
const DATA: &str = "/drill";
/// Where keys of an API server are: memory, and no disk.
const MEMORY: &str = "/memory";
/// The API server's program, in its image.
const API_SERVER: &str = "kube-apiserver";
/// No user of the images or of the node.
const NOBODY: u32 = 65532;

/// What the pod is: the member whose images are used, the bytes of the volume for the drill, and the arguments with which the sidecar waits for a session.
pub(super) fn spec(member: &EtcdPod, room: u64, wait: &[String], args: &SidecarArgs) -> Value {
    let security = json!({
        "runAsUser": NOBODY,
        "runAsGroup": NOBODY,
        "runAsNonRoot": true,
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let mut spec = json!({
        "initContainers": [{
            "name": "etcd-sidecar",
            "image": args.image,
            "imagePullPolicy": args.image_pull_policy,
            "args": ["install", FOLDER],
            "securityContext": security,
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
            "volumeMounts": [{"name": "program", "mountPath": FOLDER}],
        }],
        "containers": [{
            "name": CONTAINER,
            "image": member.image,
            "imagePullPolicy": "IfNotPresent",
            "command": [SIDECAR],
            "args": wait,
            "securityContext": security,
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "4Gi"}},
            "volumeMounts": [
                {"name": "program", "mountPath": FOLDER, "readOnly": true},
                {"name": "drill", "mountPath": DATA},
            ],
        }],
        "volumes": [
            {"name": "program", "emptyDir": {"sizeLimit": "256Mi"}},
            {"name": "drill", "emptyDir": {"sizeLimit": room.to_string()}},
        ],
    });
    if let Some(image) = &member.api_server_image {
        add_api_server(&mut spec, image, &security);
    }
    spec
}

/// What an API server needs besides: its program, memory for its keys, and more of the node's memory.
fn add_api_server(spec: &mut Value, image: &str, security: &Value) {
    let copy = json!({
        "name": API_SERVER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [SIDECAR],
        "args": ["install", FOLDER, "--program", API_SERVER],
        "securityContext": security,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [{"name": "program", "mountPath": FOLDER}],
    });
    let push = |list: &mut Value, more: Value| {
        if let Some(list) = list.as_array_mut() {
            list.push(more);
        }
    };
    push(&mut spec["initContainers"], copy);
    let container = &mut spec["containers"][0];
    push(&mut container["volumeMounts"], json!({"name": "memory", "mountPath": MEMORY}));
    container["resources"]["limits"]["memory"] = json!("8Gi");
    spec["volumes"][0]["emptyDir"]["sizeLimit"] = json!("1Gi");
    push(&mut spec["volumes"], json!({"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_with(api_server: Option<&str>) -> Value {
        let member =
            EtcdPod { image: "etcd:3.6".into(), api_server_image: api_server.map(str::to_owned), ..EtcdPod::default() };
        let args = SidecarArgs { image: "sidecar:1".into(), ..SidecarArgs::default() };
        spec(&member, 1 << 30, &["wait".to_owned()], &args)
    }

    #[test]
    fn neither_a_drill_nor_its_api_server_sees_anything_of_the_node_or_has_a_right_on_it() {
        for (api_server, images) in
            [(None, &["sidecar:1", "etcd:3.6"][..]), (Some("api:1"), &["sidecar:1", "api:1", "etcd:3.6"])]
        {
            let spec = spec_with(api_server);
            let containers = [&spec["initContainers"], &spec["containers"]];
            let containers: Vec<&Value> = containers.into_iter().filter_map(Value::as_array).flatten().collect();
            assert_eq!(containers.iter().map(|one| one["image"].as_str().unwrap()).collect::<Vec<_>>(), images);
            for container in containers {
                let security = &container["securityContext"];
                assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{container}");
                assert_eq!(
                    (&security["readOnlyRootFilesystem"], &security["runAsUser"]),
                    (&true.into(), &NOBODY.into())
                );
                assert_eq!((&container["ports"], &security["privileged"]), (&Value::Null, &false.into()));
            }
            let volumes = spec["volumes"].as_array().unwrap();
            assert!(volumes.iter().all(|volume| !volume["emptyDir"].is_null()), "{volumes:?}");
            assert_eq!((&spec["hostNetwork"], &spec["hostPID"]), (&Value::Null, &Value::Null));
        }
    }

    #[test]
    fn keys_of_the_api_server_are_in_memory_alone_and_nobody_but_it_has_them() {
        let spec = spec_with(Some("api:1"));
        let memory = spec["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "memory").unwrap();
        assert_eq!(memory["emptyDir"]["medium"], "Memory");
        for init in spec["initContainers"].as_array().unwrap() {
            assert_eq!(init["volumeMounts"], json!([{"name": "program", "mountPath": FOLDER}]));
        }
        assert_eq!(spec_with(None)["volumes"].as_array().unwrap().len(), 2);
    }
}
