//! The process of the drill's API server, which ends with its handle, and with this program.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::Api;
use super::{ApiServer, Ports, flags};
use crate::credentials::Credentials;
use crate::guard::GUARD;
use crate::server::{last_lines, own_program};
use crate::{Folder, Outcome, Trouble};

/// How often the API server is asked whether it is ready.
const PULSE: Duration = Duration::from_millis(100);
/// How long it may take until it is.
const PATIENCE: Duration = Duration::from_secs(600);
const LOG: &str = "api-server.log";

/// An API server that runs.
pub(super) struct Process {
    guard: Child,
    log: PathBuf,
    /// Its own keys, and what values are decrypted with.
    _files: TempDir,
    /// The folder stays as long as it runs.
    _folder: Arc<Folder>,
}

impl Process {
    /// Starts the program on the etcd of the drill.
    ///
    /// # Errors
    /// A file cannot be written, or no process can be made.
    pub(super) fn start(
        program: &ApiServer,
        ports: Ports,
        prefix: &str,
        credentials: &Credentials,
        folder: &Arc<Folder>,
    ) -> Outcome<Process> {
        let cannot = |error: &std::io::Error| Trouble::plain("cannot start the API server").source(error);
        let files = files(program, credentials)?;
        let log = folder.path().join(LOG);
        let output = File::create_new(&log).map_err(|error| cannot(&error))?;
        let errors = output.try_clone().map_err(|error| cannot(&error))?;
        let place = flags::Place {
            etcd_port: ports.etcd,
            port: ports.api_server,
            prefix,
            folder: folder.path(),
            files: files.path(),
            decrypts: program.encryption_config.is_some(),
        };
        let mut command = Command::new(own_program().map_err(|error| cannot(&error))?);
        command.arg(GUARD).arg(&program.path).args(flags::arguments(&place, &program.flags));
        // It would take the cluster for its own by its environment.
        command.env_clear();
        command.stdin(Stdio::piped()).stdout(output).stderr(errors).current_dir(folder.path());
        // Ctrl-C in the terminal is for this program, which ends the API server.
        command.process_group(0);
        let guard = command.spawn().map_err(|error| cannot(&error))?;
        Ok(Process { guard, log, _files: files, _folder: Arc::clone(folder) })
    }

    /// Waits until it is ready, as [`Api::ready`] asks it.
    ///
    /// # Errors
    /// It has ended, or is not ready for too long: why, in a line.
    pub(super) async fn ready(&mut self, api: &Api, whole: bool) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let why = match api.ready(whole).await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            if begun.elapsed() >= PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(format!(
                    "the API server is not ready after {seconds} seconds: {why}: {}",
                    self.last_words()
                ));
            }
            tokio::time::sleep(PULSE).await;
        }
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        match self.guard.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("the API server has ended: {status}: {}", self.last_words())),
            Err(error) => Some(format!("cannot wait for the API server: {error}")),
        }
    }

    fn last_words(&self) -> String {
        last_lines(&self.log).join("; ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of the pipe ends the API server, and then the guard.
        drop(self.guard.stdin.take());
        if let Err(error) = self.guard.wait() {
            tracing::error!("cannot wait for the end of the API server, process {}: {error}", self.guard.id());
        }
    }
}

/// Writes the API server's own files into a folder of their own, where no other user can look into.
fn files(program: &ApiServer, credentials: &Credentials) -> Outcome<TempDir> {
    let cannot = |error: &std::io::Error| {
        Trouble::plain(format!("cannot write the files of the API server to {}", program.memory.display()))
            .source(error)
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix("api-server-").permissions(std::fs::Permissions::from_mode(0o700));
    let files = builder.tempdir_in(&program.memory).map_err(|error| cannot(&error))?;
    let own = credentials.api_server()?;
    let egress = flags::egress(files.path());
    let mut texts = vec![
        (flags::ETCD_CERT, own.etcd_cert.as_str()),
        (flags::ETCD_KEY, &own.etcd_key),
        (flags::ACCOUNTS, &own.accounts),
        (flags::ACCOUNTS_PUBLIC, &own.accounts_public),
        (flags::EGRESS, &egress),
    ];
    texts.extend(program.encryption_config.as_deref().map(|text| (flags::ENCRYPTION, text)));
    for (name, text) in texts {
        write(&files.path().join(name), text).map_err(|error| cannot(&error))?;
    }
    Ok(files)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
