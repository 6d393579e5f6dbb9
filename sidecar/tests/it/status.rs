//! What a status says, and how it says why it has nothing to say.

use std::io::Read;
use std::net::TcpListener;

use etcd_wire::FailureCode;
use etcd_wire::message::{EtcdAccess, KeyPair, KubeSystem, MemberStatus, NodeStatus, StatusRequest};
use rustix::process::Signal;

use crate::member::{Member, etcdctl, free_address, servers};
use crate::pki::Pki;
use crate::session::{Session, text};

async fn ask(etcd: EtcdAccess, certificates: Vec<String>) -> NodeStatus {
    let mut session = Session::open().await;
    let status = session.status(StatusRequest { etcd, certificates, ..StatusRequest::default() }).await;
    assert!(session.close().await.success());
    assert_eq!(status.etcd.is_some(), status.failure.is_none());
    status
}

async fn fails(etcd: EtcdAccess) -> (FailureCode, String) {
    let failure = ask(etcd, Vec::new()).await.failure.expect("it answered");
    (failure.code, text(&failure))
}

async fn answers(etcd: EtcdAccess) -> MemberStatus {
    let status = ask(etcd, Vec::new()).await;
    status.etcd.unwrap_or_else(|| panic!("{:?}", status.failure))
}

#[tokio::test]
async fn a_member_is_described() {
    for server in servers() {
        let member = Member::with(&server, &[]);
        member.ctl(&["put", "a", "b"]);
        let missing = member.pki.path("missing.crt");
        let files = vec![member.pki.path("server.crt"), missing.clone(), member.pki.path("server.key")];
        let status = ask(member.access(), files.clone()).await;
        let etcd = status.etcd.unwrap();
        assert_eq!(etcd.endpoint, member.url);
        assert_eq!(etcd.revision, 2);
        assert!(etcd.version.starts_with("3."), "{}", etcd.version);
        assert_eq!((etcd.storage_version, etcd.quota), (None, None), "only 3.6 tells");
        assert_eq!(etcd.leader_id, etcd.member_id);
        assert!(etcd.db_size >= etcd.db_size_in_use && etcd.db_size_in_use > 0 && etcd.raft_applied_index > 0);
        assert_eq!((etcd.errors, etcd.alarms, etcd.learner), (vec![], vec![], false));
        assert_eq!(etcd.members.len(), 1);
        assert_eq!((etcd.members[0].id, etcd.members[0].name.as_str()), (etcd.member_id, "m0"));
        assert_eq!(etcd.members[0].client_urls, std::slice::from_ref(&member.url));
        assert_eq!(etcd.members[0].peer_urls, std::slice::from_ref(&member.peer));

        let [server, gone, key] = &status.certificates[..] else { panic!("{:?}", status.certificates) };
        assert_eq!((&server.path, &gone.path, &key.path), (&files[0], &files[1], &files[2]));
        assert_eq!(server.subject.as_deref(), Some("CN=server"));
        assert_eq!(server.not_after, Some(3_976_214_400));
        assert!(gone.error.as_deref().unwrap().contains("No such file"), "{gone:?}");
        assert!(key.error.as_deref().unwrap().contains("no certificate"), "{key:?}");
    }
}

/// Whose etcd this is, by the one object that tells. No other key is read for it.
#[tokio::test]
async fn namespace_kube_system_is_read_and_nothing_else() {
    let member = Member::start();
    let mut session = Session::open().await;
    let mut ask = async |key: &str| {
        let kube_system = Some(key.to_owned());
        let request = StatusRequest { etcd: member.access(), kube_system, ..StatusRequest::default() };
        session.status(request).await.etcd.expect("it answers").kube_system
    };
    let key = "/registry/namespaces/kube-system";
    assert_eq!(ask(key).await, Some(KubeSystem::Absent));
    member.ctl(&["put", key, "v"]);
    member.ctl(&["put", "/registry/secrets/default/a", "v"]);
    assert_eq!(ask(key).await, Some(KubeSystem::Held { mod_revision: 2, value: b"v".to_vec() }));
    assert!(matches!(ask("/registry/secrets/default/a").await, Some(KubeSystem::Unread { .. })));
    assert_eq!(answers(member.access()).await.kube_system, None);
    assert!(session.close().await.success());
}

#[tokio::test]
async fn a_full_database_is_an_alarm() {
    let member = Member::with(&servers()[0], &["--quota-backend-bytes=65536"]);
    let (value, client) = ("x".repeat(40_000), member.pki.client());
    let put = || etcdctl(&member.pki, &member.url, &client.cert, &client.key, &["put", "a", &value]).status.success();
    assert!((0..20).any(|_| !put()), "the quota holds nothing back");
    let etcd = answers(member.access()).await;
    assert_eq!(etcd.alarms.len(), 1, "{etcd:?}");
    assert_eq!((etcd.alarms[0].kind.as_str(), etcd.alarms[0].member_id), ("NOSPACE", etcd.member_id));
}

#[tokio::test]
async fn the_first_endpoint_that_answers_counts() {
    let member = Member::start();
    let mut access = member.access();
    let dead = format!("https://{}", free_address());
    access.endpoints.insert(0, dead.clone());
    assert_eq!(answers(access).await.endpoint, member.url);

    let mut access = member.access();
    access.endpoints = vec![dead.clone(), format!("https://{}", free_address())];
    let second = access.endpoints[1].clone();
    let (code, text) = fails(access).await;
    assert_eq!(code, FailureCode::Unreachable);
    assert!(text.contains(&format!("nothing listens at {dead}")) && text.contains(&second), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn plain_http_needs_no_certificates() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let access =
        EtcdAccess { endpoints: vec![format!("http://{}", listener.local_addr().unwrap())], ..Default::default() };
    let greeting = std::thread::spawn(move || {
        let mut greeting = [0; 14];
        listener.accept().unwrap().0.read_exact(&mut greeting).unwrap();
        greeting
    });
    let (code, text) = fails(access).await;
    assert_eq!(&greeting.join().unwrap(), b"PRI * HTTP/2.0");
    assert_eq!(code, FailureCode::Unreachable, "{text}");
}

#[tokio::test]
async fn an_expired_client_certificate_is_named() {
    let member = Member::start();
    let expired = member.pki.issue("old", 2020);
    let access = EtcdAccess { credentials: vec![expired.clone()], ..member.access() };
    let (code, text) = fails(access).await;
    assert_eq!(code, FailureCode::Credentials, "{text}");
    assert!(text.starts_with(&format!("the certificate {} expired on 2020-01-01T00:00:00Z\n", expired.cert)), "{text}");
    assert!(text.contains("renew"), "{text}");
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_named() {
    let member = Member::start();
    let other = Pki::new(&member.folder.path().join("other"));
    let access = EtcdAccess { credentials: vec![other.client()], ..member.access() };
    let (code, text) = fails(access).await;
    assert_eq!(code, FailureCode::Credentials, "{text}");
    assert!(text.contains(&other.client().cert) && text.contains("CN=ca-other"), "{text}");
}

#[tokio::test]
async fn a_server_of_another_authority_is_unreachable() {
    let member = Member::start();
    let other = Pki::new(&member.folder.path().join("other"));
    let (code, text) = fails(EtcdAccess { ca: Some(other.path("ca.crt")), ..member.access() }).await;
    assert_eq!(code, FailureCode::Unreachable, "{text}");
    assert!(text.contains(&member.url) && text.contains(&other.path("ca.crt")), "{text}");
}

#[tokio::test]
async fn an_expired_server_certificate_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(&folder.path().join("pki"));
    pki.issue("server", 2020);
    let alone = |peer: &str| vec![format!("--initial-cluster=m0={peer}")];
    let member = Member::joining(&servers()[0], &[], folder, pki, alone);
    let (code, text) = fails(member.access()).await;
    assert_eq!(code, FailureCode::Unreachable, "{text}");
    assert!(text.starts_with(&format!("a certificate of {} has expired\n", member.url)), "{text}");
    assert!(text.contains("the certificate of CN=server expired on 2020-01-01T00:00:00Z"), "{text}");
}

#[tokio::test]
async fn missing_files_are_named() {
    let member = Member::start();
    let there = member.pki.client();
    let no_key = KeyPair { cert: there.cert.clone(), key: member.pki.path("no.key") };
    let (code, text) = fails(EtcdAccess { credentials: vec![no_key.clone()], ..member.access() }).await;
    assert_eq!(code, FailureCode::Credentials, "{text}");
    assert!(text.contains(&no_key.key) && text.contains("No such file"), "{text}");

    let (code, text) = fails(EtcdAccess { ca: Some(member.pki.path("no.crt")), ..member.access() }).await;
    assert_eq!(code, FailureCode::Credentials, "{text}");
    assert!(text.contains("no.crt"), "{text}");

    let mixed = KeyPair { cert: there.cert.clone(), key: member.pki.path("server.key") };
    let (code, text) = fails(EtcdAccess { credentials: vec![mixed], ..member.access() }).await;
    assert_eq!(code, FailureCode::Credentials, "{text}");
    assert!(text.contains("does not belong to the certificate"), "{text}");

    // The next pair is used where the first is not there.
    answers(EtcdAccess { credentials: vec![no_key, there], ..member.access() }).await;
}

#[tokio::test]
async fn a_member_that_hangs_is_unreachable() {
    let member = Member::start();
    member.signal(Signal::STOP);
    let (code, text) = fails(member.access()).await;
    assert_eq!(code, FailureCode::Unreachable, "{text}");
    assert!(text.contains("does not answer"), "{text}");
}

#[tokio::test]
async fn a_learner_is_described() {
    let first = Member::start();
    let learner = first.learner();
    let etcd = answers(learner.access()).await;
    assert!(etcd.learner, "{etcd:?}");
    assert!(etcd.members.is_empty() && etcd.member_id != etcd.leader_id, "{etcd:?}");
    let of_voter = answers(first.access()).await;
    assert_eq!(of_voter.members.iter().filter(|member| member.learner).count(), 1, "{of_voter:?}");
}
