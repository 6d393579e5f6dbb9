//! How a restore stands, out of what the journals of its nodes say: what is decided, who is in doubt, and whether the nodes can decide by
//! themselves. A pure function of the journals; `told.rs` says it in words.

mod told;

use etcd_transaction::{Limits, Node, NodeSet, Plan, PlanOptions};
use etcd_wire::restore::{Decision, Ending, NodeRestore, RestorePlan};
use serde::Serialize;

pub use told::Told;

use crate::commands::Commands;
use crate::refusal::Refusal;
use crate::words::{by_hand, decision};

/// What is known of one node.
#[derive(Debug, Clone)]
pub enum Known<'a> {
    /// What its journal says.
    Journal(&'a NodeRestore),
    /// It answers, and has no journal of this restore.
    NoJournal,
    /// Its participant answers, and proves who it is, but its journal is not at hand: what it knows to be decided.
    Answers(Option<Decision>),
    /// Why its journals cannot be read.
    Unread(String),
}

impl<'a> Known<'a> {
    /// Its journal, if that is known.
    pub fn journal(&self) -> Option<&'a NodeRestore> {
        match self {
            Known::Journal(restore) => Some(restore),
            Known::NoJournal | Known::Answers(_) | Known::Unread(_) => None,
        }
    }
}

/// What a node is at, by its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
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
    /// What a node is at.
    pub fn of(restore: &NodeRestore) -> Phase {
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
pub enum Evidence<'a> {
    /// The journal of this node has it.
    Journal(&'a str),
    /// The participant of this node says so.
    Answer(&'a str),
    /// This node has voted no.
    VoteNo(&'a str),
    /// A quorum of journals has accepted it in one ballot.
    Quorum,
}

/// A restore, and what is known of each of its nodes, in the order of the plan.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The plan.
    pub plan: &'a RestorePlan,
    /// Where the operator types what is to be done.
    pub commands: Commands,
    known: Vec<Known<'a>>,
    rules: Plan,
}

impl<'a> Standing<'a> {
    /// What is known of each node, in the order of the plan. `None` if the plan is none.
    pub fn new(plan: &'a RestorePlan, known: Vec<Known<'a>>, commands: Commands) -> Option<Standing<'a>> {
        let left_out: Vec<bool> = plan.nodes.iter().map(|node| node.left_out).collect();
        let coordinator = plan.nodes.iter().position(|node| node.node == plan.coordinator)?;
        let coordinator = Node(u8::try_from(coordinator).ok()?);
        let mut without_etcd = NodeSet::EMPTY;
        for (index, _) in plan.nodes.iter().enumerate().filter(|(_, node)| !node.has_etcd()) {
            without_etcd.insert(Node(u8::try_from(index).ok()?));
        }
        let rules = Plan::new(&left_out, coordinator, Limits::default(), PlanOptions::default());
        let rules = rules.and_then(|rules| rules.with_nodes_without_etcd(without_etcd)).ok()?;
        Some(Standing { plan, commands, known, rules })
    }

    /// All nodes of the plan.
    pub fn nodes(&self) -> impl Iterator<Item = (Node, &'a str, &Known<'a>)> {
        let names = self.plan.nodes.iter().map(|node| node.node.as_str());
        self.rules.nodes().zip(names).zip(&self.known).map(|((node, name), known)| (node, name, known))
    }

    fn journals(&self) -> impl Iterator<Item = (Node, &'a str, &'a NodeRestore)> {
        self.nodes().filter_map(|(node, name, known)| Some((node, name, known.journal()?)))
    }

    /// The nodes whose journals say that.
    pub fn which(&self, is: impl Fn(&NodeRestore) -> bool) -> NodeSet {
        let mut set = NodeSet::EMPTY;
        self.journals().filter(|(.., restore)| is(restore)).for_each(|(node, ..)| set.insert(node));
        set
    }

    /// The nodes at a phase.
    pub fn at(&self, phase: Phase) -> NodeSet {
        self.which(|restore| Phase::of(restore) == phase)
    }

    /// The nodes of which that is known.
    fn known_as(&self, is: impl Fn(&Known<'_>) -> bool) -> NodeSet {
        let mut set = NodeSet::EMPTY;
        self.nodes().filter(|(.., known)| is(known)).for_each(|(node, ..)| set.insert(node));
        set
    }

    /// The nodes that were armed and know no decision.
    pub fn undecided(&self) -> NodeSet {
        let asked = self.known_as(|known| matches!(known, Known::Answers(None)));
        self.at(Phase::Working).union(self.at(Phase::InDoubt)).union(asked)
    }

    /// The nodes of which nothing is known: they cannot be asked, or have lost their journal.
    pub fn unknown(&self) -> NodeSet {
        self.known_as(|known| matches!(known, Known::NoJournal | Known::Unread(_)))
    }

    /// The nodes whose journals are at hand.
    pub fn with_journal(&self) -> NodeSet {
        self.which(|_| true)
    }

    /// The nodes that cannot be asked.
    pub fn unread(&self) -> NodeSet {
        self.known_as(|known| matches!(known, Known::Unread(_)))
    }

    /// All nodes of the plan.
    pub fn all(&self) -> NodeSet {
        self.rules.all()
    }

    /// The names of nodes, in the order of the plan.
    pub fn name_all(&self, nodes: NodeSet) -> Vec<&'a str> {
        self.nodes().filter(|(node, ..)| nodes.contains(*node)).map(|(_, name, _)| name).collect()
    }

    /// The node of a name.
    pub fn find(&self, name: &str) -> Option<Node> {
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
    pub fn epoch(&self) -> u8 {
        let ballots = self.journals().filter_map(|(.., restore)| Some(restore.accepted?.0.epoch));
        ballots.max().unwrap_or(0).max(self.excluded().1)
    }

    /// Whether nodes can decide: more than half of the weight or, once nodes are excluded, all others.
    pub fn is_quorum(&self, nodes: NodeSet) -> bool {
        match self.excluded() {
            (_, 0) => self.rules.is_quorum(nodes),
            (excluded, _) => nodes.includes(self.rules.all().without(excluded)),
        }
    }

    /// Whether nodes are a quorum of the plan, whoever was excluded since.
    pub fn is_quorum_of_all(&self, nodes: NodeSet) -> bool {
        self.rules.is_quorum(nodes)
    }

    /// What is decided, and how that is known.
    ///
    /// # Errors
    /// The journals contradict each other, which only damage to one of them can bring about: which ones do.
    pub fn decided(&self) -> Result<Option<(Decision, Evidence<'a>)>, String> {
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
        all.extend(self.nodes().filter_map(|(_, name, known)| match known {
            Known::Answers(Some(decision)) => Some((*decision, Evidence::Answer(name))),
            Known::Journal(_) | Known::Answers(None) | Known::NoJournal | Known::Unread(_) => None,
        }));
        all.extend(self.chosen().map(|decision| (decision, Evidence::Quorum)));
        let Some(&first) = all.first() else { return Ok(None) };
        match all.iter().find(|(decision, _)| *decision != first.0) {
            Some(other) => Err(format!(
                "the journals contradict each other: {} by {}, and {} by {}",
                decision(first.0),
                told::evidence(first.1),
                decision(other.0),
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
    pub fn hears(&self, node: Node) -> NodeSet {
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
    pub fn working_quorum(&self) -> Option<NodeSet> {
        let heard = self.undecided().iter().map(|node| self.hears(node));
        heard.into_iter().find(|heard| self.is_quorum(*heard))
    }

    /// Whether it was begun by version 0.1, by whose rules it ends.
    pub fn is_of_version_0_1(&self) -> bool {
        self.journals().any(|(.., restore)| restore.format < 2)
    }

    /// Whether a node that answers has something left to do, or waits for another one.
    pub fn is_unfinished(&self) -> bool {
        self.journals().any(|(.., restore)| moves_on_there(restore))
    }

    /// The nodes that have ended, and wait to hear that all others have.
    pub fn waiting(&self) -> NodeSet {
        self.which(|restore| restore.ended.is_some() && restore.waits_for_others)
    }

    /// The nodes whose API server has not become ready in time on the new data.
    pub fn unready(&self) -> NodeSet {
        self.which(is_unready)
    }

    /// The nodes without etcd that go back, and whose API servers wait until no etcd can run on the new data any more.
    pub fn held_up(&self) -> NodeSet {
        self.which(|restore| Phase::of(restore) == Phase::Aborting && !awaited(restore).is_empty())
    }

    /// The nodes that these wait for.
    pub(crate) fn awaited_by(&self, nodes: NodeSet) -> NodeSet {
        let mut set = NodeSet::EMPTY;
        let waiting = self.journals().filter(|(node, ..)| nodes.contains(*node));
        let names = waiting.flat_map(|(.., restore)| awaited(restore));
        names.filter_map(|name| self.find(name)).for_each(|node| set.insert(node));
        set
    }

    /// Refuses what cannot be done to a restore of version 0.1 or with journals that contradict each other.
    ///
    /// # Errors
    /// Why.
    pub fn usable(&self) -> Result<Option<(Decision, Evidence<'a>)>, Refusal> {
        let id = &self.plan.id;
        if self.is_of_version_0_1() && self.is_unfinished() {
            return Err(Refusal::new(told::of_version_0_1(id)));
        }
        self.decided()
            .map_err(|why| Refusal::new(format!("nothing can be done for restore {id}")).cause(why).hint(by_hand()))
    }
}

/// The nodes that the API server of a node without etcd waits for.
fn awaited(restore: &NodeRestore) -> &[String] {
    restore.live.as_ref().map(|live| live.awaited.as_slice()).unwrap_or_default()
}

/// Whether a node has something left to do in a restore, or waits for another one.
pub fn moves_on_there(restore: &NodeRestore) -> bool {
    restore.armed && restore.ended.is_none() || restore.waits_for_others
}

/// Whether a node is committed, and its API server has not become ready in time.
pub fn is_unready(restore: &NodeRestore) -> bool {
    Phase::of(restore) == Phase::Committed && restore.live.as_ref().is_some_and(|live| live.unready)
}

#[cfg(test)]
mod tests;
