//! The pod of a drill: the cluster's own etcd image, into which an init container puts a copy of the sidecar. Pure.
//!
//! Nothing of a node is mounted, no port is open, and the pod has neither a token nor a right on the node.

use serde_json::{Value, json};

use super::spec::{CONTAINER, SidecarArgs};

/// Where the copy of the sidecar is, in both containers.
const FOLDER: &str = "/program";
/// The copy.
pub(super) const SIDECAR: &str = "/program/etcd-sidecar";
/// Where the drill is.
const DATA: &str = "/drill";
/// No user of the images or of the node.
const NOBODY: u32 = 65532;

/// What the pod is: etcd's image, the bytes of the volume for the drill, and the arguments with which the sidecar waits for a session.
pub(super) fn spec(etcd_image: &str, room: u64, wait: &[String], args: &SidecarArgs) -> Value {
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
    json!({
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
            "image": etcd_image,
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
    })
}
