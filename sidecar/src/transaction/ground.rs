//! What a node is like before a restore: what will be stopped, and how it is told from everything else that runs there.

use std::path::{Path, PathBuf};

use etcd_wire::message::KeyPair;
use etcd_wire::{Failure, FailureCode};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::etcd;
use crate::node::{Manifest, Manifests};

/// What is found once, and kept in the journal: later the manifests may be elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ground {
    /// etcd, the API server, and of controller manager and scheduler those that there are.
    pub(super) components: Vec<Component>,
    /// Whether etcd compares its data with the other members' when it starts.
    pub(super) checks_at_start: bool,
    /// Ports on which etcd listens.
    pub(super) etcd_ports: Vec<u16>,
    pub(super) api: ApiServer,
    /// The cluster as it was.
    pub(super) before: Before,
}

/// A static pod of the control plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Component {
    pub(super) name: String,
    /// Its manifest's name in the folder.
    pub(super) file: String,
    /// The command line of its process.
    pub(super) argv: Vec<String>,
}

/// How the node's API server is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiServer {
    pub(super) host: String,
    pub(super) port: u16,
    /// The certificate that it serves with, where its manifest names one.
    pub(super) certificate: Option<PathBuf>,
    /// A pair of its own that it also accepts as a client's: the one for kubelets.
    pub(super) client: Option<KeyPair>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Before {
    pub(super) cluster_id: u64,
    pub(super) revision: i64,
}

pub(super) const ETCD: &str = "etcd";
pub(super) const API_SERVER: &str = "kube-apiserver";

impl Ground {
    /// Looks around.
    ///
    /// # Errors
    /// The manifests are not as the plan says, or etcd does not answer.
    pub(super) async fn survey(layout: &Layout) -> Result<Ground, Failure> {
        let manifests = Manifests::read(layout.manifests())?;
        let node = layout.node();
        let folder = |flag: &str| manifests.etcd.flag(flag).and_then(|path| manifests.etcd.host_path(path));
        for (flag, planned) in [("data-dir", Some(&node.data_dir)), ("wal-dir", node.wal_dir.as_ref())] {
            let planned = planned.map(|path| Path::new(path).components().collect::<PathBuf>());
            let found = folder(flag);
            if found != planned {
                let shown = |path: &Option<PathBuf>| {
                    path.as_ref().map_or("nowhere".to_owned(), |path| path.display().to_string())
                };
                let message = format!("etcd's --{flag} leads to {}, and not to {}", shown(&found), shown(&planned));
                return Err(Failure::new(FailureCode::Refused, message));
            }
        }
        let urls = ["listen-client-urls", "listen-peer-urls"].into_iter().filter_map(|flag| manifests.etcd.flag(flag));
        let etcd_ports = urls.flat_map(|list| list.split(',')).filter_map(port).collect();
        let flag = |name: &str| manifests.etcd.flag(name);
        let gates = flag("feature-gates").is_some_and(|gates| gates.contains("InitialCorruptCheck=true"));
        let checks_at_start = gates || flag("experimental-initial-corrupt-check") == Some("true");
        let components = manifests.moved().map(|(name, manifest)| component(name, manifest)).collect();
        let member = etcd::connect(&node.etcd).await?;
        let header = member.status.0.header.unwrap_or_default();
        let before = Before { cluster_id: header.cluster_id, revision: header.revision };
        Ok(Ground { components, checks_at_start, etcd_ports, api: ApiServer::of(&manifests.api_server)?, before })
    }

    pub(super) fn component(&self, name: &str) -> Result<&Component, Failure> {
        self.components
            .iter()
            .find(|component| component.name == name)
            .ok_or_else(|| Failure::new(FailureCode::Refused, format!("{name} has no manifest on this node")))
    }

    /// Controller manager and scheduler.
    pub(super) fn controllers(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(|component| component.name != ETCD && component.name != API_SERVER)
    }

    /// Folders of files that are needed besides those of the plan.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let pair = self.api.client.iter().flat_map(|pair| [Path::new(&pair.cert), Path::new(&pair.key)]);
        let files = pair.chain(self.api.certificate.as_deref());
        files.filter_map(|file| file.parent().map(Path::to_owned)).collect()
    }
}

fn component(name: &str, manifest: &Manifest) -> Component {
    Component { name: name.to_owned(), file: manifest.file.clone(), argv: manifest.argv.clone() }
}

impl ApiServer {
    fn of(manifest: &Manifest) -> Result<ApiServer, Failure> {
        let wrong = |flag: &str, value: &str| {
            Failure::new(FailureCode::Refused, format!("the API server's --{flag}={value} is not understood"))
        };
        let port = match manifest.flag("secure-port") {
            Some(text) => text.parse().map_err(|_| wrong("secure-port", text))?,
            None => 6443,
        };
        let host = match manifest.flag("bind-address") {
            None | Some("0.0.0.0" | "::") => "127.0.0.1".to_owned(),
            Some(address) => {
                address.parse::<std::net::IpAddr>().map_err(|_| wrong("bind-address", address))?.to_string()
            }
        };
        let path = |flag: &str| manifest.host_path(manifest.flag(flag)?);
        let pair = path("kubelet-client-certificate").zip(path("kubelet-client-key"));
        let client =
            pair.map(|(cert, key)| KeyPair { cert: cert.display().to_string(), key: key.display().to_string() });
        Ok(ApiServer { host, port, certificate: path("tls-cert-file"), client })
    }
}

/// The port of a URL that etcd listens on.
fn port(url: &str) -> Option<u16> {
    url.trim().parse::<http::Uri>().ok()?.port_u16()
}
