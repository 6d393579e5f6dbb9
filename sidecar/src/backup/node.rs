//! The node as its folder `/etc/kubernetes` shows it: how to reach etcd, and what its member was started with.

use std::path::{Path, PathBuf};

use etcd_wire::Failure;
use etcd_wire::message::{EtcdAccess, KUBE_SYSTEM, KeyPair};

use crate::node::{Manifest, Manifests, settings};

/// Where the folder is on every node.
pub(super) const KUBERNETES: &str = "/etc/kubernetes";
/// What API servers put before their keys where nothing else is said.
const USUAL_PREFIX: &str = "/registry";

/// The node.
#[derive(Debug)]
pub(super) struct Node {
    /// Where the folder is here.
    pub(super) folder: PathBuf,
    pub(super) manifests: Manifests,
}

impl Node {
    /// Reads the manifests.
    ///
    /// # Errors
    /// etcd or the API server has none.
    pub(super) fn read(folder: &Path) -> Result<Node, Failure> {
        let manifests = Manifests::read(&folder.join("manifests")).map_err(|failure| Failure {
            hint: Some(format!(
                "run this on a control-plane node with etcd, and name where its folder {KUBERNETES} is\n  --kubernetes DIR"
            )),
            ..failure
        })?;
        Ok(Node { folder: folder.to_owned(), manifests })
    }

    pub(super) fn etcd(&self) -> &Manifest {
        &self.manifests.etcd
    }

    /// The path on the node that a flag of etcd names.
    pub(super) fn host(&self, flag: &str) -> Option<PathBuf> {
        self.etcd().host_path(self.etcd().flag(flag)?)
    }

    /// Where a path of the node is here.
    pub(super) fn here(&self, host: &Path) -> PathBuf {
        host.strip_prefix(KUBERNETES).map_or_else(|_| host.to_owned(), |rest| self.folder.join(rest))
    }

    /// A list of URLs that a flag of etcd names.
    pub(super) fn urls(&self, flag: &str) -> Vec<String> {
        let urls = self.etcd().flag(flag).unwrap_or_default().split(',').map(str::trim);
        urls.filter(|url| !url.is_empty()).map(str::to_owned).collect()
    }

    /// How to reach a member at these URLs: all members take the same certificates.
    pub(super) fn access(&self, endpoints: Vec<String>) -> EtcdAccess {
        let file = |flag: &str| Some(self.here(&self.host(flag)?).display().to_string());
        let server = file("cert-file").zip(file("key-file")).map(|(cert, key)| KeyPair { cert, key });
        let client = server.as_ref().and_then(|server| {
            let folder = Path::new(&server.cert).parent()?;
            let name = |name: &str| folder.join(name).display().to_string();
            Some(KeyPair { cert: name("healthcheck-client.crt"), key: name("healthcheck-client.key") })
        });
        let credentials = client.into_iter().chain(server).collect();
        EtcdAccess { endpoints, ca: file("trusted-ca-file"), credentials }
    }

    /// Where the member of this node is reached.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let urls = |flag: &str| self.etcd().flag(flag).unwrap_or_default();
        settings::endpoints(urls("listen-client-urls"), urls("advertise-client-urls"))
    }

    /// Where the other members may be reached if the member of this node does not answer: at the peers' addresses, by the port that its clients use.
    pub(super) fn guessed_endpoints(&self) -> Vec<String> {
        let advertised = self.urls("advertise-client-urls");
        let Some(own) = advertised.first().and_then(|url| url.parse::<http::Uri>().ok()) else { return Vec::new() };
        let (scheme, port) = (own.scheme_str().unwrap_or("https"), own.port_u16().unwrap_or(2379));
        let peers = self.urls("initial-cluster");
        let urls = peers.iter().filter_map(|peer| {
            let peer: http::Uri = peer.split_once('=')?.1.parse().ok()?;
            Some(format!("{scheme}://{}:{port}", peer.host()?))
        });
        urls.filter(|url| !advertised.contains(url)).collect()
    }

    /// `--etcd-prefix` of the API server.
    pub(super) fn prefix(&self) -> &str {
        self.manifests.api_server.flag("etcd-prefix").unwrap_or(USUAL_PREFIX)
    }

    /// The key of namespace kube-system.
    pub(super) fn kube_system(&self) -> String {
        format!("{}{KUBE_SYSTEM}", self.prefix())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A real node of kubeadm, with its manifests in another folder.
    pub(in crate::backup) fn kubeadm() -> (tempfile::TempDir, Node) {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/kubeadm/cp2/manifests");
        std::fs::create_dir(folder.path().join("manifests")).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join("manifests").join(entry.file_name())).unwrap();
        }
        let node = Node::read(folder.path()).unwrap();
        (folder, node)
    }

    #[test]
    fn paths_are_those_of_the_node_seen_from_here() {
        let (folder, node) = kubeadm();
        let access = node.access(node.endpoints());
        let here = |name: &str| folder.path().join("pki/etcd").join(name).display().to_string();
        assert_eq!(access.ca, Some(here("ca.crt")));
        let certs: Vec<&str> = access.credentials.iter().map(|pair| pair.cert.as_str()).collect();
        assert_eq!(certs, [here("healthcheck-client.crt"), here("server.crt")]);
        assert_eq!(access.endpoints.first().map(String::as_str), Some("https://127.0.0.1:2379"));
        assert!(access.endpoints.len() > 1);
        assert_eq!(node.here(Path::new("/var/lib/etcd")), Path::new("/var/lib/etcd"));
        assert_eq!(node.kube_system(), "/registry/namespaces/kube-system");
    }

    #[test]
    fn other_members_are_guessed_by_the_peers() {
        let (_folder, node) = kubeadm();
        let own = node.urls("advertise-client-urls");
        let guessed = node.guessed_endpoints();
        assert!(!guessed.is_empty(), "cp2 has joined cp1");
        assert!(guessed.iter().all(|url| url.ends_with(":2379") && !own.contains(url)), "{guessed:?}");
    }

    #[test]
    fn a_node_without_etcd_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Node::read(folder.path()).unwrap_err();
        assert!(failure.hint.unwrap().contains("--kubernetes"));
    }
}
