//! What a node has done in a restore: a file that only grows, and is on the disk before the next thing is done.
//!
//! A line an entry: CRC-32C of the JSON in eight hexadecimal digits, a space, the JSON. A machine that fails in the middle of a write
//! leaves a last line that is cut or wrong; it counts as not written. A wrong line before the last is damage, and nothing is done then.

use std::fs::File;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use etcd_wire::restore::{RestorePlan, Staged};
use etcd_wire::{Failure, FailureCode, crc32c};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::former;
use super::ground::Ground;
use crate::node::Place;

/// The format that this version writes. Version 0.1 wrote format 1, whose first entry has another name.
pub(super) const FORMAT: u32 = 2;
/// The version of the protocol that nodes follow: one restore has one.
pub(super) const PROTOCOL: u32 = 1;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Entry {
    /// The first: what is to be done, and what the node was like.
    Transaction { format: u32, protocol: u32, plan: Box<RestorePlan>, node: String, ground: Box<Ground> },
    /// The new data lies beside the old.
    Staged { staged: Staged },
    /// The certificate, never the key, of an authority that signs the identities of this restore's nodes. By it a node that has lost its own
    /// identity knows the others.
    Authority { authority: String },
    /// Going back: the new data had this revision when it was stopped.
    Served { revision: i64 },
    /// Something was kept instead of being deleted.
    Kept { path: String, why: String },
    /// Something to tell.
    Note { text: String },
    /// A fact of the protocol.
    #[serde(untagged)]
    Protocol(etcd_transaction::Entry),
}

/// An entry and when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Milliseconds since 1970.
    pub(super) at: i64,
    #[serde(flatten)]
    pub(super) entry: Entry,
}

/// The entries of a journal, by its format.
#[derive(Debug, Clone)]
pub(super) enum Lines {
    /// Of the format that this version writes.
    Current(Vec<Line>),
    /// Of version 0.1.
    Former(Vec<former::Line>),
}

impl Lines {
    #[cfg(test)]
    fn len(&self) -> usize {
        match self {
            Lines::Current(lines) => lines.len(),
            Lines::Former(lines) => lines.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Lines::Current(lines) => lines.is_empty(),
            Lines::Former(lines) => lines.is_empty(),
        }
    }

    /// Takes one more. The first one tells the format.
    fn take(&mut self, json: &str) -> serde_json::Result<()> {
        if let Lines::Current(lines) = self {
            match serde_json::from_str(json) {
                Ok(line) => {
                    lines.push(line);
                    return Ok(());
                }
                Err(error) if !lines.is_empty() => return Err(error),
                Err(error) => match serde_json::from_str::<former::Line>(json) {
                    Ok(line) if matches!(line.entry, former::Entry::Begun { .. }) => *self = Lines::Former(vec![line]),
                    _ => return Err(error),
                },
            }
        } else if let Lines::Former(lines) = self {
            lines.push(serde_json::from_str(json)?);
        }
        Ok(())
    }
}

/// A journal that is written to.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Bytes of whole lines.
    good: u64,
    /// After a write that failed nothing is written any more.
    failed: bool,
}

/// Bytes that are reserved for a journal, so that it can be written on a disk that is full meanwhile. Far more than one has.
const RESERVED: u64 = 256 << 10;

/// Some file systems cannot reserve; they are as good as without.
fn reserve(file: &File) -> std::io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, RESERVED) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Journal {
    /// Begins a journal in a folder that is made for it.
    pub(super) fn create(place: &Place) -> Result<Journal, Failure> {
        let folder = place.folder().unwrap_or_else(|| place.clone());
        let made = || -> std::io::Result<Journal> {
            folder.create_folder()?;
            let file = place.create()?;
            reserve(&file)?;
            folder.sync()?;
            folder.folder().map_or(Ok(()), |state| state.sync())?;
            Ok(Journal { file, good: 0, failed: false })
        };
        made().map_err(|error| storage("begin the journal", &error))
    }

    /// Opens a journal to go on with it. A last line that was not written whole is taken away, and all others are on the disk before
    /// any is believed: the process that wrote them may have been killed before they were, or may have ended because they could not be. After
    /// a write that failed, Linux counts what is in memory as written, so it is written once more.
    ///
    /// # Errors
    /// It is of another format, or a process has it open: one that hangs in the kernel may still write.
    pub(super) fn open(place: &Place) -> Result<(Journal, Vec<Line>), Failure> {
        let lock = place.append().map_err(|error| storage("open the journal", &error))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Failure::new(FailureCode::Busy, "another process writes the journal"));
            }
            Err(error) => return Err(storage("lock the journal", &error)),
        }
        let (lines, good) = read(place)?;
        let Lines::Current(lines) = lines else {
            let message = format!("the journal {} was written by version 0.1", place.display());
            return Err(Failure::new(FailureCode::Refused, message));
        };
        let opened = || -> std::io::Result<Journal> {
            let mut whole = place.read()?;
            whole.truncate(usize::try_from(good).unwrap_or(usize::MAX));
            let mut again = place.overwrite()?;
            again.set_len(good)?;
            again.write_all(&whole)?;
            again.sync_all()?;
            // What was reserved went with the end that was taken away. A disk that is full now is told by the next entry.
            if let Err(error) = reserve(&again) {
                tracing::warn!("cannot reserve room for the journal: {error}");
            }
            Ok(Journal { file: lock, good, failed: false })
        };
        Ok((opened().map_err(|error| storage("open the journal", &error))?, lines))
    }

    /// Writes an entry, and returns once the disk has it.
    ///
    /// After an error nobody knows what the disk has: the process has to end, and the next one believes the disk.
    pub(super) fn append(&mut self, entry: Entry) -> Result<Line, Failure> {
        if self.failed {
            return Err(Failure::new(FailureCode::Storage, "the journal could not be written before"));
        }
        let line = Line { at: now(), entry };
        let json = serde_json::to_string(&line).expect("entries hold only strings, numbers, lists and structures");
        let text = format!("{:08x} {json}\n", crc32c(json.as_bytes()));
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.good += text.len() as u64;
                Ok(line)
            }
            Err(error) => {
                // What was cut in the middle must not become part of the next line.
                self.failed = true;
                let _worse = self.file.set_len(self.good);
                Err(storage("write the journal", &error))
            }
        }
    }
}

/// All entries of a journal, which are on the disk then, and how many bytes they take.
pub(super) fn read(place: &Place) -> Result<(Lines, u64), Failure> {
    let settled = || -> std::io::Result<()> {
        place.sync_file()?;
        let Some(folder) = place.folder() else { return place.sync_name() };
        folder.sync()?;
        folder.sync_name()
    };
    settled().map_err(|error| storage("synchronise the journal", &error))?;
    let bytes = place.read().map_err(|error| storage("read the journal", &error))?;
    parse(&bytes, &place.display())
}

/// All entries that are whole, and how many bytes they take. `name` is the file, for people.
///
/// # Errors
/// [`FailureCode::Storage`]: an entry before the last one is damaged, or not known to this version.
pub(super) fn parse(bytes: &[u8], name: &str) -> Result<(Lines, u64), Failure> {
    let (mut lines, mut good) = (Lines::Current(Vec::new()), 0);
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        let refuse = |what: &str, hint: &str| {
            let message = format!("the journal {name} {what} at byte {good}");
            Failure::new(FailureCode::Storage, message).hint(hint)
        };
        match whole(piece) {
            Some(json) => {
                let taken = lines.take(json).map_err(|error| {
                    let hint = "use the version that wrote it; if that restore has ended, remove its folder";
                    refuse("cannot be read by this version", hint).source(&error)
                });
                taken?;
                good += piece.len();
            }
            None if good + piece.len() == bytes.len() => break,
            None => {
                let hint = "the node does nothing with a damaged journal; see what to do by hand\n  https://github.com/kubectl-etcd/kubectl-etcd/blob/main/docs/RESTORE.md#when-a-node-cannot-roll-back";
                return Err(refuse("is damaged", hint));
            }
        }
    }
    Ok((lines, good as u64))
}

/// The JSON of a line that was written whole.
fn whole(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (crc, json) = text.split_at_checked(8)?;
    let json = json.strip_prefix(' ')?;
    (u32::from_str_radix(crc, 16).ok()? == crc32c(json.as_bytes())).then_some(json)
}

pub(super) fn storage(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureCode::Storage, format!("cannot {what}")).source(error)
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use etcd_transaction::{Ballot, Decision, Ending, Entry as Fact, How, Node, NodeSet, Step, Why};

    use super::*;

    const ARMED: Entry = Entry::Protocol(Fact::Armed);

    fn step(step: Step, done: bool) -> Entry {
        Entry::Protocol(Fact::Step { step, done })
    }

    #[test]
    fn every_entry_is_what_was_written() {
        let ballot = Ballot { epoch: 1, round: 7, owner: Node(2) };
        let facts = [
            Fact::Armed,
            Fact::Step { step: Step::Swap, done: true },
            Fact::Vote { yes: true, why: None },
            Fact::Vote { yes: false, why: Some(Why::Unheard { by: Node(0), node: Node(1) }) },
            Fact::Promised { ballot },
            Fact::Accepted { ballot, decision: Decision::Commit },
            Fact::Decided { decision: Decision::Abort, how: How::Ballot { ballot } },
            Fact::Decided { decision: Decision::Commit, how: How::Told { node: Node(1) } },
            Fact::Intruded { component: etcd_transaction::Component::ApiServer },
            Fact::ServedAbove,
            Fact::Excluded { nodes: NodeSet::of(Node(3)), epoch: 1 },
            Fact::Ended { ending: Ending::WentBack },
            Fact::AllEnded,
            Fact::Forgotten,
            Fact::Restaged { digest: u64::MAX },
            Fact::Stays,
        ];
        let own = [Entry::Note { text: "n".into() }, Entry::Served { revision: 1 << 60 }];
        for entry in facts.map(Entry::Protocol).into_iter().chain(own) {
            let line = Line { at: 1_700_000_000_000, entry };
            let json = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line, "{json}");
        }
        let unknown = r#"{"at":1,"entry":"from a later version"}"#;
        assert!(serde_json::from_str::<Line>(unknown).is_err());
    }
    use crate::node::probe;

    #[test]
    fn nothing_is_believed_before_it_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).join("id/journal");
        Journal::create(&place).unwrap().append(ARMED).unwrap();
        let order = |operations: &[String]| -> Vec<String> {
            operations.iter().map(|one| one.replace(&folder.path().display().to_string(), "STATE")).collect()
        };
        let synced = ["sync STATE/id/journal", "sync STATE/id", "sync STATE"];
        let (lines, operations) = probe::watch(|| read(&place).unwrap().0);
        assert_eq!(
            (lines.len(), order(&operations)),
            (1, [&synced[..], &["read STATE/id/journal"]].concat().into_iter().map(str::to_owned).collect())
        );
        let (_, operations) = probe::watch(|| Journal::open(&place).unwrap());
        assert_eq!(order(&operations)[..3], synced);
        for count in 0..operations.len() {
            let (opened, _) = probe::fail_after(count, || Journal::open(&place));
            assert_eq!(opened.unwrap_err().code, FailureCode::Storage, "{count}");
        }
        assert_eq!(read(&place).unwrap().0.len(), 1);
    }

    #[test]
    fn what_was_written_is_read_and_a_torn_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).join("id/journal");
        let path = place.path();
        let mut journal = Journal::create(&place).unwrap();
        let entries = [ARMED, step(Step::Swap, false), Entry::Note { text: "a\nb".into() }];
        for entry in &entries {
            journal.append(entry.clone()).unwrap();
        }
        assert!(Journal::create(&place).is_err());
        let whole = fs::read(&path).unwrap();
        let second = whole.iter().rposition(|byte| *byte == b'\n').unwrap();
        let second = whole[..second].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for length in second..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (mut journal, lines) = Journal::open(&place).unwrap();
            assert_eq!(
                lines.iter().map(|line| &line.entry).collect::<Vec<_>>(),
                [&entries[0], &entries[1]],
                "{length}"
            );
            journal.append(entries[2].clone()).unwrap();
            assert_eq!(read(&place).unwrap().0.len(), 3);
        }
        let mut torn = whole.clone();
        torn[whole.len() - 3] ^= 1;
        fs::write(&path, &torn).unwrap();
        assert_eq!(Journal::open(&place).unwrap().1.len(), 2);
        let mut damaged = whole.clone();
        damaged[20] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(Journal::open(&place).unwrap_err().code, FailureCode::Storage);
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
}
