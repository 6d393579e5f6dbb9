//! The process of a service.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result};
use fs_err as fs;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::command_line::{self, PATH};
use super::definition::Definition;
use super::outcome::Outcome;
use super::{files, syntax};
use crate::paths::NodeDir;

/// Why a process was not started.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) outcome: Outcome,
    pub(super) why: anyhow::Error,
}

/// Starts the process of a unit, with its output at the end of the log. It leads a process group of its own, which stands in the place of
/// a control group: what leaves it is not seen.
pub(super) fn spawn(dir: &NodeDir, unit: &Definition, log: &std::path::Path) -> Result<Child, NotStarted> {
    let resources = |why| NotStarted { outcome: Outcome::Resources, why };
    let variables = variables(dir, unit).map_err(resources)?;
    let line = unit.exec.first().map(Vec::as_slice).unwrap_or_default();
    let Some((program, words)) = line.split_first() else { return Err(resources(anyhow::anyhow!("no command"))) };
    let mut command = Command::new(command_line::find(program));
    command.args(command_line::expand(words, &variables)).env_clear().envs(&variables);
    command.current_dir("/").process_group(0);
    let output = fs::OpenOptions::new().create(true).append(true).open(log).map_err(|error| resources(error.into()))?;
    let output = output.into_parts().0;
    command.stdout(output.try_clone().map_err(|error| resources(error.into()))?).stderr(output).stdin(Stdio::null());
    let why = || format!("Failed to execute {program}");
    command.spawn().with_context(why).map_err(|why| NotStarted { outcome: Outcome::ExitCode, why })
}

/// The variables of a unit: of files last, so that they win.
fn variables(dir: &NodeDir, unit: &Definition) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    if unit.user {
        let root = [("HOME", "/root"), ("LOGNAME", "root"), ("USER", "root"), ("SHELL", "/bin/sh")];
        all.extend(root.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    all.extend(unit.environment.iter().cloned());
    for file in &unit.files {
        match std::fs::read_to_string(files::place(dir, &file.path)) {
            Ok(text) => all.extend(syntax::variables(&text)),
            Err(_) if file.optional => {}
            Err(error) => {
                return Err(error).with_context(|| format!("Failed to load environment files: {}", file.path));
            }
        }
    }
    Ok(all)
}

/// Sends a signal to all of a service; what has ended takes none.
pub(super) fn signal(pid: u32, signal: Signal) {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Err(error)) = group.map(|group| rustix::process::kill_process_group(group, signal))
        && error != rustix::io::Errno::SRCH
    {
        tracing::warn!("Failed to send {signal:?} to {pid}: {error}");
    }
}
