//! Files of the node for an archive: a folder with all that is below it. No link is followed, and nothing that is no file is opened.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use etcd_store::node_files::{Kind, Limits, NodeFile, NodeFilesError, NodePath};
use rustix::fs::FileType;

use super::Place;

/// Where kubeadm keeps old manifests and old data of etcd: large, and nothing that a new control plane needs
/// (kubernetes cmd/kubeadm/app/constants/constants.go `TempDir` @ v1.36.0).
const TEMPORARY: &str = "/etc/kubernetes/tmp";
/// How often something that changes while it is read is read.
const ATTEMPTS: u32 = 5;

/// What came of gathering files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// Files in the archive, without folders and links.
    pub(crate) files: u64,
    /// What is not in the archive, by its path, and why.
    pub(crate) left_out: Vec<(String, String)>,
}

/// Files that could not be gathered: there is no archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    /// A path that is not absolute.
    #[error("{0:?} is not an absolute path")]
    Relative(PathBuf),
    /// What was asked for is not there.
    #[error("there is no {} on the node", .0.display())]
    Missing(PathBuf),
    /// Something changes all the time.
    #[error("{0} has changed each time that it was read")]
    Changing(String),
    /// There is no file at all.
    #[error("there are no files in {0}")]
    Empty(String),
    /// Something cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The archive does not take it.
    #[error(transparent)]
    Archive(#[from] NodeFilesError),
}

/// Gives each thing at and below `paths` to `append`, a folder before what is in it, in the order of names. What goes while it is looked at
/// was never there. What an archive cannot have, or what is larger than `limits` says of one file, is left out, and told.
///
/// # Errors
/// See [`GatherError`].
pub(crate) fn gather(
    paths: &[PathBuf],
    limits: Limits,
    mut append: impl FnMut(&NodeFile) -> Result<(), NodeFilesError>,
) -> Result<Gathered, GatherError> {
    let mut gathered = Gathered::default();
    let mut waiting: VecDeque<Place> = VecDeque::new();
    for path in topmost(paths) {
        if !path.is_absolute() {
            return Err(GatherError::Relative(path.to_owned()));
        }
        let place = Place::new(path);
        if !place.exists()? {
            return Err(GatherError::Missing(path.to_owned()));
        }
        waiting.push_back(place);
    }
    while let Some(place) = waiting.pop_front() {
        let shown = place.display();
        let mut leave_out = |why: String| gathered.left_out.push((shown.clone(), why));
        let path = match place.path().to_str().ok_or_else(|| "has a name that is not text".to_owned()) {
            Ok(_) if place.path() == Path::new(TEMPORARY) => Err("is where kubeadm keeps old files".to_owned()),
            Ok(text) => NodePath::parse(text),
            Err(why) => Err(why),
        };
        let path = match path {
            Ok(path) => path,
            Err(why) => {
                leave_out(why);
                continue;
            }
        };
        match look(&place, paths, limits.file)? {
            Look::Gone => {}
            Look::Unfit(why) => leave_out(why),
            Look::Is { stat, kind, names } => {
                gathered.files += u64::from(matches!(kind, Kind::File(_)));
                append(&NodeFile {
                    path,
                    mode: stat.mode & 0o7777,
                    owner: stat.owner,
                    group: stat.group,
                    modified: stat.modified,
                    kind,
                })?;
                for name in names.into_iter().rev() {
                    waiting.push_front(place.join(name));
                }
            }
        }
    }
    if gathered.files == 0 {
        let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(GatherError::Empty(all.join(", ")));
    }
    Ok(gathered)
}

/// Without what lies below another one, or is named twice.
fn topmost(paths: &[PathBuf]) -> Vec<&Path> {
    let mut kept: Vec<&Path> = Vec::new();
    let mut all: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    all.sort_unstable();
    for path in all {
        if !kept.iter().any(|above| path.starts_with(above)) {
            kept.push(path);
        }
    }
    kept
}

/// Whose something is, and when its content was changed.
#[derive(Debug)]
struct Facts {
    mode: u32,
    owner: u32,
    group: u32,
    modified: u64,
}

/// What is at a place.
#[derive(Debug)]
enum Look {
    Gone,
    /// Why it is left out.
    Unfit(String),
    Is {
        stat: Facts,
        kind: Kind,
        /// What is in a folder.
        names: Vec<OsString>,
    },
}

/// Looks until nothing has changed meanwhile.
fn look(place: &Place, paths: &[PathBuf], most: u64) -> Result<Look, GatherError> {
    for _ in 0..ATTEMPTS {
        let Some(stat) = place.stat()? else { return Ok(Look::Gone) };
        let is = |kind: Kind, names: Vec<OsString>| {
            let facts = Facts {
                mode: stat.st_mode,
                owner: stat.st_uid,
                group: stat.st_gid,
                modified: u64::try_from(stat.st_mtime).unwrap_or(0),
            };
            Ok(Look::Is { stat: facts, kind, names })
        };
        let tried = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => place.names().map(|names| Some((Kind::Folder, names))),
            FileType::Symlink => match place.link_target() {
                Ok(target) => match link(&place.path(), Path::new(&target), paths) {
                    Ok(target) => Ok(Some((Kind::Link(target), Vec::new()))),
                    Err(why) => return Ok(Look::Unfit(why)),
                },
                Err(error) => Err(error),
            },
            FileType::RegularFile if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > most => {
                return Ok(Look::Unfit(format!("has {} bytes, and at most {most} are taken", stat.st_size)));
            }
            FileType::RegularFile => {
                place.open_file().and_then(|file| Ok(content(file, most)?.map(|bytes| (Kind::File(bytes), Vec::new()))))
            }
            FileType::Socket => return Ok(Look::Unfit("is a socket".to_owned())),
            FileType::Fifo => return Ok(Look::Unfit("is a pipe".to_owned())),
            _ => return Ok(Look::Unfit("is a device".to_owned())),
        };
        match tried {
            Ok(Some((kind, names))) => return is(kind, names),
            Ok(None) => {}
            // Something else is in its place by now, or nothing.
            Err(error) => match place.stat()? {
                Some(now) if (now.st_ino, now.st_mode) == (stat.st_ino, stat.st_mode) => return Err(error.into()),
                _ => {}
            },
        }
    }
    Err(GatherError::Changing(place.display()))
}

/// All bytes of a file; `None` if it has changed meanwhile.
fn content(mut file: File, most: u64) -> io::Result<Option<Vec<u8>>> {
    let version = |seen: &Metadata| (seen.len(), seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec());
    let before = version(&file.metadata()?);
    let mut bytes = Vec::new();
    (&mut file).take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    let is_same = version(&file.metadata()?) == before && bytes.len() as u64 == before.0;
    Ok(is_same.then_some(bytes))
}

/// The target of a link, relative, where it leads to something that is taken.
///
/// # Errors
/// Why it cannot be taken.
fn link(from: &Path, target: &Path, paths: &[PathBuf]) -> Result<String, String> {
    let out = || format!("is a link to {}, which is not taken", target.display());
    let folder = from.parent().ok_or_else(out)?;
    let mut to = PathBuf::new();
    let mut named = false;
    for part in folder.join(target).strip_prefix("/").map_err(|_| out())?.components() {
        match part {
            Component::Normal(name) => to.push(name),
            Component::ParentDir if to.pop() => {}
            Component::CurDir => {}
            _ => return Err(out()),
        }
    }
    // After a name, which may be a link itself, a step upwards could lead anywhere.
    for part in target.components() {
        match part {
            Component::Normal(_) => named = true,
            Component::ParentDir if named => return Err(out()),
            _ => {}
        }
    }
    let to = Path::new("/").join(to);
    if !paths.iter().any(|path| to.starts_with(path)) {
        return Err(out());
    }
    let relative = match target.is_relative() {
        true => target.to_owned(),
        false => {
            let shared = folder.components().zip(to.components()).take_while(|(one, other)| one == other).count();
            let up = folder.components().skip(shared).map(|_| Component::ParentDir);
            up.chain(to.components().skip(shared)).collect()
        }
    };
    relative.to_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use etcd_store::node_files::{NodeFilesWriter, read_node_files};

    use super::*;

    fn limits() -> Limits {
        Limits { entries: 100, file: 1000, total: 5000 }
    }

    /// Gathers a folder into an archive, and reads that.
    fn archived(paths: &[PathBuf]) -> Result<(BTreeMap<String, NodeFile>, Gathered), GatherError> {
        let mut writer = NodeFilesWriter::new(Vec::new(), limits());
        let gathered = gather(paths, limits(), |file| writer.append(file))?;
        let (bytes, mut all) = (writer.finish()?, BTreeMap::new());
        read_node_files(&bytes[..], limits(), |file| {
            all.insert(file.path.to_string(), file);
            Ok(())
        })?;
        Ok((all, gathered))
    }

    #[test]
    fn what_is_below_a_folder_is_taken_and_what_an_archive_cannot_have_is_told() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("pki/etcd")).unwrap();
        std::fs::write(at("pki/ca.key"), "a key").unwrap();
        std::fs::set_permissions(at("pki/ca.key"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(at("pki/etcd/large"), vec![7; 1001]).unwrap();
        std::fs::write(outside.path().join("secret"), "of others").unwrap();
        symlink("ca.key", at("pki/inner")).unwrap();
        symlink(at("pki/ca.key"), at("pki/etcd/absolute")).unwrap();
        symlink(outside.path().join("secret"), at("out")).unwrap();
        symlink("../../etc/passwd", at("up")).unwrap();
        symlink("pki/inner/../../x", at("winding")).unwrap();
        symlink(outside.path(), at("folder")).unwrap();
        std::fs::write(at("odd\nname"), "x").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

        // What is below another one is taken once.
        let (all, gathered) = archived(&[at("pki"), folder.path().to_owned(), at("pki/ca.key")]).unwrap();
        let root = folder.path().to_str().unwrap().trim_start_matches('/').to_owned();
        let names: Vec<&str> =
            all.keys().map(|name| name.strip_prefix(&root).unwrap().trim_start_matches('/')).collect();
        assert_eq!(names, ["", "pki", "pki/ca.key", "pki/etcd", "pki/etcd/absolute", "pki/inner"]);
        let key = &all[&format!("{root}/pki/ca.key")];
        assert_eq!((key.mode, &key.kind), (0o600, &Kind::File(b"a key".to_vec())));
        assert_eq!(key.owner, at("pki/ca.key").metadata().unwrap().uid());
        assert_eq!(key.modified, u64::try_from(at("pki/ca.key").metadata().unwrap().mtime()).unwrap());
        let link = |name: &str| all[&format!("{root}/{name}")].kind.clone();
        assert!(link("pki/inner") == Kind::Link("ca.key".to_owned()));
        assert!(link("pki/etcd/absolute") == Kind::Link("../ca.key".to_owned()));
        assert_eq!(gathered.files, 1);
        let left: BTreeMap<String, &str> = gathered
            .left_out
            .iter()
            .map(|(path, why)| (path.strip_prefix(folder.path().to_str().unwrap()).unwrap().to_owned(), why.as_str()))
            .collect();
        let names: Vec<&str> = left.keys().map(String::as_str).collect();
        let expected = ["/folder", "/odd\nname", "/out", "/pipe", "/pki/etcd/large", "/socket", "/up", "/winding"];
        assert_eq!(names, expected);
        assert_eq!((left["/pipe"], left["/socket"]), ("is a pipe", "is a socket"));
        assert_eq!(left["/pki/etcd/large"], "has 1001 bytes, and at most 1000 are taken");
        assert!(left["/out"].contains("which is not taken"));
    }

    #[test]
    fn there_is_no_archive_of_what_is_not_there_or_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let here = || vec![folder.path().to_owned()];
        let refused = |paths: Vec<PathBuf>| archived(&paths).unwrap_err();
        assert!(matches!(refused(here()), GatherError::Empty(_)));
        assert!(matches!(refused(vec!["etc".into()]), GatherError::Relative(_)));
        assert!(matches!(refused(vec![folder.path().join("none")]), GatherError::Missing(_)));
        for number in 0..6 {
            std::fs::write(folder.path().join(number.to_string()), vec![0; 999]).unwrap();
        }
        assert!(matches!(refused(here()), GatherError::Archive(NodeFilesError::TooMuch(_))));
    }

    #[test]
    fn a_file_that_goes_or_changes_meanwhile_is_never_half_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let paths = [folder.path().to_owned()];
        let mut seen = Vec::new();
        let gathered = gather(&paths, limits(), |file| {
            // The folder has been listed by now.
            if file.kind == Kind::Folder {
                std::fs::remove_file(folder.path().join("a")).unwrap();
                std::fs::remove_file(folder.path().join("b")).unwrap();
                symlink("/etc/passwd", folder.path().join("b")).unwrap();
            }
            seen.push(file.kind.clone());
            Ok(())
        });
        assert_eq!(gathered.unwrap().left_out.len(), 1);
        assert!(seen == [Kind::Folder, Kind::File(b"c".to_vec())]);
        let path = folder.path().join("c");
        let file = File::open(&path).unwrap();
        assert_eq!(content(file, 1000).unwrap(), Some(b"c".to_vec()));
        // As when it has grown since.
        std::fs::write(&path, vec![1; 2000]).unwrap();
        assert_eq!(content(File::open(&path).unwrap(), 1000).unwrap(), None);
    }
}
