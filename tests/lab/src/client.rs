//! A small client of the API server: one connection a request, JSON only.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::pem;
use base64::Engine;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long a server may be silent, unless it is at a watch.
const PATIENCE: Duration = Duration::from_secs(10);

/// A user of one API server.
#[derive(Clone)]
pub struct Client {
    host: String,
    port: u16,
    tls: tokio_rustls::TlsConnector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({}:{})", self.host, self.port)
    }
}

impl Client {
    /// The user of a kubeconfig, at the server it names or at `server` instead.
    pub(crate) fn from_kubeconfig(yaml: &str, server: Option<&str>) -> Result<Self> {
        let config: Value = serde_yaml_ng::from_str(yaml)?;
        let field = |path: &str| {
            config.pointer(path).and_then(Value::as_str).with_context(|| format!("the kubeconfig has no {path}"))
        };
        let data = |path: &str| anyhow::Ok(base64::engine::general_purpose::STANDARD.decode(field(path)?)?);
        Self::new(
            server.map_or_else(|| field("/clusters/0/cluster/server"), Ok)?,
            &data("/clusters/0/cluster/certificate-authority-data")?,
            &data("/users/0/user/client-certificate-data")?,
            &data("/users/0/user/client-key-data")?,
        )
    }

    /// The user with this certificate, at a server with a certificate by this authority; all as PEM.
    pub(crate) fn new(server: &str, ca: &[u8], cert: &[u8], key: &[u8]) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for cert in pem::certificates(ca)? {
            roots.add(cert)?;
        }
        let key = pem::private_key(key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(pem::certificates(cert)?, key)?;
        let url = url::Url::parse(server)?;
        Ok(Self {
            host: url.host_str().context("the server has no host")?.to_owned(),
            port: url.port_or_known_default().context("the server has no port")?,
            tls: Arc::new(tls).into(),
        })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(ServerName::try_from(self.host.clone())?, tcp).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        // It ends with the answer's body; an error of the connection shows there.
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("{}:{}", self.host, self.port))
            .header("accept", "application/json");
        if body.is_some() {
            request = request.header("content-type", media_type);
        }
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        Ok(request.body(Full::new(body.into()))?)
    }

    /// One request. An answer that is not JSON is a string.
    ///
    /// # Errors
    /// When the server cannot be reached, hangs up, or is silent for ten seconds.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let media_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = self.request(method, path, media_type, body)?;
        let silence = || silence(path);
        let response = tokio::time::timeout(PATIENCE, self.send(request)).await.with_context(silence)??;
        let (status, mut body, mut text) = (response.status(), response.into_body(), Vec::new());
        while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.with_context(silence)? {
            if let Ok(data) = frame?.into_data() {
                text.extend_from_slice(&data);
            }
        }
        let value = serde_json::from_slice(&text)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&text).into_owned()));
        Ok((status, value))
    }

    /// A GET whose answer must be a success.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        match self.call(Method::GET, path, None).await? {
            (status, value) if status.is_success() => Ok(value),
            (status, value) => bail!("{path}: {status}: {value}"),
        }
    }

    /// A watch, event by event.
    pub(crate) async fn watch(&self, path: &str) -> Result<Watch> {
        let sent = self.send(self.request(Method::GET, path, "", None)?);
        let response = tokio::time::timeout(PATIENCE, sent).await.with_context(|| silence(path))??;
        if !response.status().is_success() {
            bail!("{path}: {}", response.status());
        }
        Ok(Watch { body: response.into_body(), buffer: Vec::new() })
    }
}

fn silence(path: &str) -> String {
    format!("{path}: no answer in {PATIENCE:?}")
}

/// The events of a watch.
#[derive(Debug)]
pub(crate) struct Watch {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event, or nothing when the server ended the watch.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
