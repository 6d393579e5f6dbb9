//! A server as a child that cannot outlive us.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Ends the server, by SIGKILL, and removes its folder, as soon as its own stdin ends: when the [`Server`] is dropped, or its process
/// is gone for whatever reason.
const WARDEN: &str = r#"folder=$1; shift
"$@" >"$folder/log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -KILL "$server"
wait "$server"
rm -rf "$folder""#;

/// What programs in Go say of a port that another process has.
pub(crate) const TAKEN: &str = "bind: address already in use";

/// A server and its folder.
#[derive(Debug)]
pub(crate) struct Server {
    warden: Child,
    folder: std::path::PathBuf,
}

impl Server {
    pub(crate) fn start(folder: TempDir, command: &[String]) -> Result<Server> {
        let folder = folder.keep();
        let warden = Command::new("sh")
            .args(["-c", WARDEN, "warden"])
            .arg(&folder)
            .args(command)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh")?;
        Ok(Server { warden, folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Tries until it works: the event that is waited for is an answer of the server. One that says that its port is taken never answers.
    pub(crate) fn until<T>(&self, what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) if begun.elapsed() > Duration::from_secs(60) || self.log().contains(TAKEN) => {
                    let log = self.log();
                    let tail: Vec<&str> = log.lines().rev().take(20).collect();
                    bail!(
                        "{what} does not answer: {error:#}\n{}",
                        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                    );
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        let _ = self.warden.wait();
    }
}

/// Ports that nobody listens on now.
pub(crate) fn ports<const N: usize>() -> Result<[u16; N]> {
    let listeners = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>()?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<Result<Vec<_>>>()?;
    ports.try_into().ok().context("as many ports as listeners")
}
