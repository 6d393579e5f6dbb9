//! The list of free pages, where one is stored: etcd on Linux stores none, and what nothing reaches is then free.
//!
//! After the page header stand the ids, u64 each, rising. From 0xFFFF ids on, the header's count is 0xFFFF and the first u64
//! is the number of ids. Read from bbolt internal/freelist/shared.go @ v1.4.3.

use crate::bytes::le_u64;
use crate::page::{FIRST_TREE_PAGE, HEADER_BYTES, PageKind, PageSet};
use crate::tree::{Walk, open_page};
use crate::window::Window;
use crate::{Finding, FindingKind, VerifyError};

const ID_BYTES: u64 = 8;

/// Compares the list with the pages that the trees reached; to be called after all of them were walked.
pub(crate) fn check(walk: &mut Walk<'_>, id: u64) -> Result<(), VerifyError> {
    let mut window = Window::default();
    let (header, span) = match open_page(walk, id, &mut window)? {
        Ok(opened) => opened,
        Err((kind, message)) => {
            walk.findings.push(|| Finding::new(kind, message).page(id));
            return Ok(());
        }
    };
    if header.kind() != Some(PageKind::Freelist) {
        let message = format!("flags {:#x} instead of a freelist's", header.flags);
        walk.findings.push(|| Finding::new(FindingKind::PageHeader, message).page(id));
        return Ok(());
    }
    walk.pulse.add_walked(span.length)?;
    let end = span.offset + span.length;
    let mut offset = span.offset + HEADER_BYTES as u64;
    let mut count = u64::from(header.count);
    if header.count == u16::MAX {
        count = le_u64(window.get(walk.source, offset, ID_BYTES as usize, end)?, 0).unwrap_or_default();
        offset += ID_BYTES;
    }
    if count > (end - offset) / ID_BYTES {
        let message = format!("{count} free pages in a list of {} bytes", span.length);
        walk.findings.push(|| Finding::new(FindingKind::Freelist, message).page(id));
        return Ok(());
    }

    let mut free = PageSet::new(walk.pages);
    let mut before = 0;
    for index in 0..count {
        let at = offset + index * ID_BYTES;
        let page = le_u64(window.get(walk.source, at, ID_BYTES as usize, end)?, 0).unwrap_or_default();
        let message = if !(FIRST_TREE_PAGE..walk.pages).contains(&page) {
            Some(format!("free page {page}; there are {} pages", walk.pages))
        } else if !free.insert(page) {
            Some(format!("page {page} is free twice"))
        } else if page <= before {
            Some(format!("free page {page} after {before}"))
        } else if walk.reached.contains(page) {
            Some(format!("page {page} is free and in use"))
        } else {
            None
        };
        if let Some(message) = message {
            walk.findings.push(|| Finding::new(FindingKind::Freelist, message).page(id).offset(at));
        }
        before = page;
        if index % 4096 == 0 {
            walk.pulse.check()?;
        }
    }
    lost(walk, &free);
    Ok(())
}

/// Pages neither reached nor free.
fn lost(walk: &mut Walk<'_>, free: &PageSet) {
    let mut pages = (FIRST_TREE_PAGE..walk.pages).filter(|&page| !walk.reached.contains(page) && !free.contains(page));
    if let Some(first) = pages.next() {
        let count = 1 + pages.count();
        let message = format!("neither reached nor free; pages like this: {count}");
        walk.findings.push(|| Finding::new(FindingKind::LostPage, message).page(first));
    }
}
