//! The cluster that is in place, as its API server tells of it. Nothing here needs a right that a restore does not need otherwise: what the user may not read is
//! not compared.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::side::{CONFIG_MAPS, ConfigMaps, Known, Side, host_and_port};
use crate::bounded;
use crate::connection::Connection;
use crate::discovery::EtcdPod;

/// Where the API server tells its keys of service accounts.
const KEYS: &str = "/openid/v1/jwks";
/// An answer is a few thousand bytes.
const MOST_BYTES: u64 = 1 << 20;
/// Most nodes that are listed at once.
const PAGE: u32 = 500;

/// What else is known of it.
pub(crate) struct Around<'a> {
    pub(crate) members: Vec<&'a EtcdPod>,
    pub(crate) encryption_keys: Known<Vec<etcd_wire::facts::EncryptionKey>>,
    pub(crate) kubernetes: Option<String>,
    /// The oldest that a member has.
    pub(crate) etcd: Known<String>,
    /// The nodes that a member's keys name, for whoever may not list them.
    pub(crate) nodes: Option<BTreeMap<String, Vec<String>>>,
    /// Whether group kubeadm:cluster-admins is bound, by the keys of a member.
    pub(crate) administrators: Known<bool>,
}

/// Asks the API server, where there is one to ask.
pub(crate) async fn present(connection: Option<&Connection>, around: Around<'_>) -> Side {
    let not_asked = "with --ssh no API server is asked".to_owned();
    let (maps, nodes, keys) = match connection {
        None => {
            let maps = CONFIG_MAPS.map(|_| Err(not_asked.clone()));
            let mut nodes = around.nodes.unwrap_or_default();
            nodes.extend(around.members.iter().map(|member| (member.node.clone(), member.addresses.clone())));
            (ConfigMaps::new(maps), Ok(nodes), Err(not_asked))
        }
        Some(connection) => {
            let [one, two, three, four] = CONFIG_MAPS.map(|(namespace, name)| config_map(connection, namespace, name));
            let maps = async { <[_; 4]>::from(tokio::join!(one, two, three, four)) };
            let (maps, nodes, keys) = tokio::join!(maps, nodes(connection), service_account_keys(connection));
            (ConfigMaps::new(maps), nodes.or_else(|why| around.nodes.ok_or(why)), keys)
        }
    };
    let control_plane: BTreeSet<String> = around.members.iter().map(|member| member.node.clone()).collect();
    let addresses = |nodes: &BTreeMap<String, Vec<String>>| {
        let known: BTreeSet<String> =
            nodes.iter().filter(|(name, _)| control_plane.contains(*name)).flat_map(|(_, all)| all.clone()).collect();
        if known.is_empty() { Err("the addresses of its nodes are not known".to_owned()) } else { Ok(known) }
    };
    let server = connection.map(|connection| connection.server.as_str()).unwrap_or_default();
    Side {
        cluster_ca: maps.cluster_ca(),
        front_proxy_ca: maps.front_proxy_ca(),
        service_account_keys: keys,
        encryption_keys: around.encryption_keys,
        api_servers: nodes.as_ref().map_err(Clone::clone).and_then(addresses),
        nodes,
        address: maps.address().or_else(|why| host_and_port(server).map_err(|_| why)),
        service_network: maps.service_network(),
        pod_network: maps.pod_network(),
        kubernetes: around.kubernetes.map_or_else(|| maps.kubernetes(), Ok),
        etcd: around.etcd,
        administrators: around.administrators,
        control_plane,
    }
}

async fn config_map(connection: &Connection, namespace: &str, name: &str) -> Known<Value> {
    let api: Api<ConfigMap> = Api::namespaced(connection.client.clone(), namespace);
    let map =
        api.get(name).await.map_err(|error| format!("cannot read ConfigMap {namespace}/{name}: {}", told(&error)))?;
    serde_json::to_value(map).map_err(|error| error.to_string())
}

async fn nodes(connection: &Connection) -> Known<BTreeMap<String, Vec<String>>> {
    let api: Api<Node> = Api::all(connection.client.clone());
    let mut all = BTreeMap::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = api.list(&page).await.map_err(|error| format!("cannot list nodes: {}", told(&error)))?;
        for node in listed.items {
            let addresses = node.status.and_then(|status| status.addresses).into_iter().flatten();
            let ips = addresses.filter(|one| matches!(one.type_.as_str(), "InternalIP" | "ExternalIP"));
            all.insert(node.metadata.name.unwrap_or_default(), ips.map(|one| one.address).collect());
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(all),
        }
    }
}

async fn service_account_keys(connection: &Connection) -> Known<BTreeSet<String>> {
    let cannot = |why: String| format!("cannot read its service account keys: {why}");
    let request = Request::get(KEYS).body(Vec::new()).map_err(|error| cannot(error.to_string()))?;
    let text = bounded::text(&connection.client, request, MOST_BYTES).await.map_err(|error| cannot(told(&error)))?;
    key_ids_in(&text).ok_or_else(|| cannot("the answer names none".to_owned()))
}

/// The IDs in a set of keys: RFC 7517.
fn key_ids_in(text: &str) -> Option<BTreeSet<String>> {
    let set: Value = serde_json::from_str(text).ok()?;
    let ids: BTreeSet<String> =
        set["keys"].as_array()?.iter().filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect();
    (!ids.is_empty()).then_some(ids)
}

/// An error in one line.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_keys_are_read() {
        let set = r#"{"keys":[{"use":"sig","kty":"RSA","kid":"a","n":"x","e":"AQAB"},{"kid":"b"},{}]}"#;
        assert_eq!(key_ids_in(set), Some(["a", "b"].map(str::to_owned).into()));
        assert_eq!((key_ids_in("{}"), key_ids_in(r#"{"keys":[]}"#), key_ids_in("no")), (None, None, None));
    }
}
