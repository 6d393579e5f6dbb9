//! Which addresses the plan's nodes have. Nobody else's connections are accepted.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use etcd_transaction::{Node, NodeSet};
use etcd_wire::restore::RestorePlan;
use tokio::sync::Notify;

/// How often names are resolved at most because of addresses that are not known.
const AGAIN: Duration = Duration::from_secs(2);

enum Address {
    Literal(IpAddr),
    Name(String),
}

/// The addresses of a plan's nodes. Names are resolved, again when an address is not known: a node may have got another one.
pub(super) struct Addresses {
    own: Node,
    nodes: BTreeMap<Node, Address>,
    resolved: RwLock<BTreeMap<Node, Vec<IpAddr>>>,
    unknown: Notify,
}

impl Addresses {
    pub(super) fn new(plan: &RestorePlan, own: Node) -> Addresses {
        let of = |address: &str| {
            let address = address.trim_matches(['[', ']']);
            let parsed = address.parse::<IpAddr>().map(|address| Address::Literal(address.to_canonical()));
            parsed.unwrap_or_else(|_| Address::Name(address.to_owned()))
        };
        let nodes = (0..).map(Node).zip(plan.nodes.iter().map(|node| of(&node.address))).collect();
        Addresses { own, nodes, resolved: RwLock::default(), unknown: Notify::new() }
    }

    /// The other nodes that have an address. If there is none, names are resolved again.
    pub(super) fn others_at(&self, remote: IpAddr) -> NodeSet {
        let remote = remote.to_canonical();
        let mut found = NodeSet::EMPTY;
        for &node in self.nodes.keys().filter(|&&node| node != self.own) {
            if self.known(node).contains(&remote) {
                found.insert(node);
            }
        }
        if found.is_empty() {
            self.unknown.notify_one();
        }
        found
    }

    /// The address of this node from which `to` is dialled, so that it recognises this node; `None` if none is known that may be used. A node's own
    /// name often means a loopback address on that node.
    pub(super) fn from(&self, to: IpAddr) -> Option<IpAddr> {
        let fits = |own: &IpAddr| own.is_ipv4() == to.is_ipv4() && own.is_loopback() == to.is_loopback();
        self.known(self.own).into_iter().find(fits)
    }

    /// The addresses under which a node is dialled now.
    ///
    /// # Errors
    /// It is a name, and cannot be resolved.
    pub(super) async fn of(&self, node: Node) -> io::Result<Vec<IpAddr>> {
        match self.nodes.get(&node) {
            Some(Address::Literal(address)) => Ok(vec![*address]),
            Some(Address::Name(name)) => {
                let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
                let found: Vec<IpAddr> = found.map(|address| address.ip().to_canonical()).collect();
                let mut resolved = self.resolved.write().unwrap_or_else(PoisonError::into_inner);
                resolved.insert(node, found.clone());
                Ok(found)
            }
            None => Ok(Vec::new()),
        }
    }

    /// Resolves names, at once and whenever an address was not known, for ever. Of a name that cannot be resolved the last addresses count.
    pub(super) async fn keep_resolved(&self) {
        loop {
            for (&node, address) in &self.nodes {
                if let Address::Name(name) = address
                    && let Err(error) = self.of(node).await
                {
                    tracing::debug!("cannot resolve {name}: {error}");
                }
            }
            tokio::time::sleep(AGAIN).await;
            self.unknown.notified().await;
        }
    }

    fn known(&self, node: Node) -> Vec<IpAddr> {
        match self.nodes.get(&node) {
            Some(Address::Literal(address)) => vec![*address],
            Some(Address::Name(_)) => {
                let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
                resolved.get(&node).cloned().unwrap_or_default()
            }
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::layout::tests::plan;
    use super::*;

    fn addresses(of: &[&str]) -> Addresses {
        let mut plan = plan(Path::new("/x"));
        let node = plan.nodes.remove(0);
        plan.nodes = of
            .iter()
            .map(|&address| address.to_owned())
            .map(|address| etcd_wire::restore::RestoreNode { address, ..node.clone() })
            .collect();
        Addresses::new(&plan, Node(0))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_compared_in_their_shortest_form() {
        let all = addresses(&["10.0.0.1", "10.0.0.2", "[fd00::3]", "::ffff:10.0.0.4", "10.0.0.2"]);
        let both = NodeSet::of(Node(1)).union(NodeSet::of(Node(4)));
        for (remote, nodes) in [
            ("10.0.0.2", both),
            ("::ffff:10.0.0.2", both),
            ("fd00:0::3", NodeSet::of(Node(2))),
            ("10.0.0.4", NodeSet::of(Node(3))),
            // This node dials nobody but others.
            ("10.0.0.1", NodeSet::EMPTY),
            ("10.0.0.9", NodeSet::EMPTY),
        ] {
            assert_eq!(all.others_at(ip(remote)), nodes, "{remote}");
        }
        assert_eq!((all.from(ip("10.0.0.2")), all.from(ip("fd00::3"))), (Some(ip("10.0.0.1")), None));
    }

    #[tokio::test]
    async fn names_are_resolved_when_an_address_is_not_known() {
        let all = std::sync::Arc::new(addresses(&["localhost", "localhost"]));
        let resolving = {
            let all = std::sync::Arc::clone(&all);
            tokio::spawn(async move { all.keep_resolved().await })
        };
        while all.others_at(ip("127.0.0.1")).is_empty() {
            tokio::task::yield_now().await;
        }
        resolving.abort();
        assert!(all.others_at(ip("10.0.0.9")).is_empty());
        assert!(all.of(Node(1)).await.unwrap().contains(&ip("127.0.0.1")));
        // The name of this node means a loopback address, from which no other node can be reached.
        assert_eq!((all.from(ip("10.0.0.9")), all.from(ip("127.0.0.2"))), (None, Some(ip("127.0.0.1"))));
        assert!(addresses(&["10.0.0.1", "no such name"]).of(Node(1)).await.is_err());
    }
}
