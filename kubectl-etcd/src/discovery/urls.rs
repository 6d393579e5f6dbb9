//! Client URLs, as far as they say which member they lead to.

use super::EtcdPod;

/// Host and port of a URL, to be compared.
pub(crate) fn address(url: &str) -> Option<(String, u16)> {
    let uri: http::Uri = url.parse().ok()?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    Some((uri.host()?.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase(), port))
}

/// Whether a host is the node itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Whether a host stands for all addresses of a node.
pub(crate) fn is_wildcard(host: &str) -> bool {
    host.parse().is_ok_and(|address: std::net::IpAddr| address.is_unspecified())
}

/// Whether a URL, as seen from a member's own node, is the member's own.
pub(super) fn is_own(member: &EtcdPod, url: &str) -> bool {
    let Some((host, port)) = address(url) else { return false };
    let known: Vec<(String, u16)> =
        member.listen_urls.iter().chain(&member.client_urls).filter_map(|url| address(url)).collect();
    // Another member may be on the same node, at another port.
    if !known.is_empty() && !known.iter().any(|(_, its)| *its == port) {
        return false;
    }
    is_loopback(&host)
        || host == member.node.to_ascii_lowercase()
        || member.addresses.contains(&host)
        || known.iter().any(|(its, _)| *its == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_compared_by_what_they_lead_to() {
        assert_eq!(address("https://[::1]:2379"), Some(("::1".into(), 2379)));
        assert_eq!(address("https://ETCD.example.:2379/"), Some(("etcd.example".into(), 2379)));
        assert!(is_loopback("127.0.0.2") && is_loopback("::1") && is_loopback("localhost") && !is_loopback("10.0.0.1"));
    }

    #[test]
    fn an_endpoint_is_the_members_whose_node_it_leads_to() {
        let member = EtcdPod {
            node: "cp1".into(),
            addresses: vec!["10.0.0.1".into()],
            listen_urls: vec!["https://0.0.0.0:2379".into()],
            ..EtcdPod::default()
        };
        for (url, own) in [
            ("https://10.0.0.1:2379", true),
            ("https://127.0.0.1:2379", true),
            ("https://cp1:2379", true),
            ("https://10.0.0.2:2379", false),
            ("https://10.0.0.1:2381", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_own(&member, url), own, "{url}");
        }
        // Where the pod does not tell its ports, the address has to do.
        let silent = EtcdPod { listen_urls: Vec::new(), ..member };
        assert!(is_own(&silent, "https://10.0.0.1:4001"));
    }
}
