//! What several test programs share.

#![allow(dead_code, reason = "every test program uses a part of it")]

pub(crate) mod builder;

use std::path::{Path, PathBuf};

use etcd_snapshot::{Finding, FindingKind, Options, Report, VerifyError, verify};

/// The fixtures' folder.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

/// A fixture's bytes.
pub(crate) fn unpack(path: &str) -> Vec<u8> {
    let packed = std::fs::read(data().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    zstd::decode_all(packed.as_slice()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A fixture's JSON.
pub(crate) fn json(path: &str) -> serde_json::Value {
    let text = std::fs::read(data().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Verifies bytes.
pub(crate) fn check(bytes: &[u8]) -> Result<Report, VerifyError> {
    verify(&bytes, &Options::default(), &|_| {})
}

/// The findings in bytes that must be damaged.
pub(crate) fn findings(bytes: &[u8]) -> Vec<Finding> {
    match check(bytes) {
        Err(VerifyError::Damaged(damage)) => damage.findings,
        other => panic!("not damaged but {other:?}"),
    }
}

/// The kinds of damage in bytes that must be damaged, each once, in order of discovery.
pub(crate) fn kinds(bytes: &[u8]) -> Vec<FindingKind> {
    let mut kinds = Vec::new();
    for finding in findings(bytes) {
        if !kinds.contains(&finding.kind) {
            kinds.push(finding.kind);
        }
    }
    kinds
}
