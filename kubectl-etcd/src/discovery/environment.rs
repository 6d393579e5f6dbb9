//! The environment of a container, as the kubelet makes it, and what it fills into the command line: `$(VAR)`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret};
use kube::api::Api;

use super::command_line::{UNKNOWN, Word};
use crate::connection::Connection;

/// A Secret or a ConfigMap, by its kind and name.
type Source = (&'static str, String);

/// What Secrets and ConfigMaps hold, or why they were not read.
#[derive(Debug, Default)]
pub(super) struct Sources(HashMap<Source, Result<BTreeMap<String, String>, String>>);

impl Sources {
    /// Reads those that etcd's containers take their variables from. What the user may not read is not known.
    pub(super) async fn read(connection: &Connection, namespace: &str, pods: &[Pod]) -> Sources {
        let containers = pods.iter().filter_map(|pod| super::member::etcd_container(pod.spec.as_ref()?));
        let wanted: BTreeSet<Source> = containers.flat_map(sources).collect();
        let client = &connection.client;
        let read = wanted.into_iter().map(|source| async move {
            let name = source.1.as_str();
            let values = match source.0 {
                "Secret" => Api::<Secret>::namespaced(client.clone(), namespace).get(name).await.map(|secret| {
                    let text =
                        |(key, value): (String, k8s_openapi::ByteString)| Some((key, String::from_utf8(value.0).ok()?));
                    secret.data.into_iter().flatten().filter_map(text).collect()
                }),
                _ => Api::<ConfigMap>::namespaced(client.clone(), namespace)
                    .get(name)
                    .await
                    .map(|map| map.data.unwrap_or_default()),
            };
            let why = |error: kube::Error| crate::output::Failed::plain("it cannot be read").source(&error).one_line();
            let values = values.map_err(why);
            (source, values)
        });
        Sources(join_all(read).await.into_iter().collect())
    }

    /// A value, or why it is not known.
    fn value(&self, (kind, name): Source, key: &str) -> Result<String, String> {
        let described = format!("{kind} {name}");
        match self.0.get(&(kind, name)) {
            Some(Ok(values)) => values.get(key).cloned().ok_or_else(|| format!("{described} has no {key}")),
            Some(Err(why)) => Err(format!("it comes from {described}: {why}")),
            None => Err(format!("it comes from {described}")),
        }
    }
}

/// What a container's variables are taken from.
fn sources(container: &Container) -> Vec<Source> {
    let single =
        container.env.iter().flatten().filter_map(|variable| Some(reference(variable.value_from.as_ref()?)?.0));
    let whole = container.env_from.iter().flatten().flat_map(|from| {
        let secret = from.secret_ref.as_ref().map(|one| ("Secret", one.name.clone()));
        secret.into_iter().chain(from.config_map_ref.as_ref().map(|one| ("ConfigMap", one.name.clone())))
    });
    single.chain(whole).collect()
}

/// The object and the key that a variable is taken from.
fn reference(from: &EnvVarSource) -> Option<(Source, &str)> {
    let secret = from.secret_key_ref.as_ref().map(|one| (("Secret", one.name.clone()), one.key.as_str()));
    secret.or_else(|| from.config_map_key_ref.as_ref().map(|one| (("ConfigMap", one.name.clone()), one.key.as_str())))
}

/// A container's variables.
#[derive(Debug, Default, Clone)]
pub(super) struct Environment {
    /// Values, or why they are not known.
    pub(super) variables: BTreeMap<String, Result<String, String>>,
    /// Why there may be variables that are not among them.
    pub(super) more: Option<String>,
}

impl Environment {
    /// Of a container: kubernetes pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables @ v1.36.0.
    pub(super) fn of(pod: &Pod, container: &Container, sources: &Sources) -> Environment {
        let mut environment = Environment::default();
        for from in container.env_from.iter().flatten() {
            let secret = from.secret_ref.as_ref().map(|one| ("Secret", one.name.clone()));
            let Some(source) =
                secret.or_else(|| from.config_map_ref.as_ref().map(|one| ("ConfigMap", one.name.clone())))
            else {
                continue;
            };
            let prefix = from.prefix.as_deref().unwrap_or_default();
            match sources.0.get(&source) {
                Some(Ok(values)) => {
                    let values = values.iter().map(|(key, value)| (format!("{prefix}{key}"), Ok(value.clone())));
                    environment.variables.extend(values);
                }
                _ => {
                    environment.more =
                        Some(format!("variables come from {} {}, which was not read", source.0, source.1))
                }
            }
        }
        for variable in container.env.iter().flatten() {
            let value = environment.value(variable, pod, sources);
            environment.variables.insert(variable.name.clone(), value);
        }
        environment
    }

    fn value(&self, variable: &EnvVar, pod: &Pod, sources: &Sources) -> Result<String, String> {
        let Some(from) = &variable.value_from else {
            let word = self.fill_in(variable.value.as_deref().unwrap_or_default());
            return word.why.map_or(Ok(word.text), Err);
        };
        match (&from.field_ref, reference(from)) {
            (Some(field), _) => of_field(pod, &field.field_path)
                .ok_or_else(|| format!("it is the pod's {}, which the API does not show", field.field_path)),
            (_, Some((source, key))) => sources.value(source, key),
            _ => Err("it comes from where the API does not show it".to_owned()),
        }
    }

    /// A variable; `None` if it is set nowhere.
    pub(super) fn get(&self, name: &str) -> Option<Result<&str, String>> {
        match self.variables.get(name) {
            Some(Ok(value)) => Some(Ok(value)),
            Some(Err(why)) => Some(Err(format!("{name} is not known: {why}"))),
            None => self.more.as_ref().map(|why| Err(format!("{name} is not known: {why}"))),
        }
    }

    /// Fills in `$(VAR)`; `$$` stands for `$`: kubernetes third_party/forked/golang/expansion/expand.go @ v1.36.0. What is not set stays as it
    /// is written there, which no program of the control plane means: it is not known either.
    pub(super) fn fill_in(&self, text: &str) -> Word {
        let mut word = Word::default();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            word.text.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                word.text.push('$');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
                match self.get(name) {
                    Some(Ok(value)) => word.text.push_str(value),
                    Some(Err(why)) => word.unknown(why),
                    None => word.unknown(format!("{name} is set nowhere in the pod")),
                }
                rest = after;
            } else {
                word.text.push('$');
            }
        }
        word.text.push_str(rest);
        word
    }
}

/// A field of a pod that a variable can be taken from. The UID of a static pod is another one on its node.
fn of_field(pod: &Pod, path: &str) -> Option<String> {
    let (metadata, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
    let value = match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "spec.nodeName" => spec?.node_name.clone(),
        "spec.serviceAccountName" => spec?.service_account_name.clone(),
        "status.hostIP" => status?.host_ip.clone(),
        "status.podIP" => status?.pod_ip.clone().or_else(|| status?.host_ip.clone()),
        "status.podIPs" => {
            Some(status?.pod_ips.as_ref()?.iter().map(|one| one.ip.as_str()).collect::<Vec<_>>().join(","))
        }
        "status.hostIPs" => {
            Some(status?.host_ips.as_ref()?.iter().map(|one| one.ip.as_str()).collect::<Vec<_>>().join(","))
        }
        path => {
            let key = |kind: &str| path.strip_prefix(kind)?.strip_prefix("['")?.strip_suffix("']");
            match (key("metadata.labels"), key("metadata.annotations")) {
                (Some(key), _) => metadata.labels.as_ref()?.get(key).cloned(),
                (_, Some(key)) => metadata.annotations.as_ref()?.get(key).cloned(),
                _ => None,
            }
        }
    };
    value.filter(|value| !value.is_empty() && !value.contains(UNKNOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "etcd-cp1", "labels": {"zone": "a"}},
            "spec": {"nodeName": "cp1", "containers": [{"name": "etcd",
                "envFrom": [{"configMapRef": {"name": "common"}, "prefix": "C_"}],
                "env": [
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "ZONE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['zone']"}}},
                    {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                    {"name": "URL", "value": "https://$(IP):$(C_PORT)"},
                    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
                    {"name": "HIDDEN", "valueFrom": {"secretKeyRef": {"name": "no", "key": "token"}}},
                ]}]},
            "status": {"hostIP": "10.0.0.1"}}))
        .expect("a pod");
        let of = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let sources = Sources(HashMap::from([
            (("ConfigMap", "common".to_owned()), Ok(of("PORT", "2379"))),
            (("Secret", "s".to_owned()), Ok(of("token", "t"))),
            (("Secret", "no".to_owned()), Err("forbidden".to_owned())),
        ]));
        let containers = &pod.spec.as_ref().expect("a spec").containers;
        assert_eq!(super::sources(&containers[0]).len(), 3);
        Environment::of(&pod, &containers[0], &sources)
    }

    #[test]
    fn variables_of_every_kind_are_filled_in_as_the_kubelet_does() {
        let environment = environment();
        for (text, filled) in [
            ("--name=$(NODE)-$(ZONE)", "--name=cp1-a"),
            ("$(URL)", "https://10.0.0.1:2379"),
            ("$(TOKEN)", "t"),
            // Escaped, not closed, and no reference at all.
            ("$$(NODE) $(NODE $NODE ${NODE} 1$", "$(NODE) $(NODE $NODE ${NODE} 1$"),
        ] {
            let word = environment.fill_in(text);
            assert_eq!((word.text.as_str(), word.why), (filled, None), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_told_and_never_taken_literally() {
        let environment = environment();
        for (text, why) in [
            ("a$(HIDDEN)b", "HIDDEN is not known: it comes from Secret no: forbidden"),
            ("$(UID)", "UID is not known: it is the pod's metadata.uid, which the API does not show"),
            ("$(NOPE)", "NOPE is set nowhere in the pod"),
        ] {
            let word = environment.fill_in(text);
            assert_eq!(word.why.as_deref(), Some(why));
            assert!(word.text.contains(UNKNOWN) && !word.text.contains('$'), "{:?}", word.text);
        }
    }
}
