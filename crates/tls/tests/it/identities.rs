//! Clients' certificates and keys.

use etcd_tls::{Anchors, Identity, IdentityError};

use crate::fixtures::{der, file};
use crate::pki::{Pair, authority, server};
use crate::server::{VERSIONS, once, pkcs8};

/// Presents the certificate to a server in both versions of TLS.
#[track_caller]
fn presented(certificate: &str, key: &[u8]) {
    let identity = Identity::from_pem(&file(certificate), key).unwrap_or_else(|error| panic!("{certificate}: {error}"));
    let own = Pair::own(server());
    for version in VERSIONS {
        let anchors = Anchors::from_der([&*own.der]).unwrap();
        once(&[&own.der], pkcs8(&own.key.serialize_der()), anchors, "localhost", Some(&identity), version)
            .unwrap_or_else(|error| panic!("{certificate} in {version:?}: {error}"));
    }
}

#[test]
fn keys_in_every_form() {
    for (certificate, key) in [
        ("p521.crt", "p521.key"),
        ("p521.crt", "p521-sec1.key"),
        ("p256.crt", "p256.key"),
        ("p256.crt", "p256-sec1.key"),
        ("p256.crt", "p256-no-public.key"),
        ("ed25519.crt", "ed25519.key"),
        ("rsa.crt", "rsa.key"),
        ("rsa.crt", "rsa-pkcs1.key"),
    ] {
        let key = file(key);
        presented(certificate, &key);
        let text = String::from_utf8(key).unwrap();
        presented(certificate, text.replace('\n', "\r\n").as_bytes());
        presented(certificate, format!("Bag Attributes\n    localKeyID: 01\n{text}").as_bytes());
        // The label does not tell the form.
        let relabelled = text.replace(" EC PRIVATE KEY", " PRIVATE KEY").replace(" RSA PRIVATE KEY", " PRIVATE KEY");
        presented(certificate, relabelled.as_bytes());
        // One file for both.
        let both = [file(certificate), text.into_bytes()].concat();
        presented(certificate, &both);
        assert!(Identity::from_pem(&both, &both).is_ok());
    }
    // Certificates that webpki does not read are the server's to judge.
    presented("serial-negative.crt", &file("p521.key"));
    presented("self-p521.crt", &file("p521.key"));
}

#[test]
fn what_is_wrong_is_said() {
    let error = |certificate: &[u8], key: &[u8]| Identity::from_pem(certificate, key).unwrap_err();
    let (certificate, key) = (file("p256.crt"), file("p256.key"));
    assert_eq!(error(&key, &key), IdentityError::NoCertificate);
    assert_eq!(error(&certificate, &certificate), IdentityError::NoKey);
    assert_eq!(error(&certificate, b""), IdentityError::NoKey);
    assert_eq!(error(&file("rsa.crt"), &file("rsa-encrypted.key")), IdentityError::Encrypted);
    assert_eq!(error(&file("rsa.crt"), &file("pkcs8-encrypted.key")), IdentityError::Encrypted);
    for other in ["p521.key", "rsa.key", "ed25519.key"] {
        assert_eq!(error(&certificate, &file(other)), IdentityError::Mismatch, "{other}");
    }
    assert_eq!(error(&file("p521.crt"), &key), IdentityError::Mismatch);
    let cut = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
    assert_eq!(error(&certificate, cut.as_bytes()), IdentityError::Key);
    let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    assert!(matches!(error(cut.as_bytes(), &key), IdentityError::Certificate(_)));
}

#[test]
fn no_error_shows_a_key() {
    let key = Pair::own(authority("ca")).key_pem();
    let text = format!("{:?}", Identity::from_pem(&file("p256.crt"), key.as_bytes()).unwrap_err());
    assert_eq!(text, "Mismatch");
    let identity = Identity::from_pem(&file("p521.crt"), &file("p521.key")).unwrap();
    assert!(!format!("{identity:?}").contains("SecretKey"), "{identity:?}");
    assert!(!der("p521").is_empty());
}
