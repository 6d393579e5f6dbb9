//! The write-ahead log of a member that has done nothing yet but learn who its cluster is.
//!
//! ```text
//! frame:   length u64 (low 56 bits; top byte 0x80 | pad if there is a pad), record, pad to 8 bytes
//! record:  1 type, 2 crc, 3 data
//! ```
//! A record's crc is the CRC-32C of the data of all records up to its own. A length of 0 is the end: etcd fills a log with
//! zeros to 64 MB ahead of its writing, which no version needs in order to start; without it a restored directory is small, and its
//! bytes are the same on every filesystem. Read from etcd server/storage/wal/{wal,encoder,decoder}.go, walpb/record.proto and
//! raft raftpb/raft.proto @ v3.6.14; the same since v3.4.

use crc32c::crc32c_append;

use super::membership::Membership;
use super::proto::Message;
use crate::bytes::le_u64;
use crate::protobuf::{Wire, fields};

/// The only log file of a restored member: the first one, and its first entry is raft's index 0.
pub(super) const WAL_FILE: &str = "0000000000000000-0000000000000000.wal";

/// The raft term in which all of a restored member's log is.
pub(super) const TERM: u64 = 1;

const METADATA: u64 = 1;
const ENTRY: u64 = 2;
const HARD_STATE: u64 = 3;
const CRC: u64 = 4;
const SNAPSHOT: u64 = 5;

/// What the log of a member says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wal {
    /// Whose log it is: the member's id, then the cluster's.
    pub owner: Option<(u64, u64)>,
    /// Where the log may start: the snapshots of the state machine that were taken.
    pub snapshots: Vec<WalSnapshot>,
    /// The entries.
    pub entries: Vec<WalEntry>,
    /// The last hard state.
    pub hard_state: HardState,
}

/// A place in the log at which a snapshot of the state machine was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalSnapshot {
    /// Raft index.
    pub index: u64,
    /// Raft term.
    pub term: u64,
    /// The voters at that time; none if the version does not record them.
    pub voters: Vec<u64>,
}

/// An entry of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalEntry {
    /// 0 for a change of the data, 1 and 2 for one of the membership.
    pub kind: u64,
    /// Raft term.
    pub term: u64,
    /// Raft index.
    pub index: u64,
    /// What is to be done.
    pub data: Vec<u8>,
}

/// What a member must not forget about its part in raft.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardState {
    /// Raft term.
    pub term: u64,
    /// Whom it voted for.
    pub vote: u64,
    /// Index of the last entry known to be committed.
    pub commit: u64,
}

/// Why bytes are not a member's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// A record's length leads beyond the end of the file.
    #[error("the record at {offset} ends beyond the end of the file")]
    Truncated {
        /// Where the record's frame is.
        offset: usize,
    },
    /// A record does not have the checksum it says.
    #[error("the record at {offset} has another checksum than it says")]
    Checksum {
        /// Where the record's frame is.
        offset: usize,
    },
    /// A record is none that etcd writes.
    #[error("the record at {offset} is none that etcd writes")]
    Record {
        /// Where the record's frame is.
        offset: usize,
    },
    /// The log is one member's, then another's.
    #[error("the record at {offset} names another member than the ones before it")]
    OtherOwner {
        /// Where the record's frame is.
        offset: usize,
    },
}

impl Wal {
    /// What the log of a restored member says: each member is added by one entry, in a term of its own, and the state
    /// machine's snapshot comes after them.
    pub(super) fn of(membership: &Membership) -> Self {
        let voters = membership.ids();
        let commit = membership.last_index();
        let entry = |(index, member): (u64, &super::NewMember)| {
            let change = Message::default().varint(1, 0).varint(2, 0).varint(3, member.id).bytes(4, &member.record());
            WalEntry { kind: 1, term: TERM, index, data: change.finish() }
        };
        let vote = voters.first().copied().unwrap_or_default();
        Self {
            owner: Some((membership.local().id, membership.cluster_id())),
            snapshots: vec![WalSnapshot::default(), WalSnapshot { index: commit, term: TERM, voters }],
            entries: (1..).zip(membership.members()).map(entry).collect(),
            hard_state: HardState { term: TERM, vote, commit },
        }
    }

    /// The bytes of a new log file, as etcdutl 3.5 and 3.6 write them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut file = Writer::default();
        file.record(CRC, None);
        if let Some((node, cluster)) = self.owner {
            file.record(METADATA, Some(Message::default().varint(1, node).varint(2, cluster)));
        }
        let (first, later) = self.snapshots.split_at(self.snapshots.len().min(1));
        first.iter().for_each(|snapshot| file.snapshot(snapshot));
        for WalEntry { kind, term, index, data } in &self.entries {
            let entry = Message::default().varint(1, *kind).varint(2, *term).varint(3, *index).bytes(4, data);
            file.record(ENTRY, Some(entry));
        }
        let HardState { term, vote, commit } = self.hard_state;
        file.record(HARD_STATE, Some(Message::default().varint(1, term).varint(2, vote).varint(3, commit)));
        later.iter().for_each(|snapshot| file.snapshot(snapshot));
        file.bytes
    }

    /// Reads a log file. What it gives is no larger than the bytes.
    ///
    /// # Errors
    /// See [`WalError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WalError> {
        let mut wal = Self::default();
        let mut running = 0;
        let mut offset = 0;
        while let Some(length) = le_u64(bytes, offset).filter(|&length| length != 0) {
            let truncated = WalError::Truncated { offset };
            let (record, end) = frame(bytes, offset, length).ok_or(truncated)?;
            let record = Record::parse(record).map_err(|Malformed| WalError::Record { offset })?;
            if record.kind == CRC {
                // The first file starts from 0, a later one from where the file before it ended.
                if offset > 0 && record.crc != running {
                    return Err(WalError::Checksum { offset });
                }
                running = record.crc;
            } else {
                running = crc32c_append(running, record.data);
                if record.crc != running {
                    return Err(WalError::Checksum { offset });
                }
                wal.take(&record, offset)?;
            }
            offset = end;
        }
        Ok(wal)
    }

    fn take(&mut self, record: &Record<'_>, offset: usize) -> Result<(), WalError> {
        let malformed = |Malformed| WalError::Record { offset };
        match record.kind {
            METADATA => {
                let [node, cluster] = numbers(record.data).map_err(malformed)?;
                if self.owner.replace((node, cluster)).is_some_and(|owner| owner != (node, cluster)) {
                    return Err(WalError::OtherOwner { offset });
                }
            }
            ENTRY => self.entries.push(WalEntry::parse(record.data).map_err(malformed)?),
            HARD_STATE => {
                let [term, vote, commit] = numbers(record.data).map_err(malformed)?;
                self.hard_state = HardState { term, vote, commit };
            }
            SNAPSHOT => self.snapshots.push(WalSnapshot::parse(record.data).map_err(malformed)?),
            _ => return Err(WalError::Record { offset }),
        }
        Ok(())
    }
}

/// The bytes of a record and where the next frame is.
fn frame(bytes: &[u8], offset: usize, length: u64) -> Option<(&[u8], usize)> {
    let pad = if length >> 63 == 1 { usize::try_from(length >> 56 & 0x7).ok()? } else { 0 };
    let start = offset.checked_add(8)?;
    let end = start.checked_add(usize::try_from(length & ((1 << 56) - 1)).ok()?)?;
    let next = end.checked_add(pad)?;
    (next <= bytes.len()).then_some((bytes.get(start..end)?, next))
}

struct Record<'a> {
    kind: u64,
    crc: u32,
    data: &'a [u8],
}

impl<'a> Record<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut record = Self { kind: 0, crc: 0, data: &[] };
        for field in fields(bytes) {
            match field.ok_or(Malformed)? {
                (1, Wire::Varint(kind)) => record.kind = kind,
                (2, Wire::Varint(crc)) => record.crc = u32::try_from(crc).map_err(|_| Malformed)?,
                (3, Wire::Bytes(data)) => record.data = data,
                _ => return Err(Malformed),
            }
        }
        Ok(record)
    }
}

impl WalEntry {
    fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let mut entry = Self::default();
        for field in fields(data) {
            match field.ok_or(Malformed)? {
                (1, Wire::Varint(kind)) => entry.kind = kind,
                (2, Wire::Varint(term)) => entry.term = term,
                (3, Wire::Varint(index)) => entry.index = index,
                (4, Wire::Bytes(data)) => entry.data = data.to_vec(),
                _ => return Err(Malformed),
            }
        }
        Ok(entry)
    }
}

impl WalSnapshot {
    fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let mut snapshot = Self::default();
        for field in fields(data) {
            match field.ok_or(Malformed)? {
                (1, Wire::Varint(index)) => snapshot.index = index,
                (2, Wire::Varint(term)) => snapshot.term = term,
                (3, Wire::Bytes(state)) => snapshot.voters = voters(state)?,
                _ => return Err(Malformed),
            }
        }
        Ok(snapshot)
    }
}

/// The members that vote, and that no change of them is under way.
pub(super) fn conf_state(voters: &[u64]) -> Vec<u8> {
    let state = voters.iter().fold(Message::default(), |state, &voter| state.varint(1, voter));
    state.varint(5, 0).finish()
}

/// The voters of a state; the rest of it says who learns and who leaves.
pub(super) fn voters(state: &[u8]) -> Result<Vec<u64>, Malformed> {
    let mut voters = Vec::new();
    for field in fields(state) {
        match field.ok_or(Malformed)? {
            (1, Wire::Varint(voter)) => voters.push(voter),
            (2..=4, Wire::Varint(_)) | (5, Wire::Varint(0 | 1)) => {}
            _ => return Err(Malformed),
        }
    }
    Ok(voters)
}

/// Not the message it should be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Malformed;

/// Fields 1 to N of a message that has no others.
fn numbers<const N: usize>(message: &[u8]) -> Result<[u64; N], Malformed> {
    let mut numbers = [0; N];
    for field in fields(message) {
        let Some((field, Wire::Varint(number))) = field else { return Err(Malformed) };
        let index = usize::try_from(field).ok().and_then(|field| field.checked_sub(1)).ok_or(Malformed)?;
        *numbers.get_mut(index).ok_or(Malformed)? = number;
    }
    Ok(numbers)
}

/// A log that is being written, record by record.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) crc: u32,
}

impl Writer {
    pub(crate) fn record(&mut self, kind: u64, data: Option<Message>) {
        let data = data.map(Message::finish);
        self.crc = crc32c_append(self.crc, data.as_deref().unwrap_or_default());
        let record = Message::default().varint(1, kind).varint(2, u64::from(self.crc));
        let record = data.iter().fold(record, |record, data| record.bytes(3, data)).finish();
        let pad = record.len().next_multiple_of(8) - record.len();
        let mark = if pad > 0 { (0x80 | pad as u64) << 56 } else { 0 };
        self.bytes.extend((record.len() as u64 | mark).to_le_bytes());
        self.bytes.extend(&record);
        self.bytes.resize(self.bytes.len() + pad, 0);
    }

    fn snapshot(&mut self, snapshot: &WalSnapshot) {
        let mut data = Message::default().varint(1, snapshot.index).varint(2, snapshot.term);
        if !snapshot.voters.is_empty() {
            data = data.bytes(3, &conf_state(&snapshot.voters));
        }
        self.record(SNAPSHOT, Some(data));
    }
}

/// The frame of a hard state that comes after records with this checksum.
pub(crate) fn hard_state_record(checksum: u32, state: HardState) -> Vec<u8> {
    let mut file = Writer { bytes: Vec::new(), crc: checksum };
    let HardState { term, vote, commit } = state;
    file.record(HARD_STATE, Some(Message::default().varint(1, term).varint(2, vote).varint(3, commit)));
    file.bytes
}

#[cfg(test)]
mod tests {
    use super::super::NewCluster;
    use super::*;

    fn log() -> (Wal, Vec<u8>) {
        let cluster = NewCluster {
            name: "default".to_owned(),
            initial_cluster: "default=http://localhost:2380".to_owned(),
            initial_cluster_token: "etcd-cluster".to_owned(),
            initial_advertise_peer_urls: None,
        };
        let wal = Wal::of(&cluster.validate().expect("a cluster"));
        let bytes = wal.encode();
        (wal, bytes)
    }

    #[test]
    fn reads_what_it_writes() {
        let (wal, mut bytes) = log();
        assert_eq!(Wal::decode(&bytes), Ok(wal.clone()));
        // As etcd lays it out: zeros to the end of the file.
        bytes.resize(4096, 0);
        assert_eq!(Wal::decode(&bytes), Ok(wal));
        assert_eq!(Wal::decode(&[]), Ok(Wal::default()));
    }

    /// The file ends with a whole record, so a cut at a frame's start, and only there, is a shorter log.
    #[test]
    fn any_cut_or_flip_is_seen() {
        let (wal, bytes) = log();
        for cut in 0..bytes.len() {
            assert_ne!(Wal::decode(&bytes[..cut]).as_ref(), Ok(&wal), "cut at {cut}");
        }
        let mut offset = 0;
        while let Some(length) = le_u64(&bytes, offset) {
            // The pads' bytes mean nothing.
            let (record, next) = frame(&bytes, offset, length).expect("a whole log");
            for at in offset + 8..offset + 8 + record.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x10;
                assert_ne!(Wal::decode(&flipped).as_ref(), Ok(&wal), "flip at {at}");
            }
            offset = next;
        }
        assert_eq!(offset, bytes.len());
    }

    #[test]
    fn lengths_are_not_believed() {
        let huge = [&(u64::MAX >> 8).to_le_bytes()[..], &[0; 8]].concat();
        assert_eq!(Wal::decode(&huge), Err(WalError::Truncated { offset: 0 }));
        let pad_beyond = [&(0x87_u64 << 56 | 4).to_le_bytes()[..], b"\x08\x04\x10\x00"].concat();
        assert_eq!(Wal::decode(&pad_beyond), Err(WalError::Truncated { offset: 0 }));
    }

    #[test]
    fn one_owner() {
        let (mut wal, _) = log();
        let mut writer = Writer::default();
        writer.record(METADATA, Some(Message::default().varint(1, 1).varint(2, 2)));
        let offset = writer.bytes.len();
        writer.record(METADATA, Some(Message::default().varint(1, 1).varint(2, 3)));
        assert_eq!(Wal::decode(&writer.bytes), Err(WalError::OtherOwner { offset }));
        wal.owner = None;
        assert_eq!(Wal::decode(&wal.encode()), Ok(wal));
    }
}
