//! The node as its folder `/etc/kubernetes`, or its unit of etcd, shows it: how to reach etcd, and what its member was started with.

use std::path::{Path, PathBuf};

use etcd_wire::message::{EtcdAccess, KUBE_SYSTEM, KeyPair};
use etcd_wire::{Failure, FailureCode};

use crate::node::etcds::UnitFiles;
use crate::node::{ControlPlane, Manifest, etcds, settings};

/// Where the folder is on every node.
pub(super) const KUBERNETES: &str = "/etc/kubernetes";
/// What API servers put before their keys where nothing else is said.
const USUAL_PREFIX: &str = "/registry";

/// The node.
#[derive(Debug)]
pub(super) struct Node {
    /// Where the folder is here.
    pub(super) folder: PathBuf,
    /// Where its static pod manifests are here.
    pub(super) dir: PathBuf,
    /// The files of the unit of etcd, where one starts etcd.
    pub(super) unit_files: UnitFiles,
    etcd: Manifest,
    control_plane: ControlPlane,
}

impl Node {
    /// Reads the manifests; where none of them is etcd's, the unit of etcd. `root` is where the node's file tree is: a pod sees no unit.
    ///
    /// # Errors
    /// Nothing starts etcd here, or a file that may do so cannot be read.
    pub(super) fn read(root: &Path, folder: &Path) -> Result<Node, Failure> {
        let dir = folder.join("manifests");
        // A machine of etcd alone need not have the usual folder. One that was named is meant.
        if folder != Path::new(KUBERNETES) && !folder.is_dir() {
            let message = format!("{} is no folder", folder.display());
            return Err(Failure::new(FailureCode::BadRequest, message));
        }
        let (etcd, control_plane) = etcds::with_etcd(root, &dir).map_err(|failure| Failure {
            hint: Some(format!(
                "run this on a node with etcd, as a static pod or as the systemd unit etcd.service; in a pod, name where the node's folder {KUBERNETES} \
                 is\n  --kubernetes DIR"
            )),
            ..failure
        })?;
        let unit_files = if etcd.unit.is_some() { etcds::files_of_unit(root)? } else { UnitFiles::default() };
        Ok(Node { folder: folder.to_owned(), dir, unit_files, etcd, control_plane })
    }

    pub(super) fn etcd(&self) -> &Manifest {
        &self.etcd
    }

    pub(super) fn api_server(&self) -> Option<&Manifest> {
        self.control_plane.api_server.as_ref()
    }

    /// The static pods of the control plane.
    pub(super) fn static_pods(&self) -> impl Iterator<Item = &Manifest> {
        self.control_plane.moved().map(|(_, manifest)| manifest).filter(|manifest| manifest.unit.is_none())
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
        let usual = client.into_iter().chain(server);
        // Beside a unit's certificate there is seldom one for clients, and the API server's is good for every member.
        let credentials = match self.etcd().unit {
            Some(_) => {
                let here = |file: String| self.here(Path::new(&file)).display().to_string();
                let pair = etcds::api_servers_pair(&self.dir);
                let pair = pair.map(|KeyPair { cert, key }| KeyPair { cert: here(cert), key: here(key) });
                pair.into_iter().chain(usual).collect()
            }
            None => usual.collect(),
        };
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
        self.api_server().and_then(|server| server.flag("etcd-prefix")).unwrap_or(USUAL_PREFIX)
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
        let node = Node::read(&folder.path().join("root"), folder.path()).unwrap();
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
        let failure = Node::read(folder.path(), folder.path()).unwrap_err();
        assert!(failure.hint.unwrap().contains("--kubernetes"));
    }

    #[test]
    fn a_unit_of_etcd_is_asked_as_its_settings_say_with_an_api_server_or_without() {
        let (folder, _) = kubeadm();
        let (root, manifests) = (folder.path().join("root"), folder.path().join("manifests"));
        std::fs::remove_file(manifests.join("etcd.yaml")).unwrap();
        let units = root.join("etc/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        let unit = "[Service]\nEnvironmentFile=/etc/etcd.env\nExecStart=/usr/local/bin/etcd\n";
        std::fs::write(units.join("etcd.service"), unit).unwrap();
        let variables = "ETCD_DATA_DIR=/srv/etcd\nETCD_LISTEN_CLIENT_URLS=https://10.0.0.7:2379,https://127.0.0.1:2379\n\
                         ETCD_CERT_FILE=/ssl/member.pem\nETCD_KEY_FILE=/ssl/member-key.pem\nETCD_TRUSTED_CA_FILE=/ssl/ca.pem\n";
        std::fs::write(root.join("etc/etcd.env"), variables).unwrap();
        let certs = |node: &Node| -> Vec<String> {
            node.access(node.endpoints()).credentials.into_iter().map(|pair| pair.cert).collect()
        };
        let usual = ["/ssl/healthcheck-client.crt", "/ssl/member.pem"];

        let node = Node::read(&root, folder.path()).unwrap();
        assert_eq!(node.endpoints(), ["https://127.0.0.1:2379", "https://10.0.0.7:2379"]);
        assert_eq!(node.host("data-dir"), Some("/srv/etcd".into()));
        let pair = folder.path().join("pki/apiserver-etcd-client.crt").display().to_string();
        assert_eq!(certs(&node), [&[pair.as_str()][..], &usual].concat());
        assert_eq!(node.static_pods().count(), 3);
        assert_eq!(node.unit_files.files, ["/etc/etcd.env", "/etc/systemd/system/etcd.service"].map(PathBuf::from));
        assert_eq!(node.unit_files.missing.len(), 3, "no certificate is there");

        // Without its API server, a node of a control plane is none: a restore may hold the rest.
        std::fs::remove_file(manifests.join("kube-apiserver.yaml")).unwrap();
        let failure = Node::read(&root, folder.path()).unwrap_err();
        assert!(failure.message.contains("no manifest of kube-apiserver"), "{failure}");
        std::fs::remove_dir_all(&manifests).unwrap();
        let held = folder.path().join(".kubectl-etcd-20261129-000000-aaaaa");
        std::fs::create_dir(&held).unwrap();
        let failure = Node::read(&root, folder.path()).unwrap_err();
        assert!(failure.message.starts_with("a restore holds"), "{failure}");
        std::fs::remove_dir(&held).unwrap();
        assert!(Node::read(&root, &folder.path().join("typo")).is_err());

        // A machine of etcd alone.
        let node = Node::read(&root, folder.path()).unwrap();
        assert_eq!(certs(&node), usual);
        assert_eq!((node.static_pods().count(), node.prefix()), (0, USUAL_PREFIX));
    }
}
