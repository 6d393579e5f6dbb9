//! Images made of a few files, for pods that need no more.

use anyhow::Result;
use serde_json::{Value, json};

/// A docker-archive of one layer: executable `files` by path, and the image's configuration as Docker writes it, such as
/// `{"Entrypoint": ["/program"]}`.
///
/// # Errors
/// When a path does not fit into an archive.
pub fn docker_archive(reference: &str, config: &Value, files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let layer = archive(files)?;
    let manifest = json!([{ "Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"] }]).to_string();
    let config = json!({ "architecture": "amd64", "os": "linux", "config": config }).to_string();
    archive(&[("manifest.json", manifest.as_bytes()), ("config.json", config.as_bytes()), ("layer.tar", &layer)])
}

fn archive(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, name, *content)?;
    }
    Ok(archive.into_inner()?)
}
