//! Faults on demand: `faults.json` in the lab's directory is read at every request it may touch, so a test that writes
//! the file need not wait for anything.

use std::{collections::BTreeMap, path::PathBuf, sync::Mutex};

use serde::Deserialize;

/// What is to go wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Faults {
    /// Cuts exec streams.
    pub(super) exec: Option<ExecFault>,
    /// Refuses to create pods, as an admission webhook with this message.
    pub(super) refuse_pods: Option<String>,
    /// Waits before answering anything.
    #[serde(default)]
    pub(super) delay_ms: u64,
    /// Forbids these, except to kubelets.
    #[serde(default)]
    pub(super) deny: Vec<Deny>,
    /// Answers this status below these path prefixes.
    #[serde(default)]
    pub(super) status: BTreeMap<String, u16>,
}

/// A verb on a resource; `*` is any.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deny {
    verb: String,
    /// With its subresource: `pods/exec`.
    resource: String,
}

impl Deny {
    pub(super) fn covers(&self, verb: &str, resource: &str) -> bool {
        (self.verb == "*" || self.verb == verb) && (self.resource == "*" || self.resource == resource)
    }
}

/// How an exec stream breaks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExecFault {
    /// Bytes from the kubelet that reach the client after the upgrade.
    pub(super) cut_after: u64,
    pub(super) mode: Cut,
    #[serde(default)]
    #[allow(dead_code, reason = "there is one direction; naming it keeps the file readable and other words refused")]
    direction: Direction,
    /// How many streams break; none means all.
    times: Option<u64>,
}

/// How the client's connection ends.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cut {
    /// close_notify and FIN.
    Clean,
    /// RST.
    Reset,
    /// Not at all: nothing more arrives.
    Stall,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    #[default]
    Down,
}

/// Reads the faults and counts how often the exec fault has struck.
pub(super) struct FaultFile {
    path: Option<PathBuf>,
    struck: Mutex<(Vec<u8>, u64)>,
}

impl FaultFile {
    pub(super) fn new(lab_dir: Option<PathBuf>) -> Self {
        Self { path: lab_dir.map(|dir| dir.join("faults.json")), struck: Mutex::default() }
    }

    fn bytes(&self) -> std::io::Result<Option<Vec<u8>>> {
        let Some(path) = &self.path else { return Ok(None) };
        match fs_err::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The faults in force.
    ///
    /// # Errors
    /// When the file is there and cannot be read: a mistyped fault must not pass for none.
    pub(super) fn load(&self) -> std::io::Result<Faults> {
        match self.bytes()? {
            Some(bytes) => Ok(serde_json::from_slice(&bytes)?),
            None => Ok(Faults::default()),
        }
    }

    /// The fault for one exec stream, counted: a file with other content counts anew.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(super) fn strike(&self) -> std::io::Result<Option<ExecFault>> {
        let Some(bytes) = self.bytes()? else { return Ok(None) };
        let Some(fault) = serde_json::from_slice::<Faults>(&bytes)?.exec else { return Ok(None) };
        let mut struck = self.struck.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if struck.0 != bytes {
            *struck = (bytes, 0);
        }
        if fault.times.is_some_and(|times| struck.1 >= times) {
            return Ok(None);
        }
        struck.1 += 1;
        Ok(Some(fault))
    }
}
