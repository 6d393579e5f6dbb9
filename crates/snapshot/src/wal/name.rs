//! The names of the segments of a log.

use std::fmt;

use super::error::LogError;

/// The name of a segment; segments are ordered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Its number, from 0 without gaps. etcd deletes the oldest segments.
    pub sequence: u64,
    /// Raft index of the first entry that it was made for.
    pub index: u64,
}

impl SegmentName {
    /// `None` for the name of another file, as `0.tmp`, which etcd keeps ready for the next segment, or `*.wal.broken`.
    pub fn parse(name: &str) -> Option<Self> {
        let (sequence, index) = pair(name.strip_suffix(".wal")?)?;
        Some(Self { sequence, index })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.index)
    }
}

/// Two numbers of 16 hexadecimal digits each.
pub(super) fn pair(text: &str) -> Option<(u64, u64)> {
    let number = |text: &str| {
        let digits = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
    };
    let (first, second) = text.split_once('-')?;
    Some((number(first)?, number(second)?))
}

/// The segments among the names of a folder, in their order. The index of a segment may be below that of the one before it: entries that a later
/// leader replaces were counted there.
///
/// # Errors
/// There are none, or one is missing between others.
pub(super) fn segments(names: &[String]) -> Result<Vec<SegmentName>, LogError> {
    let mut found: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    found.sort_unstable();
    for pair in found.windows(2) {
        if let [before, after] = *pair
            && before.sequence.checked_add(1) != Some(after.sequence)
        {
            return Err(LogError::Gap { before, after });
        }
    }
    if found.is_empty() { Err(LogError::NoSegments) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_etcd() {
        let name = SegmentName { sequence: 0x1f, index: 0xabc };
        assert_eq!(name.to_string(), "000000000000001f-0000000000000abc.wal");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in [
            "0.tmp",
            "000000000000001f-0000000000000abc.wal.broken",
            "000000000000001F-0000000000000abc.wal",
            "+00000000000001f-0000000000000abc.wal",
            "1f-abc.wal",
            ".wal",
            "",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn segments_are_in_order_and_without_gaps_but_may_begin_late() {
        let names = |all: &[(u64, u64)]| -> Vec<String> {
            let one = |&(sequence, index): &(u64, u64)| SegmentName { sequence, index }.to_string();
            all.iter().map(one).chain(["1.tmp".to_owned()]).collect()
        };
        let order = |all: &[(u64, u64)]| {
            segments(&names(all)).map(|found| found.iter().map(|name| name.sequence).collect::<Vec<_>>())
        };
        assert_eq!(order(&[(5, 900), (4, 500), (6, 901)]).expect("in order"), [4, 5, 6]);
        // A leader that replaced entries before the segment was begun.
        assert_eq!(order(&[(4, 9), (5, 8)]).expect("in order"), [4, 5]);
        assert!(matches!(order(&[]), Err(LogError::NoSegments)));
        for wrong in [&[(4, 1), (6, 5)][..], &[(4, 1), (4, 2)]] {
            assert!(matches!(order(wrong), Err(LogError::Gap { .. })), "{wrong:?}");
        }
    }
}
