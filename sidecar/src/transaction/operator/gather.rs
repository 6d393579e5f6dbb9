//! What an operator's command knows of a restore on this node: the node's own journal and participant, copies of other nodes' journals, and what the
//! others answer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use etcd_recovery::{Commands, Known, Standing, moves_on_there};
use etcd_transaction::{Answer, Node};
use etcd_wire::restore::NodeRestore;
use etcd_wire::{Failure, FailureCode};

use super::super::layout::Layout;
use super::super::network::{self, FoundOut, There};
use super::super::records;
use super::brought;
use crate::node::Place;

/// What is known of one restore.
pub(super) struct Gathered {
    pub(super) layout: Layout,
    /// What this node's journal and participant say.
    pub(super) here: NodeRestore,
    /// What the copies of other nodes' journals say.
    pub(super) brought: Vec<NodeRestore>,
    /// What the other nodes answer over the network; nothing of a restore that has ended.
    pub(super) heard: BTreeMap<Node, FoundOut>,
}

impl Gathered {
    /// Looks at a restore: `id`, or the one that this node has not ended, or the last one. `None` if no journal is there.
    ///
    /// # Errors
    /// A journal cannot be read; a copy is refused; no journal of `id` is there.
    pub(super) async fn of(state: &Place, id: Option<&str>, copies: &[PathBuf]) -> Result<Option<Gathered>, Failure> {
        let mut all = records::of_node(state).await?;
        let Some(chosen) = choose(all.iter().map(|one| &one.restore), id) else {
            return match id {
                Some(id) => Err(super::refuse(etcd_recovery::settle::unknown(id, Commands::Node))),
                None if copies.is_empty() => Ok(None),
                None => Err(Failure::new(FailureCode::Refused, "this node has no journal of a restore")),
            };
        };
        let one = all.swap_remove(chosen);
        let brought = tokio::task::block_in_place(|| brought::journals(&one.layout, copies))?;
        let heard = match moves_on_there(&one.restore) {
            true => network::find_out(&one.layout, &one.authorities).await?,
            false => BTreeMap::new(),
        };
        Ok(Some(Gathered { layout: one.layout, here: one.restore, brought, heard }))
    }

    /// This node.
    pub(super) fn own(&self) -> Node {
        Node(u8::try_from(self.layout.index()).unwrap_or(u8::MAX))
    }

    /// What is known of a node of the plan.
    pub(super) fn known(&self, index: usize, name: &str) -> Known<'_> {
        if index == self.layout.index() {
            return Known::Journal(&self.here);
        }
        if let Some(brought) = self.brought.iter().find(|brought| brought.node == name) {
            return Known::Journal(brought);
        }
        let heard = u8::try_from(index).ok().and_then(|index| self.heard.get(&Node(index)));
        match heard {
            Some(FoundOut::Answers(Answer { decision })) => Known::Answers(*decision),
            // Its certificate has proved it to the participant here.
            _ if self.participant_hears(name) => Known::Answers(None),
            // Somebody is there who cannot prove who it is: a participant without a certificate does not answer.
            Some(FoundOut::Silent { there: There::Listens, .. }) => Known::NoJournal,
            Some(FoundOut::Silent { why, .. }) => Known::Unread(why.clone()),
            None => Known::Unread("it was not asked".to_owned()),
        }
    }

    fn participant_hears(&self, name: &str) -> bool {
        // What an excluded node says is not heard any more.
        if self.here.excluded.iter().any(|excluded| excluded == name) {
            return false;
        }
        let live = self.here.live.as_ref().filter(|_| self.here.ended.is_none());
        live.is_some_and(|live| !live.unheard.iter().any(|unheard| unheard == name))
    }

    /// How the restore stands, as far as this node can tell.
    ///
    /// # Errors
    /// The plan is none.
    pub(super) fn standing(&self) -> Result<Standing<'_>, Failure> {
        let plan = self.layout.plan();
        let known = plan.nodes.iter().enumerate().map(|(index, node)| self.known(index, &node.node)).collect();
        let standing = Standing::new(plan, known, Commands::Node);
        standing.ok_or_else(|| Failure::new(FailureCode::BadRequest, "the plan is not in order"))
    }

    /// The nodes among these at whose addresses a machine answers, although nothing listens there for the restore.
    pub(super) fn machines(&self, names: &[&str]) -> Vec<&str> {
        let answers = |(index, _): &(usize, &str)| {
            let heard = u8::try_from(*index).ok().and_then(|index| self.heard.get(&Node(index)));
            matches!(heard, Some(FoundOut::Silent { there: There::Refuses, .. }))
        };
        let nodes = self.layout.plan().nodes.iter().map(|node| node.node.as_str()).enumerate();
        nodes.filter(|(_, name)| names.contains(name)).filter(answers).map(|(_, name)| name).collect()
    }
}

/// The restore of this ID, or the last one that has not ended here, or the last one. Restores are given in the order of their beginnings.
fn choose<'a>(
    restores: impl DoubleEndedIterator<Item = &'a NodeRestore> + ExactSizeIterator,
    id: Option<&str>,
) -> Option<usize> {
    let all: Vec<&NodeRestore> = restores.collect();
    match id {
        Some(id) => all.iter().rposition(|restore| restore.plan.id == id),
        None => all.iter().rposition(|restore| moves_on_there(restore)).or(all.len().checked_sub(1)),
    }
}
