//! Certificates for one restore: an authority that lives as long as this takes, and one leaf for each node. They are kept in memory, and
//! reach a node over its session, or in a file that its operator carries there.

use std::time::{Duration, SystemTime};

use etcd_wire::restore::{Identity, peer_name};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The clocks of nodes and workstation may differ, by a time zone or more.
const BEFORE: Duration = DAY.saturating_mul(2);
const AFTER: Duration = DAY.saturating_mul(7);

/// An identity for each node of a restore, in the order of its plan.
///
/// # Errors
/// The machine gives no random numbers.
pub fn identities(restore: &str, nodes: usize) -> Result<Vec<Identity>, rcgen::Error> {
    let mut authority = certificate(format!("kubectl-etcd restore {restore}"), Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate()?;
    let ca = authority.self_signed(&key)?.pem();
    let issuer = Issuer::new(authority, key);
    let leaf = |index: usize| {
        let mut leaf = certificate(peer_name(index), vec![peer_name(index)])?;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        Ok(Identity { ca: ca.clone(), cert: leaf.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
    };
    (0..nodes).map(leaf).collect()
}

fn certificate(name: String, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + AFTER).into();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_name_and_a_key_of_its_own() {
        let all = identities("20261121-100000-abcde", 3).expect("random numbers");
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|one| one.ca == all[0].ca && one.cert.contains("BEGIN CERTIFICATE")));
        assert!(all[0].cert != all[1].cert && all[0].key != all[1].key);
        assert!(!format!("{:?}", all[0]).contains("KEY"));
    }
}
