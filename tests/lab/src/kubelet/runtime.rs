//! Containers, by crun. The kubelet is the first process of its node's process namespace, so a container's process,
//! which crun leaves to itself, becomes the kubelet's child and its exit status can be waited for.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use serde_json::Value;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

/// A started container.
#[derive(Debug)]
pub(super) struct Running {
    id: String,
    dir: PathBuf,
    state: PathBuf,
    pidfd: AsyncFd<OwnedFd>,
    /// Whether the kernel ends every process of the container with its first one.
    own_pids: bool,
    mount_namespace: PathBuf,
}

/// A command line of crun on this state folder. No cgroups: v1 and v2 hosts are the same to the lab.
pub(super) fn crun(state: &Path) -> Command {
    let mut command = Command::new("crun");
    command.arg("--cgroup-manager=disabled").arg("--root").arg(state);
    command
}

/// Puts a writable layer of the container's own over its image.
pub(super) fn overlay(image: &Path, dir: &Path) -> Result<PathBuf> {
    let (upper, work, root) = (dir.join("upper"), dir.join("work"), dir.join("root"));
    for dir in [&upper, &work, &root] {
        fs::create_dir_all(dir)?;
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", image.display(), upper.display(), work.display());
    let options = std::ffi::CString::new(options)?;
    rustix::mount::mount("overlay", &root, "overlay", rustix::mount::MountFlags::empty(), Some(options.as_c_str()))
        .context("cannot mount an overlay")?;
    Ok(root)
}

/// Takes the overlay and the container's folder away.
pub(super) fn remove_dir(dir: &Path) -> Result<()> {
    match rustix::mount::unmount(dir.join("root"), rustix::mount::UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error).context("cannot unmount a container's root"),
    }
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(())
}

/// Makes and starts a container; both its outputs go to the end of `log`.
pub(super) async fn start(state: &Path, dir: &Path, id: &str, config: &Value, log: &Path) -> Result<Running> {
    fs::write(dir.join("config.json"), serde_json::to_vec(config)?)?;
    let output = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let own = config["linux"]["namespaces"].as_array().is_some_and(|all| all.iter().any(|one| one["type"] == "pid"));
    let errors = dir.join("create.log");
    let pid_file = dir.join("pid");
    let status = crun(state)
        .arg("--log")
        .arg(&errors)
        .args(["create", "--bundle"])
        .arg(dir)
        .arg("--pid-file")
        .arg(&pid_file)
        .arg(id)
        .stdin(Stdio::null())
        .stdout(output.file().try_clone()?)
        .stderr(output.file().try_clone()?)
        .status()
        .await
        .context("cannot run crun")?;
    if !status.success() {
        let said = fs::read_to_string(&errors).unwrap_or_default();
        // What crun made before it failed goes; that there may be nothing is no error.
        let _ = crun(state).args(["delete", "--force", id]).stderr(Stdio::null()).status().await;
        bail!("failed to create containerd task: {}", said.trim());
    }
    let pid: i32 = fs::read_to_string(&pid_file)?.trim().parse()?;
    let pidfd =
        rustix::process::pidfd_open(Pid::from_raw(pid).context("crun wrote no process id")?, PidfdFlags::NONBLOCK)?;
    let running = Running {
        id: id.to_owned(),
        dir: dir.to_owned(),
        state: state.to_owned(),
        pidfd: watched(pidfd)?,
        own_pids: own,
        mount_namespace: fs::read_link(format!("/proc/{pid}/ns/mnt"))?,
    };
    let started = crun(state).args(["start", id]).stdin(Stdio::null()).output().await?;
    if !started.status.success() {
        running.signal(Signal::KILL)?;
        running.wait().await?;
        running.delete().await?;
        bail!("failed to start containerd task: {}", String::from_utf8_lossy(&started.stderr).trim());
    }
    Ok(running)
}

impl Running {
    /// Sends a signal to the container's first process; a process that ended takes none.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        match rustix::process::pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the end and returns the exit code: 128 and the number of the signal for one that was killed.
    pub(super) async fn wait(&self) -> Result<i32> {
        drop(self.pidfd.readable().await?);
        let status = rustix::process::waitid(
            WaitId::PidFd(std::os::fd::AsFd::as_fd(self.pidfd.get_ref())),
            WaitIdOptions::EXITED,
        )?
        .context("a readable process descriptor has a status")?;
        Ok(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => bail!("a process ended neither by exit nor by signal"),
        })
    }

    /// Takes away what is left of an ended container: with the node's process ids also what it had started.
    pub(super) async fn delete(&self) -> Result<()> {
        if !self.own_pids {
            kill_namespace(&self.mount_namespace).await?;
        }
        let output = crun(&self.state).args(["delete", "--force", &self.id]).stdin(Stdio::null()).output().await?;
        if !output.status.success() {
            bail!("crun delete {}: {}", self.id, String::from_utf8_lossy(&output.stderr).trim());
        }
        remove_dir(&self.dir)
    }
}

/// Kills every process whose mount namespace this is and waits until they are gone: what they held, a lock perhaps, is
/// free when the container starts again. A process may fork while the others are being killed, so this looks again
/// until there is none.
async fn kill_namespace(namespace: &Path) -> Result<()> {
    loop {
        let ends = kill_members(namespace)?;
        if ends.is_empty() {
            return Ok(());
        }
        for end in ends {
            drop(end.readable().await?);
        }
    }
}

/// Kills the processes that are in the namespace now; each descriptor is readable when its process is gone.
fn kill_members(namespace: &Path) -> Result<Vec<AsyncFd<OwnedFd>>> {
    let mut ends = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let is_member = || std::fs::read_link(entry.path().join("ns/mnt")).is_ok_and(|its| its == namespace);
        if !is_member() {
            continue;
        }
        // A process that ended while we looked has no descriptor; one that has its number now is no member.
        let Ok(end) = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) else { continue };
        if !is_member() {
            continue;
        }
        match rustix::process::pidfd_send_signal(&end, Signal::KILL) {
            Ok(()) => ends.push(watched(end)?),
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ends)
}

#[allow(deprecated, reason = "register is unsafe; an OwnedFd keeps its descriptor open for as long as it is asked")]
fn watched(pidfd: OwnedFd) -> Result<AsyncFd<OwnedFd>> {
    Ok(AsyncFd::new(pidfd)?)
}
