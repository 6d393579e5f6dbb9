//! `recover` on the directory of a real etcd that was killed, as root: it makes a network of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use etcd_snapshot::{DigestState, FileSource, Options, verify};
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::Value;

use crate::member::{Member, servers};

fn command(member: &Member, etcd: &Path, snapshot: &Path) -> Command {
    let mut command = by_itself(member, snapshot);
    command.arg("--etcd").arg(etcd);
    command
}

/// With the etcd program that is found on this machine.
fn by_itself(member: &Member, snapshot: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-sidecar"));
    command.arg("recover").arg("--data-dir").arg(data(member)).arg("--snapshot").arg(snapshot);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn data(member: &Member) -> PathBuf {
    member.folder.path().join("data")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All files below a folder, with their bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A stand-in for an etcd that hangs: it says its process ID, and does nothing.
fn hanging(folder: &Path) -> (PathBuf, PathBuf) {
    let (program, told) = (folder.join("hanging"), folder.join("pid"));
    let script = format!("#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 1000\n", told.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (program, told)
}

/// Waits until the stand-in runs.
fn pid(told: &Path, sidecar: &mut Child) -> Pid {
    loop {
        if let Ok(text) = std::fs::read_to_string(told) {
            return Pid::from_raw(text.trim().parse().unwrap()).unwrap();
        }
        assert!(sidecar.try_wait().unwrap().is_none(), "ended before etcd was started");
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_member_gives_a_snapshot_with_what_was_acknowledged_and_stays_as_it_was() {
    for server in servers() {
        let member = Member::with(&server, &[]);
        let keys: Vec<String> = (0..500).map(|number| format!("/registry/configmaps/default/{number:03}")).collect();
        member.put_all(&keys);
        member.ctl(&["put", "--", "/registry/last", "v"]);
        member.signal(Signal::KILL);
        let out = tempfile::tempdir().unwrap();
        let snapshot = out.path().join("recovered.db");
        // Its socket's and lock's end is the process's.
        let output = loop {
            let output = command(&member, &server, &snapshot).output().unwrap();
            if output.status.code() != Some(4) {
                break output;
            }
        };
        assert!(output.status.success(), "{}", said(&output));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        // Each text of 100 keys is one revision, after the first.
        assert_eq!((&told["revision"], &told["snapshot"]), (&7.into(), &snapshot.to_str().unwrap().into()), "{told}");
        let source = FileSource::new(std::fs::File::open(&snapshot).unwrap()).unwrap();
        let report = verify(&source, &Options::default(), &|_| {}).unwrap();
        assert!(matches!(report.digest, DigestState::Matches), "{report:?}");
        assert_eq!((report.hash_kv.revision, report.total_size), (7, told["totalSize"].as_u64().unwrap()));
        assert_eq!(std::fs::metadata(&snapshot).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(out.path()), ["recovered.db"]);

        // Nothing is overwritten, and the member is as it was: it gives the same once more.
        let before = files(&data(&member));
        let again = command(&member, &server, &snapshot).output().unwrap();
        assert!(!again.status.success() && said(&again).contains("already there"), "{}", said(&again));
        let other = out.path().join("other.db");
        let found = by_itself(&member, &other).output().unwrap();
        if server == Path::new("/usr/bin/etcd") {
            assert!(found.status.success(), "{}", said(&found));
        } else {
            // This machine has no program of this version where a node has it.
            assert_eq!(found.status.code(), Some(4), "{}", said(&found));
            assert!(said(&found).contains("/usr/bin/etcd is version"), "{}", said(&found));
            assert_eq!(names(out.path()), ["recovered.db"]);
        }
        assert_eq!(files(&data(&member)), before);
    }
}

#[test]
fn what_cannot_be_recovered_leaves_nothing_and_changes_nothing() {
    let member = Member::start();
    member.ctl(&["put", "--", "/registry/a", "v"]);
    let out = tempfile::tempdir().unwrap();
    let snapshot = out.path().join("recovered.db");
    let running = command(&member, &servers()[0], &snapshot).output().unwrap();
    assert_eq!(running.status.code(), Some(4), "{}", said(&running));
    assert!(said(&running).contains("etcd runs"), "{}", said(&running));
    assert_eq!(names(out.path()), [""; 0]);

    member.signal(Signal::KILL);
    let failed = loop {
        let failed = command(&member, Path::new("/bin/false"), &snapshot).output().unwrap();
        if failed.status.code() != Some(4) {
            break failed;
        }
    };
    assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
    assert!(said(&failed).contains("etcd has ended on the copy"), "{}", said(&failed));
    let missing = command(&member, Path::new("/nowhere/etcd"), &snapshot).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(said(&missing).contains("/nowhere/etcd"), "{}", said(&missing));

    let before = files(&data(&member));
    let mut left_over: Option<PathBuf> = None;
    for signal in [Signal::TERM, Signal::INT, Signal::KILL, Signal::KILL] {
        let (program, told) = hanging(member.folder.path());
        let mut sidecar = command(&member, &program, &snapshot).spawn().unwrap();
        let etcd = pid(&told, &mut sidecar);
        rustix::process::kill_process(Pid::from_child(&sidecar), signal).unwrap();
        let output = sidecar.wait_with_output().unwrap();
        assert!(!output.status.success());
        // It was killed before, or is about to be, as its parent has gone.
        while test_kill_process(etcd).is_ok() {
            std::thread::yield_now();
        }
        std::fs::remove_file(told).unwrap();
        if signal == Signal::KILL {
            // Nobody was there to remove the copy. Only root can look into it.
            let [left] = &names(out.path())[..] else { panic!("{:?}", names(out.path())) };
            let folder = out.path().join(left);
            assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
            // The next run removes it, also where a copy for a client is made: in the data directory.
            if let Some(gone) = left_over.replace(folder.clone()) {
                assert!(said(&output).contains(&format!("removed {}", gone.display())), "{}", said(&output));
                assert!(!gone.exists());
            } else {
                let moved = data(&member).join(left);
                std::fs::rename(folder, &moved).unwrap();
                left_over = Some(moved);
            }
        } else {
            assert!(said(&output).contains("interrupted; nothing was changed"), "{}", said(&output));
            assert_eq!(names(out.path()), [""; 0]);
        }
    }

    // A log that is damaged before its end is not applied.
    let log = data(&member).join("member/wal/0000000000000000-0000000000000000.wal");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    let damaged = command(&member, &servers()[0], &snapshot).output().unwrap();
    assert_eq!(damaged.status.code(), Some(1));
    assert!(said(&damaged).contains("cannot be applied"), "{}", said(&damaged));
    let gone = left_over.unwrap();
    assert!(said(&damaged).contains(&format!("removed {}", gone.display())), "{}", said(&damaged));
    assert_eq!(names(out.path()), [""; 0]);
    let after: Vec<_> = before.into_iter().filter(|(path, _)| *path != log).collect();
    assert_eq!(files(&data(&member)).into_iter().filter(|(path, _)| *path != log).collect::<Vec<_>>(), after);
}
