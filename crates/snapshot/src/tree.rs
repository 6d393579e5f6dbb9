//! A B+tree of pages, walked in key order, checked as it goes.

use crc32c::crc32c_append;

use crate::finding::Findings;
use crate::page::{
    ELEMENT_BYTES, Element, FIRST_TREE_PAGE, HEADER_BYTES, Header, MAX_KEY_BYTES, PageKind, PageSet, Payload,
};
use crate::prefetch::Prefetch;
use crate::pulse::Pulse;
use crate::window::{WINDOW_BYTES, Window};
use crate::{Finding, FindingKind, Source, VerifyError};

/// Pages between a tree's root and a leaf. A tree of the smallest pages and longest keys stays far below.
const MAX_DEPTH: usize = 64;

/// What all trees of a file have in common.
pub(crate) struct Walk<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) page_size: u64,
    /// Number of pages; the file is at least as long.
    pub(crate) pages: u64,
    pub(crate) reached: PageSet,
    pub(crate) findings: Findings,
    pub(crate) pulse: &'a Pulse<'a>,
    /// Branch pages with one child: how many, and the first of them.
    pub(crate) single_children: u64,
    pub(crate) first_single_child: u64,
    /// A walk over pages that are walked, or counted, in another one: it is no progress.
    pub(crate) aside: bool,
    /// The source itself, and one that reads ahead, if there is one.
    plain: &'a dyn Source,
    prefetch: Option<&'a Prefetch<'a>>,
    reads_ahead: bool,
    ahead: Ahead,
}

/// Pages read before they are asked for, as long as they are asked for one after the other.
#[derive(Debug, Default)]
struct Ahead {
    window: Window,
    end: u64,
    reach: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        source: &'a dyn Source,
        page_size: u64,
        pages: u64,
        findings: Findings,
        pulse: &'a Pulse<'a>,
    ) -> Self {
        let reached = PageSet::new(pages);
        Self {
            source,
            page_size,
            pages,
            reached,
            findings,
            pulse,
            single_children: 0,
            first_single_child: 0,
            aside: false,
            plain: source,
            prefetch: None,
            reads_ahead: false,
            ahead: Ahead::default(),
        }
    }

    /// The same walk, which may read ahead in one large tree.
    pub(crate) fn with_prefetch(self, prefetch: &'a Prefetch<'a>) -> Self {
        Self { prefetch: Some(prefetch), ..self }
    }

    /// From here on, this large tree is walked.
    pub(crate) fn read_ahead(&mut self, root: Root) {
        if let (Some(prefetch), Root::Page(id)) = (self.prefetch, root) {
            prefetch.start(id);
            self.source = prefetch;
            self.reads_ahead = true;
        }
    }

    /// Puts a page, or what fits of it, into a window.
    fn load(&mut self, offset: u64, window: &mut Window) -> Result<(), VerifyError> {
        let page = usize::try_from(self.page_size).map_or(WINDOW_BYTES, |page| page.min(WINDOW_BYTES));
        if self.reads_ahead {
            window.clear();
            window.get(self.source, offset, page, offset + page as u64)?;
            return Ok(());
        }
        let Ahead { window: ahead, end, reach } = &mut self.ahead;
        if ahead.slice(offset, page).is_none() {
            *reach = if offset == *end { (*reach * 2).clamp(page, WINDOW_BYTES) } else { page };
            let rest = (self.pages * self.page_size).saturating_sub(offset);
            let length = usize::try_from(rest).map_or(*reach, |rest| rest.min(*reach));
            ahead.clear();
            ahead.get(self.source, offset, length, offset + length as u64)?;
            *end = offset + length as u64;
        }
        window.set(offset, ahead.slice(offset, page).unwrap_or_default());
        Ok(())
    }

    /// Another walk through the same file. Its findings are those of this one, too.
    pub(crate) fn aside(&self) -> Self {
        Self { aside: true, ..Self::new(self.plain, self.page_size, self.pages, Findings::new(1), self.pulse) }
    }
}

/// Bytes of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A leaf's element whose place is within its page. Its key is [`Tree::key`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) flags: u32,
    pub(crate) value: Span,
    /// The page it is in, and where in the file its element is.
    pub(crate) page: u64,
    pub(crate) offset: u64,
}

/// Where a tree starts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Root {
    Page(u64),
    /// A leaf inside an element of a page.
    Inline {
        page: u64,
        span: Span,
    },
}

/// A walk through one tree. Its buffers serve the next one again.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The path from the root, `depth` long; frames beyond are spare buffers.
    frames: Vec<Frame>,
    depth: usize,
    /// The last leaf key.
    key: Vec<u8>,
    has_key: bool,
    /// The key by which a branch led here: the first key of the page must be the same.
    expected: Vec<u8>,
    has_expected: bool,
    scratch: Vec<u8>,
    hash: u32,
    /// The hash before the leaf of the last entry, and before that entry unless it is in the run.
    leaf_hash: u32,
    entry_hash: u32,
    run: Run,
    /// Of each page only the last element is looked at: the first entry is the last one of the tree.
    only_last: bool,
}

/// Entries one after the other in a page that is all in memory: they go into the hash at once.
#[derive(Debug, Default)]
struct Run {
    start: u64,
    end: u64,
    /// Where the last entry starts, if it is one of them.
    last: Option<u64>,
}

#[derive(Debug, Default)]
struct Frame {
    page: u64,
    branch: bool,
    base: u64,
    end: u64,
    count: u16,
    next: u16,
    /// Where the last element's bytes end; the next one's lie behind, so that no byte is read twice.
    data_end: u64,
    /// All of the page is in `table`.
    whole: bool,
    /// A branch's last key.
    key: Vec<u8>,
    table: Window,
    data: Window,
}

impl Frame {
    fn start(&mut self, page: u64, branch: bool, span: Span, count: u16) {
        self.page = page;
        self.branch = branch;
        self.base = span.offset;
        self.end = span.offset + span.length;
        self.count = count;
        self.next = 0;
        self.data_end = span.offset + HEADER_BYTES as u64 + u64::from(count) * ELEMENT_BYTES as u64;
        self.key.clear();
        self.data.clear();
        self.whole = usize::try_from(span.length).is_ok_and(|length| self.table.slice(span.offset, length).is_some());
    }

    /// The next element of a leaf that is all in memory, unless something about it is wrong: its key, its value and its flags.
    #[inline]
    fn sound(&self) -> Option<(&[u8], Span, u32)> {
        if !self.whole || self.branch || self.next == self.count {
            return None;
        }
        let page = self.table.from(self.base)?;
        let at = HEADER_BYTES + usize::from(self.next) * ELEMENT_BYTES;
        let Element { pos, key_bytes, payload } = Element::parse_leaf(page.get(at..at + ELEMENT_BYTES)?)?;
        let Payload::Value { flags, bytes } = payload else { return None };
        let key = page.get(at + pos as usize..)?.get(..key_bytes as usize)?;
        let key_at = self.base + at as u64 + u64::from(pos);
        let value = Span { offset: key_at + u64::from(key_bytes), length: u64::from(bytes) };
        let fits = key_at >= self.data_end && value.offset + value.length <= self.end;
        (fits && (1..=MAX_KEY_BYTES).contains(&key_bytes)).then_some((key, value, flags))
    }

    /// Key or value bytes within the page, at most a window's worth.
    fn bytes(&mut self, source: &dyn Source, offset: u64, length: usize) -> Result<&[u8], VerifyError> {
        let window = if self.table.holds(offset, length) { &mut self.table } else { &mut self.data };
        Ok(window.get(source, offset, length, self.end)?)
    }
}

impl Tree {
    /// A walk whose only entry is the last one of its tree.
    pub(crate) fn of_the_last() -> Self {
        Self { only_last: true, ..Self::default() }
    }

    /// Goes to the start of a tree.
    pub(crate) fn enter(&mut self, walk: &mut Walk<'_>, root: Root) -> Result<(), VerifyError> {
        self.depth = 0;
        self.has_key = false;
        self.has_expected = false;
        self.run = Run::default();
        match root {
            Root::Page(id) => self.push_page(walk, id, None),
            Root::Inline { page, span } => self.push_inline(walk, page, span),
        }
    }

    /// CRC-32C over the keys and values of all entries so far, from the one that was set on. An entry's value is in it only
    /// once it was streamed by [`value`](Self::value).
    pub(crate) fn hash(&mut self) -> u32 {
        self.flush();
        self.hash
    }

    /// To be called before the first entry.
    pub(crate) fn set_hash(&mut self, hash: u32) {
        self.run = Run::default();
        self.hash = hash;
        self.leaf_hash = hash;
    }

    /// The hash before the page of the entry that [`next`](Self::next) gave last.
    pub(crate) fn leaf_hash(&self) -> u32 {
        self.leaf_hash
    }

    /// Takes the entry that [`next`](Self::next) gave last, and whose value was not streamed, out of the hash.
    pub(crate) fn leave_out(&mut self) {
        match self.run.last.take() {
            Some(start) => self.run.end = start,
            None => self.hash = self.entry_hash,
        }
    }

    fn flush(&mut self) {
        let Run { start, end, .. } = std::mem::take(&mut self.run);
        let frame = self.depth.checked_sub(1).and_then(|top| self.frames.get(top));
        let bytes = frame.and_then(|frame| frame.table.slice(start, usize::try_from(end - start).ok()?));
        self.hash = crc32c_append(self.hash, bytes.unwrap_or_default());
    }

    /// The key of the entry that [`next`](Self::next) gave last.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The next entry in key order. What is damaged is reported to `walk` and left out.
    #[inline]
    pub(crate) fn next(&mut self, walk: &mut Walk<'_>) -> Result<Option<Entry>, VerifyError> {
        match self.next_in_leaf() {
            Some(entry) => Ok(Some(entry)),
            None => self.next_anywhere(walk),
        }
    }

    fn next_anywhere(&mut self, walk: &mut Walk<'_>) -> Result<Option<Entry>, VerifyError> {
        while let Some(frame) = self.depth.checked_sub(1).and_then(|top| self.frames.get_mut(top)) {
            if frame.next == frame.count {
                self.flush();
                self.depth -= 1;
                continue;
            }
            let offset = frame.base + HEADER_BYTES as u64 + u64::from(frame.next) * ELEMENT_BYTES as u64;
            let page = frame.page;
            let first = frame.next == 0;
            frame.next += 1;
            let expected = std::mem::take(&mut self.has_expected);

            let raw = frame.table.get(walk.source, offset, ELEMENT_BYTES, frame.end)?;
            let element = if frame.branch { Element::parse_branch(raw) } else { Element::parse_leaf(raw) };
            let Some(element) = element else { continue };
            let Some((key_at, value)) = place(frame, offset, &element) else {
                walk.findings.push(|| misplaced(frame, &element).page(page).offset(offset));
                continue;
            };
            frame.data_end = value.offset + value.length;
            if element.key_bytes == 0 || element.key_bytes > MAX_KEY_BYTES {
                let message = format!("key of {} bytes instead of 1 to {MAX_KEY_BYTES}", element.key_bytes);
                walk.findings.push(|| Finding::new(FindingKind::KeySize, message).page(page).offset(offset));
                continue;
            }
            self.scratch.clear();
            self.scratch.extend_from_slice(frame.bytes(walk.source, key_at, element.key_bytes as usize)?);
            let key = &self.scratch;
            if expected && *key != self.expected {
                let message = "not the key by which the branch page leads here";
                walk.findings.push(|| Finding::new(FindingKind::BranchKey, message).page(page).offset(offset).key(key));
            }
            let before = match element.payload {
                Payload::Child(_) => (!first).then_some(&frame.key),
                Payload::Value { .. } => self.has_key.then_some(&self.key),
            };
            if before.is_some_and(|before| key <= before) {
                let message = "key is not above the one before it";
                walk.findings.push(|| Finding::new(FindingKind::KeyOrder, message).page(page).offset(offset).key(key));
            }
            match element.payload {
                Payload::Value { flags, .. } => {
                    std::mem::swap(&mut self.key, &mut self.scratch);
                    self.has_key = true;
                    let whole = frame.whole;
                    if !whole || self.run.end != key_at {
                        self.flush();
                        self.run = Run { start: key_at, end: key_at, last: None };
                    }
                    if whole {
                        self.run.last = Some(key_at);
                        self.run.end = value.offset + value.length;
                    } else {
                        self.entry_hash = self.hash;
                        self.hash = crc32c_append(self.hash, &self.key);
                    }
                    return Ok(Some(Entry { flags, value, page, offset }));
                }
                Payload::Child(child) => {
                    self.expected.clone_from(key);
                    self.has_expected = true;
                    std::mem::swap(&mut frame.key, &mut self.scratch);
                    self.push_page(walk, child, Some((page, offset)))?;
                }
            }
        }
        Ok(None)
    }

    /// The next entry, if it is in the same leaf and all is well with it: most are. Of any other one this changes nothing.
    #[inline]
    fn next_in_leaf(&mut self) -> Option<Entry> {
        let frame = self.depth.checked_sub(1).and_then(|top| self.frames.get_mut(top))?;
        let (key, value, flags) = frame.sound()?;
        let key_at = value.offset - key.len() as u64;
        // The first one has more to be compared with, and a run starts with it.
        if self.has_expected || !self.has_key || self.run.last.is_none() || self.run.end != key_at || *key <= *self.key
        {
            return None;
        }
        self.key.clear();
        self.key.extend_from_slice(key);
        let offset = frame.base + HEADER_BYTES as u64 + u64::from(frame.next) * ELEMENT_BYTES as u64;
        let page = frame.page;
        frame.next += 1;
        frame.data_end = value.offset + value.length;
        self.run.last = Some(key_at);
        self.run.end = frame.data_end;
        Some(Entry { flags, value, page, offset })
    }

    /// Streams a value of the entry that [`next`](Self::next) gave last. Only the last piece is shorter than a window; a
    /// value without bytes has no piece.
    pub(crate) fn value(
        &mut self,
        walk: &Walk<'_>,
        value: Span,
        mut piece: impl FnMut(&[u8]) -> Result<(), VerifyError>,
    ) -> Result<(), VerifyError> {
        let Some(frame) = self.depth.checked_sub(1).and_then(|top| self.frames.get_mut(top)) else { return Ok(()) };
        if self.run.last.is_some()
            && value.length > 0
            && let Some(bytes) =
                usize::try_from(value.length).ok().and_then(|length| frame.table.slice(value.offset, length))
        {
            return piece(bytes);
        }
        let mut done = 0;
        while done < value.length {
            let length = usize::try_from(value.length - done).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            let bytes = frame.bytes(walk.source, value.offset + done, length)?;
            if self.run.last.is_none() {
                self.hash = crc32c_append(self.hash, bytes);
            }
            piece(bytes)?;
            done += length as u64;
            walk.pulse.check()?;
        }
        Ok(())
    }

    /// Goes down to a page. One that cannot be walked is reported and left out.
    fn push_page(&mut self, walk: &mut Walk<'_>, id: u64, from: Option<(u64, u64)>) -> Result<(), VerifyError> {
        let refused = |walk: &mut Walk<'_>, kind, message: String| {
            walk.findings.push(|| match from {
                Some((page, offset)) if kind == FindingKind::PageReference => {
                    Finding::new(kind, message).page(page).offset(offset)
                }
                _ => Finding::new(kind, message).page(id),
            });
        };
        let root = from.is_none();
        if self.depth >= MAX_DEPTH {
            self.has_expected = false;
            refused(walk, FindingKind::TreeDepth, format!("more than {MAX_DEPTH} pages deep"));
            return Ok(());
        }
        if self.frames.len() == self.depth {
            self.frames.push(Frame::default());
        }
        let Some(frame) = self.frames.get_mut(self.depth) else { return Ok(()) };
        let (header, span) = match open_page(walk, id, &mut frame.table)? {
            Ok(opened) => opened,
            Err((kind, message)) => {
                self.has_expected = false;
                refused(walk, kind, message);
                return Ok(());
            }
        };
        let branch = match header.kind() {
            Some(PageKind::Branch) => true,
            Some(PageKind::Leaf) => false,
            _ => {
                self.has_expected = false;
                let message = format!("page {id} has flags {:#x}, neither branch nor leaf", header.flags);
                refused(walk, FindingKind::PageHeader, message);
                return Ok(());
            }
        };
        if let Some(message) = miscounted(&header, span) {
            self.has_expected = false;
            refused(walk, FindingKind::PageHeader, message);
            return Ok(());
        }
        match header.count {
            0 if branch => refused(walk, FindingKind::BranchChildren, "branch page without children".to_owned()),
            1 if branch => {
                if walk.single_children == 0 {
                    walk.first_single_child = id;
                }
                walk.single_children += 1;
            }
            0 if !root => refused(walk, FindingKind::EmptyLeaf, "empty leaf below a branch page".to_owned()),
            _ => {}
        }
        if header.count == 0 {
            self.has_expected = false;
        }
        if let Some(length) = usize::try_from(span.length).ok().filter(|&length| length <= WINDOW_BYTES) {
            frame.table.get(walk.source, span.offset, length, span.offset + span.length)?;
        }
        frame.start(id, branch, span, header.count);
        if self.only_last {
            // Not the first one, which is the one that a branch names.
            frame.next = header.count.saturating_sub(1);
            self.has_expected = false;
        }
        self.leaf_hash = self.hash;
        self.depth += 1;
        if walk.aside { walk.pulse.check() } else { walk.pulse.add_walked(span.length) }
    }

    fn push_inline(&mut self, walk: &mut Walk<'_>, page: u64, span: Span) -> Result<(), VerifyError> {
        let refused = |walk: &mut Walk<'_>, message: String| {
            walk.findings.push(|| Finding::new(FindingKind::Bucket, message).page(page).offset(span.offset));
        };
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let Some(frame) = self.frames.first_mut() else { return Ok(()) };
        if span.length < HEADER_BYTES as u64 {
            refused(walk, format!("inline page of {} bytes", span.length));
            return Ok(());
        }
        frame.table.clear();
        let end = span.offset + span.length;
        let header = Header::parse(frame.table.get(walk.source, span.offset, HEADER_BYTES, end)?);
        let Some(header) = header else { return Ok(()) };
        if header.id != 0 || header.overflow != 0 || header.kind() != Some(PageKind::Leaf) {
            let Header { id, flags, overflow, .. } = header;
            refused(walk, format!("inline page says id {id}, flags {flags:#x}, overflow {overflow}"));
        } else if let Some(message) = miscounted(&header, span) {
            refused(walk, message);
        } else {
            frame.start(page, false, span, header.count);
            if self.only_last {
                frame.next = header.count.saturating_sub(1);
            }
            self.leaf_hash = self.hash;
            self.depth = 1;
        }
        Ok(())
    }
}

/// A page's header and its bytes with those of the pages it goes on in; or why there is no page.
pub(crate) type Opened = Result<(Header, Span), (FindingKind, String)>;

/// Reads a page's header and takes all its pages into the set of those reached; else what is wrong.
pub(crate) fn open_page(walk: &mut Walk<'_>, id: u64, window: &mut Window) -> Result<Opened, VerifyError> {
    let pages = walk.pages;
    if !(FIRST_TREE_PAGE..pages).contains(&id) {
        return Ok(Err((FindingKind::PageReference, format!("leads to page {id}; there are {pages} pages"))));
    }
    if !walk.reached.insert(id) {
        return Ok(Err((FindingKind::PageReachedTwice, "reached a second time".to_owned())));
    }
    let offset = id * walk.page_size;
    walk.load(offset, window)?;
    let raw = window.get(walk.source, offset, HEADER_BYTES, offset + walk.page_size)?;
    let Some(header) = Header::parse(raw) else {
        return Ok(Err((FindingKind::PageHeader, "no header".to_owned())));
    };
    let overflow = u64::from(header.overflow);
    if header.id != id {
        return Ok(Err((FindingKind::PageHeader, format!("header says page {}", header.id))));
    }
    if header.kind().is_none() {
        return Ok(Err((FindingKind::PageHeader, format!("flags {:#x} are no kind of page", header.flags))));
    }
    if overflow >= pages - id {
        return Ok(Err((FindingKind::PageHeader, format!("goes on for {overflow} pages; there are {pages} pages"))));
    }
    // An inner one that was reached before ends this: over all pages, no page is looked at more than twice.
    if let Some(taken) = (id + 1..=id + overflow).find(|&inner| !walk.reached.insert(inner)) {
        return Ok(Err((FindingKind::PageReachedTwice, format!("goes on into page {taken}, which is in use already"))));
    }
    Ok(Ok((header, Span { offset, length: (overflow + 1) * walk.page_size })))
}

/// Where an element's key and value are, if that is within its page and behind the element before it.
fn place(frame: &Frame, offset: u64, element: &Element) -> Option<(u64, Span)> {
    let key_at = offset + u64::from(element.pos);
    let value = Span { offset: key_at + u64::from(element.key_bytes), length: element.value_bytes() };
    (key_at >= frame.data_end && value.offset + value.length <= frame.end).then_some((key_at, value))
}

fn misplaced(frame: &Frame, element: &Element) -> Finding {
    let message = format!(
        "element {} has {} bytes of key and {} of value at {}, outside its page or inside another element",
        frame.next.saturating_sub(1),
        element.key_bytes,
        element.value_bytes(),
        element.pos
    );
    Finding::new(FindingKind::ElementBounds, message)
}

/// Whether the table of elements fits into the page.
fn miscounted(header: &Header, span: Span) -> Option<String> {
    let table = HEADER_BYTES as u64 + u64::from(header.count) * ELEMENT_BYTES as u64;
    (header.count == u16::MAX || table > span.length)
        .then(|| format!("{} elements in a page of {} bytes", header.count, span.length))
}
