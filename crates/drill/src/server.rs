//! A real etcd on the restored directory. It listens on sockets in the folder of the drill, and on no port: nobody who may not enter the folder
//! reaches it, and nobody without the key of the drill's client is let in.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::client::Etcd;
use crate::container::{Image, without_flags};
use crate::credentials::{CA_FILE, CERT_FILE, KEY_FILE};
use crate::guard::{CONTAINER, GUARD};
use crate::program::Origin;
use crate::{Folder, Kind, Outcome, Program, Trouble};

/// The member's name.
pub(crate) const NAME: &str = "drill";
/// The member's URL in its own list. Nothing listens there.
pub(crate) const PEER_URL: &str = "http://localhost:2380";
/// The data directory, in the folder.
pub(crate) const DATA: &str = "data";
/// The socket for clients. etcd takes a host and a port for the name of a socket (client/pkg/transport/unix_listener.go @ v3.5.16), so the name has a
/// colon.
pub(crate) const CLIENTS: &str = "client:0";
/// That for other members, of which there are none.
const PEERS: &str = "peer:0";
const LOG: &str = "log";

/// How often etcd is asked whether it serves.
const PULSE: Duration = Duration::from_millis(50);
/// How long etcd may take until it serves: it reads its whole database first.
const PATIENCE: Duration = Duration::from_secs(1800);
/// What of etcd's log is shown where etcd ends.
const LINES: usize = 5;

/// An etcd process, which ends with this handle.
pub(crate) struct Server {
    guard: Child,
    /// What etcd runs in, if it runs in a container, and that one's name.
    container: Option<(Image, String)>,
    /// The folder stays as long as etcd runs in it.
    folder: Arc<Folder>,
}

impl Server {
    /// Starts etcd on the directory [`DATA`] of the folder. On a port of the loopback it listens only where one is given.
    ///
    /// # Errors
    /// Its log cannot be written, or no process can be made.
    pub(crate) fn start(program: &Program, folder: Arc<Folder>, port: Option<u16>) -> Outcome<Server> {
        let cannot = |error: &std::io::Error| Trouble::plain("cannot start etcd").source(error);
        let log = File::create_new(folder.path().join(LOG)).map_err(|error| cannot(&error))?;
        let errors = log.try_clone().map_err(|error| cannot(&error))?;
        let mut command = Command::new(own_program().map_err(|error| cannot(&error))?);
        let container = match &program.origin {
            Origin::File(path) => {
                command.arg(GUARD).arg(path);
                // etcd takes flags from the environment, too. For arm64, 3.4 asks for this one.
                command.env_clear().env("ETCD_UNSUPPORTED_ARCH", "arm64");
                None
            }
            Origin::Image(image) => {
                without_flags(&mut command);
                let name = folder.name().to_owned();
                let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
                let path = folder.path().to_str().ok_or_else(|| {
                    Trouble::plain("cannot start etcd").cause("the path of the drill's folder is no UTF-8")
                })?;
                command.arg(CONTAINER).arg(image.engine()).arg(&name).args(image.serve(&name, path, user));
                Some((image.clone(), name))
            }
        };
        command.args(arguments(port));
        command.stdin(Stdio::piped()).stdout(log).stderr(errors).current_dir(folder.path());
        // Ctrl-C in the terminal is for this program, which ends etcd.
        command.process_group(0);
        let guard = command.spawn().map_err(|error| cannot(&error))?;
        Ok(Server { guard, container, folder })
    }

    /// Waits until etcd serves.
    ///
    /// # Errors
    /// It has ended, or does not serve for too long.
    pub(crate) async fn serve(&mut self, tls: &Arc<ClientConfig>) -> Outcome<Etcd> {
        let socket = self.folder.path().join(CLIENTS);
        let begun = Instant::now();
        loop {
            let why = match Etcd::connect(&socket, Arc::clone(tls)).await {
                Ok(etcd) => return Ok(etcd),
                Err(why) => why,
            };
            let ended = self.guard.try_wait();
            if let Some(status) = ended.map_err(|error| Trouble::plain("cannot wait for etcd").source(&error))? {
                // Docker and podman end with these where a container was not started, and otherwise as etcd does.
                if let (Some((image, _)), Some(125..=127)) = (&self.container, status.code()) {
                    let failed =
                        Trouble::new(Kind::Refused, format!("cannot start a container of {}", image.reference));
                    return Err(failed.causes(last_lines(&self.folder.path().join(LOG))));
                }
                let failed = Trouble::new(Kind::Damaged, "etcd does not start on the restored snapshot");
                let failed = failed.cause(format!("etcd has ended: {status}"));
                return Err(failed.causes(last_lines(&self.folder.path().join(LOG))));
            }
            if begun.elapsed() >= PATIENCE {
                let failed = Trouble::new(Kind::Damaged, "etcd does not serve the restored snapshot").cause(why);
                return Err(failed.causes(last_lines(&self.folder.path().join(LOG))));
            }
            tokio::time::sleep(PULSE).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of the pipe ends etcd, and then the guard.
        drop(self.guard.stdin.take());
        if let Err(error) = self.guard.wait() {
            tracing::error!("cannot wait for the end of etcd, process {}: {error}", self.guard.id());
        }
        if let Some((Image { engine, .. }, name)) = self.container.take()
            && engine.is_there(&name)
        {
            tracing::error!(
                "container {name} is left; it sees every Secret in clear: {} rm --force {name}",
                engine.name()
            );
        }
    }
}

/// This program, also where it was replaced meanwhile.
pub(crate) fn own_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() }
}

/// Paths are relative to the folder, which etcd is started in: that of a socket has to be short.
fn arguments(port: Option<u16>) -> Vec<String> {
    let (clients, peers) = (format!("unixs://{CLIENTS}"), format!("unix://{PEERS}"));
    let listens = match port {
        Some(port) => format!("{clients},https://127.0.0.1:{port}"),
        None => clients.clone(),
    };
    let flags = [
        ("name", NAME),
        ("data-dir", DATA),
        ("listen-client-urls", &listens),
        ("advertise-client-urls", &clients),
        ("client-cert-auth", "true"),
        ("trusted-ca-file", CA_FILE),
        ("cert-file", CERT_FILE),
        ("key-file", KEY_FILE),
        ("listen-peer-urls", &peers),
        ("initial-advertise-peer-urls", PEER_URL),
        ("logger", "zap"),
        // A single member waits for nobody.
        ("heartbeat-interval", "50"),
        ("election-timeout", "500"),
        // A database above the quota raises an alarm: the largest that etcd recommends.
        ("quota-backend-bytes", "8589934592"),
    ];
    let initial = format!("--initial-cluster={NAME}={PEER_URL}");
    flags.iter().map(|(name, value)| format!("--{name}={value}")).chain([initial]).collect()
}

/// The end of a log of etcd or of an API server. It names keys at most, never values.
pub(crate) fn last_lines(log: &Path) -> Vec<String> {
    let Ok(bytes) = std::fs::read(log) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LINES));
    last.map(|line| line.chars().take(400).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_listens_on_no_port_but_for_an_api_server() {
        let listens =
            |port| -> Vec<String> { arguments(port).into_iter().filter(|flag| flag.starts_with("--listen")).collect() };
        let peers = "--listen-peer-urls=unix://peer:0";
        assert_eq!(listens(None), ["--listen-client-urls=unixs://client:0", peers]);
        assert_eq!(listens(Some(7)), ["--listen-client-urls=unixs://client:0,https://127.0.0.1:7", peers]);
        assert!(arguments(Some(7)).contains(&"--client-cert-auth=true".to_owned()));
    }

    #[test]
    fn the_end_of_the_log_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        assert!(last_lines(&log).is_empty());
        let lines: Vec<String> = (0..20).map(|number| format!("line {number} {}", "x".repeat(1000))).collect();
        std::fs::write(&log, lines.join("\n\n")).expect("a log");
        let last = last_lines(&log);
        assert_eq!(last.len(), LINES);
        assert!(last[4].starts_with("line 19 ") && last.iter().all(|line| line.len() == 400));
    }
}
