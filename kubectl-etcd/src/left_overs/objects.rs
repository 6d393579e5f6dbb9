//! What counts of the objects of the API: pure functions.

use std::collections::BTreeSet;

use etcd_doctor::{ApiServer, ApiServerLease, Claim, ClaimRef, NodeObject, RunningPod, Token, Volume};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Endpoints, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount,
};
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;

use crate::output::visible;

/// Where a pod comes from; of a static pod `file` or `http`.
const SOURCE: &str = "kubernetes.io/config.source";
/// What a mirror pod says of its static pod, which has that as its UID on the node.
const OF_STATIC: [&str; 2] = ["kubernetes.io/config.hash", "kubernetes.io/config.mirror"];

pub(super) fn node(node: Node) -> Option<NodeObject> {
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let unknown = conditions.into_iter().find(|one| one.type_ == "Ready" && one.status == "Unknown");
    let since = unknown.map(|one| one.last_heartbeat_time.map(|time| time.0.to_string()).unwrap_or_default());
    Some(NodeObject { name: node.metadata.name?, silent_since: since })
}

/// What a pod of the API is called on its node.
pub(super) fn uids(pod: &PartialObjectMeta<Pod>) -> Vec<String> {
    let of_static = OF_STATIC.iter().filter_map(|name| pod.annotations().get(*name)).cloned();
    pod.uid().into_iter().chain(of_static).collect()
}

/// A pod as a kubelet tells of it; `None` of one that has ended.
pub(super) fn running(pod: &Pod) -> Option<RunningPod> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let name = |text: Option<String>| visible::name(&text.unwrap_or_default()).into_owned();
    (!matches!(phase, Some("Succeeded" | "Failed"))).then(|| RunningPod {
        uid: name(pod.uid()),
        namespace: name(pod.namespace()),
        name: name(pod.metadata.name.clone()),
        is_static: is_static(pod),
    })
}

fn is_static(pod: &Pod) -> bool {
    matches!(pod.annotations().get(SOURCE).map(String::as_str), Some("file" | "http"))
}

/// Says of pods that run which of them are static, by what the kubelet is to run.
pub(super) fn with_static(running: Vec<RunningPod>, wanted: &[Pod]) -> Vec<RunningPod> {
    let statics: BTreeSet<String> = wanted.iter().filter(|pod| is_static(pod)).filter_map(|pod| pod.uid()).collect();
    running
        .into_iter()
        .map(|pod| RunningPod { is_static: pod.is_static || statics.contains(&pod.uid), ..pod })
        .collect()
}

pub(super) fn node_lease(lease: Lease) -> Option<(String, i64)> {
    Some((lease.metadata.name?, lease.spec?.renew_time?.0.as_second()))
}

pub(super) fn api_server_lease(lease: Lease) -> Option<ApiServerLease> {
    let host = lease.labels().get("kubernetes.io/hostname").cloned().unwrap_or_default();
    let renewed = lease.spec.and_then(|spec| spec.renew_time).map(|time| time.0.as_second());
    Some(ApiServerLease { name: lease.metadata.name?, host, renewed })
}

/// Those that are not ready count as well: they are registered.
pub(super) fn addresses(endpoints: Endpoints) -> BTreeSet<String> {
    let subsets = endpoints.subsets.unwrap_or_default().into_iter();
    let all = subsets.flat_map(|one| [one.addresses, one.not_ready_addresses]).flatten().flatten();
    all.map(|one| one.ip).collect()
}

pub(super) fn api_server(pod: Pod) -> Option<ApiServer> {
    let spec = pod.spec.unwrap_or_default();
    let words = spec.containers.into_iter().flat_map(|one| [one.command, one.args]).flatten().flatten();
    let advertised = words.filter_map(|word| word.strip_prefix("--advertise-address=").map(str::to_owned));
    let status = pod.status.unwrap_or_default();
    let (pod_ips, host_ips) = (status.pod_ips.unwrap_or_default(), status.host_ips.unwrap_or_default());
    let several = pod_ips.into_iter().map(|one| one.ip).chain(host_ips.into_iter().map(|one| one.ip));
    let addresses = advertised.chain([status.pod_ip, status.host_ip].into_iter().flatten()).chain(several).collect();
    Some(ApiServer { node: spec.node_name.unwrap_or_default(), addresses })
}

pub(super) fn volume(volume: PersistentVolume) -> Option<Volume> {
    let provisioned = volume.annotations().contains_key("pv.kubernetes.io/provisioned-by");
    let deleting = volume.metadata.deletion_timestamp.is_some();
    let spec = volume.spec.unwrap_or_default();
    let claim = spec.claim_ref.map(|claim| ClaimRef {
        namespace: claim.namespace.unwrap_or_default(),
        name: claim.name.unwrap_or_default(),
        uid: claim.uid.unwrap_or_default(),
    });
    let policy = spec.persistent_volume_reclaim_policy.unwrap_or_else(|| "Retain".to_owned());
    Some(Volume { name: volume.metadata.name?, claim, provisioned, deleting, policy })
}

pub(super) fn claim(claim: PersistentVolumeClaim) -> Option<Claim> {
    let volume = claim.spec.and_then(|spec| spec.volume_name).unwrap_or_default();
    let metadata = claim.metadata;
    Some(Claim {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name?,
        uid: metadata.uid.unwrap_or_default(),
        volume,
    })
}

/// Of a Secret that is being deleted nothing is left over.
pub(super) fn token(secret: &PartialObjectMeta<Secret>) -> Option<Token> {
    let annotation = |name: &str| secret.annotations().get(name).cloned().unwrap_or_default();
    secret.metadata.deletion_timestamp.is_none().then(|| Token {
        namespace: secret.namespace().unwrap_or_default(),
        name: secret.name_any(),
        account: annotation("kubernetes.io/service-account.name"),
        account_uid: annotation("kubernetes.io/service-account.uid"),
    })
}

pub(super) fn account(account: &PartialObjectMeta<ServiceAccount>) -> Option<((String, String), String)> {
    Some(((account.namespace()?, account.metadata.name.clone()?), account.uid()?))
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_kubelets_pods_are_known_by_their_uids() {
        // Of /runningpods/: no status, no annotations.
        let bare = json!({"metadata": {"name": "etcd-cp1", "namespace": "kube-system", "uid": "hash", "creationTimestamp": null},
            "spec": {"containers": [{"name": "etcd", "image": "sha256:0", "resources": {}}]}, "status": {}});
        let pod = running(&read(bare)).expect("it runs");
        assert_eq!((pod.uid.as_str(), pod.name.as_str(), pod.is_static), ("hash", "etcd-cp1", false));
        let of_file = |uid: &str, source: &str| -> Pod {
            read(json!({"metadata": {"uid": uid, "annotations": {SOURCE: source}}}))
        };
        let told = with_static(
            vec![pod.clone(), RunningPod { uid: "u".into(), ..pod }],
            &[of_file("hash", "file"), of_file("u", "api")],
        );
        assert_eq!(told.iter().map(|pod| pod.is_static).collect::<Vec<_>>(), [true, false]);
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(running(&read(json!({"metadata": {"uid": "u"}, "status": {"phase": phase}}))), None);
        }
        // What a node says moves no cursor.
        assert_eq!(running(&read(json!({"metadata": {"name": "a\u{1b}[1m"}}))).expect("it runs").name, "a\\x1b[1m");
    }

    #[test]
    fn a_mirror_names_its_static_pod() {
        let metadata = json!({"uid": "u", "annotations": {OF_STATIC[0]: "hash", OF_STATIC[1]: "hash"}});
        let mirror =
            read(json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}));
        assert_eq!(uids(&mirror), ["u", "hash", "hash"]);
    }

    #[test]
    fn a_node_is_silent_where_the_control_plane_says_so() {
        let of = |status: &str| {
            node(read(json!({"metadata": {"name": "w1"}, "status": {"conditions": [
            {"type": "Ready", "status": status, "lastHeartbeatTime": "2026-11-27T10:00:00Z"}]}})))
        };
        assert_eq!(of("Unknown").and_then(|node| node.silent_since).as_deref(), Some("2026-11-27T10:00:00Z"));
        assert_eq!(
            (of("True").and_then(|node| node.silent_since), of("False").and_then(|node| node.silent_since)),
            (None, None)
        );
    }

    #[test]
    fn leases_and_addresses_of_api_servers_are_read() {
        let lease = json!({"metadata": {"name": "apiserver-x", "labels": {"kubernetes.io/hostname": "cp1"}},
            "spec": {"renewTime": "1970-01-01T00:01:40.000000Z"}});
        let expected = ApiServerLease { name: "apiserver-x".into(), host: "cp1".into(), renewed: Some(100) };
        assert_eq!(api_server_lease(read(lease.clone())), Some(expected));
        assert_eq!(node_lease(read(lease)), Some(("apiserver-x".to_owned(), 100)));
        let endpoints =
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}]}]});
        assert_eq!(addresses(read(endpoints)), ["10.0.0.1", "10.0.0.2"].map(str::to_owned).into());
        let pods: Value =
            serde_json::from_str(include_str!("../../../tests/data/kubeadm/control-plane-pods.json")).expect("JSON");
        let servers: Vec<ApiServer> = pods["items"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|pod| pod["metadata"]["labels"]["component"] == "kube-apiserver")
            .filter_map(|pod| api_server(read(pod.clone())))
            .collect();
        assert!(
            !servers.is_empty() && servers.iter().all(|one| !one.node.is_empty() && !one.addresses.is_empty()),
            "{servers:?}"
        );
    }

    #[test]
    fn volumes_claims_and_tokens_are_read() {
        let claim_ref = json!({"namespace": "shop", "name": "data", "uid": "u1"});
        let of_provisioner = volume(read(
            json!({"metadata": {"name": "pv-1", "annotations": {"pv.kubernetes.io/provisioned-by": "csi"}},
            "spec": {"claimRef": claim_ref, "persistentVolumeReclaimPolicy": "Delete"}}),
        ))
        .expect("a volume");
        assert_eq!(
            (of_provisioner.provisioned, of_provisioner.policy.as_str(), of_provisioner.claim.map(|claim| claim.uid)),
            (true, "Delete", Some("u1".to_owned()))
        );
        let of_person = volume(read(
            json!({"metadata": {"name": "pv-2", "deletionTimestamp": "2026-11-27T10:00:00Z"}, "spec": {}}),
        ))
        .expect("a volume");
        assert_eq!((of_person.claim, of_person.provisioned, of_person.deleting), (None, false, true));
        let bound = claim(read(
            json!({"metadata": {"namespace": "shop", "name": "data", "uid": "u1"}, "spec": {"volumeName": "pv-1"}}),
        ));
        assert_eq!(bound.map(|claim| claim.volume).as_deref(), Some("pv-1"));
        let secret = |more: Value| {
            let mut metadata = json!({"namespace": "shop", "name": "t", "annotations": {
                "kubernetes.io/service-account.name": "robot", "kubernetes.io/service-account.uid": "u1"}});
            metadata.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
            token(&read(json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata})))
        };
        let found = secret(json!({})).expect("a token");
        assert_eq!((found.account.as_str(), found.account_uid.as_str()), ("robot", "u1"));
        assert_eq!(secret(json!({"deletionTimestamp": "2026-11-27T10:00:00Z"})), None);
    }
}
