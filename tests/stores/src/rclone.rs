//! rclone: an S3 that takes no care. It overwrites in spite of create-only, and ignores digests.

use anyhow::Result;
use fs_err as fs;

use crate::child::{Server, ports};
use crate::{ACCESS_KEY, BUCKET, SECRET_KEY, Variables, s3_variables, tool};

/// A server with one bucket, over HTTP.
#[derive(Debug)]
pub struct Rclone {
    _server: Server,
    port: u16,
}

impl Rclone {
    /// Starts one, and waits until it serves.
    pub fn start() -> Result<Rclone> {
        let folder = tempfile::Builder::new().prefix("rclone-").tempdir()?;
        let data = folder.path().join("data");
        fs::create_dir_all(data.join(BUCKET))?;
        let [port] = ports()?;
        let command = [
            tool("rclone-1.75.2/rclone")?.display().to_string(),
            "serve".to_owned(),
            "s3".to_owned(),
            "--config=".to_owned(),
            format!("--addr=127.0.0.1:{port}"),
            format!("--auth-key={ACCESS_KEY},{SECRET_KEY}"),
            data.display().to_string(),
        ];
        let server = Server::start(folder, &command)?;
        server.until("rclone", || Ok(std::net::TcpStream::connect(("127.0.0.1", port))?))?;
        Ok(Rclone { _server: server, port })
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
