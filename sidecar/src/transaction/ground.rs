//! What a node is like before a restore: what will be stopped, and how it is told from everything else that runs there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use etcd_wire::message::{KUBE_SYSTEM, KeyPair};
use etcd_wire::restore::RestoreNode;
use etcd_wire::services::{has_feature, is_true};
use etcd_wire::{Failure, FailureCode};
use serde::{Deserialize, Serialize};

use super::disks::FolderId;
use super::http::{Server, ServerTls};
use super::journal::storage;
use super::layout::Layout;
use super::process::CommandLine;
use super::units::Unit;
use super::{api_server, bare, launch_manifest, quorum_lost};
use crate::etcd;
use crate::node::{Manifest, Place, etcds};

/// What is found once, and kept in the journal: later the manifests may be elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ground {
    /// etcd and the API server, where the plan has them on the node, and of controller manager and scheduler those that there are.
    pub(super) components: Vec<Component>,
    /// Whether etcd compares its data with the other members' when it starts.
    pub(super) checks_at_start: bool,
    /// Where they listen, by their manifests.
    #[serde(default)]
    pub(super) listens: Listens,
    /// The data directory, and a WAL directory of its own.
    #[serde(default)]
    pub(super) data: Vec<DataFolder>,
    /// Folders of data that were not there, see [`bare`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) missing: Vec<String>,
    /// A port of etcd's that answers when it is through with what it does before it serves: that of its metrics, or else its peers'. None without etcd.
    pub(super) etcd: Option<Server>,
    /// None without an API server.
    pub(super) api: Option<Server>,
    /// Whether the API server tells the node's own client about itself.
    pub(super) api_is_open: bool,
    /// etcd's key of namespace kube-system, by the prefix that the API server has.
    #[serde(default = "default_kube_system")]
    pub(super) kube_system: String,
    /// The cluster as it was.
    pub(super) before: Before,
}

fn default_kube_system() -> String {
    format!("/registry{KUBE_SYSTEM}")
}

/// Addresses on which components listen. `0.0.0.0` and `::` are all of the node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Listens {
    /// etcd's clients and peers.
    pub(super) etcd: Vec<SocketAddr>,
    /// The API server.
    pub(super) api: Vec<SocketAddr>,
}

/// A folder of etcd's data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct DataFolder {
    /// Its path in etcd's container.
    pub(super) inside: String,
    /// Which one it was when the node was prepared, if it was there.
    pub(super) id: Option<FolderId>,
}

/// A static pod of the control plane, or etcd as a unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Component {
    pub(super) name: String,
    /// Its manifest's name in the folder, or the name of its unit.
    pub(super) file: String,
    /// Namespace and name in its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<String>,
    /// The command line of its process.
    pub(super) argv: Vec<String>,
    /// Of etcd: the command line of the process that it is launched with, without the check of its data, where there is such a one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) launch_argv: Option<Vec<String>>,
    /// The unit that starts it, where the kubelet does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<Unit>,
}

impl Component {
    /// Where an administrator reads why it does not run.
    pub(super) fn log(&self) -> String {
        match &self.unit {
            Some(unit) => format!("read its log: journalctl -u {}", unit.name()),
            None => "read its log: crictl logs, or /var/log/pods".to_owned(),
        }
    }

    /// Of an API server: whether its command line names one etcd and no other. While that is stopped, the API server only keeps its clients waiting.
    pub(super) fn has_one_etcd(&self) -> bool {
        const FLAG: &str = "--etcd-servers";
        let mut values = self.argv.iter().enumerate().filter_map(|(at, argument)| match argument.strip_prefix(FLAG) {
            Some("") => self.argv.get(at + 1).map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        });
        // A flag that is given twice adds to the list.
        matches!((values.next(), values.next()), (Some(servers), None) if !servers.is_empty() && !servers.contains(','))
    }

    /// The command lines that its process may have.
    pub(super) fn command_lines(&self) -> Vec<CommandLine<'_>> {
        [Some(&self.argv), self.launch_argv.as_ref()]
            .into_iter()
            .flatten()
            .map(|argv| self.command_line(argv))
            .collect()
    }

    /// One of them.
    pub(super) fn command_line<'a>(&'a self, argv: &'a [String]) -> CommandLine<'a> {
        let data_dir = self.unit.as_ref().and_then(|unit| unit.data_dir_variable.as_deref());
        CommandLine { argv, data_dir }
    }
}

/// All zero for a member that did not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
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
    /// The manifests are not as the plan says; etcd does not answer, or, where the quorum is lost, see [`quorum_lost::before`].
    pub(super) async fn survey(layout: &Layout) -> Result<Ground, Failure> {
        let node = layout.node();
        let plane = etcds::control_plane(Path::new("/"), Path::new(&node.manifests_dir), node.parts)?;
        let mut components: Vec<Component> = plane.moved().map(|(name, manifest)| component(name, manifest)).collect();
        let missing = bare::missing(layout)?;
        let mut ground = Ground {
            components: Vec::new(),
            checks_at_start: false,
            listens: Listens::default(),
            data: Vec::new(),
            missing,
            etcd: None,
            api: None,
            api_is_open: false,
            kube_system: layout
                .plan()
                .marker
                .as_ref()
                .and_then(|marker| marker.key.clone())
                .unwrap_or_else(default_kube_system),
            before: Before::default(),
        };
        if let Some(server_manifest) = &plane.api_server {
            let api = server(server_manifest)?;
            ground.api_is_open = api_server::is_open(&api).await;
            ground.listens.api = vec![api_address(server_manifest)?];
            ground.kube_system = kube_system(server_manifest.flag("etcd-prefix"));
            ground.api = Some(api);
        }
        if plane.etcd.is_none()
            && let Some(file) = etcds::unit(Path::new("/"))?
            && Unit::loaded(Path::new("/"), &file, false).is_ok_and(|unit| unit.ran)
        {
            let message = format!("{} starts etcd, which is not to be on this node", file.path);
            return Err(Failure::new(FailureCode::Refused, message)
                .hint("if the API server uses this etcd, say so: --endpoints https://127.0.0.1:2379"));
        }
        if let Some(manifest) = &plane.etcd {
            is_as_planned(node, manifest)?;
            let flag = |name: &str| manifest.flag(name);
            ground.checks_at_start = flag("feature-gates")
                .is_some_and(|gates| has_feature(gates, "InitialCorruptCheck"))
                || flag("experimental-initial-corrupt-check").is_some_and(is_true);
            for etcd in components.iter_mut().filter(|component| component.name == ETCD) {
                if let Some(unit) = &manifest.unit {
                    etcd.unit = Some(Unit::loaded(Path::new("/"), unit, layout.is_left_out())?);
                    continue;
                }
                let launch = launch_manifest::read(&layout.manifests().join(&etcd.file));
                etcd.launch_argv =
                    launch.map_err(|error| storage("read etcd's manifest", &error))?.map(|launch| launch.argv);
            }
            ground.before = match layout.plan().quorum_lost {
                // One that answers without a quorum does not know what its log has.
                Some(_) if !layout.is_left_out() => quorum_lost::before(layout).await?,
                _ => asked(layout).await?,
            };
            ground.data = data_folders(layout, manifest, &ground.missing)?;
            ground.listens.etcd = etcd_addresses(manifest)?;
            ground.etcd = Some(early(manifest, node)?);
        }
        ground.components = components;
        Ok(ground)
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
        let all = [&self.etcd, &self.api].into_iter().flatten().filter_map(|server| server.tls.as_ref());
        let files = all.flat_map(|tls| {
            let pair = tls.client.iter().flat_map(|pair| [Path::new(&pair.cert), Path::new(&pair.key)]);
            pair.chain(tls.certificate.as_deref())
        });
        files.filter_map(|file| file.parent().map(Path::to_owned)).collect()
    }
}

/// Whether the plan is of the etcd that is found.
fn is_as_planned(node: &RestoreNode, manifest: &Manifest) -> Result<(), Failure> {
    let within = Path::new(&node.data_dir).join("member");
    let folder = |flag: &str| {
        let found = manifest.flag(flag).and_then(|path| manifest.host_path(path));
        // A log that is where it is without the flag goes with the data.
        found.filter(|folder| flag != "wal-dir" || *folder != within.join("wal"))
    };
    for (flag, planned) in [("data-dir", Some(&node.data_dir)), ("wal-dir", node.wal_dir.as_ref())] {
        let planned = planned.map(|path| Path::new(path).components().collect::<PathBuf>());
        let found = folder(flag);
        if found != planned {
            let shown =
                |path: &Option<PathBuf>| path.as_ref().map_or("nowhere".to_owned(), |path| path.display().to_string());
            let message = format!("etcd's --{flag} is {}, and the plan has {}", shown(&found), shown(&planned));
            return Err(Failure::new(FailureCode::Refused, message));
        }
    }
    let found = manifest.unit.as_ref().map(|unit| &unit.path);
    if found != node.unit.as_ref() {
        let shown = |path: Option<&String>| path.map_or("a static pod".to_owned(), |path| format!("the unit {path}"));
        let message = format!("etcd is {}, and the plan has {}", shown(found), shown(node.unit.as_ref()));
        return Err(Failure::new(FailureCode::Refused, message));
    }
    Ok(())
}

/// What etcd says of itself.
async fn asked(layout: &Layout) -> Result<Before, Failure> {
    match etcd::connect(&layout.node().etcd).await {
        Ok(member) => {
            let header = member.status.0.header.ok_or_else(|| etcd::headless(&member.endpoint))?;
            Ok(Before { cluster_id: header.cluster_id, revision: header.revision })
        }
        // Whatever is wrong with it may be why it is left out.
        Err(_) if layout.is_left_out() => Ok(Before::default()),
        Err(failure) => Err(failure),
    }
}

/// The key of namespace kube-system below a prefix, which the API server joins as a path: k8s.io/apiserver
/// pkg/storage/etcd3/store.go `New` @ v1.33.
fn kube_system(prefix: Option<&str>) -> String {
    let prefix = prefix.unwrap_or("/registry").trim_matches('/');
    if prefix.is_empty() { KUBE_SYSTEM.to_owned() } else { format!("/{prefix}{KUBE_SYSTEM}") }
}

pub(super) fn component(name: &str, manifest: &Manifest) -> Component {
    Component {
        name: name.to_owned(),
        file: manifest.file.clone(),
        pod: Some(manifest.pod.clone()).filter(|pod| !pod.is_empty()),
        argv: manifest.argv.clone(),
        launch_argv: None,
        unit: None,
    }
}

fn server(manifest: &Manifest) -> Result<Server, Failure> {
    let wrong = |flag: &str, value: &str| {
        Failure::new(FailureCode::Refused, format!("the API server's --{flag}={value} cannot be parsed"))
    };
    let port = match manifest.flag("secure-port") {
        Some(text) => text.parse().map_err(|_| wrong("secure-port", text))?,
        None => 6443,
    };
    let host = match manifest.flag("bind-address") {
        None | Some("0.0.0.0" | "::") => "127.0.0.1".to_owned(),
        Some(address) => address.parse::<std::net::IpAddr>().map_err(|_| wrong("bind-address", address))?.to_string(),
    };
    let client = pair(manifest, "kubelet-client-certificate", "kubelet-client-key");
    Ok(Server { host, port, tls: Some(ServerTls { certificate: path(manifest, "tls-cert-file"), client }) })
}

fn early(manifest: &Manifest, node: &RestoreNode) -> Result<Server, Failure> {
    let metrics =
        manifest.flag("listen-metrics-urls").and_then(|list| list.split(',').find(|url| url.starts_with("http://")));
    let url = metrics.or(node.peer_urls.first().map(String::as_str)).unwrap_or_default();
    let wrong = || Failure::new(FailureCode::Refused, format!("etcd's URL {url:?} cannot be parsed"));
    let uri: ::http::Uri = url.parse().map_err(|error| wrong().source(&error))?;
    let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']);
    let host = if matches!(host, "0.0.0.0" | "::") { "127.0.0.1" } else { host };
    let tls = (uri.scheme_str() == Some("https"))
        .then(|| ServerTls { certificate: None, client: pair(manifest, "peer-cert-file", "peer-key-file") });
    Ok(Server { host: host.to_owned(), port: uri.port_u16().ok_or_else(wrong)?, tls })
}

fn path(manifest: &Manifest, flag: &str) -> Option<PathBuf> {
    manifest.host_path(manifest.flag(flag)?)
}

fn pair(manifest: &Manifest, cert: &str, key: &str) -> Option<KeyPair> {
    let (cert, key) = path(manifest, cert).zip(path(manifest, key))?;
    Some(KeyPair { cert: cert.display().to_string(), key: key.display().to_string() })
}

/// The folders of data, and which ones they are now. None on a node that is left out, whose disk may be why.
fn data_folders(layout: &Layout, manifest: &Manifest, missing: &[String]) -> Result<Vec<DataFolder>, Failure> {
    if layout.is_left_out() {
        return Ok(Vec::new());
    }
    let folders = [("data-dir", Some(layout.data_dir())), ("wal-dir", layout.wal_dir())];
    let folders = folders.into_iter().filter_map(|(flag, place)| Some((manifest.flag(flag)?.to_owned(), place?)));
    let found = |(inside, place): (String, Place)| {
        let id = (!missing.contains(&place.display())).then(|| FolderId::of(&place)).transpose();
        let id = id.map_err(|error| storage(&format!("look at {}", place.display()), &error))?;
        Ok(DataFolder { inside, id })
    };
    folders.map(found).collect()
}

/// Where etcd listens, for clients and peers. Its defaults are those of etcd (server/embed/config.go, `DefaultListenClientURLs`).
pub(super) fn etcd_addresses(manifest: &Manifest) -> Result<Vec<SocketAddr>, Failure> {
    let flags = [("listen-client-urls", "http://localhost:2379"), ("listen-peer-urls", "http://localhost:2380")];
    let mut found = Vec::new();
    for (flag, default) in flags {
        let list = manifest.flag(flag).unwrap_or(default);
        for url in list.split(',').map(str::trim).filter(|url| !url.starts_with("unix")) {
            let wrong = || Failure::new(FailureCode::Refused, format!("etcd's --{flag}={list} cannot be parsed"));
            let uri: ::http::Uri = url.parse().map_err(|error| wrong().source(&error))?;
            let host = uri.host().map(|host| host.trim_matches(['[', ']'])).ok_or_else(wrong)?;
            // etcd takes addresses, and this one name.
            let ip = if host == "localhost" { Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { host.parse() };
            let ip = ip.map_err(|error: std::net::AddrParseError| wrong().source(&error))?;
            found.push(SocketAddr::new(ip, uri.port_u16().ok_or_else(wrong)?));
        }
    }
    Ok(found)
}

/// Where the API server listens.
fn api_address(manifest: &Manifest) -> Result<SocketAddr, Failure> {
    let address = manifest.flag("bind-address").unwrap_or("0.0.0.0");
    let ip = address.parse().map_err(|error: std::net::AddrParseError| {
        let message = format!("the API server's --bind-address={address} cannot be parsed");
        Failure::new(FailureCode::Refused, message).source(&error)
    })?;
    Ok(SocketAddr::new(ip, server(manifest)?.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(component: &str, flags: &str) -> Manifest {
        let text = format!(
            "kind: Pod\nmetadata: {{name: {component}, namespace: kube-system}}\n\
             spec: {{containers: [{{name: x, command: [{component}, {flags}]}}]}}\n"
        );
        Manifest::parse("a.yaml", text.as_bytes()).unwrap().unwrap().1
    }

    #[test]
    fn an_api_server_has_one_etcd_if_its_command_line_names_one() {
        let cases: [(&[&str], bool); 7] = [
            (&["--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile=ca.crt"], true),
            (&["--etcd-servers", "https://127.0.0.1:2379"], true),
            (&["--etcd-servers=https://10.0.0.11:2379,https://10.0.0.12:2379"], false),
            (&["--etcd-servers=https://10.0.0.11:2379", "--etcd-servers=https://10.0.0.12:2379"], false),
            (&["--etcd-servers-overrides=/events#https://127.0.0.1:2381"], false),
            (&["--etcd-servers="], false),
            (&["--etcd-servers"], false),
        ];
        for (flags, one) in cases {
            let mut server = component(API_SERVER, &manifest("kube-apiserver", "--v=1"));
            server.argv.extend(flags.iter().map(|&flag| flag.to_owned()));
            assert_eq!(server.has_one_etcd(), one, "{flags:?}");
        }
    }

    #[test]
    fn components_listen_where_their_manifests_say() {
        let kubeadm = "'--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379', '--listen-peer-urls=https://[2001:db8::1]:2380'";
        for (flags, expected) in [
            (kubeadm, Some(&["127.0.0.1:2379", "10.0.0.1:2379", "[2001:db8::1]:2380"][..])),
            ("--name=a", Some(&["127.0.0.1:2379", "127.0.0.1:2380"])),
            ("'--listen-client-urls=unix://a:1,http://0.0.0.0:2379'", Some(&["0.0.0.0:2379", "127.0.0.1:2380"])),
            ("--listen-client-urls=https://etcd.local:2379", None),
            ("--listen-peer-urls=https://10.0.0.1", None),
        ] {
            let found = etcd_addresses(&manifest("etcd", flags));
            let expected = expected.map(|all| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<SocketAddr>>());
            assert_eq!(found.ok(), expected, "{flags}");
        }
        for (flags, expected) in [
            ("--v=1", Some("0.0.0.0:6443")),
            ("--bind-address=10.0.0.1, --secure-port=8443", Some("10.0.0.1:8443")),
            ("'--bind-address=::'", Some("[::]:6443")),
            ("--bind-address=here", None),
        ] {
            let found = api_address(&manifest("kube-apiserver", flags));
            assert_eq!(found.ok(), expected.map(|one| one.parse().unwrap()), "{flags}");
        }
    }
}
