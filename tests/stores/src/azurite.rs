//! Azurite: Azure's own stand-in for its blob service.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use ring::hmac;

use crate::child::{Server, ports};
use crate::{BUCKET, Variables, http, tool};

/// A server with the account that Azurite always has, over HTTP.
#[derive(Debug)]
pub struct Azurite {
    _server: Server,
    port: u16,
}

/// The account of every Azurite and its key, which are public
/// (learn.microsoft.com/azure/storage/common/storage-use-azurite).
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

impl Azurite {
    /// Starts one with one container, and waits until it serves.
    pub fn start() -> Result<Azurite> {
        let folder = tempfile::Builder::new().prefix("azurite-").tempdir()?;
        let [port] = ports()?;
        let program = tool("azurite-3.35/node_modules/.bin/azurite-blob")?;
        let command = [
            program.to_str().context("a path that is text")?.to_owned(),
            "--blobHost".to_owned(),
            "127.0.0.1".to_owned(),
            "--blobPort".to_owned(),
            port.to_string(),
            "--location".to_owned(),
            folder.path().display().to_string(),
            "--skipApiVersionCheck".to_owned(),
            "--disableTelemetry".to_owned(),
        ];
        let server = Server::start(folder, &command)?;
        server.until("Azurite", || make_container(port))?;
        Ok(Azurite { _server: server, port })
    }

    /// The store below a prefix of the container.
    pub fn url(&self, prefix: &str) -> String {
        format!("az://{ACCOUNT}/{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// The credential.
    pub fn variables(&self) -> Variables {
        [("AZURE_STORAGE_KEY".to_owned(), KEY.to_owned())].into()
    }

    /// A shared access signature instead: with these permissions (as in `rwdlc`), until then.
    pub fn signature(&self, permissions: &str, expiry: Timestamp) -> Result<Variables> {
        Ok([("AZURE_STORAGE_SAS_TOKEN".to_owned(), account_signature(permissions, expiry)?)].into())
    }
}

/// A shared access signature of the account for objects of its containers, signed by the account's key
/// (learn.microsoft.com/rest/api/storageservices/create-account-sas, version 2020-12-06).
fn account_signature(permissions: &str, expiry: Timestamp) -> Result<String> {
    let expiry = expiry.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let version = "2021-12-02";
    let fields = [ACCOUNT, permissions, "b", "sco", "", &expiry, "", "", version, "", ""];
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(KEY)?);
    let signature = STANDARD.encode(hmac::sign(&key, fields.join("\n").as_bytes()));
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    Ok(format!("sv={version}&ss=b&srt=sco&sp={permissions}&se={}&sig={signature}", expiry.replace(':', "%3A")))
}

/// Makes the container, with a signature by the account's key
/// (learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key).
fn make_container(port: u16) -> Result<()> {
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now())?;
    let headers = format!("x-ms-date:{date}\nx-ms-version:2021-12-02");
    let resource = format!("/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container");
    let signed = format!("PUT{}{headers}\n{resource}", "\n".repeat(12));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(KEY)?);
    let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let headers = [headers, format!("Authorization: SharedKey {ACCOUNT}:{signature}")].join("\n");
    let target = format!("/{ACCOUNT}/{BUCKET}?restype=container");
    let (status, body) = http::request_with(port, "PUT", &target, &headers)?;
    ensure!(matches!(status, 201 | 409), "{status} {body}");
    Ok(())
}
