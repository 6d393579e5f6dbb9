//! A lab of one node with busybox in its image store, and an administrator who talks to its API server over TLS.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use lab::{Lab, Options};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(crate) const PODS: &str = "/api/v1/namespaces/kube-system/pods";
pub(crate) const IMAGE: &str = "rig/busybox:1";
/// How long a failure takes; nothing that works depends on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a lab whose node has the image. It blocks, as `Lab::start` does.
pub(crate) fn start() -> Lab {
    start_with(Options::default())
}

/// Starts a lab with these options whose nodes have the image.
pub(crate) fn start_with(options: Options) -> Lab {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_lab")));
    let images = vec![image(folder.path())];
    Lab::start(Options { program, images, ..options }).expect("a lab starts")
}

/// A docker-archive with Debian's busybox-static, which needs nothing else of its image, as busybox and as sh.
fn image(folder: &Path) -> PathBuf {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let files = [("bin/busybox", busybox.as_slice()), ("bin/sh", busybox.as_slice())];
    let image = lab::docker_archive(IMAGE, &json!({ "Env": ["PATH=/bin"] }), &files).expect("an image");
    let path = folder.join("image.tar");
    std::fs::write(&path, image).expect("the image is written");
    path
}

/// The pod that the recorded answers are about: its command ends well on SIGTERM, within a grace period of 2 s.
pub(crate) fn pod(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": {
        "nodeName": "cp1", "hostNetwork": true, "automountServiceAccountToken": false, "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 2, "tolerations": [{ "operator": "Exists" }],
        "containers": [{ "name": "sidecar", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "-c", "trap \"exit 0\" TERM; sleep 1000 & wait"] }] } })
}

/// Waits for what another process will bring about and nobody tells.
pub(crate) async fn wait(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !check().await {
        assert!(Instant::now() < until, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The lab's administrator.
pub(crate) struct Admin {
    address: (Ipv4Addr, u16),
    tls: tokio_rustls::TlsConnector,
}

impl Admin {
    pub(crate) fn new(lab: &Lab) -> Self {
        Self::of_file(lab, lab.kubeconfig())
    }

    /// Somebody else, whose rights are what the API's roles say.
    pub(crate) fn user(lab: &Lab, name: &str) -> Self {
        Self::of_file(lab, &lab.kubeconfig_for(name, &[]).expect("a kubeconfig"))
    }

    fn of_file(lab: &Lab, kubeconfig: &Path) -> Self {
        let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
        let config: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        let pem = |path: &str| {
            let text = config.pointer(path).and_then(Value::as_str).expect("it is there");
            base64::prelude::BASE64_STANDARD.decode(text).expect("base64")
        };
        let ca = pem("/clusters/0/cluster/certificate-authority-data");
        let (cert, key) = (pem("/users/0/user/client-certificate-data"), pem("/users/0/user/client-key-data"));
        let server = url::Url::parse(&lab.server()).expect("a URL");
        let host = server.host_str().and_then(|host| host.parse().ok()).expect("an address");
        Self::with(&ca, &cert, &key, (host, server.port().expect("a port")))
    }

    /// The lab's administrator at the kubelet of its node, past the API server.
    pub(crate) fn at_kubelet(lab: &Lab) -> Self {
        Self { address: (lab.node_ip("cp1"), 10250), ..Self::new(lab) }
    }

    /// Whoever has the certificate that a node's API server shows to kubelets, at that very server.
    pub(crate) fn of_node(lab: &Lab, node: &str) -> Self {
        let pki = lab.node_root(node).join("etc/kubernetes/pki");
        let pem = |name: &str| std::fs::read(pki.join(name)).expect("kubeadm's file");
        let (cert, key) = (pem("apiserver-kubelet-client.crt"), pem("apiserver-kubelet-client.key"));
        Self::with(&pem("ca.crt"), &cert, &key, (lab.node_ip(node), 6443))
    }

    fn with(ca: &[u8], cert: &[u8], key: &[u8], address: (Ipv4Addr, u16)) -> Self {
        let certificates =
            |mut pem: &[u8]| rustls_pemfile::certs(&mut pem).collect::<Result<Vec<_>, _>>().expect("certificates");
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(ca) {
            roots.add(certificate).expect("an authority");
        }
        let key = rustls_pemfile::private_key(&mut &*key).expect("PEM").expect("a key");
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(cert), key)
            .expect("an identity");
        Self { address, tls: Arc::new(tls).into() }
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        self.tls.connect(ServerName::from(std::net::IpAddr::from(self.address.0)), stream).await
    }

    async fn request(&self, method: &str, path: &str, body: &Value) -> std::io::Result<http::Response<Incoming>> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(std::io::Error::other)?;
        // An error of the connection shows as one of the answer.
        tokio::spawn(connection);
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = http::Request::builder().method(method).uri(path).header("host", "lab");
        let request = request.header("content-type", "application/json").body(Full::new(body)).expect("a request");
        sender.send_request(request).await.map_err(std::io::Error::other)
    }

    /// A WebSocket handshake that offers these protocols: the head of the answer, and the stream behind it.
    pub(crate) async fn upgrade(&self, path: &str, protocols: &str) -> (String, TlsStream<TcpStream>) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {protocols}\r\n\r\n"
        );
        let mut stream = self.connect().await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("the request goes out");
        stream.flush().await.expect("the request goes out");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        (String::from_utf8(head).expect("a head is text"), stream)
    }

    /// One request and the text that answers it.
    pub(crate) async fn text(&self, method: &str, path: &str) -> (u16, String) {
        let response = self.request(method, path, &Value::Null).await.expect("an answer");
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (code, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// One request that must be answered with JSON.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let response = self.request(method, path, body).await.expect("an answer");
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&body).expect("JSON"))
    }

    pub(crate) async fn ready(&self) -> bool {
        self.request("GET", "/readyz", &Value::Null).await.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) async fn get(&self, pod: &str) -> Value {
        self.send("GET", &format!("{PODS}/{pod}"), &Value::Null).await.1
    }

    /// Makes a pod and watches it from its creation on.
    pub(crate) async fn make(&self, pod: &Value) -> Watch {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let watch = self.watch(&format!("&fieldSelector=metadata.name%3D{name}")).await;
        let (code, made) = self.send("POST", PODS, pod).await;
        assert_eq!(code, 201, "{made}");
        watch
    }

    /// Watches the pods of kube-system from now on.
    pub(crate) async fn watch(&self, selector: &str) -> Watch {
        let (_, list) = self.send("GET", PODS, &Value::Null).await;
        let from = list["metadata"]["resourceVersion"].as_str().expect("a revision");
        let path = format!("{PODS}?watch=1&resourceVersion={from}{selector}");
        let response = self.request("GET", &path, &Value::Null).await.expect("a watch");
        assert_eq!(response.status().as_u16(), 200);
        Watch { body: response.into_body(), rest: Vec::new() }
    }
}

/// The events of a watch.
pub(crate) struct Watch {
    body: Incoming,
    rest: Vec<u8>,
}

impl Watch {
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).expect("an event is JSON");
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event comes");
            let frame = frame.expect("the watch goes on").expect("the watch is not cut off");
            self.rest.extend(frame.into_data().unwrap_or_default());
        }
    }

    /// The first event that is as asked for.
    pub(crate) async fn until(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().await;
            if is(&event) {
                return event;
            }
        }
    }
}
