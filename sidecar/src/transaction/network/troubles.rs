//! Why messages do not reach a node, for people.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use etcd_transaction::Node;

struct Trouble {
    since: Instant,
    last: Instant,
    what: String,
}

/// The last error for each node that cannot be reached; none for one that was reached since.
#[derive(Default)]
pub(super) struct Troubles(Mutex<BTreeMap<Node, Trouble>>);

impl Troubles {
    pub(super) fn note(&self, to: Node, what: String) {
        let last = Instant::now();
        let mut all = self.all();
        let since = all.get(&to).map_or(last, |trouble| trouble.since);
        all.insert(to, Trouble { since, last, what });
    }

    pub(super) fn clear(&self, to: Node) {
        self.all().remove(&to);
    }

    /// A sentence for each node: from where to where, since when, and why.
    pub(super) fn told(&self) -> Vec<(Node, String)> {
        let told = |(&to, Trouble { since, last, what }): (&Node, &Trouble)| {
            let (whole, ago) = (since.elapsed().as_secs(), last.elapsed().as_secs());
            (to, format!("{what} (for {whole}s, last tried {ago}s ago)"))
        };
        self.all().iter().map(told).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Node, Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
