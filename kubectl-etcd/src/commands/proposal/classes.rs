//! Which objects a person would miss, which ones controllers create again, and which ones change by themselves: by their keys alone.

use etcd_objects::key::Place;
use serde::Serialize;

use super::object_changes::ChangeKind;
use crate::sidecar::POD_NAMES;

/// Namespace of the participants' pods: they are static pods, and always in this one.
const KUBE_SYSTEM: &str = "kube-system";
/// What the names of participants' pods begin with; the node's name follows.
const PARTICIPANTS: &str = "kubectl-etcd-restore-";

/// How an object is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Class {
    /// By its name: nothing creates it again by itself.
    Named,
    /// By its resource's number: usually a controller creates it again from other objects; the key does not tell.
    Derived,
    /// With `-o wide` only: it is written all the time.
    Heartbeat,
    /// With `-o wide` only: a pod of this program.
    Own,
}

impl Class {
    /// `pod_namespace` is where sidecars run.
    pub(super) fn of(place: &Place, kind: ChangeKind, pod_namespace: &str) -> Class {
        let group = place.group.as_deref().unwrap_or_default();
        let namespace = place.namespace.as_deref().unwrap_or_default();
        let name = place.name.as_str();
        match (group, place.resource.as_str()) {
            ("", "pods") if is_own(namespace, name, pod_namespace) => Class::Own,
            ("", "events") | ("events.k8s.io" | "coordination.k8s.io", _) => Class::Heartbeat,
            // A kubelet writes the status of its node every few minutes.
            ("", "nodes") if kind == ChangeKind::Changes => Class::Heartbeat,
            ("", "pods" | "endpoints")
            | ("apps", "replicasets" | "controllerrevisions")
            | ("discovery.k8s.io", "endpointslices")
            | ("networking.k8s.io", "ipaddresses")
            | ("storage.k8s.io", "csinodes" | "csistoragecapacities" | "volumeattachments")
            | ("certificates.k8s.io", "certificatesigningrequests") => Class::Derived,
            ("", "configmaps") if name == "kube-root-ca.crt" => Class::Derived,
            ("", "serviceaccounts") if name == "default" => Class::Derived,
            ("batch", "jobs") if is_of_cron_job(name) => Class::Derived,
            _ => Class::Named,
        }
    }
}

/// Whether a pod is a sidecar or a participant: by all of its name, so that no other program's pod is hidden.
fn is_own(namespace: &str, name: &str, pod_namespace: &str) -> bool {
    if namespace == KUBE_SYSTEM && name.starts_with(PARTICIPANTS) {
        return true;
    }
    let parts = name.strip_prefix(POD_NAMES).and_then(|rest| rest.split_once('-'));
    let is_sidecar = parts.is_some_and(|(node, suffix)| {
        node.len() == 8 && node.bytes().all(|byte| byte.is_ascii_hexdigit()) && suffix.len() == 5
    });
    is_sidecar && (namespace == KUBE_SYSTEM || namespace == pod_namespace)
}

/// Minutes since 1970 in which CronJobs run: from 2017 to 2046. A date like 20261121 is none.
const CRON_JOBS: std::ops::RangeInclusive<u32> = 25_000_000..=40_000_000;

/// Whether a CronJob's controller has named a job: after minutes since 1970.
fn is_of_cron_job(name: &str) -> bool {
    let digits = name.rsplit_once('-').map(|(_, digits)| digits).unwrap_or_default();
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse().is_ok_and(|minutes| CRON_JOBS.contains(&minutes))
}

/// How soon a resource is told: what holds others first, then what people run, then what that needs.
pub(super) fn rank(place: &Place) -> u8 {
    let group = place.group.as_deref().unwrap_or_default();
    match (group, place.resource.as_str()) {
        ("", "nodes") => 0,
        ("", "namespaces") | ("apiextensions.k8s.io", "customresourcedefinitions") => 1,
        ("apps" | "batch", _) => 2,
        ("", "services" | "persistentvolumeclaims" | "persistentvolumes") | ("networking.k8s.io", "ingresses") => 3,
        ("", "configmaps" | "secrets") => 4,
        (group, _) if !is_built_in(group) => 5,
        _ => 6,
    }
}

/// Whether a group is one of Kubernetes itself; the name of its resource is enough then.
pub(super) fn is_built_in(group: &str) -> bool {
    matches!(group, "" | "apps" | "batch" | "autoscaling" | "policy") || group.ends_with(".k8s.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(group: &str, resource: &str, namespace: &str, name: &str) -> Place {
        Place {
            group: Some(group.to_owned()),
            resource: resource.to_owned(),
            namespace: Some(namespace.to_owned()).filter(|name| !name.is_empty()),
            name: name.to_owned(),
        }
    }

    #[test]
    fn what_is_a_heartbeat_what_is_derived_and_what_is_missed() {
        use ChangeKind::{Changes, ComesBack, Vanishes};
        for (group, resource, namespace, name, kind, class) in [
            ("", "pods", "kube-system", "etcd-sidecar-0a1b2c3d-x4z9k", Vanishes, Class::Own),
            ("", "pods", "ops", "etcd-sidecar-0a1b2c3d-x4z9k", ComesBack, Class::Own),
            ("", "pods", "kube-system", "kubectl-etcd-restore-cp1", ComesBack, Class::Own),
            // Another program's pods, whatever they are called.
            ("", "pods", "shop", "etcd-sidecar-0a1b2c3d-x4z9k", Vanishes, Class::Derived),
            ("", "pods", "kube-system", "etcd-sidecar-7d9f8b6c4d-x4z9k", Vanishes, Class::Derived),
            ("", "pods", "shop", "kubectl-etcd-restore-cp1", Vanishes, Class::Derived),
            ("coordination.k8s.io", "leases", "kube-node-lease", "cp1", Changes, Class::Heartbeat),
            ("", "events", "default", "web.17c", Vanishes, Class::Heartbeat),
            ("", "nodes", "", "cp1", Changes, Class::Heartbeat),
            ("", "nodes", "", "cp1", Vanishes, Class::Named),
            ("", "nodes", "", "cp1", ComesBack, Class::Named),
            ("discovery.k8s.io", "endpointslices", "shop", "web-x", Changes, Class::Derived),
            ("", "configmaps", "shop", "kube-root-ca.crt", Vanishes, Class::Derived),
            ("", "configmaps", "shop", "web", Vanishes, Class::Named),
            ("batch", "jobs", "shop", "nightly-29411520", Vanishes, Class::Derived),
            ("batch", "jobs", "shop", "migrate-2", Vanishes, Class::Named),
            ("batch", "jobs", "shop", "migrate-20261121", Vanishes, Class::Named),
            ("batch", "jobs", "shop", "migrate-40000001", Vanishes, Class::Named),
            ("batch", "jobs", "shop", "migrate-+29411520", Vanishes, Class::Named),
            ("cert-manager.io", "certificates", "shop", "tls", Changes, Class::Named),
        ] {
            assert_eq!(Class::of(&place(group, resource, namespace, name), kind, "ops"), class, "{resource}/{name}");
        }
    }

    #[test]
    fn what_a_person_would_miss_first_is_told_first() {
        let order = [
            place("", "nodes", "", "n"),
            place("", "namespaces", "", "n"),
            place("apps", "deployments", "a", "n"),
            place("", "persistentvolumeclaims", "a", "n"),
            place("", "secrets", "a", "n"),
            place("cert-manager.io", "certificates", "a", "n"),
            place("rbac.authorization.k8s.io", "roles", "a", "n"),
        ];
        assert!(order.windows(2).all(|pair| rank(&pair[0]) < rank(&pair[1])));
    }
}
