//! SeaweedFS: an S3 that honours what backups rely on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;

use crate::child::{Server, TAKEN, ports};
use crate::{ACCESS_KEY, BUCKET, LOCKED, SECRET_KEY, Variables, certificates, http, s3_variables, signed, tool};

/// How often it is started where a port was taken.
const TRIES: usize = 3;
/// What the mode of a folder has, of those that Go's `os` has.
const FOLDER: u64 = 1 << 31;

/// A server with one bucket, over HTTPS with a certificate authority of its own, and over HTTP for a proxy.
#[derive(Debug)]
pub struct Seaweed {
    server: Server,
    filer: u16,
    plain: u16,
    secure: u16,
}

impl Seaweed {
    /// Starts one, and waits until it serves.
    pub fn start() -> Result<Seaweed> {
        // Another process may take one of its ports between their choice and its start.
        let mut tried = Seaweed::try_to_start();
        for _ in 1..TRIES {
            match &tried {
                Err(error) if format!("{error:#}").contains(TAKEN) => tried = Seaweed::try_to_start(),
                _ => break,
            }
        }
        tried
    }

    fn try_to_start() -> Result<Seaweed> {
        let folder = tempfile::Builder::new().prefix("seaweed-").tempdir()?;
        let files = certificates::make(folder.path())?;
        let identities = serde_json::json!({"identities": [{
            "name": "backup",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }], "kms": {
            "default_provider": "keys",
            // It makes keys as they are asked for.
            "providers": {"keys": {"type": "local", "enableOnDemandCreate": true}},
        }});
        let config = folder.path().join("s3.json");
        fs::write(&config, identities.to_string())?;
        fs::create_dir(folder.path().join("data"))?;
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc, plain, s3_grpc, secure] = ports()?;
        let command = [
            tool("seaweedfs-4.48/weed")?.display().to_string(),
            "server".to_owned(),
            format!("-dir={}", folder.path().join("data").display()),
            "-ip=127.0.0.1".to_owned(),
            "-ip.bind=127.0.0.1".to_owned(),
            "-master.telemetry=false".to_owned(),
            format!("-master.port={master}"),
            format!("-master.port.grpc={master_grpc}"),
            format!("-volume.port={volume}"),
            format!("-volume.port.grpc={volume_grpc}"),
            "-volume.max=100".to_owned(),
            "-filer".to_owned(),
            format!("-filer.port={filer}"),
            format!("-filer.port.grpc={filer_grpc}"),
            "-s3".to_owned(),
            format!("-s3.config={}", config.display()),
            format!("-s3.port={plain}"),
            format!("-s3.port.grpc={s3_grpc}"),
            format!("-s3.port.https={secure}"),
            format!("-s3.cert.file={}", files.certificate.display()),
            format!("-s3.key.file={}", files.key.display()),
            "-s3.port.iceberg=0".to_owned(),
            "-s3.port.lance=0".to_owned(),
        ];
        let server = Server::start(folder, &command)?;
        let seaweed = Seaweed { server, filer, plain, secure };
        seaweed.server.until("the filer of SeaweedFS", || {
            let (status, body) = http::request(filer, "POST", &format!("/buckets/{BUCKET}/"))?;
            ensure!(matches!(status, 201 | 409), "{status} {body}");
            Ok(())
        })?;
        seaweed.server.until("the S3 of SeaweedFS", || Ok(std::net::TcpStream::connect(("127.0.0.1", secure))?))?;
        Ok(seaweed)
    }

    /// The store below a prefix, over HTTPS.
    pub fn url(&self, prefix: &str) -> String {
        let endpoint = format!("https://127.0.0.1:{}", self.secure);
        format!("s3://{BUCKET}/{prefix}?endpoint={endpoint}&ca={}", self.authority().display())
    }

    /// Over HTTPS, by a client that does not know the certificate authority.
    pub fn url_without_authority(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=https://127.0.0.1:{}", self.secure)
    }

    /// The certificate of the authority.
    pub fn authority(&self) -> PathBuf {
        self.server.folder().join("ca.pem")
    }

    /// The port of its S3 over HTTP, for a [`crate::Proxy`].
    pub fn port(&self) -> u16 {
        self.plain
    }

    /// The credential.
    pub fn variables(&self) -> Variables {
        s3_variables()
    }

    /// Makes a bucket, [`LOCKED`], with versions, which locks each new object for so many days.
    pub fn make_locked_bucket(&self, days: u32) -> Result<()> {
        let path = format!("/{LOCKED}");
        let (status, _, body) =
            signed::send(self.plain, "PUT", &path, "", &[("x-amz-bucket-object-lock-enabled", "true")], b"")?;
        ensure!(status == 200, "{status} {body}");
        let retention = format!("<DefaultRetention><Mode>COMPLIANCE</Mode><Days>{days}</Days></DefaultRetention>");
        let document = format!(
            "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>{retention}</Rule></ObjectLockConfiguration>"
        );
        let (status, _, body) = signed::send(self.plain, "PUT", &path, "object-lock", &[], document.as_bytes())?;
        ensure!(status == 200, "{status} {body}");
        Ok(())
    }

    /// The IDs of the versions of objects in [`LOCKED`] that are of this object and no markers of a deletion.
    pub fn versions(&self, object: &str) -> Result<Vec<String>> {
        let (status, _, body) = signed::send(self.plain, "GET", &format!("/{LOCKED}"), "versions", &[], b"")?;
        ensure!(status == 200, "{status} {body}");
        let of = |version: &str| Some(version.split_once("<VersionId>")?.1.split_once("</VersionId>")?.0.to_owned());
        let all = body.split("<Version>").skip(1).filter_map(|rest| Some(rest.split_once("</Version>")?.0));
        Ok(all.filter(|version| version.contains(&format!("<Key>{object}</Key>"))).filter_map(of).collect())
    }

    /// The status of an attempt to delete a version of an object in [`LOCKED`] for good.
    pub fn delete_version(&self, object: &str, version: &str) -> Result<u16> {
        let query = format!("versionId={version}");
        Ok(signed::send(self.plain, "DELETE", &format!("/{LOCKED}/{object}"), &query, &[], b"")?.0)
    }

    /// The head of the answer that tells what an object of the bucket is like.
    pub fn head(&self, object: &str) -> Result<String> {
        let (status, head, _) = signed::send(self.plain, "HEAD", &format!("/{BUCKET}/{object}"), "", &[], b"")?;
        ensure!(status == 200, "{head}");
        Ok(head)
    }

    /// Puts many small objects into the bucket, by paths in it, without the S3 in between: a signature of each would take longer than the object.
    pub fn plant(&self, objects: &[(String, Vec<u8>)]) -> Result<()> {
        std::thread::scope(|scope| {
            let share = objects.len().div_ceil(16).max(1);
            let planting: Vec<_> =
                objects.chunks(share).map(|some| scope.spawn(move || self.plant_some(some))).collect();
            planting.into_iter().try_for_each(|some| some.join().unwrap_or_else(|_| bail!("a thread has panicked")))
        })
    }

    fn plant_some(&self, objects: &[(String, Vec<u8>)]) -> Result<()> {
        let mut connection = http::Connection::to(self.filer)?;
        for (path, bytes) in objects {
            let target = format!("/buckets/{BUCKET}/{path}");
            let (status, _, body) =
                connection.send("PUT", &target, "Content-Type: application/octet-stream\r\n", bytes)?;
            ensure!(status == 201, "{path}: {status} {body}");
        }
        Ok(())
    }

    /// Everything that lies in the bucket, by its path there: objects, and parts of uploads that are begun and neither completed nor aborted.
    pub fn contents(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let root = format!("/buckets/{BUCKET}");
        let (mut all, mut folders) = (BTreeMap::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            let (status, body) = http::get(self.filer, &format!("{}/?limit=100000", http::encoded(&folder)))?;
            ensure!(status == 200, "{folder}: {status}");
            let listing: serde_json::Value = serde_json::from_slice(&body)?;
            for entry in listing["Entries"].as_array().into_iter().flatten() {
                let path = entry["FullPath"].as_str().context("the path of an entry")?;
                let mode = entry["Mode"].as_u64().context("the mode of an entry")?;
                if mode & FOLDER != 0 {
                    folders.push(path.to_owned());
                    continue;
                }
                let (status, bytes) = http::get(self.filer, &http::encoded(path))?;
                let size = entry["FileSize"].as_u64().context("the size of an entry")?;
                ensure!(status == 200 && bytes.len() as u64 == size, "{path}: {status}, {} of {size}", bytes.len());
                all.insert(path.strip_prefix(&format!("{root}/")).unwrap_or(path).to_owned(), bytes);
            }
        }
        Ok(all)
    }

    /// How many multipart uploads are begun and neither completed nor aborted.
    pub fn incomplete_uploads(&self) -> Result<usize> {
        let (status, body) = http::request(self.filer, "GET", &format!("/buckets/{BUCKET}/.uploads/?limit=1000"))?;
        if status == 404 {
            return Ok(0);
        }
        ensure!(status == 200, "{status} {body}");
        let json = body.find('{').map_or("", |start| body.get(start..).unwrap_or_default());
        let json = json.rfind('}').map_or("", |end| json.get(..=end).unwrap_or_default());
        let listing: serde_json::Value = serde_json::from_str(json)?;
        Ok(listing["Entries"].as_array().map_or(0, Vec::len))
    }
}
