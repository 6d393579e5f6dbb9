//! Pages to a file, one behind the other, written by a thread of its own while the next ones are made.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::meta::fnv1a;
use crate::page::{FIRST_TREE_PAGE, HEADER_BYTES};

/// Bytes that are written at once.
const CHUNK: usize = 256 << 10;
/// How many chunks wait for the thread.
const QUEUE: usize = 8;
/// After so many chunks the disk begins to take them, so that it has little left to do at the end.
const FLUSH: usize = 256;

/// Transactions that the meta pages name: bbolt writes that of an even one to page 0 and of an odd one to page 1.
const TRANSACTIONS: [u64; 2] = [2, 3];

/// What a page is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    Branch = 0x01,
    Leaf = 0x02,
    Meta = 0x04,
    Freelist = 0x10,
}

/// The header of a page with so many further pages behind it.
pub(super) fn header(id: u64, body: Body, count: usize, overflow: u64) -> io::Result<[u8; HEADER_BYTES]> {
    let too_many = |_| io::Error::new(io::ErrorKind::InvalidData, "more than a page can have");
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&id.to_le_bytes());
    header[8..10].copy_from_slice(&(body as u16).to_le_bytes());
    header[10..12].copy_from_slice(&u16::try_from(count).map_err(too_many)?.to_le_bytes());
    header[12..].copy_from_slice(&u32::try_from(overflow).map_err(too_many)?.to_le_bytes());
    Ok(header)
}

/// A database file, of which all pages before the next one are written or on their way.
pub(super) struct Pages {
    page_size: u64,
    /// Bytes so far.
    offset: u64,
    chunk: Vec<u8>,
    thread: Thread,
}

impl Pages {
    pub(super) fn start(file: File, page_size: u32) -> io::Result<Self> {
        let mut pages = Self {
            page_size: u64::from(page_size),
            offset: 0,
            chunk: Vec::with_capacity(CHUNK),
            thread: Thread::start(file)?,
        };
        // The meta pages come last, when it is known what they lead to.
        pages.zeros(FIRST_TREE_PAGE * pages.page_size)?;
        Ok(pages)
    }

    pub(super) fn page_size(&self) -> u64 {
        self.page_size
    }

    /// Writes a page's header and gives its id. So many bytes must follow, then [`end`](Self::end).
    pub(super) fn begin(&mut self, body: Body, count: usize, bytes: u64) -> io::Result<u64> {
        let id = self.offset / self.page_size;
        let pages = (HEADER_BYTES as u64 + bytes).div_ceil(self.page_size);
        self.write(&header(id, body, count, pages - 1)?)?;
        Ok(id)
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.offset += bytes.len() as u64;
        // The elements of a page come one by one.
        if bytes.len() < CHUNK - self.chunk.len() {
            self.chunk.extend_from_slice(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK {
                self.chunk = self.thread.give(std::mem::take(&mut self.chunk))?;
            }
        }
        Ok(())
    }

    /// Fills the page up.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.zeros(self.offset.next_multiple_of(self.page_size) - self.offset)
    }

    /// Writes an empty freelist, which spares etcd a walk through the whole database when it first opens it, and the meta pages.
    /// The file still has to be synced.
    pub(super) fn finish(mut self, root: u64) -> io::Result<File> {
        let freelist = self.begin(Body::Freelist, 0, 0)?;
        self.end()?;
        let pages = self.offset / self.page_size;
        self.thread.give(std::mem::take(&mut self.chunk))?;
        let mut file = self.thread.finish()?;
        for (id, transaction) in (0..).zip(TRANSACTIONS) {
            let mut meta = [0; 64];
            let page_size = u32::try_from(self.page_size).map_err(io::Error::other)?;
            for (to, word) in meta.chunks_exact_mut(4).zip([crate::meta::MAGIC, crate::meta::VERSION, page_size, 0]) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            for (to, word) in meta[16..].chunks_exact_mut(8).zip([root, 0, freelist, pages, transaction]) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            let checksum = fnv1a(&meta[..56]);
            meta[56..].copy_from_slice(&checksum.to_le_bytes());
            file.seek(io::SeekFrom::Start(id * self.page_size))?;
            file.write_all(&header(id, Body::Meta, 0, 0)?)?;
            file.write_all(&meta)?;
        }
        Ok(file)
    }

    fn zeros(&mut self, bytes: u64) -> io::Result<()> {
        const ZEROS: [u8; 1 << 10] = [0; 1 << 10];
        let mut left = bytes;
        while left > 0 {
            let length = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.write(&ZEROS[..length])?;
            left -= length as u64;
        }
        Ok(())
    }
}

/// Writes chunks and gives their memory back.
struct Thread {
    /// `None` once no more come.
    chunks: Option<SyncSender<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    handle: Option<JoinHandle<io::Result<File>>>,
}

impl Thread {
    fn start(mut file: File) -> io::Result<Self> {
        let (chunks, to_write) = sync_channel::<Vec<u8>>(QUEUE);
        let (written, empty) = channel();
        let (flush, flushes) = sync_channel(1);
        let same = file.try_clone()?;
        let flusher = std::thread::Builder::new()
            .name("flush".to_owned())
            .spawn(move || flushes.into_iter().try_for_each(|()| same.sync_data()))?;
        let handle = std::thread::Builder::new().name("write".to_owned()).spawn(move || {
            let write_all = (1_usize..).zip(to_write).try_for_each(|(number, mut chunk)| {
                file.write_all(&chunk)?;
                chunk.clear();
                // Whoever does not want it back has ended.
                let _ = written.send(chunk);
                if number.is_multiple_of(FLUSH) {
                    // A disk that is behind has enough to do.
                    let _ = flush.try_send(());
                }
                Ok(())
            });
            drop(flush);
            // The system tells an error of the disk once: to whoever asks first. And the file is closed when it is ended.
            let flushed = flusher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            write_all.and(flushed)?;
            Ok(file)
        })?;
        Ok(Self { chunks: Some(chunks), empty, handle: Some(handle) })
    }

    /// Takes a full chunk for an empty one.
    fn give(&mut self, chunk: Vec<u8>) -> io::Result<Vec<u8>> {
        let sent = self.chunks.as_ref().is_some_and(|chunks| chunks.send(chunk).is_ok());
        if !sent {
            // It ends early only by an error.
            self.finish()?;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK)))
    }

    fn finish(&mut self) -> io::Result<File> {
        self.chunks = None;
        let handle = self.handle.take().ok_or(io::ErrorKind::BrokenPipe)?;
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The file is closed when this is gone: it may be about to be removed.
impl Drop for Thread {
    fn drop(&mut self) {
        self.chunks = None;
        if let Some(handle) = self.handle.take() {
            // Its error has nobody to hear it: something else has failed before.
            let _ = handle.join();
        }
    }
}
