//! etcd's manifest while its member joins: that of the node, but for the two flags by which etcd without data finds its cluster. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::node::Manifest;

/// The flags that differ.
const CLUSTER: &str = "initial-cluster";
const STATE: &str = "initial-cluster-state";
/// Flags with which etcd would take its cluster from elsewhere, or make one of its own.
const OTHERS: [&str; 4] = ["config-file", "force-new-cluster", "discovery", "discovery-srv"];

/// The contents of a manifest that starts etcd as a new member of an existing cluster, as JSON, which the kubelet takes as well as YAML: every string is
/// in quotes there. The file's own bytes come back later.
///
/// # Errors
/// Why the manifest cannot be changed in this way.
pub(super) fn joining(original: &[u8], initial_cluster: &str) -> Result<Vec<u8>, String> {
    let before = etcd(original)?;
    if let Some(flag) = OTHERS.into_iter().find(|flag| before.flag(flag).is_some_and(|value| value != "false")) {
        return Err(format!("etcd has the flag --{flag}"));
    }
    let document = serde_yaml_ng::Deserializer::from_slice(original).next().ok_or("there is nothing in it")?;
    let mut pod = Value::deserialize(document).map_err(|_| "it cannot be written anew".to_owned())?;
    let containers = pod.pointer_mut("/spec/containers").and_then(Value::as_array_mut);
    let of_etcd = |container: &&mut Value| {
        let words = ["command", "args"].map(|list| words(container, list));
        words.concat() == before.argv
    };
    let container = containers.and_then(|all| all.iter_mut().find(of_etcd)).ok_or("its container is not found")?;
    let lists = ["command", "args"].map(|list| (list, words(container, list)));
    if lists.iter().any(|(_, words)| words.iter().any(|word| word == "-c")) {
        return Err("etcd is started by a shell".to_owned());
    }
    let last = if lists[1].1.is_empty() { "command" } else { "args" };
    for (list, old) in lists {
        let mut new = without(&old);
        if list == last {
            new.extend([format!("--{CLUSTER}={initial_cluster}"), format!("--{STATE}=existing")]);
        }
        if new != old {
            container[list] = Value::from(new);
        }
    }
    let bytes = serde_json::to_vec_pretty(&pod).map_err(|_| "it cannot be written anew".to_owned())?;
    let after = etcd(&bytes)?;
    let joins = after.flag(CLUSTER) == Some(initial_cluster) && after.flag(STATE) == Some("existing");
    match joins && without(&after.argv) == without(&before.argv) {
        true => Ok(bytes),
        false => Err("its flags cannot be changed alone".to_owned()),
    }
}

fn etcd(contents: &[u8]) -> Result<Manifest, String> {
    match Manifest::parse("", contents)? {
        Some(("etcd", manifest)) => Ok(manifest),
        _ => Err("it is not that of etcd".to_owned()),
    }
}

fn words(container: &Value, list: &str) -> Vec<String> {
    let words = container[list].as_array().into_iter().flatten();
    words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect()
}

/// The words without the flags that differ, with their values.
fn without(words: &[String]) -> Vec<String> {
    let mut rest = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let flag = word.strip_prefix('-').map(|flag| flag.strip_prefix('-').unwrap_or(flag));
        match flag.map(|flag| flag.split_once('=').map_or((flag, false), |(name, _)| (name, true))) {
            Some((CLUSTER | STATE, true)) => {}
            Some((CLUSTER | STATE, false)) => drop(words.next_if(|next| !next.starts_with('-'))),
            _ => rest.push(word.clone()),
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What kubeadm 1.36 wrote for etcd 3.6.14.
    const KUBEADM: &str = include_str!("../../../../tests/data/kubeadm/cp1/manifests/etcd.yaml");
    const ALL: &str = "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380";

    #[test]
    fn only_the_flags_of_the_cluster_differ() {
        let original: Value = serde_yaml_ng::from_str(KUBEADM).unwrap();
        let json = serde_json::to_string(&original).unwrap();
        for text in [KUBEADM.to_owned(), json, KUBEADM.replace('\n', "\r\n")] {
            let bytes = joining(text.as_bytes(), ALL).unwrap();
            let mut pod: Value = serde_json::from_slice(&bytes).unwrap();
            let command = &mut pod["spec"]["containers"][0]["command"];
            let words: Vec<String> = serde_json::from_value(command.clone()).unwrap();
            let mut ours: Vec<&String> = words.iter().filter(|word| word.starts_with("--initial-cluster")).collect();
            ours.sort();
            assert_eq!(ours, [&"--initial-cluster-state=existing".to_owned(), &format!("--initial-cluster={ALL}")]);
            // All else is as it was.
            *command = original["spec"]["containers"][0]["command"].clone();
            assert_eq!(pod, original);
            // Made of what it has made, it is the same.
            let again = joining(&bytes, ALL).unwrap();
            assert_eq!(again, bytes);
        }
    }

    #[test]
    fn flags_stand_where_they_stood_and_however_they_are_written() {
        let pod = |lists: &str| {
            format!(
                "kind: Pod\nmetadata: {{name: etcd, namespace: kube-system}}\nspec: {{containers: [{{name: x, {lists}}}]}}\n"
            )
        };
        let made = |lists: &str| -> Value {
            let bytes = joining(pod(lists).as_bytes(), "a=https://a").unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap()["spec"]["containers"][0].clone()
        };
        let ours = ["--initial-cluster=a=https://a", "--initial-cluster-state=existing"];
        let with = |words: &[&str]| Value::from([words, &ours].concat());
        assert_eq!(made("command: [etcd, --name=a]")["command"], with(&["etcd", "--name=a"]));
        let apart =
            made("command: [etcd], args: [-initial-cluster, b=https://b, --initial-cluster-state=new, --name, a]");
        assert_eq!((&apart["command"], &apart["args"]), (&Value::from(vec!["etcd"]), &with(&["--name", "a"])));
        for (lists, why) in [
            ("command: [sh, -c, etcd --name=a]", "a shell"),
            ("command: [etcd, --config-file=/etc/etcd.yaml]", "--config-file"),
            ("command: [etcd, --force-new-cluster]", "--force-new-cluster"),
            ("command: [etcd, --discovery=https://d]", "--discovery"),
        ] {
            let refused = joining(pod(lists).as_bytes(), "a=https://a").unwrap_err();
            assert!(refused.contains(why), "{lists}: {refused}");
        }
        assert!(joining(b"kind: Secret", ALL).is_err() && joining(b"", ALL).is_err());
    }
}
