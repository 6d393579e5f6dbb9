use etcd_transaction::Operator;

use super::super::arm::tests::{armed, identity};
use super::super::layout::tests::plan as planned;
use super::*;
use crate::node::probe;

const LONG: Duration = Duration::from_secs(20);

/// A participant that runs, of the only node of a plan.
async fn started(root: &std::path::Path) -> (Layout, tokio::task::JoinHandle<Result<(), Failure>>) {
    let layout = armed(root, planned(root));
    let id = layout.plan().id.clone();
    let (mut driver, mut sources) = Driver::open(layout.state(), &id).await.unwrap();
    (layout, tokio::spawn(async move { driver.drive(&mut sources).await }))
}

#[tokio::test]
async fn a_certificate_on_a_disk_that_hangs_holds_nothing_up() {
    let root = tempfile::tempdir().unwrap();
    let (layout, driver) = started(root.path()).await;
    let given = identity();
    identity::write(&layout, &given).unwrap();
    let hang = probe::hang(&layout.identity());
    let told = tokio::spawn({
        let layout = layout.clone();
        async move { control::tell(&layout, Control::Identity, LONG).await }
    });
    for _ in 0..5 {
        control::tell(&layout, Control::Look, LONG).await.unwrap();
    }
    assert!(!told.is_finished());
    drop(hang);
    told.await.unwrap().unwrap();
    let (lines, _) = super::super::journal::read(&layout.journal()).unwrap();
    assert_eq!(State::of(lines).unwrap().authorities, [given.ca]);

    // Whoever gave one that cannot be used hears so.
    std::fs::write(layout.identity().path(), "secret").unwrap();
    let failure = control::tell(&layout, Control::Identity, LONG).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Storage);
    assert!(!format!("{failure:?}").contains("secret"));
    layout.identity().remove_file().unwrap();
    let failure = control::tell(&layout, Control::Identity, LONG).await.unwrap_err();
    assert_eq!(failure.message, "there is no certificate");
    driver.abort();
}

#[tokio::test]
async fn an_order_that_is_not_taken_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (layout, driver) = started(root.path()).await;
    let tell = |order| control::tell(&layout, Control::Operator { order }, LONG);
    let refused = tell(Operator::Forget).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (FailureCode::Refused, "the restore has not ended on this node")
    );
    tell(Operator::Dismiss).await.unwrap();
    // It gives up, and leaves.
    driver.await.unwrap().unwrap();
}

#[test]
fn only_a_restore_of_all_members_turns_back_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let layout = armed(root.path(), planned(root.path()));
    let (lines, _) = super::super::journal::read(&layout.journal()).unwrap();
    let ground = State::of(lines).unwrap().ground;
    let returns = |change: fn(&mut RestorePlan)| {
        let mut changed = layout.plan().clone();
        change(&mut changed);
        plan(&changed, &ground).unwrap().returns()
    };
    assert!(returns(|_| {}));
    assert!(!returns(|plan| plan.keep_unready = true));
    assert!(!returns(|plan| plan.not_reached.push("cp2".into())));
    assert!(!returns(|plan| plan.quorum_lost = Some(etcd_wire::restore::QuorumLost::default())));
    assert!(!returns(|plan| *plan = plan.way_back().unwrap()));
    assert!(!returns(|plan| {
        let left_out = etcd_wire::restore::RestoreNode { node: "cp2".into(), left_out: true, ..plan.nodes[0].clone() };
        plan.nodes.push(left_out);
    }));
}
