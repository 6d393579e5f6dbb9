//! What the nodes are told to do, as a pure function of what is known of the members.

use etcd_wire::message::MemberStatus;
use etcd_wire::restore::{Marker, Parts, RestoreKind, RestoreNode, RestorePlan};
use jiff::Timestamp;

use crate::discovery::EtcdPod;
use crate::sidecar::random_name;

/// What does not depend on the members.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// Who begins it and where from, for people.
    pub(crate) started_by: String,
    /// TCP port on which the nodes speak to each other.
    pub(crate) peer_port: u16,
    /// How long etcd, and then the API server, may take until it is well on the new data.
    pub(crate) start_timeout: std::time::Duration,
    /// Wait for API servers no longer than `start_timeout`.
    pub(crate) keep_unready: bool,
    /// What the API has to serve then.
    pub(crate) marker: Option<Marker>,
}

/// A name for a restore that sorts by time.
pub(crate) fn new_id(now: Timestamp) -> String {
    format!("{}-{}", now.strftime("%Y%m%d-%H%M%S"), random_name(5))
}

/// A node that takes part: one with a member, or with an API server alone.
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
            Err(why) if part.pod.parts == Parts::ApiServer => against.push(format!("node {} {why}", part.pod.node)),
            Err(why) => against.push(format!("member {} on node {} {why}", part.pod.name, part.pod.node)),
        }
    }
    nodes.sort_by(|a: &RestoreNode, b| a.node.cmp(&b.node));
    let serves = |node: &&RestoreNode| !node.left_out && node.has_etcd();
    let alone = nodes.iter().filter(serves).count() == 1;
    for node in nodes.iter().filter(serves).filter(|_| !alone) {
        if let Some(url) = node.peer_urls.iter().find(|url| is_local(url)) {
            let (member, node) = (&node.member, &node.node);
            against.push(format!(
                "member {member} on node {node} has peer URL {url}, which the other members cannot reach"
            ));
        }
    }
    for pair in nodes.windows(2).filter(|pair| pair[0].node == pair[1].node) {
        against.push(format!("node {} has two members", pair[0].node));
    }
    let first = nodes.iter().find(serves);
    let Some(first) = first.filter(|_| against.is_empty()) else { return Err(against) };
    Ok(RestorePlan {
        id,
        kind,
        cluster: terms.cluster.clone(),
        started_by: terms.started_by.clone(),
        coordinator: first.node.clone(),
        nodes,
        not_reached,
        peer_port: terms.peer_port,
        start_timeout: u32::try_from(terms.start_timeout.as_secs()).unwrap_or(u32::MAX).max(1),
        marker: terms.marker.clone(),
        keep_unready: terms.keep_unready,
        quorum_lost: None,
        replaces: None,
        build: Some(etcd_build::ID.to_owned()),
    })
}

fn node(part: &Part<'_>) -> Result<RestoreNode, &'static str> {
    let Part { pod, status, left_out } = *part;
    if pod.parts == Parts::ApiServer {
        return Ok(RestoreNode {
            node: pod.node.clone(),
            address: pod
                .addresses
                .first()
                .cloned()
                .ok_or("has no address that the other nodes reach: name it as NODE=ADDRESS")?,
            parts: pod.parts,
            manifests_dir: pod.manifests_dir.clone().ok_or("has no known folder of static pods")?,
            ..RestoreNode::default()
        });
    }
    let peer_urls = match peer_urls(pod, status) {
        PeerUrls::Agreed(urls) | PeerUrls::Manifest(urls) | PeerUrls::Mended { urls, .. } => urls.to_vec(),
    };
    let first = peer_urls.first().ok_or("has no peer URL")?;
    Ok(RestoreNode {
        node: pod.node.clone(),
        member: pod.name.clone(),
        // A sidecar's image has no file that knows the name.
        address: host(first).map(loopback).ok_or("has a peer URL without an address")?,
        peer_urls,
        data_dir: pod.data_dir.clone().ok_or("has a data directory that is not on a hostPath volume")?,
        wal_dir: pod.wal_dir.clone(),
        parts: pod.parts,
        manifests_dir: pod.manifests_dir.clone().ok_or("has no known folder of static pods")?,
        unit: pod.unit().map(str::to_owned),
        etcd: pod.access.clone(),
        left_out,
        log_end: None,
    })
}

/// Peer URLs of a member in the restored cluster, and where they are from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PeerUrls<'a> {
    /// What the members have agreed on counts; a manifest may be older.
    Agreed(&'a [String]),
    /// Those of the manifest (`--initial-advertise-peer-urls`): nothing else is known.
    Manifest(&'a [String]),
    /// Those of the manifest, because those that the members have agreed on lead nowhere from another machine. A directory that was built
    /// with etcdutl's defaults has such.
    Mended { urls: &'a [String], instead_of: &'a [String] },
}

/// Decides on the peer URLs of a member.
pub(crate) fn peer_urls<'a>(pod: &'a EtcdPod, status: Option<&'a MemberStatus>) -> PeerUrls<'a> {
    let agreed = status.and_then(|status| status.members.iter().find(|member| member.name == pod.name));
    let lead = |urls: &[String]| !urls.is_empty() && !urls.iter().any(|url| is_local(url));
    match agreed.map(|member| member.peer_urls.as_slice()).filter(|urls| !urls.is_empty()) {
        Some(agreed) if lead(agreed) || !lead(&pod.peer_urls) => PeerUrls::Agreed(agreed),
        Some(agreed) => PeerUrls::Mended { urls: &pod.peer_urls, instead_of: agreed },
        None => PeerUrls::Manifest(&pod.peer_urls),
    }
}

fn loopback(host: String) -> String {
    if host == "localhost" { "127.0.0.1".to_owned() } else { host }
}

/// Whether other machines cannot reach a URL.
fn is_local(url: &str) -> bool {
    let ip = |host: &str| host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    host(url).is_some_and(|host| host == "localhost" || ip(&host))
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
            started_by: "admin (root@laptop)".into(),
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
    fn a_node_without_etcd_has_an_address_and_no_member() {
        let server = EtcdPod {
            node: "a1".into(),
            parts: Parts::ApiServer,
            addresses: vec!["10.0.0.9".into()],
            manifests_dir: Some("/etc/kubernetes/manifests".into()),
            ..EtcdPod::default()
        };
        let mut etcd = pod("etcd1");
        etcd.parts = Parts::Etcd;
        let parts = [Part::of(&server), Part::of(&etcd)];
        let plan = draw_up("id".into(), kind(), &terms(), &parts, Vec::new()).expect("in order");
        assert_eq!((plan.coordinator.as_str(), plan.serving().count(), plan.way_back()), ("etcd1", 1, None));
        let [first, second] = &plan.nodes[..] else { panic!("{plan:?}") };
        assert_eq!((first.address.as_str(), first.has_etcd(), first.member.as_str()), ("10.0.0.9", false, ""));
        assert!(second.has_etcd() && !second.has_api_server());
        let nowhere = EtcdPod { addresses: Vec::new(), ..server };
        let against =
            draw_up("id".into(), kind(), &terms(), &[Part::of(&nowhere)], Vec::new()).expect_err("no address");
        assert!(against.len() == 1 && against[0].starts_with("node a1 has no address that the other"), "{against:?}");
    }

    /// As after a directory was built with the defaults of etcdutl, and etcd was started on it.
    #[test]
    fn a_peer_url_that_leads_nowhere_gives_way_to_that_of_the_manifest() {
        let (one, two) = (pod("cp1"), pod("cp2"));
        let status = |url: &str| {
            let member = Member { name: "cp1".into(), peer_urls: vec![url.to_owned()], ..Default::default() };
            MemberStatus { members: vec![member], ..Default::default() }
        };
        for local in ["http://localhost:2380", "http://127.0.0.1:2380", "https://[::1]:2380", "http://0.0.0.0:2380"] {
            let status = status(local);
            let part = Part { status: Some(&status), ..Part::of(&one) };
            let plan = draw_up("id".into(), kind(), &terms(), &[part], Vec::new()).expect("in order");
            assert_eq!((&plan.nodes[0].peer_urls, plan.nodes[0].address.as_str()), (&one.peer_urls, "cp1.example"));
            let instead_of = &status.members[0].peer_urls[..];
            assert_eq!(peer_urls(&one, Some(&status)), PeerUrls::Mended { urls: &one.peer_urls, instead_of });
            // Where the manifest knows no better, a member by itself needs none.
            let alone = EtcdPod { peer_urls: vec!["http://localhost:2380".into()], ..one.clone() };
            let part = Part { status: Some(&status), ..Part::of(&alone) };
            let plan = draw_up("id".into(), kind(), &terms(), &[part], Vec::new()).expect("in order");
            assert_eq!(plan.nodes[0].peer_urls, [local]);
            let parts = [part, Part::of(&two)];
            let against = draw_up("id".into(), kind(), &terms(), &parts, Vec::new()).expect_err("nobody reaches it");
            assert!(against.len() == 1 && against[0].contains("the other members cannot reach"), "{against:?}");
        }
        let good = status("https://10.0.0.1:2380");
        assert_eq!(peer_urls(&one, Some(&good)), PeerUrls::Agreed(&["https://10.0.0.1:2380".to_owned()]));
        assert_eq!(peer_urls(&one, None), PeerUrls::Manifest(&one.peer_urls));
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
            (|pod| pod.data_dir = None, "not on a hostPath volume"),
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
