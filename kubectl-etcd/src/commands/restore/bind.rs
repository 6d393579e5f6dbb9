//! What a plan tells the nodes: the part of it that is carried out.

use etcd_wire::message::MemberStatus;
use etcd_wire::restore::RestoreKind;
use jiff::Timestamp;

use super::plan::Plan;
use crate::discovery::EtcdPod;
use crate::transaction::{Terms, draw_up, new_id};

impl Plan {
    /// Adds what the nodes are told to do, or why they cannot.
    pub(super) fn bind(&mut self, terms: &Terms, skip_hash_check: bool, members: &[(&EtcdPod, Option<&MemberStatus>)]) {
        let id = new_id(Timestamp::now());
        let kind = RestoreKind::Snapshot { bump: self.revision.bump, token: format!("restore-{id}"), skip_hash_check };
        match draw_up(id, kind, terms, members) {
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
