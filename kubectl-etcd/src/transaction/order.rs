//! What the nodes are told to do, as a pure function of what is known of the members.

use etcd_wire::message::MemberStatus;
use etcd_wire::restore::{Marker, RestoreKind, RestoreNode, RestorePlan};
use jiff::Timestamp;

use crate::discovery::EtcdPod;
use crate::sidecar::{random_name, started_by};

/// What does not depend on the members.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// TCP port on which the nodes speak to each other.
    pub(crate) peer_port: u16,
    /// How long etcd, and then the API server, may take until it is well on the new data.
    pub(crate) start_timeout: std::time::Duration,
    /// Leave the new state in place when the API servers do not become ready.
    pub(crate) keep_unready: bool,
    /// What the API has to serve then.
    pub(crate) marker: Option<Marker>,
}

/// A name for a restore that sorts by time.
pub(crate) fn new_id(now: Timestamp) -> String {
    format!("{}-{}", now.strftime("%Y%m%d-%H%M%S"), random_name(5))
}

/// A member whose node takes part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) pod: &'a EtcdPod,
    /// What it says of itself, where it was asked.
    pub(crate) status: Option<&'a MemberStatus>,
    /// Whether its node is only stopped, and left out of the new cluster.
    pub(crate) left_out: bool,
}

impl<'a> Part<'a> {
    /// A member that was not asked, of a node that serves.
    pub(crate) fn of(pod: &'a EtcdPod) -> Part<'a> {
        Part { pod, status: None, left_out: false }
    }
}

/// The plan for the nodes. `not_reached` are those that should be stopped, and cannot be.
///
/// # Errors
/// What keeps a node from taking part, one sentence each.
pub(crate) fn draw_up(
    id: String,
    kind: RestoreKind,
    terms: &Terms,
    parts: &[Part<'_>],
    not_reached: Vec<String>,
) -> Result<RestorePlan, Vec<String>> {
    let mut against = Vec::new();
    let mut nodes = Vec::new();
    for part in parts {
        match node(part) {
            Ok(node) => nodes.push(node),
            Err(why) => against.push(format!("member {} on node {} {why}", part.pod.name, part.pod.node)),
        }
    }
    nodes.sort_by(|a: &RestoreNode, b| a.node.cmp(&b.node));
    for pair in nodes.windows(2).filter(|pair| pair[0].node == pair[1].node) {
        against.push(format!("node {} has two members", pair[0].node));
    }
    let first = nodes.iter().find(|node| !node.left_out);
    let Some(first) = first.filter(|_| against.is_empty()) else { return Err(against) };
    Ok(RestorePlan {
        id,
        kind,
        cluster: terms.cluster.clone(),
        started_by: started_by(),
        coordinator: first.node.clone(),
        nodes,
        not_reached,
        peer_port: terms.peer_port,
        start_timeout: u32::try_from(terms.start_timeout.as_secs()).unwrap_or(u32::MAX).max(1),
        marker: terms.marker.clone(),
        keep_unready: terms.keep_unready,
        build: Some(etcd_build::ID.to_owned()),
    })
}

fn node(part: &Part<'_>) -> Result<RestoreNode, &'static str> {
    let Part { pod, status, left_out } = *part;
    // What the members have agreed on counts; a manifest may be older.
    let agreed = status.and_then(|status| status.members.iter().find(|member| member.name == pod.name));
    let agreed = agreed.map(|member| &member.peer_urls).filter(|urls| !urls.is_empty());
    let peer_urls = agreed.unwrap_or(&pod.peer_urls).clone();
    let first = peer_urls.first().ok_or("has no peer URL")?;
    Ok(RestoreNode {
        node: pod.node.clone(),
        member: pod.name.clone(),
        address: host(first).ok_or("has a peer URL without an address")?,
        peer_urls,
        data_dir: pod.data_dir.clone().ok_or("keeps its data where no folder of the node is mounted")?,
        wal_dir: pod.wal_dir.clone(),
        manifests_dir: pod.manifests_dir.clone().ok_or("has no known folder of static pods")?,
        etcd: pod.access.clone(),
        left_out,
    })
}

/// The host of a URL; an IPv6 address without its brackets.
fn host(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host().filter(|_| uri.scheme().is_some())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use etcd_wire::message::Member;

    use super::*;

    pub(crate) fn pod(name: &str) -> EtcdPod {
        EtcdPod {
            node: name.into(),
            name: name.into(),
            peer_urls: vec![format!("https://{name}.example:2380")],
            data_dir: Some("/var/lib/etcd".into()),
            manifests_dir: Some("/etc/kubernetes/manifests".into()),
            ..Default::default()
        }
    }

    pub(crate) fn terms() -> Terms {
        Terms {
            cluster: "prod".into(),
            peer_port: 2382,
            start_timeout: std::time::Duration::from_secs(180),
            keep_unready: false,
            marker: None,
        }
    }

    pub(crate) fn kind() -> RestoreKind {
        RestoreKind::Snapshot { bump: 7, token: "t".into(), skip_hash_check: false, allow_lower_revisions: false }
    }

    #[test]
    fn the_first_node_coordinates_and_the_members_say_where_they_are() {
        let (one, two) = (pod("cp1"), pod("cp2"));
        let urls = vec!["https://[fd00::2]:2380".to_owned(), "https://cp2:2380".to_owned()];
        let listed = Member { name: "cp2".into(), peer_urls: urls.clone(), ..Default::default() };
        let status = MemberStatus { members: vec![listed], ..Default::default() };
        let parts = [&two, &one].map(|pod| Part { status: Some(&status), ..Part::of(pod) });
        let plan = draw_up("id".into(), kind(), &terms(), &parts, Vec::new()).expect("in order");
        assert_eq!(plan.coordinator, "cp1");
        assert_eq!(plan.nodes[0].address, "cp1.example");
        assert_eq!((plan.nodes[1].address.as_str(), &plan.nodes[1].peer_urls), ("fd00::2", &urls));
    }

    #[test]
    fn a_node_that_is_left_out_does_not_coordinate() {
        let (one, two) = (pod("cp1"), pod("cp2"));
        let parts = [Part { left_out: true, ..Part::of(&one) }, Part::of(&two)];
        let plan = draw_up("id".into(), kind(), &terms(), &parts, vec!["cp3".into()]).expect("in order");
        assert_eq!((plan.coordinator.as_str(), plan.serving().count()), ("cp2", 1));
        assert_eq!(plan.left_out(), ["cp1", "cp3"]);
        assert_eq!(draw_up("id".into(), kind(), &terms(), &parts[..1], Vec::new()), Err(Vec::new()));
    }

    #[test]
    fn what_is_not_known_of_a_member_speaks_against_it() {
        type Spoil = fn(&mut EtcdPod);
        let spoil: [(Spoil, &str); 4] = [
            (|pod| pod.peer_urls.clear(), "no peer URL"),
            (|pod| pod.peer_urls = vec!["2380".into()], "without an address"),
            (|pod| pod.data_dir = None, "no folder of the node"),
            (|pod| pod.node = "cp1".into(), "two members"),
        ];
        for (spoil, text) in spoil {
            let (one, mut two) = (pod("cp1"), pod("cp2"));
            spoil(&mut two);
            let parts = [Part::of(&one), Part::of(&two)];
            let against = draw_up("id".into(), kind(), &terms(), &parts, Vec::new()).expect_err(text);
            assert!(against.len() == 1 && against[0].contains(text), "{against:?}");
        }
    }

    #[test]
    fn ids_sort_by_time_and_are_names() {
        let id = new_id(Timestamp::from_second(1_795_000_000).expect("a moment"));
        assert!(id.starts_with("20261118-") && id.len() == 21, "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'), "{id}");
    }
}
