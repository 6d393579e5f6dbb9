//! One etcd pod, read: names, URLs, and every path as the path on its node.

use etcd_wire::message::{EtcdAccess, KeyPair};
use etcd_wire::restore::Parts;
use etcd_wire::services::{EtcdService, SettingsSource};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde::Serialize;

use super::api_server::ApiServer;
use super::command_line::{Flags, starts};
use super::environment::Sources;
use super::{NodeTrouble, Overrides};
use crate::output::{Exit, Failed, Outcome};

/// etcd's default for `--quota-backend-bytes` (etcd server/storage/quota.go, 3.4 to 3.7).
const DEFAULT_QUOTA: i64 = 2 << 30;

/// An etcd member as its pod describes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EtcdPod {
    /// Node that it runs on.
    pub(crate) node: String,
    /// `--name`; empty if it is not known before the member is asked.
    pub(crate) name: String,
    /// Name of the pod; empty for an etcd outside of pods.
    pub(crate) pod: String,
    /// What starts an etcd outside of pods on its node, where that is known: `the unit /etc/systemd/system/etcd.service`.
    #[serde(skip)]
    pub(crate) service: Option<String>,
    /// Where the settings of such an etcd are, where that is known.
    #[serde(skip)]
    pub(crate) settings_source: Option<SettingsSource>,
    /// Image reference of the etcd container.
    pub(crate) image: String,
    /// `--advertise-client-urls`.
    pub(crate) client_urls: Vec<String>,
    /// `--initial-advertise-peer-urls`.
    pub(crate) peer_urls: Vec<String>,
    /// `--listen-client-urls`.
    #[serde(skip)]
    pub(crate) listen_urls: Vec<String>,
    /// Data directory on the node.
    pub(crate) data_dir: Option<String>,
    /// WAL directory on the node, where it is not in the data directory.
    pub(crate) wal_dir: Option<String>,
    /// Which parts of the control plane are on the node, where its manifests were read. Without etcd only the node is known.
    #[serde(skip)]
    pub(crate) parts: Parts,
    /// The kubelet's folder of static pod manifests on the node, for an operation that looks at them.
    #[serde(skip)]
    pub(crate) manifests_dir: Option<String>,
    /// The API server's encryption configuration on the node, for an operation that looks at it.
    #[serde(skip)]
    pub(crate) encryption_config: Option<String>,
    /// The image of the API server on the node, for a drill that starts it.
    #[serde(skip)]
    pub(crate) api_server_image: Option<String>,
    /// Certificate files on the node.
    pub(crate) certificates: CertificatePaths,
    /// `--quota-backend-bytes`, or etcd's default; 0 where etcd's settings are not known.
    #[serde(skip)]
    pub(crate) quota: i64,
    /// The flags of its command line, and what its environment says in place of flags.
    #[serde(skip)]
    pub(crate) flags: Vec<String>,
    /// How to reach the member from its node.
    #[serde(skip)]
    pub(crate) access: EtcdAccess,
    /// Its own container.
    #[serde(skip)]
    pub(crate) own: OwnContainer,
    /// Addresses of its node.
    #[serde(skip)]
    pub(crate) addresses: Vec<String>,
    /// What keeps its node from running a sidecar, as far as the API knows.
    #[serde(skip)]
    pub(crate) node_trouble: Option<NodeTrouble>,
    /// SELinux type of the etcd pod: a sidecar with the same can read the same files.
    #[serde(skip)]
    pub(crate) selinux_type: Option<String>,
}

/// The container that a member runs in. Paths are those that the container sees.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OwnContainer {
    /// Namespace of the pod.
    pub(crate) namespace: String,
    /// Name of the container.
    pub(crate) container: String,
    /// Whether the API has the pod; one that only the kubelet knows has no mirror pod.
    pub(crate) mirror: bool,
    /// What it does instead of running, as far as the API has heard.
    pub(crate) state: Option<String>,
    /// Authority that signed the certificate for clients.
    pub(crate) ca: Option<String>,
    /// Client certificates, best first, of which the first may not be there.
    pub(crate) credentials: Vec<KeyPair>,
}

impl OwnContainer {
    fn of(pod: &Pod, spec: &PodSpec, container: &Container, flags: &Flags, overrides: &Overrides) -> OwnContainer {
        let text = |flag: &str| flags.get(flag).map(str::to_owned);
        let reach = &overrides.reach;
        // What is passed are paths on the node, and it may not be mounted.
        let passed = |path: &Option<String>| container_path(spec, container, path.as_deref()?);
        let paths = CertificatePaths {
            server_cert: text("cert-file"),
            server_key: text("key-file"),
            ..CertificatePaths::default()
        };
        let credentials = match reach.cert.is_some() && reach.key.is_some() {
            false => credentials(&paths, overrides),
            true => passed(&reach.cert)
                .zip(passed(&reach.key))
                .map(|(cert, key)| KeyPair { cert, key })
                .into_iter()
                .collect(),
        };
        OwnContainer {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            container: container.name.clone(),
            mirror: true,
            state: state(pod, &container.name),
            ca: if reach.cacert.is_some() { passed(&reach.cacert) } else { text("trusted-ca-file") },
            credentials,
        }
    }
}

/// Where a member's certificates are on its node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificatePaths {
    pub(crate) ca: Option<String>,
    pub(crate) server_cert: Option<String>,
    pub(crate) server_key: Option<String>,
    pub(crate) peer_ca: Option<String>,
    pub(crate) peer_cert: Option<String>,
    pub(crate) peer_key: Option<String>,
}

impl EtcdPod {
    /// Reads a pod.
    ///
    /// # Errors
    /// The pod has no node yet, is not on its host's network, or keeps its configuration where the API does not
    /// show it (`--config-file`, a file that its script reads, a Secret that cannot be read).
    pub(super) fn read(pod: &Pod, overrides: &Overrides, sources: &Sources) -> Outcome<EtcdPod> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let refuse_plainly = || Failed::new(Exit::Refused, format!("pod {name} cannot be understood"));
        let refuse = |why: &str| refuse_plainly().cause(why);
        let spec = pod.spec.as_ref().ok_or_else(|| refuse("it has no spec"))?;
        let node = spec.node_name.clone().filter(|node| !node.is_empty()).ok_or_else(|| refuse("it has no node"))?;
        let container = etcd_container(spec).ok_or_else(|| refuse("none of its containers runs etcd"))?;
        let flags = Flags::of(pod, container, "etcd", sources);
        if flags.get("config-file").is_some() && overrides.reach.endpoints.is_empty() {
            return Err(refuse("etcd reads a configuration file (--config-file), which the API does not show")
                .hint("say where etcd is with --endpoints, --cacert, --cert and --key (paths on the node)"));
        }
        if spec.host_network != Some(true) {
            return Err(refuse("it does not use hostNetwork, so it is no static pod of a control plane"));
        }
        let path = |flag: &str| flags.get(flag).and_then(|path| host_path(spec, container, path));
        let certificates = CertificatePaths {
            ca: overrides.reach.cacert.clone().or_else(|| path("trusted-ca-file")),
            server_cert: path("cert-file"),
            server_key: path("key-file"),
            peer_ca: path("peer-trusted-ca-file"),
            peer_cert: path("peer-cert-file"),
            peer_key: path("peer-key-file"),
        };
        let endpoints = if overrides.reach.endpoints.is_empty() {
            local_endpoints(&flags)
        } else {
            overrides.reach.endpoints.clone()
        };
        let missing = missing(&flags, &endpoints, overrides);
        if let Some((last, _)) = missing.last() {
            let needed: Vec<&str> = missing.iter().map(|(flag, _)| *flag).filter(|flag| flag != last).collect();
            let needed =
                if needed.is_empty() { (*last).to_owned() } else { format!("{} and {last}", needed.join(", ")) };
            let failed = missing.into_iter().fold(refuse_plainly(), |failed, (_, why)| failed.cause(why));
            return Err(failed.hint(format!("pass {needed}: URLs as seen from the node, and paths on the node")));
        }
        let access =
            EtcdAccess { endpoints, ca: certificates.ca.clone(), credentials: credentials(&certificates, overrides) };
        let security = spec.security_context.as_ref();
        let own = container.security_context.as_ref();
        Ok(EtcdPod {
            name: match flags.unknown("name") {
                Some(_) => String::new(),
                None => flags.get("name").unwrap_or("default").to_owned(),
            },
            image: container.image.clone().unwrap_or_default(),
            client_urls: flags.list("advertise-client-urls"),
            peer_urls: flags.list("initial-advertise-peer-urls"),
            listen_urls: flags.list("listen-client-urls"),
            data_dir: overrides.data_dir.clone().or_else(|| path("data-dir")),
            wal_dir: wal_dir(path("wal-dir"), overrides.data_dir.clone().or_else(|| path("data-dir"))),
            service: None,
            settings_source: None,
            parts: Parts::Both,
            manifests_dir: None,
            encryption_config: None,
            api_server_image: None,
            node_trouble: None,
            own: OwnContainer::of(pod, spec, container, &flags, overrides),
            addresses: addresses(pod),
            flags: flags.all(),
            quota: quota(&flags),
            selinux_type: own
                .and_then(|c| c.se_linux_options.as_ref())
                .or(security.and_then(|s| s.se_linux_options.as_ref()))
                .and_then(|options| options.type_.clone()),
            node,
            pod: name,
            certificates,
            access,
        })
    }

    /// An etcd that its node starts outside of pods. The files with which the API server of the node reaches etcd, where one runs there, are client
    /// certificates for certain.
    pub(super) fn of_service(
        node: &str,
        service: &EtcdService,
        api_server: Option<&ApiServer>,
        overrides: &Overrides,
    ) -> EtcdPod {
        let flags = Flags::of_settings(&service.settings);
        let text = |flag: &str| flags.get(flag).map(str::to_owned);
        let certificates = CertificatePaths {
            ca: overrides.reach.cacert.clone().or_else(|| text("trusted-ca-file")),
            server_cert: text("cert-file"),
            server_key: text("key-file"),
            peer_ca: text("peer-trusted-ca-file"),
            peer_cert: text("peer-cert-file"),
            peer_key: text("peer-key-file"),
        };
        let [_, cert, key] = api_server.map(|server| server.files.clone()).unwrap_or_default();
        let client = cert.zip(key).filter(|_| overrides.reach.cert.is_none());
        let client = client.map(|(cert, key)| KeyPair { cert, key });
        let credentials = client.into_iter().chain(credentials(&certificates, overrides)).collect();
        let endpoints = match overrides.reach.endpoints.is_empty() {
            true => local_endpoints(&flags),
            false => overrides.reach.endpoints.clone(),
        };
        let data_dir = overrides.data_dir.clone().or_else(|| text("data-dir"));
        EtcdPod {
            node: node.to_owned(),
            name: flags.get("name").unwrap_or("default").to_owned(),
            service: Some(service.found_by.clone()),
            settings_source: service.source.clone(),
            client_urls: flags.list("advertise-client-urls"),
            peer_urls: flags.list("initial-advertise-peer-urls"),
            listen_urls: flags.list("listen-client-urls"),
            wal_dir: wal_dir(text("wal-dir"), data_dir.clone()),
            data_dir,
            quota: quota(&flags),
            flags: flags.all(),
            access: EtcdAccess { endpoints, ca: certificates.ca.clone(), credentials },
            certificates,
            ..EtcdPod::default()
        }
    }

    /// The file of the systemd unit that starts it, where that is known.
    pub(crate) fn unit(&self) -> Option<&str> {
        self.settings_source.as_ref().and_then(|source| source.unit.as_deref())
    }

    /// An etcd that is no pod, reached from `node` by what the flags say.
    pub(crate) fn external(node: &str, overrides: &Overrides) -> EtcdPod {
        let certificates = CertificatePaths { ca: overrides.reach.cacert.clone(), ..Default::default() };
        EtcdPod {
            node: node.to_owned(),
            name: format!("etcd-from-{node}"),
            client_urls: overrides.reach.endpoints.clone(),
            data_dir: overrides.data_dir.clone(),
            quota: 0,
            access: EtcdAccess {
                endpoints: overrides.reach.endpoints.clone(),
                ca: overrides.reach.cacert.clone(),
                credentials: credentials(&certificates, overrides),
            },
            certificates,
            ..Default::default()
        }
    }

    /// `--quota-backend-bytes`, where it is set.
    pub(crate) fn set_quota(&self) -> Option<i64> {
        self.flags.iter().any(|flag| flag.starts_with("--quota-backend-bytes=")).then_some(self.quota)
    }

    /// Files whose expiry matters to this member.
    pub(crate) fn certificate_files(&self) -> Vec<String> {
        let c = &self.certificates;
        let mut files: Vec<String> =
            [&c.server_cert, &c.peer_cert, &c.ca, &c.peer_ca].into_iter().flatten().cloned().collect();
        files.extend(self.access.credentials.iter().map(|pair| pair.cert.clone()));
        let mut seen = std::collections::HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        files
    }

    /// The folders of the node that a sidecar must see, and no more: those of the certificates.
    pub(crate) fn folders(&self) -> Vec<String> {
        let CertificatePaths { server_cert, peer_cert, peer_ca, .. } = &self.certificates;
        let pairs = self.access.credentials.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        let files = pairs.chain(&self.access.ca).chain([server_cert, peer_cert, peer_ca].into_iter().flatten());
        let mut folders: Vec<String> = files.filter_map(|file| Some(file.rsplit_once('/')?.0.to_owned())).collect();
        folders.sort();
        folders.dedup();
        folders.retain(|folder| !folder.is_empty());
        folders
    }

    /// The files that it takes to talk to the member, of those that are surely there: the last credentials are those that a flag names.
    pub(crate) fn files(&self) -> Vec<String> {
        let pair = self.access.credentials.last();
        let pair = pair.into_iter().flat_map(|pair| [&pair.cert, &pair.key]);
        self.access.ca.iter().chain(pair).cloned().collect()
    }

    /// The tag of the image, which is how a pod names the etcd version that it was made for.
    pub(crate) fn image_version(&self) -> Option<&str> {
        let name = self.image.split('@').next()?;
        let (_, tag) = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
        Some(tag.trim_start_matches('v'))
    }
}

/// Where the log is, unless it is where it is without the flag: there, it is part of the data directory.
fn wal_dir(wal_dir: Option<String>, data_dir: Option<String>) -> Option<String> {
    let data_dir = data_dir.unwrap_or_default();
    wal_dir.filter(|wal| *wal != format!("{}/member/wal", data_dir.trim_end_matches('/')))
}

/// `--quota-backend-bytes`, or etcd's default.
fn quota(flags: &Flags) -> i64 {
    let set = flags.get("quota-backend-bytes").and_then(|quota| quota.parse().ok());
    set.filter(|&quota| quota > 0).unwrap_or(DEFAULT_QUOTA)
}

/// What a container does that does not run: the kubelet's word for it, `CrashLoopBackOff` or `terminated`.
fn state(pod: &Pod, container: &str) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let state = statuses.iter().find(|status| status.name == container)?.state.as_ref()?;
    match (&state.running, &state.waiting, &state.terminated) {
        (None, Some(waiting), _) => Some(waiting.reason.clone().unwrap_or_else(|| "waiting".to_owned())),
        (None, None, Some(_)) => Some("terminated".to_owned()),
        _ => None,
    }
}

/// The addresses of a pod on its node's network.
pub(super) fn addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let several = status.pod_ips.iter().flatten().map(|one| one.ip.clone());
    let mut all: Vec<String> = several.chain(status.pod_ip.clone()).chain(status.host_ip.clone()).collect();
    all.sort();
    all.dedup();
    all
}

/// The container that runs etcd.
pub(super) fn etcd_container(spec: &PodSpec) -> Option<&Container> {
    let named = spec.containers.iter().find(|c| c.name == "etcd");
    named.or_else(|| spec.containers.iter().find(|c| starts(c, "etcd")))
}

/// The flags that have to be passed because the pod does not show what they say, each with the reason.
fn missing(flags: &Flags, endpoints: &[String], overrides: &Overrides) -> Vec<(&'static str, String)> {
    let mut missing = Vec::new();
    let mut need = |flag: &'static str, passed: bool, names: &[&str]| {
        let why = || names.iter().find_map(|name| flags.unknown(name));
        if let Some(why) = (!passed).then(why).flatten() {
            missing.push((flag, why));
        }
    };
    if endpoints.is_empty() {
        need("--endpoints", false, &["listen-client-urls", "advertise-client-urls"]);
    }
    if endpoints.is_empty() || endpoints.iter().any(|url| url.starts_with("https:")) {
        need("--cacert", overrides.reach.cacert.is_some(), &["trusted-ca-file"]);
        need("--cert", overrides.reach.cert.is_some(), &["cert-file"]);
        need("--key", overrides.reach.key.is_some(), &["key-file"]);
    }
    missing
}

/// Follows a path in the container to the path on the node: by the longest volume mount that holds it, to a host path.
pub(super) fn host_path(spec: &PodSpec, container: &Container, path: &str) -> Option<String> {
    let mounts = container.volume_mounts.iter().flatten();
    let (mount, rest) = mounts
        .filter_map(|mount| Some((mount, strip_folder(path, &mount.mount_path)?)))
        .max_by_key(|(mount, _)| mount.mount_path.trim_end_matches('/').len())?;
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
    let host = volume.host_path.as_ref()?.path.trim_end_matches('/');
    let sub = mount.sub_path.as_deref().map(|sub| format!("/{}", sub.trim_matches('/'))).unwrap_or_default();
    Some(format!("{host}{sub}{rest}"))
}

/// Follows a path on the node to where a container has it.
fn container_path(spec: &PodSpec, container: &Container, path: &str) -> Option<String> {
    let mounted = container.volume_mounts.iter().flatten().filter_map(|mount| {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
        let host = volume.host_path.as_ref()?.path.trim_end_matches('/');
        let sub = mount.sub_path.as_deref().map(|sub| format!("/{}", sub.trim_matches('/'))).unwrap_or_default();
        let rest = strip_folder(path, &format!("{host}{sub}"))?;
        Some(format!("{}{rest}", mount.mount_path.trim_end_matches('/')))
    });
    // Another mount may lie over it.
    mounted.into_iter().find(|inside| host_path(spec, container, inside).as_deref() == Some(path))
}

/// What is left of `path` inside `folder`: empty, or beginning with a slash.
fn strip_folder<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest.trim_end_matches('/'))
}

/// URLs to dial from the node itself: loopback where etcd listens there, else what it advertises. None if the pod does not show them.
fn local_endpoints(flags: &Flags) -> Vec<String> {
    let mut listens = flags.list("listen-client-urls");
    for url in &mut listens {
        *url = url.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://127.0.0.1:");
    }
    let loopback = |url: &String| ["://127.", "://localhost:", "://[::1]:"].iter().any(|host| url.contains(host));
    listens.sort_by_key(|url| !loopback(url));
    listens.extend(flags.list("advertise-client-urls"));
    let mut seen = std::collections::HashSet::new();
    listens.retain(|url| seen.insert(url.clone()));
    let unknown = flags.unknown("listen-client-urls").is_some() || flags.unknown("advertise-client-urls").is_some();
    if listens.is_empty() && !unknown { vec!["http://127.0.0.1:2379".to_owned()] } else { listens }
}

/// Client certificates to try: the one that the flags name, or kubeadm's for health checks, or the server's own
/// (kubeadm's carries client authentication). kubeadm's `apiserver-etcd-client` is not among them: it lies in the
/// folder of the cluster's own authority, which a backup has no business to see.
fn credentials(paths: &CertificatePaths, overrides: &Overrides) -> Vec<KeyPair> {
    if let (Some(cert), Some(key)) = (&overrides.reach.cert, &overrides.reach.key) {
        return vec![KeyPair { cert: cert.clone(), key: key.clone() }];
    }
    let (Some(cert), Some(key)) = (&paths.server_cert, &paths.server_key) else { return Vec::new() };
    let folder = cert.rsplit_once('/').map(|(folder, _)| folder).unwrap_or_default();
    let pair = |name: &str| KeyPair { cert: format!("{folder}/{name}.crt"), key: format!("{folder}/{name}.key") };
    vec![pair("healthcheck-client"), KeyPair { cert: cert.clone(), key: key.clone() }]
}

#[cfg(test)]
mod tests {
    use super::super::Reach;
    use super::*;

    /// A mirror pod as the API of a real three-node kubeadm control plane gave it.
    fn kubeadm_pod() -> Pod {
        let list: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/data/kubeadm/control-plane-pods.json")).expect("JSON");
        let pod = list["items"].as_array().expect("a list").iter().find(|p| p["metadata"]["name"] == "etcd-cp2");
        serde_json::from_value(pod.expect("etcd-cp2 is there").clone()).expect("a pod")
    }

    fn read(pod: &Pod, overrides: &Overrides) -> Outcome<EtcdPod> {
        EtcdPod::read(pod, overrides, &Sources::default())
    }

    /// A static pod in the way of some installers: the kubelet fills in its command, and it does not listen on loopback.
    #[test]
    fn a_member_whose_command_the_kubelet_fills_in() {
        let text = include_str!("../../../tests/data/discovery/etcd-env.yaml");
        let mut pod: Pod = serde_saphyr::from_str(text).expect("a pod");
        let member = read(&pod, &Overrides::default()).unwrap();
        assert_eq!((member.name.as_str(), member.data_dir.as_deref()), ("cp1", Some("/var/lib/etcd")));
        assert_eq!(member.access.endpoints, ["https://10.89.3.11:2379"]);
        assert_eq!(member.client_urls, ["https://10.89.3.11:2379"]);

        // The address comes from where the API does not show it: nothing is dialed, nothing is recorded.
        let container = &mut pod.spec.as_mut().unwrap().containers[0];
        let hidden = serde_json::json!({"name": "IP", "valueFrom": {"configMapKeyRef": {"name": "ips", "key": "cp1"}}});
        container.env.as_mut().unwrap()[0] = serde_json::from_value(hidden).expect("a variable");
        let failed = read(&pod, &Overrides::default()).unwrap_err().to_string();
        for text in
            ["pod etcd-env cannot be understood", "IP is not known: it comes from ConfigMap ips", "pass --endpoints:"]
        {
            assert!(failed.contains(text), "{text:?} is not in {failed}");
        }
        let reach = Reach { endpoints: vec!["https://10.89.3.11:2379".into()], ..Default::default() };
        let member = read(&pod, &Overrides { reach: reach.clone(), data_dir: None }).unwrap();
        assert_eq!((member.access.endpoints, member.client_urls.len()), (reach.endpoints.clone(), 0));

        // A script that reads a file: every flag that it does not show has to be passed.
        let script = ["sh", "-c", ". /etc/etcd.env; exec etcd --data-dir=$ETCD_DIR"];
        pod.spec.as_mut().unwrap().containers[0].command = Some(script.map(str::to_owned).to_vec());
        let failed = read(&pod, &Overrides::default()).unwrap_err().to_string();
        for text in ["the script reads /etc/etcd.env", "pass --endpoints, --cacert, --cert and --key:"] {
            assert!(failed.contains(text), "{text:?} is not in {failed}");
        }
        let reach = Reach {
            cacert: Some("/a/ca.crt".into()),
            cert: Some("/a/c.crt".into()),
            key: Some("/a/c.key".into()),
            ..reach
        };
        let member = read(&pod, &Overrides { reach, data_dir: None }).unwrap();
        assert_eq!((member.name.as_str(), member.data_dir), ("", None));
        assert!(!serde_json::to_string(&member.client_urls).expect("JSON").contains('$'));
    }

    #[test]
    fn a_kubeadm_member_is_read_with_paths_on_its_node() {
        let member = read(&kubeadm_pod(), &Overrides::default()).unwrap();
        assert_eq!((member.node.as_str(), member.name.as_str(), member.pod.as_str()), ("cp2", "cp2", "etcd-cp2"));
        assert_eq!(member.data_dir.as_deref(), Some("/var/lib/etcd"));
        assert_eq!(member.access.endpoints, ["https://127.0.0.1:2379", "https://10.89.0.12:2379"]);
        assert_eq!(member.access.ca.as_deref(), Some("/etc/kubernetes/pki/etcd/ca.crt"));
        assert_eq!(member.access.credentials[0].cert, "/etc/kubernetes/pki/etcd/healthcheck-client.crt");
        assert_eq!(member.folders(), ["/etc/kubernetes/pki/etcd"]);
        let files = ["ca.crt", "server.crt", "server.key"].map(|name| format!("/etc/kubernetes/pki/etcd/{name}"));
        assert_eq!(member.files(), files);
        assert_eq!(member.peer_urls, ["https://10.89.0.12:2380"]);
        assert_eq!(member.image_version(), Some("3.6.14-0"));
        assert_eq!(member.quota, 2 << 30);
    }

    #[test]
    fn paths_follow_mounts_to_other_folders_of_the_host() {
        let mut pod = kubeadm_pod();
        for volume in pod.spec.as_mut().unwrap().volumes.as_mut().unwrap() {
            let host = volume.host_path.as_mut().unwrap();
            host.path =
                host.path.replace("/var/lib/etcd", "/mnt/fast/etcd/").replace("/etc/kubernetes/pki/etcd", "/srv/pki");
        }
        let member = read(&pod, &Overrides::default()).unwrap();
        assert_eq!(member.data_dir.as_deref(), Some("/mnt/fast/etcd"));
        assert_eq!(member.certificates.server_key.as_deref(), Some("/srv/pki/server.key"));
        assert_eq!(member.own.credentials[1].key, "/etc/kubernetes/pki/etcd/server.key");
        assert_eq!(member.folders(), ["/srv/pki"]);
    }

    #[test]
    fn flags_override_what_was_found() {
        let reach = Reach {
            endpoints: vec!["https://10.0.0.9:2379".into()],
            cacert: Some("/a/ca.crt".into()),
            cert: Some("/b/c.crt".into()),
            key: Some("/b/c.key".into()),
            ..Default::default()
        };
        let overrides = Overrides { reach, data_dir: Some("/d".into()) };
        let member = read(&kubeadm_pod(), &overrides).unwrap();
        assert_eq!(member.access.endpoints, overrides.reach.endpoints);
        assert_eq!(member.access.credentials, [KeyPair { cert: "/b/c.crt".into(), key: "/b/c.key".into() }]);
        assert_eq!(member.data_dir.as_deref(), Some("/d"));
        assert!(member.folders().starts_with(&["/a".to_owned(), "/b".to_owned()]));
        // Its own container does not see them.
        assert_eq!((member.own.ca, member.own.credentials), (None, Vec::new()));
        let mut pod = kubeadm_pod();
        for volume in pod.spec.as_mut().unwrap().volumes.as_mut().unwrap() {
            let host = volume.host_path.as_mut().unwrap();
            host.path = host.path.replace("/etc/kubernetes/pki/etcd", "/b");
        }
        let member = read(&pod, &overrides).unwrap();
        assert_eq!(member.own.credentials[0].cert, "/etc/kubernetes/pki/etcd/c.crt");
    }

    #[test]
    fn a_configuration_file_is_refused_unless_the_flags_say_it_all() {
        let mut pod = kubeadm_pod();
        pod.spec.as_mut().unwrap().containers[0].command =
            Some(vec!["etcd".into(), "--config-file=/etc/etcd.yaml".into()]);
        assert_eq!(read(&pod, &Overrides::default()).unwrap_err().exit, Exit::Refused);
        let reach = Reach { endpoints: vec!["https://127.0.0.1:2379".into()], ..Default::default() };
        let overrides = Overrides { reach, data_dir: None };
        assert!(read(&pod, &overrides).is_ok());
    }
}
