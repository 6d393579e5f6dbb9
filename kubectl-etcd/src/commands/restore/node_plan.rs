//! What a plan tells the nodes: the part of it that is carried out.

use etcd_wire::restore::RestoreKind;
use jiff::Timestamp;

use super::Lost;
use super::node_role::NodeRole;
use super::plan::{Found, Plan, Seen};
use crate::transaction::{Part, Terms, draw_up, new_id};

impl<'a> Found<'a> {
    /// The nodes that take part, by name.
    pub(super) fn parts(&self) -> Vec<Part<'a>> {
        let taking_part = self.members.iter().map(|seen| (seen, self.role_of(seen)));
        let taking_part = taking_part.filter(|(_, role)| *role != NodeRole::NotReached);
        let part = |(seen, role): (&Seen<'a>, NodeRole)| Part {
            pod: seen.pod,
            status: seen.status.as_ref().ok().copied(),
            left_out: role == NodeRole::Stopped,
        };
        let mut parts: Vec<Part<'a>> = taking_part.map(part).collect();
        parts.extend(self.without_etcd.iter().map(|one| Part::of(one.pod)));
        parts.sort_by(|one, other| one.pod.node.cmp(&other.pod.node));
        parts
    }
}

impl Plan {
    /// Adds what the nodes are told to do, or why they cannot.
    pub(super) fn bind(&mut self, terms: &Terms, skip_hash_check: bool, parts: &[Part<'_>], lost: Option<&Lost>) {
        let id = new_id(Timestamp::now());
        let (bump, allow_lower_revisions) = (self.revision.bump, self.revision.may_be_lower);
        let kind =
            RestoreKind::Snapshot { bump, token: format!("restore-{id}"), skip_hash_check, allow_lower_revisions };
        // Who is gone is told apart from who was not reached.
        let not_reached = if lost.is_some() { Vec::new() } else { self.not_reached.clone() };
        match draw_up(id, kind, terms, parts, not_reached) {
            Ok(mut transaction) => {
                if let Some(lost) = lost {
                    lost.mark(&mut transaction);
                }
                transaction.replaces.clone_from(&self.replaces);
                self.transaction = Some(transaction);
            }
            // Some of it may have been said.
            Err(against) => {
                let new: Vec<String> = against.into_iter().filter(|why| !self.refusals.contains(why)).collect();
                self.refusals.extend(new);
            }
        }
    }
}
