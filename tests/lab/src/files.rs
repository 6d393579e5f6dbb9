//! Files that are never seen half written, nor with a mode wider than theirs.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use fs_err as fs;

/// Writes a file beside its place, hidden, and renames it there.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let dir = path.parent().context("a file has a folder")?;
    fs::create_dir_all(dir)?;
    let name = path.file_name().context("a file has a name")?.to_string_lossy();
    let part = dir.join(format!(".{name}.{}.part", std::process::id()));
    let mut file = fs::File::from_parts(
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?,
        &part,
    );
    file.write_all(content)?;
    Ok(fs::rename(&part, path)?)
}
