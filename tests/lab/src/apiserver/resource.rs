//! The resources served and where each is stored: paths from `kubernetes:test/integration/etcd/data.go`.

/// One served resource.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) plural: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespaced: bool,
    /// Path below the prefix in etcd; empty for reviews, which are answered and never stored.
    pub(super) path: &'static str,
    pub(super) short: &'static str,
    /// Whether there is a `status` subresource, written apart from the rest.
    pub(super) status: bool,
}

impl Resource {
    /// `deployments.apps`; the core group's are bare.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    pub(super) fn api_version(&self) -> String {
        group_version(self.group, self.version)
    }

    pub(super) fn is_review(&self) -> bool {
        self.path.is_empty()
    }

    pub(super) fn is_pods(&self) -> bool {
        self.kind == "Pod"
    }

    /// Subresources by name, besides `status`.
    pub(super) fn subresources(&self) -> &'static [&'static str] {
        match self.kind {
            "Pod" => &["binding", "exec", "log", "portforward"],
            "Node" => &["proxy"],
            _ => &[],
        }
    }
}

/// `apps/v1`; `v1` for the core group.
pub(super) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Finds what a URL names.
pub(super) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

const fn one(
    (group, version): (&'static str, &'static str),
    plural: &'static str,
    kind: &'static str,
    (namespaced, status): (bool, bool),
    path: &'static str,
    short: &'static str,
) -> Resource {
    Resource { group, version, plural, kind, namespaced, path, short, status }
}

/// The resource every pod is of.
pub(super) fn pods() -> &'static Resource {
    &RESOURCES[0]
}

/// The resource every namespace is of.
pub(super) fn namespaces() -> &'static Resource {
    &RESOURCES[1]
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const BATCH: (&str, &str) = ("batch", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");
const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");
const AUTHORIZATION: (&str, &str) = ("authorization.k8s.io", "v1");
const SPACED: bool = true;
const CLUSTER: bool = false;
const STATUS: bool = true;
const PLAIN: bool = false;

/// Every served resource.
pub(super) static RESOURCES: &[Resource] = &[
    one(CORE, "pods", "Pod", (SPACED, STATUS), "pods", "po"),
    one(CORE, "namespaces", "Namespace", (CLUSTER, STATUS), "namespaces", "ns"),
    one(CORE, "nodes", "Node", (CLUSTER, STATUS), "minions", "no"),
    one(CORE, "configmaps", "ConfigMap", (SPACED, PLAIN), "configmaps", "cm"),
    one(CORE, "secrets", "Secret", (SPACED, PLAIN), "secrets", ""),
    one(CORE, "services", "Service", (SPACED, STATUS), "services/specs", "svc"),
    one(CORE, "endpoints", "Endpoints", (SPACED, PLAIN), "services/endpoints", "ep"),
    one(CORE, "serviceaccounts", "ServiceAccount", (SPACED, PLAIN), "serviceaccounts", "sa"),
    one(CORE, "events", "Event", (SPACED, PLAIN), "events", "ev"),
    one(CORE, "resourcequotas", "ResourceQuota", (SPACED, STATUS), "resourcequotas", "quota"),
    one(CORE, "limitranges", "LimitRange", (SPACED, PLAIN), "limitranges", "limits"),
    one(CORE, "replicationcontrollers", "ReplicationController", (SPACED, STATUS), "controllers", "rc"),
    one(CORE, "persistentvolumes", "PersistentVolume", (CLUSTER, STATUS), "persistentvolumes", "pv"),
    one(CORE, "persistentvolumeclaims", "PersistentVolumeClaim", (SPACED, STATUS), "persistentvolumeclaims", "pvc"),
    one(APPS, "deployments", "Deployment", (SPACED, STATUS), "deployments", "deploy"),
    one(APPS, "replicasets", "ReplicaSet", (SPACED, STATUS), "replicasets", "rs"),
    one(APPS, "statefulsets", "StatefulSet", (SPACED, STATUS), "statefulsets", "sts"),
    one(APPS, "daemonsets", "DaemonSet", (SPACED, STATUS), "daemonsets", "ds"),
    one(APPS, "controllerrevisions", "ControllerRevision", (SPACED, PLAIN), "controllerrevisions", ""),
    one(BATCH, "jobs", "Job", (SPACED, STATUS), "jobs", ""),
    one(BATCH, "cronjobs", "CronJob", (SPACED, STATUS), "cronjobs", "cj"),
    one(RBAC, "roles", "Role", (SPACED, PLAIN), "roles", ""),
    one(RBAC, "rolebindings", "RoleBinding", (SPACED, PLAIN), "rolebindings", ""),
    one(RBAC, "clusterroles", "ClusterRole", (CLUSTER, PLAIN), "clusterroles", ""),
    one(RBAC, "clusterrolebindings", "ClusterRoleBinding", (CLUSTER, PLAIN), "clusterrolebindings", ""),
    one(("coordination.k8s.io", "v1"), "leases", "Lease", (SPACED, PLAIN), "leases", ""),
    one(("storage.k8s.io", "v1"), "storageclasses", "StorageClass", (CLUSTER, PLAIN), "storageclasses", "sc"),
    one(
        ("policy", "v1"),
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        (SPACED, STATUS),
        "poddisruptionbudgets",
        "pdb",
    ),
    one(NETWORKING, "ingresses", "Ingress", (SPACED, STATUS), "ingress", "ing"),
    one(NETWORKING, "networkpolicies", "NetworkPolicy", (SPACED, PLAIN), "networkpolicies", "netpol"),
    one(
        ("apiextensions.k8s.io", "v1"),
        "customresourcedefinitions",
        "CustomResourceDefinition",
        (CLUSTER, STATUS),
        "apiextensions.k8s.io/customresourcedefinitions",
        "crd",
    ),
    one(AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview", (CLUSTER, PLAIN), "", ""),
    one(AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview", (CLUSTER, PLAIN), "", ""),
    one(("authentication.k8s.io", "v1"), "selfsubjectreviews", "SelfSubjectReview", (CLUSTER, PLAIN), "", ""),
];
