//! What a drill will do. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::output::{API_VERSION, bytes};

/// What was found out before.
#[derive(Debug)]
pub(super) struct Facts {
    /// The backup, as it was typed.
    pub(super) file: String,
    /// Bytes of the snapshot, and whether there may be more: the file is compressed.
    pub(super) size: u64,
    pub(super) at_least: bool,
    /// Where it is drilled.
    pub(super) place: Place,
    /// Whether an encryption configuration is given.
    pub(super) decrypts: bool,
    /// Whether what was proved is written into the store.
    pub(super) attests: bool,
}

/// Where a backup is drilled, and by which etcd.
#[derive(Debug)]
pub(super) enum Place {
    /// On this machine.
    Here {
        /// The program and its version.
        etcd: String,
        etcd_version: String,
        /// Where the folder is made.
        parent: String,
    },
    /// In a container on this machine.
    Container {
        /// `docker` or `podman`.
        engine: &'static str,
        image: String,
        /// Not known before the image is pulled.
        etcd_version: Option<String>,
        /// Where the folder is made.
        parent: String,
    },
    /// In a pod.
    Pod {
        /// etcd's image.
        image: String,
        node: String,
        /// Namespace of the pod.
        namespace: String,
        /// The API server's image, if it is started, too.
        api_server: Option<String>,
    },
}

/// What will be done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    api_version: &'static str,
    kind: &'static str,
    file: String,
    #[serde(flatten)]
    place: Shown,
    /// Bytes that it takes there, at least.
    needs: u64,
    /// In their order.
    steps: Vec<String>,
}

/// [`Place`], as data.
#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Shown {
    Here {
        etcd: String,
        etcd_version: String,
        /// The folder in which one is made for the drill.
        data_dir: String,
    },
    Container {
        image: String,
        engine: &'static str,
        etcd_version: Option<String>,
        data_dir: String,
    },
    Pod {
        image: String,
        node: String,
        namespace: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        api_server_image: Option<String>,
    },
}

impl Plan {
    /// By what is known.
    pub(super) fn of(facts: Facts) -> Plan {
        let needs = etcd_drill::needs(facts.size);
        let least = if facts.at_least { "at least " } else { "" };
        let room = format!("{least}{}", bytes(needs));
        let mut steps = Vec::new();
        if let Place::Container { engine, image, etcd_version: None, .. } = &facts.place {
            steps.push(format!("pull image {image} with {engine}, and refuse it if it has no etcd"));
        }
        steps.push(format!("open and verify {} on this machine", facts.file));
        match &facts.place {
            Place::Here { etcd, etcd_version, parent } => {
                steps.push(format!("restore it to a new folder in {parent}, which needs {room}"));
                steps.push(format!(
                    "start {etcd} (etcd {etcd_version}) there, on sockets that only this command can use"
                ));
            }
            Place::Container { engine, image, etcd_version, parent } => {
                steps.push(format!("restore it to a new folder in {parent}, which needs {room}"));
                let version = etcd_version.as_ref().map(|version| format!(" (etcd {version})")).unwrap_or_default();
                steps.push(format!(
                    "start the etcd of image {image}{version} in a container of {engine}, which sees nothing but that folder and has no network"
                ));
            }
            Place::Pod { image, node, namespace, .. } => {
                steps.push(format!("create a pod in namespace {namespace} on node {node}, of image {image}"));
                steps.push("send the snapshot to it, in clear, through the API server".to_owned());
                steps.push(format!("restore it to a volume of the pod, which needs {room}"));
                steps.push("start etcd there, which only the pod can use".to_owned());
            }
        }
        steps.extend([
            "compare revision, HashKV, number of keys and kube-system UID with the record".to_owned(),
            "read one object of every resource through etcd".to_owned(),
        ]);
        if facts.decrypts {
            steps.push("decrypt one value of every encryption key".to_owned());
        }
        if let Place::Pod { api_server: Some(image), .. } = &facts.place {
            steps.push(format!("start the kube-apiserver of image {image} on that etcd, which only the pod can use"));
            steps.push("list every resource through it, and compare the numbers with etcd's".to_owned());
        }
        steps.push(match facts.place {
            Place::Here { .. } => "stop etcd, and remove the folder".to_owned(),
            Place::Container { .. } => "remove the container and the folder".to_owned(),
            Place::Pod { .. } => "delete the pod, and its volume with it".to_owned(),
        });
        if facts.attests {
            steps.push("write into the store that a real etcd has served the backup".to_owned());
        }
        Plan {
            api_version: API_VERSION,
            kind: "DrillPlan",
            file: facts.file,
            place: match facts.place {
                Place::Here { etcd, etcd_version, parent } => Shown::Here { etcd, etcd_version, data_dir: parent },
                Place::Container { engine, image, etcd_version, parent } => {
                    Shown::Container { image, engine, etcd_version, data_dir: parent }
                }
                Place::Pod { image, node, namespace, api_server } => {
                    Shown::Pod { image, node, namespace, api_server_image: api_server }
                }
            },
            needs,
            steps,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::from(match self.place {
            Shown::Here { .. } | Shown::Container { .. } => "Would do, and changes no cluster:\n",
            Shown::Pod { .. } => "Would do, and changes nothing of the cluster but the pod:\n",
        });
        for (number, step) in (1..).zip(&self.steps) {
            let _ = writeln!(text, "  {number}. {step}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            file: "a.db".into(),
            size: 1_000_000,
            at_least: false,
            place: Place::Here { etcd: "/bin/etcd".into(), etcd_version: "3.5.16".into(), parent: "/tmp".into() },
            decrypts: false,
            attests: false,
        }
    }

    #[test]
    fn a_plan_says_what_is_done_and_only_that() {
        let plain = Plan::of(facts());
        assert_eq!(plain.steps.len(), 6);
        assert!(
            plain.text().contains("  2. restore it to a new folder in /tmp, which needs 129 MB\n"),
            "{}",
            plain.text()
        );
        assert!(plain.text().ends_with("  6. stop etcd, and remove the folder\n"), "{}", plain.text());
        let more = Plan::of(Facts { decrypts: true, attests: true, at_least: true, ..facts() });
        assert_eq!(more.steps.len(), 8);
        assert!(more.steps[1].contains("at least") && more.steps[7].contains("into the store"), "{more:?}");
        let json = serde_json::to_value(&more).unwrap();
        assert_eq!((&json["dataDir"], &json["image"]), (&"/tmp".into(), &serde_json::Value::Null));
        let container = |etcd_version: Option<&str>| Place::Container {
            engine: "podman",
            image: "etcd:3.5".into(),
            etcd_version: etcd_version.map(str::to_owned),
            parent: "/tmp".into(),
        };
        let known = Plan::of(Facts { place: container(Some("3.5.16")), ..facts() });
        assert_eq!(known.steps.len(), 6);
        assert!(known.steps[2].contains("image etcd:3.5 (etcd 3.5.16) in a container of podman"), "{known:?}");
        let json = serde_json::to_value(&known).unwrap();
        assert_eq!((&json["engine"], &json["dataDir"]), (&"podman".into(), &"/tmp".into()));
        let pulled = Plan::of(Facts { place: container(None), ..facts() });
        assert!(pulled.steps.len() == 7 && pulled.steps[0].starts_with("pull image etcd:3.5"), "{pulled:?}");
        let place = |api_server: Option<&str>| Place::Pod {
            image: "etcd:3.5".into(),
            node: "cp1".into(),
            namespace: "kube-system".into(),
            api_server: api_server.map(str::to_owned),
        };
        let pod = Plan::of(Facts { place: place(None), ..facts() });
        assert_eq!(pod.steps.len(), 8);
        assert_eq!(pod.steps[1], "create a pod in namespace kube-system on node cp1, of image etcd:3.5");
        assert!(pod.text().contains("nothing of the cluster but the pod"), "{}", pod.text());
        let json = serde_json::to_value(&pod).unwrap();
        assert_eq!((&json["node"], &json["dataDir"]), (&"cp1".into(), &serde_json::Value::Null));
        let more = Plan::of(Facts { place: place(Some("api:1")), ..facts() });
        assert!(more.steps.len() == 10 && more.steps[7].contains("the kube-apiserver of image api:1"), "{more:?}");
        assert_eq!(serde_json::to_value(&more).unwrap()["apiServerImage"], "api:1");
    }
}
