//! The process between this program and etcd, which ends etcd when this program ends, however that is: also by SIGKILL.
//!
//! Where etcd runs in a container, it removes that: the end of the program that has started it would not end the container.
//!
//! It waits for the end of its standard input, a pipe of which this program has the other end. That works on every Unix, and needs nothing that
//! runs between fork and exec.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The first argument of such a process: program and arguments of etcd follow.
pub(crate) const GUARD: &str = "__drill-etcd";
/// That of one whose etcd runs in a container: docker or podman, the name of the container, and the arguments that run it follow.
pub(crate) const CONTAINER: &str = "__drill-container";

/// How often a container is looked after.
const PULSE: Duration = Duration::from_millis(20);

/// Runs as the guard if that is what this process was started for.
#[must_use]
pub fn run(args: &[OsString]) -> Option<ExitCode> {
    match args {
        [_, word, program, arguments @ ..] if word == GUARD => Some(guard(program, arguments)),
        [_, word, engine, name, arguments @ ..] if word == CONTAINER => Some(container(engine, name, arguments)),
        _ => None,
    }
}

/// What the log of etcd says where etcd cannot even be started.
fn guard(program: &OsString, arguments: &[OsString]) -> ExitCode {
    use std::io::Write as _;
    let mut child = match Command::new(program).args(arguments).stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            // The log is all that is left to tell; the exit code says that it failed.
            let _told = writeln!(io::stderr(), "cannot run {}: {error}", program.display());
            return ExitCode::FAILURE;
        }
    };
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    std::thread::spawn(move || {
        // An error ends the pipe as well as its end does.
        let _ended = io::copy(&mut io::stdin(), &mut io::sink());
        if let Some(id) = id {
            // Not there any more: then it has ended by itself, and so does this process.
            let _gone = kill_process(id, Signal::KILL);
        }
    });
    match child.wait() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs a container, and removes it once the pipe has ended.
fn container(engine: &OsString, name: &OsString, arguments: &[OsString]) -> ExitCode {
    use std::io::Write as _;
    let mut child = match Command::new(engine).args(arguments).stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            // The log is all that is left to tell; the exit code says that it failed.
            let _told = writeln!(io::stderr(), "cannot run {}: {error}", engine.display());
            return ExitCode::FAILURE;
        }
    };
    let (ended, end) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        // An error ends the pipe as well as its end does.
        let _ended = io::copy(&mut io::stdin(), &mut io::sink());
        drop(ended);
    });
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                remove(engine, name);
                return status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .map_or(ExitCode::FAILURE, ExitCode::from);
            }
            Ok(None) => {}
            Err(_) => {
                remove(engine, name);
                return ExitCode::FAILURE;
            }
        }
        if end.recv_timeout(PULSE) == Err(RecvTimeoutError::Disconnected) {
            // It may be about to be made: then it is there the next time.
            remove(engine, name);
            std::thread::sleep(PULSE);
        }
    }
}

/// Ends a container at once, and removes it. That there is none is no failure: it may have gone by itself.
fn remove(engine: &OsString, name: &OsString) {
    for order in [&["kill"][..], &["rm", "--force"]] {
        let mut command = Command::new(engine);
        command.args(order).arg(name).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _whoever_started_this_looks = command.status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_word_makes_a_process_the_guard() {
        for line in [
            &["kubectl-etcd"][..],
            &["kubectl-etcd", GUARD],
            &["kubectl-etcd", "drill", GUARD, "/bin/true"],
            &["kubectl-etcd", CONTAINER, "/bin/true"],
        ] {
            let args: Vec<OsString> = line.iter().map(Into::into).collect();
            assert!(run(&args).is_none(), "{line:?}");
        }
    }
}
