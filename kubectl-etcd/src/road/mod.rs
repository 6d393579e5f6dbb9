//! The roads to `etcd-sidecar serve` on a node. What is said over a road does not depend on which it is.

mod channel;
mod exec;

pub(crate) use channel::{Channel, Ended, Reader, Writer};

use crate::connection::Connection;
use crate::discovery::EtcdPod;
use crate::output::{Outcome, Printer};
use crate::sidecar::{Operation, Pods, Session, SidecarArgs, TransferError};

/// How sidecars are brought to nodes and spoken to.
#[derive(Clone)]
pub(crate) enum Road {
    /// In pods of ours, by exec.
    Exec(Pods),
}

/// A sidecar that is ready on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sidecar {
    /// In a running pod of ours.
    Pod {
        /// Its name.
        pod: String,
        /// Its namespace.
        namespace: String,
    },
}

impl Road {
    /// The road by way of the API server.
    pub(crate) fn exec(connection: &Connection, args: &SidecarArgs, printer: Printer) -> Road {
        Road::Exec(Pods::new(connection, args, printer))
    }

    /// Where to print.
    pub(crate) fn printer(&self) -> Printer {
        match self {
            Road::Exec(pods) => pods.printer(),
        }
    }

    /// Brings a sidecar to a member's node. `writable` is a folder of the node that it may write to.
    ///
    /// # Errors
    /// It cannot be brought there, or does not run.
    pub(crate) async fn start(
        &self,
        member: &EtcdPod,
        operation: Operation,
        writable: Option<&str>,
    ) -> Outcome<Sidecar> {
        match self {
            Road::Exec(pods) => {
                let (pod, namespace) = pods.start(member, operation, writable).await?;
                Ok(Sidecar::Pod { pod, namespace })
            }
        }
    }

    /// Asks whether a sidecar could be brought to a member's node, as far as that can be known. Makes nothing.
    ///
    /// # Errors
    /// As [`Road::start`].
    pub(crate) async fn rehearse(&self, member: &EtcdPod, operation: Operation) -> Outcome {
        match self {
            Road::Exec(pods) => pods.rehearse(member, operation).await,
        }
    }

    /// Starts a conversation with a sidecar.
    ///
    /// # Errors
    /// The road cannot be opened, or what answers is not a sidecar of this protocol version (exit 4).
    pub(crate) async fn session(&self, sidecar: &Sidecar) -> Result<Session, TransferError> {
        match (self, sidecar) {
            (Road::Exec(pods), Sidecar::Pod { pod, namespace }) => {
                Session::establish(exec::open(pods.connection(), pod, namespace).await?).await
            }
        }
    }

    /// Takes a sidecar away before the others, when it is not needed any more. One that stays is tried again at the end.
    pub(crate) async fn release(&self, sidecar: &Sidecar) {
        match (self, sidecar) {
            (Road::Exec(pods), Sidecar::Pod { pod, .. }) => pods.delete_early(pod).await,
        }
    }

    /// The pods that are there now because of this run, as `NAMESPACE/NAME`.
    pub(crate) fn pods(&self) -> Vec<String> {
        match self {
            Road::Exec(pods) => pods.names(),
        }
    }

    /// Takes away everything that was brought to nodes. Returns the pods that stay, each with the reason.
    pub(crate) async fn end(&self) -> Vec<(String, String)> {
        match self {
            Road::Exec(pods) => pods.delete_all().await,
        }
    }
}
