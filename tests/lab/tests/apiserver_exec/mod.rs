//! Exec and logs, through a kubelet made of a socket.

use std::net::Ipv4Addr;

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    PODS,
    apiserver_support::{Client, Lab, pod},
};

/// A kubelet that takes any upgrade, keeps the head of the request, and answers with `says` before it echoes.
async fn kubelet(lab: &Lab, says: Vec<u8>) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = tokio_rustls::TlsAcceptor::from(lab.kubelet_tls());
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the server dials");
        let mut stream = acceptor.accept(stream).await.expect("TLS");
        let head = read_head(&mut stream).await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("the answer goes out");
        // With a fault the stream is cut while this writes or echoes, which is not this end's failure.
        let (mut from, mut to) = tokio::io::split(stream);
        if to.write_all(&says).await.is_ok() && to.flush().await.is_ok() {
            tokio::io::copy(&mut from, &mut to).await.map(drop).unwrap_or_default();
            to.shutdown().await.unwrap_or_default();
        }
        head
    });
    (port, task)
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("a head is text")
}

/// Makes the pod and its node, whose kubelet is at the port.
async fn run_agent(admin: &Client, port: u16) {
    if admin.send("GET", "/api/v1/nodes/cp1", None).await.0 == 404 {
        admin.make(PODS, pod("agent", json!({}))).await;
    } else {
        assert_eq!(admin.send("DELETE", "/api/v1/nodes/cp1", None).await.0, 200);
    }
    let status = json!({ "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } } });
    admin.make("/api/v1/nodes", json!({ "metadata": { "name": "cp1" }, "status": status })).await;
}

/// Opens exec as admin and returns the stream behind the 101.
async fn open_exec(lab: &Lab, port: u16) -> tokio_rustls::client::TlsStream<TcpStream> {
    let admin = lab.admin();
    run_agent(&admin, port).await;
    let mut stream = admin.connect().await;
    let request = format!(
        "GET {PODS}/agent/exec?command=/bin/sh&command=a%20b&stdin=1&stdout=1 HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("the request goes out");
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("v5.channel.k8s.io"), "{head}");
    stream
}

#[tokio::test]
async fn exec_is_handed_to_the_kubelet_byte_for_byte() {
    let lab = Lab::start().await;
    let (port, kubelet) = kubelet(&lab, b"hello".to_vec()).await;
    let stream = open_exec(&lab, port).await;
    let (mut from, mut to) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let expected = [b"hello".as_slice(), &sent].concat();
    let writer = async {
        to.write_all(&sent).await.expect("all is sent");
        to.shutdown().await.expect("the end is sent");
    };
    let mut got = Vec::new();
    let (read, ()) = tokio::join!(from.read_to_end(&mut got), writer);
    read.expect("the end is orderly");
    assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
    let head = kubelet.await.expect("the kubelet was asked");
    let path = "GET /exec/kube-system/agent/main?command=%2Fbin%2Fsh&command=a+b&input=1&output=1 HTTP/1.1\r\n";
    assert!(head.starts_with(path), "{head}");
    lab.stop().await;
}

#[tokio::test]
async fn exec_is_cut_after_exactly_so_many_bytes() {
    let lab = Lab::start().await;
    for mode in ["clean", "reset", "stall"] {
        let fault = json!({ "exec": { "cutAfter": 100_001, "mode": mode, "direction": "down", "times": 1 } });
        lab.faults(&fault);
        let (port, _) = kubelet(&lab, vec![7; 200_000]).await;
        let mut stream = open_exec(&lab, port).await;
        let mut got = vec![0; 100_001];
        stream.read_exact(&mut got).await.expect("so many arrive");
        let mut more = [0];
        match mode {
            "clean" => assert_eq!(stream.read(&mut more).await.expect("an orderly end"), 0),
            "reset" => {
                let error = stream.read(&mut more).await.expect_err("a reset");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
            // Still open and silent: the server's own end is what ends it.
            _ => {
                let read = stream.read(&mut more);
                tokio::pin!(read);
                assert!(futures::poll!(read.as_mut()).is_pending());
            }
        }
        // Once was asked for, so the next stream is whole.
        let (port, _) = kubelet(&lab, vec![7; 200_000]).await;
        let mut stream = open_exec(&lab, port).await;
        stream.read_exact(&mut vec![0; 200_000]).await.expect("all arrive");
    }
    lab.stop().await;
}

#[tokio::test]
async fn exec_is_refused_in_the_real_servers_words() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    admin.make(PODS, pod("agent-cp1", json!({}))).await;
    let upgrade = [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "v9.channel.k8s.io"),
    ];
    let client = admin.with_headers(&upgrade);
    let exec = |pod: &str, query: &str| format!("{PODS}/{pod}/exec?command=x&{query}");
    let (code, refusal) = client.send("GET", &exec("nopod", "stdout=1"), None).await;
    assert_eq!((code, &refusal["message"]), (404, &json!("pods \"nopod\" not found")));
    let (code, refusal) = client.send("GET", &exec("agent-cp1", "stdout=1&container=nope"), None).await;
    assert_eq!((code, &refusal["message"]), (400, &json!("container nope is not valid for pod agent-cp1")));
    let (code, text) = client.send("GET", &exec("agent-cp1", ""), None).await;
    assert_eq!((code, text), (400, json!("you must specify at least 1 of stdin, stdout, stderr")));
    let (code, text) = client.send("GET", &exec("agent-cp1", "stdout=1"), None).await;
    assert_eq!((code, text), (403, json!("")), "an unknown protocol");
    let (code, refusal) = admin.send("POST", &exec("agent-cp1", "stdout=1"), None).await;
    assert_eq!((code, &refusal["message"]), (400, &json!("Upgrade request required")));
    lab.stop().await;
}

#[tokio::test]
async fn a_log_is_the_kubelets_and_its_absence_is_said() {
    let lab = Lab::start().await;
    let admin = lab.admin();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = tokio_rustls::TlsAcceptor::from(lab.kubelet_tls());
    let kubelet = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the server dials");
        let mut stream = acceptor.accept(stream).await.expect("TLS");
        let head = read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nlast line";
        stream.write_all(answer.as_bytes()).await.expect("the answer goes out");
        stream.flush().await.expect("the answer goes out");
        head
    });
    run_agent(&admin, port).await;
    let path = format!("{PODS}/agent/log?tailLines=1");
    assert_eq!(admin.send("GET", &path, None).await, (200, json!("last line")));
    let head = kubelet.await.expect("the kubelet was asked");
    assert!(head.starts_with("GET /containerLogs/kube-system/agent/main?tailLines=1 HTTP/1.1\r\n"), "{head}");
    // Nobody listens there any more.
    let (code, refusal) = admin.send("GET", &path, None).await;
    assert_eq!(code, 500);
    let want = format!("error dialing backend: dial tcp 127.0.0.1:{port}: ");
    assert!(refusal["message"].as_str().is_some_and(|m| m.contains(&want)), "{refusal}");
    lab.stop().await;
}
