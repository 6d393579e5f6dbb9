//! What runs on the node: found by its command line, and by the lock on its database.

use std::os::fd::OwnedFd;

use fs_err as fs;
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::node::Place;

/// The processes whose command line is exactly one of these. The pod sees all of the node's.
pub(super) fn running(lines: &[&[String]]) -> std::io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        if is(pid, lines)? && !is_zombie(pid)? {
            found.push(pid);
        }
    }
    Ok(found)
}

fn is(pid: Pid, lines: &[&[String]]) -> std::io::Result<bool> {
    let Some(line) = of(pid, "cmdline")? else { return Ok(false) };
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    let same = |argv: &&[String]| line.split(|byte| *byte == 0).eq(argv.iter().map(String::as_bytes));
    Ok(lines.iter().filter(|argv| !argv.is_empty()).any(same))
}

fn is_zombie(pid: Pid) -> std::io::Result<bool> {
    let Some(stat) = of(pid, "stat")? else { return Ok(true) };
    // The state stands after the command's name, which is in parentheses and may itself hold some (proc(5)).
    let after = stat.iter().rposition(|byte| *byte == b')').map_or(&[][..], |at| &stat[at + 1..]);
    Ok(matches!(after.trim_ascii_start().first(), Some(b'Z' | b'X') | None))
}

/// A file of a process; `None` if it has ended.
fn of(pid: Pid, file: &str) -> std::io::Result<Option<Vec<u8>>> {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // It ended between the open and the read.
        Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(std::io::Error::new(error.kind(), format!("cannot read {path}: {error}"))),
    }
}

/// Ends all processes with one of these command lines where they stand; says how many there were. By a descriptor, so that no other process that
/// got the same number meanwhile is meant.
pub(super) fn kill(lines: &[&[String]]) -> std::io::Result<usize> {
    let mut killed = 0;
    for pid in running(lines)? {
        let process = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(rustix::io::Errno::SRCH) => continue,
            Err(error) => return Err(error.into()),
        };
        if is(pid, lines)? {
            match rustix::process::pidfd_send_signal(process, Signal::KILL) {
                Ok(()) => killed += 1,
                Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(killed)
}

/// The lock that etcd holds on its database for as long as it runs (bbolt bolt_unix.go: flock on the file).
#[derive(Debug)]
pub(super) enum Lock {
    /// Nobody had it. It is ours until this is dropped.
    Free(#[allow(dead_code, reason = "it is held, not read")] OwnedFd),
    /// A process has it.
    Held,
    /// There is no such file.
    Missing,
}

/// Tries the lock on the database of the member in a data directory.
pub(super) fn lock(data_dir: &Place) -> std::io::Result<Lock> {
    let file = match data_dir.join("member/snap/db").open_file() {
        Ok(file) => OwnedFd::from(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lock::Missing),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock::Free(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Lock::Held),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep(argument: &str) -> (std::process::Child, Vec<String>) {
        let child = std::process::Command::new("sleep").arg(argument).spawn().unwrap();
        (child, vec!["sleep".to_owned(), argument.to_owned()])
    }

    #[test]
    fn only_the_very_command_line_is_meant() {
        let (mut child, argv) = sleep("86399");
        let (mut other, other_argv) = sleep("86398");
        // The child has its command line only after it has become another program.
        while running(&[&argv]).unwrap().is_empty() || running(&[&other_argv]).unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert!(running(&[&argv[..1]]).unwrap().is_empty() && running(&[&[]]).unwrap().is_empty());
        assert_eq!(running(&[&other_argv, &argv]).unwrap().len(), 2);
        assert_eq!(kill(&[&argv]).unwrap(), 1);
        assert!(!child.wait().unwrap().success());
        assert!(running(&[&argv]).unwrap().is_empty());
        assert_eq!(kill(&[&argv]).unwrap(), 0);
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_database_is_locked_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = Place::new(folder.path());
        assert!(matches!(lock(&data_dir).unwrap(), Lock::Missing));
        fs::create_dir_all(folder.path().join("member/snap")).unwrap();
        fs::write(folder.path().join("member/snap/db"), "").unwrap();
        let held = lock(&data_dir).unwrap();
        assert!(matches!(held, Lock::Free(_)));
        assert!(matches!(lock(&data_dir).unwrap(), Lock::Held));
        drop(held);
        assert!(matches!(lock(&data_dir).unwrap(), Lock::Free(_)));
    }
}
