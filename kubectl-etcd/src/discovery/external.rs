//! Members outside of pods, by the API servers that use them: each is reached with the files of an API server, from that one's node. Pure functions.

use super::{ApiServer, EtcdPod, NodeTrouble, Overrides, Reach, address, is_loopback};

/// Where a member runs, as far as its URL tells.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// On this node, which has an API server.
    Node(String),
    /// On a machine of this name or address.
    Machine(String),
}

/// A member as one API server names it.
#[derive(Debug)]
struct Named<'a> {
    place: Place,
    port: u16,
    url: &'a str,
    server: &'a ApiServer,
}

impl<'a> Named<'a> {
    /// # Errors
    /// The URL cannot be dialled from another process.
    fn read(server: &'a ApiServer, url: &'a str, servers: &[ApiServer]) -> Result<Named<'a>, String> {
        let wrong = || format!("the API server on node {} names {url}, which is no URL of TCP", server.node);
        let of_tcp = url.starts_with("https://") || url.starts_with("http://");
        let (host, port) = address(url).filter(|_| of_tcp).ok_or_else(wrong)?;
        let is_of = |one: &&ApiServer| {
            !one.node.is_empty() && (one.addresses.contains(&host) || host == one.node.to_ascii_lowercase())
        };
        let place = match (is_loopback(&host), servers.iter().find(is_of)) {
            (true, _) => Place::Node(server.node.clone()),
            (false, Some(one)) => Place::Node(one.node.clone()),
            (false, None) => Place::Machine(host),
        };
        Ok(Named { place, port, url, server })
    }

    fn is_same(&self, other: &Named<'_>) -> bool {
        (&self.place, self.port) == (&other.place, other.port)
    }
}

/// The members that API servers name, each once, and a line that says how they are reached. With `only`, those that run on that node.
///
/// # Errors
/// Why they cannot be reached in this way.
pub(super) fn members(
    servers: &[ApiServer],
    troubles: &[(String, NodeTrouble)],
    only: Option<&str>,
    overrides: &Overrides,
) -> Result<(Vec<EtcdPod>, String), String> {
    let given = &overrides.reach.endpoints;
    let mut named: Vec<Named<'_>> = Vec::new();
    for server in servers.iter().filter(|server| !server.node.is_empty()) {
        for url in if given.is_empty() { &server.servers } else { given } {
            named.push(Named::read(server, url, servers)?);
        }
    }
    let is_meant =
        |one: &Named<'_>| only.is_none_or(|node| one.place == Place::Node(node.to_owned()) && one.server.node == node);
    let rank = |one: &Named<'_>| {
        let trouble = troubles.iter().find(|(node, _)| *node == one.server.node).map(|(_, trouble)| trouble);
        let rank = match trouble {
            None => 0,
            Some(NodeTrouble::NotReady { .. }) => 1,
            Some(NodeTrouble::Silent { .. }) => 2,
        };
        (rank, one.place != Place::Node(one.server.node.clone()), one.server.node.clone())
    };
    let mut chosen: Vec<&Named<'_>> = Vec::new();
    for one in named.iter().filter(|one| is_meant(one)) {
        if chosen.iter().any(|other| other.is_same(one)) {
            continue;
        }
        let ways = named.iter().filter(|other| is_meant(other) && other.is_same(one));
        chosen.extend(ways.min_by_key(|way| rank(way)));
    }
    if chosen.is_empty() {
        return Err(match only {
            Some(node) => format!("no API server on node {node} uses an etcd on that node"),
            None => "the API servers are on no node".to_owned(),
        });
    }
    chosen.sort_by(|one, other| one.server.node.cmp(&other.server.node));
    let members: Result<Vec<EtcdPod>, String> = chosen.iter().map(|one| member(one, overrides)).collect();
    Ok((members?, line(&chosen, given.is_empty() && disagree(servers, &named))))
}

fn member(one: &Named<'_>, overrides: &Overrides) -> Result<EtcdPod, String> {
    let [ca, cert, key] = &one.server.files;
    let given = &overrides.reach;
    let pair = if given.cert.is_some() { (&given.cert, &given.key) } else { (cert, key) };
    let secure = one.url.starts_with("https:");
    let reach = Reach {
        pods: given.pods.clone(),
        endpoints: vec![one.url.to_owned()],
        cacert: given.cacert.as_ref().or(ca.as_ref()).filter(|_| secure).cloned(),
        cert: pair.0.clone().filter(|_| secure),
        key: pair.1.clone().filter(|_| secure),
    };
    if secure && (reach.cacert.is_none() || reach.cert.is_none() || reach.key.is_none()) {
        return Err(format!(
            "the files with which the API server on node {} reaches {} are not all known",
            one.server.node, one.url
        ));
    }
    let mut member = EtcdPod::external(&one.server.node, &Overrides { reach, data_dir: overrides.data_dir.clone() });
    // The member tells its name.
    member.name.clear();
    member.addresses.clone_from(&one.server.addresses);
    if one.place == Place::Node(one.server.node.clone()) {
        // On other machines the same member has these URLs.
        member.client_urls.extend(one.server.addresses.iter().map(|address| {
            let scheme = if secure { "https" } else { "http" };
            let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
            format!("{scheme}://{host}:{}", one.port)
        }));
    }
    Ok(member)
}

/// Whether API servers name different members that are on no node of theirs.
fn disagree(servers: &[ApiServer], named: &[Named<'_>]) -> bool {
    let of = |server: &ApiServer| {
        let its = named.iter().filter(|one| std::ptr::eq(one.server, server));
        let mut its: Vec<(String, u16)> = its
            .filter_map(|one| match &one.place {
                Place::Machine(host) => Some((host.clone(), one.port)),
                Place::Node(_) => None,
            })
            .collect();
        its.sort();
        its
    };
    let mut all = servers.iter().filter(|server| !server.node.is_empty()).map(of);
    let first = all.next().unwrap_or_default();
    all.any(|other| other != first)
}

fn line(chosen: &[&Named<'_>], disagree: bool) -> String {
    let mut nodes: Vec<&str> = chosen.iter().map(|one| one.server.node.as_str()).collect();
    nodes.dedup();
    let ways: Vec<String> = nodes
        .iter()
        .map(|node| {
            let urls = chosen.iter().filter(|one| one.server.node == *node).map(|one| one.url);
            format!("{} from node {node}", urls.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let whose = if nodes.len() == 1 { "its API server" } else { "the API servers there" };
    let differ = if disagree { "; the API servers name different members, and all are asked" } else { "" };
    format!("etcd runs outside of pods; reaching {}, with the files of {whose}{differ}", ways.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(node: &str, last: u8, urls: &[&str]) -> ApiServer {
        ApiServer {
            node: node.into(),
            addresses: vec![format!("10.0.0.{last}")],
            servers: urls.iter().map(|url| (*url).to_owned()).collect(),
            files: ["ca.crt", "client.crt", "client.key"].map(|name| Some(format!("/pki/{name}"))),
            ..ApiServer::default()
        }
    }

    fn silent(node: &str) -> (String, NodeTrouble) {
        (node.to_owned(), NodeTrouble::Silent { since: None })
    }

    fn ways(members: &[EtcdPod]) -> Vec<String> {
        members.iter().map(|member| format!("{} {}", member.node, member.access.endpoints.join(","))).collect()
    }

    fn found(
        servers: &[ApiServer],
        troubles: &[(String, NodeTrouble)],
        only: Option<&str>,
    ) -> Result<Vec<String>, String> {
        members(servers, troubles, only, &Overrides::default()).map(|(members, _)| ways(&members))
    }

    const EXTERNAL: [&str; 2] = ["https://10.9.0.1:2379", "https://10.9.0.2:2379"];

    #[test]
    fn members_on_machines_of_their_own_are_reached_from_one_node_that_is_ready() {
        let servers = [server("cp1", 1, &EXTERNAL), server("cp2", 2, &EXTERNAL)];
        let (all, line) = members(&servers, &[silent("cp1")], None, &Overrides::default()).expect("members");
        assert_eq!(ways(&all), ["cp2 https://10.9.0.1:2379", "cp2 https://10.9.0.2:2379"]);
        assert_eq!(
            line,
            "etcd runs outside of pods; reaching https://10.9.0.1:2379, https://10.9.0.2:2379 from node cp2, with the files of its API server"
        );
        let one = all.first().expect("a member");
        assert_eq!(one.access.ca.as_deref(), Some("/pki/ca.crt"));
        assert_eq!(one.access.credentials.first().map(|pair| pair.key.as_str()), Some("/pki/client.key"));
        assert!(one.name.is_empty() && one.pod.is_empty());
        // No node that is ready is better than none at all.
        let all = found(&servers, &[silent("cp1"), silent("cp2")], None);
        assert_eq!(all, Ok(vec!["cp1 https://10.9.0.1:2379".to_owned(), "cp1 https://10.9.0.2:2379".to_owned()]));
        // A node that runs no member names none.
        let why = found(&servers, &[], Some("cp1")).expect_err("none there");
        assert!(why.contains("no API server on node cp1 uses"), "{why}");
    }

    #[test]
    fn members_on_the_nodes_of_api_servers_are_each_reached_from_their_own() {
        let urls = ["https://10.0.0.1:2379", "https://cp2:2379", "https://10.0.0.3:2379"];
        let servers = [server("cp1", 1, &urls), server("cp2", 2, &urls), server("cp3", 3, &["https://127.0.0.1:2379"])];
        let all = ["cp1 https://10.0.0.1:2379", "cp2 https://cp2:2379", "cp3 https://127.0.0.1:2379"];
        assert_eq!(found(&servers, &[], None).expect("members"), all);
        assert_eq!(found(&servers, &[], Some("cp2")).expect("members"), all[1..2]);
        // A node that is silent starts no pod: another reaches its member, unless only itself can.
        let without = found(&servers, &[silent("cp2"), silent("cp3")], None).expect("members");
        assert_eq!(without, ["cp1 https://10.0.0.1:2379", "cp1 https://cp2:2379", "cp1 https://10.0.0.3:2379"]);
        let loopback = [server("cp1", 1, &["https://127.0.0.1:2379"]), server("cp2", 2, &["https://[::1]:2379"])];
        let (all, line) = members(&loopback, &[], None, &Overrides::default()).expect("members");
        assert_eq!(ways(&all), ["cp1 https://127.0.0.1:2379", "cp2 https://[::1]:2379"]);
        assert!(line.ends_with("from node cp2, with the files of the API servers there"), "{line}");
        assert_eq!(all[0].client_urls, ["https://127.0.0.1:2379", "https://10.0.0.1:2379"]);
    }

    #[test]
    fn api_servers_that_disagree_name_all_members_between_them() {
        let servers = [server("cp1", 1, &EXTERNAL[..1]), server("cp2", 2, &EXTERNAL)];
        let (all, line) = members(&servers, &[], None, &Overrides::default()).expect("members");
        assert_eq!(ways(&all), ["cp1 https://10.9.0.1:2379", "cp2 https://10.9.0.2:2379"]);
        assert!(line.ends_with("; the API servers name different members, and all are asked"), "{line}");
    }

    #[test]
    fn flags_of_the_user_win() {
        let mut overrides = Overrides::default();
        overrides.reach.endpoints = vec!["https://10.9.0.7:2379".into()];
        overrides.reach.cert = Some("/other/client.crt".into());
        overrides.reach.key = Some("/other/client.key".into());
        let servers = [server("cp1", 1, &EXTERNAL), server("cp2", 2, &EXTERNAL[..1])];
        let (all, line) = members(&servers, &[], None, &overrides).expect("members");
        assert_eq!(ways(&all), ["cp1 https://10.9.0.7:2379"]);
        assert_eq!(all[0].access.credentials[0].cert, "/other/client.crt");
        assert_eq!(all[0].access.ca.as_deref(), Some("/pki/ca.crt"));
        assert!(!line.contains("different"), "{line}");
    }

    #[test]
    fn what_cannot_be_dialled_is_not_tried() {
        let mut without_key = server("cp1", 1, &EXTERNAL);
        without_key.files[2] = None;
        let why = found(&[without_key.clone()], &[], None).expect_err("no key");
        assert!(why.contains("are not all known"), "{why}");
        // Without TLS no files are needed, and none are named.
        without_key.servers = vec!["http://10.9.0.1:2379".into()];
        let (all, _) = members(&[without_key], &[], None, &Overrides::default()).expect("a member");
        assert!(all[0].access.credentials.is_empty() && all[0].access.ca.is_none());
        for url in ["unix://etcd.sock:1", "nonsense", "https://"] {
            let why = found(&[server("cp1", 1, &[url])], &[], None).expect_err("no URL of TCP");
            assert!(why.contains("no URL of TCP"), "{why}");
        }
        assert!(found(&[server("", 1, &EXTERNAL)], &[], None).is_err(), "an API server without a node");
    }
}
