//! Conversations that go wrong.

use std::time::Duration;

use etcd_wire::message::StatusRequest;
use etcd_wire::restore::{PrepareRequest, RemoveAsideRequest, RestoreKind, RestoreNode, RestorePlan};
use etcd_wire::{Ack, Connection, FailureCode, Frame, Hello, Preface, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::session::{LONG, Session, ended, spawn, text};

/// A frame of `kind`, by hand.
fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[kind], payload].concat()
}

/// Opens a session by hand, says `bytes`, and gives all that comes back after the greeting, and the exit code.
async fn say(bytes: &[u8]) -> (Vec<Frame>, Option<i32>) {
    let mut process = spawn(&["serve"]);
    let (mut input, mut output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    input.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LONG, output.read_to_end(&mut answer)).await.expect("it does not end").unwrap();
    let mut decoder = etcd_wire::Decoder::new();
    decoder.push(&answer);
    assert_eq!(decoder.preface().unwrap(), Some(Preface::OURS));
    assert_eq!(decoder.frame().unwrap(), Some(Frame::Hello(Hello::ours().of_build(etcd_build::ID))));
    let mut frames = Vec::new();
    while let Some(frame) = decoder.frame().unwrap() {
        frames.push(frame);
    }
    assert!(decoder.is_empty(), "a frame is cut");
    (frames, ended(&mut process).await.code())
}

fn greeting() -> Vec<u8> {
    let mut bytes = Preface::OURS.encode().to_vec();
    Frame::Hello(Hello::ours()).encode(&mut bytes).unwrap();
    bytes
}

fn complaint(frames: &[Frame]) -> String {
    let [Frame::Failure(failure)] = frames else { panic!("{frames:?}") };
    assert_eq!(failure.code, FailureCode::BadRequest);
    text(failure)
}

/// What changes a node is refused to clients of other builds, before anything is looked at or made.
#[tokio::test]
async fn other_builds_change_nothing() {
    let node = RestoreNode {
        node: "cp1".into(),
        member: "cp1".into(),
        data_dir: "/nonexistent/etcd".into(),
        manifests_dir: "/nonexistent/manifests".into(),
        ..Default::default()
    };
    let plan = RestorePlan {
        id: "20261121-100000-abcde".into(),
        kind: RestoreKind::Snapshot {
            bump: 0,
            token: "t".into(),
            skip_hash_check: false,
            allow_lower_revisions: false,
        },
        cluster: "c".into(),
        started_by: "me".into(),
        coordinator: "cp1".into(),
        nodes: vec![node],
        not_reached: Vec::new(),
        peer_port: 2382,
        marker: None,
        start_timeout: 180,
        keep_unready: false,
        quorum_lost: None,
        replaces: None,
        build: Some("0123456789abcdef".into()),
    };
    // The session's own greeting names no build.
    let mut session = Session::open().await;
    let prepare = PrepareRequest { plan, node: "cp1".into(), snapshot_bytes: 0 };
    let remove = RemoveAsideRequest { ids: vec!["20261121-100000-abcde".into()] };
    for request in [Request::Prepare(Box::new(prepare)), Request::RemoveAside(remove)] {
        session.send(Frame::Request(request)).await;
        let Frame::Failure(failure) = session.next().await else { panic!("no failure") };
        assert_eq!(failure.code, FailureCode::Refused);
        let said = text(&failure);
        assert!(said.contains("another build") && said.contains(etcd_build::ID), "{said}");
    }
    assert!(session.close().await.success());
}

#[tokio::test]
async fn an_unknown_request_is_refused_and_the_session_goes_on() {
    let mut session = Session::open().await;
    for _ in 0..2 {
        session.send(Frame::Request(Request::Unknown)).await;
        let Frame::Failure(failure) = session.next().await else { panic!("no failure") };
        assert_eq!(failure.code, FailureCode::Unsupported);
    }
    let status = session.status(StatusRequest::default()).await;
    assert_eq!(status.failure.unwrap().code, FailureCode::BadRequest, "no endpoint was given");
    assert!(session.close().await.success());
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_is_fine() {
    let mut session = Session::open().await;
    session.send(Frame::Ping).await;
    assert!(session.close().await.success());
}

#[tokio::test]
async fn another_major_version_ends_the_conversation() {
    let other = Preface { major: 2, minor: 7 };
    assert_eq!(say(&other.encode()).await, (vec![], Some(1)));
    // And the client learns the sidecar's version from its preface, whatever it said itself.
    let mut process = spawn(&["serve"]);
    let (mut input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    input.write_all(&other.encode()).await.unwrap();
    Connection::establish(output, input, Hello::ours()).await.unwrap();
    assert_eq!(ended(&mut process).await.code(), Some(1));
}

#[tokio::test]
async fn a_later_minor_version_is_understood() {
    let mut bytes = Preface { major: 1, minor: 9 }.encode().to_vec();
    bytes.extend(raw(0x01, br#"{"version":"9.9.9","capabilities":["dance"],"mood":"fine"}"#));
    bytes.extend(raw(0x90, b"something new"));
    bytes.extend(raw(0x02, br#"{"operation":"dance","steps":3}"#));
    let mut process = spawn(&["serve"]);
    let (mut input, mut output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    input.write_all(&bytes).await.unwrap();
    let (mut decoder, mut begun) = (etcd_wire::Decoder::new(), false);
    let failure = loop {
        let mut piece = [0; 4096];
        let read = tokio::time::timeout(LONG, output.read(&mut piece)).await.expect("it is silent").unwrap();
        assert!(read > 0, "it hangs up");
        decoder.push(&piece[..read]);
        begun = begun || decoder.preface().unwrap().is_some();
        let mut frames = std::iter::from_fn(|| if begun { decoder.frame().unwrap() } else { None });
        if let Some(Frame::Failure(failure)) = frames.find(|frame| matches!(frame, Frame::Failure(_))) {
            break failure;
        }
    };
    assert_eq!(failure.code, FailureCode::Unsupported);
    drop(input);
    assert!(ended(&mut process).await.success());
}

#[tokio::test]
async fn garbage_ends_the_conversation() {
    assert_eq!(say(b"GET / HTTP/1.1\r\n\r\n").await, (vec![], Some(1)));
    for garbage in [
        &b"\0\0\0\0"[..],
        b"\xff\xff\xff\xff",
        &raw(0x02, b"{"),
        &raw(0x09, b"!"),
        &raw(0x06, b"short"),
        &raw(0x7f, b""),
    ] {
        let (frames, code) = say(&[&greeting()[..], garbage].concat()).await;
        assert!(complaint(&frames).contains("the client broke the protocol"));
        assert_eq!(code, Some(1), "{garbage:?}");
    }
}

#[tokio::test]
async fn a_frame_out_of_place_ends_the_conversation() {
    let mut bytes = Preface::OURS.encode().to_vec();
    Frame::Ping.encode(&mut bytes).unwrap();
    let (frames, code) = say(&bytes).await;
    assert!(complaint(&frames).contains("expected hello"), "{frames:?}");
    assert_eq!(code, Some(1));

    let mut bytes = greeting();
    Frame::Ack(Ack { length: 0 }).encode(&mut bytes).unwrap();
    let (frames, code) = say(&bytes).await;
    assert!(complaint(&frames).contains("expected request"), "{frames:?}");
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn an_input_that_ends_inside_a_frame_is_an_error() {
    let mut process = spawn(&["serve"]);
    let mut input = process.stdin.take().unwrap();
    input.write_all(&[&greeting()[..], &[0, 0]].concat()).await.unwrap();
    drop(input);
    assert_eq!(ended(&mut process).await.code(), Some(1));
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let mut before = spawn(&["serve", "--client-timeout", "300ms"]);
    assert_eq!(ended(&mut before).await.code(), Some(1), "before its greeting");
    let mut session = Session::with(&["serve", "--client-timeout", "300ms"]).await;
    assert_eq!(ended(&mut session.process).await.code(), Some(1), "after it");
}

#[tokio::test]
async fn pings_keep_the_session() {
    let mut session = Session::with(&["serve", "--client-timeout", "1s"]).await;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    for _ in 0..10 {
        tick.tick().await;
        session.send(Frame::Ping).await;
    }
    let status = session.status(StatusRequest::default()).await;
    assert!(status.failure.is_some());
    assert!(session.close().await.success());
}

#[tokio::test]
async fn it_speaks_first() {
    let mut process = spawn(&["serve"]);
    let mut preface = [0; Preface::LENGTH];
    let mut output = process.stdout.take().unwrap();
    output.read_exact(&mut preface).await.unwrap();
    assert!(matches!(Preface::decode(&preface), Ok(Some(Preface::OURS))));
    drop(process.stdin.take());
    assert_eq!(ended(&mut process).await.code(), Some(1));
}
