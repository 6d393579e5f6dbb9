//! What a plan tells the nodes: the part of it that is carried out.

use etcd_wire::restore::RestoreKind;
use jiff::Timestamp;

use super::node_role::NodeRole;
use super::plan::{Found, Plan, Seen};
use crate::transaction::{Part, Terms, draw_up, new_id};

impl<'a> Found<'a> {
    /// The members whose nodes take part.
    pub(super) fn parts(&self) -> Vec<Part<'a>> {
        let taking_part = self.members.iter().map(|seen| (seen, self.role_of(seen)));
        let taking_part = taking_part.filter(|(_, fate)| *fate != NodeRole::NotReached);
        let part = |(seen, fate): (&Seen<'a>, NodeRole)| Part {
            pod: seen.pod,
            status: seen.status.as_ref().ok().copied(),
            left_out: fate == NodeRole::Stopped,
        };
        taking_part.map(part).collect()
    }
}

impl Plan {
    /// Adds what the nodes are told to do, or why they cannot.
    pub(super) fn bind(&mut self, terms: &Terms, skip_hash_check: bool, parts: &[Part<'_>]) {
        let id = new_id(Timestamp::now());
        let (bump, allow_lower_revisions) = (self.revision.bump, self.revision.may_be_lower);
        let kind =
            RestoreKind::Snapshot { bump, token: format!("restore-{id}"), skip_hash_check, allow_lower_revisions };
        match draw_up(id, kind, terms, parts, self.not_reached.clone()) {
            Ok(transaction) => self.transaction = Some(transaction),
            // Some of it may have been said.
            Err(against) => {
                let new: Vec<String> = against.into_iter().filter(|why| !self.refusals.contains(why)).collect();
                self.refusals.extend(new);
            }
        }
    }

    /// The whole plan for people.
    pub(super) fn whole_text(&self) -> String {
        let text = self.text();
        let Some(transaction) = &self.transaction else { return text };
        let back = if transaction.keep_unready {
            "should the API servers not become ready on the new data, it stays all the same"
        } else {
            "if anything fails, the nodes go back by themselves"
        };
        let (id, coordinator, port) = (&transaction.id, &transaction.coordinator, transaction.peer_port);
        let among = match transaction.nodes.len() {
            1 => String::new(),
            _ => format!("; node {coordinator} coordinates, and the nodes speak to each other over TCP port {port}"),
        };
        format!("{text}\nThis is restore {id}{among}; {back}.\n")
    }
}
