//! Two ends in memory.

use etcd_wire::{Ack, Connection, Frame, Hello, Preface, WireError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

type Wire = Connection<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

async fn establish(stream: DuplexStream, ours: Hello) -> Result<Wire, WireError> {
    let (reader, writer) = split(stream);
    Connection::establish(reader, writer, ours).await
}

/// What this side makes of a peer that says `bytes` and hangs up.
async fn hears(bytes: &[u8]) -> WireError {
    let (here, mut there) = duplex(1 << 16);
    there.write_all(bytes).await.unwrap();
    there.shutdown().await.unwrap();
    establish(here, Hello::ours()).await.expect_err("it was understood")
}

#[tokio::test]
async fn both_sides_greet_and_neither_waits() {
    let (here, there) = duplex(64);
    let other =
        Hello { version: "9.9.9".to_owned(), capabilities: vec!["dance".to_owned()], build: Some("b".to_owned()) };
    let (ours, theirs) = tokio::join!(establish(here, Hello::ours()), establish(there, other.clone()));
    let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
    assert!(ours.peer == other && ours.peer.can("dance") && !ours.peer.can("snapshot"));
    assert_eq!(theirs.peer, Hello::ours());
    let ack = Frame::Ack(Ack { length: 5 });
    ours.outgoing.send(&ack).await.unwrap();
    assert_eq!(theirs.incoming.next("ack").await.unwrap(), ack);
    let (_, outgoing, _) = ours.split();
    outgoing.close().await.unwrap();
    assert_eq!(theirs.incoming.maybe_next().await.unwrap(), None);
    assert!(matches!(theirs.incoming.next("more").await, Err(WireError::Eof { expected: "more" })));
}

#[tokio::test]
async fn something_else_is_shown() {
    let error = hears(b"sh: etcd-sidecar: not found\n").await;
    assert!(matches!(&error, WireError::NotOurs(text) if text == "sh: etcd-sidecar: not found"), "{error:?}");
    assert!(!error.is_transport());
    let error = hears(b"kubectl: not found").await;
    assert!(matches!(&error, WireError::NotOurs(text) if text == "kubectl: not found"), "{error:?}");
    let long = vec![b'z'; 5000];
    assert!(matches!(hears(&long).await, WireError::NotOurs(text) if text.len() == 200));
}

#[tokio::test]
async fn another_major_is_told_ours() {
    let (here, mut there) = duplex(1 << 16);
    there.write_all(&Preface { major: 2, minor: 1 }.encode()).await.unwrap();
    let error = establish(here, Hello::ours()).await.unwrap_err();
    assert_eq!(error.to_string(), "the other side speaks protocol 2.1, this side 1.0");
    let mut said = [0; Preface::LENGTH];
    there.read_exact(&mut said).await.unwrap();
    assert_eq!(Preface::decode(&said).unwrap(), Some(Preface::OURS));
}

#[tokio::test]
async fn an_early_end_is_an_error() {
    let preface = Preface::OURS.encode();
    assert!(matches!(hears(b"").await, WireError::Eof { .. }));
    assert!(matches!(hears(&preface[..7]).await, WireError::Eof { .. }));
    assert!(matches!(hears(&preface).await, WireError::Eof { .. }));
    let inside = hears(&[&preface[..], &[0, 0, 0, 9, 1]].concat()).await;
    assert!(matches!(inside, WireError::Eof { .. }) && inside.is_transport());
    let mut ping = preface.to_vec();
    Frame::Ping.encode(&mut ping).unwrap();
    assert!(matches!(hears(&ping).await, WireError::Unexpected { got: "ping", expected: "hello" }));
}

#[tokio::test]
async fn waiting_for_a_frame_can_be_given_up() {
    let (here, there) = duplex(1 << 16);
    let (ours, theirs) = tokio::join!(establish(here, Hello::ours()), establish(there, Hello::ours()));
    let (mut ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let (_, mut outgoing, _) = theirs.split();
    let frame = Frame::Ack(Ack { length: u64::MAX });
    // Each wait is dropped at once; what had been read by then must not be lost.
    for _ in 0..20 {
        outgoing.send(&frame).await.unwrap();
        let mut taken = None;
        while taken.is_none() {
            tokio::select! {
                biased;
                next = ours.incoming.next("ack") => taken = Some(next.unwrap()),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(taken, Some(frame.clone()));
    }
}
