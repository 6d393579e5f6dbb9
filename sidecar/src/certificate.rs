//! Certificates in files, and what to tell about them.

use etcd_tls::Certificate;
use etcd_wire::Digest;
use etcd_wire::message::Sha256;

/// All certificates in a PEM file's contents; at least one.
pub(crate) fn parse(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let all: Result<Vec<_>, _> = etcd_tls::certificates(pem).iter().map(|der| Certificate::parse(der)).collect();
    match all {
        Ok(all) if all.is_empty() => Err("there is no certificate in it".to_owned()),
        all => all,
    }
}

/// What to tell about the certificate file at `path`. Only the first certificate counts: the others in a bundle are
/// the authorities above it.
pub(crate) fn describe(path: &str) -> etcd_wire::message::Certificate {
    let facts = std::fs::read(path).map_err(|error| error.to_string()).and_then(|pem| parse(&pem));
    let path = path.to_owned();
    match facts {
        Ok(facts) => etcd_wire::message::Certificate {
            path,
            subject: Some(facts[0].subject.clone()),
            not_after: Some(facts[0].not_after),
            fingerprint: Some(digest(facts[0].der())),
            error: None,
        },
        Err(error) => etcd_wire::message::Certificate { path, error: Some(error), ..Default::default() },
    }
}

fn digest(bytes: &[u8]) -> Sha256 {
    let mut digest = Digest::new();
    digest.update(bytes);
    Sha256(digest.finish())
}

/// A time for people.
pub(crate) fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
