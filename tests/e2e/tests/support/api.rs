//! An API server that answers everything with an empty list of pods, and tells who asked.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

const ANSWER: &str = r#"{"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []}"#;

/// Its authority, and a client's certificate and key, PEM.
pub(crate) struct Pki {
    pub(crate) ca: String,
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// The server. HOST:PORT each, on loopback; it ends with its process.
pub(crate) struct Api {
    /// With TLS, for its address and for `api.example`.
    pub(crate) secure: String,
    pub(crate) plain: String,
    /// A SOCKS proxy that leads to `secure`, whatever is asked for.
    pub(crate) socks: String,
    pub(crate) pki: Pki,
    sent: Arc<Mutex<Option<String>>>,
}

impl Api {
    pub(crate) fn start() -> Api {
        let (ca, issuer) = authority();
        let leaf = |names: &[&str]| {
            let key = KeyPair::generate().expect("a key");
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let cert = CertificateParams::new(names).expect("names").signed_by(&key, &issuer).expect("a certificate");
            (cert.pem(), key.serialize_pem())
        };
        let (server, client) = (leaf(&["127.0.0.1", "api.example"]), leaf(&["client"]));
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        let mut roots = RootCertStore::empty();
        roots.add(der(&ca)).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
        let key = PrivateKeyDer::from_pem_slice(server.1.as_bytes()).expect("PEM");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![der(&server.0)], key)
            .expect("a certificate");
        let (config, sent) = (Arc::new(config), Arc::new(Mutex::new(None)));
        let secure = {
            let sent = Arc::clone(&sent);
            listen(move |stream| {
                let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
                let mut stream = StreamOwned::new(connection, stream);
                answer(&mut stream, &sent, |stream| stream.conn.peer_certificates().is_some());
            })
        };
        let plain = {
            let sent = Arc::clone(&sent);
            listen(move |mut stream| answer(&mut stream, &sent, |_| false))
        };
        let socks = listen(move |client| drop(relay(client, secure)));
        let pki = Pki { ca, cert: client.0, key: client.1 };
        Api { secure: secure.to_string(), plain: plain.to_string(), socks: socks.to_string(), pki, sent }
    }

    /// The certificate of an authority that has signed nothing.
    pub(crate) fn authority() -> String {
        authority().0
    }

    /// Who has asked since the last look: `TOKEN`, `cert`, `as USER`, joined by `+`.
    pub(crate) fn sent(&self) -> Option<String> {
        self.sent.lock().expect("no panic while the lock is held").take()
    }
}

/// Base64 in one line.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).flat_map(|group| {
        let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(*group.get(at).unwrap_or(&0)));
        (0..4).map(move |at| if at > group.len() { '=' } else { char::from(DIGITS[bits >> (18 - 6 * at) & 63]) })
    });
    groups.collect()
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate");
    (cert.pem(), Issuer::new(params, key))
}

fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(client));
        }
    });
    address
}

/// Answers one request and closes. A connection that breaks is the business of the one who made it.
fn answer<S: Read + Write>(stream: &mut S, sent: &Mutex<Option<String>>, certified: impl Fn(&S) -> bool) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let token = header("authorization").map(|value| value.trim_start_matches("Bearer ").to_owned());
    let cert = certified(stream).then(|| "cert".to_owned());
    let user = header("impersonate-user").map(|user| format!("as {user}"));
    let who: Vec<String> = [token, cert, user].into_iter().flatten().collect();
    *sent.lock().expect("no panic while the lock is held") = Some(who.join("+"));
    let length = ANSWER.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{ANSWER}"
    );
    let _gone = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
}

/// SOCKS 5 (RFC 1928), without authentication.
fn relay(mut client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut head = BufReader::new(client.try_clone()?);
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        head.read_exact(&mut bytes).map(|()| bytes)
    };
    let methods = read(2)?[1];
    read(methods.into())?;
    client.write_all(&[5, 0])?;
    let length = match read(4)?[3] {
        1 => 4,
        4 => 16,
        _ => read(1)?[0].into(),
    };
    read(length + 2)?;
    let server = TcpStream::connect(to)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let rest = head.buffer().to_vec();
    let (mut up, mut down) = ((client.try_clone()?, server.try_clone()?), (server, client));
    up.1.write_all(&rest)?;
    let upward = thread::spawn(move || std::io::copy(&mut up.0, &mut up.1).map(|_| up.1.shutdown(Shutdown::Write)));
    let _broken = std::io::copy(&mut down.0, &mut down.1);
    let _gone = down.1.shutdown(Shutdown::Write);
    drop(upward.join());
    Ok(())
}
