//! What runs on the node: found by its command line, and by the lock on its database.

use std::os::fd::OwnedFd;

use fs_err as fs;
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::node::Place;
use crate::node::etcds::DATA_DIR;

/// By what a component's process is told from all others.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommandLine<'a> {
    /// All its words.
    pub(super) argv: &'a [String],
    /// Where nothing but a variable says so: the data directory. Two etcds of one node may have the same words, as kubespray's for events has.
    pub(super) data_dir: Option<&'a str>,
}

impl<'a> From<&'a [String]> for CommandLine<'a> {
    fn from(argv: &'a [String]) -> CommandLine<'a> {
        CommandLine { argv, data_dir: None }
    }
}

/// The processes whose command line is exactly one of these. The pod sees all of the node's.
pub(super) fn running(lines: &[CommandLine<'_>]) -> std::io::Result<Vec<Pid>> {
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

fn is(pid: Pid, lines: &[CommandLine<'_>]) -> std::io::Result<bool> {
    let Some(line) = of(pid, "cmdline")? else { return Ok(false) };
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    let same =
        |argv: &[String]| !argv.is_empty() && line.split(|byte| *byte == 0).eq(argv.iter().map(String::as_bytes));
    for line in lines.iter().filter(|line| same(line.argv)) {
        match line.data_dir {
            Some(data_dir) if !has_variable(pid, data_dir)? => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// Whether a process was started with this data directory in its environment.
fn has_variable(pid: Pid, data_dir: &str) -> std::io::Result<bool> {
    let Some(environment) = of(pid, "environ")? else { return Ok(false) };
    let wanted = format!("{DATA_DIR}={data_dir}");
    Ok(environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()))
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
pub(super) fn kill(lines: &[CommandLine<'_>]) -> std::io::Result<usize> {
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
        let found = |lines: &[&[String]]| {
            let lines: Vec<CommandLine<'_>> = lines.iter().map(|argv| CommandLine::from(*argv)).collect();
            running(&lines).unwrap().len()
        };
        while found(&[&argv]) == 0 || found(&[&other_argv]) == 0 {
            std::thread::yield_now();
        }
        assert!(found(&[&argv[..1]]) == 0 && found(&[&[]]) == 0);
        assert_eq!(found(&[&other_argv, &argv]), 2);
        let kill = |argv: &[String]| kill(&[argv.into()]);
        assert_eq!(kill(&argv).unwrap(), 1);
        assert!(!child.wait().unwrap().success());
        assert_eq!(found(&[&argv]), 0);
        assert_eq!(kill(&argv).unwrap(), 0);
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn two_with_one_command_line_are_told_by_their_data_directories() {
        let argv = vec!["sleep".to_owned(), (90_000 + std::process::id()).to_string()];
        let start = |dir: &str| {
            std::process::Command::new("sleep").arg(&argv[1]).env(DATA_DIR, dir).spawn().expect("it starts")
        };
        let mut children = [start("/var/lib/etcd"), start("/var/lib/etcd-events")];
        let found = |data_dir| running(&[CommandLine { argv: &argv, data_dir }]).unwrap();
        while found(None).len() < 2 {
            std::thread::yield_now();
        }
        let ids = |found: Vec<Pid>| found.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect::<Vec<_>>();
        for (child, dir) in children.iter().zip(["/var/lib/etcd", "/var/lib/etcd-events"]) {
            assert_eq!(ids(found(Some(dir))), [i32::try_from(child.id()).unwrap()]);
        }
        assert!(found(Some("/var/lib")).is_empty());
        assert_eq!(kill(&[CommandLine { argv: &argv, data_dir: Some("/var/lib/etcd-events") }]).unwrap(), 1);
        assert!(!children[1].wait().unwrap().success());
        assert!(children[0].try_wait().unwrap().is_none());
        children[0].kill().unwrap();
        children[0].wait().unwrap();
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
