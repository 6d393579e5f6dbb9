//! Pages of a tree, read by a thread of its own before a walk asks for them.
//!
//! The thread follows the branch pages in key order, as the walk will, and believes what they say: a page that it has read in
//! vain is passed over, and one that it has not read the walk reads by itself. So it changes no result, only when the bytes
//! are there. For a walk that has a processor's core to spare.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use crate::Source;
use crate::page::{ELEMENT_BYTES, Element, FIRST_TREE_PAGE, HEADER_BYTES, Header, PageKind, Payload};
use crate::window::WINDOW_BYTES;

/// Bytes that are handed over at once.
const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that wait for the walk.
const QUEUE: usize = 8;
/// Blocks that the walk looks into for what it needs.
const LOOK: usize = 2;
/// Leaves with so few pages between them are read at once, whatever those are.
const NEAR: u64 = 4;
/// Levels of branch pages that are followed.
const MAX_DEPTH: usize = 64;

/// Does work with a source that reads ahead, of a file with so many pages.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn reading_ahead<T>(
    source: &dyn Source,
    page_size: u64,
    pages: u64,
    work: impl FnOnce(&Prefetch<'_>) -> T,
) -> io::Result<T> {
    let (start, root) = channel();
    let (full, blocks) = sync_channel(QUEUE);
    let (used, empty) = channel();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("prefetch".to_owned()).spawn_scoped(scope, move || {
            let mut reader = Reader { source, page_size, pages, branches: 0, block: Block::default(), full, empty };
            // It ends early when nobody wants more, or by an error that the walk will meet by itself.
            let _ = root.recv().map_or(Ok(()), |root| reader.read(root));
        })?;
        let state = State { start: Some(start), blocks, used, queue: VecDeque::new() };
        let prefetch = Prefetch { source, state: Mutex::new(state) };
        let done = work(&prefetch);
        drop(prefetch);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(done)
    })
}

/// A source of which the pages of one tree may be there already.
pub(crate) struct Prefetch<'a> {
    source: &'a dyn Source,
    state: Mutex<State>,
}

struct State {
    /// Until the thread has something to do.
    start: Option<Sender<u64>>,
    blocks: Receiver<Block>,
    used: Sender<Block>,
    queue: VecDeque<Block>,
}

/// Ranges of the file in the order in which the walk should ask for them.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    filled: usize,
    /// Where a range starts in the file, and where it is in `bytes`.
    ranges: Vec<(u64, Range<usize>)>,
    /// The range that the walk is at, and how far it is in all of them.
    next: usize,
    taken: usize,
}

impl Prefetch<'_> {
    /// Begins with the tree of this root page. Only the first tree is read ahead.
    pub(crate) fn start(&self, root: u64) {
        if let Some(start) = self.lock().start.take() {
            // A thread that has ended reads nothing ahead.
            let _ = start.send(root);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Prefetch<'_> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.lock();
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let rest = &mut buffer[done..];
            let copied = state.copy(at, rest);
            if copied == 0 {
                return self.source.read_at(at, rest);
            }
            done += copied;
        }
        Ok(())
    }
}

impl State {
    /// Copies what is there of the bytes from an offset.
    fn copy(&mut self, offset: u64, to: &mut [u8]) -> usize {
        if self.start.is_some() {
            return 0;
        }
        if self.queue.front().is_some_and(Block::is_used_up) {
            self.drop_blocks(1);
        }
        let mut looked = 0;
        loop {
            for index in looked..self.queue.len() {
                if let Some(copied) = self.queue.get_mut(index).and_then(|block| block.copy(offset, to)) {
                    self.drop_blocks(index);
                    return copied;
                }
            }
            looked = self.queue.len();
            let more = match looked {
                // The thread is not behind for long.
                0 => self.blocks.recv().ok(),
                LOOK.. => None,
                _ => self.blocks.try_recv().ok(),
            };
            match more {
                Some(block) => self.queue.push_back(block),
                None => return 0,
            }
        }
    }

    fn drop_blocks(&mut self, count: usize) {
        for mut block in self.queue.drain(..count) {
            block.filled = 0;
            block.ranges.clear();
            (block.next, block.taken) = (0, 0);
            // The thread may have ended.
            let _ = self.used.send(block);
        }
    }
}

impl Block {
    fn is_used_up(&self) -> bool {
        self.taken == self.filled
    }

    fn copy(&mut self, offset: u64, to: &mut [u8]) -> Option<usize> {
        let found = |(start, range): &(u64, Range<usize>)| {
            let skip = usize::try_from(offset.checked_sub(*start)?).ok().filter(|&skip| skip < range.len())?;
            Some(range.start + skip..range.end)
        };
        let ahead = self.ranges.get(self.next..)?;
        let (index, range) = ahead.iter().enumerate().find_map(|(index, range)| Some((index, found(range)?)))?;
        let length = range.len().min(to.len());
        to[..length].copy_from_slice(self.bytes.get(range.start..range.start + length)?);
        self.next += index;
        self.taken = range.start + length;
        Some(length)
    }

    /// Room for bytes from an offset, as much as there is.
    fn room(&mut self, offset: u64, wanted: u64) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; BLOCK_BYTES];
        }
        let start = self.filled;
        let length =
            usize::try_from(wanted).map_or(BLOCK_BYTES, |wanted| wanted.min(BLOCK_BYTES)).min(BLOCK_BYTES - start);
        self.filled += length;
        match self.ranges.last_mut() {
            Some((at, range)) if *at + range.len() as u64 == offset => range.end = self.filled,
            _ => self.ranges.push((offset, start..self.filled)),
        }
        &mut self.bytes[start..self.filled]
    }
}

/// What reads ahead.
struct Reader<'a> {
    source: &'a dyn Source,
    page_size: u64,
    pages: u64,
    /// How many branch pages were read. In a tree there are not more than pages; damaged ones may lead in circles.
    branches: u64,
    block: Block,
    full: SyncSender<Block>,
    empty: Receiver<Block>,
}

impl Reader<'_> {
    fn read(&mut self, root: u64) -> io::Result<()> {
        let mut path = vec![vec![root]];
        while let Some(level) = path.last_mut() {
            let Some(id) = level.pop() else {
                path.pop();
                continue;
            };
            let Some(mut children) = self.children(id)? else { continue };
            match children.first() {
                Some(&first) if self.header(first)?.kind() == Some(PageKind::Leaf) => self.leaves(&children)?,
                Some(_) if path.len() < MAX_DEPTH => {
                    children.reverse();
                    path.push(children);
                }
                _ => {}
            }
        }
        self.hand_over()
    }

    fn header(&self, id: u64) -> io::Result<Header> {
        if !(FIRST_TREE_PAGE..self.pages).contains(&id) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut header = [0; HEADER_BYTES];
        self.source.read_at(id * self.page_size, &mut header)?;
        Header::parse(&header).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Where a branch page leads.
    fn children(&mut self, id: u64) -> io::Result<Option<Vec<u64>>> {
        let header = self.header(id)?;
        let bytes = usize::from(header.count) * ELEMENT_BYTES;
        let fits = bytes <= WINDOW_BYTES && ((HEADER_BYTES + bytes) as u64) <= self.page_size;
        self.branches += 1;
        if header.kind() != Some(PageKind::Branch) || !fits || self.branches > self.pages {
            return Ok(None);
        }
        let mut table = vec![0; bytes];
        self.source.read_at(id * self.page_size + HEADER_BYTES as u64, &mut table)?;
        let child = |element: &[u8]| match Element::parse_branch(element)?.payload {
            Payload::Child(id) => Some(id),
            Payload::Value { .. } => None,
        };
        Ok(Some(table.chunks_exact(ELEMENT_BYTES).filter_map(child).collect()))
    }

    /// Reads leaves with what they go on in; those that lie together at once.
    fn leaves(&mut self, ids: &[u64]) -> io::Result<()> {
        let mut first = None;
        for (index, &id) in ids.iter().enumerate() {
            let start = *first.get_or_insert(id);
            let next = ids.get(index + 1).copied();
            let near = next.is_some_and(|next| next > id && next - id <= NEAR);
            if near {
                continue;
            }
            let end = id + 1 + u64::from(self.header(id)?.overflow);
            if next == Some(end) {
                continue;
            }
            self.range(start * self.page_size, end.min(self.pages) * self.page_size)?;
            first = None;
        }
        Ok(())
    }

    fn range(&mut self, mut start: u64, end: u64) -> io::Result<()> {
        while start < end {
            if self.block.filled == BLOCK_BYTES {
                self.hand_over()?;
            }
            let room = self.block.room(start, end - start);
            self.source.read_at(start, room)?;
            start += room.len() as u64;
        }
        Ok(())
    }

    /// # Errors
    /// Nobody wants it.
    fn hand_over(&mut self) -> io::Result<()> {
        let empty = self.empty.try_recv().unwrap_or_default();
        let block = std::mem::replace(&mut self.block, empty);
        self.full.send(block).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const PAGE: u64 = 512;
    const PAGES: u64 = 4000;

    /// Pages of one tree: branch 2 over leaves that lie in order, in pieces, backwards and far apart, one of them long.
    fn file() -> (Vec<u8>, Vec<u64>) {
        let leaves: Vec<u64> = [10, 11, 13, 20, 24, 23, 22, 900, 30].into_iter().chain(2000..2012).collect();
        let mut bytes: Vec<u8> = (0..PAGE * PAGES).map(|at| (at % 251) as u8).collect();
        let mut page = |id: u64, flags: u16, count: usize, overflow: u32| {
            let at = (id * PAGE) as usize;
            let header =
                [&id.to_le_bytes()[..], &flags.to_le_bytes(), &(count as u16).to_le_bytes(), &overflow.to_le_bytes()];
            bytes[at..at + HEADER_BYTES].copy_from_slice(&header.concat());
        };
        leaves.iter().for_each(|&id| page(id, 2, 1, if id == 900 { 1000 } else { 0 }));
        page(2, 1, leaves.len(), 0);
        for (index, id) in leaves.iter().enumerate() {
            let at = 2 * PAGE as usize + HEADER_BYTES + index * ELEMENT_BYTES;
            bytes[at..at + ELEMENT_BYTES].copy_from_slice(&[[0; 8], id.to_le_bytes()].concat());
        }
        (bytes, leaves)
    }

    /// Counts what it is asked for by the thread that walks.
    struct Counted(Vec<u8>, AtomicU64);

    impl Source for Counted {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            let walks = std::thread::current().name() != Some("prefetch");
            self.1.fetch_add(walks.into(), Ordering::Relaxed);
            self.0.read_at(offset, buffer)
        }
    }

    #[test]
    fn whatever_is_asked_for_is_what_is_there() -> io::Result<()> {
        let (bytes, leaves) = file();
        let orders = [leaves.clone(), leaves.iter().rev().copied().collect(), leaves.iter().skip(8).copied().collect()];
        for order in orders {
            reading_ahead(&bytes, PAGE, PAGES, |prefetch| {
                prefetch.start(2);
                for id in order {
                    for (skip, length) in [(0, 16), (0, 512), (100, 900), (0, 300_000), (511, 1)] {
                        let mut read = vec![0; length];
                        let at = id * PAGE + skip;
                        prefetch.read_at(at, &mut read).expect("within the file");
                        assert_eq!(read, bytes[at as usize..at as usize + length], "{length} bytes at {at}");
                    }
                }
            })?;
        }
        Ok(())
    }

    #[test]
    fn leaves_in_their_order_are_there_already() -> io::Result<()> {
        let (bytes, leaves) = file();
        let source = Counted(bytes, AtomicU64::new(0));
        reading_ahead(&source, PAGE, PAGES, |prefetch| {
            prefetch.start(2);
            for id in leaves {
                // As a walk does: what a leaf goes on in, too.
                let pages = if id == 900 { 1001 } else { 1 };
                let mut page = [0; PAGE as usize];
                (id..id + pages).try_for_each(|id| prefetch.read_at(id * PAGE, &mut page)).expect("within the file");
            }
        })?;
        assert_eq!(source.1.into_inner(), 0);
        Ok(())
    }

    #[test]
    fn pages_in_circles_and_out_of_the_file_end_it() -> io::Result<()> {
        for child in [2, 3, PAGES, u64::MAX] {
            let (mut bytes, _) = file();
            let at = 2 * PAGE as usize + HEADER_BYTES + 8;
            bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(child));
            let mut page = [0; PAGE as usize];
            reading_ahead(&bytes, PAGE, PAGES, |prefetch| {
                prefetch.start(2);
                prefetch.read_at(10 * PAGE, &mut page)
            })??;
            assert_eq!(page[16..], bytes[10 * PAGE as usize + 16..11 * PAGE as usize]);
        }
        Ok(())
    }
}
