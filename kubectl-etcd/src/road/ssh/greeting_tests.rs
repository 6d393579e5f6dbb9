//! The scripts in a real shell, and what is said to them.

use std::process::Stdio;

use tokio::io::BufReader;

use super::super::script::{Sudo, command};
use super::*;

const NONCE: &str = "n0nce";

/// What comes of sending a sidecar that is this shell script to a node that is this machine, and what the login shell said before.
async fn greet(sidecar: &str, sum: Option<&str>) -> (Result<String, Broken>, Vec<u8>, Option<i32>) {
    let remote = command(NONCE, sidecar.len() as u64, Sudo::No);
    // As sshd runs it: by the login shell, which may greet.
    let login = format!("echo Welcome; echo careful >&2; {remote}");
    let mut child = tokio::process::Command::new("/bin/sh")
        .args(["-c", &login])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let (_none, mut chunks) = mpsc::channel(1);
    let mut stderr = Stderr::new(NONCE);
    let mut talk =
        Talk { nonce: NONCE, stdout: &mut stdout, stdin: &mut stdin, chunks: &mut chunks, stderr: &mut stderr };
    let nobody = async |_| Err(Failed::plain("nobody is asked"));
    let machine = talk.ready(Duration::from_secs(30), nobody).await.expect("a machine");
    let mut digest = etcd_wire::Digest::new();
    digest.update(sidecar.as_bytes());
    let sha256 = sum.map_or_else(|| etcd_wire::Sha256(digest.finish()).to_string(), str::to_owned);
    let binary = Binary { bytes: Bytes::copy_from_slice(sidecar.as_bytes()), sha256 };
    let sent = talk.send(&binary, Duration::from_secs(30)).await.map(|()| machine);
    if sent.is_ok() {
        stdin.write_all(b"hello\n").await.expect("it reads");
    }
    drop(stdin);
    let mut said = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut said).await.expect("its end");
    (sent, said, child.wait().await.expect("its end").code())
}

#[tokio::test]
async fn the_sidecar_runs_with_the_streams_and_is_taken_away() {
    // It tells where it is, what it was told, and of what is beside it.
    let script = "#!/bin/sh\ncat\necho \"$0 $1\"\nls -ld \"$(dirname \"$0\")\"\nexit 7\n";
    let (sent, said, code) = greet(script, None).await;
    let machine = std::process::Command::new("uname").arg("-m").output().expect("uname").stdout;
    assert_eq!(sent.expect("it runs"), String::from_utf8_lossy(&machine).trim());
    let said = String::from_utf8(said).expect("text");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], code), ("hello", Some(7)), "{said}");
    let path = lines[1].strip_suffix(" serve").expect("it serves");
    assert!(lines[2].starts_with("drwx------"), "{said}");
    let folder = std::path::Path::new(path).parent().expect("a folder");
    assert!(!folder.exists(), "{path} is left");
}

#[tokio::test]
async fn what_did_not_arrive_as_it_was_sent_does_not_run() {
    let (sent, said, code) = greet("#!/bin/sh\necho I run\n", Some(&"0".repeat(64))).await;
    assert!(matches!(sent, Err(Broken::Obstacle(Obstacle::Sum))), "{sent:?}");
    assert_eq!((said.as_slice(), code), (&b""[..], Some(1)));
}

#[tokio::test]
async fn a_password_goes_to_sudo_alone_and_only_when_it_asks() {
    let (mut here, there) = tokio::io::duplex(4096);
    let (mut from_node, to_user) = tokio::io::duplex(4096);
    let mut stdout = BufReader::new(to_user);
    let (mut stdin, (sender, mut chunks)) = (there, mpsc::channel(8));
    let mut stderr = Stderr::new(NONCE);
    let node = async move {
        // In two pieces, after words of its own.
        sender.send(Bytes::from_static(b"lecture\nn0nce pass")).await.expect("heard");
        sender.send(Bytes::from_static(b"word")).await.expect("heard");
        let mut first = [0; 6];
        tokio::io::AsyncReadExt::read_exact(&mut here, &mut first).await.expect("a password");
        sender.send(Bytes::from_static(b"Sorry, try again.\nn0nce password")).await.expect("heard");
        let mut second = [0; 6];
        tokio::io::AsyncReadExt::read_exact(&mut here, &mut second).await.expect("a password");
        from_node.write_all(b"n0nce ready aarch64\n").await.expect("heard");
        (first, second)
    };
    let user = async {
        let mut talk =
            Talk { nonce: NONCE, stdout: &mut stdout, stdin: &mut stdin, chunks: &mut chunks, stderr: &mut stderr };
        let typed = async |before: usize| Ok(SecretString::from(format!("pass{before}")));
        talk.ready(Duration::from_secs(30), typed).await
    };
    let ((first, second), machine) = tokio::join!(node, user);
    assert_eq!((&first, &second), (b"pass0\n", b"pass1\n"));
    assert_eq!(machine.expect("ready"), "aarch64");
    assert_eq!(stderr.said, "lecture\nSorry, try again.\n");
}

#[tokio::test]
async fn a_connection_that_ends_is_told_as_that() {
    let (mut stdout, mut stdin) = (BufReader::new(&b"Welcome\n"[..]), Vec::new());
    let (_none, mut chunks) = mpsc::channel(1);
    let mut stderr = Stderr::new(NONCE);
    let mut talk =
        Talk { nonce: NONCE, stdout: &mut stdout, stdin: &mut stdin, chunks: &mut chunks, stderr: &mut stderr };
    let nobody = async |_| Err(Failed::plain("nobody is asked"));
    assert!(matches!(talk.ready(Duration::from_secs(30), nobody).await, Err(Broken::Ended)));
    assert!(stdin.is_empty(), "nothing is said to who does not ask");
}
