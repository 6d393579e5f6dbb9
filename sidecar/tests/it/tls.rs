//! Members whose certificates webpki or ring refuse: what etcdctl accepts is accepted, and what it refuses is refused.

use std::path::Path;
use std::process::Command;

use etcd_wire::message::{EtcdAccess, KeyPair, StatusRequest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair as Key, SanType,
    date_time_ymd,
};

use crate::member::{Member, servers};
use crate::session::{Session, text};

/// A certificate and its key, as PEM, and what it takes to issue others.
struct Pair {
    certificate: String,
    key: Key,
    params: CertificateParams,
}

impl Pair {
    fn own(params: CertificateParams) -> Pair {
        let key = Key::generate().unwrap();
        Pair { certificate: params.self_signed(&key).unwrap().pem(), key, params }
    }

    fn issue(&self, params: CertificateParams) -> Pair {
        let key = Key::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        Pair { certificate: params.signed_by(&key, &issuer).unwrap().pem(), key, params }
    }

    fn serve(&self) -> Member {
        self.serve_with(&[])
    }

    /// Presents others with its own.
    fn serve_with(&self, others: &[&Pair]) -> Member {
        let chain: String = [self].iter().chain(others).map(|pair| pair.certificate.as_str()).collect();
        Member::serving(&servers()[0], &chain, &self.key.serialize_pem(), "")
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2096, 1, 1);
    params
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

fn authority(name: &str) -> CertificateParams {
    with(named(name), |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
}

fn server() -> CertificateParams {
    with(named("server"), |params| {
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    })
}

fn server_and_authority() -> CertificateParams {
    with(server(), |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tls").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Asks the member with both, trusting what is in the PEM `trusted`, and asserts that they agree. The sidecar's words.
async fn agree(member: &Member, trusted: &str, client: KeyPair, accepted: bool) -> String {
    let ca = member.pki.path("trusted.crt");
    std::fs::write(&ca, trusted).unwrap();
    let mut theirs = Command::new("etcdctl");
    theirs.env("ETCDCTL_API", "3").args(["--endpoints", &member.url, "--cacert", &ca]);
    theirs.args(["--cert", &client.cert, "--key", &client.key, "endpoint", "health"]);
    if !accepted {
        theirs.args(["--command-timeout=500ms", "--dial-timeout=500ms"]);
    }
    let theirs = theirs.output().unwrap();
    let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
    assert_eq!(theirs.status.success(), accepted, "etcdctl: {said}");

    let etcd = EtcdAccess { endpoints: vec![member.url.clone()], ca: Some(ca), credentials: vec![client] };
    let mut session = Session::open().await;
    let status = session.status(StatusRequest { etcd, ..StatusRequest::default() }).await;
    assert!(session.close().await.success());
    let said = status.failure.as_ref().map(text).unwrap_or_default();
    assert_eq!(status.etcd.is_some(), accepted, "the sidecar: {said}");
    said
}

async fn accepts(member: &Member, trusted: &str) {
    agree(member, trusted, member.pki.client(), true).await;
}

async fn refuses(member: &Member, trusted: &str) -> String {
    agree(member, trusted, member.pki.client(), false).await
}

#[tokio::test]
async fn a_self_signed_certificate() {
    for params in [server(), server_and_authority()] {
        let own = Pair::own(params.clone());
        let member = own.serve();
        accepts(&member, &own.certificate).await;
        // As one of many, with text and the line ends of Windows.
        let bundle = format!("# ours\r\n{}\r\n{}", Pair::own(authority("other")).certificate, own.certificate);
        accepts(&member, &bundle).await;
        let said = refuses(&member, &Pair::own(params).certificate).await;
        assert!(said.contains("is not signed by the authority"), "{said}");
    }
}

#[tokio::test]
async fn an_authority_that_is_a_server_too() {
    let ca = Pair::own(authority("ca"));
    let member = ca.issue(server_and_authority()).serve();
    accepts(&member, &ca.certificate).await;
    refuses(&member, &Pair::own(authority("ca")).certificate).await;
}

#[tokio::test]
async fn a_pinned_certificate_vouches_for_itself_alone() {
    let ca = Pair::own(authority("unknown"));
    let pinned = ca.issue(server());
    let member = pinned.serve();
    accepts(&member, &pinned.certificate).await;
    refuses(&member, &ca.issue(server()).certificate).await;

    let made_with_it = pinned.issue(server()).serve_with(&[&pinned]);
    for trusted in [&pinned, &ca] {
        let said = refuses(&made_with_it, &trusted.certificate).await;
        assert!(said.contains("may not issue certificates"), "{said}");
    }
}

#[tokio::test]
async fn what_no_certificate_may_lack() {
    let ca = Pair::own(authority("ca"));
    let another = vec![SanType::IpAddress([127, 0, 0, 2].into())];
    for (params, text) in [
        (with(server_and_authority(), |params| params.not_after = date_time_ymd(2002, 3, 4)), "expired on 2002-03-04"),
        (with(server_and_authority(), |params| params.not_before = date_time_ymd(2095, 3, 4)), "not valid before 2095"),
        (
            named("127.0.0.1"),
            "has no subject alternative name, so it is not for 127.0.0.1: a common name does not count",
        ),
        (
            with(server_and_authority(), |params| params.subject_alt_names = another),
            "is for 127.0.0.2, not for 127.0.0.1",
        ),
    ] {
        let leaf = ca.issue(params);
        let member = leaf.serve();
        for trusted in [&ca, &leaf] {
            let said = refuses(&member, &trusted.certificate).await;
            assert!(said.contains(text), "{said}");
        }
    }
}

#[tokio::test]
async fn keys_on_p_521_for_members_and_clients() {
    for server in servers() {
        let (certificate, key) = (fixture("p521.crt"), fixture("p521.key"));
        let member = Member::serving(&server, &certificate, &key, &fixture("ca-p521.crt"));
        let client = KeyPair { cert: member.pki.path("p521.crt"), key: member.pki.path("p521.key") };
        std::fs::write(&client.cert, &certificate).unwrap();
        for key in ["p521.key", "p521-sec1.key"] {
            std::fs::write(&client.key, fixture(key)).unwrap();
            agree(&member, &fixture("ca-p521.crt"), client.clone(), true).await;
        }
        agree(&member, &certificate, client, true).await;
        refuses(&member, &fixture("ca-p384.crt")).await;
    }
    let chain = fixture("below.crt") + &fixture("intermediate.crt");
    let member = Member::serving(&servers()[0], &chain, &fixture("p521.key"), "");
    accepts(&member, &fixture("ca-p521.crt")).await;
    let member = Member::serving(&servers()[0], &fixture("elsewhere.crt"), &fixture("p521.key"), "");
    refuses(&member, &fixture("ca-p521.crt")).await;
}

#[tokio::test]
async fn certificates_that_webpki_does_not_read() {
    for (name, ca) in [("by-ca-v1", "ca-v1"), ("serial-negative", "ca-p256"), ("by-ca-p256-sha512", "ca-p256")] {
        let member = Member::serving(&servers()[0], &fixture(&format!("{name}.crt")), &fixture("p521.key"), "");
        accepts(&member, &fixture(&format!("{ca}.crt"))).await;
    }
    let member = Member::serving(&servers()[0], &fixture("sha1.crt"), &fixture("p521.key"), "");
    let said = refuses(&member, &fixture("ca-p256.crt")).await;
    assert!(said.contains("is signed with SHA-1, which is not accepted"), "{said}");
}

#[tokio::test]
async fn a_client_key_that_cannot_be_used_is_named() {
    let member = Member::start();
    let trusted = std::fs::read_to_string(member.pki.path("ca.crt")).unwrap();
    for (key, text) in [
        ("rsa-encrypted.key", "encrypted with a passphrase"),
        ("pkcs8-encrypted.key", "encrypted with a passphrase"),
        ("p256.key", "does not belong to the certificate"),
        ("ca-p256.crt", "there is no private key"),
    ] {
        let client = KeyPair { key: member.pki.path("mine.key"), ..member.pki.client() };
        std::fs::write(&client.key, fixture(key)).unwrap();
        let said = agree(&member, &trusted, client.clone(), false).await;
        assert!(said.contains(text) && said.contains(&client.key), "{said}");
    }
}
