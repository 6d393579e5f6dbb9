//! The bytes of a stored object: read once, hashed and compared on the way, and opened.

use std::io::{self, Write};
use std::ops::ControlFlow;

use bytes::{Buf, Bytes};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::Found;
use crate::digest::Sha256;
use crate::layout::{Key, Part};
use crate::node_files::{Limits, NodeFile, NodeFilesError, read_node_files};
use crate::{Identities, OpenError, StoreError, StoredObject, open_sealed};

/// Pieces that wait between the network and the disk.
const WAITING: usize = 4;
/// Bytes that are unpacked at once.
const PIECE: usize = 256 << 10;

/// Is told after every piece how many bytes of the stored object have come, on a thread that may block. [`ControlFlow::Break`] ends the
/// transfer.
pub trait Watch: FnMut(u64) -> ControlFlow<()> + Send + 'static {}

impl<F: FnMut(u64) -> ControlFlow<()> + Send + 'static> Watch for F {}

/// The bytes of an object cannot be had, or are not what is recorded.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored bytes are others than those that are recorded.
    #[error("{object} is damaged or was replaced: {why}")]
    Changed {
        /// The object.
        object: String,
        /// In what it differs.
        why: String,
    },
    /// No identity is given, or none fits.
    #[error("{object} is encrypted for {}, and {}", .recipients.join(", "), identities_of(.own))]
    NoIdentityFits {
        /// The object.
        object: String,
        /// For whom it is encrypted, as it is recorded.
        recipients: Vec<String>,
        /// The recipients of the identities that were given.
        own: Vec<String>,
    },
    /// The bytes are those that are recorded, and cannot be opened.
    #[error("{object} has the bytes that are recorded, and cannot be opened: {why}")]
    Unreadable {
        /// The object.
        object: String,
        /// Why not.
        why: String,
    },
    /// What came out of it is not what is recorded.
    #[error("{object} does not hold the snapshot that is recorded: {why}")]
    OtherContent {
        /// The object.
        object: String,
        /// In what it differs.
        why: String,
    },
    /// It cannot be written to where it was to go.
    #[error("cannot write what was read")]
    Write(#[source] io::Error),
    /// It was ended by who watches it.
    #[error("the transfer was ended")]
    Ended,
}

fn identities_of(own: &[String]) -> String {
    match own {
        [] => "no identity is given".to_owned(),
        [one] => format!("the identity that is given is of {one}"),
        many => format!("the identities that are given are of {}", many.join(", ")),
    }
}

/// Why work on the bytes of an object ended.
enum Stop {
    /// Reading: what was sealed, or where it came from.
    Read(io::Error),
    /// The opened bytes are not those that are recorded.
    Content(String),
    /// Writing.
    Write(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Read(error)
    }
}

impl Found {
    /// Whether one of the identities decrypts an object, by what is recorded. What is in clear needs none.
    ///
    /// # Errors
    /// [`TransferError::NoIdentityFits`].
    pub fn fits(&self, object: &StoredObject, identities: Option<&Identities>) -> Result<(), TransferError> {
        if object.recipients.is_empty() || identities.is_some_and(|identities| identities.fit(&object.recipients)) {
            return Ok(());
        }
        Err(TransferError::NoIdentityFits {
            object: object.name.clone(),
            recipients: object.recipients.clone(),
            own: identities.map(Identities::recipients).unwrap_or_default(),
        })
    }

    /// Reads the snapshot, decrypts and unpacks it to `target`, and compares both with the record: of the stored bytes size and SHA-256, and
    /// of the snapshot, too. What was written counts only after this has returned without an error; `target` is given back then.
    ///
    /// Must be called in a tokio runtime. Dropping the future ends the transfer.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn open<W: Write + Send + 'static>(
        &self,
        identities: Option<&Identities>,
        mut target: W,
        watch: impl Watch,
    ) -> Result<W, TransferError> {
        self.fits(self.data(), identities)?;
        let (encrypted, identities) = (self.backup.encrypted, identities.cloned().unwrap_or_default());
        let recorded = self.record.snapshot.clone();
        self.pass(&self.backup.data(), self.data(), watch, move |source| {
            let mut hash = Sha256::new();
            let mut written = 0_u64;
            let mut opened = open_sealed(source, encrypted, &identities)?;
            each_piece(&mut opened, |piece| {
                written += piece.len() as u64;
                if written > recorded.size {
                    return Err(Stop::Content(format!(
                        "it is larger than the {} bytes that are recorded",
                        recorded.size
                    )));
                }
                hash.update(piece);
                target.write_all(piece).map_err(Stop::Write)
            })?;
            let sha256 = hash.finish();
            if written != recorded.size {
                return Err(Stop::Content(format!("it has {written} bytes, and {} are recorded", recorded.size)));
            }
            if !sha256.eq_ignore_ascii_case(&recorded.sha256) {
                return Err(Stop::Content(format!("its SHA-256 is {sha256}, and {} is recorded", recorded.sha256)));
            }
            target.flush().map_err(Stop::Write)?;
            Ok(target)
        })
        .await
    }

    /// Reads node files, decrypts and unpacks them, and keeps nothing of them.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn open_node_files(
        &self,
        object: &StoredObject,
        identities: &Identities,
        watch: impl Watch,
    ) -> Result<(), TransferError> {
        self.node_files(object, identities, watch, (), |(), _| {}).await
    }

    /// Reads node files, decrypts and unpacks them, and gives each to `take`, which adds to `taken` what it wants of it. What was taken counts only after
    /// this has returned without an error.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn node_files<T: Send + 'static>(
        &self,
        object: &StoredObject,
        identities: &Identities,
        watch: impl Watch,
        mut taken: T,
        take: fn(&mut T, NodeFile),
    ) -> Result<T, TransferError> {
        self.fits(object, Some(identities))?;
        let identities = identities.clone();
        self.pass(&self.backup.key(Part::NodeFiles), object, watch, move |source| {
            let opened = open_sealed(source, true, &identities)?;
            let read = read_node_files(opened, Limits::default(), |file| {
                take(&mut taken, file);
                Ok(())
            });
            read.map(|()| taken).map_err(|error| match error {
                NodeFilesError::Io(error) => Stop::Read(error),
                error => Stop::Read(io::Error::new(io::ErrorKind::InvalidData, OpenError::Damaged(error.to_string()))),
            })
        })
        .await
    }

    /// Reads an object and passes its bytes on as they are. They count only after this has returned without an error.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn read_as_it_is<W: Write + Send + 'static>(
        &self,
        key: &Key,
        object: &StoredObject,
        mut target: W,
        watch: impl Watch,
    ) -> Result<W, TransferError> {
        self.pass(key, object, watch, move |source| {
            each_piece(source, |piece| target.write_all(piece).map_err(Stop::Write))?;
            target.flush().map_err(Stop::Write)?;
            Ok(target)
        })
        .await
    }

    /// Reads an object as a stream on a thread that may block, and compares its bytes with what is recorded, whatever came of the work.
    async fn pass<T: Send + 'static>(
        &self,
        key: &Key,
        object: &StoredObject,
        watch: impl Watch,
        work: impl FnOnce(&mut Incoming) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, TransferError> {
        let name = object.name.clone();
        let changed = |why: String| TransferError::Changed { object: name.clone(), why };
        let download = self.store.download(key).await?;
        if download.size != object.size {
            return Err(changed(format!("it has {} bytes, and {} are recorded", download.size, object.size)));
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut incoming = Incoming {
            pieces: receiver,
            piece: Bytes::new(),
            hash: Sha256::new(),
            came: 0,
            size: object.size,
            watch: Box::new(watch),
            stop: None,
        };
        let worker = tokio::task::spawn_blocking(move || {
            let done = work(&mut incoming);
            if matches!(done, Ok(_) | Err(Stop::Read(_) | Stop::Content(_))) {
                incoming.drain();
            }
            // Nobody waits for room any more.
            incoming.pieces.close();
            (done, incoming)
        });
        let mut stream = download.stream;
        while let Some(piece) = stream.next().await {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        drop((sender, stream));
        let (done, incoming) = worker.await.map_err(|error| TransferError::Write(io::Error::other(error)))?;
        match (incoming.stop, done) {
            (Some(Ending::Store(error)), _) => return Err(error.into()),
            (Some(Ending::Watch), _) => return Err(TransferError::Ended),
            (None, Err(Stop::Write(error))) => return Err(TransferError::Write(error)),
            (None, done) => {
                let sha256 = incoming.hash.finish();
                if incoming.came != object.size || !sha256.eq_ignore_ascii_case(&object.sha256) {
                    return Err(changed(format!("its SHA-256 is {sha256}, and {} is recorded", object.sha256)));
                }
                done
            }
        }
        .map_err(|stop| match stop {
            Stop::Write(error) => TransferError::Write(error),
            Stop::Content(why) => TransferError::OtherContent { object: name.clone(), why },
            Stop::Read(error) => TransferError::Unreadable { object: name.clone(), why: error.to_string() },
        })
    }
}

fn each_piece(source: &mut impl io::Read, mut take: impl FnMut(&[u8]) -> Result<(), Stop>) -> Result<(), Stop> {
    let mut buffer = vec![0; PIECE];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => take(buffer.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Stop::Read(error)),
        }
    }
}

/// Why no more comes.
enum Ending {
    Store(StoreError),
    Watch,
}

/// The bytes of an object as they come.
struct Incoming {
    pieces: mpsc::Receiver<Result<Bytes, StoreError>>,
    piece: Bytes,
    hash: Sha256,
    came: u64,
    size: u64,
    watch: Box<dyn FnMut(u64) -> ControlFlow<()> + Send>,
    stop: Option<Ending>,
}

impl Incoming {
    /// Reads what nobody wanted: the hash is of all bytes.
    fn drain(&mut self) {
        // Why reading ends is in `stop`.
        let _ = io::copy(self, &mut io::sink());
    }
}

impl io::Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ended = || io::Error::new(io::ErrorKind::ConnectionAborted, "the transfer has ended");
        if self.stop.is_some() {
            return Err(ended());
        }
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => {
                    self.hash.update(&piece);
                    self.came += piece.len() as u64;
                    self.piece = piece;
                    if (self.watch)(self.came).is_break() {
                        self.stop = Some(Ending::Watch);
                        return Err(ended());
                    }
                }
                Some(Err(error)) => {
                    self.stop = Some(Ending::Store(error));
                    return Err(ended());
                }
                None if self.came < self.size => {
                    // Whoever waited for this does not any more.
                    self.stop = Some(Ending::Watch);
                    return Err(ended());
                }
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        let (taken, _) = self.piece.split_at(count);
        if let Some(room) = buffer.get_mut(..count) {
            room.copy_from_slice(taken);
        }
        self.piece.advance(count);
        Ok(count)
    }
}
