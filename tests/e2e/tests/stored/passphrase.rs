//! Identities that are encrypted with a passphrase, as `age -p` makes them: asked for on a terminal, and only there.

use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::offline::Offline;

/// A program on a terminal of its own, by script(1), whose exit code is that of the program.
struct Terminal {
    child: Child,
    stdout: ChildStdout,
    shown: String,
}

impl Terminal {
    /// `line` is a command line of a shell.
    fn run(offline: &Offline, line: &str) -> Terminal {
        let mut command = Command::new("script");
        command.args(["-qefc", line, "/dev/null"]).current_dir(offline.folder.path());
        command.env("TMPDIR", offline.path("tmp")).env("KUBECONFIG", "/nonexistent").env("HOME", offline.folder.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script runs");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        Terminal { child, stdout, shown: String::new() }
    }

    /// Waits for a question, and types the answer.
    fn answer(&mut self, question: &str, answer: &str) {
        let mut byte = [0];
        while !self.shown.ends_with(question) {
            let read = self.stdout.read(&mut byte).expect("the terminal is read");
            assert_eq!(read, 1, "{question:?} was never asked, but:\n{}", self.shown);
            self.shown.push(char::from(byte[0]));
        }
        let stdin = self.child.stdin.as_mut().expect("stdin is a pipe");
        stdin.write_all(format!("{answer}\n").as_bytes()).expect("the answer is typed");
        stdin.flush().expect("the answer is typed");
    }

    /// The exit code, and all that was shown.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).expect("the terminal is read");
        self.shown.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().expect("it ends").code(), self.shown)
    }
}

#[test]
fn a_passphrase_is_asked_for_on_a_terminal_and_nowhere_else() {
    const PASSPHRASE: &str = "correct-horse-battery";
    let offline = Offline::new();
    offline.backup();
    let latest = offline.latest();
    let mut age = Terminal::run(&offline, "age -p -o locked.age identity.txt");
    age.answer("secure one): ", PASSPHRASE);
    age.answer("passphrase: ", PASSPHRASE);
    assert_eq!(age.end().0, Some(0));
    let plugin = e2e::plugin();
    let typed = |args: &str, passphrase: &str| {
        let mut terminal = Terminal::run(&offline, &format!("{} {args} --identity locked.age", plugin.display()));
        terminal.answer("Passphrase of locked.age: ", passphrase);
        let (code, shown) = terminal.end();
        assert!(!shown.contains(passphrase), "{shown}");
        (code, shown)
    };
    let (code, shown) = typed(&format!("verify {latest} --trust-key sign.pub"), PASSPHRASE);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("is whole:"), "{shown}");
    let restore = format!("restore {latest} --data-dir out --name cp1 --trust-key sign.pub");
    let (code, shown) = typed(&restore, "a-wrong-one");
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("the passphrase is wrong") && !offline.path("out").exists(), "{shown}");
    let (code, shown) = typed(&restore, PASSPHRASE);
    assert_eq!(code, Some(0), "{shown}");
    assert!(offline.path("out/member/snap/db").is_file());

    // Nobody can be asked without a terminal.
    let store = offline.url("");
    let restore = ["restore", latest.as_str(), "--data-dir", "none", "--name", "cp1"];
    for command in [&["verify", latest.as_str()][..], &restore, &["store", "check", store.trim_end_matches('/')]] {
        let ran = offline.run(&[command, &["--identity", "locked.age"]].concat()).expect_code(2);
        ran.expect_error(&["locked.age is encrypted with a passphrase", "no terminal to ask", "hint: "]);
    }
    assert!(!offline.path("none").exists());
}
