//! What a session says of a snapshot of a member without quorum.

use std::time::Duration;

use etcd_wire::Frame;
use etcd_wire::message::{Reply, Request};
use etcd_wire::replay::{ReplayDone, ReplayRequest};

use super::session::{Received, Session, Sink, TransferError};

/// How long a node may copy a member, and apply its log to the copy.
const REPLAY: Duration = Duration::from_secs(1800);

impl Session {
    /// Receives into `sink` a snapshot that has everything that the log of a member has. The sidecar then waits for
    /// [`Session::acknowledge_replay`].
    ///
    /// # Errors
    /// Exit 4: etcd may have a quorum, or the node has no program that applies the log. Else the log or the database is damaged, or the road broke.
    pub(crate) async fn replay<S: Sink>(
        &mut self,
        request: ReplayRequest,
        sink: S,
    ) -> Result<Received<S>, TransferError> {
        self.require("replay").map_err(TransferError::Final)?;
        self.receive(Request::Replay(Box::new(request)), "receive the snapshot", None, REPLAY, sink).await
    }

    /// Tells the sidecar that the whole stream is here and verified, and waits for its last word.
    ///
    /// # Errors
    /// The copy on the node could not be removed, or the road broke.
    pub(crate) async fn acknowledge_replay(&mut self, length: u64) -> Result<ReplayDone, TransferError> {
        match self.last_word(length).await? {
            Reply::Replay(done) => Ok(done),
            other => Err(self.unexpected(Frame::Reply(other))),
        }
    }
}
