//! The lost cluster, as its snapshot, the record beside that, and the files of one of its nodes tell of it.

use std::collections::{BTreeMap, BTreeSet};

use etcd_objects::decode;
use etcd_objects::key::{Internal, Key, Prefix};
use etcd_snapshot::{Keep, LiveKeys};
use etcd_wire::facts::EncryptionKey;
use serde_json::Value;

use super::side::{CONFIG_MAPS, ConfigMaps, Known, PublicFiles, Side, certificates, host_and_port, key_ids};
use crate::commands::verify::Recorded;

/// What is kept of a key of the snapshot for [`Lost`]. Values of pods are only looked at: there may be many, and large ones.
pub(crate) fn keeps(key: &[u8]) -> Keep {
    let Ok(key) = std::str::from_utf8(key) else { return Keep::Key };
    let mut parts = key.rsplit('/');
    let (Some(name), Some(second), third) = (parts.next(), parts.next(), parts.next()) else { return Keep::Key };
    let is_map = || third == Some("configmaps") && CONFIG_MAPS.contains(&(second, name));
    match (second, third) {
        ("minions", _) => Keep::Value,
        ("namespaces", _) if name == "kube-system" => Keep::Value,
        _ if is_map() => Keep::Value,
        (_, Some("pods")) => Keep::Look,
        _ => Keep::Key,
    }
}

/// The node that a pod is bound to.
pub(crate) fn node_of(pod: &[u8]) -> Option<String> {
    let pod = decode(pod).ok()?;
    pod.json.pointer("/spec/nodeName").and_then(Value::as_str).filter(|node| !node.is_empty()).map(str::to_owned)
}

/// What is known of the lost cluster.
pub(crate) struct Lost<'a> {
    pub(crate) keys: &'a LiveKeys,
    /// Under which its objects are.
    pub(crate) prefix: &'a Prefix,
    pub(crate) recorded: &'a Recorded,
    /// The etcd that wrote the snapshot.
    pub(crate) etcd: &'a str,
    pub(crate) encryption_keys: Vec<EncryptionKey>,
    /// Files of one of its nodes.
    pub(crate) files: &'a Known<PublicFiles>,
}

/// Directories and keys below the prefix.
const NODE_LEASES: &str = "/leases/kube-node-lease/";
const NODES: &str = "/minions/";
const ADMINISTRATORS: &str = "/clusterrolebindings/kubeadm:cluster-admins";

/// Whether keys have the binding of group kubeadm:cluster-admins, which kubeadm makes from 1.29 on.
pub(crate) fn binds_administrators<'a>(mut keys: impl Iterator<Item = &'a Vec<u8>>, prefix: &Prefix) -> bool {
    let binding = format!("{}{ADMINISTRATORS}", prefix.as_str()).into_bytes();
    keys.any(|key| *key == binding)
}

/// The nodes that keys name. Of their addresses nothing is known.
pub(crate) fn nodes_in<'a>(keys: impl Iterator<Item = &'a Vec<u8>>, prefix: &Prefix) -> BTreeMap<String, Vec<String>> {
    let directory = format!("{}{NODES}", prefix.as_str()).into_bytes();
    let name = |key: &'a Vec<u8>| std::str::from_utf8(key.strip_prefix(directory.as_slice())?).ok();
    keys.filter_map(name).map(|name| (name.to_owned(), Vec::new())).collect()
}

impl Lost<'_> {
    pub(crate) fn side(&self) -> Side {
        let maps = ConfigMaps::new(CONFIG_MAPS.map(|(namespace, name)| self.config_map(namespace, name)));
        let file = |which: fn(&PublicFiles) -> Option<&Vec<u8>>, name: &str| -> Known<&[u8]> {
            let files = self.files.as_ref().map_err(Clone::clone)?;
            which(files).map(Vec::as_slice).ok_or_else(|| format!("the node files of the backup have no {name}"))
        };
        let ca = || certificates(file(|files| files.ca.as_ref(), "pki/ca.crt")?);
        let front_proxy = || certificates(file(|files| files.front_proxy_ca.as_ref(), "pki/front-proxy-ca.crt")?);
        let recorded = |value: &Option<String>, what: &str| {
            value.clone().ok_or_else(|| format!("no {what} is recorded beside the snapshot"))
        };
        let server = || host_and_port(&recorded(&self.recorded.server, "address of the API")?);
        Side {
            cluster_ca: maps.cluster_ca().or_else(|why| ca().map_err(|_| why)),
            front_proxy_ca: maps.front_proxy_ca().or_else(|why| front_proxy().map_err(|_| why)),
            service_account_keys: file(|files| files.service_account_key.as_ref(), "pki/sa.pub").and_then(key_ids),
            encryption_keys: Ok(self.encryption_keys.clone()),
            nodes: Ok(self.nodes()),
            control_plane: BTreeSet::new(),
            api_servers: Ok(self.api_servers()),
            address: maps.address().or_else(|why| server().map_err(|_| why)),
            service_network: maps.service_network(),
            pod_network: maps.pod_network(),
            kubernetes: recorded(&self.recorded.kubernetes_version, "version of Kubernetes")
                .or_else(|_| maps.kubernetes()),
            etcd: Ok(self.recorded.etcd_version.clone().unwrap_or_else(|| self.etcd.to_owned())),
            administrators: Ok(binds_administrators(self.keys.keys(), self.prefix)),
        }
    }

    /// Names of nodes that have a lease.
    pub(crate) fn leases(&self) -> BTreeSet<String> {
        self.below(NODE_LEASES).map(|(name, _)| name.to_owned()).collect()
    }

    fn below(&self, directory: &str) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let directory = format!("{}{directory}", self.prefix.as_str()).into_bytes();
        let range = self.keys.range(directory.clone()..);
        range.map_while(move |(key, live)| {
            let name = key.strip_prefix(directory.as_slice())?;
            Some((std::str::from_utf8(name).unwrap_or_default(), live.value.as_deref()))
        })
    }

    fn nodes(&self) -> BTreeMap<String, Vec<String>> {
        let node = |(name, value): (&str, Option<&[u8]>)| {
            let object = value.and_then(|value| decode(value).ok());
            let addresses = object.as_ref().and_then(|node| node.json.pointer("/status/addresses")?.as_array());
            let ips = addresses
                .into_iter()
                .flatten()
                .filter(|one| one["type"] == "InternalIP" || one["type"] == "ExternalIP");
            let ips = ips.filter_map(|one| one["address"].as_str().map(str::to_owned)).collect();
            (name.to_owned(), ips)
        };
        self.below(NODES).map(node).collect()
    }

    fn api_servers(&self) -> BTreeSet<String> {
        let lease = |key: &Vec<u8>| match self.prefix.parse(key) {
            Key::Internal(Internal::MasterLease(address)) => Some(address),
            _ => None,
        };
        self.keys.keys().filter_map(lease).collect()
    }

    fn config_map(&self, namespace: &str, name: &str) -> Known<Value> {
        let key = format!("{}/configmaps/{namespace}/{name}", self.prefix.as_str());
        let value = self.keys.get(key.as_bytes()).and_then(|live| live.value.as_deref());
        let value = value.ok_or_else(|| format!("the snapshot has no ConfigMap {namespace}/{name}"))?;
        decode(value)
            .map(|object| object.json)
            .map_err(|error| format!("ConfigMap {namespace}/{name} cannot be read: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use etcd_snapshot::LiveKey;
    use serde_json::json;

    use super::*;

    fn keys(objects: &[(&str, Value)]) -> LiveKeys {
        let live = |(key, object): &(&str, Value)| {
            let value = Some(object.to_string().into_bytes());
            (
                key.as_bytes().to_vec(),
                LiveKey { mod_revision: 1, versions: 1, value_bytes: 1, encrypted_by: None, value },
            )
        };
        objects.iter().map(live).collect()
    }

    #[test]
    fn only_what_is_compared_is_kept() {
        for (key, keep) in [
            ("/registry/minions/cp1", Keep::Value),
            ("/registry/configmaps/kube-system/kubeadm-config", Keep::Value),
            ("/registry/configmaps/kube-public/cluster-info", Keep::Value),
            ("/registry/namespaces/kube-system", Keep::Value),
            ("/registry/configmaps/shop/kubeadm-config", Keep::Key),
            ("/registry/secrets/kube-system/kubeadm-config", Keep::Key),
            ("/registry/pods/shop/web", Keep::Look),
            ("/registry/leases/kube-node-lease/cp1", Keep::Key),
            ("compact_rev_key", Keep::Key),
        ] {
            assert_eq!(keeps(key.as_bytes()), keep, "{key}");
        }
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"nodeName": "cp1"}});
        assert_eq!(node_of(pod.to_string().as_bytes()).as_deref(), Some("cp1"));
        assert_eq!((node_of(b"{}"), node_of(b"k8s:enc:")), (None, None));
    }

    #[test]
    fn the_snapshot_its_record_and_the_files_of_a_node_tell_of_the_lost_cluster() {
        let node = json!({"kind": "Node", "apiVersion": "v1", "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "cp1"}]}});
        let empty = || json!({"kind": "Lease", "apiVersion": "v1"});
        let kubeadm = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {
            "ClusterConfiguration": "kubernetesVersion: v1.35.0\nnetworking: {serviceSubnet: 10.96.0.0/12}\n"}});
        let keys = keys(&[
            ("/r/minions/cp1", node),
            ("/r/leases/kube-node-lease/cp1", empty()),
            ("/r/leases/kube-system/x", empty()),
            ("/r/masterleases/10.0.0.1", empty()),
            ("/r/configmaps/kube-system/kubeadm-config", kubeadm),
            ("/registry/minions/of-another-api-server", empty()),
        ]);
        let (prefix, recorded) =
            (Prefix::new("/r"), Recorded { server: Some("https://api.example:6443".into()), ..Recorded::default() });
        let files = Err("no node files".to_owned());
        let lost = Lost {
            keys: &keys,
            prefix: &prefix,
            recorded: &recorded,
            etcd: "3.5",
            encryption_keys: Vec::new(),
            files: &files,
        };
        let side = lost.side();
        assert_eq!(side.nodes, Ok([("cp1".to_owned(), vec!["10.0.0.1".to_owned()])].into()));
        assert_eq!(
            (side.api_servers, lost.leases()),
            (Ok(BTreeSet::from(["10.0.0.1".into()])), BTreeSet::from(["cp1".into()]))
        );
        assert_eq!((side.kubernetes.as_deref(), side.etcd.as_deref()), (Ok("v1.35.0"), Ok("3.5")));
        assert_eq!(
            (side.address.as_deref(), side.service_network.as_deref()),
            (Ok("api.example:6443"), Ok("10.96.0.0/12"))
        );
        assert_eq!(side.service_account_keys, Err("no node files".to_owned()));
        assert_eq!(side.cluster_ca, Err("the snapshot has no ConfigMap kube-system/kube-root-ca.crt".to_owned()));
        assert_eq!(side.administrators, Ok(false));
        let mut files = PublicFiles::default();
        files.take("etc/kubernetes/pki/ca.crt", b"no certificate");
        let side = Lost { files: &Ok(files), ..lost }.side();
        assert!(side.cluster_ca.is_err());
        assert_eq!(side.service_account_keys, Err("the node files of the backup have no pki/sa.pub".to_owned()));
    }
}
