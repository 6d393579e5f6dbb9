//! One static pod's manifest: which component of the control plane it starts, with which words and which folders. A systemd unit of etcd is taken for a pod
//! that sees the whole node.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::document;

/// The manifest of one component, or the unit that starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Name of the file in the manifests folder; of a unit, its name.
    pub(crate) file: String,
    /// Its container's command, and the arguments after it.
    pub(crate) argv: Vec<String>,
    /// Its container's image; empty if none is named.
    pub(crate) image: String,
    /// Namespace and name of its pod, `kube-system/etcd`. The kubelet adds the name of the node. Empty for a unit.
    pub(crate) pod: String,
    /// The unit that starts it, where the kubelet does not.
    pub(crate) unit: Option<UnitFile>,
    /// Flags by name, without dashes.
    flags: BTreeMap<String, String>,
    mounts: Vec<Mount>,
}

/// A systemd unit of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitFile {
    /// Its file.
    pub(crate) path: String,
    /// The command line of its process.
    pub(crate) argv: Vec<String>,
    /// What counts of its settings, by the names of flags, with paths of the node.
    pub(crate) settings: BTreeMap<String, String>,
    /// The data directory as it stands in the environment of the process, if it does.
    pub(crate) data_dir_variable: Option<String>,
}

/// A folder or file that the container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// Where it is in the container.
    inside: PathBuf,
    /// Where it is on the node; `None` if it is not the node's.
    host: Option<PathBuf>,
}

/// The components that stop while a control plane is restored.
pub(super) const COMPONENTS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

impl Manifest {
    /// Reads one file's contents, YAML or JSON: the component that it starts, of [`COMPONENTS`], and how. `None` for a pod that is
    /// none of them.
    ///
    /// # Errors
    /// It is no pod.
    pub(crate) fn parse(file: &str, contents: &[u8]) -> Result<Option<(&'static str, Manifest)>, String> {
        let pod: Pod = document::parse(contents)?;
        if pod.kind != "Pod" {
            return Err("it is no Pod".to_owned());
        }
        let Some(component) = pod.component() else { return Ok(None) };
        let container = pod.container(component).ok_or("its pod has no container")?;
        let argv: Vec<String> = container.command.iter().chain(&container.args).cloned().collect();
        let mut flags = flags(&argv, container.command.iter().any(|word| word == "-c"));
        if component == "etcd" {
            // etcd reads its flags from the environment, too: ETCD_DATA_DIR is --data-dir. Flags win.
            for variable in &container.env {
                if let (Some(name), Some(value)) = (variable.name.strip_prefix("ETCD_"), &variable.value) {
                    flags.entry(name.to_lowercase().replace('_', "-")).or_insert_with(|| value.clone());
                }
            }
        }
        let mounts = container.volume_mounts.iter().map(|mount| pod.follow(mount)).collect();
        let namespace = Some(pod.metadata.namespace.as_str()).filter(|name| !name.is_empty()).unwrap_or("default");
        let name = format!("{namespace}/{}", pod.metadata.name);
        let (file, image) = (file.to_owned(), container.image.clone());
        Ok(Some((component, Manifest { file, argv, image, pod: name, unit: None, flags, mounts })))
    }

    /// A unit as a manifest of a pod that sees the whole node.
    pub(super) fn of_unit(unit: UnitFile) -> Manifest {
        let whole = Mount { inside: "/".into(), host: Some("/".into()) };
        Manifest {
            file: unit.path.rsplit('/').next().unwrap_or_default().to_owned(),
            argv: unit.argv.clone(),
            image: String::new(),
            pod: String::new(),
            flags: unit.settings.clone(),
            mounts: vec![whole],
            unit: Some(unit),
        }
    }

    /// A flag's value: `--name=value` or `--name value`, with one dash or two, and `true` for a bare switch. The last one wins.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Where a path of the container is on the node, by the longest mount that holds it; `None` if that is not the node's.
    pub(crate) fn host_path(&self, path_in_container: &str) -> Option<PathBuf> {
        let path = plain(path_in_container)?;
        let holds = |mount: &&Mount| path.starts_with(&mount.inside);
        let mount = self.mounts.iter().filter(holds).max_by_key(|mount| mount.inside.components().count())?;
        let rest = path.strip_prefix(&mount.inside).ok()?;
        // Joining nothing would leave a slash at the end.
        mount.host.as_deref().map(|host| if rest == Path::new("") { host.to_owned() } else { host.join(rest) })
    }
}

/// Flags by name; of a shell's script, those of all its words.
pub(super) fn flags(argv: &[String], script: bool) -> BTreeMap<String, String> {
    let split = |word: &String| -> Vec<String> {
        if script {
            word.split_whitespace().map(|word| word.replace(['"', '\''], "")).collect()
        } else {
            vec![word.clone()]
        }
    };
    let mut flags = BTreeMap::new();
    let mut words = argv.iter().flat_map(split).peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix('-').map(|rest| rest.strip_prefix('-').unwrap_or(rest)) else { continue };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (flag, words.next_if(|next| !next.starts_with('-')).unwrap_or_else(|| "true".to_owned())),
        };
        flags.insert(name.to_owned(), value);
    }
    flags
}

/// An absolute path without a way up, which the names alone could not follow.
fn plain(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let up = path.components().any(|part| part == Component::ParentDir);
    // By its components, so that no slash is left at the end.
    (path.is_absolute() && !up).then(|| path.components().collect())
}

/// What counts of a pod. Whatever else it has is the kubelet's business.
#[derive(Debug, Deserialize)]
struct Pod {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    containers: Vec<Container>,
    volumes: Option<Vec<Volume>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: String,
    #[serde(default, deserialize_with = "nothing_is_empty")]
    command: Vec<String>,
    #[serde(default, deserialize_with = "nothing_is_empty")]
    args: Vec<String>,
    #[serde(default, deserialize_with = "nothing_is_empty")]
    env: Vec<Variable>,
    #[serde(default, deserialize_with = "nothing_is_empty")]
    volume_mounts: Vec<VolumeMount>,
}

#[derive(Debug, Deserialize)]
struct Variable {
    name: String,
    value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeMount {
    name: String,
    mount_path: String,
    sub_path: Option<String>,
    sub_path_expr: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    host_path: Option<HostPath>,
}

#[derive(Debug, Deserialize)]
struct HostPath {
    path: String,
}

/// A list that is written as nothing (`args:`) is an empty one.
fn nothing_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Pod {
    /// Which component of the control plane it is: by kubeadm's labels, or else by its name.
    fn component(&self) -> Option<&'static str> {
        let metadata = &self.metadata;
        if metadata.namespace != "kube-system" {
            return None;
        }
        let label = |name: &str| metadata.labels.as_ref()?.get(name).map(String::as_str);
        let labelled = label("component").filter(|_| label("tier") == Some("control-plane"));
        let known = |name: &str| COMPONENTS.into_iter().find(|&component| component == name);
        labelled.and_then(known).or_else(|| known(&metadata.name))
    }

    /// The container that the component is: the one with its name, or that starts it, or the first.
    fn container(&self, component: &str) -> Option<&Container> {
        let all = &self.spec.containers;
        let starts = |word: &String| Path::new(word).file_name().is_some_and(|name| name == component);
        let named = all.iter().find(|container| container.name == component);
        let starting = || all.iter().find(|one| one.command.iter().chain(&one.args).any(starts));
        named.or_else(starting).or_else(|| all.first())
    }

    fn follow(&self, mount: &VolumeMount) -> Mount {
        let volume = self.spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
        let folder = volume.and_then(|volume| plain(&volume.host_path.as_ref()?.path));
        let host = match (folder, &mount.sub_path, &mount.sub_path_expr) {
            (folder, None, None) => folder,
            (Some(folder), Some(sub), None) => plain(&format!("{}/{sub}", folder.display())),
            // What an expression stands for, only the kubelet knows.
            _ => None,
        };
        Mount { inside: Path::new(&mount.mount_path).components().collect(), host }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(&'static str, Manifest)> {
        Manifest::parse("a.yaml", text.as_bytes()).unwrap()
    }

    fn of(container: &serde_json::Value, volumes: &serde_json::Value) -> Manifest {
        let pod = serde_json::json!({
            "kind": "Pod", "metadata": {"name": "etcd", "namespace": "kube-system"},
            "spec": {"containers": [container], "volumes": volumes},
        });
        parse(&pod.to_string()).unwrap().1
    }

    #[test]
    fn every_form_of_a_flag_is_read() {
        let container = serde_json::json!({
            "command": ["etcd", "--name=a", "-data-dir", "/d", "--force"],
            "args": ["--empty=", "--name=b"],
            "env": [{"name": "ETCD_NAME", "value": "c"}, {"name": "ETCD_WAL_DIR", "value": "/w"}, {"name": "X"}],
        });
        let etcd = of(&container, &serde_json::Value::Null);
        assert_eq!(etcd.argv, ["etcd", "--name=a", "-data-dir", "/d", "--force", "--empty=", "--name=b"]);
        for (name, value) in [
            ("name", Some("b")),
            ("data-dir", Some("/d")),
            ("force", Some("true")),
            ("empty", None),
            ("wal-dir", Some("/w")),
            ("nothing", None),
        ] {
            assert_eq!(etcd.flag(name), value, "{name}");
        }
        let script = of(
            &serde_json::json!({"command": ["sh", "-c", "exec etcd --name=x --data-dir='/d'"]}),
            &serde_json::Value::Null,
        );
        assert_eq!((script.flag("name"), script.flag("data-dir")), (Some("x"), Some("/d")));
    }

    #[test]
    fn paths_follow_the_longest_mount_to_the_node() {
        let mount = |name: &str, path: &str| serde_json::json!({"name": name, "mountPath": path});
        let mut sub = mount("data", "/sub/");
        sub["subPath"] = "a/b".into();
        let mut expression = mount("data", "/expression");
        expression["subPathExpr"] = "$(NODE)".into();
        let etcd = of(
            &serde_json::json!({"volumeMounts": [
                mount("data", "/var/lib/etcd/"), mount("memory", "/var/lib/etcd/tmp"), sub, expression,
                mount("file", "/etc/enc.yaml"), mount("no-such", "/none"),
            ]}),
            &serde_json::json!([
                {"name": "data", "hostPath": {"path": "/mnt/disk/"}},
                {"name": "memory", "emptyDir": {}},
                {"name": "file", "hostPath": {"path": "/srv/enc.yaml", "type": "File"}},
            ]),
        );
        for (inside, host) in [
            ("/var/lib/etcd", Some("/mnt/disk")),
            ("/var/lib/etcd/member/", Some("/mnt/disk/member")),
            ("/var/lib/etcd-other", None),
            ("/var/lib/etcd/tmp/x", None),
            ("/var/lib/etcd/../shadow", None),
            ("var/lib/etcd", None),
            ("/sub/c", Some("/mnt/disk/a/b/c")),
            ("/expression/c", None),
            ("/etc/enc.yaml", Some("/srv/enc.yaml")),
            ("/none/x", None),
            ("/", None),
        ] {
            // As text: a path with a slash at its end would be equal to one without.
            let found = etcd.host_path(inside).map(|path| path.display().to_string());
            assert_eq!(found.as_deref(), host, "{inside}");
        }
    }

    #[test]
    fn components_are_known_by_labels_or_else_by_name() {
        let pod = |metadata: &str| {
            format!(
                "kind: Pod\nmetadata: {{{metadata}}}\nspec: {{containers: [{{name: x, command: [etcd], args: }}]}}\n"
            )
        };
        let found = |metadata: &str| parse(&pod(metadata)).map(|(component, _)| component);
        let labels = "labels: {component: etcd, tier: control-plane}";
        assert_eq!(found(&format!("name: db, namespace: kube-system, {labels}")), Some("etcd"));
        assert_eq!(found("name: kube-scheduler, namespace: kube-system, labels: "), Some("kube-scheduler"));
        assert_eq!(found("name: db, namespace: kube-system, labels: {component: etcd}"), None);
        assert_eq!(found(&format!("name: etcd, {labels}")), None);
        // The kubelet takes the first document.
        let two = format!("{}---\nkind: Secret\n", pod("name: etcd, namespace: kube-system"));
        assert_eq!(parse(&two).map(|(component, _)| component), Some("etcd"));
        for wrong in ["", "kind: Secret", "- a", "{", "\u{0}", "kind: Pod\nmetadata: {name: [a]}"] {
            assert!(Manifest::parse("a.yaml", wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
