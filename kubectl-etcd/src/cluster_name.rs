//! What a cluster is called: on the command line, in questions, and in names of files. A pure function.
//!
//! kubeadm calls every cluster `kubernetes`, and every context `kubernetes-admin@kubernetes`; k3s and RKE2 call both `default`. Such a name does not tell one cluster
//! from another, so the address of the API server is taken instead.

use http::Uri;

/// What says which cluster is meant.
#[derive(Debug, Default)]
pub(crate) struct Named<'a> {
    /// The context in effect, if there is one.
    pub(crate) context: Option<&'a str>,
    /// `--cluster`
    pub(crate) cluster: Option<&'a str>,
    /// Whether `--server` names another API server than the kubeconfig's.
    pub(crate) elsewhere: bool,
}

/// The name that tells this cluster from others: the cluster that was named, else the context, else the API server.
pub(crate) fn cluster_name(named: &Named<'_>, server: &Uri) -> String {
    let name = named.cluster.or(named.context).filter(|name| !named.elsewhere && tells(name));
    name.map_or_else(|| address(server), str::to_owned)
}

/// Whether a name is given to no other cluster by the tools that make clusters.
fn tells(name: &str) -> bool {
    let cluster = name.rsplit_once('@').map_or(name, |(_, cluster)| cluster);
    !matches!(cluster, "" | "kubernetes" | "default")
}

/// Host, port if that is not the usual one, and path of a server behind a gateway.
fn address(server: &Uri) -> String {
    let host = server.host().unwrap_or("cluster").trim_matches(['[', ']']);
    let port = server.port_u16().filter(|port| ![443, 6443].contains(port));
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{host}{port}{}", server.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(context: Option<&str>, cluster: Option<&str>, elsewhere: bool, server: &str) -> String {
        cluster_name(&Named { context, cluster, elsewhere }, &server.parse().expect("a URL"))
    }

    #[test]
    fn a_name_that_all_clusters_have_gives_way_to_the_server() {
        let api = "https://api.prod.example.com:6443";
        for (context, cluster, elsewhere, server, expected) in [
            (Some("prod-eu"), None, false, api, "prod-eu"),
            (Some("admin@prod-eu"), None, false, api, "admin@prod-eu"),
            (Some("kubernetes-admin@kubernetes"), None, false, api, "api.prod.example.com"),
            (Some("default"), None, false, "https://127.0.0.1:16443", "127.0.0.1:16443"),
            (None, None, false, "https://10.0.0.10", "10.0.0.10"),
            (Some("prod-eu"), Some("prod-us"), false, api, "prod-us"),
            (Some("prod-eu"), Some("kubernetes"), false, api, "api.prod.example.com"),
            (Some("prod-eu"), None, true, "https://[fd00::1]:6443", "fd00::1"),
            (None, None, false, "https://gate.example.com/k8s/clusters/c-1/", "gate.example.com/k8s/clusters/c-1"),
        ] {
            assert_eq!(name(context, cluster, elsewhere, server), expected, "{context:?} {cluster:?}");
        }
    }
}
