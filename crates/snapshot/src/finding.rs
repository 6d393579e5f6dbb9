//! What is wrong with a file, and where.

use std::fmt;

use serde::Serialize;

/// Keys are shown up to this many bytes; more would drown the message.
const SHOWN_KEY_BYTES: usize = 96;

/// What kind of damage a [`Finding`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum FindingKind {
    /// The SHA-256 at the end of the file is not that of the data.
    DigestMismatch,
    /// A meta page is not valid, or points outside the file.
    Meta,
    /// The two meta pages do not agree as those of a snapshot do.
    MetaPair,
    /// A page header is wrong: id, kind, element count or overflow.
    PageHeader,
    /// A reference to a page that cannot be a tree page.
    PageReference,
    /// A page is reached a second time.
    PageReachedTwice,
    /// Page below page without end, or a leaf in the place of a tree's inner page.
    TreeDepth,
    /// An element points outside its page or into another element.
    ElementBounds,
    /// An element's flags are not those of an item or a bucket.
    ElementFlags,
    /// A key is empty or longer than bbolt allows.
    KeySize,
    /// Keys do not rise strictly.
    KeyOrder,
    /// A branch element's key is not the first key of the page it leads to.
    BranchKey,
    /// A branch page without children.
    BranchChildren,
    /// An empty leaf page below a branch page.
    EmptyLeaf,
    /// A bucket header or inline page is wrong, or a bucket stands where etcd has none.
    Bucket,
    /// A bucket that every etcd database has is missing.
    MissingBucket,
    /// The stored list of free pages is wrong.
    Freelist,
    /// A page is neither reached nor free.
    LostPage,
    /// A record is not what etcd writes into that bucket.
    Record,
    /// A row's revisions, or the marks of compactions, contradict each other.
    Revision,
}

/// One thing wrong, as exactly located as it can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind of damage it is.
    pub kind: FindingKind,
    /// One sentence with what was found and what belongs there. Never part of a value.
    pub message: String,
    /// The page it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
    /// Byte offset in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The bucket's name, printable or in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The bucket's key, printable or in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), page: None, offset: None, bucket: None, key: None }
    }

    pub(crate) fn page(mut self, page: u64) -> Self {
        self.page = Some(page);
        self
    }

    pub(crate) fn offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn key(mut self, key: &[u8]) -> Self {
        self.key = Some(printable(key));
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(page) = self.page {
            write!(f, "page {page}")?;
            separator = ", ";
        }
        if let Some(offset) = self.offset {
            write!(f, "{separator}offset {offset}")?;
            separator = ", ";
        }
        if let Some(bucket) = &self.bucket {
            write!(f, "{separator}bucket {bucket}")?;
            separator = ", ";
        }
        if let Some(key) = &self.key {
            write!(f, "{separator}key {key}")?;
            separator = ", ";
        }
        let separator = if separator.is_empty() { "" } else { ": " };
        write!(f, "{separator}{}", self.message)
    }
}

/// Findings up to a bound; those beyond it are only counted, so that a file of damage costs no memory.
#[derive(Debug)]
pub(crate) struct Findings {
    kept: Vec<Finding>,
    omitted: u64,
    limit: usize,
    bucket: Option<String>,
}

impl Findings {
    pub(crate) fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), omitted: 0, limit: limit.max(1), bucket: None }
    }

    /// The bucket that findings from now on are in.
    pub(crate) fn enter(&mut self, bucket: Option<&[u8]>) {
        self.bucket = bucket.map(printable);
    }

    pub(crate) fn push(&mut self, finding: impl FnOnce() -> Finding) {
        if self.kept.len() < self.limit {
            let mut finding = finding();
            finding.bucket = finding.bucket.or_else(|| self.bucket.clone());
            self.kept.push(finding);
        } else {
            self.omitted = self.omitted.saturating_add(1);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(crate) fn omitted(&self) -> u64 {
        self.omitted
    }

    pub(crate) fn into_kept(self) -> Vec<Finding> {
        self.kept
    }
}

/// Printable ASCII as it is, anything else in hex.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let (shown, more) = match bytes.get(..SHOWN_KEY_BYTES) {
        Some(start) if bytes.len() > SHOWN_KEY_BYTES => (start, "..."),
        _ => (bytes, ""),
    };
    if !shown.is_empty() && shown.iter().all(u8::is_ascii_graphic) {
        shown.iter().map(|&byte| char::from(byte)).chain(more.chars()).collect()
    } else {
        format!("0x{}{more}", hex(shown))
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_where() {
        let finding = Finding::new(FindingKind::KeyOrder, "not above the key before it").page(7).offset(28672);
        assert_eq!(finding.to_string(), "page 7, offset 28672: not above the key before it");
        let with_key = finding.key(b"\x00\xff").to_string();
        assert_eq!(with_key, "page 7, offset 28672, key 0x00ff: not above the key before it");
        assert_eq!(Finding::new(FindingKind::Meta, "m").to_string(), "m");
    }

    #[test]
    fn long_keys_are_cut() {
        assert_eq!(printable(&[b'a'; 200]).len(), SHOWN_KEY_BYTES + 3);
        assert_eq!(printable(b""), "0x");
    }

    #[test]
    fn counts_what_it_does_not_keep() {
        let mut findings = Findings::new(2);
        findings.enter(Some(b"key"));
        for _ in 0..5 {
            findings.push(|| Finding::new(FindingKind::Record, "m"));
        }
        assert_eq!((findings.kept.len(), findings.omitted()), (2, 3));
        assert_eq!(findings.into_kept()[0].bucket.as_deref(), Some("key"));
    }
}
