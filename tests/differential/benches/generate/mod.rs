//! Writes a large snapshot as etcd 3.5 would leave it, without a server, in one pass: leaves in key order, the levels above
//! them, the page of buckets, the meta pages, the digest. The vendor's tools restore it.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ring::digest::{Context, SHA256};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PAGE: usize = 4096;
/// Objects that are rewritten again and again; the rest of the rows are their old revisions.
const OBJECTS: u64 = 150_000;

/// What is in the key space.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "each benchmark takes what it needs")]
pub(crate) enum Shape {
    /// Objects as an API server writes them, most of a few kilobytes and some of tens, until the file has so many megabytes.
    Kubernetes { megabytes: u64 },
    /// Keys that were written once.
    Once { keys: u64, value_bytes: usize },
    /// Config maps of 2 kB as an API server stores them, 500 in each namespace; every hundredth is another in another edition.
    Objects { objects: u64, edition: u64 },
}

/// A row or reference for the next level: its key and what it leads to.
type Item = (Vec<u8>, Vec<u8>);

struct Pages {
    file: BufWriter<File>,
    next: u64,
    /// First key and page of each page of the level that is being written.
    level: Vec<(Vec<u8>, u64)>,
}

/// Writes a snapshot with its digest.
pub(crate) fn write(path: &Path, shape: Shape) -> Result<()> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.seek(SeekFrom::Start(2 * PAGE as u64))?;
    let mut pages = Pages { file: BufWriter::with_capacity(1 << 20, file), next: 2, level: Vec::new() };
    let mut rows = Rows { shape, noise: Noise(1), written: vec![(0, 0); OBJECTS as usize], revision: 1 };
    let mut leaf: Vec<Item> = Vec::new();
    let mut bytes = size(&leaf);
    while let Some(item) = rows.next(pages.next * PAGE as u64) {
        let more = size(std::slice::from_ref(&item)) - 16;
        if !leaf.is_empty() && bytes + more > PAGE {
            pages.leaf(&std::mem::take(&mut leaf), 0)?;
            bytes = size(&leaf);
        }
        bytes += more;
        leaf.push(item);
    }
    pages.leaf(&leaf, 0)?;
    while pages.level.len() > 1 {
        pages.branches()?;
    }
    let root = pages.next;
    let key = [pages.level[0].1.to_le_bytes(), [0; 8]].concat();
    let (index, term) = (rows.revision.to_be_bytes(), 2_u64.to_be_bytes());
    let member = br#"{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"name":"default"}"#;
    let voters = br#"{"voters":[10276657743932975437],"auto_leave":false}"#;
    let mut buckets: Vec<Item> = ["alarm", "auth", "authRoles", "authUsers", "lease", "members_removed"]
        .map(|name| (name.into(), inline(&[])))
        .into();
    let item = |key: &str, value: &[u8]| (key.into(), value.to_vec());
    buckets.push((b"cluster".into(), inline(&[item("clusterVersion", b"3.5.0")])));
    buckets.push((b"members".into(), inline(&[item("8e9e05c52164694d", member)])));
    let meta = [item("confState", voters), item("consistent_index", &index), item("term", &term)];
    buckets.push((b"meta".into(), inline(&meta)));
    buckets.push((b"key".to_vec(), key));
    buckets.sort();
    pages.leaf(&buckets, 1)?;
    let high_water = pages.next;
    let mut file = pages.file.into_inner()?;
    for id in [0, 1] {
        file.seek(SeekFrom::Start(id * PAGE as u64))?;
        file.write_all(&meta_page(id, root, high_water))?;
    }
    seal(&mut file)
}

/// A bucket whose only page is in its value.
fn inline(items: &[Item]) -> Vec<u8> {
    let mut bucket = vec![0; 16 + 16];
    bucket[24] = 2;
    bucket[26] = u8::try_from(items.len()).unwrap_or_default();
    bucket.extend(body(items, 0));
    bucket
}

/// A leaf's elements and what they lead to.
fn body(items: &[Item], flags: u32) -> Vec<u8> {
    let (mut table, mut data): (Vec<u8>, Vec<u8>) = Default::default();
    for (index, (key, value)) in items.iter().enumerate() {
        let pos = (items.len() - index) * 16 + data.len();
        for word in [flags as usize, pos, key.len(), value.len()] {
            table.extend((word as u32).to_le_bytes());
        }
        data.extend(key);
        data.extend(value);
    }
    table.extend(data);
    table
}

impl Pages {
    fn leaf(&mut self, items: &[Item], flags: u32) -> Result<()> {
        self.page(2, items.len(), &items[0].0, &body(items, flags))
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

/// The rows of the key space, one revision each.
struct Rows {
    shape: Shape,
    noise: Noise,
    /// When each object came about, and how often it was written since.
    written: Vec<(u64, u64)>,
    revision: u64,
}

impl Rows {
    /// The next row, if a file of so many bytes is to have one more.
    fn next(&mut self, bytes: u64) -> Option<Item> {
        self.revision += 1;
        let revision = self.revision;
        let (name, create, version, length) = match self.shape {
            Shape::Kubernetes { megabytes } if bytes < megabytes * 1_000_000 => {
                let noise = &mut self.noise;
                let number = noise.next() % OBJECTS;
                let name = format!("/registry/pods/namespace-{}/workload-{number:06}-7d9c5b8f6-x2x4z", number % 200);
                let large = noise.next().is_multiple_of(100);
                let length = if large { 20_000 + noise.next() % 40_000 } else { 600 + noise.next() % 3600 };
                let (create, version) = &mut self.written[number as usize];
                if *version == 0 {
                    *create = revision;
                }
                *version += 1;
                (name, *create, *version, length as usize)
            }
            Shape::Objects { objects, edition } if revision < 2 + objects => {
                return Some(config_map(revision, edition));
            }
            Shape::Once { keys, value_bytes } if revision < 2 + keys => {
                (format!("/registry/configmaps/namespace/{revision:08}"), revision, 1, value_bytes)
            }
            _ => return None,
        };
        let mut value = Vec::with_capacity(length + 128);
        text(&mut value, 1, name.as_bytes());
        for (field, number) in [(2, create), (3, revision), (4, version)] {
            value.push(field << 3);
            varint(&mut value, number);
        }
        let mut object: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| self.noise.next().to_le_bytes()).collect();
        object.truncate(length);
        text(&mut value, 5, &object);
        Some(([&revision.to_be_bytes()[..], b"_", &[0; 8]].concat(), value))
    }
}

/// The row of a config map, or of a namespace; the first of all is that of namespace `default`.
fn config_map(revision: u64, edition: u64) -> Item {
    let (namespace, changed) = (revision / 500, if revision.is_multiple_of(100) { edition } else { 0 });
    let (key, kind, json) = match revision % 500 {
        2 if revision == 2 => {
            ("/registry/namespaces/default".to_owned(), "Namespace", json!({"metadata": {"name": "default"}}))
        }
        _ => {
            let name = format!("settings-{revision:08}");
            let data = format!("{changed}{}", "0123456789abcdef".repeat(118));
            let metadata =
                json!({"name": name, "namespace": format!("namespace-{namespace}"), "uid": format!("{revision:036}")});
            let object = json!({"metadata": metadata, "data": {"settings": data}});
            (format!("/registry/configmaps/namespace-{namespace}/{name}"), "ConfigMap", object)
        }
    };
    let object = etcd_objects::encode(&json, "v1", kind).unwrap_or_default();
    let mut value = Vec::with_capacity(object.len() + 128);
    text(&mut value, 1, key.as_bytes());
    for (field, number) in [(2, revision), (3, revision), (4, 1)] {
        value.push(field << 3);
        varint(&mut value, number);
    }
    text(&mut value, 5, &object);
    ([&revision.to_be_bytes()[..], b"_", &[0; 8]].concat(), value)
}

fn text(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
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
