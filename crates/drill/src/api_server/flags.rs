//! The command line of the drill's API server: what the cluster's own says of the data, and what makes it harmless. Pure.

use std::path::Path;

/// Flags of the cluster's own API server that decide what it finds in etcd and which resources it serves. All others say whom it trusts, whom it asks and
/// where it listens.
const KEPT: [&str; 9] = [
    "emulated-version",
    "emulation-forward-compatible",
    "feature-gates",
    "min-compatibility-version",
    "runtime-config",
    "runtime-config-emulation-forward-compatible",
    "service-cluster-ip-range",
    "service-node-port-range",
    "storage-media-type",
];

/// An address that is nobody's: RFC 5737 and RFC 3849. It has to be of the family of the services' addresses, and is never written.
const NOBODYS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

/// Files that the API server is started with, by their names in its folder.
pub(crate) const ETCD_CERT: &str = "etcd-client.crt";
pub(crate) const ETCD_KEY: &str = "etcd-client.key";
pub(crate) const ACCOUNTS: &str = "sa.key";
pub(crate) const ACCOUNTS_PUBLIC: &str = "sa.pub";
pub(crate) const EGRESS: &str = "egress.yaml";
pub(crate) const ENCRYPTION: &str = "encryption.yaml";

/// Of the flags of the cluster's own API server, as `--name=value`, those that a drill is told.
///
/// # Errors
/// The value of one of them is not known: its name.
pub fn kept(flags: &[String]) -> Result<Vec<String>, String> {
    let name = |flag: &str| flag.split('=').next().unwrap_or_default().trim_start_matches('-').to_owned();
    let kept = flags.iter().filter(|flag| KEPT.contains(&name(flag).as_str()));
    kept.map(|flag| if flag.contains('=') { Ok(flag.clone()) } else { Err(flag.clone()) }).collect()
}

/// What is different from drill to drill.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// Where etcd listens on the loopback.
    pub(crate) etcd_port: u16,
    /// Where the API server is to listen.
    pub(crate) port: u16,
    /// `--etcd-prefix`.
    pub(crate) prefix: &'a str,
    /// The folder of the drill's authority and of the server's certificate.
    pub(crate) folder: &'a Path,
    /// The folder of the API server's own files.
    pub(crate) files: &'a Path,
    /// Whether [`ENCRYPTION`] is among them.
    pub(crate) decrypts: bool,
}

/// The whole command line. `kept` are the cluster's own flags: only [`KEPT`] are taken.
pub(crate) fn arguments(place: &Place<'_>, kept: &[String]) -> Vec<String> {
    use crate::credentials::{CA_FILE, CERT_FILE, KEY_FILE};
    let own = |name: &str| place.files.join(name).display().to_string();
    let of_drill = |name: &str| place.folder.join(name).display().to_string();
    let mut flags = vec![
        ("etcd-servers", format!("https://127.0.0.1:{}", place.etcd_port)),
        ("etcd-cafile", of_drill(CA_FILE)),
        ("etcd-certfile", own(ETCD_CERT)),
        ("etcd-keyfile", own(ETCD_KEY)),
        ("etcd-prefix", if place.prefix.is_empty() { "/".to_owned() } else { place.prefix.to_owned() }),
        // What is listed is compared with etcd at the same revision.
        ("etcd-compaction-interval", "0".to_owned()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("secure-port", place.port.to_string()),
        ("advertise-address", NOBODYS[usize::from(is_ipv6(kept))].to_owned()),
        ("endpoint-reconciler-type", "none".to_owned()),
        ("tls-cert-file", of_drill(CERT_FILE)),
        ("tls-private-key-file", of_drill(KEY_FILE)),
        // Whoever has a certificate of the drill's authority may do everything, and nobody else anything.
        ("client-ca-file", of_drill(CA_FILE)),
        ("anonymous-auth", "false".to_owned()),
        ("authorization-mode", "AlwaysAllow".to_owned()),
        ("service-account-issuer", "https://drill.invalid".to_owned()),
        ("service-account-key-file", own(ACCOUNTS_PUBLIC)),
        ("service-account-signing-key-file", own(ACCOUNTS)),
        // The webhooks and API services of the backup lie in the cluster that runs: nobody of it is asked.
        ("disable-admission-plugins", "MutatingAdmissionWebhook,ValidatingAdmissionWebhook".to_owned()),
        ("egress-selector-config-file", own(EGRESS)),
        // Lists come from etcd, and are not held in memory.
        ("watch-cache", "false".to_owned()),
        ("enable-priority-and-fairness", "false".to_owned()),
        ("profiling", "false".to_owned()),
    ];
    if place.decrypts {
        flags.push(("encryption-provider-config", own(ENCRYPTION)));
    }
    let ours = flags.into_iter().map(|(name, value)| format!("--{name}={value}"));
    let is_kept = |flag: &&String| KEPT.iter().any(|name| flag.starts_with(&format!("--{name}=")));
    ours.chain(kept.iter().filter(is_kept).cloned()).collect()
}

/// Whether the first range of the services' addresses is of IPv6.
fn is_ipv6(flags: &[String]) -> bool {
    let range = flags.iter().find_map(|flag| flag.strip_prefix("--service-cluster-ip-range="));
    range.and_then(|ranges| ranges.split(',').next()).is_some_and(|first| first.contains(':'))
}

/// Connections to what runs in a cluster go to a socket that is not there: kubernetes/apiserver pkg/apis/apiserver/v1beta1/types.go @ v0.36.2.
pub(crate) fn egress(files: &Path) -> String {
    let socket = files.join("nobody").display().to_string();
    serde_json::json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{
            "name": "cluster",
            "connection": {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": socket}}},
        }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(flags: &[&str]) -> Vec<String> {
        flags.iter().map(|flag| (*flag).to_owned()).collect()
    }

    /// The flags of a real kubeadm cluster.
    fn kubeadms() -> Vec<String> {
        let text = include_str!("../../../../tests/data/kubeadm/cp1/manifests/kube-apiserver.yaml");
        text.lines().filter_map(|line| line.trim().strip_prefix("- --")).map(|flag| format!("--{flag}")).collect()
    }

    #[test]
    fn what_says_something_of_the_data_is_kept_of_the_clusters_flags() {
        assert!(kubeadms().len() > 20);
        assert_eq!(kept(&kubeadms()).expect("known"), ["--service-cluster-ip-range=10.96.0.0/12"]);
        let more = ["--feature-gates=A=true", "--runtime-config=api/all=true", "--storage-media-type=application/json"];
        let others =
            ["--token-auth-file=/t", "--oidc-issuer-url=https://x", "--etcd-servers-overrides=/events#https://e:1"];
        assert_eq!(kept(&texts(&[&more[..], &others].concat())).expect("known"), more);
        assert_eq!(kept(&texts(&["--runtime-config"])).expect_err("its value is not known"), "--runtime-config");
    }

    #[test]
    fn the_api_server_listens_to_its_drill_alone_and_is_no_endpoint() {
        let place = |decrypts| Place {
            etcd_port: 2379,
            port: 6443,
            prefix: "/registry",
            folder: Path::new("/drill/x"),
            files: Path::new("/keys"),
            decrypts,
        };
        let flags = arguments(&place(false), &kept(&kubeadms()).expect("known"));
        for flag in [
            "--etcd-servers=https://127.0.0.1:2379",
            "--etcd-prefix=/registry",
            "--bind-address=127.0.0.1",
            "--secure-port=6443",
            "--endpoint-reconciler-type=none",
            "--anonymous-auth=false",
            "--client-ca-file=/drill/x/ca.crt",
            "--service-cluster-ip-range=10.96.0.0/12",
            "--advertise-address=192.0.2.1",
        ] {
            assert!(flags.iter().any(|one| one == flag), "{flag} is not in {flags:?}");
        }
        let names: Vec<&str> = flags.iter().filter_map(|flag| flag.split('=').next()).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        assert!(!names.contains(&"--encryption-provider-config"), "{names:?}");
        assert!(
            arguments(&place(true), &[]).contains(&"--encryption-provider-config=/keys/encryption.yaml".to_owned())
        );
        // Nobody gives it a flag that is not of the data.
        let foreign = texts(&["--bind-address=0.0.0.0", "--service-cluster-ip-range=fd00::/112,10.0.0.0/16"]);
        let flags = arguments(&place(false), &foreign);
        assert!(!flags.contains(&foreign[0]) && flags.contains(&foreign[1]), "{flags:?}");
        assert!(flags.contains(&"--advertise-address=2001:db8::1".to_owned()), "{flags:?}");
    }
}
