//! A stand-in for systemd on a node, where it is asked for: it starts, stops and holds services as their units say, and `systemctl`, which
//! lies in the node's file tree and needs nothing else of it, speaks with it.
//!
//! Units are `/etc/systemd/system/NAME.service` with its drop-ins there, read at the start and at `daemon-reload`. Where something is
//! understood, it means what systemd 252 means by it. What there is not: other folders of units, other kinds of units, dependencies, the
//! journal (a unit's output goes to [`Lab::unit_log`]), control groups (a unit is a process group). A service is started once its
//! process is, also one of `Type=notify`: nobody waits for its word that it is ready.
//! A unit is known from the reload after its file was written on, also where the real one would read the file of a unit that it has not
//! in memory when it is asked for it.

mod command_line;
mod definition;
mod files;
mod limit;
mod manager;
mod outcome;
mod process;
mod request;
mod service;
mod span;
mod syntax;
mod systemctl;

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::lab::Lab;
use crate::paths::{SYSTEMCTL, State, UNITS};
use crate::{files as lab_files, own_view, start};
use manager::Manager;

/// How long a manager may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// The client, linked statically.
const CLIENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/systemctl"));
/// The folder of the socket; the client knows it, too.
const RUN: &str = "/run/systemd";
const SOCKET: &str = "private";

/// The command line of the manager of one node.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the node.
    #[arg(long)]
    node: String,
    /// State folder of the lab.
    #[arg(long)]
    state: PathBuf,
}

impl Lab {
    /// Starts a service manager on a node, which starts the units that are enabled (`/etc/systemd/system/multi-user.target.wants`). Its
    /// services see the node's files at their own paths and run this machine's programs. The node's `/usr/bin/systemctl` works from now
    /// on: after a chroot into the node's file tree, in a pod that mounts it, and over SSH when the SSH server is started after this.
    /// The manager ends with the node's power; its units start again with the next. It is no error when it runs already.
    ///
    /// # Errors
    /// When the node does not run, or the manager does not answer.
    pub fn systemd(&self, node: &str) -> Result<()> {
        let dir = self.dir(node)?;
        fs::create_dir_all(dir.host(UNITS))?;
        let client = dir.host(SYSTEMCTL);
        // Not anew: a view may show the one that is there.
        if std::fs::read(&client).ok().as_deref() != Some(CLIENT) {
            lab_files::write(&client, CLIENT, 0o755)?;
        }
        if self.reach_manager(node).is_ok() {
            return Ok(());
        }
        let log = self.record.state().log(&format!("systemd-{node}"));
        let mut manager = Command::new("nsenter");
        manager.args(["--target", &self.init(node)?.to_string(), "--net", "--pid", "--mount", "--wd=/", "--"]);
        manager.args(["unshare", "--mount", "--"]).arg(&self.record.program).arg("systemd");
        manager.args(["--node", node, "--state"]).arg(self.record.state().dir());
        start::spawn(self, manager, &log)?;
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.reach_manager(node) {
            if Instant::now() > until {
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!("the service manager of {node} does not answer: {error:#}\n{log}");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Where the output of a node's unit goes, as `etcd.service`.
    ///
    /// # Errors
    /// When the lab has no such node.
    pub fn unit_log(&self, node: &str, unit: &str) -> Result<PathBuf> {
        self.record.number(node)?;
        Ok(unit_log(&self.record.state(), node, unit))
    }

    /// Connects to a node's manager, by a short path: that of a socket must not be long.
    fn reach_manager(&self, node: &str) -> Result<()> {
        let folder = rustix::fs::open(self.inside(node, RUN)?, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(SOCKET))?;
        Ok(())
    }
}

fn unit_log(state: &State, node: &str, unit: &str) -> PathBuf {
    state.log(&format!("{unit}-{node}"))
}

/// Runs a node's manager, in a mount namespace that is its own already.
pub(crate) async fn run(args: Args) -> Result<()> {
    let state = State::new(&args.state);
    own_view::enter(&state.node(&args.node), &state.dir().join("systemd").join(format!("root-{}", args.node)))?;
    let manager = Manager::new(&args.node, &state);
    manager.reload()?;
    manager.start_enabled();
    // By this folder programs know that systemd runs.
    fs::create_dir_all(Path::new(RUN).join("system"))?;
    let socket = Path::new(RUN).join(SOCKET);
    // That of one which was killed.
    if socket.exists() {
        fs::remove_file(&socket)?;
    }
    let listener = UnixListener::bind(&socket).context("cannot listen for systemctl")?;
    fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    loop {
        let (mut client, _) = listener.accept().await?;
        let manager = Arc::clone(&manager);
        tokio::spawn(async move {
            let mut asked = Vec::new();
            if client.read_to_end(&mut asked).await.is_ok() {
                let answer = systemctl::answer(&manager, &request::decode(&asked)).await;
                // A client that has gone does not read it.
                let _ = client.write_all(&answer.encode()).await;
            }
        });
    }
}
