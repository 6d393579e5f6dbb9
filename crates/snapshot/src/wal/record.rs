//! A record, parsed as it comes in pieces: memory does not grow with it.

use crc32c::crc32c_append;

use super::builder::{ConfState, Owner};
use super::entry::EntryKind;
use super::error::Fault;
use super::{HardState, Position};
use crate::protobuf::{Message, Parser, Wire, fields};

const METADATA: u64 = 1;
const ENTRY: u64 = 2;
const HARD_STATE: u64 = 3;
const CRC: u64 = 4;
const SNAPSHOT: u64 = 5;

/// Longest data of a record that is no entry. A snapshot record has ten bytes a voter.
const SMALL: usize = 64 << 10;

/// Of which entries the data is kept, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Of those that change the members.
    Changes,
    /// Of all, up to so many bytes.
    All(usize),
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Metadata(Owner),
    Entry(EntryHead),
    HardState(HardState),
    Crc,
    Snapshot { at: Position, conf_state: Option<ConfState> },
}

/// An entry without its data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EntryHead {
    pub(super) kind: EntryKind,
    pub(super) at: Position,
    /// Bytes of its data.
    pub(super) data_bytes: u64,
}

/// A record whose data has the checksum that it says, but for a crc record, which says that of those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) crc: u32,
    pub(super) body: Body,
}

/// What came of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoded {
    Whole(Record),
    /// Its layout is right and its checksum is not: the one that it says, and the one that its data has.
    Differs {
        says: u32,
        has: u32,
    },
    Malformed,
}

/// A record that comes in pieces.
pub(super) struct RecordParser<'k> {
    parser: Parser,
    outer: Outer<'k>,
}

/// The fields of a record; etcd writes them in the order of their numbers.
struct Outer<'k> {
    last: u64,
    kind: u64,
    says: u32,
    has: u32,
    data: Data<'k>,
}

/// The data of a record.
enum Data<'k> {
    None(Keep, &'k mut Vec<u8>),
    Entry(Parser, Entry<'k>),
    Small(&'k mut Vec<u8>),
    Taken,
}

struct Entry<'k> {
    last: u64,
    kind: Option<EntryKind>,
    term: u64,
    index: u64,
    bytes: u64,
    keep: Keep,
    /// The data, as far as it is kept.
    kept: &'k mut Vec<u8>,
}

impl<'k> RecordParser<'k> {
    /// `running` is the checksum up to here. `kept` gets the data of the entry, if that is to be kept.
    pub(super) fn new(running: u32, keep: Keep, kept: &'k mut Vec<u8>) -> Self {
        kept.clear();
        let outer = Outer { last: 0, kind: 0, says: 0, has: running, data: Data::None(keep, kept) };
        Self { parser: Parser::new(), outer }
    }

    pub(super) fn feed(&mut self, piece: &[u8]) {
        self.parser.feed(piece, &mut self.outer);
    }

    pub(super) fn finish(self) -> Decoded {
        let Outer { kind, says, has, data, .. } = self.outer;
        if !self.parser.is_complete() {
            return Decoded::Malformed;
        }
        let Some(body) = body(kind, data) else {
            return Decoded::Malformed;
        };
        if body != Body::Crc && says != has {
            return Decoded::Differs { says, has };
        }
        Decoded::Whole(Record { crc: says, body })
    }
}

fn body(kind: u64, data: Data<'_>) -> Option<Body> {
    match (kind, data) {
        (CRC, Data::None(..)) => Some(Body::Crc),
        (ENTRY, Data::Entry(parser, entry)) => {
            let head = EntryHead {
                kind: entry.kind.unwrap_or_default(),
                at: Position { term: entry.term, index: entry.index },
                data_bytes: entry.bytes,
            };
            // A change of members says which.
            let empty = head.kind != EntryKind::Normal && head.data_bytes == 0;
            (parser.is_complete() && head.at.index > 0 && !empty).then_some(Body::Entry(head))
        }
        (METADATA, Data::Small(data)) => {
            let [node, cluster] = numbers(data)?;
            Some(Body::Metadata(Owner { node, cluster }))
        }
        (HARD_STATE, Data::Small(data)) => {
            let [term, vote, commit] = numbers(data)?;
            Some(Body::HardState(HardState { term, vote, commit }))
        }
        (SNAPSHOT, Data::Small(data)) => snapshot(data),
        _ => None,
    }
}

/// Fields 1 to N of a message that has no others. Those that are absent are 0.
fn numbers<const N: usize>(message: &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for field in fields(message) {
        let (field, Wire::Varint(number)) = field? else { return None };
        *numbers.get_mut(usize::try_from(field.checked_sub(1)?).ok()?)? = number;
    }
    Some(numbers)
}

fn snapshot(data: &[u8]) -> Option<Body> {
    let (mut at, mut conf_state) = (Position::default(), None);
    for field in fields(data) {
        match field? {
            (1, Wire::Varint(index)) => at.index = index,
            (2, Wire::Varint(term)) => at.term = term,
            (3, Wire::Bytes(state)) => conf_state = Some(ConfState::parse(state)?),
            _ => return None,
        }
    }
    Some(Body::Snapshot { at, conf_state })
}

impl Message for Outer<'_> {
    fn varint(&mut self, field: u64, value: u64) -> bool {
        let in_order = field > std::mem::replace(&mut self.last, field);
        match field {
            1 => self.kind = value,
            2 => match u32::try_from(value) {
                Ok(crc) => self.says = crc,
                Err(_) => return false,
            },
            _ => return false,
        }
        in_order
    }

    fn begin(&mut self, field: u64, length: u64) -> bool {
        let in_order = field == 3 && field > std::mem::replace(&mut self.last, field);
        self.data = match (std::mem::replace(&mut self.data, Data::Taken), self.kind) {
            (Data::None(keep, kept), ENTRY) => {
                Data::Entry(Parser::new(), Entry { last: 0, kind: None, term: 0, index: 0, bytes: 0, keep, kept })
            }
            (Data::None(_, kept), METADATA | HARD_STATE | SNAPSHOT) if length <= SMALL as u64 => Data::Small(kept),
            _ => return false,
        };
        in_order
    }

    fn bytes(&mut self, _: u64, piece: &[u8]) {
        self.has = crc32c_append(self.has, piece);
        match &mut self.data {
            Data::Entry(parser, entry) => parser.feed(piece, entry),
            Data::Small(kept) => kept.extend_from_slice(piece),
            Data::None(..) | Data::Taken => {}
        }
    }
}

impl Entry<'_> {
    fn most(&self) -> usize {
        match self.keep {
            Keep::Changes if self.kind.unwrap_or_default() == EntryKind::Normal => 0,
            Keep::Changes => SMALL,
            Keep::All(most) => most,
        }
    }
}

impl Message for Entry<'_> {
    fn varint(&mut self, field: u64, value: u64) -> bool {
        let in_order = field > std::mem::replace(&mut self.last, field);
        match field {
            1 => match EntryKind::of(value) {
                Some(kind) => self.kind = Some(kind),
                None => return false,
            },
            2 => self.term = value,
            3 => self.index = value,
            _ => return false,
        }
        in_order
    }

    fn begin(&mut self, field: u64, length: u64) -> bool {
        let in_order = field == 4 && field > std::mem::replace(&mut self.last, field);
        self.bytes = length;
        in_order
    }

    fn bytes(&mut self, _: u64, piece: &[u8]) {
        let room = self.most().saturating_sub(self.kept.len());
        self.kept.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }
}

impl From<Decoded> for Result<Record, Fault> {
    fn from(decoded: Decoded) -> Self {
        match decoded {
            Decoded::Whole(record) => Ok(record),
            Decoded::Differs { .. } => Err(Fault::Checksum),
            Decoded::Malformed => Err(Fault::Record),
        }
    }
}
