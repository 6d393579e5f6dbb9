//! Who takes part, and who is a quorum.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::steps::{Limits, Step};

/// A participant, by its position in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Node(pub u8);

impl Node {
    /// As an index of a list with one element a node.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// A set of participants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeSet(u16);

impl NodeSet {
    /// The set without a node.
    pub const EMPTY: NodeSet = NodeSet(0);

    /// The set of one node.
    pub fn of(node: Node) -> NodeSet {
        NodeSet(bit(node))
    }

    /// The first `count` nodes.
    pub fn first(count: usize) -> NodeSet {
        NodeSet(u16::try_from((1_u32 << count.min(16)) - 1).unwrap_or(u16::MAX))
    }

    /// Whether a node is in the set.
    pub fn contains(self, node: Node) -> bool {
        self.0 & bit(node) != 0
    }

    /// Adds a node.
    pub fn insert(&mut self, node: Node) {
        self.0 |= bit(node);
    }

    /// Takes a node out.
    pub fn remove(&mut self, node: Node) {
        self.0 &= !bit(node);
    }

    /// The nodes of either set.
    #[must_use]
    pub fn union(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 | other.0)
    }

    /// The nodes that are not in the other set.
    #[must_use]
    pub fn without(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 & !other.0)
    }

    /// Whether the set has all nodes of the other.
    pub fn includes(self, other: NodeSet) -> bool {
        other.0 & !self.0 == 0
    }

    /// How many nodes there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The nodes, in the order of the plan.
    pub fn iter(self) -> impl Iterator<Item = Node> {
        (0..16).map(Node).filter(move |&node| self.contains(node))
    }
}

/// A node's bit; none for a number that no node of a plan has.
fn bit(node: Node) -> u16 {
    1_u16.checked_shl(u32::from(node.0)).unwrap_or(0)
}

/// Most participants that a plan may have.
pub const MOST: usize = 16;

/// What the protocol needs to know of a restore: the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    left_out: NodeSet,
    without_etcd: NodeSet,
    count: u8,
    coordinator: Node,
    limits: Limits,
    options: PlanOptions,
}

/// How a plan is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// An API server that does not become ready in time is not waited for any longer. After commit the new state stays in any case.
    pub keep_unready: bool,
    /// Members start one after the other: members that check their data at the same time wait for each other in vain.
    pub launch_in_turn: bool,
    /// Members start without the check of their data, and are restarted with it, one by one, once the new state is decided.
    pub recheck: bool,
    /// If no API server becomes ready in time, the nodes go back by themselves: see [`Plan::returns`].
    pub returns: bool,
}

/// Why a plan is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanError {
    /// There is no node, or there are more than [`MOST`].
    Count,
    /// The coordinator is not in the plan, or has no member of the new cluster.
    Coordinator,
    /// A node that never had a member is not in the plan, or is left out, too.
    WithoutEtcd,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PlanError::Count => "a plan has between 1 and 16 nodes",
            PlanError::Coordinator => "the coordinator has no member of the new cluster",
            PlanError::WithoutEtcd => "a node without etcd is not in the plan, or is left out of the new cluster",
        })
    }
}

impl core::error::Error for PlanError {}

impl Plan {
    /// A plan of as many nodes as `left_out` has elements; it says which of them get no member of the new cluster.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn new(left_out: &[bool], coordinator: Node, limits: Limits, options: PlanOptions) -> Result<Plan, PlanError> {
        let count = u8::try_from(left_out.len()).ok().filter(|&count| count > 0 && usize::from(count) <= MOST);
        let count = count.ok_or(PlanError::Count)?;
        if left_out.get(coordinator.index()) != Some(&false) {
            return Err(PlanError::Coordinator);
        }
        let mut set = NodeSet::EMPTY;
        (0..count).filter(|&index| left_out[usize::from(index)]).for_each(|index| set.insert(Node(index)));
        Ok(Plan { left_out: set, without_etcd: NodeSet::EMPTY, count, coordinator, limits, options })
    }

    /// The same plan, of which some nodes have no etcd: their API servers use that of the other nodes. They stop with all others, and start again with them.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn with_nodes_without_etcd(self, nodes: NodeSet) -> Result<Plan, PlanError> {
        match () {
            () if nodes.contains(self.coordinator) => Err(PlanError::Coordinator),
            () if !self.all().without(self.left_out).includes(nodes) => Err(PlanError::WithoutEtcd),
            () => Ok(Plan { without_etcd: nodes, ..self }),
        }
    }

    /// How many nodes take part, those that are left out among them.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// All nodes, in order.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        (0..self.count).map(Node)
    }

    /// All nodes.
    pub fn all(&self) -> NodeSet {
        NodeSet::first(self.count())
    }

    /// The nodes that get a member of the new cluster.
    pub fn serving(&self) -> NodeSet {
        self.all().without(self.left_out).without(self.without_etcd)
    }

    /// Whether a node with a member of the old cluster gets none of the new one.
    pub fn is_left_out(&self, node: Node) -> bool {
        self.left_out.contains(node)
    }

    /// Whether a node has no etcd, and an API server that uses that of the others.
    pub fn is_without_etcd(&self, node: Node) -> bool {
        self.without_etcd.contains(node)
    }

    /// The nodes whose API servers use the etcd of the others.
    pub fn without_etcd(&self) -> NodeSet {
        self.without_etcd
    }

    /// Whether a node does a step. For its vote, a node that gets no member does nothing.
    pub fn concerns(&self, node: Node, step: Step) -> bool {
        let of_part = match () {
            () if self.is_left_out(node) => step.concerns_left_out(),
            () if self.is_without_etcd(node) => step.concerns_without_etcd(),
            () => true,
        };
        of_part && (step != Step::Recheck || self.options.recheck)
    }

    /// The node that gives the orders.
    pub fn coordinator(&self) -> Node {
        self.coordinator
    }

    /// How long steps may take.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How the plan is carried out.
    pub fn options(&self) -> PlanOptions {
        self.options
    }

    /// Whether the nodes go back by themselves, in a transaction of its own, if no API server becomes ready in time. Not where that is not
    /// waited for, and not where a node gets no member: one that is left out has no part in the way back, and of one without etcd the API server may be
    /// ready by the etcd of any other.
    pub fn returns(&self) -> bool {
        self.options.returns && !self.options.keep_unready && self.serving() == self.all()
    }

    /// Whether nodes are a quorum: more than half of the weight. A node weighs 2; with an even number of nodes, the coordinator weighs 3, so
    /// that of any two halves exactly one is a quorum.
    pub fn is_quorum(&self, nodes: NodeSet) -> bool {
        self.weight(nodes) * 2 > self.weight(self.all())
    }

    /// What nodes weigh in a quorum.
    pub fn weight(&self, nodes: NodeSet) -> usize {
        let more = self.count().is_multiple_of(2) && nodes.contains(self.coordinator);
        2 * nodes.len() + usize::from(more)
    }

    /// The place of a node in the order of takeovers: the coordinator is the last.
    pub(crate) fn rank(&self, node: Node) -> u64 {
        let place = self.nodes().filter(|&other| other != self.coordinator).position(|other| other == node);
        place.unwrap_or(self.count() - 1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(count: usize) -> Plan {
        Plan::new(&[false; MOST][..count], Node(0), Limits::default(), PlanOptions::default()).unwrap()
    }

    #[test]
    fn of_two_disjoint_halves_exactly_one_is_a_quorum() {
        for count in 1..=7 {
            let plan = plan(count);
            for bits in 0..1_u16 << count {
                let half = NodeSet(bits);
                assert_ne!(plan.is_quorum(half), plan.is_quorum(plan.all().without(half)), "{count} {bits:b}");
            }
        }
    }

    #[test]
    fn quorums_are_those_of_the_protocol() {
        let is = |count: usize, nodes: &[u8]| {
            let mut set = NodeSet::EMPTY;
            nodes.iter().for_each(|&node| set.insert(Node(node)));
            plan(count).is_quorum(set)
        };
        assert!(is(1, &[0]) && is(2, &[0]) && !is(2, &[1]));
        assert!(is(3, &[1, 2]) && !is(3, &[0]));
        assert!(is(4, &[1, 2, 3]) && is(4, &[0, 3]) && !is(4, &[1, 2]));
        assert!(is(5, &[2, 3, 4]) && !is(5, &[0, 1]));
    }

    #[test]
    fn plans_are_checked() {
        let of = |left_out: &[bool], coordinator| {
            Plan::new(left_out, Node(coordinator), Limits::default(), PlanOptions::default()).err()
        };
        assert_eq!(of(&[], 0), Some(PlanError::Count));
        assert_eq!(of(&[false; 17], 0), Some(PlanError::Count));
        assert_eq!(of(&[true, false], 0), Some(PlanError::Coordinator));
        assert_eq!(of(&[true, false], 2), Some(PlanError::Coordinator));
        assert_eq!(of(&[true, false], 1), None);
        let without = |node| {
            let plan = Plan::new(&[false, true, false], Node(0), Limits::default(), PlanOptions::default()).unwrap();
            plan.with_nodes_without_etcd(NodeSet::of(Node(node)))
        };
        assert_eq!(without(0).err(), Some(PlanError::Coordinator));
        assert_eq!((without(1).err(), without(3).err()), (Some(PlanError::WithoutEtcd), Some(PlanError::WithoutEtcd)));
        let plan = without(2).unwrap();
        assert_eq!((plan.serving(), plan.is_without_etcd(Node(2))), (NodeSet::of(Node(0)), true));
        assert!(!plan.returns() && plan.concerns(Node(2), Step::StopApi) && !plan.concerns(Node(2), Step::Swap));
    }
}
