//! A node's part in a restore while the plugin still holds its hand: prepared, staged, armed. Until it is armed, the end of the session
//! takes everything back.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use etcd_wire::facts::staging_bytes;
use etcd_wire::message::{Member, StatusRequest};
use etcd_wire::restore::{
    ArmRequest, Control, Decision, Ending, PrepareRequest, Prepared, RestoreKind, StageRequest, Staged, least_revision,
};
use etcd_wire::{Failure, FailureCode};
use rustix::fs::FlockOperation;

use super::ground::Ground;
use super::journal::{Entry, FORMAT, Journal, PROTOCOL, storage};
use super::layout::Layout;
use super::process::{self, Lock};
use super::{arm, bare, control, network, quorum_lost, records, replace, stage};
use crate::node::{Place, left_over};
use crate::serve::{Client, Stop};
use crate::status;

/// How long a restore that is over may take to be gone.
const PARTING: Duration = Duration::from_secs(10);
/// How long the coordinator may take until all nodes have passed their preflight.
const BEGIN: Duration = Duration::from_secs(75);
/// How long a participant on this node may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How often it is looked whether all nodes have passed their preflight.
const LOOK: Duration = Duration::from_millis(100);

/// A node that has been prepared.
pub(crate) struct Enlisted {
    layout: Layout,
    ground: Ground,
    /// Until the participant takes it.
    journal: Option<Journal>,
    snapshot_bytes: u64,
    /// Keeps other restores out. The journal does so once the node is armed.
    _lock: File,
    staged: bool,
    armed: bool,
    /// Whether the participant has answered. One that has not was not told to begin.
    answered: bool,
    begun: bool,
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        if !self.armed
            && let Err(failure) = records::discard(&self.layout)
        {
            tracing::warn!(causes = ?failure.causes, "{failure}");
        }
    }
}

impl Enlisted {
    /// Checks that the node can take part, and keeps others out.
    ///
    /// # Errors
    /// [`FailureCode::Busy`] if another restore is under way or unfinished; anything that speaks against it. Nothing is left then.
    pub(crate) async fn prepare(request: PrepareRequest) -> Result<(Enlisted, Prepared), Failure> {
        let layout = Layout::new(request.plan, &request.node)?;
        layout.require_own_build()?;
        let lock = exclusive(layout.state())?;
        let begun = Instant::now();
        while let Err(failure) = clear(&layout) {
            // One that has just ended may still be saying so to the others.
            if failure.code != FailureCode::Busy || begun.elapsed() > PARTING {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        while let Err(failure) = network::bind(&layout).await {
            // That of one which has just left may still be ending.
            if begun.elapsed() > 2 * PARTING {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let ground = Ground::survey(&layout).await?;
        // Without a quorum etcd need not answer: the files of the member were asked.
        if layout.serves() && layout.plan().quorum_lost.is_none() {
            nobody_goes_on(&layout).await?;
        }
        // What a killed recover has left there holds every Secret, and takes the room that this needs.
        let removed = match layout.serves() {
            true => left_over::sweep(&layout.data_dir()),
            false => Vec::new(),
        };
        let free_bytes = match layout.serves() {
            true => look(&layout, &ground, bytes_to_build(&layout, request.snapshot_bytes)?)?,
            // Its disk may be why it is left out; without etcd there is nothing to build.
            false => layout.roots().first().and_then(|data_dir| free(data_dir).ok()).unwrap_or(0),
        };
        let mut journal = Journal::create(&layout.journal())?;
        let begun = Entry::Transaction {
            format: FORMAT,
            protocol: PROTOCOL,
            plan: Box::new(layout.plan().clone()),
            node: layout.node().node.clone(),
            ground: Box::new(ground.clone()),
        };
        if let Err(failure) = journal.append(begun).and_then(|_| bare::make(&layout, &ground.missing)) {
            records::discard(&layout)?;
            return Err(failure);
        }
        let revision = ground.before.revision;
        let aside = if layout.node().has_etcd() { layout.aside().display() } else { String::new() };
        let prepared = Prepared { free_bytes, aside, revision, removed };
        let snapshot_bytes = request.snapshot_bytes;
        let (staged, armed, answered, begun, journal) = (false, false, false, false, Some(journal));
        Ok((
            Enlisted { layout, ground, journal, snapshot_bytes, _lock: lock, staged, armed, answered, begun },
            prepared,
        ))
    }

    /// Puts the new data beside the old.
    pub(crate) async fn stage(&mut self, request: StageRequest, client: &mut Client) -> Result<Staged, Stop> {
        if self.staged || !self.layout.serves() {
            let message = "a node stages once, and only if the new cluster has a member on it";
            return Err(Failure::new(FailureCode::BadRequest, message).into());
        }
        let staged = match &self.layout.plan().kind {
            RestoreKind::Snapshot { bump, token, skip_hash_check, .. } => {
                let how = stage::How {
                    bump: request.bump.max(*bump),
                    token: token.clone(),
                    skip_hash_check: *skip_hash_check,
                };
                stage::snapshot(&self.layout, how, self.snapshot_bytes, client).await?
            }
            RestoreKind::Aside { of, raise: false, .. } => stage::aside(&self.layout, of)?,
            RestoreKind::Aside { of, token, .. } => {
                let raise_to = request.raise_to;
                not_lower(&self.layout.plan().kind, self.ground.before.revision, raise_to)?;
                stage::raised(&self.layout, of, token.clone(), raise_to, client).await?
            }
        };
        not_lower(&self.layout.plan().kind, self.ground.before.revision, staged.revision)?;
        self.append(Entry::Staged { staged: staged.clone() })?;
        self.staged = true;
        Ok(staged)
    }

    fn append(&mut self, entry: Entry) -> Result<(), Failure> {
        let gone = || Failure::new(FailureCode::BadRequest, "the node is armed already");
        self.journal.as_mut().ok_or_else(gone)?.append(entry).map(|_| ())
    }

    /// Starts the participant.
    pub(crate) async fn arm(&mut self, request: ArmRequest) -> Result<(), Failure> {
        if self.staged != self.layout.serves() || self.armed {
            return Err(Failure::new(FailureCode::BadRequest, "a node is armed once, after it has staged"));
        }
        network::check(&request.identity)?;
        if let Some(staged) = request.staged.clone().filter(|_| !self.layout.serves()) {
            self.append(Entry::Staged { staged })?;
        }
        self.append(Entry::Authority { authority: request.identity.ca.clone() })?;
        self.append(Entry::Protocol(etcd_transaction::Entry::Armed))?;
        // From now on the journal is the participant's. Whoever cuts this off leaves it to the participant to end.
        self.journal = None;
        self.armed = true;
        let outcome = match arm::place(&self.layout, &self.ground, &request) {
            Ok(()) => arm::started(&self.layout).await,
            Err(failure) => Err(failure),
        };
        self.answered = outcome.is_ok();
        if outcome.is_err() {
            arm::leave(&self.layout)?;
            self.armed = false;
        }
        outcome
    }

    /// Tells the coordinator, which is this node, to begin, and waits until all nodes have passed their preflight.
    ///
    /// # Errors
    /// The node is not armed; a node does not pass, and all give up the restore.
    pub(crate) async fn commit(&mut self) -> Result<(), Failure> {
        if !self.armed {
            return Err(Failure::new(FailureCode::BadRequest, "the node is not armed"));
        }
        if !self.layout.is_coordinator() {
            return Err(Failure::new(FailureCode::BadRequest, "another node is this restore's coordinator"));
        }
        let order = etcd_transaction::Operator::Begin;
        let mut state = control::tell(&self.layout, Control::Operator { order }, ANSWER).await?;
        let begun = Instant::now();
        loop {
            if state.live.passed_preflight {
                self.begun = true;
                return Ok(());
            }
            if state.decision == Some(Decision::Abort) {
                return Err(records::reason(&self.layout)?);
            }
            if begun.elapsed() > BEGIN {
                let late = format!("not all nodes have passed their preflight within {}s", BEGIN.as_secs());
                return Err(Failure::new(FailureCode::Unreachable, late));
            }
            tokio::time::sleep(LOOK).await;
            state = control::tell(&self.layout, Control::Look, ANSWER).await?;
        }
    }

    /// The session is over. A participant that has not begun anything is dismissed; one that has goes on.
    pub(crate) async fn close(self) {
        if !self.armed || self.begun {
            return;
        }
        let order = etcd_transaction::Operator::Dismiss;
        if let Err(failure) = control::tell(&self.layout, Control::Operator { order }, ANSWER).await {
            tracing::info!("the participant cannot be dismissed: {failure}");
            // One that refuses has begun, and goes on.
            if !self.answered
                && failure.code != FailureCode::Refused
                && let Err(worse) = arm::leave(&self.layout)
            {
                tracing::warn!(causes = ?worse.causes, "{worse}");
            }
        }
    }
}

/// Members of the cluster as it is that nobody stops must not go on as that cluster beside the new one. After a restore the cluster is of the
/// nodes that it served on: what is more in it has joined since, and belongs to no way back.
pub(super) async fn nobody_goes_on(layout: &Layout) -> Result<(), Failure> {
    let plan = layout.plan();
    let request = StatusRequest { etcd: layout.node().etcd.clone(), ..StatusRequest::default() };
    let members = status::run(request).await.etcd.map(|etcd| etcd.members).unwrap_or_default();
    let voters: Vec<_> = members.iter().filter(|member| !member.learner).collect();
    if voters.is_empty() {
        return Err(Failure::new(FailureCode::Refused, "etcd does not list its members"));
    }
    let stops = |name: &str| plan.nodes.iter().any(|node| node.has_etcd() && node.member == name);
    // One that has not started yet has only its ID.
    let name = |member: &Member| if member.name.is_empty() { format!("{:x}", member.id) } else { member.name.clone() };
    let stay: Vec<String> = voters.iter().filter(|member| !stops(&member.name)).map(|member| name(member)).collect();
    let allowed = match plan.kind {
        RestoreKind::Snapshot { .. } => voters.len() / 2,
        RestoreKind::Aside { .. } => 0,
    };
    if stay.len() <= allowed {
        return Ok(());
    }
    let message =
        format!("members would keep running beside the new cluster, because nothing stops them: {}", stay.join(", "));
    Err(Failure::new(FailureCode::Refused, message).hint("remove them from the etcd cluster first"))
}

/// Clients that watch must be told to read everything anew, unless the order says that they need not.
pub(super) fn not_lower(kind: &RestoreKind, highest: i64, begins: i64) -> Result<(), Failure> {
    let least = least_revision(highest);
    if begins >= least || kind.may_lower_revisions() {
        return Ok(());
    }
    let message = format!("the new data begins at revision {begins}, and this member has served revision {highest}");
    Err(Failure::new(FailureCode::Refused, message)
        .cause(format!("existing watches start again only if the new data begins at revision {least} or above"))
        .hint("use --bump-revision auto, or pass a higher number"))
}

/// Keeps out whoever else prepares this node.
pub(super) fn exclusive(state: &Place) -> Result<File, Failure> {
    let opened = || -> std::io::Result<File> {
        if !state.exists()? {
            state.create_folder()?;
        }
        state.open()
    };
    let folder = opened().map_err(|error| storage("open the folder of journals", &error))?;
    match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(folder),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(busy("another restore is being prepared on this node, or its member is being replaced".to_owned()))
        }
        Err(error) => Err(storage("lock the folder of journals", &error)),
    }
}

fn busy(what: String) -> Failure {
    Failure::new(FailureCode::Busy, what).hint("kubectl etcd restore --status")
}

/// Refuses if a restore is unfinished; takes away what one has left that was killed before it was armed.
fn clear(layout: &Layout) -> Result<(), Failure> {
    replace::none_unfinished(layout.state())?;
    for (other, state) in records::known(layout.state())? {
        match (state.armed, state.ended()) {
            // Its participant is about to become that of a rollback, which has a journal of its own.
            (_, Some(_)) if state.recorded.handed_over() => {}
            // It lingers to answer questions, and has nothing left to do.
            (_, Some(_)) if !(state.waits_for_others() || state.is_awaited() && arm::is_placed(&other)?) => {
                arm::leave(&other)?;
                if state.ended() == Some(Ending::GivenUp) {
                    records::discard_data(&other)?;
                }
            }
            (_, Some(_)) => {
                let id = &other.plan().id;
                let message = format!("restore {id} has ended on this node, and not yet on all others");
                return Err(Failure::new(FailureCode::Busy, message)
                    .hint(format!("kubectl etcd restore --status, or: kubectl etcd restore --forget {id}")));
            }
            (true, None) if state.format < FORMAT => {
                let id = &other.plan().id;
                let message =
                    format!("restore {id} was begun by version 0.1 and is unfinished; finish it with that version");
                return Err(Failure::new(FailureCode::Busy, message));
            }
            // Killed between its journal and its manifest: nothing of it runs, or ever will.
            (true, None) if state.untouched() && !arm::is_placed(&other)? => records::discard(&other)?,
            (true, None) => {
                // One that was never started gives up by itself.
                arm::see_started(&other)?;
                return Err(busy(format!("restore {} is unfinished on this node", other.plan().id)));
            }
            (false, None) => records::discard(&other)?,
        }
    }
    Ok(())
}

/// Bytes of what the new data is built from.
pub(super) fn bytes_to_build(layout: &Layout, snapshot_bytes: u64) -> Result<u64, Failure> {
    match &layout.plan().kind {
        RestoreKind::Aside { of, raise: true, .. } => {
            let database = layout.set_aside(of).open_file().and_then(|file| file.metadata());
            Ok(database.map_err(|error| storage("find the old data", &error))?.len())
        }
        RestoreKind::Snapshot { .. } | RestoreKind::Aside { .. } => Ok(snapshot_bytes),
    }
}

/// Bytes that are free where a folder is.
pub(super) fn free(folder: &Place) -> Result<u64, Failure> {
    let open = folder.open().map_err(|error| storage("find the free space", &error))?;
    let space = rustix::fs::fstatvfs(open).map_err(|error| storage("find the free space", &error))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Looks at the member's directory; says how many bytes are free there.
fn look(layout: &Layout, ground: &Ground, snapshot_bytes: u64) -> Result<u64, Failure> {
    let refused = |what: String| Failure::new(FailureCode::Refused, what);
    let data_dir = layout.data_dir();
    let member = data_dir.join("member");
    let looked = |error: std::io::Error| storage("look at the member's directory", &error);
    let device = |place: &Place| place.open()?.metadata().map(|metadata| metadata.dev());
    let is_there = !ground.missing.contains(&member.display());
    if is_there && device(&member).map_err(looked)? != device(&data_dir).map_err(looked)? {
        return Err(refused(format!("{} is a mount point of its own, which cannot be renamed", member.display())));
    }
    if layout.plan().quorum_lost.is_some() {
        quorum_lost::used_by_own(layout, ground)?;
    } else if !matches!(process::lock(&data_dir).map_err(looked)?, Lock::Held) {
        return Err(refused(format!("no etcd has locked the database in {}", data_dir.display())));
    }
    for folder in layout.folders() {
        if folder.exists().map_err(looked)? {
            return Err(busy(format!("{} is already there", folder.display())));
        }
    }
    room(&bare::nearest(layout, &ground.missing), snapshot_bytes)
}

/// The bytes that are free where the data is, if they are enough to build new data.
pub(super) fn room(data_dir: &Place, snapshot_bytes: u64) -> Result<u64, Failure> {
    let free = free(data_dir)?;
    // As the plan told it.
    let needed = staging_bytes(snapshot_bytes);
    if free < needed {
        let message = format!(
            "too little room in {}: it needs {} MB, and {} MB are free",
            data_dir.display(),
            needed / 1_000_000,
            free / 1_000_000
        );
        return Err(Failure::new(FailureCode::Refused, message));
    }
    Ok(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_go_down_only_if_the_order_says_so() {
        let snapshot = |allow_lower_revisions| RestoreKind::Snapshot {
            bump: 0,
            token: String::new(),
            skip_hash_check: false,
            allow_lower_revisions,
        };
        let aside = |raise| RestoreKind::Aside { of: "a".into(), raise, token: String::new() };
        // A client that has seen 10 watches from 11 on, and 11 must be below what is compacted.
        for (begins, taken) in [(9, false), (10, false), (11, false), (12, true)] {
            for kind in [snapshot(false), aside(true)] {
                assert_eq!(not_lower(&kind, 10, begins).is_ok(), taken, "{begins}");
            }
            for kind in [snapshot(true), aside(false)] {
                assert!(not_lower(&kind, 10, begins).is_ok(), "{begins}");
            }
        }
        let failure = not_lower(&snapshot(false), i64::MAX, i64::MAX - 1).unwrap_err();
        assert_eq!(failure.code, FailureCode::Refused);
    }
}
