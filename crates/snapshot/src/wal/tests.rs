//! Logs that are written here, whole, cut off and damaged, against a model that knows what was written.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::restore::testing::{Message, Writer};

const OWNER: Owner = Owner { node: 0x8e9e_05c5_2164_694d, cluster: 0xcdf8_1819_4e3a_8c32 };

type Folder = BTreeMap<String, Vec<u8>>;

/// What a log says, as far as tests compare it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Says {
    last: Position,
    hard_state: HardState,
    /// Terms and data of entries, by index.
    entries: BTreeMap<u64, (u64, Vec<u8>)>,
}

/// A log that is being written, and what it said after each record.
struct Script {
    sequence: u64,
    name: SegmentName,
    writer: Writer,
    folder: Folder,
    says: Says,
    /// Of the segment that is being written: where records end, and what the log says there.
    history: Vec<(usize, Says)>,
}

impl Script {
    fn begin() -> Self {
        Self::at(0, SegmentName { sequence: 0, index: 0 })
    }

    /// One whose oldest segments are gone; the checksum before it is `crc`.
    fn at(crc: u32, name: SegmentName) -> Self {
        let writer = Writer { crc, ..Writer::default() };
        let mut script = Self {
            sequence: name.sequence,
            name,
            writer,
            folder: Folder::new(),
            says: Says::default(),
            history: Vec::new(),
        };
        script.head();
        script
    }

    fn head(&mut self) {
        self.record(4, None);
        self.record(1, Some(Message::default().varint(1, OWNER.node).varint(2, OWNER.cluster)));
    }

    fn record(&mut self, kind: u64, data: Option<Message>) {
        self.writer.record(kind, data);
        self.history.push((self.writer.bytes.len(), self.says.clone()));
    }

    fn entry(&mut self, term: u64, index: u64, data: &[u8]) {
        self.kind_of_entry(0, term, index, data);
    }

    fn kind_of_entry(&mut self, kind: u64, term: u64, index: u64, data: &[u8]) {
        self.says.entries.retain(|&before, _| before < index);
        self.says.entries.insert(index, (term, data.to_vec()));
        self.says.last = Position { term, index };
        let entry = Message::default().varint(1, kind).varint(2, term).varint(3, index);
        self.record(2, Some(if data.is_empty() { entry } else { entry.bytes(4, data) }));
    }

    fn state(&mut self, term: u64, vote: u64, commit: u64) {
        self.says.hard_state = HardState { term, vote, commit };
        self.record(3, Some(Message::default().varint(1, term).varint(2, vote).varint(3, commit)));
    }

    /// A snapshot that the log has reached.
    fn snapshot(&mut self, term: u64, index: u64) {
        let state = Message::default().varint(1, OWNER.node).varint(5, 0).finish();
        self.record(5, Some(Message::default().varint(1, index).varint(2, term).bytes(3, &state)));
    }

    /// The next segment, as etcd begins it.
    fn cut(&mut self) {
        self.close();
        self.sequence += 1;
        self.name = SegmentName { sequence: self.sequence, index: self.says.last.index + 1 };
        self.history.clear();
        self.writer.bytes.clear();
        self.head();
        let HardState { term, vote, commit } = self.says.hard_state;
        self.state(term, vote, commit);
    }

    fn close(&mut self) {
        self.folder.insert(self.name.to_string(), self.writer.bytes.clone());
    }

    /// The folder, the name of its last segment, and its history.
    fn end(mut self) -> (Folder, String, Vec<(usize, Says)>) {
        self.close();
        (self.folder, self.name.to_string(), self.history)
    }

    /// Three members, a leader that is succeeded, two segments, an entry of two sectors.
    fn story() -> Self {
        let mut log = Self::begin();
        log.snapshot(0, 0);
        for index in 1..=3 {
            let change = Message::default().varint(2, 0).varint(3, 100 + index).bytes(4, b"{}").finish();
            log.kind_of_entry(1, 1, index, &change);
        }
        log.state(1, 101, 3);
        log.entry(2, 4, b"");
        log.entry(2, 5, &put(b"a"));
        log.entry(2, 6, &put(b"lost"));
        log.entry(2, 7, &put(b"lost as well"));
        log.state(2, 102, 5);
        log.cut();
        log.entry(3, 6, b"");
        log.entry(3, 7, &put(b"b"));
        log.entry(3, 8, &put(&[b'k'; 700]));
        log.state(3, 103, 7);
        log.snapshot(2, 5);
        log.entry(3, 9, &put(b"c"));
        log.entry(3, 10, &put(b"d"));
        log
    }
}

fn put(key: &[u8]) -> Vec<u8> {
    let put = Message::default().bytes(1, key).bytes(2, b"value").finish();
    Message::default().bytes(4, &put).finish()
}

fn read(folder: &Folder) -> Result<(Log, Says), LogError> {
    let log = Log::read(folder, None)?;
    let mut entries = BTreeMap::new();
    log.visit(folder, 0, 4096, None, &mut |entry| {
        let data = entry.data.expect("short entries").to_vec();
        assert_eq!(entries.insert(entry.at.index, (entry.at.term, data)), None, "an index is shown once");
        ControlFlow::Continue(())
    })?;
    let says = Says { last: log.last, hard_state: log.hard_state, entries };
    assert_eq!(says.entries.len() as u64, log.entries);
    Ok((log, says))
}

#[test]
fn a_whole_log_says_what_was_written() {
    let script = Script::story();
    let expected = script.says.clone();
    let (mut folder, last, _) = script.end();
    let (log, says) = read(&folder).expect("a log");
    assert_eq!(says, expected);
    assert_eq!((log.owner, log.first, log.last), (OWNER, Some(1), Position { term: 3, index: 10 }));
    assert_eq!((log.entries, log.replaced), (10, 2));
    assert_eq!(log.snapshots, [Position::default(), Position { term: 2, index: 5 }]);
    assert_eq!(log.conf_state, Some(ConfState { voters: vec![OWNER.node], learners: vec![] }));
    let members: Vec<u64> = log.changes.iter().map(|change| change.member).collect();
    assert_eq!((members, log.torn), (vec![101, 102, 103], None));
    // Zeros behind it are the room that etcd keeps, and other files are passed over.
    folder.get_mut(&last).expect("the last segment").resize(1 << 20, 0);
    folder.insert("1.tmp".to_owned(), vec![0; 100]);
    assert_eq!(read(&folder).expect("a log").1, expected);
}

#[test]
fn what_is_above_the_database_is_listed_by_key() {
    let (folder, _, _) = Script::story().end();
    let log = Log::read(&folder, None).expect("a log");
    let gather = |applied, limits| OnlyInLog::gather(&folder, &log, applied, limits, None).expect("a listing");
    let only = gather(6, Limits::default());
    let keys: Vec<_> = only.keys.keys.keys().map(|key| key[0]).collect();
    assert_eq!((only.entries, only.uncommitted, keys), (4, 3, vec![b'b', b'c', b'd', b'k']));
    let change = KeyChange { puts: 1, deletes: 0, range_end: None, certain: true, last: 9 };
    assert_eq!(only.keys.keys[&b"c"[..]], change);
    assert_eq!((only.missing_from, only.database_is_ahead, only.unread), (None, false, 0));
    // Those of the leader that was succeeded are nowhere.
    let all = gather(0, Limits::default());
    assert_eq!((all.entries, all.member_changes, all.keys.keys.len()), (10, 3, 5));
    let few = gather(0, Limits { keys: 2, bytes: 1000 });
    assert_eq!((few.keys.keys.len(), few.keys.more_changes), (2, 3));
    assert_eq!(gather(0, Limits { keys: 9, bytes: 4 }).keys.keys.len(), 2);
    assert_eq!(gather(10, Limits::default()), OnlyInLog::default());
    assert!(gather(11, Limits::default()).database_is_ahead);
}

#[test]
fn a_log_whose_oldest_segments_are_gone_is_read_and_does_not_reach_back() {
    let mut script = Script::at(0x1234_5678, SegmentName { sequence: 5, index: 90 });
    script.state(4, 1, 95);
    for index in 90..100 {
        script.entry(4, index, &put(b"x"));
    }
    let (mut folder, name, _) = script.end();
    let log = Log::read(&folder, None).expect("a log");
    assert_eq!((log.first, log.last.index, log.entries), (Some(90), 99, 10));
    let only = |applied| OnlyInLog::gather(&folder, &log, applied, Limits::default(), None).expect("a listing");
    assert_eq!(only(89).missing_from, None);
    assert_eq!(only(80).missing_from, Some(81));
    // Of the first segment there is none before it.
    let bytes = folder.remove(&name).expect("a segment");
    folder.insert(SegmentName { sequence: 0, index: 0 }.to_string(), bytes);
    assert!(matches!(Log::read(&folder, None), Err(LogError::Corrupt { offset: 0, fault: Fault::Chain, .. })));
}

#[test]
fn segments_have_to_continue_each_other() {
    let (folder, _, _) = Script::story().end();
    let (other, last, _) = {
        let mut script = Script::story();
        script.entry(3, 11, b"");
        script.cut();
        script.end()
    };
    // The third segment continues a second one that has an entry more.
    let mut mixed = folder.clone();
    mixed.insert(last.clone(), other[&last].clone());
    let error = Log::read(&mixed, None).expect_err("a break");
    assert!(matches!(&error, LogError::Corrupt { offset: 0, fault: Fault::Chain, .. }), "{error}");
    let mut gap = other.clone();
    let second = gap.keys().nth(1).cloned().expect("three segments");
    gap.remove(&second);
    assert!(matches!(Log::read(&gap, None), Err(LogError::Gap { .. })));
    assert!(matches!(Log::read(&Folder::new(), None), Err(LogError::NoSegments)));
    // A segment that is cut before the last one is no torn end.
    let mut cut = other;
    cut.get_mut(&second).expect("a segment").truncate(100);
    assert!(matches!(Log::read(&cut, None), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_snapshot_from_a_leader_counts_once_it_is_committed() {
    let mut script = Script::begin();
    script.snapshot(0, 0);
    script.entry(1, 1, &put(b"a"));
    script.state(1, 1, 1);
    let before = script.says.clone();
    script.snapshot(4, 500);
    let (folder, ..) = script.end();
    let (log, says) = read(&folder).expect("a log");
    assert_eq!((says, log.snapshots.len()), (before, 1));

    let mut script = Script::begin();
    script.snapshot(0, 0);
    script.entry(1, 1, &put(b"a"));
    script.snapshot(4, 500);
    script.state(4, 1, 500);
    script.entry(4, 501, b"");
    let (folder, ..) = script.end();
    let log = Log::read(&folder, None).expect("a log");
    assert_eq!((log.first, log.last, log.entries), (Some(501), Position { term: 4, index: 501 }, 1));
    let only = OnlyInLog::gather(&folder, &log, 1, Limits::default(), None).expect("a listing");
    assert_eq!((only.entries, only.missing_from), (1, Some(2)));
}

#[test]
fn a_snapshot_that_a_restart_has_left_behind_does_not_count() {
    let mut script = Script::begin();
    script.snapshot(0, 0);
    script.entry(1, 1, &put(b"a"));
    script.state(1, 1, 1);
    script.snapshot(4, 500);
    script.entry(4, 2, &put(b"b"));
    let expected = script.says.clone();
    let (folder, ..) = script.end();
    let (log, says) = read(&folder).expect("a log");
    assert_eq!((says, log.first, log.replaced, log.snapshots.len()), (expected, Some(1), 0, 1));
}

#[test]
fn what_cannot_be_is_told_with_its_place() {
    for (fault, wrong) in [
        (Fault::Index, (|log: &mut Script| log.entry(3, 12, b"")) as fn(&mut Script)),
        (Fault::HardState, |log| log.state(3, 103, 6)),
        (Fault::HardState, |log| log.state(2, 103, 9)),
    ] {
        let mut script = Script::story();
        let place = script.writer.bytes.len() as u64;
        wrong(&mut script);
        let (folder, ..) = script.end();
        let found = Log::read(&folder, None).expect_err("a wrong log");
        assert!(matches!(found, LogError::Corrupt { offset, fault: found, .. } if offset == place && found == fault));
    }
    // Another member's metadata.
    let script = Script::story();
    let mut other = Writer { crc: script.writer.crc, ..Writer::default() };
    other.record(4, None);
    let place = other.bytes.len() as u64;
    other.record(1, Some(Message::default().varint(1, 7).varint(2, OWNER.cluster)));
    let (mut folder, ..) = script.end();
    folder.insert(SegmentName { sequence: 2, index: 11 }.to_string(), other.bytes);
    let found = Log::read(&folder, None).expect_err("a wrong log");
    assert!(matches!(found, LogError::Corrupt { offset, fault: Fault::Owner, .. } if offset == place), "{found}");
}

/// Every length of the last segment gives what is whole in it.
#[test]
fn every_cut_gives_a_prefix() {
    let (folder, last, history) = Script::story().end();
    let whole = folder[&last].clone();
    let before = history.first().expect("records").1.clone();
    for cut in 0..=whole.len() {
        for zeros in [0, 1024] {
            let mut folder = folder.clone();
            let mut bytes = whole[..cut].to_vec();
            if zeros > 0 {
                bytes.resize(whole.len().next_multiple_of(zeros), 0);
            }
            folder.insert(last.clone(), bytes);
            let (log, says) = read(&folder).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            let known = history.iter().rev().find(|(end, _)| *end <= cut);
            // The pad of the last record may be cut: then it is whole with zeros behind it.
            let next = history.iter().find(|(end, _)| *end > cut);
            let padded = zeros > 0 && next.is_some_and(|(_, next)| says == *next);
            assert!(says == known.map_or(&before, |(_, says)| says).clone() || padded, "cut at {cut}");
            let at_a_frame = cut == 0 || history.iter().any(|(end, _)| *end == cut);
            if let Some(torn) = &log.torn {
                assert!(!at_a_frame && torn.segment == last && torn.offset < cut as u64, "cut at {cut}: {torn:?}");
            } else {
                assert!(at_a_frame || padded || whole[..cut].ends_with(&[0]) || zeros == 0 && cut < 8, "cut at {cut}");
            }
        }
    }
}

/// What a flipped byte makes of a log: a prefix with a torn end, or an error with the place; never more than was written.
#[test]
fn every_flip_is_seen() {
    let (folder, last, history) = Script::story().end();
    let expected = history.last().expect("records").1.clone();
    for (name, whole) in &folder {
        for zeros in [1, 1024] {
            let length = if *name == last { whole.len().next_multiple_of(zeros) } else { whole.len() };
            for at in 0..length {
                for mask in [0x01, 0x02, 0x10, 0x80, 0xff] {
                    let mut folder = folder.clone();
                    let mut bytes = whole.clone();
                    bytes.resize(length, 0);
                    bytes[at] ^= mask;
                    folder.insert(name.clone(), bytes);
                    match read(&folder) {
                        Err(LogError::Corrupt { segment, .. }) => {
                            // A pad, or the checksum at the end of a segment, shows at the start of the next one.
                            assert!(segment.to_string() >= *name, "{name} {at}");
                        }
                        Err(error) => panic!("{name} {at} {mask:#x}: {error}"),
                        // The pads' bytes mean nothing.
                        Ok((log, says)) if says == expected => {
                            let behind = *name == last && at >= whole.len() && log.torn.is_some();
                            assert!(behind || is_pad(whole, at), "{name} {at} {mask:#x}");
                        }
                        Ok((log, says)) => {
                            let torn = log.torn.unwrap_or_else(|| panic!("{name} {at} {mask:#x} is silent"));
                            let prefix =
                                history.iter().any(|(end, known)| *end as u64 == torn.offset && *known == says);
                            assert!(*name == last && (prefix || torn.offset == 0), "{name} {at} {mask:#x}: {torn:?}");
                            // Only the last records can be mistaken for a torn end.
                            let after = history.iter().filter(|(end, _)| *end as u64 > torn.offset).count();
                            assert!(after <= 2, "{name} {at} {mask:#x}: {after} records are dropped, {torn:?}");
                        }
                    }
                }
            }
        }
    }
}

fn is_pad(bytes: &[u8], at: usize) -> bool {
    let mut offset = 0;
    while let Some(word) = crate::bytes::le_u64(bytes, offset) {
        let length = usize::try_from(word & ((1 << 56) - 1)).expect("a length");
        let next = (offset + 8 + length).next_multiple_of(8);
        if (offset..next).contains(&at) {
            return at >= offset + 8 + length;
        }
        offset = next;
    }
    false
}

/// As etcd judges it: a sector of zeros inside a record is where a write was cut off, also if a later sector was written.
#[test]
fn a_sector_that_was_never_written_is_a_torn_end() {
    let mut script = Script::story();
    for index in 11..30 {
        script.entry(3, index, &put(b"later"));
    }
    let (mut folder, last, history) = script.end();
    let bytes = folder.get_mut(&last).expect("a segment");
    bytes.resize(4096, 0);
    // The entry with the long key crosses this sector.
    bytes[512..1024].fill(0);
    let (log, says) = read(&folder).expect("a log");
    let torn = log.torn.expect("a torn end");
    assert_eq!((torn.reason, torn.records_follow), (TornReason::ZeroSector, true));
    assert!(history.iter().any(|(end, known)| *end as u64 == torn.offset && *known == says));
    assert_eq!(says.last, Position { term: 3, index: 7 });
}

/// Damage in the middle must not pass as an end, whatever is damaged.
#[test]
fn damage_before_other_records_is_no_torn_end() {
    let (folder, last, history) = Script::story().end();
    // The length of the long entry, so that its frame ends beyond the file, in its zeros, or at once.
    let offset = history.iter().map(|(end, _)| *end).find(|end| folder[&last][*end] > 0 && folder[&last][*end + 1] > 1);
    let offset = offset.expect("a long record");
    for (byte, value) in [(6, 0xff), (2, 0x01), (1, 0x03), (0, 0x08)] {
        let mut folder = folder.clone();
        let bytes = folder.get_mut(&last).expect("a segment");
        bytes.resize(1 << 18, 0);
        bytes[offset + byte] = value;
        let error = Log::read(&folder, None).expect_err("damage");
        assert!(matches!(error, LogError::Corrupt { offset: at, .. } if at == offset as u64), "{byte}: {error}");
    }
    // All of the length: no sector was lost, for the bytes behind it are there.
    let mut folder = folder.clone();
    folder.get_mut(&last).expect("a segment")[offset..offset + 8].fill(0);
    assert!(matches!(Log::read(&folder, None), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_cancelled_read_ends() {
    let (folder, ..) = Script::story().end();
    let cancel = std::sync::atomic::AtomicBool::new(true);
    assert!(matches!(Log::read(&folder, Some(&cancel)), Err(LogError::Io { .. })));
}

/// Steps of a random log.
#[derive(Debug, Clone)]
enum Act {
    Append(Vec<u8>),
    /// A new leader replaces so many of the last entries.
    Succeed(u64),
    State,
    Cut,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        5 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Act::Append),
        1 => (0..4_u64).prop_map(Act::Succeed),
        1 => Just(Act::State),
        1 => Just(Act::Cut),
    ];
    prop::collection::vec(act, 0..40)
}

fn play(acts: &[Act]) -> Script {
    let mut log = Script::begin();
    let mut term = 1;
    log.snapshot(0, 0);
    for act in acts {
        let last = log.says.last.index;
        match act {
            Act::Append(data) => log.entry(term, last + 1, data),
            Act::Succeed(replaced) => {
                term += 1;
                let from = last.saturating_sub(*replaced).max(log.says.hard_state.commit);
                log.entry(term, from + 1, b"");
            }
            Act::State => log.state(term, 1, log.says.hard_state.commit.max(last.saturating_sub(3))),
            Act::Cut => log.cut(),
        }
    }
    log
}

proptest! {
    #[test]
    fn any_log_is_read_as_it_was_written(acts in acts(), zeros in 0..3000_usize) {
        let script = play(&acts);
        let expected = script.says.clone();
        let (mut folder, last, _) = script.end();
        let whole = folder[&last].len();
        folder.get_mut(&last).expect("a segment").resize(whole + zeros, 0);
        let (log, says) = read(&folder).expect("a log");
        prop_assert_eq!(says, expected);
        prop_assert_eq!(log.torn, None);
    }

    #[test]
    fn any_write_that_is_cut_off_leaves_a_prefix(acts in acts(), cut in 0.0..1.0_f64) {
        let (mut folder, last, history) = play(&acts).end();
        let bytes = folder.get_mut(&last).expect("a segment");
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small file")]
        let at = (bytes.len() as f64 * cut) as usize;
        bytes.truncate(at);
        match read(&folder) {
            Ok((_, says)) => {
                let known = history.iter().rev().find(|(end, _)| *end <= at).or(history.first());
                prop_assert_eq!(Some(says), known.map(|(_, says)| says.clone()));
            }
            Err(error) => prop_assert!(matches!(error, LogError::Empty { .. }), "{}", error),
        }
    }
}
