//! Where a member's files go: all of them under another name first, then renamed, or gone.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use super::RestoreError;
use super::wal::WAL_FILE;

/// Where the restored member is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// What `--data-dir` of etcd will be. Directories above it that are missing are made. If it exists itself, it must be
    /// empty; it keeps its owner and mode then, and may be a mount point.
    pub data_dir: PathBuf,
    /// What `--wal-dir` of etcd will be, if the log is to be elsewhere than in the data directory. The same is required of it.
    pub wal_dir: Option<PathBuf>,
}

/// A member's directory that is being built. Dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub(super) struct Staging {
    /// What was made, in order; removed in reverse order.
    made: Vec<Made>,
    member: PathBuf,
    /// Everything but a log elsewhere: where it is built and where it will be.
    root: PathBuf,
    target: PathBuf,
    wal: WalPlace,
}

#[derive(Debug)]
enum Made {
    /// A directory, with everything in it.
    Tree(PathBuf),
    /// A directory of which only the directory itself is ours.
    Directory(PathBuf),
    File(PathBuf),
}

#[derive(Debug)]
enum WalPlace {
    Inside,
    Elsewhere { directory: PathBuf, partial: PathBuf },
}

impl Staging {
    /// Checks the destination and makes the directories.
    pub(super) fn create(destination: &Destination) -> Result<Self, RestoreError> {
        let data_dir = absolute(&destination.data_dir)?;
        let wal_dir = destination.wal_dir.as_deref().map(absolute).transpose()?;
        let wal_dir = wal_dir.filter(|wal_dir| *wal_dir != data_dir.join("member").join("wal"));
        if let Some(wal_dir) = &wal_dir
            && (wal_dir.starts_with(&data_dir) || data_dir.starts_with(wal_dir))
        {
            return Err(RestoreError::DirectoriesOverlap { data_dir, wal_dir: wal_dir.clone() });
        }
        let data_exists = check_data_dir(&data_dir)?;
        let wal_exists = wal_dir.as_deref().map(check_wal_dir).transpose()?;

        let (parent, name) = match (data_dir.parent(), data_dir.file_name()) {
            _ if data_exists => (data_dir.as_path(), "member".to_owned()),
            (Some(parent), Some(name)) => (parent, name.to_string_lossy().into_owned()),
            _ => return Err(failed("create", &data_dir)(io::ErrorKind::InvalidInput.into())),
        };
        let mark = random_mark().map_err(failed("create", &data_dir))?;
        let root = parent.join(partial(&name, &mark));
        let mut staging = Self {
            made: Vec::new(),
            member: if data_exists { root.clone() } else { root.join("member") },
            target: if data_exists { data_dir.join(name) } else { data_dir.clone() },
            root: root.clone(),
            wal: WalPlace::Inside,
        };
        staging.create_above(&root)?;
        create_directory(&root)?;
        staging.made.push(Made::Tree(root));
        if !data_exists {
            create_directory(&staging.member)?;
        }
        create_directory(&staging.snap())?;
        match wal_dir {
            None => create_directory(&staging.member.join("wal"))?,
            Some(directory) => {
                if wal_exists == Some(false) {
                    staging.create_above(&directory)?;
                    create_directory(&directory)?;
                    staging.made.push(Made::Directory(directory.clone()));
                }
                let partial = directory.join(partial(WAL_FILE, &mark));
                staging.made.push(Made::File(partial.clone()));
                staging.wal = WalPlace::Elsewhere { directory, partial };
            }
        }
        Ok(staging)
    }

    /// Makes the directories above a path that are missing, as etcdutl does.
    fn create_above(&mut self, path: &Path) -> Result<(), RestoreError> {
        let missing =
            |above: &&Path| above.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let above: Vec<_> = path.ancestors().skip(1).take_while(missing).collect();
        for directory in above.into_iter().rev() {
            create_directory(directory)?;
            self.made.push(Made::Directory(directory.to_owned()));
        }
        Ok(())
    }

    /// Where the database is to be written.
    pub(super) fn database(&self) -> PathBuf {
        self.snap().join("db")
    }

    /// Where raft's snapshot and the database are.
    pub(super) fn snap(&self) -> PathBuf {
        self.member.join("snap")
    }

    /// Where the log is to be written.
    pub(super) fn wal(&self) -> PathBuf {
        match &self.wal {
            WalPlace::Inside => self.member.join("wal").join(WAL_FILE),
            WalPlace::Elsewhere { partial, .. } => partial.clone(),
        }
    }

    /// Makes sure that the names of all files are on the disk. Their bytes are already.
    pub(super) fn sync(&self) -> Result<(), RestoreError> {
        let mut directories = vec![self.snap()];
        if let WalPlace::Inside = self.wal {
            directories.push(self.member.join("wal"));
        }
        directories.push(self.member.clone());
        if self.member != self.root {
            directories.push(self.root.clone());
        }
        directories.iter().try_for_each(|directory| sync_directory(directory))
    }

    /// Gives everything its name: a log elsewhere first, so that there is never a data directory without its log, with which etcd
    /// would start as a new cluster.
    pub(super) fn publish(mut self) -> Result<(), RestoreError> {
        if let WalPlace::Elsewhere { directory, partial } = &self.wal {
            let target = directory.join(WAL_FILE);
            give_name(partial, &target).map_err(failed("create", &target))?;
            self.made.push(Made::File(target));
            match std::fs::remove_file(partial) {
                // It was renamed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed.map_err(failed("write", partial)),
            }?;
            sync_directory(directory)?;
        }
        for made in &self.made {
            if let Made::Directory(directory) = made
                && let Some(above) = directory.parent()
            {
                sync_directory(above)?;
            }
        }
        // A directory in the way that is not empty is the system's own error.
        std::fs::rename(&self.root, &self.target).map_err(failed("create", &self.target))?;
        self.made.push(Made::Tree(self.target.clone()));
        if let Some(parent) = self.target.parent() {
            sync_directory(parent)?;
        }
        self.made.clear();
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for made in self.made.drain(..).rev() {
            // What is renamed already is not there any more; for anything else there is an error on its way that says more.
            let _ = match made {
                Made::Tree(path) => std::fs::remove_dir_all(path),
                Made::Directory(path) => std::fs::remove_dir(path),
                Made::File(path) => std::fs::remove_file(path),
            };
        }
    }
}

/// Whether the directory exists; then it is empty.
fn check_data_dir(path: &Path) -> Result<bool, RestoreError> {
    match holds_more_than(path, &partial("member", ""))? {
        None => Ok(false),
        Some(false) => Ok(true),
        Some(true) if in_use(path) => Err(RestoreError::DataDirInUse(path.to_owned())),
        Some(true) => Err(RestoreError::DataDirNotEmpty(path.to_owned())),
    }
}

fn check_wal_dir(path: &Path) -> Result<bool, RestoreError> {
    match holds_more_than(path, &partial(WAL_FILE, ""))? {
        None => Ok(false),
        Some(false) => Ok(true),
        Some(true) => Err(RestoreError::WalDirNotEmpty(path.to_owned())),
    }
}

/// Whether there is anything in a directory but what a filesystem has by itself, and what an earlier restore left when the
/// machine stopped. `None` if there is no such directory.
fn holds_more_than(path: &Path, leftover: &str) -> Result<Option<bool>, RestoreError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        // A link that leads nowhere is not a free place.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed("read", path))?.file_name();
        if name != "lost+found" && !name.as_encoded_bytes().starts_with(leftover.as_bytes()) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// Whether an etcd is running on the directory: bbolt holds a lock on its file then. Read from bbolt bolt_unix.go @ v1.4.3.
fn in_use(data_dir: &Path) -> bool {
    let database = File::open(data_dir.join("member").join("snap").join("db"));
    database.is_ok_and(|database| matches!(database.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Creates a file that only its owner can read, and has it written.
pub(super) fn create_file(path: &Path) -> Result<File, RestoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(failed("create", path))?;
    set_mode(path, 0o600).map_err(failed("create", path))?;
    Ok(file)
}

/// A small file, all at once, on the disk when this returns.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RestoreError> {
    let mut file = create_file(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", path))
}

fn create_directory(path: &Path) -> Result<(), RestoreError> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed("create", path))?;
    set_mode(path, 0o700).map_err(|error| {
        // Nobody knows of it yet, so nobody else would remove it.
        let _ = std::fs::remove_dir(path);
        failed("create", path)(error)
    })
}

/// The creator's umask may have taken away more than it should.
#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> Result<(), RestoreError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("write", path))
}

/// Windows has no such call: renames are in its journal.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> Result<(), RestoreError> {
    Ok(())
}

/// Gives a file a name that nobody has taken yet. A rename would replace another restore's log that came a moment before, and
/// leave that one's directory without any. The old name stays, unless the filesystem knows no second ones.
fn give_name(file: &Path, name: &Path) -> io::Result<()> {
    match std::fs::hard_link(file, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if name.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(file, name),
        Ok(()) => Ok(()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, RestoreError> {
    std::path::absolute(path).map_err(failed("find", path))
}

/// The name that something has until it is whole.
fn partial(name: &str, mark: &str) -> String {
    format!(".{name}.partial-{mark}")
}

fn random_mark() -> io::Result<String> {
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(crate::finding::hex(&random))
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// One of two gets everything, and the other takes nothing of it away.
    #[test]
    fn two_at_the_same_moment() {
        for _ in 0..100 {
            let folder = tempfile::tempdir().expect("a folder");
            let (data_dir, wal_dir) = (folder.path().join("data"), folder.path().join("wal"));
            std::fs::create_dir(&wal_dir).expect("room");
            let destination = Destination { data_dir: data_dir.clone(), wal_dir: Some(wal_dir.clone()) };
            let barrier = Barrier::new(2);
            let restore = |bytes: &[u8]| {
                let staging = Staging::create(&destination).expect("nothing is there");
                write_file(&staging.wal(), bytes).expect("room");
                write_file(&staging.database(), bytes).expect("room");
                barrier.wait();
                staging.publish().is_ok()
            };
            let restored = std::thread::scope(|scope| {
                let one = scope.spawn(|| restore(b"1"));
                [restore(b"2"), one.join().expect("no panic")]
            });
            assert!(restored[0] != restored[1], "{restored:?}");
            let log = std::fs::read(wal_dir.join(WAL_FILE)).expect("the log of the one");
            assert_eq!(log, std::fs::read(data_dir.join("member/snap/db")).expect("its database"));
            assert_eq!(std::fs::read_dir(&wal_dir).expect("a folder").count(), 1);
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2);
        }
    }
}
