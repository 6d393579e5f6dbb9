//! What the plugin does with stdout and stderr, offline: streams that cannot be written, and text that would paint on a terminal.

use std::fs::{File, OpenOptions};
use std::process::{Command, Stdio};

use e2e::{Ran, plugin, run, unpacked};

/// A folder with the snapshots, and no cluster anywhere.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, packed) in [("a.db", "kubeadm-ha"), ("c.db", "control-characters")] {
        let content = unpacked(&format!("snapshots/{packed}.db.zst"));
        std::fs::write(folder.path().join(file), content).expect("a snapshot");
    }
    folder
}

fn command(folder: &tempfile::TempDir, line: &str) -> Command {
    let mut command = Command::new(plugin());
    command.args(line.split_whitespace()).current_dir(folder.path()).stdin(Stdio::null());
    command.env("KUBECONFIG", "/nonexistent").env("HOME", folder.path());
    command
}

/// The end of a pipe that nobody reads any more.
fn closed_pipe() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("a disk that is full")
}

/// Runs it with another stdout; what it says on stderr is kept.
fn into(mut command: Command, stdout: impl Into<Stdio>) -> Ran {
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("the plugin starts");
    let output = child.wait_with_output().expect("the plugin ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ran { status: output.status, stdout: String::new(), stderr, bytes: Vec::new() }
}

/// Commands that print something and succeed.
const PRINTS: [&str; 16] = [
    "get a.db cm -n shop",
    "get a.db cm -n shop -o name",
    "get a.db cm -n shop -o yaml",
    "get a.db cm -n shop -o json",
    "get a.db deploy/web -n shop --raw",
    "inspect a.db",
    "inspect a.db -o json",
    "verify a.db",
    "verify a.db -o yaml",
    "version --client",
    "completion bash",
    "__complete ba",
    "--help",
    "get --help",
    "--version",
    "restore a.db --data-dir DIR --name cp1",
];

#[test]
fn output_that_is_lost_is_an_error_unless_nobody_reads_it() {
    let folder = folder();
    for (number, line) in PRINTS.into_iter().enumerate() {
        let line = |to: &str| line.replace("DIR", &format!("{to}{number}"));
        // What was made stays, and the exit code says that there is something.
        let code = if line("").starts_with("restore") { 5 } else { 1 };
        let failed = into(command(&folder, &line("full")), full());
        assert_eq!(failed.status.code(), Some(code), "{}: {}", line(""), failed.stderr);
        for text in ["error: cannot write to stdout", "cause: No space left on device"] {
            assert!(failed.stderr.contains(text), "{}: {}", line(""), failed.stderr);
        }
        let unread = into(command(&folder, &line("pipe")), closed_pipe());
        assert_eq!(unread.status.code(), Some(0), "{}: {}", line(""), unread.stderr);
        assert!(!unread.stderr.contains("error"), "{}: {}", line(""), unread.stderr);
    }
    assert!(folder.path().join("full15/member/snap/db").exists());
}

#[test]
fn lost_output_does_not_hide_what_is_wrong_with_the_file() {
    let folder = folder();
    let mut bytes = unpacked("snapshots/kubeadm-ha.db.zst");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(folder.path().join("bad.db"), bytes).expect("a damaged file");
    let failed = into(command(&folder, "verify bad.db -o json"), full());
    assert_eq!(failed.status.code(), Some(3), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("bad.db is damaged") && failed.stderr.contains("No space left"),
        "{}",
        failed.stderr
    );
    // Exit code 1 would say that the report of what differs is there.
    let failed = into(command(&folder, "diff a.db c.db"), full());
    assert!(failed.stderr.contains("error: cannot write to stdout"), "{}", failed.stderr);
    assert_eq!(failed.status.code(), Some(2));
}

#[test]
fn a_command_ends_as_ever_when_nobody_hears_it() {
    let folder = folder();
    for (line, code) in [
        ("get a.db cm/nope -n shop", 1),
        ("get a.db nope", 2),
        ("nonsense", 2),
        ("get a.db cm -n nowhere", 0),
        ("verify a.db -v 9", 0),
        ("status", 1),
        ("restore a.db --data-dir DIR --name cp1", 0),
    ] {
        for (number, deaf) in [Stdio::from(closed_pipe()), Stdio::from(full())].into_iter().enumerate() {
            let line = line.replace("DIR", &format!("new{number}"));
            let mut command = command(&folder, &line);
            let status = command.stdout(Stdio::null()).stderr(deaf).status().expect("the plugin runs");
            assert_eq!(status.code(), Some(code), "{line}");
        }
    }
}

/// What no terminal may be given: control characters but the newline, and what turns the direction of writing.
fn harmful(text: &str) -> Vec<char> {
    let harmful =
        |c: &char| (c.is_control() && *c != '\n') || matches!(c, '\u{200e}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(harmful).collect()
}

#[test]
fn nothing_in_a_file_reaches_the_terminal_as_it_is() {
    let folder = folder();
    let name = "x\u{1b}]0;PWNED\u{7}\u{1b}[2K\u{1b}[1A\u{1b}[31mred";
    for line in [
        "get c.db all,cm,secrets,ns -A",
        "get c.db cm -A -o wide",
        "get c.db cm -A -o name",
        "get c.db cm -A -o yaml",
        "get c.db cm -A -o json",
        "get c.db cm/ok",
        "get c.db cm/ok -o yaml",
        "get c.db cm/ok -o json --revision 5",
        "get c.db ns/default --all",
        "get c.db ns/default --all -o yaml",
        "inspect c.db",
        "inspect c.db -o json",
        "inspect c.db -o yaml",
        "diff c.db a.db",
        "diff a.db c.db -o yaml",
        "diff a.db c.db cm -o json",
        "verify c.db",
        "verify c.db -o json",
        "restore c.db --data-dir new --name default",
        "get c.db cm -A -v 9",
    ] {
        let ran = run(command(&folder, line));
        assert!(matches!(ran.status.code(), Some(0..=4)), "{line}: {}", ran.stderr);
        assert!(std::str::from_utf8(&ran.bytes).is_ok(), "{line}: not UTF-8");
        for (stream, text) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
            assert!(harmful(text).is_empty(), "{line}: {:?} on {stream}:\n{text:?}", harmful(text));
        }
    }
    // It is shown, in the table as in the message; and the name that was typed finds the object.
    let table = run(command(&folder, "get c.db cm -A")).expect_code(0).stdout;
    assert!(table.contains(r"x\x1b]0;PWNED\x07\x1b[2K\x1b[1A\x1b[31mred   "), "{table}");
    let mut one = command(&folder, "get c.db -o json cm");
    one.arg(name);
    assert_eq!(run(one).expect_code(0).json()["metadata"]["name"], name);
    // The data is the same in both formats.
    let json = run(command(&folder, "get c.db cm/ok -o json")).expect_code(0).json();
    let yaml = run(command(&folder, "get c.db cm/ok -o yaml")).expect_code(0).stdout;
    let yaml: serde_json::Value = serde_yaml_ng::from_str(&yaml).expect("YAML");
    assert_eq!(yaml, json);
    assert_eq!(json["data"]["nel"], "a\u{85}b\u{9b}31mc\u{202e}");
    // What is asked for raw is raw, where it is no terminal.
    let raw = run(command(&folder, "get c.db cm/ok --raw")).expect_code(0);
    assert!(raw.bytes.starts_with(b"{\"apiVersion\": \"v1\""), "{}", raw.stdout);
}
