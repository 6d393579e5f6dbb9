//! What a node hears from others.

use etcd_transaction::{Answer, Message, Node};
use tokio::sync::oneshot;

/// Something arrived.
#[derive(Debug)]
pub(in super::super) enum Heard {
    /// A message of another node, whose certificate proved who it is.
    Message {
        /// Who sent it.
        from: Node,
        /// What it says.
        message: Message,
    },
    /// Somebody who proves nothing asks what was decided.
    Queried {
        /// Takes what is known. If it is dropped, whoever asks gets no answer.
        answer: oneshot::Sender<Answer>,
    },
    /// A node, whose certificate proved who it is, answers a query.
    Answered {
        /// Who answers.
        from: Node,
        /// What it knows.
        answer: Answer,
    },
}
