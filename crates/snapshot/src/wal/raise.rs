//! A log that says of all of its entries that they are committed.
//!
//! A follower learns what is committed with the next message of its leader, so the newest entries of a member that was killed are not yet known to be
//! committed; its log has them all the same, and those that a client was told of are among them. For a copy of the log only: a cluster decides
//! itself what is committed.

use std::fs::OpenOptions;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::{HardState, Log, SegmentName};
use crate::restore::hard_state_record;

/// A change at the end of a log: a hard state that commits its last entry, in place of what is left of a write that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    /// The segment that is changed: the last one.
    pub segment: SegmentName,
    /// Where in it.
    pub offset: u64,
    /// The hard state.
    pub hard_state: HardState,
    bytes: Vec<u8>,
}

impl Raise {
    /// What is to be changed in this log.
    pub fn of(log: &Log) -> Raise {
        let before = log.hard_state;
        let hard_state = HardState {
            term: before.term.max(log.last.term),
            // A vote is one of its term.
            vote: if log.last.term > before.term { 0 } else { before.vote },
            commit: before.commit.max(log.last.index),
        };
        let bytes = hard_state_record(log.checksum(), hard_state);
        Raise { segment: log.segments.1, offset: log.end_offset(), hard_state, bytes }
    }

    /// Changes the log in a folder. The file is as long afterwards as it was.
    ///
    /// # Errors
    /// The segment cannot be written to.
    pub fn apply(&self, folder: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(folder.join(self.segment.to_string()))?;
        let length = file.metadata()?.len();
        // What is behind the end of a file is zeros when the file is made longer: the end of a log.
        file.set_len(self.offset)?;
        file.seek(SeekFrom::Start(self.offset))?;
        file.write_all(&self.bytes)?;
        file.set_len(length.max(self.offset + self.bytes.len() as u64))?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Folder, Position};
    use super::*;
    use crate::restore::NewCluster;
    use crate::restore::testing::new_log;

    const SEGMENT: &str = "0000000000000000-0000000000000000.wal";

    fn log() -> Vec<u8> {
        let cluster = NewCluster {
            name: "a".to_owned(),
            initial_cluster: "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380".to_owned(),
            initial_cluster_token: "etcd-cluster".to_owned(),
            initial_advertise_peer_urls: None,
        };
        new_log(&cluster.validate().unwrap())
    }

    #[test]
    fn whatever_was_cut_off_the_log_commits_its_last_entry_and_ends_there() {
        let bytes = log();
        let (mut raised, mut lengths) = (0, 0);
        for cut in 0..=bytes.len() {
            let folder = tempfile::tempdir().unwrap();
            let mut left = bytes[..cut].to_vec();
            // As etcd leaves it: zeros up to the length of a segment.
            left.resize(8192, 0);
            std::fs::write(folder.path().join(SEGMENT), &left).unwrap();
            let Ok(before) = Log::read(&Folder::new(folder.path()), None) else { continue };
            let raise = Raise::of(&before);
            raise.apply(folder.path()).unwrap();
            let after = Log::read(&Folder::new(folder.path()), None).unwrap();
            assert_eq!((after.last, after.entries, after.owner), (before.last, before.entries, before.owner), "{cut}");
            assert_eq!(after.hard_state, raise.hard_state, "{cut}");
            assert_eq!(
                (after.hard_state.commit, &after.torn),
                (after.last.index.max(before.hard_state.commit), &None),
                "{cut}"
            );
            raised += usize::from(after.hard_state.commit > before.hard_state.commit);
            lengths += std::fs::metadata(folder.path().join(SEGMENT)).unwrap().len();
            assert_eq!(lengths % 8192, 0);
        }
        assert!(raised > 50, "{raised}");
    }

    #[test]
    fn a_term_without_an_entry_stays_and_a_vote_is_one_of_its_term() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(SEGMENT), log()).unwrap();
        let mut read = Log::read(&Folder::new(folder.path()), None).unwrap();
        assert_eq!(read.last, Position { term: 1, index: 3 });
        read.hard_state = HardState { term: 7, vote: 5, commit: 2 };
        assert_eq!(Raise::of(&read).hard_state, HardState { term: 7, vote: 5, commit: 3 });
        read.hard_state = HardState { term: 0, vote: 5, commit: 2 };
        assert_eq!(Raise::of(&read).hard_state, HardState { term: 1, vote: 0, commit: 3 });
    }
}
