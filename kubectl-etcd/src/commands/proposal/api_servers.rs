//! API servers that nothing would stop: they would write to members with new data before it is decided that the data stays. Pure.

use etcd_objects::key::Prefix;

use super::Keys;

/// The API servers that have a lease in etcd. Each that runs has one, for 15 seconds after its last word (k8s.io/kubernetes
/// pkg/controlplane/reconcilers/lease.go).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ApiServerLeases {
    /// The keys that they begin with.
    directory: String,
    addresses: Vec<String>,
}

/// Which nodes a plan has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// Those that were named.
    OverSsh,
    /// Those with members that the API server knows.
    ByApi,
}

impl ApiServerLeases {
    /// Those of a cluster with these keys.
    pub(crate) fn of(keys: &Keys, prefix: &Prefix) -> ApiServerLeases {
        let directory = format!("{}/masterleases/", prefix.as_str());
        let address =
            |key: &Vec<u8>| Some(String::from_utf8_lossy(key.strip_prefix(directory.as_bytes())?).into_owned());
        let addresses = keys.keys().filter_map(address).collect();
        ApiServerLeases { directory, addresses }
    }

    /// Why the data must not be exchanged, where API servers are stopped on so many nodes.
    pub(crate) fn objection(&self, stopped: usize, named: Named) -> Option<String> {
        let (count, listed, directory) = (self.addresses.len(), self.addresses.join(", "), &self.directory);
        let remove = format!("if no API server has that address, remove the lease (etcdctl del {directory}ADDRESS)");
        (count > stopped).then(|| match named {
            Named::OverSsh => format!(
                "etcd has leases of {count} API servers ({listed}), and API servers are on {stopped} of the nodes that were named: one that is not stopped would \
                 write to the new data; name its node, too (--nodes); {remove}"
            ),
            Named::ByApi => format!(
                "etcd has leases of {count} API servers ({listed}), and members of etcd are on {stopped} nodes: an API server on a node without etcd is not \
                 stopped, and would write to the new data; name all nodes over SSH (--ssh --nodes), or move its manifest out of the kubelet's folder until the \
                 restore has ended, and wait 15 seconds; {remove}"
            ),
        })
    }

    /// What has to be made sure of, where etcd has not served for a while: its leases are old.
    pub(crate) fn doubt(&self, stopped: usize) -> Option<String> {
        let (count, listed) = (self.addresses.len(), self.addresses.join(", "));
        (count > stopped).then(|| {
            format!(
                "{count} API servers had leases in etcd when it served last ({listed}), and {stopped} of them are stopped: any other one that still runs would write \
                 to the new data; name its node, too (--nodes), or make sure that it does not run"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::keys;
    use super::*;

    #[test]
    fn only_leases_below_the_own_prefix_count() {
        let of = |all: &[&str]| {
            let all: Vec<(&str, i64)> = all.iter().map(|key| (*key, 1)).collect();
            ApiServerLeases::of(&keys(&all), &Prefix::default())
        };
        let one = of(&["/registry/masterleases/10.0.0.1", "/other/masterleases/10.0.0.9", "/registry/masterlease"]);
        assert_eq!((one.objection(1, Named::ByApi), one.doubt(1)), (None, None));
        let two = of(&["/registry/masterleases/10.0.0.1", "/registry/masterleases/10.0.0.9"]);
        for (named, text) in [(Named::OverSsh, "name its node, too"), (Named::ByApi, "--ssh --nodes")] {
            let why = two.objection(1, named).expect("one is not stopped");
            assert!(why.contains("2 API servers (10.0.0.1, 10.0.0.9)") && why.contains(text), "{why}");
            assert!(why.contains("etcdctl del /registry/masterleases/ADDRESS"), "{why}");
        }
        assert!(two.doubt(1).expect("one may run").contains("1 of them are stopped"));
    }
}
