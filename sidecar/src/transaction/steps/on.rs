//! The steps after the decision to commit.

use std::sync::Arc;
use std::time::Duration;

use etcd_wire::Failure;

use super::forth::{api_ended, start_limit, take_api, take_etcd};
use super::wait::{self, until_forgotten, until_well};
use super::{Done, new_cluster, put, take};
use crate::transaction::backoff::FORGETS;
use crate::transaction::ground::{API_SERVER, ETCD};
use crate::transaction::hold::Conflict;
use crate::transaction::launch::{self, InPlace};
use crate::transaction::work::{Cancel, Work};
use crate::transaction::{api_server, member, way_back};

/// Starts the API server, and waits until it is ready and serves the new state. A cancelled step still puts the manifest in place: an operator who
/// does not wait for a ready API server wants it to start, and a step that took too long is tried again.
pub(super) async fn start_api(work: &Arc<Work>, cancel: &Cancel) -> Result<Done, Failure> {
    // It is on other nodes, which wait for theirs.
    let Some(api) = &work.ground.api else { return Ok(Done::Proved) };
    let waited = until_forgotten(work, API_SERVER, FORGETS.min(start_limit(work) / 2), cancel).await;
    if !cancel.is_cancelled() {
        waited?;
    }
    work.blocking(|work| put(work, &work.component(API_SERVER)?, Conflict::KeepHeld)).await?;
    let proved = async {
        let revision = new_cluster(work)?.revision;
        let expected = api_server::Expected { marker: work.layout.plan().marker.clone(), revision };
        let open = work.ground.api_is_open;
        // How long that may take is the participant's to say.
        until_well("the API server", Duration::MAX, cancel, || api_server::prove(api, open, &expected)).await
    };
    match proved.await {
        Ok(()) => Ok(Done::Proved),
        Err(failure) if cancel.is_cancelled() => Ok(Done::Unready(failure)),
        Err(failure) => Err(failure),
    }
}

/// How long a controller may wait for the kubelet to forget how often it has ended, within the time of its step.
const SHORTLY: Duration = Duration::from_secs(10);

/// Starts controller manager and scheduler.
pub(super) async fn finish(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    for controller in work.controllers() {
        until_forgotten(work, &controller.name, SHORTLY, cancel).await?;
    }
    work.blocking(|work| {
        for component in &work.controllers() {
            put(work, component, Conflict::KeepFound)?;
        }
        // What has come into its place leaves empty folders.
        for folder in work.layout.folders() {
            let _not_empty = folder.join("new").remove_folder();
        }
        match work.layout.way_back() {
            Some(back) => way_back::discard(&back),
            None => Ok(()),
        }
    })
    .await
}

/// On a node that is left out: nothing runs. What somebody starts there later is theirs.
pub(super) async fn stay_stopped(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    take_api(work, cancel).await?;
    take_etcd(work, cancel).await
}

/// How long the other members may take until all of them serve.
const SPARED: Duration = Duration::from_secs(30);

/// Gives etcd its own manifest back, and waits until it runs with that: while a quorum serves without it, so that nobody notices. Where another
/// member is lost for longer, the restore still ends, and the restart is noticed.
///
/// An API server that has no other etcd is stopped meanwhile: its clients would wait for answers until their time is over. kubeadm's kubelet of this
/// node is one of them, and starts etcd only when it was answered, or sees that nobody answers.
pub(super) async fn recheck(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    let launched =
        work.blocking(|work| Ok(launch::in_place(&work.layout, &work.component(ETCD)?)? == InPlace::Launch)).await?;
    if launched {
        let spared = until_well("the etcd cluster", SPARED, cancel, || member::can_be_spared(&work.layout)).await;
        if let Err(failure) = spared {
            if cancel.is_cancelled() {
                return Err(failure);
            }
            let causes = failure.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
            work.note(format!("etcd is restarted with its own manifest although not all members serve{causes}"));
        }
    }
    if launched {
        // etcd serves meanwhile.
        until_forgotten(work, ETCD, FORGETS.min(start_limit(work) / 2), cancel).await?;
    }
    let stopped = work.api_server().filter(|server| launched && server.has_one_etcd());
    let restarted = async {
        if let Some(server) = stopped {
            work.blocking(move |work| take(work, &server)).await?;
            api_ended(work, cancel).await?;
        }
        restart_etcd(work, cancel).await
    }
    .await;
    // Also where etcd does not run, and after a try that was cut off.
    work.blocking(|work| work.api_server().iter().try_for_each(|server| put(work, server, Conflict::KeepFound)))
        .await?;
    restarted?;
    let Some(api) = &work.ground.api else { return Ok(()) };
    let open = work.ground.api_is_open;
    let expected = api_server::Expected::default();
    until_well("the API server", start_limit(work), cancel, || api_server::prove(api, open, &expected)).await
}

/// Puts etcd's own manifest in place, and waits until etcd runs with it.
async fn restart_etcd(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    work.blocking(|work| {
        for kept in launch::restore_original(&work.layout, &work.component(ETCD)?)?.kept {
            let why = "a manifest of etcd: another program wrote a new one; this is the earlier one";
            work.keep(kept.display().to_string(), why.to_owned())?;
        }
        Ok(())
    })
    .await?;
    // A manifest of another program's may have another command line.
    while work.blocking(|work| Ok(launch::running(&work.component(ETCD)?)?.launched)).await? > 0 {
        wait::pause(cancel).await?;
    }
    let expected = new_cluster(work)?;
    until_well("etcd", start_limit(work), cancel, || member::prove(&work.layout, &expected)).await
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::super::super::arm::tests::armed;
    use super::super::super::hold;
    use super::super::super::journal::{self, Journal};
    use super::super::super::layout::tests::plan;
    use super::super::super::state::State;
    use super::super::super::work::Writer;
    use super::*;
    use crate::transaction::ground::Component;

    /// A node whose API server's manifest is held.
    fn held(root: &std::path::Path) -> Arc<Work> {
        let layout = armed(root, plan(root));
        let (journal, _) = Journal::open(&layout.journal()).unwrap();
        let mut state = State::of(journal::read(&layout.journal()).unwrap().0).unwrap();
        let file = "kube-apiserver.yaml".to_owned();
        let server = Component { name: API_SERVER.to_owned(), file: file.clone(), ..Component::default() };
        std::fs::write(layout.manifests().join(&file).path(), "pod").unwrap();
        assert!(hold::take(&layout, &server).unwrap().moved);
        state.ground.components.push(server);
        let broken = watch::channel(None).0;
        let writer = Writer::start(journal, broken.clone());
        Arc::new(Work::new(layout, state, writer, mpsc::unbounded_channel().0, broken))
    }

    #[tokio::test]
    async fn a_cancelled_start_of_an_api_server_puts_its_manifest_in_place_or_is_none() {
        let root = tempfile::tempdir().unwrap();
        let work = held(root.path());
        let (cancel, cancelled) = Cancel::new();
        cancel.send_replace(true);
        let server = work.component(API_SERVER).unwrap();
        // The disk does not let it: nothing is started.
        let manifests = work.layout.manifests().path();
        let away = manifests.with_extension("away");
        std::fs::rename(&manifests, &away).unwrap();
        start_api(&work, &cancelled).await.unwrap_err();
        assert!(hold::is_held(&work.layout, &server).unwrap());
        std::fs::rename(&away, &manifests).unwrap();
        // Whoever does not wait for the API server still gets it started, however often that was tried.
        for _ in 0..2 {
            let done = start_api(&work, &cancelled).await.unwrap();
            assert!(matches!(done, Done::Unready(_)), "{done:?}");
            assert!(!hold::is_held(&work.layout, &server).unwrap());
            assert_eq!(std::fs::read_to_string(manifests.join(&server.file)).unwrap(), "pod");
        }
    }
}
