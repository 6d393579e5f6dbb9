//! The first process of a process namespace inherits every orphan in it and has to bury them. Its own children are
//! waited for by those who started them, at once; what is still dead a second later is an orphan.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;
use rustix::process::{Pid, WaitId, WaitIdOptions};

/// Buries orphans for ever.
pub(super) async fn run() -> Result<()> {
    let mut seen = HashSet::new();
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    loop {
        clock.tick().await;
        let dead = dead_children()?;
        for pid in dead.intersection(&seen) {
            match rustix::process::waitid(WaitId::Pid(*pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(_) | Err(rustix::io::Errno::CHILD) => {}
                Err(error) => return Err(error.into()),
            }
        }
        seen = dead;
    }
}

fn dead_children() -> Result<HashSet<Pid>> {
    let own = std::process::id().to_string();
    let mut dead = HashSet::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold anything; the state and the parent follow the last one.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        if fields.next() == Some("Z") && fields.next() == Some(own.as_str()) {
            dead.insert(pid);
        }
    }
    Ok(dead)
}
