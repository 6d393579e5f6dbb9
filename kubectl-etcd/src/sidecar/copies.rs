//! What a session says of the snapshots in a folder of its node.

use std::time::Duration;

use etcd_wire::Frame;
use etcd_wire::message::{CheckCopyRequest, CheckedCopy, CopiesFound, CopiesRequest, CopyFile, Reply, Request};

use super::session::{SILENCE, Session, TransferError};
use crate::output::Outcome;

/// Bytes that the slowest disk of a node reads in a second, and the sidecar checks.
const SLOWEST: u64 = 4 << 20;

impl Session {
    /// Which snapshots lie in a folder of the node.
    pub(crate) async fn copies(&mut self, folder: &str) -> Outcome<CopiesFound> {
        let request = Request::Copies(CopiesRequest { folder: folder.to_owned() });
        let asked = self.ask(request, "list the snapshots on the node", SILENCE).await;
        match asked.map_err(TransferError::into_failed)? {
            Reply::Copies(found) => Ok(found),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Has the sidecar check one of them: waits as long as a slow disk takes for a file of its size.
    pub(crate) async fn check_copy(&mut self, folder: &str, copy: &CopyFile) -> Outcome<CheckedCopy> {
        let request = CheckCopyRequest { folder: folder.to_owned(), name: copy.name.clone() };
        let patience = SILENCE + Duration::from_secs(copy.size / SLOWEST);
        let asked = self.ask(Request::CheckCopy(request), "check a snapshot on the node", patience).await;
        match asked.map_err(TransferError::into_failed)? {
            Reply::CheckedCopy(checked) => Ok(checked),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }
}
