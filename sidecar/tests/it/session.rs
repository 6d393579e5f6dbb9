//! One `etcd-sidecar serve`, with its pipes.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use etcd_wire::message::{
    HashKvRequest, KeysDone, KeysRequest, MemberHash, NodeStatus, SnapshotRequest, StatusRequest,
};
use etcd_wire::{Ack, Connection, End, Failure, Frame, Hello, Incoming, KeyRecords, Reply, Request};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Far above what anything here takes; reaching it is a failure.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Session {
    pub(crate) process: Child,
    pub(crate) wire: Connection<ChildStdout, ChildStdin>,
}

/// What came of a snapshot that streamed to its end.
pub(crate) struct Streamed {
    pub(crate) database: Vec<u8>,
    pub(crate) total: Option<u64>,
    pub(crate) end: End,
    /// Bytes of all chunks as they were on the wire.
    pub(crate) carried: usize,
}

pub(crate) fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_etcd-sidecar"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

impl Session {
    pub(crate) async fn open() -> Session {
        Session::with(&["serve"]).await
    }

    pub(crate) async fn with(arguments: &[&str]) -> Session {
        let mut process = spawn(arguments);
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let wire = Connection::establish(output, input, Hello::ours()).await.unwrap();
        Session { process, wire }
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        self.wire.outgoing.send(&frame).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Frame {
        tokio::time::timeout(LONG, self.wire.incoming.next("a frame")).await.expect("the sidecar is silent").unwrap()
    }

    pub(crate) async fn status(&mut self, request: StatusRequest) -> NodeStatus {
        self.send(Frame::Request(Request::Status(request))).await;
        match self.next().await {
            Frame::Reply(Reply::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn hash(&mut self, request: HashKvRequest) -> Result<MemberHash, Failure> {
        self.send(Frame::Request(Request::HashKv(request))).await;
        match self.next().await {
            Frame::Reply(Reply::HashKv(hash)) => Ok(hash),
            Frame::Failure(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// Receives all keys, each with the revision that last changed it.
    pub(crate) async fn keys(&mut self, request: KeysRequest) -> Result<(Vec<(i64, String)>, KeysDone), Failure> {
        let streamed = self.receive(Request::Keys(request)).await?;
        self.send(Frame::Ack(Ack { length: streamed.end.length })).await;
        let (mut records, mut keys) = (KeyRecords::new(), Vec::new());
        let take = |record: etcd_wire::KeyRecord<'_>| {
            keys.push((record.mod_revision, String::from_utf8(record.key.to_vec()).unwrap()));
        };
        records.push(&streamed.database, take).unwrap();
        records.finish().unwrap();
        match self.next().await {
            Frame::Reply(Reply::Keys(done)) => Ok((keys, done)),
            other => panic!("{other:?}"),
        }
    }

    /// Receives a snapshot up to its end, without the acknowledgement.
    pub(crate) async fn stream(&mut self, request: SnapshotRequest) -> Result<Streamed, Failure> {
        self.receive(Request::Snapshot(request)).await
    }

    async fn receive(&mut self, request: Request) -> Result<Streamed, Failure> {
        self.send(Frame::Request(request)).await;
        let total = match self.next().await {
            Frame::Begin(begin) => begin.total,
            Frame::Failure(failure) => return Err(failure),
            other => panic!("{other:?}"),
        };
        let (mut incoming, mut database, mut carried) = (Incoming::new(u64::MAX), Vec::new(), 0);
        loop {
            match self.next().await {
                Frame::Data(chunk) => {
                    carried += chunk.payload.len();
                    database.extend_from_slice(&incoming.accept(&chunk).unwrap());
                }
                Frame::End(end) => {
                    incoming.finish(&end).unwrap();
                    return Ok(Streamed { database, total, end, carried });
                }
                Frame::Failure(failure) => return Err(failure),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Closes our side and waits for the process. The conversation must end there.
    pub(crate) async fn close(self) -> ExitStatus {
        let Session { mut process, wire } = self;
        let (mut incoming, outgoing, _) = wire.split();
        outgoing.close().await.unwrap();
        assert_eq!(incoming.maybe_next().await.unwrap(), None);
        ended(&mut process).await
    }
}

pub(crate) async fn ended(process: &mut Child) -> ExitStatus {
    tokio::time::timeout(LONG, process.wait()).await.expect("the sidecar does not end").unwrap()
}

/// The failure, and its whole text.
pub(crate) fn text(failure: &Failure) -> String {
    format!("{failure}\n{}\n{}", failure.causes.join("\n"), failure.hint.as_deref().unwrap_or_default())
}
