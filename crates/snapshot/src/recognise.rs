//! Which files of a folder are snapshots, by their names and by their first bytes.

/// The magic number of bbolt and its place in a file's first page: go.etcd.io/bbolt internal/common/{types,meta}.go @ v1.4.3.
const BBOLT: (usize, &[u8]) = (16, &[0xED, 0xDA, 0x0C, 0xED]);
/// Endings of files that kubectl-etcd writes beside a snapshot.
const BESIDE: [&str; 2] = [".json", ".part"];
/// What names of snapshots have in common: `.db`, and perhaps how the file was compressed or encrypted.
const SNAPSHOT: &str = ".db";

/// How many first bytes of a file [`is_database`] looks at.
pub const DATABASE_BEGINNING: usize = BBOLT.0 + BBOLT.1.len();

/// Whether a file begins with the first page of a database of bbolt.
pub fn is_database(beginning: &[u8]) -> bool {
    beginning.get(BBOLT.0..).is_some_and(|rest| rest.starts_with(BBOLT.1))
}

/// Whether a file of a folder is looked at at all: hidden ones, and what is written beside snapshots, are not.
pub fn may_be_snapshot(name: &str) -> bool {
    !name.starts_with('.') && !BESIDE.iter().any(|ending| name.ends_with(ending))
}

/// Whether a file is named as snapshots are: `etcd.db`, `etcd.db.zst`.
pub fn is_snapshot_name(name: &str) -> bool {
    name.find(SNAPSHOT).is_some_and(|at| matches!(name.as_bytes().get(at + SNAPSHOT.len()), None | Some(b'.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_told_by_their_names() {
        for (name, is) in
            [("etcd.db", true), ("a.db.zst", true), ("a.db.age", true), ("a.dbx", false), ("notes.txt", false)]
        {
            assert_eq!(is_snapshot_name(name), is, "{name}");
        }
        for (name, may) in [("a.db", true), ("a", true), (".a.db", false), ("a.db.json", false), ("a.db.part", false)] {
            assert_eq!(may_be_snapshot(name), may, "{name}");
        }
    }

    #[test]
    fn a_database_is_told_by_its_first_page() {
        let mut page = [0; DATABASE_BEGINNING];
        assert!(!is_database(&page) && !is_database(&[]));
        page[BBOLT.0..].copy_from_slice(BBOLT.1);
        assert!(is_database(&page) && !is_database(&page[..BBOLT.0 + 1]));
    }
}
