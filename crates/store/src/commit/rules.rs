//! The order of a backup's objects, and what the store must have in the end: pure.

use std::fmt;

use crate::Object;
use crate::layout::Key;

/// A step of writing a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The snapshot is complete in the store.
    Data,
    /// The files of a node are.
    NodeFiles,
    /// The signature of the record is created.
    Signature,
    /// The record is created: from now on it is a backup.
    Record,
    /// What the store has is compared with what was written.
    Compare,
}

/// The steps of a backup, in their order.
pub fn order(has_node_files: bool, is_signed: bool) -> Vec<Step> {
    let all = [Step::Data, Step::NodeFiles, Step::Signature, Step::Record, Step::Compare];
    let wanted = |step: &Step| match step {
        Step::NodeFiles => has_node_files,
        Step::Signature => is_signed,
        _ => true,
    };
    all.into_iter().filter(wanted).collect()
}

/// An object that the store does not have as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Which.
    pub key: Key,
    /// Bytes that were written.
    pub written: u64,
    /// Bytes in the store; `None` if it is not there.
    pub stored: Option<u64>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stored {
            Some(stored) => write!(f, "{} has {stored} bytes instead of {}", self.key, self.written),
            None => write!(f, "{} is not there", self.key),
        }
    }
}

/// Compares what was written with what the store lists.
pub fn compare(written: &[(Key, u64)], listed: &[Object]) -> Vec<Mismatch> {
    let mismatch = |(key, size): &(Key, u64)| {
        let stored = listed.iter().find(|object| object.key == *key).map(|object| object.size);
        (stored != Some(*size)).then(|| Mismatch { key: key.clone(), written: *size, stored })
    };
    written.iter().filter_map(mismatch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Part;

    #[test]
    fn the_record_is_the_last_object() {
        for has_node_files in [false, true] {
            for is_signed in [false, true] {
                let steps = order(has_node_files, is_signed);
                assert_eq!(steps.first(), Some(&Step::Data));
                assert_eq!(&steps[steps.len() - 2..], [Step::Record, Step::Compare]);
                assert_eq!(steps.contains(&Step::NodeFiles), has_node_files);
                assert_eq!(steps.contains(&Step::Signature), is_signed);
            }
        }
    }

    #[test]
    fn every_object_must_be_listed_with_its_size() {
        let (cluster, name) = (
            "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d".parse().unwrap(),
            "20261127T031500Z-1-manual-k3f2x2ab".parse().unwrap(),
        );
        let key = |part| Key::new(&cluster, &name, part);
        let listed = |part, size| Object { key: key(part), size, modified: jiff::Timestamp::UNIX_EPOCH };
        let written = [(key(Part::Data { encrypted: true }), 10), (key(Part::Record), 5)];
        assert_eq!(compare(&written, &[listed(Part::Data { encrypted: true }, 10), listed(Part::Record, 5)]), []);
        let said: Vec<String> =
            compare(&written, &[listed(Part::Data { encrypted: true }, 9)]).iter().map(ToString::to_string).collect();
        assert!(said[0].ends_with(".db.zst.age has 9 bytes instead of 10") && said[1].ends_with(".json is not there"));
    }
}
