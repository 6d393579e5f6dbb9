//! rclone: an S3 that takes no care. It overwrites in spite of create-only, and ignores digests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use tempfile::TempDir;

use crate::child::{Server, ports};
use crate::{ACCESS_KEY, BUCKET, SECRET_KEY, Variables, s3_variables, tool};

/// Where the buckets are, in the folder of the server.
const DATA: &str = "data";

/// A server with one bucket, over HTTP.
#[derive(Debug)]
pub struct Rclone {
    /// None: it has been ended.
    server: Option<Server>,
    port: u16,
}

impl Rclone {
    /// Starts one, and waits until it serves.
    pub fn start() -> Result<Rclone> {
        let folder = folder()?;
        fs::create_dir_all(folder.path().join(DATA).join(BUCKET))?;
        let [port] = ports()?;
        Ok(Rclone { server: Some(serve(folder, port)?), port })
    }

    /// Ends the server, lets somebody change the files of its bucket, one for each object, and starts it again: one that runs remembers what
    /// was there. The time of a file is that of its object.
    pub fn change(&mut self, change: impl FnOnce(&Path)) -> Result<()> {
        let folder = folder()?;
        fs::rename(self.data()?, folder.path().join(DATA))?;
        self.server = None;
        change(&folder.path().join(DATA).join(BUCKET));
        self.server = Some(serve(folder, self.port)?);
        Ok(())
    }

    fn data(&self) -> Result<PathBuf> {
        Ok(self.server.as_ref().context("the server was ended")?.folder().join(DATA))
    }

    /// Where the objects of the bucket are, one file each.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(self.data()?.join(BUCKET))
    }

    /// The port, for a [`crate::Proxy`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The store below a prefix.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{}", self.port)
    }

    /// The credential.
    pub fn variables(&self) -> Variables {
        s3_variables()
    }
}

fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("rclone-").tempdir()?)
}

/// Starts a server of what is in a folder.
fn serve(folder: TempDir, port: u16) -> Result<Server> {
    let command = [
        tool("rclone-1.75.2/rclone")?.display().to_string(),
        "serve".to_owned(),
        "s3".to_owned(),
        "--config=".to_owned(),
        format!("--addr=127.0.0.1:{port}"),
        format!("--auth-key={ACCESS_KEY},{SECRET_KEY}"),
        folder.path().join(DATA).display().to_string(),
    ];
    let server = Server::start(folder, &command)?;
    server.until("rclone", || Ok(std::net::TcpStream::connect(("127.0.0.1", port))?))?;
    Ok(server)
}
