//! Volumes, claims and their classes.

use serde_json::Value;

use super::Kind;
use super::view::{NONE, View, or, scalar};

pub(super) const KINDS: &[Kind] = &[
    Kind::new(
        "PersistentVolume",
        &[
            "CAPACITY",
            "ACCESS MODES",
            "RECLAIM POLICY",
            "STATUS",
            "CLAIM",
            "STORAGECLASS",
            "VOLUMEATTRIBUTESCLASS",
            "REASON",
            "AGE",
            "+VOLUMEMODE",
        ],
        |view| {
            let claim = match view.has("/spec/claimRef") {
                true => format!("{}/{}", view.text("/spec/claimRef/namespace"), view.text("/spec/claimRef/name")),
                false => String::new(),
            };
            vec![
                scalar(view.at("/spec/capacity/storage")),
                access_modes(view, "/spec/accessModes"),
                view.text("/spec/persistentVolumeReclaimPolicy").to_owned(),
                phase(view),
                claim,
                class(view),
                view.text_or("/spec/volumeAttributesClassName", "<unset>"),
                view.text("/status/reason").to_owned(),
                view.age(),
                view.text_or("/spec/volumeMode", "<unset>"),
            ]
        },
    ),
    Kind::new(
        "PersistentVolumeClaim",
        &[
            "STATUS",
            "VOLUME",
            "CAPACITY",
            "ACCESS MODES",
            "STORAGECLASS",
            "VOLUMEATTRIBUTESCLASS",
            "AGE",
            "+VOLUMEMODE",
        ],
        |view| {
            let volume = view.text("/spec/volumeName").to_owned();
            let (capacity, modes) = match volume.is_empty() {
                true => (String::new(), String::new()),
                false => (scalar(view.at("/status/capacity/storage")), access_modes(view, "/status/accessModes")),
            };
            vec![
                phase(view),
                volume,
                capacity,
                modes,
                class(view),
                view.text_or("/spec/volumeAttributesClassName", "<unset>"),
                view.age(),
                view.text_or("/spec/volumeMode", "<unset>"),
            ]
        },
    ),
    Kind {
        name: Some(|view| {
            let default = |name: &str| view.at("/metadata/annotations")[name] == "true";
            let is =
                ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
            let suffix = if is.into_iter().any(default) { " (default)" } else { "" };
            format!("{}{suffix}", view.text("/metadata/name"))
        }),
        ..Kind::new(
            "StorageClass",
            &["PROVISIONER", "RECLAIMPOLICY", "VOLUMEBINDINGMODE", "ALLOWVOLUMEEXPANSION", "AGE"],
            |view| {
                vec![
                    view.text("/provisioner").to_owned(),
                    view.text_or("/reclaimPolicy", "Delete"),
                    view.text_or("/volumeBindingMode", "Immediate"),
                    // Go writes this one in lower case.
                    view.at("/allowVolumeExpansion").as_bool().unwrap_or_default().to_string(),
                    view.age(),
                ]
            },
        )
    },
    Kind::new("VolumeAttachment", &["ATTACHER", "PV", "NODE", "ATTACHED", "AGE"], |view| {
        vec![
            view.text("/spec/attacher").to_owned(),
            view.text("/spec/source/persistentVolumeName").to_owned(),
            view.text("/spec/nodeName").to_owned(),
            view.at("/status/attached").as_bool().unwrap_or_default().to_string(),
            view.age(),
        ]
    }),
    Kind::new("VolumeAttributesClass", &["DRIVERNAME", "AGE"], |view| {
        vec![view.text("/driverName").to_owned(), view.age()]
    }),
    Kind::new(
        "CSIDriver",
        &["ATTACHREQUIRED", "PODINFOONMOUNT", "STORAGECAPACITY", "TOKENREQUESTS", "REQUIRESREPUBLISH", "MODES", "AGE"],
        |view| {
            let flag =
                |field: &str, other: bool| view.at(&format!("/spec/{field}")).as_bool().unwrap_or(other).to_string();
            let list = |pointer: &str, of: fn(&Value) -> String, none: &str| {
                or(&view.items(pointer).iter().map(of).collect::<Vec<_>>().join(","), none)
            };
            vec![
                flag("attachRequired", true),
                flag("podInfoOnMount", false),
                flag("storageCapacity", false),
                list("/spec/tokenRequests", |one| scalar(&one["audience"]), "<unset>"),
                flag("requiresRepublish", false),
                list("/spec/volumeLifecycleModes", scalar, NONE),
                view.age(),
            ]
        },
    ),
    Kind::new("CSINode", &["DRIVERS", "AGE"], |view| vec![view.count("/spec/drivers").to_string(), view.age()]),
];

/// A class by its field, or by the annotation that came before it.
fn class(view: &View<'_>) -> String {
    let old = view.at("/metadata/annotations")["volume.beta.kubernetes.io/storage-class"].as_str();
    old.unwrap_or_else(|| view.text("/spec/storageClassName")).to_owned()
}

fn phase(view: &View<'_>) -> String {
    if view.has("/metadata/deletionTimestamp") {
        "Terminating".to_owned()
    } else {
        view.text("/status/phase").to_owned()
    }
}

fn access_modes(view: &View<'_>, pointer: &str) -> String {
    let all =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| view.items(pointer).iter().any(|one| one == mode);
    all.into_iter().filter(|(mode, _)| has(mode)).map(|(_, short)| short).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::row;

    #[test]
    fn volumes_and_claims() {
        let volume = json!({
            "spec": {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "storageClassName": "fast",
                     "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "shop", "name": "data"}, "volumeMode": "Block"},
            "status": {"phase": "Bound"},
        });
        let shown = ["10Gi", "RWO,RWX", "Retain", "Bound", "shop/data", "fast", "<unset>", "", "<unknown>", "Block"];
        assert_eq!(row("PersistentVolume", true, &volume), shown);
        let claim = json!({
            "metadata": {"deletionTimestamp": "2026-11-21T05:00:00Z"},
            "spec": {"volumeName": "pv1", "storageClassName": "fast"},
            "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOncePod"]},
        });
        assert_eq!(row("PersistentVolumeClaim", false, &claim)[..5], ["Terminating", "pv1", "10Gi", "RWOP", "fast"]);
        let unbound = json!({"spec": {}, "status": {"phase": "Pending", "capacity": {"storage": "1Gi"}}});
        assert_eq!(row("PersistentVolumeClaim", false, &unbound)[..4], ["Pending", "", "", ""]);
    }

    #[test]
    fn classes() {
        let class = json!({"provisioner": "csi.example.com", "reclaimPolicy": "Retain", "allowVolumeExpansion": true});
        assert_eq!(row("StorageClass", false, &class)[..4], ["csi.example.com", "Retain", "Immediate", "true"]);
    }
}
