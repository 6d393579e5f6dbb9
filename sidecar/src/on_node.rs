//! What is done in the node's own file tree, where its programs, their libraries and the links of the tree are what they are for the node. The participant's
//! container sees that tree as a folder; a process of its own makes it its root.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::Context as _;

use crate::node::etcds;

/// This process's program, whatever its path is by now.
pub(crate) const OWN: &str = "/proc/self/exe";
/// The subcommand by which this program does that.
pub(crate) const NAME: &str = "on-node";

/// Its command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the node's file tree is.
    root: PathBuf,
    /// The program to become, by its path on the node, and its arguments. Without one, the unit of etcd is printed, as JSON.
    #[arg(last = true)]
    program: Vec<String>,
}

/// Becomes the program, or gives what is to be printed.
///
/// # Errors
/// The tree cannot be entered, the program cannot be run, or the unit cannot be read.
pub(crate) fn run(args: &Args) -> anyhow::Result<String> {
    let entered = rustix::process::chroot(&args.root).and_then(|()| rustix::process::chdir("/"));
    entered.with_context(|| format!("cannot enter {}", args.root.display()))?;
    let Some((program, arguments)) = args.program.split_first() else {
        return Ok(serde_json::to_string(&etcds::unit(Path::new("/"))?)?);
    };
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot run {program}"))
}

/// Has it done by a process of its own, which sees nothing of this one's environment.
///
/// # Errors
/// There can be no such process.
pub(crate) fn in_tree<S: AsRef<OsStr>>(root: &Path, program: impl IntoIterator<Item = S>) -> std::io::Result<Output> {
    let mut command = Command::new(OWN);
    command.arg(NAME).arg(root).arg("--").args(program);
    command.env_clear().envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C"), ("SYSTEMD_PAGER", "")]);
    // The tree is that of the systemd which is spoken to.
    command.env("SYSTEMD_IGNORE_CHROOT", "1");
    command.stdin(Stdio::null()).output()
}
