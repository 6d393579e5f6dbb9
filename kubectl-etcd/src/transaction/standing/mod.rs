//! How a restore stands, out of what the journals of its nodes say: what is decided, who is in doubt, and whether the nodes can decide by
//! themselves. A pure function of the journals; `told.rs` says it in words.

mod told;

use etcd_transaction::{Limits, Node, NodeSet, Plan, PlanOptions};
use etcd_wire::restore::{Decision, Ending, NodeRestore, RestorePlan};
use serde::Serialize;

pub(crate) use told::{Told, by_hand, names};

use super::recall::Recalled;
use super::verdict::NodeEnd;
use crate::output::{Exit, Failed, Outcome};

/// What is known of one node.
#[derive(Debug, Clone)]
pub(crate) enum Known<'a> {
    /// What its journal says.
    Journal(&'a NodeRestore),
    /// It answers, and has no journal of this restore.
    NoJournal,
    /// Why its journals cannot be read.
    Unread(String),
}

impl<'a> Known<'a> {
    pub(crate) fn journal(&self) -> Option<&'a NodeRestore> {
        match self {
            Known::Journal(restore) => Some(restore),
            Known::NoJournal | Known::Unread(_) => None,
        }
    }
}

/// What a node is at, by its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    /// It belongs to the command that prepares it.
    Prepared,
    /// It has not voted.
    Working,
    /// It has voted yes, and knows no decision.
    InDoubt,
    /// The new data stays; API server and controllers start.
    Committed,
    /// It goes back to the old data.
    Aborting,
    /// It is over there.
    Ended,
    /// Its entries contradict each other: it does nothing.
    Contradiction,
}

impl Phase {
    pub(crate) fn of(restore: &NodeRestore) -> Phase {
        let abort = restore.decision == Some(Decision::Abort) || restore.vote == Some(false);
        match (restore.decision, restore.ended) {
            // Version 0.1 had no votes.
            (Some(Decision::Commit), _) if restore.format > 1 && restore.vote != Some(true) => Phase::Contradiction,
            (_, Some(_)) => Phase::Ended,
            (Some(Decision::Commit), None) => Phase::Committed,
            _ if abort => Phase::Aborting,
            _ if restore.vote == Some(true) => Phase::InDoubt,
            _ if restore.armed => Phase::Working,
            _ => Phase::Prepared,
        }
    }
}

/// How a decision is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence<'a> {
    /// The journal of this node has it.
    Journal(&'a str),
    /// This node has voted no.
    VoteNo(&'a str),
    /// A quorum of journals has accepted it in one ballot.
    Quorum,
}

/// A restore, and what is known of each of its nodes, in the order of the plan.
#[derive(Debug)]
pub(crate) struct Standing<'a> {
    pub(crate) plan: &'a RestorePlan,
    known: Vec<Known<'a>>,
    rules: Plan,
}

impl<'a> Standing<'a> {
    /// `None` if no node that answers has a journal of it.
    pub(crate) fn of(id: &str, nodes: &'a [Recalled]) -> Option<Standing<'a>> {
        let plan = &nodes.iter().find_map(|node| node.find(id))?.plan;
        let known = |name: &str| match nodes.iter().find(|node| node.node == name) {
            Some(Recalled { outcome: Err(failed), .. }) => Known::Unread(failed.one_line()),
            Some(node) => node.find(id).map_or(Known::NoJournal, Known::Journal),
            None => Known::Unread("no etcd pod runs there".to_owned()),
        };
        Standing::new(plan, plan.nodes.iter().map(|node| known(&node.node)).collect())
    }

    /// Of nodes that were followed. What was seen last of a node that cannot be asked any more still holds: journals only grow.
    pub(crate) fn of_ends(ends: &'a [NodeEnd]) -> Option<Standing<'a>> {
        let plan = &ends.iter().find_map(|end| end.restore.as_ref())?.plan;
        let known = |name: &str| match ends.iter().find(|end| end.node == name) {
            Some(NodeEnd { restore: Some(restore), .. }) => Known::Journal(restore),
            Some(NodeEnd { trouble: None, .. }) => Known::NoJournal,
            Some(NodeEnd { trouble: Some(trouble), .. }) => Known::Unread(trouble.clone()),
            None => Known::Unread("it was not asked".to_owned()),
        };
        Standing::new(plan, plan.nodes.iter().map(|node| known(&node.node)).collect())
    }

    fn new(plan: &'a RestorePlan, known: Vec<Known<'a>>) -> Option<Standing<'a>> {
        let left_out: Vec<bool> = plan.nodes.iter().map(|node| node.left_out).collect();
        let coordinator = plan.nodes.iter().position(|node| node.node == plan.coordinator)?;
        let coordinator = Node(u8::try_from(coordinator).ok()?);
        let rules = Plan::new(&left_out, coordinator, Limits::default(), PlanOptions::default()).ok()?;
        Some(Standing { plan, known, rules })
    }

    /// All nodes of the plan.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (Node, &'a str, &Known<'a>)> {
        let names = self.plan.nodes.iter().map(|node| node.node.as_str());
        self.rules.nodes().zip(names).zip(&self.known).map(|((node, name), known)| (node, name, known))
    }

    fn journals(&self) -> impl Iterator<Item = (Node, &'a str, &'a NodeRestore)> {
        self.nodes().filter_map(|(node, name, known)| Some((node, name, known.journal()?)))
    }

    /// The nodes whose journals say that.
    pub(crate) fn which(&self, is: impl Fn(&NodeRestore) -> bool) -> NodeSet {
        let mut set = NodeSet::EMPTY;
        self.journals().filter(|(.., restore)| is(restore)).for_each(|(node, ..)| set.insert(node));
        set
    }

    /// The nodes at a phase.
    pub(crate) fn at(&self, phase: Phase) -> NodeSet {
        self.which(|restore| Phase::of(restore) == phase)
    }

    /// The nodes that were armed and know no decision.
    pub(crate) fn undecided(&self) -> NodeSet {
        self.at(Phase::Working).union(self.at(Phase::InDoubt))
    }

    /// The nodes of which nothing is known: they cannot be asked, or have lost their journal.
    pub(crate) fn unknown(&self) -> NodeSet {
        self.rules.all().without(self.which(|_| true))
    }

    /// The nodes whose journals cannot be read.
    pub(crate) fn unread(&self) -> NodeSet {
        let mut set = NodeSet::EMPTY;
        let unread = self.nodes().filter(|(.., known)| matches!(known, Known::Unread(_)));
        unread.for_each(|(node, ..)| set.insert(node));
        set
    }

    /// All nodes of the plan.
    pub(crate) fn all(&self) -> NodeSet {
        self.rules.all()
    }

    /// The names of nodes, in the order of the plan.
    pub(crate) fn name_all(&self, nodes: NodeSet) -> Vec<&'a str> {
        self.nodes().filter(|(node, ..)| nodes.contains(*node)).map(|(_, name, _)| name).collect()
    }

    /// The node of a name.
    pub(crate) fn find(&self, name: &str) -> Option<Node> {
        self.nodes().find(|(_, its, _)| *its == name).map(|(node, ..)| node)
    }

    /// What an operator has excluded, and the epoch of the ballots since; the newest of what is known.
    fn excluded(&self) -> (NodeSet, u8) {
        let newest = self.journals().map(|(.., restore)| restore).max_by_key(|restore| restore.epoch);
        let Some(newest) = newest.filter(|newest| newest.epoch > 0) else { return (NodeSet::EMPTY, 0) };
        let mut set = NodeSet::EMPTY;
        newest.excluded.iter().filter_map(|name| self.find(name)).for_each(|node| set.insert(node));
        (set, newest.epoch)
    }

    /// The highest epoch that a journal has.
    pub(crate) fn epoch(&self) -> u8 {
        let ballots = self.journals().filter_map(|(.., restore)| Some(restore.accepted?.0.epoch));
        ballots.max().unwrap_or(0).max(self.excluded().1)
    }

    /// Whether nodes can decide: more than half of the weight or, once nodes are excluded, all others.
    pub(crate) fn is_quorum(&self, nodes: NodeSet) -> bool {
        match self.excluded() {
            (_, 0) => self.rules.is_quorum(nodes),
            (excluded, _) => nodes.includes(self.rules.all().without(excluded)),
        }
    }

    /// Whether nodes are a quorum of the plan, whoever was excluded since.
    pub(crate) fn is_quorum_of_all(&self, nodes: NodeSet) -> bool {
        self.rules.is_quorum(nodes)
    }

    /// What is decided, and how that is known.
    ///
    /// # Errors
    /// The journals contradict each other, which only damage to one of them can bring about: which ones do.
    pub(crate) fn decided(&self) -> Result<Option<(Decision, Evidence<'a>)>, String> {
        if let Some((_, name, _)) = self.journals().find(|(.., restore)| Phase::of(restore) == Phase::Contradiction) {
            return Err(format!(
                "the journal of node {name} contradicts itself: it has the decision that the new data stays, and no vote for it"
            ));
        }
        let of_node = |(_, name, restore): (Node, &'a str, &'a NodeRestore)| {
            let decision = match (restore.decision, restore.vote, restore.ended) {
                (Some(decision), ..) => decision,
                (None, Some(false), _) => return Some((Decision::Abort, Evidence::VoteNo(name))),
                (None, _, Some(Ending::Restored)) => Decision::Commit,
                (None, _, Some(Ending::WentBack | Ending::GivenUp)) => Decision::Abort,
                (None, _, None) => return None,
            };
            Some((decision, Evidence::Journal(name)))
        };
        let mut all: Vec<(Decision, Evidence<'a>)> = self.journals().filter_map(of_node).collect();
        all.extend(self.chosen().map(|decision| (decision, Evidence::Quorum)));
        let Some(&first) = all.first() else { return Ok(None) };
        match all.iter().find(|(decision, _)| *decision != first.0) {
            Some(other) => Err(format!(
                "the journals contradict each other: {} by {}, and {} by {}",
                told::decision(first.0),
                told::evidence(first.1),
                told::decision(other.0),
                told::evidence(other.1)
            )),
            None => Ok(Some(first)),
        }
    }

    /// The value that a quorum has accepted at one ballot.
    fn chosen(&self) -> Option<Decision> {
        let accepted: Vec<_> =
            self.journals().filter_map(|(node, _, restore)| Some((node, restore.accepted?))).collect();
        accepted.iter().find_map(|&(_, (ballot, decision))| {
            let mut nodes = NodeSet::EMPTY;
            accepted.iter().filter(|(_, (its, _))| *its == ballot).for_each(|(node, _)| nodes.insert(*node));
            let is_quorum = match ballot.epoch {
                0 => self.rules.is_quorum(nodes),
                epoch => self.excluded().1 == epoch && self.is_quorum(nodes),
            };
            is_quorum.then_some(decision)
        })
    }

    /// The node itself, and the nodes that its participant hears. Nothing if it cannot speak: without a certificate, or not running.
    pub(crate) fn hears(&self, node: Node) -> NodeSet {
        let journal = self.known.get(node.index()).and_then(Known::journal);
        let Some(live) = journal.filter(|restore| restore.has_identity).and_then(|restore| restore.live.as_ref())
        else {
            return NodeSet::EMPTY;
        };
        let mut heard = self.rules.all();
        live.unheard.iter().filter_map(|name| self.find(name)).for_each(|other| heard.remove(other));
        heard.insert(node);
        heard
    }

    /// A quorum that can decide as things are, if there is one among those that the nodes know of.
    pub(crate) fn working_quorum(&self) -> Option<NodeSet> {
        let heard = self.undecided().iter().map(|node| self.hears(node));
        heard.into_iter().find(|heard| self.is_quorum(*heard))
    }

    /// Whether it was begun by version 0.1, by whose rules it ends.
    pub(crate) fn is_of_version_0_1(&self) -> bool {
        self.journals().any(|(.., restore)| restore.format < 2)
    }

    /// Whether a node that answers has something left to do, or waits for another one.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.journals().any(|(.., restore)| super::recall::goes_on_there(restore))
    }

    /// The nodes that have ended, and wait to hear that all others have.
    pub(crate) fn waiting(&self) -> NodeSet {
        self.which(|restore| restore.ended.is_some() && restore.waits_for_others)
    }

    /// The nodes whose API server has not become ready in time on the new data.
    pub(crate) fn unready(&self) -> NodeSet {
        self.which(is_unready)
    }

    /// Refuses what cannot be done to a restore of version 0.1 or with journals that contradict each other.
    ///
    /// # Errors
    /// Exit 4.
    pub(crate) fn usable(&self) -> Outcome<Option<(Decision, Evidence<'a>)>> {
        let id = &self.plan.id;
        if self.is_of_version_0_1() && self.is_unfinished() {
            return Err(Failed::new(Exit::Refused, told::of_version_0_1(id)).unchanged());
        }
        self.decided().map_err(|why| {
            Failed::new(Exit::Refused, format!("nothing can be done for restore {id}"))
                .cause(why)
                .unchanged()
                .hint(by_hand())
        })
    }
}

/// Whether a node is committed, and its API server has not become ready in time.
pub(crate) fn is_unready(restore: &NodeRestore) -> bool {
    Phase::of(restore) == Phase::Committed && restore.live.as_ref().is_some_and(|live| live.unready)
}

#[cfg(test)]
mod tests;
