//! A file of YAML or JSON on the node.

use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::dir;

/// The kubelet reads no larger manifests (kubernetes pkg/kubelet/config/file.go @ v1.36.0, `maxConfigLength`).
const MAX_FILE: u64 = 10 << 20;

/// What is in a file; `None` if it is a folder or anything else that is no file.
///
/// # Errors
/// It is not there, cannot be read, or is too large.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, std::io::Error> {
    let Some(file) = dir::open_configured(path)? else { return Ok(None) };
    let mut contents = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > MAX_FILE {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(contents))
}

/// The first document in a file, which is the one that Kubernetes takes.
///
/// # Errors
/// Where it is wrong, but not what stands there: that may be a secret.
pub(super) fn parse<T: DeserializeOwned>(contents: &[u8]) -> Result<T, String> {
    let first = serde_yaml_ng::Deserializer::from_slice(contents).next().ok_or("there is nothing in it")?;
    T::deserialize(first).map_err(|error| match error.location() {
        Some(at) => format!("line {}, column {} is not what it should be", at.line(), at.column()),
        None => "it is not what it should be".to_owned(),
    })
}
