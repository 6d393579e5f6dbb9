//! A release archive, as krew's installer sees it.

use std::io::Read;

use crate::Fault;

/// What is asked of an archive's entries; all of it fits in memory, as krew reads archives into memory too.
#[derive(Debug)]
pub struct Archive {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    kind: tar::EntryType,
    mode: u32,
    size: u64,
}

/// krew looks for a file by these names, in lower case (`cmd/validate-krew-manifest`).
const LICENSES: [&str; 8] =
    ["license", "license.txt", "license.md", "licenses", "licenses.txt", "licenses.md", "copying", "copying.txt"];

impl Archive {
    /// Reads a gzip'd tar, told by its content, not its name (`internal/download`).
    ///
    /// # Errors
    /// [`Fault::NotTarGz`] for anything else, [`Fault::Damaged`] where reading stops early.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return Err(Fault::NotTarGz);
        }
        let damaged = |error: std::io::Error| Fault::Damaged(error.to_string());
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
        let mut entries = Vec::new();
        for entry in tar.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let size = std::io::copy(&mut entry, &mut std::io::sink()).map_err(damaged)?;
            entries.push(Entry {
                path: String::from_utf8_lossy(&entry.path_bytes()).into_owned(),
                kind: entry.header().entry_type(),
                mode: entry.header().mode().map_err(damaged)?,
                size,
            });
        }
        // The checksum in gzip's trailer is read only when the stream is read to its end.
        tar.into_inner().read_to_end(&mut Vec::new()).map_err(damaged)?;
        Ok(Self { entries })
    }

    /// Every rule that the archive breaks, for a platform whose program is `bin`.
    pub fn faults(&self, bin: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        for entry in &self.entries {
            if entry.path.starts_with('/') || entry.path.contains("..") {
                faults.push(Fault::EntryPath(entry.path.clone()));
            }
            if !entry.kind.is_file() && !entry.kind.is_dir() {
                faults.push(Fault::EntryType(entry.path.clone()));
            }
        }
        let mut files = self.entries.iter().filter(|entry| entry.kind.is_file());
        if !files.clone().any(|entry| entry.size > 0 && LICENSES.contains(&base_name(&entry.path).as_str())) {
            faults.push(Fault::NoLicense);
        }
        match files.find(|entry| entry.path == bin) {
            None => faults.push(Fault::BinMissing(bin.to_owned())),
            Some(entry) if entry.mode & 0o111 != 0o111 => faults.push(Fault::BinNotExecutable(bin.to_owned())),
            Some(_) => {}
        }
        faults
    }
}

fn base_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase()
}

/// SHA-256 in lower-case hexadecimal, as a manifest has it.
pub fn sha256(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
