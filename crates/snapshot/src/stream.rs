//! A database at rest as the snapshot that etcd would send of it.
//!
//! bbolt sends its newest transaction as both meta pages, the second one with the transaction id before it, and then the pages as they are, up to
//! the last one that the transaction knows; etcd adds a SHA-256. Read from bbolt tx.go, `WriteTo` @ v1.4.3, and etcd server/etcdserver/api/v3rpc/maintenance.go @ v3.6.14.

use crate::meta::{META_BYTES, MetaPair, fnv1a};
use crate::page::HEADER_BYTES;
use crate::{Source, VerifyError};

/// The flag of a meta page (bbolt internal/common/page.go).
const META_FLAG: u16 = 0x04;
const TXID: std::ops::Range<usize> = 64..72;
const CHECKSUM: std::ops::Range<usize> = 72..80;

/// How a snapshot of a database begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHead {
    /// The first two pages. All others are those of the database.
    pub pages: Vec<u8>,
    /// Bytes of all pages.
    pub bytes: u64,
}

impl StreamHead {
    /// That of a database file, of which nobody writes to.
    ///
    /// # Errors
    /// The file cannot be read, or has no valid meta page.
    pub fn read(source: &dyn Source) -> Result<Self, VerifyError> {
        let pair = MetaPair::read(source)?;
        let size = u64::from(pair.meta.page_size);
        let mut meta = [0; META_BYTES];
        source.read_at(size * u64::from(pair.active), &mut meta)?;
        let mut pages = Vec::new();
        for (id, txid) in [(0_u64, pair.meta.txid), (1, pair.meta.txid.saturating_sub(1))] {
            let mut page = meta;
            page[..HEADER_BYTES].fill(0);
            page[..8].copy_from_slice(&id.to_le_bytes());
            page[8..10].copy_from_slice(&META_FLAG.to_le_bytes());
            page[TXID].copy_from_slice(&txid.to_le_bytes());
            let checksum = fnv1a(&page[HEADER_BYTES..CHECKSUM.start]);
            page[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
            pages.extend(page);
            // `page_size` is at least 1024 and at most 16 MiB.
            pages.resize(pages.len() - META_BYTES + pair.meta.page_size as usize, 0);
        }
        Ok(Self { pages, bytes: pair.meta.pages.saturating_mul(size) })
    }
}
