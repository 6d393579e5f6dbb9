//! kubeadm's certificates, with its subjects, names, uses and modes, made anew for every lab.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use base64::Engine;
use fs_err as fs;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Use, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::files;

/// What to do to a node's etcd certificates: see [`crate::Lab::reissue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issue {
    /// As they are at the start.
    Valid,
    /// By the right authority, but their time has passed.
    Expired,
    /// In time, but by an authority that nobody trusts.
    OtherCa,
}

/// A certificate with its key, both as PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Pair {
    /// Writes `NAME.crt` (0644) and `NAME.key` (0600).
    pub(crate) fn write(&self, dir: &Path, name: &str) -> Result<()> {
        files::write(&dir.join(format!("{name}.key")), self.key.as_bytes(), 0o600)?;
        files::write(&dir.join(format!("{name}.crt")), self.cert.as_bytes(), 0o644)
    }

    /// Reads what [`Pair::write`] wrote.
    pub(crate) fn read(dir: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            cert: fs::read_to_string(dir.join(format!("{name}.crt")))?,
            key: fs::read_to_string(dir.join(format!("{name}.key")))?,
        })
    }
}

/// What goes into a leaf certificate.
#[derive(Debug, Default)]
pub(crate) struct Leaf<'a> {
    pub(crate) common_name: &'a str,
    pub(crate) organizations: &'a [&'a str],
    pub(crate) names: Vec<SanType>,
    pub(crate) uses: Vec<Use>,
}

fn subject(common_name: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// A self-signed authority; kubeadm's bear their own name as a DNS name too.
pub(crate) fn authority(name: &str) -> Result<Pair> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = subject(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    let (first, last) = validity(Issue::Valid);
    (params.not_before, params.not_after) = (first.into(), last.into());
    let key = KeyPair::generate()?;
    Ok(Pair { cert: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// Signs a leaf. [`Issue::OtherCa`] is signed by an authority of the same name made for this one certificate.
pub(crate) fn issue(ca: &Pair, leaf: Leaf<'_>, kind: Issue) -> Result<Pair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(leaf.common_name, leaf.organizations);
    params.subject_alt_names = leaf.names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = leaf.uses;
    params.use_authority_key_identifier_extension = true;
    let (first, last) = validity(kind);
    (params.not_before, params.not_after) = (first.into(), last.into());
    let stranger;
    let ca = if kind == Issue::OtherCa {
        stranger = authority("etcd-ca")?;
        &stranger
    } else {
        ca
    };
    let issuer = Issuer::from_ca_cert_pem(&ca.cert, KeyPair::from_pem(&ca.key)?).context("the authority's files")?;
    let key = KeyPair::generate()?;
    Ok(Pair { cert: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

/// The first and the last moment: a year, or a month that ended a day ago.
fn validity(kind: Issue) -> (SystemTime, SystemTime) {
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    match kind {
        Issue::Expired => (now - 31 * day, now - day),
        Issue::Valid | Issue::OtherCa => (now - day / 24, now + 365 * day),
    }
}

fn dns(name: &str) -> Result<SanType> {
    Ok(SanType::DnsName(name.try_into()?))
}

/// The authorities all nodes share.
#[derive(Debug)]
pub(crate) struct Authorities {
    pub(crate) kubernetes: Pair,
    etcd: Pair,
    front_proxy: Pair,
    service_account: KeyPair,
}

impl Authorities {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            kubernetes: authority("kubernetes")?,
            etcd: authority("etcd-ca")?,
            front_proxy: authority("front-proxy-ca")?,
            service_account: KeyPair::generate()?,
        })
    }

    /// Writes a node's `/etc/kubernetes/pki`.
    pub(crate) fn write_node(&self, pki: &Path, node: &str, address: Ipv4Addr, balancer: Ipv4Addr) -> Result<()> {
        let etcd = pki.join("etcd");
        fs::create_dir_all(&etcd)?;
        self.kubernetes.write(pki, "ca")?;
        self.front_proxy.write(pki, "front-proxy-ca")?;
        self.etcd.write(&etcd, "ca")?;
        files::write(&pki.join("sa.key"), self.service_account.serialize_pem().as_bytes(), 0o600)?;
        files::write(&pki.join("sa.pub"), self.service_account.public_key_pem().as_bytes(), 0o600)?;

        let mut names = vec![dns(node)?];
        for name in ["", ".default", ".default.svc", ".default.svc.cluster.local"] {
            names.push(dns(&format!("kubernetes{name}"))?);
        }
        names.extend([Ipv4Addr::new(10, 96, 0, 1), address, balancer].map(|ip| SanType::IpAddress(IpAddr::V4(ip))));
        let server = Leaf { common_name: "kube-apiserver", names, uses: vec![Use::ServerAuth], ..Leaf::default() };
        issue(&self.kubernetes, server, Issue::Valid)?.write(pki, "apiserver")?;
        for (ca, name, common_name, organizations) in [
            (
                &self.kubernetes,
                "apiserver-kubelet-client",
                "kube-apiserver-kubelet-client",
                &["kubeadm:cluster-admins"][..],
            ),
            (&self.front_proxy, "front-proxy-client", "front-proxy-client", &[]),
        ] {
            let leaf = Leaf { common_name, organizations, uses: vec![Use::ClientAuth], ..Leaf::default() };
            issue(ca, leaf, Issue::Valid)?.write(pki, name)?;
        }
        write_etcd_leaves(pki, node, address, Issue::Valid)
    }

    /// The kubelet's serving certificate.
    pub(crate) fn kubelet_server(&self, node: &str, address: Ipv4Addr) -> Result<Pair> {
        let names = vec![dns(node)?, SanType::IpAddress(IpAddr::V4(address))];
        let common_name = format!("{node}@lab");
        let leaf = Leaf { common_name: &common_name, names, uses: vec![Use::ServerAuth], ..Leaf::default() };
        issue(&self.kubernetes, leaf, Issue::Valid)
    }
}

/// Writes the certificates that etcd's authority signs, with the authority whose key lies in the same folder.
pub(crate) fn write_etcd_leaves(pki: &Path, node: &str, address: Ipv4Addr, kind: Issue) -> Result<()> {
    let etcd = pki.join("etcd");
    let ca = Pair::read(&etcd, "ca")?;
    for name in ["server", "peer"] {
        let mut names = vec![dns(node)?, dns("localhost")?];
        let addresses = [IpAddr::V4(address), Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        names.extend(addresses.map(SanType::IpAddress));
        let leaf = Leaf { common_name: node, names, uses: vec![Use::ServerAuth, Use::ClientAuth], ..Leaf::default() };
        issue(&ca, leaf, kind)?.write(&etcd, name)?;
    }
    write_etcd_clients(pki, kind)
}

/// Writes the two client pairs of etcd.
pub(crate) fn write_etcd_clients(pki: &Path, kind: Issue) -> Result<()> {
    let etcd = pki.join("etcd");
    let ca = Pair::read(&etcd, "ca")?;
    for (dir, name, common_name) in [
        (etcd.as_path(), "healthcheck-client", "kube-etcd-healthcheck-client"),
        (pki, "apiserver-etcd-client", "kube-apiserver-etcd-client"),
    ] {
        let leaf = Leaf { common_name, uses: vec![Use::ClientAuth], ..Leaf::default() };
        issue(&ca, leaf, kind)?.write(dir, name)?;
    }
    Ok(())
}

/// A kubeconfig for a user with a client certificate.
pub(crate) fn kubeconfig(ca: &Pair, user: &str, groups: &[&str], server: &str) -> Result<String> {
    let leaf = Leaf { common_name: user, organizations: groups, uses: vec![Use::ClientAuth], ..Leaf::default() };
    let pair = issue(ca, leaf, Issue::Valid)?;
    let encode = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
    let context = "lab";
    Ok(serde_yaml_ng::to_string(&json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": context,
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority-data": encode(&ca.cert)}}],
        "contexts": [{"name": context, "context": {"cluster": "lab", "user": user}}],
        "users": [{"name": user, "user": {
            "client-certificate-data": encode(&pair.cert), "client-key-data": encode(&pair.key)}}],
    }))?)
}
