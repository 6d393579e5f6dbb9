//! An object of any size on its way into a store.
//!
//! The writer, on a thread that may block, fills parts; a task sends them, a few at a time. Memory is bounded by the size of the parts in
//! flight, whatever the object. The object has its name only once everything was sent and [`Upload::finish`] was called: an upload that is
//! dropped, and a writer that was not ended, leave nothing under the name.

use std::io::{self, Write};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::{MultipartUpload, PutPayload};
use ring::digest::{Context, SHA256};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::StoreUrl;
use crate::backend::cloud::failure_of;
use crate::backend::folder::{Unnamed, blocking};
use crate::backend::{Cloud, Failure, Folder};
use crate::store::{Backend, told};
use crate::trouble::{PartsLeft, StoreError, Task, Trouble};

/// The size of a part, to begin with: 8 MiB.
const PART: usize = 8 * 1024 * 1024;
/// After so many parts they grow by [`PART`], and so again.
const GROW: usize = 400;
/// How many parts are on their way at once.
const IN_FLIGHT: usize = 2;
/// How long parts on their way are waited for before an upload is aborted.
const LANDING: Duration = Duration::from_secs(10);

/// The size of the part with this index, from 0. S3 takes 10 000 parts: with this, 1 TB.
///
/// The first parts are of one size, because some stores want all but the last to be so: a snapshot of etcd has no more.
fn part_size(index: usize) -> usize {
    PART.saturating_mul(1 + index / GROW)
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Bytes.
    pub size: u64,
    /// The SHA-256 of all of them, hexadecimal.
    pub sha256: String,
}

enum Piece {
    /// A whole part.
    Part(Bytes),
    /// The last part, and the end.
    End(Bytes, Sent),
}

/// Where the bytes of an object are written to. For a thread that may block: not for an asynchronous task.
pub struct UploadWriter {
    part: BytesMut,
    index: usize,
    size: u64,
    digest: Context,
    pieces: mpsc::Sender<Piece>,
}

impl UploadWriter {
    /// Ends the object. A writer that is dropped without this is one that failed, and so does the upload.
    ///
    /// # Errors
    ///
    /// The upload has failed: [`Upload::finish`] says why.
    pub fn end(mut self) -> io::Result<()> {
        let digest = self.digest.finish();
        let sha256 = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let piece = Piece::End(self.part.split().freeze(), Sent { size: self.size, sha256 });
        self.pieces.blocking_send(piece).map_err(|_| failed())
    }
}

fn failed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the upload to the store has failed")
}

impl Write for UploadWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wanted = part_size(self.index);
        let count = bytes.len().min(wanted.saturating_sub(self.part.len()));
        let (taken, _) = bytes.split_at(count);
        if self.part.is_empty() {
            self.part.reserve(wanted.min(PART));
        }
        self.part.extend_from_slice(taken);
        self.digest.update(taken);
        self.size += count as u64;
        if self.part.len() >= wanted {
            let part = std::mem::take(&mut self.part).freeze();
            self.pieces.blocking_send(Piece::Part(part)).map_err(|_| failed())?;
            self.index += 1;
        }
        Ok(count)
    }

    /// Does nothing: a part is sent when it is whole.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for UploadWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadWriter").field("size", &self.size).finish_non_exhaustive()
    }
}

/// An object on its way. Dropped before [`Upload::finish`], it is given up: nothing is left under its name.
#[derive(Debug)]
pub struct Upload {
    /// Gone: give up. Sent: commit, once everything is there.
    commit: oneshot::Sender<()>,
    done: oneshot::Receiver<Result<Sent, StoreError>>,
}

impl Upload {
    /// Gives the object its name, once the writer has ended, and says what was sent.
    ///
    /// # Errors
    ///
    /// The store has refused something, or the writer was dropped before its end. Nothing is under the name then, unless
    /// [`StoreError::is_outcome_unknown`].
    pub async fn finish(self) -> Result<Sent, StoreError> {
        // A task that has failed does not hear this, and says why below.
        let _ = self.commit.send(());
        ended(self.done).await
    }

    /// Gives the upload up, and waits until the store knows. Gives what could not be taken back.
    pub async fn abort(self) -> Option<PartsLeft> {
        drop(self.commit);
        ended(self.done).await.err().and_then(|error| error.parts_left().cloned())
    }
}

async fn ended(done: oneshot::Receiver<Result<Sent, StoreError>>) -> Result<Sent, StoreError> {
    match done.await {
        Ok(result) => result,
        Err(_) => Err(StoreError::new(Task::Write, "", Trouble::Abandoned, "the task that sent it has ended")),
    }
}

pub(crate) fn begin(backend: Backend, url: StoreUrl, path: String) -> (UploadWriter, Upload) {
    let (pieces, received) = mpsc::channel(1);
    let (commit, committed) = oneshot::channel();
    let (tell, done) = oneshot::channel();
    tokio::spawn(async move {
        let courier = Courier { received, committed, agreed: false };
        let sent = match backend {
            Backend::Cloud(cloud) => to_cloud(&cloud, &path, courier).await,
            Backend::Folder(folder) => to_folder(folder, &path, courier).await,
        };
        // Nobody listens to an upload that was dropped.
        let _ = tell.send(sent.map_err(|failure| told(&url, Task::Write, Some(&path), failure)));
    });
    let digest = Context::new(&SHA256);
    (UploadWriter { part: BytesMut::new(), index: 0, size: 0, digest, pieces }, Upload { commit, done })
}

/// What comes from the writer and from the upload's owner.
struct Courier {
    received: mpsc::Receiver<Piece>,
    committed: oneshot::Receiver<()>,
    agreed: bool,
}

impl Courier {
    /// The next piece. Gives up as soon as the owner or the writer does.
    async fn piece(&mut self) -> Result<Piece, Failure> {
        let abandoned = |detail: &str| Failure::new(Trouble::Abandoned, detail);
        let piece = async {
            self.received.recv().await.ok_or_else(|| abandoned("what was to be written ended before its end"))
        };
        if self.agreed {
            return piece.await;
        }
        tokio::select! {
            biased;
            piece = piece => piece,
            agreed = &mut self.committed => {
                self.agreed = agreed.is_ok();
                if !self.agreed {
                    return Err(abandoned("the upload was given up"));
                }
                self.received.recv().await.ok_or_else(|| abandoned("what was to be written ended before its end"))
            }
        }
    }

    /// Waits for the owner's word that the object is to have its name.
    async fn agreement(&mut self) -> Result<(), Failure> {
        if !self.agreed {
            let word = (&mut self.committed).await;
            word.map_err(|_| Failure::new(Trouble::Abandoned, "the upload was given up"))?;
            self.agreed = true;
        }
        Ok(())
    }
}

async fn to_cloud(cloud: &Cloud, path: &str, mut courier: Courier) -> Result<Sent, Failure> {
    match courier.piece().await? {
        // Small: one request, create-only.
        Piece::End(last, sent) => {
            courier.agreement().await?;
            cloud.create(path, last).await?;
            Ok(sent)
        }
        Piece::Part(first) => {
            let mut multipart = cloud.multipart(path).await?;
            let mut flying = JoinSet::new();
            let sent = in_parts(&mut *multipart, first, &mut courier, &mut flying).await;
            // A part that arrives after the abort would be left for ever.
            let _ = tokio::time::timeout(LANDING, async { while flying.join_next().await.is_some() {} }).await;
            let completed = match sent {
                Ok(sent) => complete(cloud, path, &mut *multipart, sent).await,
                Err(failure) => Err(failure),
            };
            let Err(failure) = completed else { return completed };
            Err(match multipart.abort().await {
                Ok(()) => failure,
                // What the store does not know is not there. Anything else is no object, and is not listed.
                Err(error) => match failure_of(&error) {
                    aborted if aborted.trouble == Trouble::NotFound => failure,
                    aborted => Failure { parts: Some(aborted.trouble.reason(&aborted.detail)), ..failure },
                },
            })
        }
    }
}

type Flying = JoinSet<object_store::Result<()>>;

async fn in_parts(
    multipart: &mut dyn MultipartUpload,
    first: Bytes,
    courier: &mut Courier,
    flying: &mut Flying,
) -> Result<Sent, Failure> {
    let mut next = Some(first);
    let sent = loop {
        if let Some(part) = next.take() {
            flying.spawn(multipart.put_part(PutPayload::from(part)));
        }
        if flying.len() >= IN_FLIGHT {
            landed(flying.join_next().await)?;
            // One that has failed meanwhile is heard at once.
            while let Some(part) = flying.try_join_next() {
                landed(Some(part))?;
            }
        }
        let piece = tokio::select! {
            biased;
            Some(part) = flying.join_next(), if !flying.is_empty() => {
                landed(Some(part))?;
                continue;
            }
            piece = courier.piece() => piece?,
        };
        match piece {
            Piece::Part(part) => next = Some(part),
            Piece::End(last, sent) => {
                if !last.is_empty() {
                    flying.spawn(multipart.put_part(PutPayload::from(last)));
                }
                break sent;
            }
        }
    };
    while let Some(part) = flying.join_next().await {
        landed(Some(part))?;
    }
    courier.agreement().await?;
    Ok(sent)
}

type Landed = Option<Result<object_store::Result<()>, tokio::task::JoinError>>;

fn landed(part: Landed) -> Result<(), Failure> {
    match part {
        None | Some(Ok(Ok(()))) => Ok(()),
        // The object is not there before its completion, whatever became of a part.
        Some(Ok(Err(error))) => Err(Failure { unknown: false, ..failure_of(&error) }),
        Some(Err(error)) => Err(Failure::new(Trouble::Other, error.to_string())),
    }
}

/// Makes an object of the parts. An answer that gets lost leaves open whether that has happened: the object is then looked for.
async fn complete(cloud: &Cloud, path: &str, multipart: &mut dyn MultipartUpload, sent: Sent) -> Result<Sent, Failure> {
    let Err(error) = multipart.complete().await else { return Ok(sent) };
    let failure = failure_of(&error);
    let lost =
        failure.unknown || matches!(failure.trouble, Trouble::NotFound | Trouble::ServerFault | Trouble::Throttled);
    match lost {
        true if cloud.size(path).await == Ok(sent.size) => Ok(sent),
        true => Err(Failure { unknown: true, ..failure }),
        false => Err(failure),
    }
}

async fn to_folder(folder: Folder, path: &str, mut courier: Courier) -> Result<Sent, Failure> {
    let path = path.to_owned();
    let mut unnamed: Option<Unnamed> = None;
    loop {
        let (bytes, end) = match courier.piece().await? {
            Piece::Part(part) => (part, None),
            Piece::End(last, sent) => (last, Some(sent)),
        };
        let (folder, path) = (folder.clone(), path.clone());
        let written = blocking(move || {
            let mut unnamed = match unnamed {
                Some(unnamed) => unnamed,
                None => folder.begin(&path)?,
            };
            unnamed.write(&bytes)?;
            Ok(unnamed)
        });
        let written = written.await?;
        if let Some(sent) = end {
            courier.agreement().await?;
            blocking(move || written.finish()).await?;
            return Ok(sent);
        }
        unnamed = Some(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terabyte_fits_into_ten_thousand_parts() {
        let whole: u64 = (0..10_000).map(|index| part_size(index) as u64).sum();
        assert!(whole > 1_000_000_000_000, "{whole}");
        // A database of etcd has at most 8 GB or so; below that all parts have one size.
        assert!((0..GROW).all(|index| part_size(index) == PART));
        assert!(part_size(9_999) <= 5 * 1024 * 1024 * 1024_usize);
    }
}
