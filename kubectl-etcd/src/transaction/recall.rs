//! What the journals on all nodes say of earlier restores.

use etcd_recovery::moves_on_there;
use etcd_wire::restore::{NodeRestore, RestorePlan};
use futures::future::join_all;

use super::Work;
use super::follow::Watched;
use crate::output::{Failed, Outcome};

/// A node's journals, or why they cannot be read.
#[derive(Debug)]
pub(crate) struct Recalled {
    pub(crate) node: String,
    pub(crate) outcome: Outcome<Vec<NodeRestore>>,
}

impl Recalled {
    /// What the node knows of a restore.
    pub(crate) fn find(&self, id: &str) -> Option<&NodeRestore> {
        self.restores().iter().find(|restore| restore.plan.id == id)
    }

    pub(crate) fn restores(&self) -> &[NodeRestore] {
        self.outcome.as_deref().unwrap_or_default()
    }
}

/// Asks all nodes, once.
pub(crate) async fn recall(work: &Work<'_>, watched: &mut [Watched<'_>]) -> Vec<Recalled> {
    join_all(watched.iter_mut().map(|one| async move {
        let node = one.member.node.clone();
        Recalled { node, outcome: one.restores(work).await }
    }))
    .await
}

/// All restores that a node knows of, the last one first, each as one of its nodes tells it.
pub(crate) fn by_time(nodes: &[Recalled]) -> Vec<&NodeRestore> {
    let mut all: Vec<&NodeRestore> = Vec::new();
    for restore in nodes.iter().flat_map(Recalled::restores) {
        if !all.iter().any(|known| known.plan.id == restore.plan.id) {
            all.push(restore);
        }
    }
    all.sort_by_key(|restore| std::cmp::Reverse(restore.begun_at));
    all
}

/// The last restore that a node has still to bring to its end.
pub(crate) fn unfinished(nodes: &[Recalled]) -> Option<&RestorePlan> {
    let goes_on = |id: &str| nodes.iter().filter_map(|node| node.find(id)).any(moves_on_there);
    by_time(nodes).into_iter().map(|restore| &restore.plan).find(|plan| goes_on(&plan.id))
}

/// Why no node tells anything, if none does.
pub(crate) fn silence(nodes: &[Recalled]) -> Option<Failed> {
    if nodes.iter().any(|node| node.outcome.is_ok()) {
        return None;
    }
    let first = nodes.iter().find_map(|node| node.outcome.as_ref().err());
    let failed = first.map_or_else(|| Failed::plain("there are no nodes to ask"), Failed::copy);
    Some(failed.context("no node's journals can be read"))
}

#[cfg(test)]
pub(crate) mod tests {
    use etcd_wire::restore::Ending;

    use super::super::verdict::tests::node;
    use super::*;

    /// A node with restores, oldest first: id and how it ended.
    pub(crate) fn recalled(name: &str, restores: &[(&str, Option<Ending>)]) -> Recalled {
        let restores = restores.iter().enumerate().map(|(index, (id, ended))| {
            let mut restore = node(name, *ended).restore.expect("one");
            restore.plan.id = (*id).to_owned();
            restore.begun_at = index as i64;
            restore
        });
        Recalled { node: name.into(), outcome: Ok(restores.collect()) }
    }

    #[test]
    fn the_last_one_is_found_and_the_one_that_goes_on() {
        let lost = Recalled { node: "cp3".into(), outcome: Err(Failed::plain("gone")) };
        let done = Some(Ending::Restored);
        let nodes = [recalled("cp1", &[("a", done), ("b", done)]), recalled("cp2", &[("a", done), ("b", None)]), lost];
        let ids: Vec<&str> = by_time(&nodes).into_iter().map(|restore| restore.plan.id.as_str()).collect();
        assert_eq!(ids, ["b", "a"]);
        assert_eq!(unfinished(&nodes).map(|plan| plan.id.as_str()), Some("b"));
        assert!(unfinished(&nodes[..1]).is_none() && silence(&nodes).is_none());
        assert!(silence(&nodes[2..]).is_some_and(|failed| failed.causes == ["gone"]));
        // One that is only prepared has nothing to be brought to an end.
        let mut prepared = recalled("cp1", &[("a", None)]);
        if let Ok(restores) = &mut prepared.outcome {
            restores[0].armed = false;
        }
        assert!(unfinished(&[prepared]).is_none());
    }
}
