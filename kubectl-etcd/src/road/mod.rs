//! The roads to `etcd-sidecar serve` on a node. What is said over a road does not depend on which it is.

mod channel;
mod exec;
mod ssh;

pub(crate) use channel::{Channel, Ended, Reader, Writer};
pub(crate) use ssh::{Host, Plan, Ssh, SshArgs};

use crate::connection::Connection;
use crate::discovery::EtcdPod;
use crate::output::{Outcome, Printer};
use crate::sidecar::{Operation, Pods, Session, SidecarArgs, TransferError};

/// How sidecars are brought to nodes and spoken to.
#[derive(Clone)]
pub(crate) enum Road {
    /// In pods of ours, by exec.
    Exec(Box<Pods>),
    /// As processes, over SSH.
    Ssh(Ssh),
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
        /// The sidecar's program in it.
        program: &'static str,
    },
    /// A process.
    Process {
        /// Name of its node.
        node: String,
    },
}

impl Sidecar {
    /// Whether another sidecar on the same node is another one: of processes a node has one.
    pub(crate) fn is_only_one_of_its_node(&self) -> bool {
        matches!(self, Sidecar::Process { .. })
    }
}

/// What may still be on a node.
#[derive(Debug)]
pub(crate) struct Left {
    /// `pod/NAME`, `node NAME`.
    pub(crate) place: String,
    /// Why.
    pub(crate) reason: String,
}

impl Road {
    /// The road by way of the API server.
    pub(crate) fn exec(connection: &Connection, args: &SidecarArgs, printer: Printer) -> Road {
        Road::Exec(Box::new(Pods::new(connection, args, printer)))
    }

    /// Where to print.
    pub(crate) fn printer(&self) -> Printer {
        match self {
            Road::Exec(pods) => pods.printer(),
            Road::Ssh(ssh) => ssh.printer(),
        }
    }

    /// Brings a sidecar to a member's node. `folder` is the one of `--on-node`: only a backup may write to it.
    ///
    /// # Errors
    /// It cannot be brought there, or does not run.
    pub(crate) async fn start(&self, member: &EtcdPod, operation: Operation, folder: Option<&str>) -> Outcome<Sidecar> {
        match self {
            Road::Exec(pods) => {
                let (pod, namespace) = pods.start(member, operation, folder).await?;
                Ok(Sidecar::Pod { pod, namespace, program: operation.program() })
            }
            Road::Ssh(ssh) => {
                let sidecar = Sidecar::Process { node: member.node.clone() };
                let session = ssh.session(&member.node).await.map_err(TransferError::into_failed)?;
                ssh.rest(&member.node, session);
                Ok(sidecar)
            }
        }
    }

    /// Asks whether a sidecar could be brought to a member's node, as far as that can be known. Makes nothing that stays.
    ///
    /// # Errors
    /// As [`Road::start`].
    pub(crate) async fn rehearse(&self, member: &EtcdPod, operation: Operation) -> Outcome {
        match self {
            Road::Exec(pods) => pods.rehearse(member, operation).await,
            Road::Ssh(_) => self.start(member, operation, None).await.map(|_| ()),
        }
    }

    /// Starts a conversation with a sidecar.
    ///
    /// # Errors
    /// The road cannot be opened, or what answers is not a sidecar of this protocol version (exit 4).
    pub(crate) async fn session(&self, sidecar: &Sidecar) -> Result<Session, TransferError> {
        match (self, sidecar) {
            (Road::Exec(pods), Sidecar::Pod { pod, namespace, program }) => {
                Session::establish(exec::open(pods.connection(), pod, namespace, program).await?).await
            }
            (Road::Ssh(ssh), Sidecar::Process { node }) => ssh.session(node).await,
            (_, sidecar) => Err(TransferError::Final(no_way_to(sidecar))),
        }
    }

    /// Gives back a session that is in order, for whoever starts the next conversation with the sidecar.
    pub(crate) fn rest(&self, sidecar: &Sidecar, session: Session) {
        match (self, sidecar) {
            (Road::Ssh(ssh), Sidecar::Process { node }) => ssh.rest(node, session),
            // Another exec is had for the asking.
            _ => drop(session),
        }
    }

    /// Takes a sidecar away before the others, when it is not needed any more. One that stays is tried again at the end.
    pub(crate) async fn release(&self, sidecar: &Sidecar) {
        match (self, sidecar) {
            (Road::Exec(pods), Sidecar::Pod { pod, .. }) => pods.delete_early(pod).await,
            (Road::Ssh(ssh), Sidecar::Process { node }) => ssh.release(node).await,
            _ => {}
        }
    }

    /// Takes a sidecar away that can do less than what the next operation on its node needs. A process is as good for that as for any other.
    pub(crate) async fn make_way(&self, sidecar: &Sidecar) {
        match self {
            Road::Exec(_) => self.release(sidecar).await,
            Road::Ssh(_) => {}
        }
    }

    /// The pods that are there now because of this run, as `NAMESPACE/NAME`.
    pub(crate) fn pods(&self) -> Vec<String> {
        match self {
            Road::Exec(pods) => pods.names(),
            Road::Ssh(_) => Vec::new(),
        }
    }

    /// What is on nodes now because of this run, for people.
    pub(crate) fn places(&self) -> Vec<String> {
        match self {
            Road::Exec(pods) => pods.names().into_iter().map(|name| format!("pod {name}")).collect(),
            Road::Ssh(ssh) => ssh.nodes().into_iter().map(|node| format!("the sidecar on node {node}")).collect(),
        }
    }

    /// How what stays is taken away by hand.
    pub(crate) fn by_hand(&self) -> &'static str {
        match self {
            Road::Exec(_) => "kubectl etcd cleanup",
            Road::Ssh(_) => ssh::BY_HAND,
        }
    }

    /// Takes away everything that was brought to nodes. Returns what stays.
    pub(crate) async fn end(&self) -> Vec<Left> {
        match self {
            Road::Exec(pods) => {
                let left = pods.delete_all().await.into_iter();
                left.map(|(pod, reason)| Left { place: format!("pod/{pod}"), reason }).collect()
            }
            Road::Ssh(ssh) => {
                let left = ssh.end().await.into_iter();
                left.map(|(node, reason)| Left { place: format!("the sidecar on node {node}"), reason }).collect()
            }
        }
    }
}

fn no_way_to(sidecar: &Sidecar) -> crate::output::Failed {
    crate::output::Failed::plain(format!("this road does not lead to {sidecar:?}"))
}
