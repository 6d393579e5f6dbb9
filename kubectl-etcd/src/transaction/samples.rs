//! Values for the tests of what uses this.

use etcd_wire::restore::{Live, NodeRestore};

use super::order::tests::kind;
pub(crate) use super::order::tests::{pod, terms};
use super::order::{Part, draw_up};
pub(crate) use super::recall::tests::recalled;

/// What a node of so many says that has just been armed. The nodes are cp1, cp2 and so on, and cp1 coordinates.
pub(crate) fn journal(node: &str, nodes: usize) -> NodeRestore {
    let pods: Vec<_> = (1..=nodes).map(|index| pod(&format!("cp{index}"))).collect();
    let parts: Vec<_> = pods.iter().map(Part::of).collect();
    NodeRestore {
        plan: draw_up("id".into(), kind(), &terms(), &parts, Vec::new()).expect("in order"),
        node: node.into(),
        begun_at: 1000,
        staged: None,
        armed: true,
        has_identity: true,
        events: Vec::new(),
        decision: None,
        ended: None,
        waits_for_others: false,
        vote: None,
        accepted: None,
        excluded: Vec::new(),
        epoch: 0,
        intruded: false,
        participates: true,
        live: Some(Live::default()),
        kept: Vec::new(),
        format: 2,
        aside: None,
        aside_bytes: 0,
    }
}
