//! The container's main process: keeps it alive while sessions run in it, and ends it after the last one.
//!
//! Sessions are found in `/proc`, so that nothing has to be told to anybody: every other living process in the
//! container is one, because the image holds nothing else that could be started.

use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(idle_timeout: Duration) -> anyhow::Result<()> {
    // The kernel gives PID 1 no default handlers: a signal it does not handle does nothing.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut tick = tokio::time::interval(LOOK_EVERY.min(idle_timeout));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut used = Instant::now();
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = tick.tick() => {}
        }
        reap();
        if others()? {
            used = Instant::now();
        } else if used.elapsed() >= idle_timeout {
            tracing::info!("nobody has been here for {idle_timeout:?}");
            return Ok(());
        }
    }
}

/// Orphans become children of PID 1 and stay zombies until it asks for them. An error only says that there are none.
fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

/// Whether another process lives in this PID namespace.
fn others() -> anyhow::Result<bool> {
    let own = Pid::as_raw(Some(rustix::process::getpid()));
    for entry in fs_err::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process whose status cannot be read has ended between the two looks.
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if pid != own && is_alive(&status) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The state stands after the command's name, which is in parentheses and may itself hold some (proc(5)).
fn is_alive(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X') | None))
}

#[cfg(test)]
mod tests {
    use super::is_alive;

    #[test]
    fn zombies_are_not_sessions() {
        assert!(is_alive("7 (etcd-sidecar) S 1 7 7 0"));
        assert!(is_alive("7 (a) Z) R 1 7 7 0"));
        assert!(!is_alive("7 (etcd-sidecar) Z 1 7 7 0"));
        assert!(!is_alive(""));
    }
}
