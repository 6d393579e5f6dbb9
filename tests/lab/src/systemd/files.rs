//! The files of units on a node, and where the node has what they name.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use fs_err as fs;

use super::definition::Definition;
use super::syntax;
use crate::paths::{NodeDir, UNITS};

/// The folder of links to what starts with the manager.
const WANTED: &str = "multi-user.target.wants";

/// The folders of a node that are its own in its view; all others are this machine's.
const OWN: [&str; 3] = ["/etc", "/var/lib", "/run"];

/// A file as it was found: its path on the node, when it was changed, and what it said.
pub(super) type Found = (String, Option<SystemTime>, Vec<u8>);

/// The files of one unit, its fragment first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) fragment: Option<Found>,
    pub(super) drop_ins: Vec<Found>,
}

/// Where what a process of the node knows by this path is in the manager's view. Files at the top of `/etc` are the node's here too.
pub(super) fn place(dir: &NodeDir, path: &str) -> PathBuf {
    if OWN.iter().any(|own| Path::new(path).starts_with(own)) { dir.host(path) } else { path.into() }
}

/// The names of the units that a node has files of.
pub(super) fn names(dir: &NodeDir) -> Result<Vec<String>> {
    let names = entries(&dir.host(UNITS))?;
    Ok(names.into_iter().filter(|name| name.ends_with(".service") && is_unit(name)).collect())
}

/// Whether this can be a unit's name: it becomes a part of a path.
pub(super) fn is_unit(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    name.strip_suffix(".service").is_some_and(|name| !name.is_empty() && name.chars().all(fits))
}

/// The names in a folder, sorted; none where there is no folder.
fn entries(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names =
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Reads the files of a unit.
pub(super) fn read(dir: &NodeDir, name: &str) -> Result<Files> {
    let drop_ins = format!("{UNITS}/{name}.d");
    let drop_in_names = entries(&dir.host(&drop_ins))?.into_iter().filter(|name| name.ends_with(".conf"));
    let found = drop_in_names.map(|name| file(dir, &format!("{drop_ins}/{name}")));
    let drop_ins = found.filter_map(Result::transpose).collect::<Result<_>>()?;
    Ok(Files { fragment: file(dir, &format!("{UNITS}/{name}"))?, drop_ins })
}

fn file(dir: &NodeDir, path: &str) -> Result<Option<Found>> {
    let place = dir.host(path);
    let changed = match std::fs::metadata(&place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        found => found.with_context(|| format!("cannot look at {}", place.display()))?.modified().ok(),
    };
    match fs::read(&place) {
        // Gone in between.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        content => Ok(Some((path.to_owned(), changed, content?))),
    }
}

/// What the files of a unit say; nothing without a fragment.
pub(super) fn define(name: &str, files: &Files, log: &mut Vec<String>) -> Option<Definition> {
    let all = files.fragment.iter().chain(&files.drop_ins);
    let lines: Vec<_> = all.flat_map(|(_, _, content)| syntax::lines(&String::from_utf8_lossy(content), log)).collect();
    files.fragment.is_some().then(|| Definition::new(name, &lines, log))
}

/// Whether a unit starts with the manager.
pub(super) fn is_enabled(dir: &NodeDir, name: &str) -> bool {
    dir.host(UNITS).join(WANTED).join(name).symlink_metadata().is_ok()
}

/// Has a unit start with the manager; gives what the real one says of it.
pub(super) fn enable(dir: &NodeDir, name: &str) -> Result<String> {
    if is_enabled(dir, name) {
        return Ok(String::new());
    }
    let folder = dir.host(UNITS).join(WANTED);
    fs::create_dir_all(&folder)?;
    let target = format!("{UNITS}/{name}");
    fs::os::unix::fs::symlink(&target, folder.join(name))?;
    Ok(format!("Created symlink {UNITS}/{WANTED}/{name} -> {target}.\n"))
}

/// Takes that back. The folder goes with the last link.
pub(super) fn disable(dir: &NodeDir, name: &str) -> Result<String> {
    if !is_enabled(dir, name) {
        return Ok(String::new());
    }
    let folder = dir.host(UNITS).join(WANTED);
    fs::remove_file(folder.join(name))?;
    if entries(&folder)?.is_empty() {
        fs::remove_dir(&folder)?;
    }
    Ok(format!("Removed \"{UNITS}/{WANTED}/{name}\".\n"))
}
