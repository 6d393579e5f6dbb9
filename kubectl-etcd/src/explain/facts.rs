//! What an explanation is a function of: the members as their pods in the API describe them.

use etcd_wire::restore::Parts;

use super::{Place, flag};
use crate::discovery::EtcdPod;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome};

/// What was discovered.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The name of the cluster, as the user knows it.
    pub(crate) cluster: String,
    /// At least one.
    pub(crate) members: Vec<Member>,
    /// The nodes with API servers.
    pub(crate) api_servers: Vec<Member>,
    /// The kubelet's folder of static pod manifests.
    pub(crate) manifests_dir: String,
}

/// One member, and how it is reached from its node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub(crate) node: String,
    pub(crate) address: Option<String>,
    pub(crate) name: String,
    pub(crate) endpoint: String,
    pub(crate) ca: Option<String>,
    /// Certificate and key of a client.
    pub(crate) pair: Option<(String, String)>,
    pub(crate) data_dir: Option<String>,
    pub(crate) wal_dir: Option<String>,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) version: Version,
    /// The systemd unit that starts it, where the kubelet does not.
    pub(crate) unit: Option<String>,
}

impl Facts {
    /// Reads the members, and the nodes whose API servers use their etcd.
    pub(crate) fn of(cluster: &str, nodes: &[EtcdPod], manifests_dir: &str) -> Facts {
        let those = |without: Parts| nodes.iter().filter(move |node| node.parts != without).map(Member::of).collect();
        Facts {
            cluster: cluster.to_owned(),
            members: those(Parts::ApiServer),
            api_servers: those(Parts::Etcd),
            manifests_dir: manifests_dir.trim_end_matches('/').to_owned(),
        }
    }

    /// Where API servers are.
    pub(super) fn api_servers(&self) -> Place {
        match self.api_servers.as_slice() {
            [] => Place::Nodes(vec!["the nodes with API servers".to_owned()]),
            [only] => only.place(),
            several => Place::Nodes(several.iter().map(|one| one.node.clone()).collect()),
        }
    }

    /// What the nodes must have.
    pub(super) fn tools_note(&self) -> String {
        let Some(first) = self.members.first() else { return String::new() };
        first.version.note(&format!("Cluster {}, etcd {}: ", self.cluster, first.version.shown()))
    }
}

impl Member {
    fn of(pod: &EtcdPod) -> Member {
        // An IPv4 address, where there is one: it needs no brackets.
        let address = pod.addresses.iter().find(|one| !one.contains(':')).or(pod.addresses.first());
        // The last pair is that of the pod's own flags; the others are guesses that only the node can confirm.
        let pair = pod.access.credentials.last().map(|pair| (pair.cert.clone(), pair.key.clone()));
        Member {
            node: pod.node.clone(),
            address: address.cloned(),
            name: pod.name.clone(),
            endpoint: pod.access.endpoints.first().cloned().unwrap_or_default(),
            ca: pod.access.ca.clone(),
            pair,
            data_dir: pod.data_dir.clone().map(|path| path.trim_end_matches('/').to_owned()),
            wal_dir: pod.wal_dir.clone().map(|path| path.trim_end_matches('/').to_owned()),
            peer_urls: pod.peer_urls.clone(),
            version: Version::parse(pod.image_version().unwrap_or_default()),
            unit: pod.unit().and_then(|path| path.rsplit('/').next()).map(str::to_owned),
        }
    }

    pub(super) fn place(&self) -> Place {
        Place::Node { name: self.node.clone(), address: self.address.clone() }
    }

    /// `root@ADDRESS:`, for scp.
    pub(super) fn host(&self) -> String {
        match &self.address {
            Some(address) if address.contains(':') => format!("root@[{address}]"),
            Some(address) => format!("root@{address}"),
            None => format!("root@{}", self.node),
        }
    }

    /// `etcdctl` with what it takes to be let in.
    pub(super) fn etcdctl(&self) -> Vec<String> {
        // Without it, etcdctl before 3.4 speaks to another store; later ones warn that they do not know it.
        let mut words = Vec::new();
        if self.version.is_3_4() {
            words.push("ETCDCTL_API=3".to_owned());
        }
        words.push("etcdctl".to_owned());
        words.push(flag("endpoints", &self.endpoint));
        words.extend(self.ca.as_ref().map(|ca| flag("cacert", ca)));
        if let Some((cert, key)) = &self.pair {
            words.extend([flag("cert", cert), flag("key", key)]);
        }
        words
    }

    /// The data directory.
    ///
    /// # Errors
    /// The pod does not show it (exit 4).
    pub(super) fn data_dir(&self) -> Outcome<&str> {
        self.data_dir.as_deref().ok_or_else(|| {
            Failed::new(Exit::Refused, format!("the data directory of member {} is not known", self.name))
                .cause(format!("the pod on node {} does not name a folder of its node", self.node))
        })
    }
}

/// The version of etcd, by the tag of its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Version(Option<(u32, u32, Option<u32>)>);

impl Version {
    /// `3.5.16-0`, `v3.6.14`, `3.5`; anything else is not known, and taken for one of today.
    pub(crate) fn parse(text: &str) -> Version {
        let numbers = text.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        let mut numbers = numbers.split('.').map(str::parse);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), patch) => Version(Some((major, minor, patch.and_then(Result::ok)))),
            _ => Version(None),
        }
    }

    pub(super) fn is_3_4(self) -> bool {
        self.0.is_some_and(|(major, minor, _)| (major, minor) <= (3, 4))
    }

    /// The program that works on files, with what its environment must say.
    pub(super) fn file_tool(self) -> Vec<String> {
        if self.is_3_4() { super::words(&["ETCDCTL_API=3", "etcdctl"]) } else { super::words(&["etcdutl"]) }
    }

    /// Whether `snapshot restore` can raise the revision: etcd 3.4.27, 3.5.10, and every 3.6.
    pub(super) fn can_bump(self) -> bool {
        match self.0 {
            Some((3, 4, patch)) => patch.is_none_or(|patch| patch >= 27),
            Some((3, 5, patch)) => patch.is_none_or(|patch| patch >= 10),
            Some((major, minor, _)) => (major, minor) > (3, 5),
            None => true,
        }
    }

    /// For people.
    pub(super) fn shown(self) -> String {
        match self.0 {
            Some((major, minor, Some(patch))) => format!("{major}.{minor}.{patch}"),
            Some((major, minor, None)) => format!("{major}.{minor}"),
            None => "of a version that its image does not name".to_owned(),
        }
    }

    fn note(self, before: &str) -> String {
        let tools = if self.is_3_4() { "etcdctl" } else { "etcdctl and etcdutl" };
        format!("{before}{tools} of that version must be on the nodes (the etcd image holds them).")
    }
}

/// `kubectl etcd backup FILE`, `kubectl etcd restore FILE --data-dir DIR`: a command line for a title.
pub(super) fn title(parts: &[&str]) -> String {
    let quoted: Vec<String> = parts.iter().filter(|part| !part.is_empty()).map(|part| quoted(part)).collect();
    format!("kubectl etcd {}", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_by_the_tag_of_an_image() {
        for (tag, shown, is_3_4, can_bump) in [
            ("3.4.23", "3.4.23", true, false),
            ("3.4.27-0", "3.4.27", true, true),
            ("3.5.1-0", "3.5.1", false, false),
            ("v3.5.16", "3.5.16", false, true),
            ("3.6.14-0", "3.6.14", false, true),
            ("3.5", "3.5", false, true),
            ("4.0", "4.0", false, true),
        ] {
            let version = Version::parse(tag);
            assert_eq!((version.shown().as_str(), version.is_3_4(), version.can_bump()), (shown, is_3_4, can_bump));
        }
        for tag in ["", "latest", "x.y"] {
            assert_eq!(Version::parse(tag), Version(None));
        }
    }
}
