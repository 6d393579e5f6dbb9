//! The replacement of the member on this node, as the node does it: `docs/RECOVER.md` describes the whole.
//!
//! It is one sequence of phases, each of which is in the [journal](record) before the next thing is done and can be done again from its beginning. Until the
//! member is removed from the cluster, a failure returns the node to what it was; after that the only way is forth, for a member that was removed never comes
//! back with its data. The sequence goes on when the session that began it ends.

mod cluster;
mod kept;
mod manifest;
mod record;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use etcd_wire::facts::staging_bytes;
use etcd_wire::replace::{ReplacePhase, ReplacePlan, Replacement};
use etcd_wire::{Failure, FailureCode};
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::sleep;

use self::cluster::Others;
pub(crate) use self::kept::{remove as remove_kept, tell as tell_kept};
use self::record::Record;
use super::backoff::{self, FORGETS};
use super::exchange::{self, Way};
use super::ground::{self, API_SERVER, Component, ETCD};
use super::hold::{self, Conflict};
use super::journal::storage;
use super::layout::{Exchange, Layout, STATE};
use super::process::{self, Lock};
use super::{enlist, launch, records, sockets};
use crate::node::{Manifests, Place};

/// How long etcd has to be quiet before it counts as stopped: a kubelet that restarts it all the time may do so once more before it has noticed that the
/// manifest is gone.
const QUIET: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);

/// The sequence that runs in this process.
static RUNNING: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

/// Begins, or goes on with what is unfinished of the same member.
///
/// # Errors
/// [`FailureCode::Busy`] if a restore or another replacement is under way; anything that speaks against it. Nothing has changed then.
pub(crate) async fn begin(plan: ReplacePlan) -> Result<Replacement, Failure> {
    begin_at(plan, Place::new(STATE)).await
}

async fn begin_at(plan: ReplacePlan, state: Place) -> Result<Replacement, Failure> {
    record::layout(&plan, &state)?.require_own_build()?;
    let lock = block_in_place(|| enlist::exclusive(&state))?;
    let (record, layout) = match block_in_place(|| earlier(&plan, &state))? {
        Some(record) => {
            let layout = record.layout(&state)?;
            (record, layout)
        }
        None => {
            let layout = record::layout(&plan, &state)?;
            let record = prepare(plan, &layout).await?;
            (record, layout)
        }
    };
    block_in_place(|| record.write(&layout))?;
    let told = record.told(&layout, true)?;
    let running = tokio::spawn(run(Work { layout, record }, lock));
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    Ok(told)
}

/// How a replacement is.
///
/// # Errors
/// There is none with this ID.
pub(crate) fn look(id: &str) -> Result<Replacement, Failure> {
    let state = Place::new(STATE);
    // Looked at before the journal, so that one that has just ended is not taken for one that was killed.
    let running = is_running(&state)?;
    let found = record::of(&state, id)?;
    let record = found.ok_or_else(|| Failure::new(FailureCode::BadRequest, format!("there is no replacement {id}")))?;
    record.told(&record.layout(&state)?, running)
}

/// The plan of the replacement that is unfinished on this node, if there is one.
///
/// # Errors
/// The disk fails.
pub(crate) fn unfinished_plan() -> Result<Option<ReplacePlan>, Failure> {
    let found = record::all(&Place::new(STATE))?.into_iter().find(|record| !record.phase.is_over());
    Ok(found.map(|record| record.plan))
}

/// Whether some process on the node works at a restore or a replacement.
fn is_running(state: &Place) -> Result<bool, Failure> {
    match enlist::exclusive(state) {
        Ok(_) => Ok(false),
        Err(failure) if failure.code == FailureCode::Busy => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// Waits for the sequence that runs in this process, and takes away the journal of one that has undone everything.
pub(crate) async fn finish() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(running) = running else { return };
    if let Err(error) = running.await {
        tracing::warn!("the replacement has ended badly: {error}");
    }
    let state = Place::new(STATE);
    if let Err(failure) = block_in_place(|| clear(&state)) {
        tracing::warn!(causes = ?failure.causes, "{failure}");
    }
}

/// Takes away journals of what was undone.
fn clear(state: &Place) -> Result<(), Failure> {
    let mut undone = record::all(state)?.into_iter().filter(|record| record.phase == ReplacePhase::Undone);
    undone.try_for_each(|record| record::remove(&record.layout(state)?))
}

/// Refuses while a replacement is unfinished on the node.
///
/// # Errors
/// [`FailureCode::Busy`].
pub(super) fn none_unfinished(state: &Place) -> Result<(), Failure> {
    match record::all(state)?.into_iter().find(|record| !record.phase.is_over()) {
        None => Ok(()),
        Some(record) => Err(unfinished(&record)),
    }
}

fn unfinished(record: &Record) -> Failure {
    let message = format!("the replacement of member {} is unfinished on this node", record.plan.member);
    Failure::new(FailureCode::Busy, message).hint(format!("kubectl etcd member replace {}", record.plan.node))
}

/// What is unfinished of the same member, with what has changed of the others since.
fn earlier(plan: &ReplacePlan, state: &Place) -> Result<Option<Record>, Failure> {
    if let Some((layout, _)) = records::known(state)?.into_iter().find(|(_, state)| state.is_unfinished()) {
        let message = format!("restore {} is unfinished on this node", layout.plan().id);
        return Err(Failure::new(FailureCode::Busy, message).hint("kubectl etcd restore --status"));
    }
    clear(state)?;
    let Some(mut record) = record::all(state)?.into_iter().find(|record| !record.phase.is_over()) else {
        return Ok(None);
    };
    let of = |plan: &ReplacePlan| {
        (
            plan.node.clone(),
            plan.member.clone(),
            plan.cluster_id,
            plan.data_dir.clone(),
            plan.wal_dir.clone(),
            plan.manifests_dir.clone(),
        )
    };
    if of(&record.plan) != of(plan) {
        return Err(unfinished(&record));
    }
    let (id, peer_urls) = (record.plan.id.clone(), record.plan.peer_urls.clone());
    record.plan = ReplacePlan { id, peer_urls, ..plan.clone() };
    record.failure = None;
    Ok(Some(record))
}

/// Looks whether everything is there that the sequence needs. Changes nothing.
async fn prepare(plan: ReplacePlan, layout: &Layout) -> Result<Record, Failure> {
    let refused = |what: String| Failure::new(FailureCode::Refused, what);
    let others = Others::new(&plan);
    others.with_quorum().await?;
    let (_, bytes) = others.reached().await?;
    others.own(others.list().await?)?;
    // The flag will name all members: whether the manifest can have it is known now.
    let flag = format!("{}={}", plan.member, plan.peer_urls.first().map_or("", String::as_str));
    block_in_place(|| {
        let manifests = Manifests::read(Path::new(&plan.manifests_dir))?;
        let etcd = &manifests.etcd;
        let folder =
            |name: &str| etcd.flag(name).and_then(|path| etcd.host_path(path)).map(|path| path.display().to_string());
        let wal = folder("wal-dir").filter(|wal| Path::new(wal) != Path::new(&plan.data_dir).join("member/wal"));
        if (folder("data-dir").as_deref(), wal.as_deref()) != (Some(plan.data_dir.as_str()), plan.wal_dir.as_deref()) {
            return Err(refused(format!("the directories in {} are not those of the plan", etcd.file)));
        }
        if etcd.flag("name") != Some(plan.member.as_str()) {
            return Err(refused(format!("{} does not name member {} (--name)", etcd.file, plan.member)));
        }
        let place = layout.manifests().join(&etcd.file);
        let bytes_of = place.read().map_err(|error| storage("read etcd's manifest", &error))?;
        manifest::joining(&bytes_of, &flag)
            .map_err(|why| refused(format!("{} cannot be changed to join a cluster: {why}", place.display())))?;
        let looked = |error: std::io::Error| storage("look at the data directory", &error);
        let device = |place: &Place| -> std::io::Result<u64> { Ok(place.open()?.metadata()?.dev()) };
        let member = layout.data_dir().join("member");
        if member.is_folder().map_err(looked)?
            && device(&member).map_err(looked)? != device(&layout.data_dir()).map_err(looked)?
        {
            return Err(refused(format!("{} is a mount point of its own, which cannot be renamed", member.display())));
        }
        if let Some(wal) = &plan.wal_dir
            && !Place::new(wal).is_folder().map_err(looked)?
        {
            return Err(refused(format!("{wal} does not exist")).hint(format!("mkdir -m 0700 {wal}")));
        }
        for ours in layout.folders() {
            if ours.exists().map_err(looked)? {
                return Err(Failure::new(FailureCode::Busy, format!("{} is already there", ours.display())));
            }
        }
        // On a new disk there may be no directory yet: the kubelet makes it when it starts etcd.
        let above = Path::new(&plan.data_dir).parent().map(Place::new);
        let there = layout.data_dir().exists().map_err(looked)?;
        let room = above.filter(|_| !there).unwrap_or_else(|| layout.data_dir());
        let (free, needed) = (enlist::free(&room)?, staging_bytes(bytes));
        if free < needed {
            let message = format!(
                "too little room in {}: the new data needs {} MB beside the old, and {} MB are free",
                plan.data_dir,
                needed / 1_000_000,
                free / 1_000_000
            );
            return Err(refused(message));
        }
        Ok(Record {
            etcd: ground::component(ETCD, etcd),
            api_server: Some(ground::component(API_SERVER, &manifests.api_server)).filter(Component::has_one_etcd),
            listens: ground::etcd_addresses(etcd)?,
            phase: ReplacePhase::Begun,
            initial_cluster: None,
            new_member: None,
            failure: None,
            kept: Vec::new(),
            plan: plan.clone(),
        })
    })
}

/// The sequence, until it comes to an end or something fails.
async fn run(mut work: Work, _lock: File) {
    let Err(failure) = work.go_through().await else { return };
    tracing::warn!(causes = ?failure.causes, "{failure}");
    work.record.failure = Some(failure);
    let returned = match work.record.phase.is_past_return() {
        true => block_in_place(|| work.start_api_server()),
        false => block_in_place(|| work.undo()),
    };
    if let Err(worse) = returned {
        tracing::warn!(causes = ?worse.causes, "{worse}");
        work.record.failure = work
            .record
            .failure
            .take()
            .map(|failure| failure.cause(format!("not everything that was stopped was started again: {worse}")));
    }
    if let Err(worse) = block_in_place(|| work.record.write(&work.layout)) {
        tracing::warn!(causes = ?worse.causes, "{worse}");
    }
}

/// A replacement at work.
struct Work {
    layout: Layout,
    record: Record,
}

impl Work {
    fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.record.plan.patience))
    }

    /// Does what is left to do.
    async fn go_through(&mut self) -> Result<(), Failure> {
        if !self.record.phase.is_over() {
            self.stop_api_server().await?;
        }
        while !self.record.phase.is_over() {
            self.next().await?;
        }
        Ok(())
    }

    /// Stops the API server that has no other etcd, so that nobody waits for its answers. The kubelet of kubeadm asks it, too, and starts etcd only when
    /// it was answered, or sees that nobody answers. One that does not end is no reason to stop here.
    async fn stop_api_server(&self) -> Result<(), Failure> {
        let Some(server) = &self.record.api_server else { return Ok(()) };
        block_in_place(|| hold::take(&self.layout, server))?;
        let begun = Instant::now();
        let runs = || process::running(&server.command_lines()).map(|found| !found.is_empty());
        while begun.elapsed() < self.patience()
            && block_in_place(runs).map_err(|error| storage("look at the processes of the node", &error))?
        {
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts the API server again, if it was stopped.
    fn start_api_server(&mut self) -> Result<(), Failure> {
        let Some(server) = &self.record.api_server else { return Ok(()) };
        if hold::is_held(&self.layout, server)? {
            let put = hold::put(&self.layout, server, Conflict::KeepFound)?;
            self.record.kept.extend(put.kept.iter().map(|path| path.display().to_string()));
        }
        Ok(())
    }

    /// Does what is next, and has it in the journal.
    async fn next(&mut self) -> Result<(), Failure> {
        use ReplacePhase::{
            Begun, CaughtUp, Done, Joining, OwnManifest, Removed, Removing, SetAside, Stopped, Undone, Unknown,
        };
        let plan = self.record.plan.clone();
        let others = Others::new(&plan);
        let phase = match self.record.phase {
            Begun => {
                block_in_place(|| hold::take(&self.layout, &self.record.etcd))?;
                self.until_stopped().await?;
                Stopped
            }
            Stopped => {
                // A machine that has failed since may have started etcd again, as a manifest of another program does.
                block_in_place(|| hold::take(&self.layout, &self.record.etcd))?;
                self.until_stopped().await?;
                others.with_quorum().await?;
                Removing
            }
            Removing => {
                others.remove_own().await?;
                Removed
            }
            Removed => {
                block_in_place(|| hold::take(&self.layout, &self.record.etcd))?;
                self.until_stopped().await?;
                block_in_place(|| self.set_aside())?;
                SetAside
            }
            SetAside => {
                let (id, members) = others.add_learner().await?;
                self.record.initial_cluster = Some(cluster::initial_cluster(&members, id, &plan.member)?);
                self.record.new_member = Some(id);
                Joining
            }
            Joining => {
                block_in_place(|| self.place_joining())?;
                others.caught_up(self.patience()).await?;
                CaughtUp
            }
            CaughtUp => {
                if block_in_place(|| hold::is_held(&self.layout, &self.record.etcd))? {
                    // etcd has what the others have meanwhile.
                    self.until_forgotten(Some(&self.record.etcd)).await;
                    block_in_place(|| self.withdraw())?;
                    self.until_stopped().await?;
                    let put = block_in_place(|| hold::put(&self.layout, &self.record.etcd, Conflict::KeepHeld))?;
                    self.record.kept.extend(put.kept.iter().map(|path| path.display().to_string()));
                }
                OwnManifest
            }
            OwnManifest => {
                others.caught_up(self.patience()).await?;
                others.promote(self.patience()).await?;
                self.until_forgotten(self.record.api_server.as_ref()).await;
                block_in_place(|| self.start_api_server())?;
                Done
            }
            Done | Undone => return Ok(()),
            Unknown => {
                let message = "the journal of the replacement is of a later version of this program";
                return Err(Failure::new(FailureCode::Unsupported, message));
            }
        };
        tracing::info!(?phase, "replacement");
        self.record.phase = phase;
        block_in_place(|| self.record.write(&self.layout))
    }

    /// Waits until etcd has been stopped for a while: no process listens on its ports, and its database is not locked.
    async fn until_stopped(&self) -> Result<(), Failure> {
        let (begun, mut since) = (Instant::now(), None);
        loop {
            let stopped = || -> std::io::Result<bool> {
                let lock = process::lock(&self.layout.data_dir())?;
                Ok(!matches!(lock, Lock::Held) && sockets::listening(&self.record.listens)?.is_empty())
            };
            if block_in_place(stopped).map_err(|error| storage("look whether etcd has ended", &error))? {
                if since.get_or_insert_with(Instant::now).elapsed() >= QUIET {
                    return Ok(());
                }
            } else {
                since = None;
            }
            if begun.elapsed() > self.patience() + QUIET {
                let message = format!(
                    "etcd has not ended within {} s after its manifest was taken away",
                    self.patience().as_secs()
                );
                return Err(Failure::new(FailureCode::Etcd, message)
                    .hint("look at the kubelet of the node: journalctl -u kubelet"));
            }
            sleep(POLL).await;
        }
    }

    /// Gives the old data its other name.
    fn set_aside(&self) -> Result<(), Failure> {
        let (member, wal) = self.layout.exchanges();
        set_member_aside(&member)?;
        let Some(wal) = wal else { return Ok(()) };
        let made = wal.new.create_folders();
        made.map_err(|error| storage("make a folder beside the log", &error))?;
        exchange::wal(&wal, Way::Forth)?;
        let removed = wal.new.remove_if_empty();
        removed.map(|_| ()).map_err(|error| storage("remove an empty folder", &error))
    }

    /// The manifest by which etcd joins, made of the one that is held.
    fn joining(&self) -> Result<Vec<u8>, Failure> {
        let (_, held) = hold::places(&self.layout, &self.record.etcd);
        let original = held.read().map_err(|error| storage("read etcd's manifest", &error))?;
        let flag = self.record.initial_cluster.as_deref().unwrap_or_default();
        manifest::joining(&original, flag).map_err(|why| {
            Failure::new(FailureCode::Refused, format!("{} cannot be changed to join a cluster: {why}", held.display()))
        })
    }

    /// Whether the manifest in place is the one by which etcd joins.
    fn is_joining(&self, bytes: &[u8]) -> Result<bool, Failure> {
        let (here, _) = hold::places(&self.layout, &self.record.etcd);
        Ok(hold::exists(&here)? && here.read().map_err(|error| storage("read etcd's manifest", &error))? == bytes)
    }

    fn place_joining(&self) -> Result<(), Failure> {
        let bytes = self.joining()?;
        let (here, held) = hold::places(&self.layout, &self.record.etcd);
        let written = |error: std::io::Error| storage("write the manifest by which etcd joins", &error);
        if !self.is_joining(&bytes)? {
            // Whatever another program has written goes aside.
            hold::take(&self.layout, &self.record.etcd)?;
            launch::write(&here, &held, &bytes).map_err(written)?;
        }
        here.sync_file().and_then(|()| here.sync_name()).map_err(written)
    }

    /// A member that is replaced has often ended again and again before: the kubelet would let it wait, and the API server that uses it, too.
    async fn until_forgotten(&self, component: Option<&Component>) {
        if let Some(component) = component {
            backoff::until_forgotten(component, &self.layout.node().node, FORGETS).await;
        }
    }

    /// Takes the manifest by which etcd joined away again.
    fn withdraw(&self) -> Result<(), Failure> {
        let (here, _) = hold::places(&self.layout, &self.record.etcd);
        if self.is_joining(&self.joining()?)? {
            let withdrawn = here.remove_file().and_then(|_| here.sync_name());
            withdrawn.map_err(|error| storage("remove the manifest by which etcd joined", &error))?;
        }
        hold::take(&self.layout, &self.record.etcd).map(drop)
    }

    /// Starts etcd again as it was: the member is in the cluster still, and its data in place.
    fn undo(&mut self) -> Result<(), Failure> {
        if hold::is_held(&self.layout, &self.record.etcd)? {
            let put = hold::put(&self.layout, &self.record.etcd, Conflict::KeepHeld)?;
            self.record.kept.extend(put.kept.iter().map(|path| path.display().to_string()));
        }
        self.start_api_server()?;
        self.record.phase = ReplacePhase::Undone;
        Ok(())
    }
}

/// Renames the folder `member`. Done before if it is there under its other name alone; there may have been none.
fn set_member_aside(exchange: &Exchange) -> Result<(), Failure> {
    let (live, old) = (exchange.live.join("member"), exchange.old.join("member"));
    let looked = |error: std::io::Error| storage("look at the data", &error);
    if !exchange.live.is_folder().map_err(looked)? {
        // A new disk has no directory yet. Nothing can be kept in it.
        return Ok(());
    }
    let there = (live.is_folder().map_err(looked)?, old.is_folder().map_err(looked)?);
    let renamed = match there {
        (true, false) => live.rename(&old),
        (false, _) => Ok(()),
        (true, true) => {
            let message =
                format!("etcd has written new data to {} although its manifest was taken away", live.display());
            return Err(Failure::new(FailureCode::Refused, message).hint(format!(
                "look what runs etcd on this node; move {} away, then run the same command again",
                live.display()
            )));
        }
    };
    renamed.and_then(|()| exchange.live.sync()).map_err(|error| storage("set the old data aside", &error))?;
    exchange::settled([exchange].into_iter())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use fs_err as fs;

    use super::*;

    const ORIGINAL: &str = include_str!("../../../../tests/data/kubeadm/cp1/manifests/etcd.yaml");

    /// A node with etcd's manifest and data, at a phase.
    fn node(phase: ReplacePhase) -> (tempfile::TempDir, Work) {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        let plan = ReplacePlan {
            id: "20261127-100000-abcde".into(),
            node: "cp1".into(),
            member: "cp1".into(),
            cluster_id: 7,
            peer_urls: vec!["https://10.0.0.1:2380".into()],
            data_dir: path("etcd"),
            manifests_dir: path("kubernetes/manifests"),
            patience: 1,
            build: etcd_build::ID.to_owned(),
            ..ReplacePlan::default()
        };
        fs::create_dir_all(root.path().join("etcd/member/snap")).unwrap();
        fs::write(root.path().join("etcd/member/snap/db"), "old").unwrap();
        fs::create_dir_all(root.path().join("kubernetes/manifests")).unwrap();
        fs::create_dir_all(root.path().join("state")).unwrap();
        fs::write(root.path().join("kubernetes/manifests/etcd.yaml"), ORIGINAL).unwrap();
        let layout = record::layout(&plan, &Place::new(root.path().join("state"))).unwrap();
        let etcd =
            super::super::ground::Component { name: ETCD.into(), file: "etcd.yaml".into(), ..Component::default() };
        let record = Record {
            plan,
            etcd,
            api_server: None,
            listens: Vec::new(),
            phase,
            initial_cluster: Some("cp1=https://10.0.0.1:2380".into()),
            new_member: None,
            failure: None,
            kept: Vec::new(),
        };
        (root, Work { layout, record })
    }

    fn manifest_of(work: &Work) -> PathBuf {
        work.layout.manifests().join("etcd.yaml").path()
    }

    #[test]
    fn the_old_data_gets_another_name_once_and_nothing_is_lost() {
        let (root, work) = node(ReplacePhase::Removed);
        let old = work.layout.aside().join("member/snap/db").path();
        for _ in 0..2 {
            work.set_aside().unwrap();
            assert_eq!(fs::read_to_string(&old).unwrap(), "old");
            assert!(!root.path().join("etcd/member").exists());
        }
        assert_eq!(work.record.told(&work.layout, false).unwrap().old_data, Some(work.layout.aside().display()));
        // Somebody has started etcd in between.
        fs::create_dir_all(root.path().join("etcd/member")).unwrap();
        assert!(work.set_aside().unwrap_err().message.contains("although its manifest was taken away"));
        assert_eq!(fs::read_to_string(&old).unwrap(), "old");
        // A directory that was wiped has nothing to keep.
        let (root, work) = node(ReplacePhase::Removed);
        fs::remove_dir_all(root.path().join("etcd/member")).unwrap();
        work.set_aside().unwrap();
        assert_eq!(work.record.told(&work.layout, false).unwrap().old_data, None);
        // A new disk has no directory at all.
        fs::remove_dir_all(root.path().join("etcd")).unwrap();
        work.set_aside().unwrap();
        assert_eq!(work.record.told(&work.layout, false).unwrap().old_data, None);
    }

    #[test]
    fn a_log_of_its_own_goes_with_the_data() {
        let (root, mut work) = node(ReplacePhase::Removed);
        let wal = root.path().join("wal");
        fs::create_dir_all(&wal).unwrap();
        fs::write(wal.join("0-0.wal"), "old").unwrap();
        work.record.plan.wal_dir = Some(wal.display().to_string());
        work.layout = work.record.layout(work.layout.state()).unwrap();
        for _ in 0..2 {
            work.set_aside().unwrap();
        }
        let (_, exchange) = work.layout.exchanges();
        let exchange = exchange.unwrap();
        assert_eq!(exchange.old.join("0-0.wal").read().unwrap(), b"old");
        assert!(!wal.join("0-0.wal").exists() && !exchange.new.exists().unwrap());
    }

    #[test]
    fn etcd_joins_with_another_manifest_and_gets_its_own_bytes_back() {
        let (_root, mut work) = node(ReplacePhase::SetAside);
        hold::take(&work.layout, &work.record.etcd).unwrap();
        for _ in 0..2 {
            work.place_joining().unwrap();
            let joining = fs::read(manifest_of(&work)).unwrap();
            assert!(work.is_joining(&joining).unwrap() && joining != ORIGINAL.as_bytes());
        }
        // What another program writes goes aside, and is told.
        fs::write(manifest_of(&work), "other").unwrap();
        work.place_joining().unwrap();
        for _ in 0..2 {
            work.withdraw().unwrap();
            assert!(!manifest_of(&work).exists());
        }
        work.undo().unwrap();
        assert_eq!(fs::read_to_string(manifest_of(&work)).unwrap(), ORIGINAL);
        assert_eq!(work.record.kept.len(), 1, "{:?}", work.record.kept);
        assert_eq!(fs::read_to_string(&work.record.kept[0]).unwrap(), "other");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_fails_before_the_member_is_removed_is_undone_and_nothing_is_left() {
        let (root, mut work) = node(ReplacePhase::Begun);
        // No other member is named, so that none has a leader; and nothing runs here.
        work.record.plan.quorum = 1;
        work.record.phase = ReplacePhase::Stopped;
        let server = root.path().join("kubernetes/manifests/kube-apiserver.yaml");
        fs::write(&server, "its own").unwrap();
        let argv = vec!["kube-apiserver".into(), "--etcd-servers=https://127.0.0.1:2379".into()];
        let api_server =
            Component { name: API_SERVER.into(), file: "kube-apiserver.yaml".into(), argv, ..Component::default() };
        work.record.api_server = Some(api_server).filter(Component::has_one_etcd);
        work.stop_api_server().await.unwrap();
        assert!(!server.exists());
        hold::take(&work.layout, &work.record.etcd).unwrap();
        work.record.failure = Some(Failure::new(FailureCode::Refused, "no quorum"));
        work.undo().unwrap();
        work.record.write(&work.layout).unwrap();
        assert_eq!(fs::read_to_string(manifest_of(&work)).unwrap(), ORIGINAL);
        assert_eq!(fs::read_to_string(server).unwrap(), "its own");
        assert_eq!(fs::read_to_string(root.path().join("etcd/member/snap/db")).unwrap(), "old");
        let state = work.layout.state().clone();
        none_unfinished(&state).unwrap();
        assert_eq!(record::of(&state, &work.record.plan.id).unwrap().unwrap(), work.record);
        clear(&state).unwrap();
        assert!(state.names().unwrap().is_empty());
        assert!(!work.layout.held().exists().unwrap());
    }

    #[test]
    fn an_unfinished_one_is_gone_on_with_and_keeps_others_out() {
        let (_root, work) = node(ReplacePhase::Joining);
        let state = work.layout.state().clone();
        work.record.write(&work.layout).unwrap();
        let busy = none_unfinished(&state).unwrap_err();
        assert_eq!((busy.code, busy.hint.as_deref()), (FailureCode::Busy, Some("kubectl etcd member replace cp1")));
        // Another ID, and other members than before.
        let again =
            ReplacePlan { id: "later".into(), others: vec!["https://b".into()], quorum: 2, ..work.record.plan.clone() };
        let found = earlier(&again, &state).unwrap().unwrap();
        assert_eq!(
            (found.plan.id.as_str(), found.phase, found.plan.quorum),
            ("20261127-100000-abcde", ReplacePhase::Joining, 2)
        );
        assert_eq!((&found.plan.others, &found.initial_cluster), (&again.others, &work.record.initial_cluster));
        // Another member, or another cluster, is not meant.
        for other in
            [ReplacePlan { member: "cp2".into(), ..again.clone() }, ReplacePlan { cluster_id: 8, ..again.clone() }]
        {
            assert_eq!(earlier(&other, &state).unwrap_err().code, FailureCode::Busy);
        }
        // A journal that cannot be read is no reason to begin.
        fs::write(work.layout.records().join("replacement").path(), "{").unwrap();
        assert!(earlier(&again, &state).is_err() && none_unfinished(&state).is_err());
    }
}
