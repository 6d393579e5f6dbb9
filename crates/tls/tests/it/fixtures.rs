//! What `tests/data/tls/make` made with OpenSSL: P-521, odd serial numbers, version 1, old algorithms, PEM.

use etcd_tls::{Anchors, AnchorsError, Refusal, certificates, roots_from_pem};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::{Pair, authority, tampered};
use crate::server::shake;

pub(crate) fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/../../tests/data/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn der(name: &str) -> CertificateDer<'static> {
    certificates(&file(&format!("{name}.crt"))).swap_remove(0)
}

fn key(name: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(&file(&format!("{name}.key"))).unwrap()
}

/// A server with the key on P-521, which most of the certificates are for.
fn p521(chain: &[&str], anchor: &str, host: &str) -> Result<(), rustls::Error> {
    let chain: Vec<_> = chain.iter().map(|name| der(name)).collect();
    shake(&chain.iter().collect::<Vec<_>>(), key("p521"), &[&der(anchor)], host)
}

#[track_caller]
fn refusal(result: Result<(), rustls::Error>) -> Refusal {
    let error = result.expect_err("a refusal");
    Refusal::of(&error).unwrap_or_else(|| panic!("{error}")).clone()
}

#[test]
fn curves_and_hashes() {
    for (chain, anchor) in [
        (&["p521"][..], "ca-p521"),
        (&["p521"], "p521"),
        (&["self-p521"], "self-p521"),
        (&["by-ca-p521-sha256"], "ca-p521"),
        (&["by-ca-p521-sha384"], "ca-p521"),
        (&["by-ca-p256-sha512"], "ca-p256"),
        (&["by-ca-p384-sha512"], "ca-p384"),
        (&["below", "intermediate"], "ca-p521"),
        (&["below"], "intermediate"),
    ] {
        for host in ["localhost", "127.0.0.1"] {
            let shaken = p521(chain, anchor, host);
            assert!(shaken.is_ok(), "{chain:?} by {anchor} for {host}: {shaken:?}");
        }
        assert!(matches!(refusal(p521(chain, anchor, "other")), Refusal::OtherNames { .. }), "{chain:?}");
    }
    assert!(matches!(refusal(p521(&["elsewhere"], "ca-p521", "localhost")), Refusal::OtherNames { .. }));
    assert!(matches!(refusal(p521(&["below"], "ca-p521", "localhost")), Refusal::UnknownIssuer { .. }));
    assert!(matches!(refusal(p521(&["p521"], "ca-p384", "localhost")), Refusal::UnknownIssuer { .. }));
    let thief = shake(&[&der("p521")], key("p256"), &[&der("ca-p521")], "localhost").unwrap_err();
    assert!(matches!(thief, rustls::Error::InvalidCertificate(_)), "{thief:?}");
    for name in ["p521", "by-ca-p521-sha256", "by-ca-p521-sha384"] {
        let changed = shake(&[&tampered(&der(name))], key("p521"), &[&der("ca-p521")], "localhost");
        assert!(matches!(refusal(changed), Refusal::WrongSignature { .. }), "{name}");
    }
    for (name, anchor) in [("by-ca-p256-sha512", "ca-p256"), ("by-ca-p384-sha512", "ca-p384")] {
        let changed = shake(&[&tampered(&der(name))], key("p521"), &[&der(anchor)], "localhost");
        assert!(matches!(refusal(changed), Refusal::WrongSignature { .. }), "{name}");
    }
}

#[test]
fn other_keys() {
    for name in ["rsa", "p256", "ed25519"] {
        shake(&[&der(name)], key(name), &[&der("ca-p256")], "localhost").unwrap();
        shake(&[&der(name)], key(name), &[&der(name)], "localhost").unwrap();
    }
}

#[test]
fn certificates_that_webpki_does_not_read() {
    for (name, anchor) in [
        ("by-ca-v1", "ca-v1"),
        ("serial-negative", "ca-p256"),
        ("serial-long", "ca-p256"),
        ("serial-zero", "ca-p256"),
        ("serial-negative", "serial-negative"),
    ] {
        let shaken = p521(&[name], anchor, "localhost");
        assert!(shaken.is_ok(), "{name}: {shaken:?}");
        assert!(matches!(refusal(p521(&[name], anchor, "other")), Refusal::OtherNames { .. }));
        refusal(p521(&[name], "ca-p384", "localhost"));
    }
    // One of version 1 may be an anchor, but not stand between.
    let refused = refusal(p521(&["by-ca-v1", "ca-v1"], "ca-p256", "localhost"));
    assert!(matches!(refused, Refusal::NoAuthority { .. }), "{refused}");
}

#[test]
fn old_algorithms_are_named() {
    let refused = refusal(p521(&["sha1"], "ca-p256", "localhost"));
    assert!(matches!(&refused, Refusal::Algorithm { algorithm, .. } if algorithm == "SHA-1"), "{refused}");
    // No signature matters where the certificate itself is known.
    p521(&["sha1"], "sha1", "localhost").unwrap();
    for anchor in ["ca-p256", "rsa1024"] {
        let refused = refusal(p521(&["rsa1024"], anchor, "localhost"));
        assert_eq!(refused.to_string(), "the RSA key of CN=rsa1024 has 1024 bits; at least 2048 are needed");
    }
}

#[test]
fn bundles_are_read_as_go_does() {
    let text = |name: &str| String::from_utf8(file(name)).unwrap();
    let (one, two) = (text("ca-p256.crt"), text("ca-p521.crt"));
    let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let cut = "-----BEGIN CERTIFICATE-----\nMIIBAA\n";
    let expected = [der("ca-p256"), der("ca-p521")];
    for bundle in [
        format!("{one}{two}"),
        format!("{one}{broken}{two}"),
        format!("{broken}{one}{two}"),
        format!("{one}{cut}{two}{cut}"),
        format!("# our authorities\nsubject: CN = x\n{one}\n\nand\n{two}the end"),
        format!("{one}{two}").replace('\n', "\r\n"),
        format!("{}{one}{}{two}", text("trusted.crt"), text("p256.key")),
    ] {
        assert_eq!(roots_from_pem(bundle.as_bytes()).unwrap(), expected, "{bundle}");
        assert_eq!(Anchors::from_pem(bundle.as_bytes()).unwrap().certificates().count(), 2);
    }
    let headed = one.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1);
    assert_eq!(roots_from_pem(format!("{headed}{two}").as_bytes()).unwrap(), expected[1..]);
    assert_eq!(roots_from_pem(headed.as_bytes()).unwrap_err(), AnchorsError::None);
    assert_eq!(roots_from_pem(b"").unwrap_err(), AnchorsError::None);
    assert_eq!(roots_from_pem(&file("p256.key")).unwrap_err(), AnchorsError::None);
    assert_eq!(roots_from_pem(&file("trusted.crt")).unwrap_err(), AnchorsError::Trusted);
    assert!(matches!(roots_from_pem(broken.as_bytes()).unwrap_err(), AnchorsError::Unreadable(_)));
    let der = Pair::own(authority("ca")).der;
    assert_eq!(roots_from_pem(&der).unwrap_err(), AnchorsError::None);
}
