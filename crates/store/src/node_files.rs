//! Files of one node beside a snapshot: a tar archive of small files, their folders and links, which GNU tar reads and writes, too.
//!
//! Paths are those on the node, without the slash at their beginning. What is read was written by somebody else: nothing in it leads out of
//! the folder into which it is unpacked, and nothing in it is a device, a pipe or a hard link.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};

use tar::{Archive, Builder, EntryType, Header};

/// One thing of a node.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeFile {
    /// Where it is.
    pub path: NodePath,
    /// Permissions: the lower twelve bits of its mode.
    pub mode: u32,
    /// User ID of its owner.
    pub owner: u32,
    /// ID of its group.
    pub group: u32,
    /// When its content was changed: seconds since 1970.
    pub modified: u64,
    /// What it is.
    pub kind: Kind,
}

/// What a thing of a node is.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file with its content, which may be a key.
    File(Vec<u8>),
    /// A folder.
    Folder,
    /// A symbolic link, which leads to a place inside of the archive, by a relative path.
    Link(String),
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::File(content) => write!(f, "File({} bytes)", content.len()),
            Kind::Folder => f.write_str("Folder"),
            Kind::Link(target) => write!(f, "Link({target:?})"),
        }
    }
}

impl fmt::Debug for NodeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:o} {}:{} {:?}", self.path, self.mode, self.owner, self.group, self.kind)
    }
}

/// A path on a node without its first slash, as in `etc/kubernetes/pki/ca.crt`: no part of it is empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(String);

/// How much an archive may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links.
    pub entries: usize,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of all files.
    pub total: u64,
}

impl Default for Limits {
    /// Room for thousands of manifests and certificates.
    fn default() -> Limits {
        Limits { entries: 10_000, file: 16 << 20, total: 64 << 20 }
    }
}

/// An archive that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum NodeFilesError {
    /// It cannot be read or written, or is no archive.
    #[error("the archive of node files cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// It ends too early.
    #[error("the archive of node files is cut")]
    Cut,
    /// Something follows its end.
    #[error("something follows the end of the archive of node files")]
    Longer,
    /// It has something that it must not have.
    #[error("{path:?} in the archive of node files {why}")]
    Refused {
        /// The path as it is there.
        path: String,
        /// Why it is refused.
        why: String,
    },
    /// There is more than the limits say.
    #[error("the archive of node files has more than {0}")]
    TooMuch(String),
}

impl NodePath {
    /// Reads a path, with or without a slash at its beginning or end.
    ///
    /// # Errors
    /// What is wrong with it: it leads upwards, is empty or too long, or has control characters.
    pub fn parse(text: &str) -> Result<NodePath, String> {
        let inner = text.strip_prefix('/').unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return Err("is empty".to_owned());
        }
        if inner.len() > 4000 || inner.split('/').any(|part| part.len() > 255) {
            return Err("is too long".to_owned());
        }
        if inner.chars().any(|letter| letter.is_control()) {
            return Err("has control characters in its name".to_owned());
        }
        match inner.split('/').find(|part| matches!(*part, "" | "." | "..")) {
            Some(part) => Err(format!("has a part {part:?} in its name")),
            None => Ok(NodePath(inner.to_owned())),
        }
    }

    /// The path as text, without a slash at its beginning.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders above it, from the outermost.
    fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').filter_map(|(at, _)| self.0.get(..at))
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an archive has had so far.
struct Tree {
    limits: Limits,
    /// Whether what lies there is a folder.
    seen: HashMap<String, bool>,
    entries: usize,
    total: u64,
}

impl Tree {
    fn new(limits: Limits) -> Tree {
        Tree { limits, seen: HashMap::new(), entries: 0, total: 0 }
    }

    /// Takes an entry in, of which only the size of its content is known yet.
    fn take(&mut self, path: &NodePath, size: u64, is_folder: bool) -> Result<(), NodeFilesError> {
        let refused = |why: &str| Err(NodeFilesError::Refused { path: path.to_string(), why: why.to_owned() });
        self.entries += 1;
        self.total = self.total.saturating_add(size);
        if self.entries > self.limits.entries {
            return Err(NodeFilesError::TooMuch(format!("{} entries", self.limits.entries)));
        }
        if size > self.limits.file {
            return refused(&format!("has {size} bytes, and at most {} are taken", self.limits.file));
        }
        if self.total > self.limits.total {
            return Err(NodeFilesError::TooMuch(format!("{} bytes of files", self.limits.total)));
        }
        for parent in path.parents() {
            if !*self.seen.entry(parent.to_owned()).or_insert(true) {
                return refused("lies below something that is no folder");
            }
        }
        match self.seen.insert(path.to_string(), is_folder) {
            // A folder may be described after what is in it.
            None => Ok(()),
            Some(true) if is_folder => Ok(()),
            Some(_) => refused("is there twice"),
        }
    }
}

/// Whether a link leads to a place inside of the archive. All of its steps upwards come first: after a name, which may be a link itself,
/// a step upwards could lead anywhere.
fn inside(path: &NodePath, target: &str) -> Result<(), String> {
    if target.starts_with('/') || target.is_empty() || target.chars().any(|letter| letter.is_control()) {
        return Err(format!("is a link to {target:?}, which leads out of the archive"));
    }
    let mut depth = path.parents().count();
    let mut named = false;
    for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match (part, named, depth.checked_sub(1)) {
            ("..", false, Some(above)) => depth = above,
            ("..", ..) => return Err(format!("is a link to {target:?}, which leads out of the archive")),
            _ => named = true,
        }
    }
    Ok(())
}

/// Writes an archive.
pub struct NodeFilesWriter<W: Write> {
    builder: Builder<W>,
    tree: Tree,
}

impl<W: Write> NodeFilesWriter<W> {
    /// Begins an archive, which goes through a [`crate::Sealer`] with recipients: node files are never in clear.
    pub fn new(output: W, limits: Limits) -> NodeFilesWriter<W> {
        NodeFilesWriter { builder: Builder::new(output), tree: Tree::new(limits) }
    }

    /// Writes one thing. Folders need not be written before what is in them.
    ///
    /// # Errors
    /// It is one that would be refused when it is read, or cannot be written.
    pub fn append(&mut self, file: &NodeFile) -> Result<(), NodeFilesError> {
        let size = match &file.kind {
            Kind::File(content) => content.len() as u64,
            Kind::Folder | Kind::Link(_) => 0,
        };
        let mut header = Header::new_gnu();
        header.set_mode(file.mode & 0o7777);
        header.set_uid(file.owner.into());
        header.set_gid(file.group.into());
        header.set_mtime(file.modified);
        header.set_size(size);
        if let Kind::Link(target) = &file.kind {
            inside(&file.path, target).map_err(|why| NodeFilesError::Refused { path: file.path.to_string(), why })?;
        }
        self.tree.take(&file.path, size, file.kind == Kind::Folder)?;
        match &file.kind {
            Kind::File(content) => {
                header.set_entry_type(EntryType::Regular);
                self.builder.append_data(&mut header, file.path.as_str(), content.as_slice())?;
            }
            Kind::Folder => {
                header.set_entry_type(EntryType::Directory);
                self.builder.append_data(&mut header, format!("{}/", file.path), io::empty())?;
            }
            Kind::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                self.builder.append_link(&mut header, file.path.as_str(), target)?;
            }
        }
        Ok(())
    }

    /// Writes the end of the archive. Gives back where it was written to.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self) -> Result<W, NodeFilesError> {
        Ok(self.builder.into_inner()?)
    }
}

/// Reads an archive to its end, and gives each thing to `visit`. Nothing of it counts before this has returned without an error.
///
/// # Errors
/// See [`NodeFilesError`]. An error of `source` or of `visit` is passed on as [`NodeFilesError::Io`].
pub fn read_node_files<R: Read>(
    source: R,
    limits: Limits,
    mut visit: impl FnMut(NodeFile) -> io::Result<()>,
) -> Result<(), NodeFilesError> {
    // Names that are too long for a header are read into memory before anything is known of them: this is the most they can take.
    let most = limits.total.saturating_add(limits.entries as u64 * 8192).saturating_add(1 << 20);
    let mut archive = Archive::new(source.take(most));
    let mut tree = Tree::new(limits);
    for entry in archive.entries()? {
        visit(read_entry(entry?, &mut tree)?)?;
    }
    // One of the two blocks of zeros at the end has been read. More of them may follow, as GNU tar fills its last record with them.
    let mut rest = archive.into_inner();
    let mut zeros = 0_u64;
    let mut buffer = [0; 4096];
    loop {
        let read = match rest.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.iter().any(|byte| *byte != 0) {
            return Err(NodeFilesError::Longer);
        }
        zeros += piece.len() as u64;
        match read {
            0 if rest.limit() == 0 => return Err(NodeFilesError::TooMuch(format!("{most} bytes"))),
            0 if zeros < 512 => return Err(NodeFilesError::Cut),
            0 => return Ok(()),
            _ => {}
        }
    }
}

fn read_entry<R: Read>(mut entry: tar::Entry<'_, R>, tree: &mut Tree) -> Result<NodeFile, NodeFilesError> {
    let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let refused = |why: String| NodeFilesError::Refused { path: shown.clone(), why };
    let text = std::str::from_utf8(&entry.path_bytes()).map(str::to_owned);
    let text = text.map_err(|_| refused("has a name that is not text".to_owned()))?;
    // `tar -C / -cf - ./etc` begins its names so.
    let relative = text.strip_prefix("./").unwrap_or(&text);
    if relative.starts_with('/') {
        return Err(refused("has an absolute name".to_owned()));
    }
    let path = NodePath::parse(relative).map_err(refused)?;
    let id = |id: io::Result<u64>| u32::try_from(id?).map_err(|_| io::Error::other("an owner's ID is too large"));
    let header = entry.header();
    let kind = header.entry_type();
    let (mode, modified) = (header.mode()? & 0o7777, header.mtime()?);
    let (owner, group) = (id(header.uid())?, id(header.gid())?);
    let size = entry.size();
    tree.take(&path, size, kind.is_dir())?;
    let kind = match kind {
        EntryType::Regular => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            if content.len() as u64 != size {
                return Err(NodeFilesError::Cut);
            }
            Kind::File(content)
        }
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => {
            let target = entry.link_name_bytes().and_then(|target| String::from_utf8(target.into_owned()).ok());
            let target = target.ok_or_else(|| refused("is a link to a name that is not text".to_owned()))?;
            inside(&path, &target).map_err(refused)?;
            Kind::Link(target)
        }
        EntryType::Link => return Err(refused("is a hard link".to_owned())),
        EntryType::Block | EntryType::Char => return Err(refused("is a device".to_owned())),
        EntryType::Fifo => return Err(refused("is a pipe".to_owned())),
        _ => return Err(refused("is neither a file, a folder nor a link".to_owned())),
    };
    Ok(NodeFile { path, mode, owner, group, modified, kind })
}
