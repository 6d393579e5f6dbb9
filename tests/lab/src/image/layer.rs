//! A layer: a tar, gzipped or not, with whiteouts.

use std::io::{Read, Seek};
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};
use fs_err as fs;

/// Puts a layer over a tree. Entries that lead out of the tree are refused.
pub(super) fn apply(layer: &Path, root: &Path) -> Result<()> {
    let mut file = fs::File::open(layer)?;
    let mut magic = [0; 2];
    let gzip = file.read(&mut magic)? == 2 && magic == [0x1f, 0x8b];
    file.rewind()?;
    let reader: Box<dyn Read> = if gzip { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_unpack_xattrs(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if path.components().any(|part| matches!(part, Component::ParentDir)) {
            bail!("a layer names a file outside itself: {}", path.display());
        }
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let place = root.join(path.strip_prefix("/").unwrap_or(&path));
        if name == ".wh..wh..opq" {
            let dir = place.parent().context("an opaque whiteout has a folder")?;
            if dir.exists() {
                for child in fs::read_dir(dir)? {
                    remove(&child?.path())?;
                }
            }
        } else if let Some(hidden) = name.strip_prefix(".wh.") {
            remove(&place.with_file_name(hidden))?;
        } else {
            let is_dir = entry.header().entry_type().is_dir();
            match fs::symlink_metadata(&place) {
                Ok(there) if !(is_dir && there.is_dir()) => remove(&place)?,
                _ => {}
            }
            if !entry.unpack_in(root)? {
                bail!("a layer names a file outside itself: {}", path.display());
            }
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => Ok(fs::remove_dir_all(path)?),
        Ok(_) => Ok(fs::remove_file(path)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(dir: &Path, name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let path = dir.join(name);
        let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o640);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        tar.finish().unwrap();
        path
    }

    #[test]
    fn whiteouts_hide_what_lies_below() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        apply(&layer(dir.path(), "1", &[("a", "1"), ("d/x", "1"), ("d/y", "1"), ("e/z", "1")]), &root).unwrap();
        apply(&layer(dir.path(), "2", &[(".wh.a", ""), ("d/.wh..wh..opq", ""), ("d/new", "2"), ("e", "2")]), &root)
            .unwrap();
        let mut left: Vec<_> =
            fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["d", "e"]);
        assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(root.join("d/new")).unwrap(), "2");
        assert_eq!(fs::read_to_string(root.join("e")).unwrap(), "2");
    }
}
