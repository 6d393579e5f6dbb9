//! What a session says of the restore of a running control plane, and of the replacement of a member; the upload is in `upload.rs`.

use std::time::Duration;

use etcd_wire::message::{Reply, Request};
use etcd_wire::replace::{ReplacePlan, ReplacedData, ReplacedDataRequest, Replacement};
use etcd_wire::restore::{ArmRequest, DirectRequest, NodeRestore, PrepareRequest, Prepared, RemoveAsideRequest};
use etcd_wire::{FailureCode, Frame};

use super::session::{SILENCE, Session, TransferError, next};
use crate::output::{Failed, Outcome};

/// How long a kubelet may take to start a node's participant, and more.
const ARM: Duration = Duration::from_secs(90);
/// How long a participant may take to have an order on its disk, and more.
const DIRECT: Duration = Duration::from_secs(60);
/// How long the coordinator may take until all nodes have passed their preflight, and more.
const COMMIT: Duration = Duration::from_secs(100);
/// How long the other members may take to have one leader, and more.
const REPLACE: Duration = Duration::from_secs(150);
/// How long old data may take to go.
const REMOVE: Duration = Duration::from_secs(300);

/// What became of the word to begin.
#[derive(Debug)]
pub(crate) enum Committed {
    /// The nodes are on their own.
    Begun,
    /// A node did not pass its preflight: none has begun.
    Refused(Failed),
    /// The road broke before the answer: they may have begun.
    Unknown(Failed),
}

impl Session {
    /// Checks that the node can take part in a restore, and keeps others out.
    ///
    /// # Errors
    /// Exit 4 if something speaks against it, or another restore is under way or unfinished.
    pub(crate) async fn prepare(&mut self, request: PrepareRequest) -> Outcome<Prepared> {
        match self.plainly(Request::Prepare(Box::new(request)), "prepare the node", SILENCE).await? {
            Reply::Prepared(prepared) => Ok(prepared),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Starts the node's participant.
    pub(crate) async fn arm(&mut self, request: ArmRequest) -> Outcome {
        match self.plainly(Request::Arm(Box::new(request)), "start the node's participant", ARM).await? {
            Reply::Armed => Ok(()),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Gives the participant of a restore on the node a new certificate, an order, or both.
    ///
    /// # Errors
    /// Exit 4 if there is no such participant, or the order is not for one at its phase.
    pub(crate) async fn direct(&mut self, request: DirectRequest) -> Outcome {
        match self.plainly(Request::Direct(Box::new(request)), "direct the node's participant", DIRECT).await? {
            Reply::Armed => Ok(()),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Tells the coordinator to begin.
    pub(crate) async fn commit(&mut self) -> Committed {
        const DOING: &str = "find out whether the restore has begun";
        if let Err(error) = self.voice.send(&Frame::Request(Request::Commit)).await {
            return Committed::Unknown(self.broken(error, DOING).into_failed());
        }
        match next(&mut self.incoming, "the coordinator's word", COMMIT).await {
            Ok(Frame::Reply(Reply::Committing)) => Committed::Begun,
            // Only these say that the coordinator itself has decided against it.
            Ok(Frame::Failure(failure)) if is_verdict(failure.code) => Committed::Refused(failure.into()),
            Ok(other) => Committed::Unknown(self.unexpected(other).into_failed()),
            Err(error) => Committed::Unknown(self.broken(error, DOING).into_failed()),
        }
    }

    /// What the node's journals say, oldest first.
    pub(crate) async fn restores(&mut self) -> Outcome<Vec<NodeRestore>> {
        match self.plainly(Request::Restores, "read the node's journals", SILENCE).await? {
            Reply::Restores { restores } => Ok(restores),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Takes away what ended restores have set aside, and their journals. Gives what was taken away.
    pub(crate) async fn remove_aside(&mut self, ids: Vec<String>) -> Outcome<Vec<NodeRestore>> {
        let request = Request::RemoveAside(RemoveAsideRequest { ids });
        match self.plainly(request, "remove old data from the node", REMOVE).await? {
            Reply::Restores { restores } => Ok(restores),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Begins the replacement of the node's member, or goes on with one that is unfinished. The node goes on with it by itself.
    ///
    /// # Errors
    /// Exit 4 if something speaks against it: nothing has changed then. Where the road broke, it may have begun.
    pub(crate) async fn replace(&mut self, plan: ReplacePlan) -> Result<Replacement, TransferError> {
        match self.ask(Request::Replace(Box::new(plan)), "begin the replacement", REPLACE).await? {
            Reply::Replacement(replacement) => Ok(*replacement),
            other => Err(self.unexpected(Frame::Reply(other))),
        }
    }

    /// How a replacement is.
    pub(crate) async fn replacement(&mut self, id: &str) -> Result<Replacement, TransferError> {
        let request = Request::Replacement { id: id.to_owned() };
        match self.ask(request, "ask how the replacement is", SILENCE).await? {
            Reply::Replacement(replacement) => Ok(*replacement),
            other => Err(self.unexpected(Frame::Reply(other))),
        }
    }

    /// The plan of a replacement that is unfinished on the node, if there is one.
    pub(crate) async fn unfinished_replacement(&mut self) -> Outcome<Option<ReplacePlan>> {
        self.require("unfinishedReplacement")?;
        match self.plainly(Request::UnfinishedReplacement, "look for an unfinished replacement", SILENCE).await? {
            Reply::UnfinishedReplacement { plan } => Ok(plan.map(|plan| *plan)),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// What replacements have left on the node.
    pub(crate) async fn replaced_data(&mut self, data_dirs: Vec<String>) -> Outcome<Vec<ReplacedData>> {
        self.require("replacedData")?;
        let request = Request::ReplacedData(ReplacedDataRequest { data_dirs });
        match self.plainly(request, "look for the old data of replaced members", SILENCE).await? {
            Reply::ReplacedData { replacements } => Ok(replacements),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    /// Takes away what ended replacements have set aside, and their journals. Gives what was taken away.
    pub(crate) async fn remove_replaced_data(&mut self, ids: Vec<String>) -> Outcome<Vec<ReplacedData>> {
        let request = Request::RemoveReplacedData(RemoveAsideRequest { ids });
        match self.plainly(request, "remove the old data of a replaced member from the node", REMOVE).await? {
            Reply::ReplacedData { replacements } => Ok(replacements),
            other => Err(self.unexpected(Frame::Reply(other)).into_failed()),
        }
    }

    async fn plainly(&mut self, request: Request, doing: &str, patience: Duration) -> Outcome<Reply> {
        self.ask(request, doing, patience).await.map_err(TransferError::into_failed)
    }
}

fn is_verdict(code: FailureCode) -> bool {
    matches!(code, FailureCode::Refused | FailureCode::Busy | FailureCode::BadRequest | FailureCode::Unsupported)
}
