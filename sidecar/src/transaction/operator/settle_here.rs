//! What can be done on this node of what a restore is resumed by: a pure function.

use etcd_recovery::settle::Resume;
use etcd_transaction::{Node, NodeSet, Operator};

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// Nothing; the nodes end it by themselves.
    Nothing,
    /// This node knows what is decided. These do not, as far as their journals say.
    Knows {
        /// Who does not know.
        others: NodeSet,
    },
    /// This node's participant gets an order, and a new certificate if that is needed.
    Tell {
        /// The order.
        order: Option<Operator>,
        /// Whether it gets a new certificate: then it is the only one.
        renews: bool,
        /// Who else has to be told the same.
        others: NodeSet,
    },
    /// Several nodes get new certificates of one authority.
    Carry {
        /// Which ones.
        nodes: NodeSet,
        /// The order that comes with them.
        order: Option<Operator>,
    },
}

/// What can be done here.
pub(super) fn settle_here(resume: &Resume, own: Node) -> Here {
    let (nodes, order) = (resume.nodes(), resume.order());
    let others = nodes.without(NodeSet::of(own));
    match resume {
        Resume::Follow => Here::Nothing,
        Resume::Bring { .. } if nodes.contains(own) => Here::Tell { order, renews: false, others },
        Resume::Bring { .. } => Here::Knows { others },
        Resume::Identities { .. } | Resume::Exclude { .. } if others.is_empty() => {
            Here::Tell { order, renews: true, others }
        }
        Resume::Identities { .. } | Resume::Exclude { .. } => Here::Carry { nodes, order },
    }
}

#[cfg(test)]
mod tests {
    use etcd_transaction::Decision;

    use super::*;

    #[test]
    fn what_one_node_can_do_alone_is_done_and_the_rest_is_carried() {
        let (own, other) = (Node(0), Node(1));
        let (alone, both) = (NodeSet::of(own), NodeSet::first(2));
        let commit = Some(Operator::Decided { decision: Decision::Commit });
        let bring = |nodes| Resume::Bring { decision: Decision::Commit, nodes };
        let exclude = |rest| Resume::Exclude { rest, gone: NodeSet::of(Node(2)), epoch: 1 };
        let excluded = Some(Operator::Exclude { nodes: NodeSet::of(Node(2)), epoch: 1 });
        for (resume, here) in [
            (Resume::Follow, Here::Nothing),
            (bring(both), Here::Tell { order: commit, renews: false, others: NodeSet::of(other) }),
            (bring(NodeSet::of(other)), Here::Knows { others: NodeSet::of(other) }),
            (Resume::Identities { nodes: alone }, Here::Tell { order: None, renews: true, others: NodeSet::EMPTY }),
            (Resume::Identities { nodes: both }, Here::Carry { nodes: both, order: None }),
            (exclude(alone), Here::Tell { order: excluded, renews: true, others: NodeSet::EMPTY }),
            (exclude(both), Here::Carry { nodes: both, order: excluded }),
        ] {
            assert_eq!(settle_here(&resume, own), here);
        }
    }
}
