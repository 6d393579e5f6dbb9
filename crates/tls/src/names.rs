//! Whether a certificate is for a host, as Go's `VerifyHostname` decides.

use std::net::IpAddr;

use rustls::pki_types::ServerName;

use crate::certificate::Certificate;
use crate::refusal::Refusal;

/// Addresses match addresses, names match names; a common name never counts.
pub(crate) fn verify(certificate: &Certificate, host: &ServerName<'_>) -> Result<(), Refusal> {
    let found = match host {
        ServerName::IpAddress(address) => {
            let address = IpAddr::from(*address).to_canonical();
            certificate.addresses.iter().any(|candidate| candidate.to_canonical() == address)
        }
        ServerName::DnsName(name) => certificate.dns_names.iter().any(|pattern| matches_name(pattern, name.as_ref())),
        _ => false,
    };
    if found {
        return Ok(());
    }
    let wanted = host.to_str().into_owned();
    let names: Vec<String> =
        certificate.dns_names.iter().cloned().chain(certificate.addresses.iter().map(IpAddr::to_string)).collect();
    if names.is_empty() {
        return Err(Refusal::NoNames { wanted, subject: certificate.subject.clone() });
    }
    Err(Refusal::OtherNames { wanted, names })
}

/// `*` stands for exactly the first label.
fn matches_name(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if pattern.is_empty() || host.is_empty() {
        return false;
    }
    match pattern.strip_prefix("*.") {
        Some(parent) => {
            !parent.is_empty() && host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, host) in [
            ("api.example.com", "api.example.com"),
            ("API.example.com", "api.EXAMPLE.com"),
            ("api.example.com", "api.example.com."),
            ("*.example.com", "api.example.com"),
            ("localhost", "localhost"),
            ("etcd_1", "etcd_1"),
        ] {
            assert!(matches_name(pattern, host), "{pattern} for {host}");
        }
        for (pattern, host) in [
            ("*.example.com", "example.com"),
            ("*.example.com", "a.b.example.com"),
            ("a*.example.com", "api.example.com"),
            ("*", "localhost"),
            ("*.", "localhost."),
            ("api.*.com", "api.example.com"),
            ("example.com", "api.example.com"),
            ("example.com.", "example.com"),
            ("", ""),
        ] {
            assert!(!matches_name(pattern, host), "{pattern} for {host}");
        }
    }
}
