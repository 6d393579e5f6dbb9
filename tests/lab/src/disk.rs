//! A node's disk: a file system of its own. It holds etcd's data directory alone, as many real nodes have it: the directory
//! is a mount point then, which cannot be renamed and has a `lost+found`. Or it holds that and the folder of the restores'
//! journals, which are ordinary folders of it. It can be full, hang, and fail.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use rustix::fs::FallocateFlags;

use crate::lab::{Lab, Options};
use crate::network;
use crate::paths::{DATA_DIR, JOURNALS, NodeDir};
use crate::record::unmount_below;

/// What lies on a node's disk, by its name there.
const SHARED: [(&str, &str); 2] = [("etcd", DATA_DIR), ("kubectl-etcd", JOURNALS)];

/// Makes the disk that the options want and mounts it: here and not on the node, so that it is seen from both, and outlives
/// the node's processes as a disk does.
pub(crate) fn make(dir: &NodeDir, options: &Options) -> Result<()> {
    let megabytes = match (options.data_disk, options.node_disk) {
        (None, None) => return Ok(()),
        (Some(_), Some(_)) => bail!("a node has a data disk or a node disk, not both"),
        (Some(megabytes), None) => megabytes,
        (None, Some(megabytes)) => {
            fs::create_dir_all(dir.disk())?;
            megabytes
        }
    };
    let image = dir.disk_image();
    fs::File::create(&image)?.set_len(u64::from(megabytes) << 20)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
    mount(dir)
}

fn mount(dir: &NodeDir) -> Result<()> {
    run(Command::new("mount").args(["-o", "loop"]).arg(dir.disk_image()).arg(root(dir)))?;
    if is_shared(dir) {
        for (name, place) in SHARED {
            let (on_disk, place) = (dir.disk().join(name), dir.host(place));
            fs::create_dir_all(&on_disk)?;
            fs::create_dir_all(&place)?;
            run(Command::new("mount").arg("--bind").arg(on_disk).arg(place))?;
        }
    }
    Ok(())
}

fn is_shared(dir: &NodeDir) -> bool {
    dir.disk().exists()
}

/// Where the disk's own root is, on this machine.
fn root(dir: &NodeDir) -> PathBuf {
    if is_shared(dir) { dir.disk() } else { dir.host(DATA_DIR) }
}

/// Whether the disk is mounted; what is in its place else is on this machine's own.
fn is_mounted(dir: &NodeDir) -> Result<bool> {
    let root = root(dir);
    Ok(dir.disk_image().exists() && root.metadata()?.dev() != root.join("..").metadata()?.dev())
}

/// Lets a disk that hangs go on, so that what waits for it can end. No error when it does not hang, or there is none.
pub(crate) fn thaw(dir: &NodeDir) -> Result<()> {
    if !dir.disk_image().exists() || !is_mounted(dir)? {
        return Ok(());
    }
    let mut thaw = Command::new("fsfreeze");
    let output = output(thaw.arg("--unfreeze").arg(root(dir)).env("LC_ALL", "C"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // What does not hang is no argument for this.
    if output.status.success() || said.contains("Invalid argument") {
        Ok(())
    } else {
        bail!("fsfreeze: {}", said.trim())
    }
}

fn output(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.output().with_context(|| format!("cannot run {program}"))
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = output(command)?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a disk that fails had until then.
fn kept(image: &Path) -> PathBuf {
    image.with_extension("kept")
}

impl Lab {
    /// The folder of a node with a disk.
    fn with_disk(&self, node: &str) -> Result<NodeDir> {
        let dir = self.dir(node)?;
        if !dir.disk_image().exists() {
            bail!("node {node} has no disk of its own");
        }
        if !is_mounted(&dir)? {
            bail!("the disk of node {node} is not mounted");
        }
        Ok(dir)
    }

    /// Fills a node's disk, but for so many megabytes; 0 leaves not a block.
    ///
    /// # Errors
    /// When the node has no disk of its own.
    pub fn fill_disk(&self, node: &str, leaving: u64) -> Result<()> {
        let dir = self.with_disk(node)?;
        let file = fs::OpenOptions::new().create(true).append(true).open(filler(&dir))?;
        let mut end = file.metadata()?.len();
        // Blocks are taken, not written: it is quick, and this machine's disk does not grow by it.
        for block in [64 << 20, 1 << 20, 4096] {
            loop {
                match rustix::fs::fallocate(&file, FallocateFlags::empty(), end, block) {
                    Ok(()) => end += block,
                    Err(rustix::io::Errno::NOSPC) => break,
                    Err(error) => return Err(error).context("cannot fill the disk"),
                }
            }
        }
        file.set_len(end.saturating_sub(leaving * 1_000_000))?;
        Ok(file.sync_all()?)
    }

    /// Gives back what [`Lab::fill_disk`] took.
    ///
    /// # Errors
    /// When it took nothing.
    pub fn free_disk(&self, node: &str) -> Result<()> {
        Ok(fs::remove_file(filler(&self.with_disk(node)?))?)
    }

    /// Lets a node's disk hang: whoever writes to it waits, and cannot even be killed, until it is [thawed](Lab::thaw_disk).
    /// Reads go on.
    ///
    /// # Errors
    /// When the node has no disk of its own, or it hangs already.
    pub fn freeze_disk(&self, node: &str) -> Result<()> {
        let dir = self.with_disk(node)?;
        run(Command::new("fsfreeze").arg("--freeze").arg(root(&dir))).map(drop)
    }

    /// Lets a disk that hangs go on. No error when it does not hang.
    ///
    /// # Errors
    /// When the node has no disk of its own.
    pub fn thaw_disk(&self, node: &str) -> Result<()> {
        thaw(&self.with_disk(node)?)
    }

    /// Lets a node's disk fail: the kernel gets an error for all it reads and writes there, and so do programs, but for reads of
    /// what is in memory. What was written before is on it, synced or not. It fails until it is [mended](Lab::mend_disk).
    ///
    /// The file behind the disk is cut to nothing: unlike a device mapper's `error` target, every machine has that.
    ///
    /// # Errors
    /// When the node has no disk of its own, or it fails already.
    pub fn fail_disk(&self, node: &str) -> Result<()> {
        let dir = self.with_disk(node)?;
        let image = dir.disk_image();
        if kept(&image).exists() {
            bail!("the disk of node {node} fails already");
        }
        let devices = run(Command::new("losetup").args(["--noheadings", "--output", "NAME", "-j"]).arg(&image))?;
        let device = devices.lines().next().with_context(|| format!("no device has the disk of node {node}"))?.trim();
        // What is copied must be whole: nothing is written meanwhile, and all that was is in the file.
        run(Command::new("fsfreeze").arg("--freeze").arg(root(&dir)))?;
        let failed = || -> Result<()> {
            run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(&image).arg(kept(&image)))?;
            fs::OpenOptions::new().write(true).open(&image)?.set_len(0)?;
            run(Command::new("losetup").args(["--set-capacity", device])).map(drop)
        };
        let failed = failed();
        thaw(&dir)?;
        failed
    }

    /// Puts a disk in the place of one that [fails](Lab::fail_disk), with what that had until then. As on a real node this is
    /// done while it is [switched off](Lab::power_off).
    ///
    /// # Errors
    /// When the disk does not fail, or the node is on.
    pub fn mend_disk(&self, node: &str) -> Result<()> {
        let dir = self.dir(node)?;
        let image = dir.disk_image();
        if !kept(&image).exists() {
            bail!("the disk of node {node} does not fail");
        }
        if network::netns_exists(&self.record.netns(node)) {
            bail!("node {node} is switched on");
        }
        for place in SHARED.map(|(_, place)| dir.host(place)).into_iter().chain([dir.disk()]) {
            unmount_below(&place)?;
        }
        fs::rename(kept(&image), &image)?;
        mount(&dir)
    }
}

/// What fills a disk, where it is no file of anybody else's.
fn filler(dir: &NodeDir) -> PathBuf {
    root(dir).join("lost+found/filler")
}
