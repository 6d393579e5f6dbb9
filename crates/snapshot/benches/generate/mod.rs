//! Writes a large snapshot in one pass: leaves in key order, the levels above them, the page of buckets, the meta pages.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ring::digest::{Context, SHA256};

use crate::Result;

const PAGE: usize = 4096;
/// Objects that are rewritten again and again; the rest of the rows are their old revisions.
const OBJECTS: u64 = 150_000;

/// A row or reference for the next level: its key and what it leads to.
type Item = (Vec<u8>, Vec<u8>);

struct Pages {
    file: BufWriter<File>,
    next: u64,
    /// First key and page of each page of the level that is being written.
    level: Vec<(Vec<u8>, u64)>,
}

/// Writes a snapshot of at least so many megabytes, with its digest.
pub(crate) fn write(path: &Path, megabytes: u64) -> Result<()> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.seek(SeekFrom::Start(2 * PAGE as u64))?;
    let mut pages = Pages { file: BufWriter::with_capacity(1 << 20, file), next: 2, level: Vec::new() };
    let mut noise = Noise(1);
    let mut leaf: Vec<Item> = Vec::new();
    let mut revision = 2_u64;
    while pages.next * (PAGE as u64) < megabytes * 1_000_000 {
        let item = object(revision, &mut noise);
        if !leaf.is_empty() && size(&leaf) + size(std::slice::from_ref(&item)) - 16 > PAGE {
            pages.leaf(&std::mem::take(&mut leaf), 0)?;
        }
        leaf.push(item);
        revision += 1;
    }
    pages.leaf(&leaf, 0)?;
    while pages.level.len() > 1 {
        pages.branches()?;
    }
    let root = pages.next;
    let key = [pages.level[0].1.to_le_bytes(), [0; 8]].concat();
    // A bucket whose only page is in its value: 3.6 records its storage version.
    let mut meta = vec![0; 32 + 16];
    meta[24] = 2;
    meta[26] = 1;
    meta[36..48].copy_from_slice(&[16, 0, 0, 0, 14, 0, 0, 0, 5, 0, 0, 0]);
    meta.extend(b"storageVersion3.6.0");
    pages.leaf(&[(b"key".to_vec(), key), (b"meta".to_vec(), meta)], 1)?;
    let high_water = pages.next;
    let mut file = pages.file.into_inner()?;
    for id in [0, 1] {
        file.seek(SeekFrom::Start(id * PAGE as u64))?;
        file.write_all(&meta_page(id, root, high_water))?;
    }
    seal(&mut file)
}

impl Pages {
    fn leaf(&mut self, items: &[Item], flags: u32) -> Result<()> {
        let (mut table, mut data): (Vec<u8>, Vec<u8>) = Default::default();
        for (index, (key, value)) in items.iter().enumerate() {
            let pos = (items.len() - index) * 16 + data.len();
            for word in [flags, u32::try_from(pos)?, u32::try_from(key.len())?, u32::try_from(value.len())?] {
                table.extend(word.to_le_bytes());
            }
            data.extend(key);
            data.extend(value);
        }
        self.page(2, items.len(), &items[0].0, &[table, data].concat())
    }

    /// Replaces the level by the one above it.
    fn branches(&mut self) -> Result<()> {
        let below = std::mem::take(&mut self.level);
        // Even parts: a page of one child, which bbolt cannot bear, does not come about.
        let parts = below.len().div_ceil(100);
        for part in below.chunks(below.len().div_ceil(parts)) {
            let (mut table, mut data): (Vec<u8>, Vec<u8>) = Default::default();
            for (index, (key, child)) in part.iter().enumerate() {
                let pos = (part.len() - index) * 16 + data.len();
                table.extend(u32::try_from(pos)?.to_le_bytes());
                table.extend(u32::try_from(key.len())?.to_le_bytes());
                table.extend(child.to_le_bytes());
                data.extend(key);
            }
            self.page(1, part.len(), &part[0].0, &[table, data].concat())?;
        }
        Ok(())
    }

    fn page(&mut self, flags: u16, count: usize, first: &[u8], body: &[u8]) -> Result<()> {
        let pages = (16 + body.len()).div_ceil(PAGE);
        self.file.write_all(&self.next.to_le_bytes())?;
        self.file.write_all(&flags.to_le_bytes())?;
        self.file.write_all(&u16::try_from(count)?.to_le_bytes())?;
        self.file.write_all(&u32::try_from(pages - 1)?.to_le_bytes())?;
        self.file.write_all(body)?;
        self.file.write_all(&vec![0; pages * PAGE - 16 - body.len()])?;
        self.level.push((first.to_vec(), self.next));
        self.next += pages as u64;
        Ok(())
    }
}

/// Bytes of a page of these items.
fn size(items: &[Item]) -> usize {
    16 + items.iter().map(|(key, value)| 16 + key.len() + value.len()).sum::<usize>()
}

/// A row as an API server writes it: most objects of a few kilobytes, some of tens.
fn object(revision: u64, noise: &mut Noise) -> Item {
    let key = [&revision.to_be_bytes()[..], b"_", &[0; 8]].concat();
    let number = noise.next() % OBJECTS;
    let name = format!("/registry/pods/namespace-{}/workload-{number:06}-7d9c5b8f6-x2x4z", number % 200);
    let length =
        if noise.next().is_multiple_of(100) { 20_000 + noise.next() % 40_000 } else { 600 + noise.next() % 3600 };
    let mut value = vec![0x0a, u8::try_from(name.len()).unwrap_or_default()];
    value.extend(name.bytes());
    value.extend((0..length.div_ceil(8)).flat_map(|_| noise.next().to_le_bytes()));
    (key, value)
}

/// Numbers without a pattern, the same in every run (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn meta_page(id: u64, root: u64, high_water: u64) -> Vec<u8> {
    let mut meta = [&id.to_le_bytes()[..], &4_u16.to_le_bytes(), &[0; 6]].concat();
    for word in [0xED0C_DAED_u32, 2, PAGE as u32, 0] {
        meta.extend(word.to_le_bytes());
    }
    for word in [root, 0, u64::MAX, high_water, 9 - id] {
        meta.extend(word.to_le_bytes());
    }
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let checksum = meta[16..].iter().fold(0xcbf2_9ce4_8422_2325, fold);
    meta.extend(checksum.to_le_bytes());
    meta
}

/// Appends the digest of the whole file.
fn seal(file: &mut File) -> Result<()> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    file.seek(SeekFrom::Start(0))?;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        context.update(&buffer[..length]);
    }
    file.write_all(context.finish().as_ref())?;
    Ok(())
}
