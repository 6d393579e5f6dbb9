//! How a restore stands by what the nodes said: what `etcd-recovery` judges, out of what the plugin knows of them.

use etcd_recovery::{Commands, Known, Standing};

use super::recall::Recalled;
use super::verdict::NodeEnd;

/// `None` if no node that answers has a journal of the restore.
pub(crate) fn standing_of<'a>(id: &str, nodes: &'a [Recalled]) -> Option<Standing<'a>> {
    let plan = &nodes.iter().find_map(|node| node.find(id))?.plan;
    let known = |name: &str| match nodes.iter().find(|node| node.node == name) {
        Some(Recalled { outcome: Err(failed), .. }) => Known::Unread(failed.one_line()),
        Some(node) => node.find(id).map_or(Known::NoJournal, Known::Journal),
        None => Known::Unread("no etcd member is found there".to_owned()),
    };
    Standing::new(plan, plan.nodes.iter().map(|node| known(&node.node)).collect(), Commands::Plugin)
}

/// Of nodes that were followed. What was seen last of a node that cannot be asked any more still holds: journals only grow.
pub(super) fn standing_of_ends(ends: &[NodeEnd]) -> Option<Standing<'_>> {
    let plan = &ends.iter().find_map(|end| end.restore.as_ref())?.plan;
    let known = |name: &str| match ends.iter().find(|end| end.node == name) {
        Some(NodeEnd { restore: Some(restore), .. }) => Known::Journal(restore),
        Some(NodeEnd { trouble: None, .. }) => Known::NoJournal,
        Some(NodeEnd { trouble: Some(trouble), .. }) => Known::Unread(trouble.clone()),
        None => Known::Unread("it was not asked".to_owned()),
    };
    Standing::new(plan, plan.nodes.iter().map(|node| known(&node.node)).collect(), Commands::Plugin)
}
