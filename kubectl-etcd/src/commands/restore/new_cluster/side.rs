//! What is known of a cluster, the lost one or the one that is in place, and how that is read out of its ConfigMaps: the same for both.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use etcd_wire::facts::EncryptionKey;
use etcd_wire::{Digest, Sha256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::Value;

/// Something, or why it is not known.
pub(crate) type Known<T> = Result<T, String>;

/// A cluster, as far as it counts for whether it can take over the state of another.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    /// SHA-256 of the certificates of the authority that kubelets and users are signed by, hexadecimal.
    pub(super) cluster_ca: Known<BTreeSet<String>>,
    /// The same of the authority of the API server as a client of aggregated API servers.
    pub(super) front_proxy_ca: Known<BTreeSet<String>>,
    /// IDs of the keys by which tokens of service accounts are proved.
    pub(super) service_account_keys: Known<BTreeSet<String>>,
    /// Keys by which values are encrypted, or which the API servers have.
    pub(super) encryption_keys: Known<Vec<EncryptionKey>>,
    /// Nodes, with their addresses.
    pub(super) nodes: Known<BTreeMap<String, Vec<String>>>,
    /// Those of them that are control-plane nodes, as far as that is known.
    pub(super) control_plane: BTreeSet<String>,
    /// Addresses at which API servers have registered.
    pub(super) api_servers: Known<BTreeSet<String>>,
    /// Where clients reach the API: HOST:PORT.
    pub(super) address: Known<String>,
    /// Addresses of services.
    pub(super) service_network: Known<String>,
    /// Addresses of pods.
    pub(super) pod_network: Known<String>,
    /// Version of Kubernetes.
    pub(super) kubernetes: Known<String>,
    /// Version of etcd.
    pub(super) etcd: Known<String>,
    /// Whether the group that kubeadm puts administrators in may do anything.
    pub(super) administrators: Known<bool>,
}

/// The files of a node that are compared. They hold no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PublicFiles {
    pub(super) ca: Option<Vec<u8>>,
    pub(super) front_proxy_ca: Option<Vec<u8>>,
    pub(super) service_account_key: Option<Vec<u8>>,
}

impl PublicFiles {
    /// Keeps a file of a node if it is one of them.
    pub(crate) fn take(&mut self, path: &str, content: &[u8]) {
        let place = match path {
            "etc/kubernetes/pki/ca.crt" => &mut self.ca,
            "etc/kubernetes/pki/front-proxy-ca.crt" => &mut self.front_proxy_ca,
            "etc/kubernetes/pki/sa.pub" => &mut self.service_account_key,
            _ => return,
        };
        *place = Some(content.to_owned());
    }
}

/// The ConfigMaps of a cluster that tell of it.
#[derive(Debug)]
pub(super) struct ConfigMaps {
    /// `kube-system/extension-apiserver-authentication`, which the API servers write.
    pub(super) authentication: Known<Value>,
    /// `kube-system/kube-root-ca.crt`, which the controller manager writes.
    pub(super) root_ca: Known<Value>,
    /// `kube-system/kubeadm-config`.
    pub(super) kubeadm: Known<Value>,
    /// `kube-public/cluster-info`, by which machines join.
    pub(super) cluster_info: Known<Value>,
}

/// Where they are: namespace and name.
pub(super) const CONFIG_MAPS: [(&str, &str); 4] = [
    ("kube-system", "extension-apiserver-authentication"),
    ("kube-system", "kube-root-ca.crt"),
    ("kube-system", "kubeadm-config"),
    ("kube-public", "cluster-info"),
];

impl ConfigMaps {
    /// In the order of [`CONFIG_MAPS`].
    pub(super) fn new([authentication, root_ca, kubeadm, cluster_info]: [Known<Value>; 4]) -> ConfigMaps {
        ConfigMaps { authentication, root_ca, kubeadm, cluster_info }
    }

    /// See [`Side::cluster_ca`].
    pub(super) fn cluster_ca(&self) -> Known<BTreeSet<String>> {
        let root = data(&self.root_ca, "ca.crt").and_then(|pem| certificates(pem.as_bytes()));
        root.or_else(|why| {
            let encoded =
                self.info().and_then(|info| field(&info, "certificate-authority-data")).map_err(|_| why.clone())?;
            let pem = BASE64_STANDARD.decode(encoded).map_err(|_| why)?;
            certificates(&pem)
        })
    }

    /// See [`Side::front_proxy_ca`].
    pub(super) fn front_proxy_ca(&self) -> Known<BTreeSet<String>> {
        certificates(data(&self.authentication, "requestheader-client-ca-file")?.as_bytes())
    }

    /// See [`Side::address`].
    pub(super) fn address(&self) -> Known<String> {
        let endpoint = self.configuration("/controlPlaneEndpoint").and_then(|endpoint| host_and_port(&endpoint));
        endpoint.or_else(|why| host_and_port(&self.info().and_then(|info| field(&info, "server")).map_err(|_| why)?))
    }

    /// See [`Side::service_network`].
    pub(super) fn service_network(&self) -> Known<String> {
        self.configuration("/networking/serviceSubnet")
    }

    /// See [`Side::pod_network`].
    pub(super) fn pod_network(&self) -> Known<String> {
        self.configuration("/networking/podSubnet")
    }

    /// See [`Side::kubernetes`].
    pub(super) fn kubernetes(&self) -> Known<String> {
        self.configuration("/kubernetesVersion")
    }

    /// A text of kubeadm's configuration.
    fn configuration(&self, pointer: &str) -> Known<String> {
        let configuration = yaml(data(&self.kubeadm, "ClusterConfiguration")?)?;
        let text = configuration.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = pointer.rsplit('/').next().unwrap_or_default();
        text.map(str::to_owned).ok_or_else(|| format!("kubeadm-config has no {name}"))
    }

    /// The cluster of the kubeconfig by which machines join.
    fn info(&self) -> Known<Value> {
        let config = yaml(data(&self.cluster_info, "kubeconfig")?)?;
        config.pointer("/clusters/0/cluster").cloned().ok_or_else(|| "cluster-info names no cluster".to_owned())
    }
}

fn yaml(text: &str) -> Known<Value> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|_| "a ConfigMap holds no YAML".to_owned())
}

fn data<'a>(map: &'a Known<Value>, key: &str) -> Known<&'a str> {
    let map = map.as_ref().map_err(Clone::clone)?;
    map["data"][key].as_str().ok_or_else(|| format!("a ConfigMap has no {key}"))
}

fn field(value: &Value, name: &str) -> Known<String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| format!("it has no {name}"))
}

/// HOST:PORT of a URL, or of an address as kubeadm has it.
pub(super) fn host_and_port(address: &str) -> Known<String> {
    let address = address.strip_prefix("https://").unwrap_or(address).trim_end_matches('/');
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare_ipv6 = host.contains(':') && !address.contains(']');
    let has_port = !bare_ipv6 && address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match address.is_empty() {
        true => Err("it names no address".to_owned()),
        false if has_port => Ok(address.to_ascii_lowercase()),
        false if bare_ipv6 => Ok(format!("[{address}]:6443").to_ascii_lowercase()),
        // kubeadm's default.
        false => Ok(format!("{address}:6443").to_ascii_lowercase()),
    }
}

/// SHA-256 of every certificate in a PEM file.
pub(super) fn certificates(pem: &[u8]) -> Known<BTreeSet<String>> {
    let all: Result<BTreeSet<String>, _> = CertificateDer::pem_slice_iter(pem)
        .map(|one| one.map(|der| Sha256(digest(der.as_ref())).to_string()))
        .collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err("it holds no certificate".to_owned()),
    }
}

/// The ID that the API server gives the public keys in a PEM file: kubernetes pkg/serviceaccount/jwt.go @ v1.36.0.
pub(super) fn key_ids(pem: &[u8]) -> Known<BTreeSet<String>> {
    let id = |der: SubjectPublicKeyInfoDer<'_>| BASE64_URL_SAFE_NO_PAD.encode(digest(der.as_ref()));
    let all: Result<BTreeSet<String>, _> =
        SubjectPublicKeyInfoDer::pem_slice_iter(pem).map(|one| one.map(id)).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err("sa.pub holds no public key".to_owned()),
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut digest = Digest::new();
    digest.update(bytes);
    digest.finish()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A cluster of which everything is known.
    pub(in super::super) fn side() -> Side {
        let set = |text: &str| Ok(BTreeSet::from([text.to_owned()]));
        let text = |text: &str| Ok(text.to_owned());
        Side {
            cluster_ca: set("ca"),
            front_proxy_ca: set("proxy"),
            service_account_keys: set("sa"),
            encryption_keys: Ok(Vec::new()),
            nodes: Ok([("cp1".to_owned(), vec!["10.0.0.1".to_owned()])].into()),
            control_plane: BTreeSet::from(["cp1".to_owned()]),
            api_servers: set("10.0.0.1"),
            address: text("api.example:6443"),
            service_network: text("10.96.0.0/12"),
            pod_network: text("10.244.0.0/16"),
            kubernetes: text("v1.36.2"),
            etcd: text("3.6.14"),
            administrators: Ok(true),
        }
    }

    fn authority(name: &str) -> String {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    }

    #[test]
    fn config_maps_tell_of_their_cluster() {
        let (ca, proxy) = (authority("ca"), authority("proxy"));
        let info = format!(
            "apiVersion: v1\nclusters:\n- name: ''\n  cluster:\n    server: https://API.example:8443\n    certificate-authority-data: {}\n",
            BASE64_STANDARD.encode(&ca)
        );
        let kubeadm = "kubernetesVersion: v1.36.2\ncontrolPlaneEndpoint: api.example\nnetworking: {serviceSubnet: 10.96.0.0/12, podSubnet: ''}\n";
        let map = |key: &str, text: &str| Ok(json!({"data": {key: text}}));
        let missing = || Err("there is none".to_owned());
        let all = ConfigMaps::new([
            map("requestheader-client-ca-file", &proxy),
            map("ca.crt", &ca),
            map("ClusterConfiguration", kubeadm),
            map("kubeconfig", &info),
        ]);
        assert_eq!(all.cluster_ca(), certificates(ca.as_bytes()));
        assert_ne!(all.cluster_ca(), all.front_proxy_ca());
        assert_eq!(all.address(), Ok("api.example:6443".to_owned()));
        assert_eq!((all.service_network(), all.kubernetes()), (Ok("10.96.0.0/12".into()), Ok("v1.36.2".into())));
        assert_eq!(all.pod_network(), Err("kubeadm-config has no podSubnet".to_owned()));
        // What one lacks, another may tell.
        let less = ConfigMaps::new([missing(), missing(), missing(), map("kubeconfig", &info)]);
        assert_eq!((less.cluster_ca(), less.address()), (all.cluster_ca(), Ok("api.example:8443".to_owned())));
        let none = ConfigMaps::new([missing(), missing(), missing(), missing()]);
        let why = "there is none".to_owned();
        assert_eq!((none.cluster_ca(), none.address()), (Err(why.clone()), Err(why)));
        let broken =
            ConfigMaps::new([map("x", ""), map("ca.crt", "no PEM"), map("ClusterConfiguration", "- ["), missing()]);
        assert!(broken.cluster_ca().is_err() && broken.front_proxy_ca().is_err() && broken.kubernetes().is_err());
    }

    #[test]
    fn addresses_are_told_in_one_form() {
        for (typed, told) in [
            ("https://10.0.0.1:6443", "10.0.0.1:6443"),
            ("https://Api.Example/", "api.example:6443"),
            ("api.example:443", "api.example:443"),
            ("[fd00::1]:6443", "[fd00::1]:6443"),
            ("fd00::1", "[fd00::1]:6443"),
        ] {
            assert_eq!(host_and_port(typed).as_deref(), Ok(told), "{typed}");
        }
        assert!(host_and_port("https://").is_err());
    }

    /// As `openssl pkey -pubin -outform der | sha256sum` says of it.
    #[test]
    fn a_key_has_the_id_that_the_api_server_gives_it() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBW/VQY/r09Z9k5PMUCZ2CgL3mwNp\n08/vnjPnYZODCebvbV+JafYR1aJ/HlLlZwkiiqZTrDGjzThZy/eocR2TMw==\n-----END PUBLIC KEY-----\n";
        assert_eq!(
            key_ids(pem.as_bytes()),
            Ok(BTreeSet::from(["8RnlNdz1IRzmtgkKeliVzw6QsaZfnr4E6Pc_BFPpsMY".to_owned()]))
        );
        assert!(key_ids(b"-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n").is_err());
    }

    #[test]
    fn only_public_files_of_a_node_are_kept() {
        let mut files = PublicFiles::default();
        for path in ["etc/kubernetes/pki/sa.key", "etc/kubernetes/pki/ca.key", "etc/kubernetes/pki/etcd/ca.crt"] {
            files.take(path, b"x");
        }
        assert_eq!(files, PublicFiles::default());
        files.take("etc/kubernetes/pki/sa.pub", b"x");
        assert_eq!(files.service_account_key.as_deref(), Some(&b"x"[..]));
    }
}
