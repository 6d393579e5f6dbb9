//! `etcd-sidecar restore`: a member's directory out of a snapshot on the node.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::member::{Member, servers};

const CLUSTER: &str = "a=https://10.0.0.1:2380,b=https://10.0.0.2:2380";

fn restore(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-sidecar"));
    command.args(["restore", "a.db", "--data-dir", "new", "--initial-cluster", CLUSTER]).args(args);
    command.current_dir(folder).output().unwrap()
}

#[test]
fn a_snapshot_becomes_a_directory_or_nothing() {
    let member = Member::with(&servers()[0], &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    member.fill(10, 100);
    member.ctl(&["snapshot", "save", file.to_str().unwrap()]);

    let done = restore(folder.path(), &["--name", "b", "--bump-revision", "100"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let snapshot = told["snapshotRevision"].as_i64().unwrap();
    assert!(snapshot > 10);
    assert_eq!(told["revision"], snapshot + 100);
    assert_eq!(told["dataDir"], "new");
    let database = folder.path().join("new/member/snap/db");
    assert_eq!(told["totalSize"], database.metadata().unwrap().len());

    std::fs::remove_dir_all(folder.path().join("new")).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    for (args, why) in [
        (&["--name", "b", "--bump-revision", "0"][..], "damaged"),
        (&["--name", "c", "--bump-revision", "0"], "\"c\" is not in the initial cluster"),
    ] {
        let failed = restore(folder.path(), args);
        let said = String::from_utf8_lossy(&failed.stderr);
        assert!(failed.status.code() == Some(1) && said.contains(why) && failed.stdout.is_empty(), "{said}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["a.db"]);
    }
}

#[test]
fn output_that_is_lost_is_an_error_and_lost_errors_are_none() {
    let lost = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let version = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-sidecar"));
        command.arg("version").stdout(lost());
        command
    };
    let ran = version().output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(1) && said.contains("cannot write to stdout: No space left"), "{said}");
    assert_eq!(version().stderr(lost()).status().unwrap().code(), Some(1));
}
