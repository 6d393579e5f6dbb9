//! Whether two files have the same bytes.

use std::io::{self, Read};

use rustix::fs::FileType;

use crate::node::Place;

/// How a file compares with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    Equal,
    /// The other one begins with it: it may still be being written.
    Beginning,
    Different,
}

/// Compares all bytes of `one` with those of `other`. `None` if one of them is not there. A link, or anything else that is no file, is
/// different from everything.
pub(super) fn compare(one: &Place, other: &Place) -> io::Result<Option<Likeness>> {
    for place in [one, other] {
        match place.stat()? {
            None => return Ok(None),
            Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Ok(Some(Likeness::Different));
            }
            Some(_) => {}
        }
    }
    let read = || -> io::Result<Likeness> {
        let whole = other.read()?;
        let mut bytes = Vec::new();
        // One that is longer need not be read to its end.
        one.open_file()?.take(whole.len() as u64 + 1).read_to_end(&mut bytes)?;
        Ok(match (bytes == whole, whole.starts_with(&bytes)) {
            (true, _) => Likeness::Equal,
            (false, true) => Likeness::Beginning,
            (false, false) => Likeness::Different,
        })
    };
    match read() {
        Ok(likeness) => Ok(Some(likeness)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_count_and_only_files_have_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| Place::new(folder.path()).join(name);
        for (name, text) in
            [("a", "pod"), ("same", "pod"), ("begun", "po"), ("empty", ""), ("longer", "pods"), ("b", "pop")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        for (name, expected) in [
            ("same", Some(Likeness::Equal)),
            ("begun", Some(Likeness::Beginning)),
            ("empty", Some(Likeness::Beginning)),
            ("longer", Some(Likeness::Different)),
            ("b", Some(Likeness::Different)),
            ("folder", Some(Likeness::Different)),
            ("link", Some(Likeness::Different)),
            ("nothing", None),
        ] {
            assert_eq!(compare(&place(name), &place("a")).unwrap(), expected, "{name}");
        }
        assert_eq!(compare(&place("a"), &place("nothing")).unwrap(), None);
        // A name that cannot be looked at is not absent.
        assert!(compare(&place("a/b"), &place("a")).is_err());
    }
}
