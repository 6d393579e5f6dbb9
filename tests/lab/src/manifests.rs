//! kubeadm's static pod manifests: its flags, volumes, labels and image names. Probes and resources are left out,
//! because the lab's kubelet neither probes nor reserves.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::files;
use crate::paths::{LAB_DIR, MANIFESTS};

/// The Kubernetes version the images' names bear.
pub(crate) const VERSION: &str = "v1.33.0";

/// The certificate folders of the distributions, which kubeadm mounts into two of the pods.
const SYSTEM_CERTS: [(&str, &str); 4] = [
    ("ca-certs", "/etc/ssl/certs"),
    ("etc-ca-certificates", "/etc/ca-certificates"),
    ("usr-local-share-ca-certificates", "/usr/local/share/ca-certificates"),
    ("usr-share-ca-certificates", "/usr/share/ca-certificates"),
];

/// What a node's manifests depend on.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: Ipv4Addr,
    /// As in the image's tag: `3.5.1`.
    pub(crate) etcd_version: &'a str,
    /// etcd's `--initial-cluster`: the members that were there when the node joined, and its own.
    pub(crate) initial_cluster: &'a str,
    /// Whether it is the first node, which joined nobody.
    pub(crate) first: bool,
    /// etcd's `--quota-backend-bytes`, which kubeadm leaves to etcd.
    pub(crate) etcd_quota: Option<u64>,
}

/// A mount of a static pod: volume name, host path and path in the container, volume type, read only.
type Mount<'a> = (&'a str, &'a str, &'a str, bool);

fn pod(name: &str, annotations: &Value, image: &str, command: &[String], mounts: &[Mount<'_>]) -> Value {
    let mount = |&(name, path, _, read_only): &Mount<'_>| {
        let mut mount = json!({"mountPath": path, "name": name});
        if read_only {
            mount["readOnly"] = true.into();
        }
        mount
    };
    let mut volumes = mounts.to_vec();
    volumes.sort_by_key(|volume| volume.0);
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "labels": {"component": name, "tier": "control-plane"}, "name": name, "namespace": "kube-system"},
        "spec": {
            "containers": [{
                "command": command, "image": image, "imagePullPolicy": "IfNotPresent", "name": name,
                "volumeMounts": mounts.iter().map(mount).collect::<Vec<_>>(),
            }],
            "hostNetwork": true, "priority": 2_000_001_000, "priorityClassName": "system-node-critical",
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": volumes.iter().map(|&(name, path, kind, _)| {
                json!({"hostPath": {"path": path, "type": kind}, "name": name})
            }).collect::<Vec<_>>(),
        },
        "status": {},
    });
    if !annotations.is_null() {
        pod["metadata"]["annotations"] = annotations.clone();
    }
    pod
}

fn command(program: &str, flags: &str) -> Vec<String> {
    std::iter::once(program.to_owned()).chain(flags.split_whitespace().map(|flag| format!("--{flag}"))).collect()
}

/// etcd's flags, in kubeadm's order: by the alphabet.
pub(crate) fn etcd_flags(node: &Node<'_>) -> Vec<String> {
    let Node { name, address, etcd_version, initial_cluster, first, etcd_quota } = node;
    let quota = etcd_quota.map(|bytes| format!("quota-backend-bytes={bytes}")).unwrap_or_default();
    let state = if *first { "" } else { "initial-cluster-state=existing" };
    // etcd 3.6 has taken these out of the experiment.
    let checked = match etcd_version.starts_with("3.4.") || etcd_version.starts_with("3.5.") {
        true => "experimental-initial-corrupt-check=true experimental-watch-progress-notify-interval=5s",
        false => "feature-gates=InitialCorruptCheck=true watch-progress-notify-interval=5s",
    };
    let flags = format!(
        "advertise-client-urls=https://{address}:2379 cert-file=/etc/kubernetes/pki/etcd/server.crt
         client-cert-auth=true data-dir=/var/lib/etcd {checked}
         initial-advertise-peer-urls=https://{address}:2380 initial-cluster={initial_cluster} {state}
         key-file=/etc/kubernetes/pki/etcd/server.key
         listen-client-urls=https://127.0.0.1:2379,https://{address}:2379
         listen-metrics-urls=http://127.0.0.1:2381 listen-peer-urls=https://{address}:2380 name={name}
         peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt peer-client-cert-auth=true
         peer-key-file=/etc/kubernetes/pki/etcd/peer.key peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt {quota}
         snapshot-count=10000 trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt"
    );
    let mut flags: Vec<String> = flags.split_whitespace().map(|flag| format!("--{flag}")).collect();
    flags.sort_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
    flags
}

/// etcd's manifest.
pub(crate) fn etcd(node: &Node<'_>) -> Value {
    let (address, etcd_version) = (node.address, node.etcd_version);
    let command: Vec<String> = std::iter::once("etcd".to_owned()).chain(etcd_flags(node)).collect();
    pod(
        "etcd",
        &json!({"kubeadm.kubernetes.io/etcd.advertise-client-urls": format!("https://{address}:2379")}),
        &format!("registry.k8s.io/etcd:{etcd_version}-0"),
        &command,
        &[
            ("etcd-data", "/var/lib/etcd", "DirectoryOrCreate", false),
            ("etcd-certs", "/etc/kubernetes/pki/etcd", "DirectoryOrCreate", false),
        ],
    )
}

fn with_system_certs<'a>(mounts: &[Mount<'a>]) -> Vec<Mount<'a>> {
    let system = SYSTEM_CERTS.iter().map(|&(name, path)| (name, path, "DirectoryOrCreate", true));
    mounts.iter().copied().chain(system).collect()
}

/// The API server's manifest: kubeadm's, and the folder of the lab's faults, and another grace period than the 30 s
/// that kubeadm leaves it, if there is one.
pub(crate) fn api_server(node: &Node<'_>, grace: Option<u32>) -> Value {
    let address = node.address;
    let pki = "/etc/kubernetes/pki";
    let flags = format!(
        "advertise-address={address} allow-privileged=true authorization-mode=Node,RBAC
         client-ca-file={pki}/ca.crt enable-admission-plugins=NodeRestriction enable-bootstrap-token-auth=true
         etcd-cafile={pki}/etcd/ca.crt etcd-certfile={pki}/apiserver-etcd-client.crt
         etcd-keyfile={pki}/apiserver-etcd-client.key etcd-servers=https://127.0.0.1:2379
         kubelet-client-certificate={pki}/apiserver-kubelet-client.crt
         kubelet-client-key={pki}/apiserver-kubelet-client.key
         kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname
         proxy-client-cert-file={pki}/front-proxy-client.crt proxy-client-key-file={pki}/front-proxy-client.key
         requestheader-allowed-names=front-proxy-client requestheader-client-ca-file={pki}/front-proxy-ca.crt
         requestheader-extra-headers-prefix=X-Remote-Extra- requestheader-group-headers=X-Remote-Group
         requestheader-username-headers=X-Remote-User secure-port=6443
         service-account-issuer=https://kubernetes.default.svc.cluster.local
         service-account-key-file={pki}/sa.pub service-account-signing-key-file={pki}/sa.key
         service-cluster-ip-range=10.96.0.0/12 tls-cert-file={pki}/apiserver.crt
         tls-private-key-file={pki}/apiserver.key lab-dir={LAB_DIR}"
    );
    let mut pod = pod(
        "kube-apiserver",
        &json!({"kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint": format!("{address}:6443")}),
        &format!("registry.k8s.io/kube-apiserver:{VERSION}"),
        &command("kube-apiserver", &flags),
        &with_system_certs(&[
            ("k8s-certs", pki, "DirectoryOrCreate", true),
            ("lab", LAB_DIR, "DirectoryOrCreate", true),
        ]),
    );
    if let Some(seconds) = grace {
        pod["spec"]["terminationGracePeriodSeconds"] = seconds.into();
    }
    pod
}

/// The controller manager's manifest; in the lab it only waits.
pub(crate) fn controller_manager() -> Value {
    let (pki, conf) = ("/etc/kubernetes/pki", "/etc/kubernetes/controller-manager.conf");
    let flags = format!(
        "allocate-node-cidrs=true authentication-kubeconfig={conf} authorization-kubeconfig={conf}
         bind-address=127.0.0.1 client-ca-file={pki}/ca.crt cluster-cidr=10.99.0.0/16 cluster-name=lab
         cluster-signing-cert-file={pki}/ca.crt cluster-signing-key-file={pki}/ca.key
         controllers=*,bootstrapsigner,tokencleaner kubeconfig={conf} leader-elect=true
         requestheader-client-ca-file={pki}/front-proxy-ca.crt root-ca-file={pki}/ca.crt
         service-account-private-key-file={pki}/sa.key service-cluster-ip-range=10.96.0.0/12
         use-service-account-credentials=true"
    );
    pod(
        "kube-controller-manager",
        &Value::Null,
        &format!("registry.k8s.io/kube-controller-manager:{VERSION}"),
        &command("kube-controller-manager", &flags),
        &with_system_certs(&[
            ("k8s-certs", pki, "DirectoryOrCreate", true),
            ("kubeconfig", conf, "FileOrCreate", true),
        ]),
    )
}

/// The scheduler's manifest; in the lab it only waits.
pub(crate) fn scheduler() -> Value {
    let conf = "/etc/kubernetes/scheduler.conf";
    let flags = format!(
        "authentication-kubeconfig={conf} authorization-kubeconfig={conf} bind-address=127.0.0.1 kubeconfig={conf}
         leader-elect=true"
    );
    pod(
        "kube-scheduler",
        &Value::Null,
        &format!("registry.k8s.io/kube-scheduler:{VERSION}"),
        &command("kube-scheduler", &flags),
        &[("kubeconfig", conf, "FileOrCreate", true)],
    )
}

/// Writes one manifest into a node's manifests folder.
pub(crate) fn write(manifests: &Path, name: &str, pod: &Value) -> Result<()> {
    files::write(&manifests.join(format!("{name}.yaml")), serde_yaml_ng::to_string(pod)?.as_bytes(), 0o600)
}

/// The part of a kubeadm node's kubelet configuration that says where manifests are.
pub(crate) fn kubelet_config() -> Result<String> {
    Ok(serde_yaml_ng::to_string(&json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false}, "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"}},
        "healthzBindAddress": "127.0.0.1", "healthzPort": 10248, "staticPodPath": MANIFESTS,
    }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a real cluster of three, joined in turn.
    #[test]
    fn etcds_manifest_is_kubeadms() {
        let members = ["cp1=https://10.89.0.11:2380", "cp2=https://10.89.0.12:2380", "cp3=https://10.89.0.13:2380"];
        let clusters = [members[0].to_owned(), members[..2].join(","), [members[2], members[0], members[1]].join(",")];
        for (number, initial_cluster) in (1_u8..).zip(&clusters) {
            let name = format!("cp{number}");
            let file = format!("{}/../data/kubeadm/{name}/manifests/etcd.yaml", env!("CARGO_MANIFEST_DIR"));
            let text = fs_err::read_to_string(file).expect("a manifest");
            let mut theirs: Value = serde_yaml_ng::from_str(&text).expect("YAML");
            let container = theirs["spec"]["containers"][0].as_object_mut().expect("a container");
            // What the lab's kubelet has no use for.
            for field in ["livenessProbe", "ports", "readinessProbe", "resources", "startupProbe"] {
                assert!(container.remove(field).is_some(), "{name} has no {field}");
            }
            let node = Node {
                name: &name,
                address: Ipv4Addr::new(10, 89, 0, 10 + number),
                etcd_version: "3.6.14",
                initial_cluster,
                first: number == 1,
                etcd_quota: None,
            };
            assert_eq!(etcd(&node), theirs, "{name}");
        }
    }

    #[test]
    fn an_older_etcd_has_its_flags_by_their_older_names() {
        let address = Ipv4Addr::new(10, 89, 0, 11);
        let flags = |etcd_version| {
            let node =
                Node { name: "cp1", address, etcd_version, initial_cluster: "x", first: true, etcd_quota: Some(5) };
            etcd_flags(&node).join(" ")
        };
        let old = " --data-dir=/var/lib/etcd --experimental-initial-corrupt-check=true \
                   --experimental-watch-progress-notify-interval=5s --initial-advertise-peer-urls=";
        assert!(flags("3.5.1").contains(old) && flags("3.4.23").contains(old), "{}", flags("3.5.1"));
        assert!(flags("3.7.1").ends_with(" --watch-progress-notify-interval=5s"), "{}", flags("3.7.1"));
        assert!(flags("3.5.1").contains(" --quota-backend-bytes=5 --snapshot-count=10000 "));
    }
}
