//! API servers with certificates of many makings, each asked by the real kubectl and by the plugin: both take it, or neither does.
//! Needs no lab; `crates/tls/tests/it` has what needs no kubectl either.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use e2e::{plugin, run};
use etcd_tls::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

const PODS: &str = r#"{"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []}"#;

/// A certificate and its key, as PEM, and what it takes to issue others.
struct Pair {
    certificate: String,
    key: KeyPair,
    params: CertificateParams,
}

impl Pair {
    fn own(params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        Pair { certificate: params.self_signed(&key).expect("a certificate").pem(), key, params }
    }

    fn issue(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        Pair { certificate: params.signed_by(&key, &issuer).expect("a certificate").pem(), key, params }
    }

    fn serve(&self) -> Api {
        Api::start(&self.certificate, &self.key.serialize_pem())
    }
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

fn named(name: &str) -> CertificateParams {
    with(CertificateParams::default(), |params| params.distinguished_name.push(DnType::CommonName, name))
}

fn authority(name: &str) -> CertificateParams {
    with(named(name), |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
}

fn server() -> CertificateParams {
    with(named("kube-apiserver"), |params| {
        let name = SanType::DnsName("kubernetes".try_into().expect("a name"));
        params.subject_alt_names = vec![name, SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    })
}

fn server_and_authority() -> CertificateParams {
    with(server(), |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tls").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An API server that answers everything with an empty list of pods; it ends with its process.
struct Api {
    url: String,
}

impl Api {
    fn start(chain: &str, key: &str) -> Api {
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect("a certificate and its key");
        let mut clients = RootCertStore::empty();
        let authorities = etcd_tls::certificates(fixture("ca-p521.crt").as_bytes());
        clients.add_parsable_certificates(authorities);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), etcd_tls::provider());
        let config = ServerConfig::builder_with_provider(etcd_tls::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().expect("a verifier"))
            .with_cert_resolver(identity.server());
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").expect("a port"));
        let url = format!("https://{}", listener.local_addr().expect("its address"));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let config = Arc::clone(&config);
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(config).expect("a connection");
                    answer(&mut StreamOwned::new(connection, client));
                });
            }
        });
        Api { url }
    }

    /// Asks with both, trusting what is in the PEM `trusted`. What the plugin says.
    #[track_caller]
    fn agree(&self, trusted: &str, flags: &[&str], accepted: bool) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        fs::write(folder.path().join("ca.crt"), trusted).expect("an authority");
        let mut cluster = json!({"server": self.url});
        if !flags.contains(&"--insecure-skip-tls-verify") {
            cluster["certificate-authority"] = json!("ca.crt");
        }
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": cluster}], "users": [{"name": "x", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]});
        fs::write(&path, config.to_string()).expect("a kubeconfig");
        let ask = |program: &Path, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args).args(flags).stdin(Stdio::null());
            command.env("KUBECONFIG", &path).env("HOME", folder.path()).env("NO_PROXY", "*");
            run(command)
        };
        let theirs = ask(Path::new("kubectl"), &["get", "--raw", "/api/v1/pods"]);
        assert_eq!(theirs.status.success(), accepted, "kubectl: {}", theirs.stderr);
        let ours = ask(&plugin(), &["cleanup", "--dry-run"]);
        assert_eq!(ours.status.code(), Some(i32::from(!accepted)), "the plugin: {}", ours.stderr);
        ours.stderr
    }

    #[track_caller]
    fn accepted(&self, trusted: &str) {
        self.agree(trusted, &[], true);
    }

    #[track_caller]
    fn refused(&self, trusted: &str, text: &str) {
        let said = self.agree(trusted, &[], false);
        assert!(said.contains(text) && !said.contains("OtherError"), "{said}");
    }
}

/// Answers one request and closes. A connection that breaks is the business of the one who made it.
fn answer(stream: &mut (impl Read + Write)) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let length = PODS.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{PODS}"
    );
    let _gone = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
}

#[test]
fn the_servers_own_certificate_as_the_authority() {
    let ca = Pair::own(authority("unknown"));
    for own in [Pair::own(server()), Pair::own(server_and_authority()), ca.issue(server())] {
        let api = own.serve();
        api.accepted(&own.certificate);
        // In a bundle with one that cannot be read.
        let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        api.accepted(&format!("{broken}# ours\r\n{}", own.certificate));
        api.refused(&Pair::own(authority("other")).certificate, "which is not a known authority");
        api.refused(&Pair::own(server()).certificate, "certificate");
        api.agree(&own.certificate, &["--tls-server-name", "kubernetes"], true);
        let said = api.agree(&own.certificate, &["--tls-server-name", "elsewhere"], false);
        assert!(said.contains("the server's certificate is for kubernetes, 127.0.0.1, not for elsewhere"), "{said}");
        api.agree("", &["--insecure-skip-tls-verify"], true);
    }
    // It vouches for nothing else.
    let pinned = ca.issue(server());
    pinned.issue(server()).serve().refused(&pinned.certificate, "may not issue certificates");
}

#[test]
fn an_authority_that_is_a_server_too() {
    let ca = Pair::own(authority("ca"));
    let api = ca.issue(server_and_authority()).serve();
    api.accepted(&ca.certificate);
    api.refused(&Pair::own(authority("ca")).certificate, "was not signed by the key of CN=ca");
}

#[test]
fn what_no_certificate_may_lack() {
    let ca = Pair::own(authority("ca"));
    let another = vec![SanType::IpAddress([127, 0, 0, 2].into())];
    for (params, text) in [
        (with(server_and_authority(), |params| params.not_after = date_time_ymd(2002, 3, 4)), "expired on 2002-03-04"),
        (with(server_and_authority(), |params| params.not_before = date_time_ymd(2095, 3, 4)), "not valid before 2095"),
        (named("127.0.0.1"), "has no subject alternative name, so it is not for 127.0.0.1"),
        (
            with(server_and_authority(), |params| params.subject_alt_names = another),
            "is for 127.0.0.2, not for 127.0.0.1",
        ),
    ] {
        let leaf = ca.issue(params);
        let api = leaf.serve();
        for trusted in [&ca, &leaf] {
            api.refused(&trusted.certificate, text);
        }
    }
}

#[test]
fn keys_on_p_521_for_servers_and_clients() {
    let key = fixture("p521.key");
    let api = Api::start(&fixture("p521.crt"), &key);
    api.accepted(&fixture("ca-p521.crt"));
    api.accepted(&fixture("p521.crt"));
    api.refused(&fixture("ca-p384.crt"), "which is not a known authority");
    Api::start(&(fixture("below.crt") + &fixture("intermediate.crt")), &key).accepted(&fixture("ca-p521.crt"));
    Api::start(&fixture("self-p521.crt"), &key).accepted(&fixture("self-p521.crt"));
    Api::start(&fixture("elsewhere.crt"), &key).refused(&fixture("ca-p521.crt"), "is for elsewhere, not for 127.0.0.1");

    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, fixture(name)).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let certificate = file("p521.crt");
    for key in ["p521.key", "p521-sec1.key"] {
        let flags = ["--client-certificate", &certificate, "--client-key", &file(key)];
        api.agree(&fixture("ca-p521.crt"), &flags, true);
    }
    for (key, text) in [("p256.key", "does not belong to the certificate"), ("pkcs8-encrypted.key", "passphrase")] {
        let flags = ["--client-certificate", &certificate, "--client-key", &file(key)];
        let said = api.agree(&fixture("ca-p521.crt"), &flags, false);
        assert!(said.contains(text), "{said}");
    }
}
