//! A node's data disk: a file system of its own at etcd's data directory, as many real nodes have. So the directory is a
//! mount point, which cannot be renamed and has a `lost+found`, and it can be full.

use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use rustix::fs::FallocateFlags;

use crate::lab::Lab;
use crate::paths::{DATA_DIR, NodeDir};

/// What fills a disk, where it is no file of etcd's.
const FILLER: &str = "/var/lib/etcd/lost+found/filler";

/// Makes the disk and mounts it: here and not on the node, so that it is seen from both, and outlives the node's
/// processes as a disk does.
pub(crate) fn mount(dir: &NodeDir, megabytes: u32) -> Result<()> {
    let image = dir.disk_image();
    fs::File::create(&image)?.set_len(u64::from(megabytes) << 20)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(dir.host(DATA_DIR)))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

impl Lab {
    /// Fills a node's [data disk](crate::Options::data_disk), but for so many megabytes; 0 leaves not a block.
    ///
    /// # Errors
    /// When the node has no data disk.
    pub fn fill_disk(&self, node: &str, leaving: u64) -> Result<()> {
        let dir = self.dir(node)?;
        if !dir.disk_image().exists() {
            bail!("node {node} has no data disk");
        }
        let file = fs::OpenOptions::new().create(true).append(true).open(dir.host(FILLER))?;
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
        Ok(fs::remove_file(self.dir(node)?.host(FILLER))?)
    }
}
