//! The `.snap` files of a member, and what else lies beside its database.

use std::io;

use crc32c::crc32c_append;

use super::Position;
use super::files::Files;
use super::name::pair;
use crate::Source;
use crate::protobuf::{Message, Parser, Wire, fields};
use crate::window::WINDOW_BYTES;

/// Longest metadata of a snapshot: ten bytes a member.
const MOST_METADATA: usize = 64 << 10;

/// Most files that are read: etcd keeps five.
const MOST_FILES: usize = 64;

/// What lies in the folder `snap` of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotFiles {
    /// The `.snap` files, the newest first.
    pub files: Vec<SnapshotFile>,
    /// Raft indexes of whole databases that a leader has sent (`*.snap.db`), and that may not be in place yet, in ascending order.
    pub received: Vec<u64>,
}

/// A `.snap` file: where raft may start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name.
    pub name: String,
    /// What its name says, and what is in it.
    pub at: Position,
    /// Why it cannot be used; etcd then takes an older one.
    pub damage: Option<&'static str>,
}

impl SnapshotFiles {
    /// Reads the folder. The memory that this takes does not grow with the files.
    ///
    /// # Errors
    /// The folder or a file cannot be read.
    pub fn read(files: &dyn Files) -> io::Result<Self> {
        let mut found = Self::default();
        for name in files.names()? {
            if let Some((term, index)) = name.strip_suffix(".snap").and_then(pair) {
                found.files.push(SnapshotFile { name, at: Position { term, index }, damage: None });
            } else if let Some(index) = name.strip_suffix(".snap.db").and_then(sixteen) {
                found.received.push(index);
            }
        }
        found.received.sort_unstable();
        found.files.sort_unstable_by_key(|file| std::cmp::Reverse(file.at));
        found.files.truncate(MOST_FILES);
        for file in &mut found.files {
            file.damage = match files.open(&file.name) {
                Ok(source) => check(&*source, file.at)?.err(),
                // etcd has deleted it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Some("it is gone"),
                Err(error) => return Err(error),
            };
        }
        Ok(found)
    }

    /// The newest one that can be used.
    pub fn newest(&self) -> Option<&SnapshotFile> {
        self.files.iter().find(|file| file.damage.is_none())
    }
}

fn sixteen(text: &str) -> Option<u64> {
    pair(&format!("{text}-{text}")).map(|(index, _)| index)
}

/// Whether a file has the checksum that it says, and what its name says.
fn check(source: &dyn Source, at: Position) -> io::Result<Result<(), &'static str>> {
    let (mut parser, mut file) = (Parser::new(), File::default());
    let (mut offset, mut buffer) = (0, vec![0; WINDOW_BYTES]);
    while offset < source.len() {
        let length = usize::try_from(source.len() - offset).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
        let Some(piece) = buffer.get_mut(..length) else { break };
        source.read_at(offset, piece)?;
        parser.feed(piece, &mut file);
        offset += length as u64;
    }
    let inner = file.snapshot.filter(|(parser, _)| parser.is_complete());
    let (Some((_, snapshot)), true) = (inner, parser.is_complete()) else {
        return Ok(Err("it is not laid out like a snapshot of raft"));
    };
    if file.says != Some(u64::from(file.has)) {
        return Ok(Err("it has another checksum than it says"));
    }
    match position(&snapshot.metadata) {
        Some(found) if found == at => Ok(Ok(())),
        _ => Ok(Err("its name and its contents differ")),
    }
}

fn position(metadata: &[u8]) -> Option<Position> {
    let mut at = Position::default();
    for field in fields(metadata) {
        match field? {
            (2, Wire::Varint(index)) => at.index = index,
            (3, Wire::Varint(term)) => at.term = term,
            _ => {}
        }
    }
    Some(at)
}

/// snappb.Snapshot: a checksum and a raftpb.Snapshot.
#[derive(Default)]
struct File {
    says: Option<u64>,
    has: u32,
    snapshot: Option<(Parser, Snapshot)>,
}

impl Message for File {
    fn varint(&mut self, field: u64, value: u64) -> bool {
        field == 1 && self.says.replace(value).is_none()
    }

    fn begin(&mut self, field: u64, _: u64) -> bool {
        field == 2 && self.snapshot.replace((Parser::new(), Snapshot::default())).is_none()
    }

    fn bytes(&mut self, _: u64, piece: &[u8]) {
        self.has = crc32c_append(self.has, piece);
        if let Some((parser, snapshot)) = &mut self.snapshot {
            parser.feed(piece, snapshot);
        }
    }
}

/// raftpb.Snapshot: the old store, of any size, and the metadata.
#[derive(Default)]
struct Snapshot {
    metadata: Vec<u8>,
}

impl Message for Snapshot {
    fn varint(&mut self, _: u64, _: u64) -> bool {
        false
    }

    fn begin(&mut self, field: u64, length: u64) -> bool {
        field == 1 || field == 2 && length <= MOST_METADATA as u64 && self.metadata.is_empty()
    }

    fn bytes(&mut self, field: u64, piece: &[u8]) {
        if field == 2 {
            self.metadata.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NAME: &str = "0000000000000001-0000000000000003.snap";

    /// As etcd's own tool has restored it.
    fn real() -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/restored/u3530.snap");
        std::fs::read(path).expect("a fixture")
    }

    #[test]
    fn the_newest_whole_one_counts() {
        let mut folder = BTreeMap::from([
            (NAME.to_owned(), real()),
            ("0000000000000002-0000000000000009.snap".to_owned(), real()),
            ("00000000000000ff.snap.db".to_owned(), Vec::new()),
            ("db".to_owned(), Vec::new()),
            ("0000000000000002-0000000000000009.snap.broken".to_owned(), Vec::new()),
        ]);
        let found = SnapshotFiles::read(&folder).expect("a folder");
        assert_eq!(found.received, [0xff]);
        assert_eq!(found.files[0].damage, Some("its name and its contents differ"));
        assert_eq!(found.newest().map(|file| file.at), Some(Position { term: 1, index: 3 }));
        let whole = real();
        for cut in (0..whole.len()).step_by(97) {
            folder.insert(NAME.to_owned(), whole[..cut].to_vec());
            assert_eq!(SnapshotFiles::read(&folder).expect("a folder").newest(), None, "cut at {cut}");
        }
        for at in (0..whole.len()).step_by(61) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x20;
            folder.insert(NAME.to_owned(), flipped);
            assert_eq!(SnapshotFiles::read(&folder).expect("a folder").newest(), None, "flip at {at}");
        }
    }
}
