//! Streams of a sidecar that does not keep to what it says.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use etcd_wire::{CHUNK, Compression, Outgoing, Sending, Sha256};
use tokio::io::{DuplexStream, WriteHalf, duplex, split};

use super::*;

/// What was expected and what was written, to be looked at from outside.
#[derive(Clone, Default)]
struct Seen {
    room: u64,
    expected: Arc<Mutex<Option<u64>>>,
    written: Arc<Mutex<u64>>,
}

impl Sink for Seen {
    fn expect(&mut self, bytes: u64) -> io::Result<()> {
        *self.expected.lock().expect("no panic") = Some(bytes);
        if bytes > self.room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        *self.written.lock().expect("no panic") += bytes.len() as u64;
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

/// What comes of a stream with this announcement and so many bytes of zeros, which are small on the wire.
async fn stream(
    announced: Option<u64>,
    bytes: u64,
    unannounced: Option<u64>,
    room: u64,
) -> (Result<u64, Broken>, Seen) {
    let (here, there) = duplex(1 << 20);
    let greet = |stream: DuplexStream| {
        let (reader, writer) = split(stream);
        Wire::establish(reader, writer, Hello::ours())
    };
    let (here, there) = tokio::join!(greet(here), greet(there));
    let (mut incoming, _, _) = here.expect("a greeting").split();
    let (_, mut outgoing, _) = there.expect("a greeting").split();
    let sending = tokio::spawn(async move { send(&mut outgoing, announced, bytes).await });
    let seen = Seen { room, ..Seen::default() };
    let received = receive(&mut incoming, unannounced, SILENCE, seen.clone()).await;
    drop(incoming);
    sending.abort();
    (received.map(|received| received.end.length), seen)
}

async fn send(
    outgoing: &mut Sending<WriteHalf<DuplexStream>>,
    announced: Option<u64>,
    bytes: u64,
) -> Result<(), WireError> {
    outgoing.send(&Frame::Begin(Begin { total: announced })).await?;
    let (mut chunks, mut digest, mut left) = (Outgoing::new(Compression::Zstd), Digest::new(), bytes);
    while left > 0 {
        let piece = Bytes::from(vec![0; left.min(CHUNK as u64) as usize]);
        (left, _) = (left - piece.len() as u64, digest.update(&piece));
        outgoing.send(&Frame::Data(chunks.chunk(piece))).await?;
    }
    outgoing.send(&Frame::End(End { length: bytes, sha256: Sha256(digest.finish()) })).await
}

#[tokio::test]
async fn a_stream_that_keeps_to_its_length_is_received() {
    for (announced, unannounced) in [(Some(3 << 20), None), (None, Some(3 << 20)), (Some(3 << 20), Some(u64::MAX))] {
        let (received, seen) = stream(announced, 3 << 20, unannounced, u64::MAX).await;
        assert_eq!(received.expect("whole"), 3 << 20);
        assert_eq!(*seen.expected.lock().expect("no panic"), Some(3 << 20));
    }
}

#[tokio::test]
async fn a_stream_is_cut_where_its_announced_length_ends() {
    // Never ending, as far as can be told here.
    for (announced, unannounced) in
        [(Some(5), None), (None, Some(5)), (Some(5), Some(u64::MAX)), (Some(u64::MAX), Some(5))]
    {
        let (received, seen) = stream(announced, 1 << 40, unannounced, u64::MAX).await;
        assert!(matches!(received, Err(Broken::Wire(WireError::TooLong { limit: 5 }))), "{received:?}");
        assert_eq!(*seen.written.lock().expect("no panic"), 0);
    }
    let (received, seen) = stream(Some((CHUNK + 5) as u64), 1 << 40, None, u64::MAX).await;
    assert!(matches!(received, Err(Broken::Wire(WireError::TooLong { .. }))), "{received:?}");
    assert_eq!(*seen.written.lock().expect("no panic"), CHUNK as u64);
}

#[tokio::test]
async fn a_length_for_which_there_is_no_room_is_refused_before_a_byte_is_written() {
    let (received, seen) = stream(Some(u64::MAX), 1 << 40, None, 1 << 30).await;
    assert!(
        matches!(&received, Err(Broken::Disk(error)) if error.kind() == io::ErrorKind::StorageFull),
        "{received:?}"
    );
    assert_eq!(*seen.written.lock().expect("no panic"), 0);
    // A snapshot without a length at all is none.
    let (received, seen) = stream(None, 10, None, u64::MAX).await;
    assert!(matches!(&received, Err(Broken::Other(frame)) if matches!(**frame, Frame::Begin(_))), "{received:?}");
    assert_eq!(*seen.expected.lock().expect("no panic"), None);
}

#[test]
fn the_end_of_what_a_sidecar_says_is_kept() {
    let mut text = "\u{e9}".repeat(10);
    keep_last(&mut text, 5);
    assert_eq!(text, "\u{e9}\u{e9}");
    keep_last(&mut text, 5);
    assert_eq!(text, "\u{e9}\u{e9}");
}
