//! Files and folders of the node, as root may touch them where they belong to somebody else.
//!
//! A data directory often belongs to the user that etcd runs as, who can put a symbolic link anywhere in it, at any moment. So a
//! [`Place`] has two parts. Its root is what the administrator has configured: links on the way there are followed if they are root's,
//! in a folder that only root can write to. Below the root no link is ever followed: every name is opened by itself, relative to the
//! descriptor of the folder before it, with `O_NOFOLLOW`. This is what `openat2` does with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`, on
//! kernels and under seccomp profiles without that call, too. What is created is new (`O_EXCL`), what is renamed replaces nothing, and
//! folders of our own have to be our own.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

#[cfg(test)]
use super::probe;

/// What the names of our own folders begin with. etcd passes over names that it does not know.
pub(crate) const OURS: &str = ".kubectl-etcd";
/// As many links as Linux follows on one way (path_resolution(7)).
const LINKS: usize = 40;
/// A folder on the way to something.
const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A folder that is read or synchronised.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A file that is read. A pipe that is in its place must not make the open wait.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A file or folder of the node: a configured path, and names below.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    root: PathBuf,
    within: Vec<OsString>,
}

impl Place {
    /// A configured path, absolute.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Place {
        Place { root: root.into(), within: Vec::new() }
    }

    /// What has a name in this folder, or names one below the other.
    pub(crate) fn join(&self, names: impl AsRef<Path>) -> Place {
        let mut joined = self.clone();
        joined.within.extend(names.as_ref().iter().map(OsStr::to_owned));
        joined
    }

    /// What has another name in the same folder.
    pub(crate) fn sibling(&self, name: impl AsRef<OsStr>) -> Place {
        let mut sibling = self.clone();
        sibling.within.pop();
        sibling.within.push(name.as_ref().to_owned());
        sibling
    }

    /// The folder that this is in; `None` for a configured path.
    pub(crate) fn folder(&self) -> Option<Place> {
        let (_, above) = self.within.split_last()?;
        Some(Place { root: self.root.clone(), within: above.to_vec() })
    }

    /// The last name.
    pub(crate) fn name(&self) -> &OsStr {
        self.within.last().map(OsString::as_os_str).or(self.root.file_name()).unwrap_or_default()
    }

    /// For people, and for whoever is told where something is.
    pub(crate) fn path(&self) -> PathBuf {
        // Joining nothing would leave a slash at the end.
        self.within.iter().fold(self.root.clone(), |path, name| path.join(name))
    }

    pub(crate) fn display(&self) -> String {
        self.path().display().to_string()
    }

    /// The folder that this is in, and its name there, which is no link that is followed.
    fn found(&self) -> io::Result<(OwnedFd, OsString)> {
        let Some((name, above)) = self.within.split_last() else { return resolve(&self.root) };
        let mut here = way(&self.root)?;
        for (number, name) in above.iter().enumerate() {
            here = step(&here, name).map_err(|error| {
                let place = Place { root: self.root.clone(), within: above[..=number].to_vec() };
                io::Error::new(error.kind(), format!("{}: {error}", place.display()))
            })?;
        }
        plain(name)?;
        Ok((here, name.clone()))
    }

    fn about(&self, doing: &str, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot {doing} {}: {error}", self.display()))
    }

    /// What is there, if anything is: of a link, the link.
    pub(crate) fn stat(&self) -> io::Result<Option<Stat>> {
        match self.found().and_then(|(folder, name)| Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.about("look at", &error)),
        }
    }

    /// Whether anything is there.
    pub(crate) fn exists(&self) -> io::Result<bool> {
        Ok(self.stat()?.is_some())
    }

    /// Whether a folder is there.
    ///
    /// # Errors
    /// Something else is.
    pub(crate) fn is_folder(&self) -> io::Result<bool> {
        match self.stat()?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            None => Ok(false),
            Some(FileType::Directory) => Ok(true),
            Some(FileType::Symlink) => Err(self.about("use", &linked())),
            Some(_) => Err(self.about("use", &io::ErrorKind::NotADirectory.into())),
        }
    }

    /// Opens a folder.
    pub(crate) fn open(&self) -> io::Result<File> {
        let opened = || -> io::Result<File> {
            let (folder, name) = self.found()?;
            // What is configured may be the root of the file systems, and is nobody's to exchange.
            let opened = match self.within.is_empty() {
                true => rustix::fs::openat(folder, name, WAY, Mode::empty())?,
                false => step(&folder, &name)?,
            };
            Ok(rustix::fs::openat(opened, ".", FOLDER, Mode::empty())?.into())
        };
        opened().map_err(|error| self.about("open", &error))
    }

    /// Opens a file to read it.
    ///
    /// # Errors
    /// It is not there, or no file.
    pub(crate) fn open_file(&self) -> io::Result<File> {
        self.open_with(FILE)
    }

    /// Opens a file that is there to add to it.
    pub(crate) fn append(&self) -> io::Result<File> {
        self.open_with(FILE.difference(OFlags::RDONLY).union(OFlags::WRONLY).union(OFlags::APPEND))
    }

    /// Opens a file that is there to write over its bytes.
    pub(crate) fn overwrite(&self) -> io::Result<File> {
        self.open_with(FILE.difference(OFlags::RDONLY).union(OFlags::WRONLY))
    }

    fn open_with(&self, flags: OFlags) -> io::Result<File> {
        let opened = || -> io::Result<File> {
            let (folder, name) = self.found()?;
            match rustix::fs::openat(folder, name, flags, Mode::empty()) {
                Ok(file) => regular(file.into()),
                Err(Errno::LOOP) => Err(linked()),
                Err(error) => Err(error.into()),
            }
        };
        opened().map_err(|error| self.about("open", &error))
    }

    /// All bytes of a file.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        #[cfg(test)]
        probe::at("read", self)?;
        let mut bytes = Vec::new();
        self.open_file()?.read_to_end(&mut bytes).map_err(|error| self.about("read", &error))?;
        Ok(bytes)
    }

    /// Where a link leads, as is written in it.
    ///
    /// # Errors
    /// There is no link.
    pub(crate) fn link_target(&self) -> io::Result<OsString> {
        let read = || -> io::Result<OsString> {
            let (folder, name) = self.found()?;
            let target = rustix::fs::readlinkat(folder, name, Vec::new())?;
            Ok(std::os::unix::ffi::OsStringExt::from_vec(target.into_bytes()))
        };
        read().map_err(|error| self.about("read", &error))
    }

    /// The names in a folder.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let listed = |folder: File| -> io::Result<Vec<OsString>> {
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::new(folder)? {
                let entry = entry?;
                let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(entry.file_name().to_bytes());
                if name != "." && name != ".." {
                    names.push(name.to_owned());
                }
            }
            names.sort();
            Ok(names)
        };
        listed(self.open()?).map_err(|error| self.about("read", &error))
    }

    /// Makes a file that only root can read. It must not be there.
    pub(crate) fn create(&self) -> io::Result<File> {
        const NEW: OFlags =
            OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
        let made = || -> io::Result<File> {
            let (folder, name) = self.found()?;
            Ok(rustix::fs::openat(folder, name, NEW, Mode::RUSR | Mode::WUSR)?.into())
        };
        made().map_err(|error| self.about("create", &error))
    }

    /// Makes a folder that only root can look into. It must not be there.
    pub(crate) fn create_folder(&self) -> io::Result<()> {
        let made = || -> io::Result<()> {
            let (folder, name) = self.found()?;
            Ok(rustix::fs::mkdirat(folder, name, Mode::RWXU)?)
        };
        made().map_err(|error| self.about("create", &error))
    }

    /// Makes this folder, and those between it and the root, where they are missing, for nobody else to look into. Their names are on the
    /// disk when this returns, whoever made them.
    pub(crate) fn create_folders(&self) -> io::Result<()> {
        let Some(above) = self.folder() else { return Ok(()) };
        above.create_folders()?;
        if self.is_folder()? {
            // Whoever made it may have been killed before it was on the disk.
            above.sync()?;
            let folder = self.open()?;
            if is_ours(self.name()) && folder.metadata()?.mode() & 0o077 != 0 {
                folder
                    .set_permissions(PermissionsExt::from_mode(0o700))
                    .map_err(|error| self.about("restrict", &error))?;
            }
            return Ok(());
        }
        match self.create_folder() {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => above.sync(),
        }
    }

    /// Renames what must not replace anything, and returns once the disk has it. A folder that it goes to is made.
    pub(crate) fn rename(&self, to: &Place) -> io::Result<()> {
        if let Some(into) = to.folder() {
            into.create_folders()?;
        }
        self.renamed(to, RenameFlags::NOREPLACE)
    }

    /// Renames a file over another one, or to a name that is free, and returns once the disk has it.
    pub(crate) fn replace(&self, to: &Place) -> io::Result<()> {
        self.renamed(to, RenameFlags::empty())
    }

    /// The new name is on the disk before the old one is gone from it: power that fails in between leaves one or both.
    fn renamed(&self, to: &Place, flags: RenameFlags) -> io::Result<()> {
        let ((from_folder, from), (to_folder, name)) = (self.found()?, to.found()?);
        #[cfg(test)]
        probe::at(&format!("rename {} to", self.display()), to)?;
        rustix::fs::renameat_with(from_folder, from, to_folder, name, flags).map_err(|error| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("cannot rename {} to {}: {error}", self.display(), to.display()))
        })?;
        to.sync_name()?;
        self.sync_name()
    }

    /// Removes a file, or a link. False if nothing is there.
    pub(crate) fn remove_file(&self) -> io::Result<bool> {
        self.unlink(AtFlags::empty())
    }

    /// Removes an empty folder. False if nothing is there.
    pub(crate) fn remove_folder(&self) -> io::Result<bool> {
        self.unlink(AtFlags::REMOVEDIR)
    }

    /// Removes a folder if it is there and empty. True if nothing is there any more.
    ///
    /// # Errors
    /// Anything but that something is in it.
    pub(crate) fn remove_if_empty(&self) -> io::Result<bool> {
        match self.remove_folder() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn unlink(&self, flags: AtFlags) -> io::Result<bool> {
        #[cfg(test)]
        probe::at("remove", self)?;
        match self.found().and_then(|(folder, name)| Ok(rustix::fs::unlinkat(folder, name, flags)?)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.about("remove", &error)),
        }
    }

    /// Removes a folder with everything in it; a link in it, or in its place, goes as a link.
    pub(crate) fn remove_all(&self) -> io::Result<()> {
        let removed = || -> io::Result<()> {
            let (folder, name) = self.found()?;
            // From here on std goes by descriptors, and follows nothing either.
            std::fs::remove_dir_all(descriptor(&folder).join(name))
        };
        match removed() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.about("remove", &error)),
            _ => Ok(()),
        }
    }

    /// Removes whatever is there: a file, a link, or a folder with everything in it.
    pub(crate) fn remove_any(&self) -> io::Result<()> {
        match self.stat()?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Some(FileType::Directory) => self.remove_all(),
            _ => self.remove_file().map(|_| ()),
        }
    }

    /// Makes sure that a folder's names are on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        probe::at("sync", self)?;
        self.open()?.sync_all().map_err(|error| self.about("synchronise", &error))
    }

    /// Writes to the disk of a folder, with the time of the folder, and waits until the disk has it.
    pub(crate) fn touch(&self) -> io::Result<()> {
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
        #[cfg(test)]
        probe::at("touch", self)?;
        let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        let times = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
        let folder = self.open()?;
        let touched = rustix::fs::futimens(&folder, &times).map_err(io::Error::from).and_then(|()| folder.sync_all());
        touched.map_err(|error| self.about("write to", &error))
    }

    /// Makes sure that a folder's names are on the disk, if it is there. False if it is not.
    pub(crate) fn sync_if_there(&self) -> io::Result<bool> {
        match self.is_folder()? {
            true => self.sync().map(|()| true),
            false => Ok(false),
        }
    }

    /// Makes sure that a file's bytes are on the disk, whoever wrote them.
    pub(crate) fn sync_file(&self) -> io::Result<()> {
        #[cfg(test)]
        probe::at("sync", self)?;
        self.open_file()?.sync_all().map_err(|error| self.about("synchronise", &error))
    }

    /// Makes sure that the name of this in its folder is on the disk.
    pub(crate) fn sync_name(&self) -> io::Result<()> {
        if let Some(folder) = self.folder() {
            return folder.sync();
        }
        let synced = || -> io::Result<()> {
            let (folder, _) = resolve(&self.root)?;
            File::from(rustix::fs::openat(folder, ".", FOLDER, Mode::empty())?).sync_all()
        };
        synced().map_err(|error| self.about("synchronise the folder of", &error))
    }
}

/// A path to what an open descriptor is of, whatever its name is by now.
pub(crate) fn descriptor(open: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()))
}

/// Opens the file that a configured path leads to; `None` if that is no file.
///
/// # Errors
/// It is not there, cannot be read, or links lead there that are not root's.
pub(crate) fn open_configured(path: &Path) -> io::Result<Option<File>> {
    let (folder, name) = resolve(path)?;
    let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    regular(rustix::fs::openat(folder, name, FILE, Mode::empty())?.into()).map(Some)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

fn linked() -> io::Error {
    io::Error::other("it is a symbolic link, and links are not followed here")
}

/// A name that leads no further than into its folder.
fn plain(name: &OsStr) -> io::Result<()> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(()),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Whether a name is one of our own folders'.
fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(OURS.as_bytes())
}

/// Into a folder below a root.
fn step(here: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    plain(name)?;
    let there = match rustix::fs::openat(here, name, WAY, Mode::empty()) {
        Ok(there) => there,
        Err(error @ (Errno::NOTDIR | Errno::LOOP)) => {
            return Err(if is_link(here, name)? { linked() } else { error.into() });
        }
        Err(error) => return Err(error.into()),
    };
    // Whoever owns the folder around it may have put another one in the place of ours.
    if is_ours(name) {
        let owner = rustix::fs::fstat(&there)?.st_uid;
        if !is_trusted(owner) {
            return Err(io::Error::other(format!("it belongs to user {owner}, and is no folder of this program")));
        }
    }
    Ok(there)
}

/// The folder that a configured path leads to.
fn way(path: &Path) -> io::Result<OwnedFd> {
    let opened = || -> io::Result<OwnedFd> {
        let (folder, name) = resolve(path)?;
        Ok(rustix::fs::openat(folder, name, WAY, Mode::empty())?)
    };
    opened().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The folder that something configured lies in, and its name there, which is no link: links on the way, and at its end, are followed if
/// they are root's, in a folder that only root can write to.
fn resolve(path: &Path) -> io::Result<(OwnedFd, OsString)> {
    if !path.is_absolute() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let start = || rustix::fs::open("/", WAY, Mode::empty());
    let (mut here, mut links) = (start()?, 0);
    let mut names: VecDeque<OsString> = parts(path).collect();
    loop {
        // The root of the file systems is in itself.
        let Some(name) = names.pop_front() else { return Ok((here, ".".into())) };
        if is_link(&here, &name)? {
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP.into());
            }
            if !roots_own(&here, &name)? {
                let what = format!("{} is a symbolic link that another user than root can change", name.display());
                return Err(io::Error::other(format!("{what}; only links of root are followed")));
            }
            let target = rustix::fs::readlinkat(&here, &name, Vec::new())?;
            let target: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(target.as_bytes());
            if Path::new(target).is_absolute() {
                here = start()?;
            }
            for part in parts(Path::new(target)).collect::<Vec<_>>().into_iter().rev() {
                names.push_front(part);
            }
        } else if names.is_empty() && name != ".." {
            return Ok((here, name));
        } else {
            here = rustix::fs::openat(&here, &name, WAY, Mode::empty())?;
        }
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    let named = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(move |part| named(*part)).map(|part| part.as_os_str().to_owned())
}

/// Whether a link is there. What is not there is none.
fn is_link(here: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    match rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Symlink),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether nobody else can have put a link there, or can change it.
fn roots_own(here: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let folder = rustix::fs::fstat(here)?;
    let link = rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(is_trusted(folder.st_uid) && folder.st_mode & 0o022 == 0 && is_trusted(link.st_uid))
}

/// Root, or whoever runs the tests.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, lchown, symlink};

    use super::*;

    /// What somebody else has, which nobody must touch by way of a link.
    struct Victim(tempfile::TempDir);

    impl Victim {
        fn new() -> Victim {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("f")).unwrap();
            std::fs::write(folder.path().join("f/file"), "mine").unwrap();
            Victim(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("f")
        }

        fn assert_untouched(&self) {
            let names: Vec<_> =
                std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["file"]);
            let file = self.path().join("file");
            assert_eq!(std::fs::read(&file).unwrap(), b"mine");
            assert_eq!(file.metadata().unwrap().uid(), rustix::process::geteuid().as_raw());
        }
    }

    #[test]
    fn a_folder_is_touched_and_keeps_what_is_in_it() {
        let victim = Victim::new();
        let place = Place::new(victim.path());
        let old = std::time::SystemTime::UNIX_EPOCH;
        std::fs::File::open(victim.path()).unwrap().set_modified(old).unwrap();
        place.touch().unwrap();
        assert!(victim.path().metadata().unwrap().modified().unwrap() > old);
        victim.assert_untouched();
        assert_eq!(place.join("absent").touch().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(place.join("file").touch().unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn no_link_below_the_root_is_followed_by_anything() {
        let victim = Victim::new();
        let folder = tempfile::tempdir().unwrap();
        let root = Place::new(folder.path());
        std::fs::write(folder.path().join("own"), "own").unwrap();
        symlink(victim.path(), folder.path().join("link")).unwrap();
        symlink(victim.path().join("file"), folder.path().join("linked")).unwrap();
        symlink(victim.path().join("new"), folder.path().join("dangling")).unwrap();
        let through = root.join("link/file");
        let says_so = |error: io::Error| assert!(error.to_string().contains("symbolic link"), "{error}");
        says_so(through.stat().unwrap_err());
        says_so(through.open_file().unwrap_err());
        says_so(through.append().unwrap_err());
        says_so(root.join("link/new").create().unwrap_err());
        says_so(root.join("link/new").create_folder().unwrap_err());
        says_so(root.join("link/new").create_folders().unwrap_err());
        says_so(through.rename(&root.join("taken")).unwrap_err());
        says_so(root.join("own").rename(&root.join("link/new")).unwrap_err());
        says_so(root.join("own").replace(&through).unwrap_err());
        says_so(through.remove_file().unwrap_err());
        says_so(root.join("link/x").remove_all().unwrap_err());
        says_so(root.join("link").open().unwrap_err());
        says_so(root.join("link").names().unwrap_err());
        says_so(root.join("link").is_folder().unwrap_err());
        says_so(root.join("linked").open_file().unwrap_err());
        says_so(root.join("linked").append().unwrap_err());
        assert!(root.join("dangling").create().is_err() && root.join("dangling").create_folder().is_err());
        assert!(root.join("../x").exists().is_err() && root.join("own/..").exists().is_err());
        // What is at the end is the link itself.
        assert!(root.join("dangling").exists().unwrap());
        root.join("linked").rename(&root.join("moved")).unwrap();
        assert!(root.join("moved").remove_file().unwrap() && !root.join("moved").remove_file().unwrap());
        root.join("link").remove_all().unwrap();
        std::fs::create_dir(folder.path().join("tree")).unwrap();
        symlink(victim.path(), folder.path().join("tree/link")).unwrap();
        root.join("tree").remove_all().unwrap();
        assert_eq!(root.names().unwrap(), ["dangling", "own"]);
        victim.assert_untouched();
    }

    #[test]
    fn what_is_there_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let root = Place::new(folder.path());
        let ours = root.join(OURS).join("id");
        ours.create_folders().unwrap();
        ours.create_folders().unwrap();
        for name in ["", "id"] {
            let mode = folder.path().join(OURS).join(name).metadata().unwrap().mode();
            assert_eq!(mode & 0o7777, 0o700);
        }
        let file = ours.join("file");
        std::io::Write::write_all(&mut file.create().unwrap(), b"a").unwrap();
        assert_eq!(file.path().metadata().unwrap().mode() & 0o7777, 0o600);
        std::io::Write::write_all(&mut file.append().unwrap(), b"b").unwrap();
        assert_eq!(file.read().unwrap(), b"ab");
        assert!(file.create().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists));
        let other = root.join("other/deep/file");
        file.rename(&other).unwrap();
        assert!(other.exists().unwrap() && !file.exists().unwrap() && !root.join("nothing/at/all").exists().unwrap());
        file.create().unwrap();
        assert!(file.rename(&other).is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists));
        file.replace(&other).unwrap();
        assert_eq!(other.read().unwrap(), b"");
        // Nothing waits for whoever opens the other end.
        rustix::fs::mknodat(rustix::fs::CWD, folder.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(root.join("pipe").open_file().is_err() && root.join("pipe").append().is_err());
        assert!(open_configured(&folder.path().join("pipe")).unwrap().is_none());
        assert!(root.join("other").remove_folder().is_err());
        root.join("other").remove_all().unwrap();
        root.join("other").remove_all().unwrap();
        assert!(!root.join("other").is_folder().unwrap() && ours.remove_folder().unwrap());
    }

    #[test]
    fn links_of_root_lead_to_a_root_and_nobody_elses_do() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("real/data")).unwrap();
        std::fs::write(at("real/data/file"), "x").unwrap();
        symlink(at("real"), at("absolute")).unwrap();
        symlink("real/../real/data", at("relative")).unwrap();
        symlink("absolute/data/file", at("file")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for root in ["real/data", "absolute/data", "relative"] {
            assert_eq!(Place::new(at(root)).join("file").read().unwrap(), b"x", "{root}");
            assert!(Place::new(at(root)).is_folder().unwrap());
            Place::new(at(root)).sync().unwrap();
        }
        assert!(!Place::new("/").names().unwrap().is_empty());
        let read = |name: &str| -> io::Result<String> {
            let mut text = String::new();
            open_configured(&at(name))?.ok_or(io::ErrorKind::Other)?.read_to_string(&mut text)?;
            Ok(text)
        };
        assert_eq!(read("file").unwrap(), "x");
        assert!(read("relative").is_err() && read("nothing").is_err() && read("loop").is_err());
        let refused = || {
            let error = Place::new(at("absolute/data")).join("file").read().unwrap_err();
            assert!(error.to_string().contains("only links of root are followed"), "{error}");
            assert!(read("file").unwrap_err().to_string().contains("only links of root are followed"));
            assert!(Place::new(at("real/data")).exists().unwrap());
        };
        // A folder in which others can put links.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        refused();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for name in ["absolute", "file"] {
            lchown(at(name), Some(2001), Some(2001)).unwrap();
        }
        refused();
        for name in ["absolute", "file"] {
            lchown(at(name), Some(0), Some(0)).unwrap();
        }
        chown(folder.path(), Some(2001), Some(2001)).unwrap();
        refused();
    }

    /// What is built by a path goes where the folder is that was opened, whatever is put in its place meanwhile.
    #[test]
    fn a_descriptor_leads_to_what_was_opened() {
        let (victim, folder) = (Victim::new(), tempfile::tempdir().unwrap());
        let ours = Place::new(folder.path()).join(OURS);
        ours.create_folders().unwrap();
        let opened = ours.open().unwrap();
        std::fs::rename(ours.path(), folder.path().join("away")).unwrap();
        symlink(victim.path(), ours.path()).unwrap();
        std::fs::create_dir_all(descriptor(&opened).join("new/member")).unwrap();
        std::fs::rename(descriptor(&opened).join("new"), descriptor(&opened).join("done")).unwrap();
        assert!(folder.path().join("away/done/member").is_dir());
        victim.assert_untouched();
    }

    #[test]
    fn our_own_folder_has_to_be_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let (root, ours) = (Place::new(folder.path()), folder.path().join(OURS));
        std::fs::create_dir(&ours).unwrap();
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o755)).unwrap();
        root.join(OURS).join("id").create_folders().unwrap();
        assert_eq!(ours.metadata().unwrap().mode() & 0o7777, 0o700, "nobody else looks into it");
        if !rustix::process::geteuid().is_root() {
            return;
        }
        chown(&ours, Some(2001), Some(2001)).unwrap();
        let error = root.join(OURS).join("id").exists().unwrap_err();
        assert!(error.to_string().contains("it belongs to user 2001"), "{error}");
    }
}
