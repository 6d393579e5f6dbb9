//! Which proxy leads to an API server, as kubectl decides it: the cluster's `proxy-url` always counts, and the
//! environment's proxy unless `NO_PROXY` exempts the server (Go's golang.org/x/net/http/httpproxy). kube holds
//! `NO_PROXY` against the proxy's own address.

use std::net::IpAddr;

use http::Uri;

/// The proxy for `server`. `configured` is the cluster's own; `variable` reads the environment.
///
/// # Errors
/// The proxy's URL is none, or its scheme is not known; the text does not show the URL, which may have a password in it.
pub(crate) fn for_server(
    server: &Uri,
    configured: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, String> {
    let set = |names: [&str; 2]| names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
    if let Some(url) = configured.filter(|url| !url.is_empty()) {
        return usable(url).map(Some).map_err(|why| format!("proxy-url of the cluster {why}"));
    }
    let secure = server.scheme_str() != Some("http");
    // Go reads these alone: ALL_PROXY is curl's.
    let names = if secure { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let Some(url) = set(names) else { return Ok(None) };
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let port = server.port_u16().unwrap_or(if secure { 443 } else { 80 });
    if exempt(&set(["NO_PROXY", "no_proxy"]).unwrap_or_default(), &host, port) {
        return Ok(None);
    }
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    usable(&url).map(Some).map_err(|why| format!("{} {why}", names[0]))
}

/// The URL in the form that the connector takes. A SOCKS proxy always gets the server's name and finds its address itself, which is what
/// `socks5h` asks for.
fn usable(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|error| format!("is not a URL: {error}"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not a URL with a scheme and a host".to_owned());
    };
    match scheme {
        "http" | "https" => Ok(uri),
        "socks5" | "socks5h" => {
            let port = if uri.port().is_some() { "" } else { ":1080" };
            format!("socks5://{authority}{port}").parse().map_err(|error| format!("is not a URL: {error}"))
        }
        other => Err(format!("has the scheme {other}: it must be http, https, socks5 or socks5h")),
    }
}

/// Whether the server is reached without a proxy: this machine always is.
fn exempt(list: &str, host: &str, port: u16) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return contains(network, bits, address);
        }
        let (name, only) = match entry.rsplit_once(':') {
            Some((name, digits)) if !name.contains(':') || name.ends_with(']') => (name, digits.parse::<u16>().ok()),
            _ => (entry.as_str(), None),
        };
        if only.is_some_and(|only| only != port) {
            return false;
        }
        if let Ok(one) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(one) == address;
        }
        let domain = name.trim_start_matches('*');
        match domain.strip_prefix('.') {
            Some(_) => host.ends_with(domain),
            None => host == domain || host.ends_with(&format!(".{domain}")),
        }
    })
}

/// Whether an address is in a network in CIDR notation.
fn contains(network: &str, bits: &str, address: Option<IpAddr>) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (network, address) {
        (IpAddr::V4(network), Some(IpAddr::V4(address))) if bits <= 32 => {
            let differing = network.to_bits() ^ address.to_bits();
            differing.leading_zeros() >= bits
        }
        (IpAddr::V6(network), Some(IpAddr::V6(address))) if bits <= 128 => {
            let differing = network.to_bits() ^ address.to_bits();
            differing.leading_zeros() >= bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(server: &str, configured: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        let variable =
            |name: &str| variables.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned());
        let found = for_server(&server.parse().expect("a URL"), configured, variable).expect("a proxy's URL");
        found.map(|uri| uri.to_string())
    }

    #[test]
    fn the_environments_proxy_is_that_of_the_scheme() {
        let both = [("HTTPS_PROXY", "http://s:1"), ("http_proxy", "plain:2")];
        assert_eq!(proxy("https://api:6443", None, &both).as_deref(), Some("http://s:1/"));
        assert_eq!(proxy("http://api", None, &both).as_deref(), Some("http://plain:2/"));
        assert_eq!(proxy("https://api", None, &[]), None);
        for local in ["https://localhost:6443", "https://127.0.0.2:6443", "https://[::1]:6443"] {
            assert_eq!(proxy(local, None, &both), None, "{local}");
        }
    }

    #[test]
    fn the_clusters_proxy_has_no_exemption() {
        let variables = [("NO_PROXY", "*"), ("HTTPS_PROXY", "http://env:1")];
        assert_eq!(proxy("https://api:6443", Some("http://own:3"), &variables).as_deref(), Some("http://own:3/"));
    }

    #[test]
    fn socks_proxies_have_two_names_and_a_port() {
        for (url, used) in [
            ("socks5://10.0.0.1:9", "socks5://10.0.0.1:9/"),
            ("socks5h://10.0.0.1:9", "socks5://10.0.0.1:9/"),
            ("socks5h://user:word@proxy", "socks5://user:word@proxy:1080/"),
        ] {
            assert_eq!(proxy("https://api", Some(url), &[]).as_deref(), Some(used));
            assert_eq!(proxy("https://api", None, &[("HTTPS_PROXY", url)]).as_deref(), Some(used));
        }
        assert_eq!(proxy("https://api", None, &[("ALL_PROXY", "socks5://10.0.0.1:9")]), None, "Go does not read it");
        for wrong in ["ftp://proxy:1", "socks4://proxy:1", "proxy:1", "socks5://u:secret@[::1"] {
            let refused = for_server(&Uri::from_static("https://api"), Some(wrong), |_| None).expect_err(wrong);
            assert!(refused.starts_with("proxy-url ") && !refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn exemptions_are_those_of_go() {
        let exempted = |list: &str, server: &str| {
            proxy(server, None, &[("HTTPS_PROXY", "http://10.0.0.9:1"), ("NO_PROXY", list)]).is_none()
        };
        for (list, server) in [
            ("*", "https://api"),
            ("a.example,, 10.0.0.1 ", "https://10.0.0.1:6443"),
            ("10.0.0.0/8", "https://10.9.9.9:6443"),
            ("fd00::/8", "https://[fd12::1]:6443"),
            ("example.com", "https://example.com"),
            ("Example.com", "https://api.EXAMPLE.com"),
            (".example.com", "https://api.example.com"),
            ("*.example.com", "https://api.example.com"),
            ("api:6443", "https://api:6443"),
            ("[fd00::1]:443", "https://[fd00::1]"),
        ] {
            assert!(exempted(list, server), "{list} for {server}");
        }
        for (list, server) in [
            ("10.0.0.9", "https://10.0.0.1:6443"),
            ("10.0.0.0/24", "https://10.0.1.1"),
            ("10.0.0.0/8", "https://api"),
            (".example.com", "https://example.com"),
            ("ample.com", "https://example.com"),
            ("api:6443", "https://api:443"),
        ] {
            assert!(!exempted(list, server), "{list} for {server}");
        }
    }
}
