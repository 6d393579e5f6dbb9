//! Port forwarding to a static pod, and what is said where it cannot be. The words are those of a real kubelet and
//! containerd.

use std::io::Read as _;
use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use lab::Lab;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::kubelet_support::{Admin, PODS, pod, start};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

fn path(pod: &str, ports: &str) -> String {
    format!("{PODS}/{pod}/portforward?ports={ports}")
}

/// Opens a socket to ports of etcd's pod and checks how each channel begins.
async fn open(admin: &Admin, ports: &[u16]) -> Socket {
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join("%2C");
    let (head, stream) = admin.upgrade(&path("etcd-cp1", &list), "v5.channel.k8s.io, v4.channel.k8s.io").await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("v4.channel.k8s.io"), "{head}");
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    for (channel, port) in (0_u8..).step_by(2).zip(ports) {
        let [low, high] = port.to_le_bytes();
        for channel in [channel, channel + 1] {
            assert_eq!(next(&mut socket).await, Message::binary(vec![channel, low, high]));
        }
    }
    socket
}

async fn next(socket: &mut Socket) -> Message {
    socket.next().await.expect("a message comes").expect("the socket is whole")
}

async fn send(socket: &mut Socket, channel: u8, data: &[u8]) {
    socket.send(Message::binary([&[channel], data].concat())).await.expect("it goes out");
}

fn end() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// The answer to one request for etcd's health, on the channel of its port; etcd hangs up then.
async fn health(socket: &mut Socket, channel: u8) -> String {
    send(socket, channel, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await;
    let mut answer = String::new();
    while !answer.contains("\"health\":\"true\"") {
        let Message::Binary(data) = next(socket).await else { panic!("no data after {answer:?}") };
        assert_eq!(data[0], channel, "{answer}");
        answer.push_str(std::str::from_utf8(&data[1..]).expect("text"));
    }
    answer
}

/// The subject of the certificate that the server at a channel shows, and has the key of.
async fn certificate(lab: &Lab, socket: &mut Socket, channel: u8) -> String {
    let pki = lab.node_root("cp1").join("etc/kubernetes/pki/etcd");
    let pem = |name: &str| std::fs::read(pki.join(name)).expect("kubeadm's file");
    let certificates =
        |pem: Vec<u8>| rustls_pemfile::certs(&mut &*pem).collect::<Result<Vec<_>, _>>().expect("certificates");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificates(pem("ca.crt")).remove(0)).expect("an authority");
    let key = rustls_pemfile::private_key(&mut &*pem("healthcheck-client.key")).expect("PEM").expect("a key");
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(pem("healthcheck-client.crt")), key)
        .expect("an identity");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).expect("a connection");
    while tls.is_handshaking() {
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out).expect("memory takes it");
        }
        if !out.is_empty() {
            send(socket, channel, &out).await;
            continue;
        }
        let Message::Binary(data) = next(socket).await else { panic!("the handshake goes on") };
        assert_eq!(data[0], channel);
        let mut data = &data[1..];
        while !data.is_empty() {
            tls.read_tls(&mut data).expect("memory gives it");
            tls.process_new_packets().expect("the server is etcd");
        }
    }
    let [certificate, ..] = tls.peer_certificates().expect("a certificate") else { panic!("none") };
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).expect("a certificate");
    certificate.subject().to_string()
}

#[tokio::test]
async fn ports_of_etcd_are_reached_through_its_mirror_pod() {
    let lab = start();
    let admin = Admin::new(&lab);
    // etcd ends, so the socket does, and in order.
    let mut socket = open(&admin, &[2381]).await;
    assert!(health(&mut socket, 0).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(next(&mut socket).await, end());

    // Two ports at once; one that has ended leaves the other alone.
    let mut socket = open(&admin, &[2381, 2379]).await;
    assert!(health(&mut socket, 0).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(certificate(&lab, &mut socket, 2).await, "CN=cp1");
    socket.close(None).await.expect("it is closed");

    // Nobody listens: the error channel says so, and the socket ends.
    let mut socket = open(&admin, &[9]).await;
    let Message::Binary(data) = next(&mut socket).await else { panic!("an error comes") };
    let mut said = String::new();
    (&data[1..]).read_to_string(&mut said).expect("text");
    assert_eq!(data[0], 1);
    assert!(said.starts_with("error forwarding port 9 to pod "), "{said}");
    let (_, why) = said.split_once(", uid : ").expect("the uid is not told");
    let want = "failed to execute portforward in network namespace \"host\": failed to connect to localhost:9 inside";
    assert!(why.starts_with(want) && why.contains("dial tcp4 127.0.0.1:9: connect: connection refused"), "{why}");
    assert_eq!(next(&mut socket).await, end());
    lab.stop().expect("the lab goes away");
}

/// The body of a refused handshake.
async fn refusal(admin: &Admin, path: &str, protocol: &str) -> (u16, Value) {
    let (head, mut stream) = admin.upgrade(path, protocol).await;
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned));
        line.and_then(|value| value.trim().parse::<usize>().ok())
    };
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let mut body = vec![0; field("content-length:").unwrap_or_default()];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body).await.expect("a body");
    let text = String::from_utf8(body).expect("text");
    (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test]
async fn a_port_forward_that_cannot_be_is_refused_before_the_upgrade() {
    const V4: &str = "v4.channel.k8s.io";
    let lab = start();
    let admin = Admin::new(&lab);
    let message = |(code, answer): (u16, Value)| (code, answer["message"].as_str().map(str::to_owned));
    let said = |code: u16, text: &str| (code, Some(text.to_owned()));
    assert_eq!(message(refusal(&admin, &path("nopod", "2381"), V4).await), said(404, "pods \"nopod\" not found"));
    let wrong = "cannot convert to []int32: strconv.ParseUint: parsing \"x\": invalid syntax";
    assert_eq!(message(refusal(&admin, &path("etcd-cp1", "x"), V4).await), said(400, wrong));
    let none = refusal(&admin, &format!("{PODS}/etcd-cp1/portforward"), V4).await;
    assert_eq!(none, (400, json!("query parameter \"port\" is required")));
    let zero = refusal(&admin, &path("etcd-cp1", "0"), V4).await;
    assert_eq!(zero, (400, json!("port \"0\" must be > 0")));
    let v5 = refusal(&admin, &path("etcd-cp1", "2381"), "v5.channel.k8s.io").await;
    assert_eq!(v5, (403, json!("")));
    let plain = admin.send("POST", &path("etcd-cp1", "2381"), &Value::Null).await;
    assert_eq!(message(plain), said(400, "Upgrade request required"));

    // A pod that has ended has no sandbox any more.
    let mut over = pod("over");
    over["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", "exit 0"]);
    admin.make(&over).await.until(|event| event["object"]["status"]["phase"] == "Succeeded").await;
    let ended = refusal(&admin, &path("over", "2381"), V4).await;
    assert_eq!(ended, (500, json!("pod not found (\"over_kube-system\")")));

    // A WebSocket is a GET, and takes the right to create as well.
    let role = |verbs: Value| {
        json!({ "metadata": { "name": "forwarder", "namespace": "kube-system" },
        "rules": [{ "apiGroups": [""], "resources": ["pods/portforward"], "verbs": verbs }] })
    };
    let binding = json!({ "metadata": { "name": "forwarder", "namespace": "kube-system" },
        "subjects": [{ "kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io" }],
        "roleRef": { "kind": "Role", "name": "forwarder", "apiGroup": "rbac.authorization.k8s.io" } });
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system";
    assert_eq!(admin.send("POST", &format!("{rbac}/rolebindings"), &binding).await.0, 201);
    assert_eq!(admin.send("POST", &format!("{rbac}/roles"), &role(json!(["list"]))).await.0, 201);
    let jane = Admin::user(&lab, "jane");
    for (granted, missing) in [("create", "get"), ("get", "create")] {
        assert_eq!(admin.send("PUT", &format!("{rbac}/roles/forwarder"), &role(json!([granted]))).await.0, 200);
        let refused = message(refusal(&jane, &path("etcd-cp1", "2381"), V4).await);
        let why = format!(
            "pods \"etcd-cp1\" is forbidden: User \"jane\" cannot {missing} resource \"pods/portforward\" in API group \
             \"\" in the namespace \"kube-system\""
        );
        assert_eq!(refused, said(403, &why));
    }
    assert_eq!(admin.send("PUT", &format!("{rbac}/roles/forwarder"), &role(json!(["get", "create"]))).await.0, 200);
    let mut socket = open(&jane, &[2381]).await;
    assert!(health(&mut socket, 0).await.starts_with("HTTP/1.1 200 OK\r\n"));
    lab.stop().expect("the lab goes away");
}
