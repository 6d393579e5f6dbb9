//! The way of a snapshot file to a node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use etcd_wire::drill::DrillRequest;
use etcd_wire::message::{Reply, Request};
use etcd_wire::restore::{StageRequest, Staged};
use etcd_wire::{Begin, CHUNK, Compression, Digest, End, Failure, FailureCode, Frame, Outgoing, Sha256, WireError};
use serde_json::Value;
use tokio::sync::mpsc;

use super::session::{CHUNKS_AHEAD, SILENCE, Session, next};
use super::voice::Voice;
use crate::output::{Failed, Outcome};
use crate::snapshot_file::SnapshotFile;

/// How long a node may take to verify the file and to build a directory from it.
const BUILD: Duration = Duration::from_secs(1800);
/// Why a file is not sent to its end.
const CHANGED: &str = "it has changed since it was verified";
/// How long the other direction may take to end once one has.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// A file that was verified, and is sent as it was then.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) file: SnapshotFile,
    pub(crate) bytes: u64,
    /// SHA-256 of all of it in hex, where it was computed.
    pub(crate) sha256: Option<String>,
    /// Its revision, if by how much that is raised is left to us.
    pub(crate) raised_from: Option<i64>,
}

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// So many bytes of the file were sent.
    Sent(u64),
    /// All of it: the other side verifies it and builds a directory.
    Building,
}

enum Unsent {
    /// The road broke.
    Wire(WireError),
    /// The file cannot be read, or is not what was verified.
    File(String),
}

impl Session {
    /// Puts the new data beside the old: made of the file, or of what the node has already.
    ///
    /// # Errors
    /// The file has changed since it was verified, the node refuses it or has no room, or the road broke. The session is of no further
    /// use then.
    pub(crate) async fn stage(
        &mut self,
        upload: Option<&Upload>,
        stage: StageRequest,
        progress: impl Fn(Stage),
    ) -> Outcome<Staged> {
        const DOING: &str = "put the new data beside the old";
        match self.hand_over(Request::Stage(stage), upload, progress, DOING).await? {
            Reply::Staged(staged) => Ok(staged),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Sends the snapshot to a pod with an etcd program, which serves it there in a throw-away folder. Gives the document of the drill.
    ///
    /// # Errors
    /// Exit 3: the snapshot is damaged, or etcd does not serve it at all. Exit 4: etcd is too old, or there is not enough room. The file has changed since it was
    /// verified, or the road broke.
    pub(crate) async fn drill(
        &mut self,
        upload: &Upload,
        request: DrillRequest,
        progress: impl Fn(Stage),
    ) -> Outcome<Value> {
        let request = Request::Drill(Box::new(request));
        match self.hand_over(request, Some(upload), progress, "drill the backup").await? {
            Reply::Drill(done) => Ok(done.document),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Makes a request that a file may belong to, sends the file, and waits for what is made of it.
    async fn hand_over(
        &mut self,
        request: Request,
        upload: Option<&Upload>,
        progress: impl Fn(Stage),
        doing: &'static str,
    ) -> Outcome<Reply> {
        let compression = if self.peer().can("zstd") { Compression::Zstd } else { Compression::None };
        if let Err(error) = self.voice.send(&Frame::Request(request)).await {
            return Err(self.broken(error, doing).into_failed());
        }
        let heard = AtomicBool::new(false);
        let answer = {
            let (voice, incoming) = (&self.voice, &mut self.incoming);
            let sending = async {
                match upload {
                    Some(upload) => send(voice, upload, compression, &heard, &progress).await,
                    None => Ok(()),
                }
            };
            let hearing = next(incoming, "what comes of the snapshot", BUILD + BUILD);
            tokio::pin!(sending, hearing);
            tokio::select! {
                answer = &mut hearing => {
                    heard.store(true, Ordering::Relaxed);
                    // Not in the middle of a frame: the node passes over what was on its way.
                    let _cut = tokio::time::timeout(WIND_DOWN, &mut sending).await;
                    Ok(answer)
                }
                sent = &mut sending => match sent {
                    Ok(()) => {
                        progress(Stage::Building);
                        Ok(tokio::time::timeout(BUILD, hearing).await.unwrap_or_else(|_| Err(too_long())))
                    }
                    // What the node says of it is the better reason.
                    Err(unsent) => match tokio::time::timeout(WIND_DOWN, hearing).await {
                        Ok(Ok(Frame::Failure(failure))) if matches!(unsent, Unsent::Wire(_)) => {
                            Ok(Ok(Frame::Failure(failure)))
                        }
                        _ => Err(unsent),
                    },
                },
            }
        };
        match answer {
            Ok(Ok(Frame::Reply(reply))) => Ok(reply),
            Ok(Ok(other)) => Err(self.unexpected(other).into_failed()),
            Ok(Err(error)) | Err(Unsent::Wire(error)) => Err(self.broken(error, doing).into_failed()),
            Err(Unsent::File(why)) => {
                let path = upload.map(|upload| upload.file.path().display().to_string()).unwrap_or_default();
                Err(Failed::plain(format!("cannot send {path} to {}", self.place)).cause(why))
            }
        }
    }
}

fn too_long() -> WireError {
    let silent = format!("nothing has come of the snapshot for {} minutes", BUILD.as_secs() / 60);
    WireError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, silent))
}

/// Sends the file, until its end or until something is heard.
async fn send(
    voice: &Voice,
    upload: &Upload,
    compression: Compression,
    heard: &AtomicBool,
    progress: &impl Fn(Stage),
) -> Result<(), Unsent> {
    let say = async |frame: &Frame| match tokio::time::timeout(SILENCE, voice.send(frame)).await {
        Ok(sent) => sent.map_err(Unsent::Wire),
        Err(_) => Err(Unsent::Wire(WireError::Io(std::io::ErrorKind::TimedOut.into()))),
    };
    say(&Frame::Begin(Begin { total: Some(upload.bytes) })).await?;
    let (frames, mut waiting) = mpsc::channel(CHUNKS_AHEAD);
    let file = upload.clone();
    let reader = tokio::task::spawn_blocking(move || read(&file, compression, &frames));
    let mut whole = false;
    while let Some((frame, done)) = waiting.recv().await {
        if heard.load(Ordering::Relaxed) {
            break;
        }
        whole = matches!(frame, Frame::End(_));
        say(&frame).await?;
        progress(Stage::Sent(done));
    }
    drop(waiting);
    if whole {
        return Ok(());
    }
    let why = match reader.await {
        Ok(Err(why)) => why,
        Ok(Ok(())) => "the node has answered before the end".to_owned(),
        Err(error) => error.to_string(),
    };
    say(&Frame::Failure(Failure::new(FailureCode::Other, why.clone()))).await?;
    Err(Unsent::File(why))
}

/// Cuts the file into frames, each with the bytes of the file up to its end. The last one is the end frame, which only a file gets
/// that is still what was verified.
fn read(upload: &Upload, compression: Compression, frames: &mpsc::Sender<(Frame, u64)>) -> Result<(), String> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => CHANGED.to_owned(),
        _ => format!("it cannot be read: {error}"),
    };
    let (mut outgoing, mut digest) = (Outgoing::new(compression), Digest::new());
    loop {
        let mut piece = vec![0; CHUNK];
        let read = upload.file.read_at(outgoing.offset(), &mut piece).map_err(failed)?;
        if read == 0 {
            break;
        }
        piece.truncate(read);
        digest.update(&piece);
        let chunk = outgoing.chunk(Bytes::from(piece));
        if outgoing.offset() > upload.bytes {
            return Err("it has grown since it was verified".to_owned());
        }
        // Whoever does not want more knows why.
        if frames.blocking_send((Frame::Data(chunk), outgoing.offset())).is_err() {
            return Ok(());
        }
    }
    let (length, sha256) = (outgoing.offset(), Sha256(digest.finish()));
    let changed = upload.sha256.as_ref().is_some_and(|verified| *verified != sha256.to_string());
    if length != upload.bytes || changed {
        return Err(CHANGED.to_owned());
    }
    let _unwanted = frames.blocking_send((Frame::End(End { length, sha256 }), length));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use etcd_wire::Incoming;

    use super::*;
    use crate::snapshot_file::opened;

    fn frames(upload: Upload, compression: Compression) -> (Result<(), String>, Vec<Frame>) {
        let (sender, mut receiver) = mpsc::channel(100);
        let outcome = read(&upload, compression, &sender);
        drop(sender);
        let mut frames = Vec::new();
        while let Some((frame, _)) = receiver.blocking_recv() {
            frames.push(frame);
        }
        (outcome, frames)
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("room");
        file
    }

    #[test]
    fn a_file_arrives_as_it_was_verified() {
        let bytes: Vec<u8> = (0..CHUNK * 2 + 77).map(|n| (n / 9) as u8).collect();
        let file = file(&bytes);
        let mut digest = Digest::new();
        digest.update(&bytes);
        let upload = Upload {
            file: opened(file.path()),
            bytes: bytes.len() as u64,
            sha256: Some(Sha256(digest.finish()).to_string()),
            raised_from: None,
        };
        for compression in [Compression::None, Compression::Zstd] {
            let (outcome, mut frames) = frames(upload.clone(), compression);
            assert_eq!(outcome, Ok(()));
            let Some(Frame::End(end)) = frames.pop() else { panic!("no end") };
            let mut incoming = Incoming::new(u64::MAX);
            let mut got = Vec::new();
            for frame in frames {
                let Frame::Data(chunk) = frame else { panic!("{frame:?}") };
                got.extend_from_slice(&incoming.accept(&chunk).expect("whole"));
            }
            incoming.finish(&end).expect("the same");
            assert_eq!(got, bytes);
        }
    }

    #[test]
    fn a_file_that_changed_gets_no_end() {
        let file = file(b"abc");
        let upload = |bytes, sha256| Upload { file: opened(file.path()), bytes, sha256, raised_from: None };
        for (upload, why) in
            [(upload(3, Some("00".repeat(32))), "changed"), (upload(4, None), "changed"), (upload(2, None), "grown")]
        {
            let (outcome, frames) = frames(upload, Compression::None);
            assert!(outcome.is_err_and(|said| said.contains(why)), "{why}");
            assert!(!frames.iter().any(|frame| matches!(frame, Frame::End(_))));
        }
    }
}
