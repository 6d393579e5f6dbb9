//! Looks after what is held, for as long as that is wanted.

use std::sync::Arc;
use std::time::Duration;

use etcd_transaction::Fact;
use etcd_wire::Failure;
use etcd_wire::restore::Step;
use tokio::sync::watch;

use super::found_again;
use crate::transaction::ground::{API_SERVER, ETCD};
use crate::transaction::hold::Turn;
use crate::transaction::work::Work;
use crate::transaction::{guard, hold, words};

const LOOK: Duration = Duration::from_millis(200);

/// Looks after held components for as long as `on` is true; for ever.
pub(in crate::transaction) async fn run(work: Arc<Work>, mut on: watch::Receiver<bool>) {
    let mut failed = String::new();
    loop {
        if on.wait_for(|on| *on).await.is_err() {
            return;
        }
        let still = on.clone();
        // Not by `Work::blocking`: that is for the step that goes on meanwhile.
        let looking = Arc::clone(&work);
        let looked = tokio::task::spawn_blocking(move || look(&looking, &still)).await;
        // The same again and again is told once.
        let text = match looked {
            Ok(Ok(())) => String::new(),
            Ok(Err(failure)) => failure.to_string(),
            Err(error) => error.to_string(),
        };
        if text != failed && !text.is_empty() {
            work.note(text.clone());
        }
        failed = text;
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells again of manifests that were moved aside by a process that may not have come to write down what followed.
///
/// # Errors
/// The disk fails.
pub(in crate::transaction) fn tell_again(work: &Work) -> Result<(), Failure> {
    for component in &work.ground.components {
        for equal_bytes in hold::found_before(&work.layout, component)? {
            work.saw(Fact::Intruder { component: words::kind(component), other_bytes: !equal_bytes });
        }
    }
    Ok(())
}

fn look(work: &Work, on: &watch::Receiver<bool>) -> Result<(), Failure> {
    for component in &work.ground.components {
        // What is launched waits for the turn, and is recorded before it is launched.
        let turn = Turn::take();
        // It may have been switched off while this thread waited.
        if !*on.borrow() {
            return Ok(());
        }
        let recorded = work.recorded();
        // From when it is launched on the new data until that is seen stopped, etcd is given its time again.
        let launched = recorded.begun().contains(Step::LaunchEtcd) && !recorded.done().contains(Step::UndoStop);
        let stopped = recorded.done().contains(Step::StopEtcd) && !launched;
        // Its own manifest is held while it runs with another one: from its launch on, or since the restore that a rollback of the nodes' own follows.
        if component.name == ETCD && (launched || !recorded.begun().contains(Step::StopEtcd)) {
            continue;
        }
        let Some(intrusion) = guard::look(&work.layout, component, stopped, &turn)? else { continue };
        if let Some(reappeared) = &intrusion.reappeared {
            found_again(work, component, reappeared);
        } else if component.name == API_SERVER && launched {
            // A kubelet that has not noticed yet starts it again on the old data, which is nothing to tell.
            work.saw(Fact::Intruder { component: words::kind(component), other_bytes: false });
        }
    }
    Ok(())
}
