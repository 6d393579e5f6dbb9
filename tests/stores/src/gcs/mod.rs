//! A stand-in for Google Cloud Storage: its XML API as far as backups use it, and the metadata server of a machine of Google. A stand-in, because
//! no server that can be had speaks the XML API for writing. It refuses what it does not know, so that nothing passes by luck.
//!
//! By cloud.google.com/storage/docs/xml-api and /storage/docs/authentication; google.aip.dev/auth/4111 for the tokens that a key signs itself;
//! cloud.google.com/compute/docs/metadata for those of a machine.

mod bucket;
mod request;
mod token;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use fs_err as fs;
use jiff::Timestamp;
use tempfile::TempDir;

use crate::{BUCKET, Variables, certificates, serve};
use bucket::Bucket;
use request::{Answer, Request};
use token::{Key, METADATA_TOKEN};

/// A bucket over HTTPS, with a certificate authority of its own, and the metadata server of a machine.
#[derive(Debug)]
pub struct Gcs {
    folder: TempDir,
    storage: u16,
    metadata: u16,
    state: Arc<Mutex<State>>,
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// GET, PUT and so on.
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// What was answered.
    pub status: u16,
}

#[derive(Debug)]
struct State {
    key: Key,
    bucket: Bucket,
    asked: Vec<Asked>,
}

impl Gcs {
    /// Starts one with one bucket.
    pub fn start() -> Result<Gcs> {
        let folder = tempfile::Builder::new().prefix("gcs-").tempdir()?;
        let key = Key::make(&folder.path().join("key.json"))?;
        Key::make(&folder.path().join("stranger.json"))?;
        let tls = certificates::server_config(&certificates::make(folder.path())?)?;
        let (storage, metadata) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let ports = (storage.local_addr()?.port(), metadata.local_addr()?.port());
        let state = Arc::new(Mutex::new(State { key, bucket: Bucket::default(), asked: Vec::new() }));
        let shared = Arc::clone(&state);
        serve::secure(storage, tls, move |stream| {
            let Some(request) = Request::read(stream)? else { return Ok(()) };
            let answer = shared.lock().unwrap_or_else(PoisonError::into_inner).answer(&request);
            answer.write(&request, stream)
        });
        serve::plain(metadata, |stream| {
            let Some(request) = Request::read(stream)? else { return Ok(()) };
            machine(&request).write(&request, stream)
        });
        Ok(Gcs { folder, storage: ports.0, metadata: ports.1, state })
    }

    /// The store below a prefix.
    pub fn url(&self, prefix: &str) -> String {
        let ca = self.folder.path().join("ca.pem");
        format!("gs://{BUCKET}/{prefix}?endpoint=https://127.0.0.1:{}&ca={}", self.storage, ca.display())
    }

    /// The credential: the file of the key of a service account.
    pub fn variables(&self) -> Variables {
        self.key_file("key.json")
    }

    /// The key itself in a variable.
    pub fn variables_with_key(&self) -> Result<Variables> {
        let key = fs::read_to_string(self.folder.path().join("key.json"))?;
        Ok([("GOOGLE_SERVICE_ACCOUNT_KEY".to_owned(), key)].into())
    }

    /// A key that calls itself as the other does, and is not that of the service account.
    pub fn variables_of_stranger(&self) -> Variables {
        self.key_file("stranger.json")
    }

    fn key_file(&self, name: &str) -> Variables {
        let path: PathBuf = self.folder.path().join(name);
        [("GOOGLE_APPLICATION_CREDENTIALS".to_owned(), path.display().to_string())].into()
    }

    /// The variables by which a process finds the metadata server: the client reads them of the process alone.
    pub fn variables_of_machine(&self) -> Variables {
        let host = format!("127.0.0.1:{}", self.metadata);
        ["GCE_METADATA_HOST", "GCE_METADATA_IP"].map(|name| (name.to_owned(), host.clone())).into()
    }

    /// The requests to the bucket since the last look.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.lock().asked)
    }

    /// How many uploads of parts are begun and neither completed nor aborted.
    pub fn incomplete_uploads(&self) -> usize {
        self.lock().bucket.uploads()
    }

    /// Whether the policy of the bucket keeps every object from being deleted or replaced.
    pub fn retain(&self, retains: bool) {
        self.lock().bucket.retain(retains);
    }

    /// Objects that have this in their name were written at that time.
    pub fn backdate(&self, name: &str, when: Timestamp) {
        self.lock().bucket.backdate(name, when);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let answer = match self.key.allows(request.header("authorization").as_deref()) {
            Ok(()) => self.bucket.answer(request),
            Err(why) => Answer::error(401, "AuthenticationRequired", &why),
        };
        let Request { method, target, .. } = request;
        self.asked.push(Asked { method: method.clone(), target: target.clone(), status: answer.status });
        answer
    }
}

/// The metadata server.
fn machine(request: &Request) -> Answer {
    let is_token = request.path == "/computeMetadata/v1/instance/service-accounts/default/token";
    match (request.method.as_str(), is_token, request.header("metadata-flavor").as_deref()) {
        (_, _, None) => Answer::error(403, "Forbidden", "Metadata-Flavor: Google is missing"),
        ("GET", true, Some("Google")) => {
            let token = serde_json::json!({"access_token": METADATA_TOKEN, "expires_in": 3599, "token_type": "Bearer"});
            Answer::of(200, token.to_string())
        }
        _ => Answer::error(404, "NotFound", "there is nothing here"),
    }
}
