//! A real etcd, the API server in this process, certificates for both, and clients.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use bytes::Bytes;
use clap::Parser as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use lab::apiserver;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

#[derive(clap::Parser)]
struct Words {
    #[command(flatten)]
    args: apiserver::Args,
}

struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        let certificate = params.self_signed(&key).expect("a certificate");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { pem, der, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a user in groups that also serves on 127.0.0.1: `(certificate, key)`.
    fn issue(&self, user: &str, groups: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate, key)
    }
}

/// Everything a test works on; all of it is gone when the test is.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    authority: Authority,
    etcd: Child,
    etcd_url: String,
    address: SocketAddr,
    server: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::new();
        let etcd_url = format!("http://127.0.0.1:{}", free_port());
        let etcd = etcd(&dir.path().join("etcd"), &etcd_url);
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs_err::write(&path, text).expect("a file is written");
            path.to_str().expect("UTF-8").to_owned()
        };
        let (certificate, key) = authority.issue("kube-apiserver", &[]);
        let certificate = file("server.crt", &certificate.pem());
        let key = file("server.key", &key.serialize_pem());
        let words = [
            "kube-apiserver".to_owned(),
            format!("--client-ca-file={}", file("ca.crt", &authority.pem)),
            format!("--tls-cert-file={certificate}"),
            format!("--tls-private-key-file={key}"),
            format!("--kubelet-client-certificate={certificate}"),
            format!("--kubelet-client-key={key}"),
            format!("--etcd-servers={etcd_url}"),
            format!("--token-auth-file={}", file("tokens.csv", "s3cret,robot,1,\"system:masters,robots\"\n")),
            format!("--lab-dir={}", dir.path().display()),
            "--shutdown-delay-duration=0s".to_owned(),
        ];
        let args = Words::try_parse_from(words).expect("the flags are known").args;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let server = tokio::spawn(apiserver::serve(args, listener, stop.clone()));
        let lab = Self { dir, authority, etcd, etcd_url, address, server, stop };
        lab.ready().await;
        lab
    }

    /// Ends the server and checks that it ended well.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.server).await.expect("the server did not panic").expect("the server ended well");
        self.etcd.kill().await.expect("etcd ends");
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn kill_etcd(&mut self) {
        self.etcd.start_kill().expect("etcd is killed");
    }

    /// Sends etcd a signal, by its name.
    pub(crate) fn signal_etcd(&self, signal: &str) {
        let pid = self.etcd.id().expect("etcd runs").to_string();
        let status = std::process::Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Puts another, empty etcd in the place of the one there was, as a restore does.
    pub(crate) async fn replace_etcd(&mut self) {
        self.etcd.kill().await.expect("etcd ends");
        self.etcd = etcd(&self.dir.path().join("etcd-2"), &self.etcd_url);
        self.ready().await;
    }

    async fn ready(&self) {
        while self.anonymous().send("GET", "/readyz", None).await.0 != 200 {
            assert!(!self.server.is_finished(), "the server has ended");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn faults(&self, faults: &Value) {
        fs_err::write(self.dir.path().join("faults.json"), faults.to_string()).expect("faults are written");
    }

    /// Compacts etcd at its current revision, which it returns.
    pub(crate) async fn compact(&self) -> i64 {
        let mut client = etcd_client::Client::connect([&self.etcd_url], None).await.expect("etcd");
        let revision = client.get("x", None).await.expect("etcd answers").header().expect("a header").revision();
        client.compact(revision, None).await.expect("etcd compacts");
        revision
    }

    pub(crate) fn anonymous(&self) -> Client {
        self.client(None)
    }

    pub(crate) fn admin(&self) -> Client {
        self.user("admin", &["system:masters"])
    }

    pub(crate) fn user(&self, name: &str, groups: &[&str]) -> Client {
        self.client(Some(self.authority.issue(name, groups)))
    }

    /// Somebody whose certificate says system:masters and is signed by nobody the server knows.
    pub(crate) fn stranger(&self) -> Client {
        self.client(Some(Authority::new().issue("admin", &["system:masters"])))
    }

    fn client(&self, identity: Option<(rcgen::Certificate, KeyPair)>) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der.clone()).expect("the authority is one");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).expect("an identity")
            }
        };
        Client { address: self.address, config: Arc::new(config), headers: Vec::new() }
    }

    /// TLS of a kubelet.
    pub(crate) fn kubelet_tls(&self) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = self.authority.issue("system:node:cp1", &["system:nodes"]);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("an identity");
        Arc::new(config)
    }

    /// Runs kubectl as admin and returns what it printed; it must succeed.
    pub(crate) async fn kubectl(&self, words: &[&str]) -> String {
        let (certificate, key) = self.authority.issue("admin", &["system:masters"]);
        let write = |name: &str, text: String| -> PathBuf {
            let path = self.dir.path().join(name);
            fs_err::write(&path, text).expect("a file is written");
            path
        };
        let config = json!({ "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
            "clusters": [{ "name": "lab", "cluster": { "server": format!("https://{}", self.address),
                "certificate-authority": self.dir.path().join("ca.crt") } }],
            "users": [{ "name": "lab", "user": { "client-certificate": write("admin.crt", certificate.pem()),
                "client-key": write("admin.key", key.serialize_pem()) } }] });
        let output = Command::new("kubectl")
            .env("KUBECONFIG", write("kubeconfig", config.to_string()))
            .env("HOME", self.dir.path())
            .args(words)
            .output()
            .await
            .expect("kubectl runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {words:?}: {stderr}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// A new cluster of one that takes clients at the URL.
fn etcd(data_dir: &Path, client: &str) -> Child {
    let peer = format!("http://127.0.0.1:{}", free_port());
    Command::new("etcd")
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("etcd starts")
}

/// A pod on node `cp1` that a real server takes.
pub(crate) fn pod(name: &str, labels: Value) -> Value {
    json!({ "metadata": { "name": name, "labels": labels }, "spec": { "nodeName": "cp1",
        "terminationGracePeriodSeconds": 2, "containers": [{ "name": "main", "image": "rig/busybox:1" }] } })
}

/// Talks to the server as somebody; a connection for every request.
pub(crate) struct Client {
    address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
    headers: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn with_headers(&self, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { address: self.address, config: Arc::clone(&self.config), headers }
    }

    pub(crate) async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.expect("the port is open");
        let name = ServerName::from(self.address.ip());
        tokio_rustls::TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await.expect("TLS")
    }

    async fn request(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> http::Response<Incoming> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await)).await.expect("HTTP");
        // An error of the connection shows as one of the answer.
        tokio::spawn(connection);
        let mut request =
            http::Request::builder().method(method).uri(path).header("host", "lab").header("content-type", kind);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        sender.send_request(request).await.expect("an answer")
    }

    async fn answer(response: http::Response<Incoming>) -> (u16, Value) {
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        (code, serde_json::from_slice(&body).unwrap_or_else(|_| text()))
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        Self::answer(self.request(method, path, "application/json", body).await).await
    }

    /// `kind` is the media type's middle: `merge-patch`, `strategic-merge-patch`, `json-patch`.
    pub(crate) async fn patch(&self, path: &str, kind: &str, patch: &Value) -> (u16, Value) {
        let kind = format!("application/{kind}+json");
        Self::answer(self.request("PATCH", path, &kind, patch.to_string().into_bytes()).await).await
    }

    /// Creates an object that must be taken.
    pub(crate) async fn make(&self, path: &str, object: Value) -> Value {
        let (code, made) = self.send("POST", path, Some(object)).await;
        assert_eq!(code, 201, "{made}");
        made
    }

    pub(crate) async fn watch(&self, path: &str) -> Events {
        let response = self.request("GET", path, "application/json", Vec::new()).await;
        assert_eq!(response.status().as_u16(), 200);
        Events { body: response.into_body(), rest: Vec::new() }
    }
}

/// The events of a watch.
pub(crate) struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

impl Events {
    /// The next event; `None` when the watch has ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event is JSON"));
            }
            let frame = self.body.frame().await?.expect("the watch is not cut off");
            self.rest.extend(frame.into_data().unwrap_or_default());
        }
    }
}
