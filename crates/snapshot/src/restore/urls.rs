//! Peer URLs, as etcd accepts and prints them.
//!
//! Read from etcd client/pkg/types/urls.go @ v3.6.14; the same since v3.4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::MembershipError;

/// A peer URL that etcd accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerUrl {
    /// As etcd prints it, and as it goes into the member's id: the scheme in lower case, all else as it was given.
    pub(super) text: String,
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    Address(IpAddr),
    /// Of a Unix socket: whatever stands behind the scheme.
    Socket(String),
}

impl PeerUrl {
    pub(super) fn parse(given: &str) -> Result<Self, MembershipError> {
        let given = given.trim();
        let invalid = |why| MembershipError::Url { url: given.to_owned(), why };
        let (scheme, rest) = given.split_once("://").ok_or_else(|| invalid("it has no scheme"))?;
        let scheme = scheme.to_ascii_lowercase();
        let text = format!("{scheme}://{rest}");
        match scheme.as_str() {
            "unix" | "unixs" => {
                if rest.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(invalid("it names no socket"));
                }
                return Ok(Self { text, host: Host::Socket(rest.to_owned()), port: 0 });
            }
            "http" | "https" => {}
            _ => return Err(invalid("its scheme is none of http, https, unix and unixs")),
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err(invalid("it has more than a host and a port; even a slash at the end is too much"));
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| invalid("it has no port"))?;
        let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port =
            port.and_then(|port| port.parse().ok()).ok_or_else(|| invalid("its port is not a number below 65536"))?;
        let host = Host::parse(host).ok_or_else(|| invalid("it has no host that a URL can have"))?;
        Ok(Self { text, host, port })
    }

    /// All of a list, in the order that etcd sorts them.
    pub(super) fn parse_all<'a>(given: impl Iterator<Item = &'a str>) -> Result<Vec<Self>, MembershipError> {
        let mut urls = given.map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort_by(|a, b| a.text.cmp(&b.text));
        Ok(urls)
    }

    fn scheme(&self) -> &str {
        self.text.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// Whether both lead to the same place, however host and address are spelled. Names are not resolved.
    pub(super) fn same_place(&self, other: &Self) -> bool {
        (self.scheme(), &self.host, self.port) == (other.scheme(), &other.host, other.port)
    }

    /// Whether other machines cannot reach it.
    pub(super) fn is_local(&self) -> bool {
        match &self.host {
            Host::Name(name) => name == "localhost",
            Host::Address(address) => address.is_loopback() || address.is_unspecified(),
            Host::Socket(_) => true,
        }
    }
}

impl Host {
    fn parse(host: &str) -> Option<Self> {
        if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            // A zone, as in fe80::1%25eth0, makes another address for each network card.
            return match inner.split_once("%25") {
                Some((address, zone)) => (address.parse::<Ipv6Addr>().is_ok() && is_name(zone))
                    .then(|| Self::Name(inner.to_ascii_lowercase())),
                None => inner.parse().ok().map(|address| Self::Address(IpAddr::V6(address))),
            };
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        is_name(host).then(|| Self::Name(host.to_ascii_lowercase()))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_accepts() {
        for url in [
            "http://a:1",
            "https://10.0.0.1:65535",
            "http://[::1]:2380",
            "http://[fe80::1%25eth0]:1",
            "unix://a:0",
            "unixs:///run/s",
        ] {
            assert_eq!(PeerUrl::parse(&format!(" {url}\n")).expect(url).text, url);
        }
        assert_eq!(PeerUrl::parse("HTTP://Host:1").expect("a URL").text, "http://Host:1");
    }

    #[test]
    fn what_it_does_not() {
        for url in [
            "",
            "a:1",
            "ftp://a:1",
            "http://a",
            "http://a:",
            "http://a:x",
            "http://a:+1",
            "http://a:65536",
            "http://:1",
            "http://a:1/",
            "http://a:1?x",
            "http://u@a:1",
            "http://::1:2",
            "http://[::1",
            "http://[a]:1",
            "http://a b:1",
            "unix://",
        ] {
            assert!(matches!(PeerUrl::parse(url), Err(MembershipError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn the_same_place_in_other_words() {
        let same = |a, b| PeerUrl::parse(a).expect(a).same_place(&PeerUrl::parse(b).expect(b));
        assert!(same("http://Host:1", "HTTP://host:01"));
        assert!(same("http://[::1]:1", "http://[0:0::1]:1"));
        assert!(!same("http://a:1", "https://a:1"));
        assert!(!same("http://a:1", "http://a:2"));
        assert!(!same("unix://A", "unix://a"));
    }
}
