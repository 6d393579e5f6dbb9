//! bbolt files in memory, page by page, with nothing checked: a test breaks what it wants to see found.

use ring::digest::{SHA256, digest};

/// Bytes of a page; small, so that files stay small.
pub(crate) const PAGE: usize = 1024;
/// The mark of a freelist that is not stored.
pub(crate) const NO_FREELIST: u64 = u64::MAX;

/// A leaf's element: flags, key, value.
pub(crate) type Item = (u32, Vec<u8>, Vec<u8>);

/// A database without digest.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) page_size: usize,
    pub(crate) root: u64,
    pub(crate) freelist: u64,
    pub(crate) txid: u64,
}

impl Image {
    pub(crate) fn new(pages: u64) -> Self {
        Self::with_page_size(pages, PAGE)
    }

    pub(crate) fn with_page_size(pages: u64, page_size: usize) -> Self {
        Self { bytes: vec![0; pages as usize * page_size], page_size, root: 2, freelist: NO_FREELIST, txid: 9 }
    }

    pub(crate) fn pages(&self) -> u64 {
        (self.bytes.len() / self.page_size) as u64
    }

    pub(crate) fn put(&mut self, page: u64, at: usize, bytes: &[u8]) {
        let at = page as usize * self.page_size + at;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A page with what follows its header; it goes on in as many pages as that takes.
    fn page(&mut self, id: u64, flags: u16, count: u16, body: &[u8]) {
        let overflow = ((16 + body.len()).div_ceil(self.page_size) - 1) as u32;
        let header = [&id.to_le_bytes()[..], &flags.to_le_bytes(), &count.to_le_bytes(), &overflow.to_le_bytes()];
        self.put(id, 0, &header.concat());
        self.put(id, 16, body);
    }

    pub(crate) fn leaf(&mut self, id: u64, items: &[Item]) {
        self.page(id, 0x02, items.len() as u16, &leaf_body(items));
    }

    pub(crate) fn branch(&mut self, id: u64, children: &[(Vec<u8>, u64)]) {
        let mut table = Vec::new();
        let mut data: Vec<u8> = Vec::new();
        for (index, (key, child)) in children.iter().enumerate() {
            let pos = (children.len() - index) * 16 + data.len();
            table.extend((pos as u32).to_le_bytes());
            table.extend((key.len() as u32).to_le_bytes());
            table.extend(child.to_le_bytes());
            data.extend(key);
        }
        self.page(id, 0x01, children.len() as u16, &[table, data].concat());
    }

    pub(crate) fn free(&mut self, id: u64, ids: &[u64]) {
        self.freelist = id;
        self.page(id, 0x10, ids.len() as u16, &ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>());
    }

    /// The data with meta pages as a snapshot stream has them.
    pub(crate) fn data(&self) -> Vec<u8> {
        let mut data = self.clone();
        data.put(0, 0, &self.meta(0, self.txid));
        data.put(1, 0, &self.meta(1, self.txid.wrapping_sub(1)));
        data.bytes
    }

    /// The file with its digest.
    pub(crate) fn file(&self) -> Vec<u8> {
        seal(self.data())
    }

    pub(crate) fn meta(&self, id: u64, txid: u64) -> Vec<u8> {
        let mut meta = [&id.to_le_bytes()[..], &4_u16.to_le_bytes(), &[0; 6]].concat();
        for word in [0xED0C_DAED, 2, self.page_size as u32, 0] {
            meta.extend(word.to_le_bytes());
        }
        for word in [self.root, 0, self.freelist, self.pages(), txid] {
            meta.extend(word.to_le_bytes());
        }
        checksum(&mut meta);
        meta
    }
}

/// Puts the right checksum into a meta page.
pub(crate) fn checksum(meta: &mut Vec<u8>) {
    meta.truncate(72);
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let sum = meta[16..].iter().fold(0xcbf2_9ce4_8422_2325, fold);
    meta.extend(sum.to_le_bytes());
}

/// Appends the digest of what is there.
pub(crate) fn seal(mut data: Vec<u8>) -> Vec<u8> {
    let digest = digest(&SHA256, &data);
    data.extend(digest.as_ref());
    data
}

fn leaf_body(items: &[Item]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for (index, (flags, key, value)) in items.iter().enumerate() {
        let pos = (items.len() - index) * 16 + data.len();
        for word in [*flags, pos as u32, key.len() as u32, value.len() as u32] {
            table.extend(word.to_le_bytes());
        }
        data.extend(key);
        data.extend(value);
    }
    [table, data].concat()
}

/// A bucket's value: its root page.
pub(crate) fn bucket(name: &str, root: u64) -> Item {
    (1, name.into(), [root.to_le_bytes(), 0_u64.to_le_bytes()].concat())
}

/// A bucket's value with its only page inside.
pub(crate) fn inline(name: &str, items: &[Item]) -> Item {
    let header = [&[0; 24][..], &2_u16.to_le_bytes(), &(items.len() as u16).to_le_bytes(), &[0; 4]].concat();
    (1, name.into(), [header, leaf_body(items)].concat())
}

/// The key of a row.
pub(crate) fn row_key(revision: u64) -> Vec<u8> {
    [&revision.to_be_bytes()[..], b"_", &0_u64.to_be_bytes()].concat()
}

/// A row that creates a user key, with a value of so many bytes.
pub(crate) fn row(revision: u64, key: &str, bytes: usize) -> Item {
    (0, row_key(revision), put(key.as_bytes(), [revision, revision, 1], &vec![b'v'; bytes], 0))
}

/// The record of a row: key, revisions of creation and change, version; value and lease.
pub(crate) fn put(key: &[u8], numbers: [u64; 3], value: &[u8], lease: u64) -> Vec<u8> {
    let mut record = [&[0x0a][..], &varint(key.len() as u64), key].concat();
    for (tag, number) in [0x10, 0x18, 0x20].into_iter().zip(numbers) {
        record.push(tag);
        record.extend(varint(number));
    }
    if !value.is_empty() {
        record.push(0x2a);
        record.extend(varint(value.len() as u64));
        record.extend(value);
    }
    if lease != 0 {
        record.push(0x30);
        record.extend(varint(lease));
    }
    record
}

/// A row that deletes a user key.
pub(crate) fn deletion(revision: u64, key: &str) -> Item {
    (0, [&row_key(revision)[..], b"t"].concat(), [&[0x0a, key.len() as u8], key.as_bytes()].concat())
}

/// A number as protobuf writes it.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

pub(crate) const ROOT: u64 = 2;
pub(crate) const BRANCH: u64 = 3;
pub(crate) const LEAF: u64 = 4;
pub(crate) const LARGE: u64 = 6;

/// A sound database: bucket `key` has a branch page over two small leaves and one of two pages.
pub(crate) fn sample() -> Image {
    let mut image = Image::new(8);
    image.leaf(ROOT, &sample_buckets());
    image.branch(BRANCH, &[(row_key(2), LEAF), (row_key(5), LEAF + 1), (row_key(8), LARGE)]);
    image.leaf(LEAF, &[row(2, "a", 3), row(3, "b", 0), row(4, "a", 7)]);
    image.leaf(LEAF + 1, &[row(5, "c", 1), row(6, "d", 1), row(7, "e", 1)]);
    image.leaf(LARGE, &[row(8, "f", 1500)]);
    image
}

pub(crate) fn sample_buckets() -> Vec<Item> {
    let index = (0, b"consistent_index".to_vec(), 7_u64.to_be_bytes().to_vec());
    vec![inline("alarm", &[]), bucket("key", BRANCH), inline("meta", &[index])]
}
