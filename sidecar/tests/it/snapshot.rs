//! Snapshots: whole, or a failure.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use etcd_wire::message::{EtcdAccess, SnapshotDone, SnapshotRequest};
use etcd_wire::{Ack, Compression, Failure, FailureCode, Frame, Reply, Request};
use rustix::process::Signal;

use crate::member::{Member, servers};
use crate::session::{Session, ended, text};

fn request(etcd: EtcdAccess, keep: Option<&Path>) -> SnapshotRequest {
    SnapshotRequest { etcd, compression: Compression::None, keep: keep.map(|path| path.to_str().unwrap().to_owned()) }
}

/// A member with several chunks of data, and an empty folder on "its node".
fn filled(server: &Path) -> (Member, tempfile::TempDir) {
    let member = Member::with(server, &[]);
    member.fill(40, 100_000);
    (member, tempfile::tempdir().unwrap())
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// etcdctl's own reading of a snapshot file: it verifies nothing but the structure, the digest is ours to check.
fn etcdctl_reads(file: &Path) -> String {
    let output =
        Command::new("etcdctl").env("ETCDCTL_API", "3").args(["snapshot", "status"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

#[tokio::test]
async fn a_snapshot_is_whole() {
    for server in servers() {
        let (member, folder) = filled(&server);
        for compression in [Compression::None, Compression::Zstd] {
            let mut session = Session::open().await;
            let wanted = SnapshotRequest { compression, ..request(member.access(), None) };
            let streamed = session.stream(wanted).await.unwrap();
            let length = streamed.database.len() as u64;
            session.send(Frame::Ack(Ack { length })).await;
            assert_eq!(session.next().await, Frame::Reply(Reply::Snapshot(SnapshotDone { kept: None })));
            assert!(session.close().await.success());

            assert!(length > 4_000_000 && length.is_multiple_of(512), "{length}");
            assert_eq!((streamed.total, streamed.end.length), (Some(length), length));
            assert_eq!(streamed.end.sha256.0, sha256(&streamed.database));
            match compression {
                Compression::None => assert_eq!(streamed.carried as u64, length),
                Compression::Zstd => assert!((streamed.carried as u64) < length),
            }
            let file = folder.path().join("snapshot.db");
            std::fs::write(&file, [&streamed.database[..], &streamed.end.sha256.0].concat()).unwrap();
            assert!(etcdctl_reads(&file).contains(", 41, "), "{}", etcdctl_reads(&file));
        }
    }
}

#[tokio::test]
async fn a_copy_is_there_after_the_acknowledgement_only() {
    let (member, folder) = filled(&servers()[0]);
    let copy = folder.path().join("copy.db");
    let mut session = Session::open().await;
    let streamed = session.stream(request(member.access(), Some(&copy))).await.unwrap();
    assert!(is_empty(folder.path()));
    session.send(Frame::Ack(Ack { length: streamed.end.length })).await;
    let kept = Some(copy.to_str().unwrap().to_owned());
    assert_eq!(session.next().await, Frame::Reply(Reply::Snapshot(SnapshotDone { kept })));
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(std::fs::read(&copy).unwrap() == [&streamed.database[..], &streamed.end.sha256.0].concat());
    etcdctl_reads(&copy);

    // The same session again: what is there is not overwritten, and said before anything is streamed.
    session.send(Frame::Request(Request::Snapshot(request(member.access(), Some(&copy))))).await;
    let Frame::Failure(failure) = session.next().await else { panic!("it streams") };
    assert_eq!(failure.code, FailureCode::Storage);
    assert!(text(&failure).contains("already there"), "{failure:?}");
    assert!(session.close().await.success());
    assert_eq!(std::fs::metadata(&copy).unwrap().len(), streamed.end.length + 32);
}

#[tokio::test]
async fn a_name_that_is_taken_meanwhile_is_not_overwritten() {
    let (member, folder) = filled(&servers()[0]);
    let copy = folder.path().join("copy.db");
    let mut session = Session::open().await;
    let streamed = session.stream(request(member.access(), Some(&copy))).await.unwrap();
    std::fs::write(&copy, "mine").unwrap();
    session.send(Frame::Ack(Ack { length: streamed.end.length })).await;
    let Frame::Failure(failure) = session.next().await else { panic!("it was overwritten") };
    assert_eq!(failure.code, FailureCode::Storage);
    assert_eq!(std::fs::read(&copy).unwrap(), b"mine");
    assert!(session.close().await.success());
}

#[tokio::test]
async fn a_copy_that_cannot_be_is_refused_before_etcd_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = Session::open().await;
    let cases = [
        (folder.path().join("no/copy.db"), FailureCode::Storage, "no"),
        ("/proc/copy.db".into(), FailureCode::Storage, "O_TMPFILE"),
        ("copy.db".into(), FailureCode::BadRequest, "absolute"),
        ("/".into(), FailureCode::BadRequest, "absolute"),
    ];
    for (copy, code, says) in cases {
        // No endpoint at all: only a refusal that comes first can be about the copy.
        let failure = session.stream(request(EtcdAccess::default(), Some(&copy))).await.err().unwrap();
        assert_eq!(failure.code, code, "{failure:?}");
        assert!(text(&failure).contains(says), "{failure:?}");
    }
    assert!(session.close().await.success());
    assert!(is_empty(folder.path()));
}

/// Begins a snapshot with a copy, and reads only its beginning.
async fn begun(member: &Member, copy: &Path) -> Session {
    let mut session = Session::with(&["serve", "--client-timeout", "2s"]).await;
    session.send(Frame::Request(Request::Snapshot(request(member.access(), Some(copy))))).await;
    assert!(matches!(session.next().await, Frame::Begin(_)));
    session
}

#[tokio::test]
async fn nothing_is_left_when_the_client_goes_away() {
    let (member, folder) = filled(&servers()[0]);
    let copy = folder.path().join("copy.db");

    let Session { mut process, wire } = begun(&member, &copy).await;
    let (unread, closing, _) = wire.split();
    drop(closing);
    assert_eq!(ended(&mut process).await.code(), Some(1), "its stdin ends while its stdout is not read");
    drop(unread);
    assert!(is_empty(folder.path()));

    let Session { mut process, wire } = begun(&member, &copy).await;
    assert_eq!(ended(&mut process).await.code(), Some(1), "silence, in the middle of a blocked write");
    drop(wire);
    assert!(is_empty(folder.path()));

    let mut session = begun(&member, &copy).await;
    session.process.start_kill().unwrap();
    assert_eq!(ended(&mut session.process).await.code(), None);
    assert!(is_empty(folder.path()));

    // It has it all, and does not say so.
    let mut session = Session::open().await;
    session.stream(request(member.access(), Some(&copy))).await.unwrap();
    assert_eq!(session.close().await.code(), Some(1));
    assert!(is_empty(folder.path()));
}

#[tokio::test]
async fn a_client_that_gives_up_can_ask_again() {
    let (member, folder) = filled(&servers()[0]);
    let copy = folder.path().join("copy.db");
    let mut session = begun(&member, &copy).await;
    session.send(Frame::Failure(Failure::new(FailureCode::Storage, "no room here"))).await;
    let failure = loop {
        match session.next().await {
            Frame::Data(_) => {}
            Frame::Failure(failure) => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure.causes, ["no room here"]);
    assert!(is_empty(folder.path()));
    session.stream(request(member.access(), None)).await.unwrap();
    assert_eq!(session.close().await.code(), Some(1), "not acknowledged");
}

#[tokio::test]
async fn a_wrong_acknowledgement_keeps_nothing() {
    let (member, folder) = filled(&servers()[0]);
    let mut session = Session::open().await;
    let copy = folder.path().join("copy.db");
    let streamed = session.stream(request(member.access(), Some(&copy))).await.unwrap();
    session.send(Frame::Ack(Ack { length: streamed.end.length - 1 })).await;
    let Frame::Failure(failure) = session.next().await else { panic!("it was taken") };
    assert_eq!(failure.code, FailureCode::BadRequest);
    assert_eq!(ended(&mut session.process).await.code(), Some(1));
    assert!(is_empty(folder.path()));
}

/// A file system of its own, too small for the snapshot.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount() -> Tiny {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tiny"]).arg(folder.path()).status();
        assert!(mount.unwrap().success());
        Tiny(folder)
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let umount = Command::new("umount").arg(self.0.path()).status();
        assert!(umount.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test]
async fn a_node_without_room_is_told_before_anything_is_sent() {
    let (member, _folder) = filled(&servers()[0]);
    let tiny = Tiny::mount();
    let mut session = Session::open().await;
    let failure = session.stream(request(member.access(), Some(&tiny.0.path().join("copy.db")))).await;
    let failure = failure.err().expect("it does not fit");
    assert_eq!(failure.code, FailureCode::Storage);
    assert!(failure.message.contains("no room on the node"), "{failure:?}");
    assert!(is_empty(tiny.0.path()));
    assert!(session.close().await.success(), "the session goes on after a failure");
}

#[tokio::test]
async fn a_member_that_dies_in_the_middle_is_a_failure() {
    let member = Member::start();
    member.fill(120, 100_000);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    // Nothing is read yet, so the pipeline is full and most of the 12 MB are still with etcd.
    let mut session = begun(&member, &copy).await;
    member.signal(Signal::KILL);
    let mut received = 0;
    let failure = loop {
        match session.next().await {
            Frame::Data(chunk) => received += u64::from(chunk.length),
            Frame::Failure(failure) => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure.code, FailureCode::Etcd, "{failure:?}");
    assert!(received < 12_000_000, "etcd had sent it all");
    assert!(is_empty(folder.path()));
    assert!(session.close().await.success(), "the session goes on after a failure");
}

#[tokio::test]
async fn authentication_is_explained() {
    for server in servers() {
        let member = Member::with(&server, &[]);
        member.ctl(&["user", "add", "root:secret"]);
        member.ctl(&["user", "grant-role", "root", "root"]);
        member.ctl(&["auth", "enable"]);
        let mut session = Session::open().await;
        let failure = session.stream(request(member.access(), None)).await.err().expect("it is let in");
        assert_eq!(failure.code, FailureCode::Denied, "{failure:?}");
        assert!(failure.hint.as_deref().unwrap().contains("root"), "{failure:?}");

        let root = EtcdAccess { credentials: vec![member.pki.issue("root", 2096)], ..member.access() };
        session.stream(request(root, None)).await.unwrap();
        assert_eq!(session.close().await.code(), Some(1), "not acknowledged");
    }
}

#[tokio::test]
async fn a_learner_that_refuses_is_asked_once() {
    let first = Member::start();
    let learner = first.learner();
    let mut session = Session::open().await;
    let failure = session.stream(request(learner.access(), None)).await.err().expect("it serves");
    assert_eq!(failure.code, FailureCode::Etcd, "{failure:?}");
    assert!(text(&failure).contains("learner"), "{failure:?}");
    assert!(session.close().await.success());
}
