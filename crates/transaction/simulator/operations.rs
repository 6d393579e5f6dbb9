//! Steps, as lists of small operations: a process can be killed between any two of them.

use etcd_transaction::{Entry, Fact, Input, Node, NodeSet, Outcome, Run, RunId, Step, timers};

use super::checker::Invariant;
use super::choices::{Draw, Kind};
use super::disk::{Bytes, Data, Lines, Part, Place};
use super::planted::Planted;
use super::world::{BEGINS, Event, Special, World};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Looks, and changes nothing.
    Look,
    /// A manifest is moved aside.
    Hold(Part),
    /// A manifest is put back.
    Put(Part),
    /// Names of manifests are kept.
    SyncManifests,
    /// Data is moved, while etcd does not run.
    Move(Place, Place),
    /// Names of data are kept.
    SyncData,
    /// New data that never ran is removed.
    Delete(Place),
    /// A process is ended; its kubelet starts it again.
    Restart(Part),
    /// Waits.
    Await(Condition),
    /// Looks whether clients wrote to the new data.
    LookAbove,
    /// Builds what the way back needs, beside the data.
    Build,
    /// Looks that the API server is not ready.
    LookUnready,
    /// Writes the journal of the way back, unless that look is too long ago.
    Arm,
    /// That journal is kept.
    SyncArmed,
    /// Removes what was built for a way back that is not taken.
    Discard,
    /// Looks whether that journal is whole.
    LookArmed,
    /// Raises the revision of the old cluster above all that was seen.
    Raise,
}

/// What a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// A component does not run.
    Stopped(Part),
    /// A component runs.
    Running(Part),
    /// etcd serves.
    Serves,
    /// etcd serves, with all members.
    AllServe,
    /// The API server serves.
    ApiServes,
}

/// A step that is being done.
#[derive(Debug, Clone)]
pub struct Job {
    /// Names it.
    pub id: u32,
    /// How the participant names it.
    pub run: RunId,
    /// Which step.
    pub step: Step,
    operations: Vec<Operation>,
    next: usize,
    cancelled: bool,
    /// The operation hangs in the kernel, and takes effect when that is over, whatever becomes of the process.
    pub hangs: bool,
    waits: bool,
    blocked: bool,
    /// A name was moved, and its folders are not synced.
    moved: bool,
    since: u64,
    /// When the API server was seen not to be ready.
    looked: u64,
}

fn operations(turn: usize, left_out: bool, has_etcd: bool, run: Run, live: Option<Data>) -> Vec<Operation> {
    let step = run.step();
    use Condition::{AllServe, ApiServes, Running, Serves, Stopped};
    use Operation::{
        Arm, Await, Build, Delete, Discard, Hold, Look, LookAbove, LookArmed, LookUnready, Move, Put, Raise, Restart,
        SyncArmed, SyncData, SyncManifests,
    };
    use Part::{Api, Controllers, Etcd};
    let all_stopped = [
        Hold(Controllers),
        Hold(Api),
        Hold(Etcd),
        SyncManifests,
        Await(Stopped(Controllers)),
        Await(Stopped(Api)),
        Await(Stopped(Etcd)),
    ];
    match step {
        Step::Preflight => vec![Look],
        Step::StopApi => {
            vec![Hold(Controllers), Hold(Api), SyncManifests, Await(Stopped(Controllers)), Await(Stopped(Api))]
        }
        Step::StopEtcd if !has_etcd => vec![Await(Stopped(Controllers))],
        Step::StopEtcd => vec![Hold(Etcd), SyncManifests, Await(Stopped(Etcd))],
        Step::Swap => vec![Move(Place::Live, Place::aside(turn)), SyncData, Move(Place::Staged, Place::Live), SyncData],
        Step::LaunchEtcd => vec![Put(Etcd), SyncManifests, Await(Running(Etcd))],
        Step::StartEtcd => vec![Await(AllServe)],
        Step::StartApi => vec![Put(Api), SyncManifests, Await(ApiServes)],
        Step::Finish if left_out => all_stopped.to_vec(),
        Step::Finish => {
            vec![Put(Controllers), SyncManifests, Await(Running(Controllers)), Discard]
        }
        Step::Recheck => vec![Restart(Etcd), Await(Serves)],
        Step::Restage => vec![LookUnready, Build, SyncData],
        Step::HandOver if run.is_resumed() => vec![LookArmed],
        Step::HandOver => {
            vec![LookUnready, Hold(Api), SyncManifests, Restart(Api), Await(Stopped(Api)), Arm, SyncArmed]
        }
        // What runs on the old data stays.
        Step::UndoStop if live == Some(Data::old(turn)) => vec![],
        Step::UndoStop => [&all_stopped[..], &[LookAbove]].concat(),
        Step::UndoSwap if left_out => vec![],
        Step::UndoSwap => {
            let mut list = vec![];
            if live == Some(Data::new(turn)) {
                list.push(Move(Place::Live, if run.keeps_new_data() { Place::kept(turn) } else { Place::Staged }));
                list.push(SyncData);
            }
            list.extend([Move(Place::aside(turn), Place::Live), SyncData]);
            // A name that was not kept may be the only witness that etcd ran on the new data.
            list.push(if run.keeps_new_data() {
                Move(Place::Staged, Place::kept(turn))
            } else {
                Delete(Place::Staged)
            });
            list.push(SyncData);
            list
        }
        Step::UndoStart => {
            let mut list = vec![];
            if has_etcd {
                list.extend([Put(Etcd), SyncManifests, Await(Running(Etcd))]);
            }
            if has_etcd && run.raises_revision() {
                list.extend([Await(Serves), Raise]);
            }
            list.extend([Put(Api), Put(Controllers), SyncManifests, Await(Running(Api)), Await(Running(Controllers))]);
            list
        }
    }
}

impl Job {
    /// Whether it gives an API server its manifest, which it does also if it was cancelled.
    fn starts_api(&self) -> bool {
        self.step == Step::StartApi && !matches!(self.operations.get(self.next), Some(Operation::Await(_)))
    }

    /// How it returns once it was cancelled.
    fn outcome_of_cancelled(&self) -> Outcome {
        if self.step == Step::StartApi && !self.starts_api() { Outcome::Unready } else { Outcome::Cancelled }
    }

    /// Whether what is done is the last of what arms a node, which counts also if it was cancelled.
    fn is_armed(&self, done: &Done) -> bool {
        self.step == Step::HandOver && matches!(done, Done::Yes) && self.next + 1 == self.operations.len()
    }
}

/// Whether an operation is done.
pub enum Done {
    /// It is.
    Yes,
    /// Not yet.
    Wait,
    /// It failed.
    No,
}

impl World {
    /// A step begins.
    pub fn run_step(&mut self, node: usize, run: Run) {
        let busy = self.hosts[node].job.is_some();
        let now = self.now;
        let plan = std::sync::Arc::clone(&self.plan);
        if self.hosts[node].turn == 1 && run.step() == Step::StopEtcd {
            let ready = self.nodes(|host| host.was_ready);
            if !ready.is_empty() {
                self.fail(Invariant::NeverReady, format!("n{node} goes back by itself; ready were {ready:?}"));
            }
        }
        self.checker(node).runs(now, Node(node as u8), &plan, run, busy);
        self.marks.run(run.step());
        if let Some(process) = self.hosts[node].process.as_mut().filter(|_| run.step() == Step::StartApi) {
            process.watches |= !run.is_resumed();
        }
        let left_out = plan.is_left_out(Node(node as u8));
        let has_etcd = !plan.is_without_etcd(Node(node as u8));
        let live = self.hosts[node].data.seen().at(Place::Live);
        self.next_job += 1;
        let id = self.next_job;
        self.hosts[node].job = Some(Job {
            id,
            run: run.id(),
            step: run.step(),
            operations: operations(self.hosts[node].turn, left_out, has_etcd, run, live),
            next: 0,
            cancelled: false,
            hangs: false,
            waits: false,
            blocked: false,
            moved: false,
            since: now,
            looked: 0,
        });
        self.plan_operation(node, id);
    }

    /// The next operation begins; it is done when its event comes.
    fn plan_operation(&mut self, node: usize, job: u32) {
        let value = self.choices.pick(Kind::Operation, node, 0);
        self.marks.fault(Kind::Operation, value);
        let time = self.choices.draw(Draw::Operation, node, 1, 60);
        let hang = match value {
            2 => Some(self.choices.draw(Draw::Fault, node, 1_000, 60_000)),
            3 => Some(self.choices.draw(Draw::Fault, node, 60_000, 300_000)),
            _ => self.special_hang(node),
        };
        let Some(current) = &mut self.hosts[node].job else { return };
        let arms = matches!(current.operations.get(current.next), Some(Operation::Arm | Operation::SyncArmed));
        match value {
            // Nobody knows what the disk has: the process ends, and the next one looks.
            1 if arms => return self.kill(node),
            4 if arms => {
                self.apply(node);
                return self.kill(node);
            }
            1 if self.planted == Some(Planted::ErrorTakenForAbsent)
                && matches!(current.operations.get(current.next), Some(Operation::Move(..))) =>
            {
                current.next += 1;
            }
            1 => return self.returns(node, Outcome::Failed),
            4 => {
                self.note(node, 10 << 40, || "! an operation is done and fails".into());
                self.apply(node);
                return self.returns(node, Outcome::Failed);
            }
            _ => {}
        }
        let mut time = time;
        if let Some(hang) = hang {
            time += hang;
            current.hangs = true;
            current.blocked = false;
            current.since = self.now;
            self.hangs(node, time);
            let incarnation = self.hosts[node].incarnation;
            self.push(1_000, Event::Blocked { node, incarnation, job });
        }
        self.push(time, Event::Operation { node, job });
    }

    /// Something on a node hangs in the kernel for some time.
    pub fn hangs(&mut self, node: usize, time: u64) {
        self.note(node, 11 << 40 | time, || format!("! hangs for {time} ms"));
        let now = self.now;
        let host = &mut self.hosts[node];
        host.stuck_until = host.stuck_until.max(now + time);
        if self.special == Special::OneHang {
            let coordinator = self.plan.coordinator().index() == node;
            let bound = if coordinator { 47_000 } else { 34_000 };
            self.push(bound, Event::Overdue { node, since: now, coordinator });
        }
    }

    /// The one hang of a seed that has nothing else.
    pub fn special_hang(&mut self, node: usize) -> Option<u64> {
        let which = self.special_at as usize % self.hosts.len();
        if self.special != Special::OneHang || self.now < self.special_at || node != which {
            return None;
        }
        self.special_at = u64::MAX;
        self.marks.add(super::marks::Mark::OneHang);
        Some(self.choices.draw(Draw::Fault, node, 5_000, 250_000))
    }

    /// A file operation takes long, and the driver says so.
    pub fn blocked(&mut self, node: usize, incarnation: u32, job: u32) {
        let now = self.now;
        let host = &mut self.hosts[node];
        let Some(current) = host.job.as_mut().filter(|current| current.id == job && current.hangs) else { return };
        let ago = now - current.since;
        current.blocked = true;
        if host.process.is_some() && host.incarnation == incarnation && self.planted != Some(Planted::HangNotTold) {
            self.tell_blocked(node, ago);
        }
    }

    /// An operation's time has come.
    pub fn operation(&mut self, node: usize, job: u32) {
        let host = &mut self.hosts[node];
        let Some(current) = host.job.as_mut().filter(|current| current.id == job) else { return };
        let hung = std::mem::take(&mut current.hangs);
        let (blocked, cancelled) = (std::mem::take(&mut current.blocked), current.cancelled);
        let orphan = host.process.is_none();
        if !hung && cancelled && !current.starts_api() {
            let outcome = current.outcome_of_cancelled();
            return self.returns(node, outcome);
        }
        if !orphan && self.dies(node, 1) {
            return;
        }
        if !orphan && self.hosts[node].job.as_ref().is_some_and(|job| job.step == Step::HandOver) {
            if self.dies(node, 20) {
                return;
            }
            let value = self.choices.pick_more(Kind::Pause, node, 1, 20);
            if value > 0 {
                self.pause(node, 1_000, 30_000);
            }
        }
        let done = self.apply(node);
        if self.has_failed() {
            return;
        }
        if orphan {
            self.hosts[node].job = None;
            return;
        }
        if blocked {
            self.step(node, Input::Observed(Fact::Unblocked));
        }
        let Some(current) = self.hosts[node].job.as_mut().filter(|current| current.id == job) else { return };
        match done {
            Done::Wait | Done::No if current.cancelled => {
                let outcome = current.outcome_of_cancelled();
                self.returns(node, outcome);
            }
            Done::Yes if current.cancelled && !current.starts_api() && !current.is_armed(&done) => {
                let outcome = current.outcome_of_cancelled();
                self.returns(node, outcome);
            }
            Done::No => self.returns(node, Outcome::Failed),
            Done::Wait => current.waits = true,
            Done::Yes => {
                current.next += 1;
                if current.next < current.operations.len() {
                    self.plan_operation(node, job);
                } else {
                    self.returns(node, Outcome::Proved);
                }
            }
        }
    }

    /// The step returns.
    fn returns(&mut self, node: usize, outcome: Outcome) {
        if let Some(job) = self.hosts[node].job.take() {
            if job.step.is_turn() && outcome != Outcome::Proved {
                self.discard(node);
            }
            if outcome == Outcome::Proved {
                let live = self.hosts[node].data.seen().at(Place::Live);
                let new = Data::new(self.hosts[node].turn);
                let serves = self.members_up(node, new) == self.plan.serving();
                self.checker(node).proved(Node(node as u8), job.step, live == Some(new) && serves);
            }
            self.returned(node, job.run, outcome);
        }
    }

    /// A step is to be ended.
    pub fn cancel(&mut self, node: usize, run: RunId) {
        let Some(job) = self.hosts[node].job.as_mut().filter(|job| job.run == run) else { return };
        job.cancelled = true;
        if job.waits {
            let id = job.id;
            self.push(1, Event::Operation { node, job: id });
        }
    }

    /// Steps that wait look again.
    pub fn look_again(&mut self) {
        for node in 0..self.hosts.len() {
            if let Some(job) = self.hosts[node].job.as_ref().filter(|job| job.waits)
                && let Some(Operation::Await(condition)) = job.operations.get(job.next)
                && self.holds(node, *condition)
                && let Some(job) = &mut self.hosts[node].job
            {
                job.waits = false;
                let id = job.id;
                self.push(100, Event::Operation { node, job: id });
            }
        }
    }

    fn holds(&self, node: usize, condition: Condition) -> bool {
        let host = &self.hosts[node];
        match condition {
            Condition::Running(part) => host.runs(part),
            Condition::Stopped(part) => !host.runs(part),
            Condition::Serves => host.etcd.is_some_and(|data| self.serves(node, data)),
            Condition::AllServe => self.members_up(node, Data::new(host.turn)) == self.plan.serving(),
            Condition::ApiServes => self.is_ready(node),
        }
    }

    /// The current operation is done.
    pub fn apply(&mut self, node: usize) -> Done {
        let Some(job) = &self.hosts[node].job else { return Done::No };
        let Some(&operation) = job.operations.get(job.next) else { return Done::Yes };
        let step = job.step;
        self.note(node, 12 << 40 | (step as u64) << 8 | job.next as u64, || format!("    {step:?}: {operation:?}"));
        match operation {
            Operation::Look => {}
            Operation::Await(condition) => {
                if !self.holds(node, condition) {
                    return Done::Wait;
                }
            }
            Operation::Hold(part) => return self.hold(node, part),
            Operation::Put(part) => return self.put(node, part),
            Operation::SyncManifests | Operation::SyncData => {
                let planted = self.planted == Some(Planted::DoneWithoutSync);
                let host = &mut self.hosts[node];
                let moved = host.job.as_mut().is_some_and(|job| std::mem::take(&mut job.moved));
                if moved || !planted {
                    match operation {
                        Operation::SyncData => host.data.sync(),
                        _ => host.manifests.sync(),
                    }
                }
            }
            Operation::Move(from, to) => return self.move_data(node, from, to),
            Operation::Delete(place) => self.delete(node, place),
            Operation::Restart(part) => {
                self.end(node, part);
                self.ask_kubelet(node);
            }
            Operation::LookAbove => {
                let new = Data::new(self.hosts[node].turn) as usize;
                let above = self.revisions[new] > BEGINS[new];
                if above && self.checker(node).took_writes(Node(node as u8)) {
                    self.step(node, Input::Observed(Fact::ServedAbove));
                }
            }
            Operation::Raise => {
                let turn = self.hosts[node].turn;
                let (old, new) = (Data::old(turn) as usize, Data::new(turn) as usize);
                self.revisions[old] = self.revisions[old].max(self.revisions[new] + 1);
            }
            Operation::Build => {
                let host = &mut self.hosts[node];
                let mut names = host.data.seen();
                names.0[Place::Staged as usize] = Some(Data::Raised);
                host.data.set(names);
                let digest = host.digest;
                self.check_data(node);
                self.step(node, Input::Observed(Fact::Restaged { digest }));
            }
            Operation::LookUnready => {
                let ready = !self.was_unready(node);
                let now = self.now;
                match &mut self.hosts[node].job {
                    Some(job) if !ready => job.looked = now,
                    _ => return Done::No,
                }
            }
            Operation::Arm => {
                let now = self.now;
                let host = &mut self.hosts[node];
                let late = host.job.as_ref().is_none_or(|job| now - job.looked > timers::SURE.0);
                if late && self.planted != Some(Planted::OldLookBelieved) || !self.was_unready(node) {
                    return Done::No;
                }
                let host = &mut self.hosts[node];
                // As if it had been at that step already: the API server is stopped.
                host.next.append(Entry::Step { step: Step::StopApi, done: false });
                host.next.append(Entry::Armed);
            }
            Operation::SyncArmed => {
                if self.planted != Some(Planted::ArmedWithoutSync) {
                    self.sync_next(node);
                }
            }
            Operation::Discard => {
                if self.hosts[node].turn == 0 {
                    self.discard(node);
                }
            }
            Operation::LookArmed => {
                self.sync_next(node);
                if !self.hosts[node].next.kept().contains(&Entry::Armed) {
                    return Done::No;
                }
            }
        }
        Done::Yes
    }

    /// Whether the API server was looked at all the time, and was never ready.
    fn was_unready(&self, node: usize) -> bool {
        let Some(process) = &self.hosts[node].process else { return false };
        let ready = process.saw_ready || self.is_ready(node);
        (!ready || self.planted == Some(Planted::ReadinessNotLookedAt))
            && process.watches
            && (!process.unsure || self.planted == Some(Planted::OldLookBelieved))
    }

    /// A node that is not armed for the way back has nothing of it.
    fn discard(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.next = Lines::default();
        let mut names = host.data.seen();
        if names.at(Place::Staged) == Some(Data::Raised) {
            names.0[Place::Staged as usize] = None;
            host.data.set(names);
            host.data.sync();
        }
    }

    fn hold(&mut self, node: usize, part: Part) -> Done {
        let mut names = self.hosts[node].manifests.seen();
        let place = part as usize;
        match (names.there[place], names.held[place]) {
            (Some(_), false) => names.held[place] = true,
            (Some(_), true) => names.moved[place] = true,
            (None, true) => return Done::Yes,
            (None, false) => return Done::No,
        }
        names.there[place] = None;
        self.set_manifests(node, names);
        Done::Yes
    }

    fn put(&mut self, node: usize, part: Part) -> Done {
        let mut names = self.hosts[node].manifests.seen();
        let place = part as usize;
        if names.there[place].is_some() && names.held[place] && self.planted == Some(Planted::ManifestMovedOver) {
            self.fail(Invariant::NothingLost, "a manifest was moved over another one");
        }
        match (names.there[place], names.held[place]) {
            // Whoever put a manifest there meanwhile meant it.
            (Some(_), _) => {}
            (None, true) => {}
            (None, false) => return Done::No,
        }
        if names.there[place] == Some(Bytes::Own) {
            return Done::Yes;
        }
        names.there[place] = Some(Bytes::Own);
        names.held[place] = false;
        self.set_manifests(node, names);
        if part == Part::Api {
            self.hosts[node].intruder = false;
            self.components_changed();
        }
        Done::Yes
    }

    fn set_manifests(&mut self, node: usize, names: super::disk::Manifests) {
        let host = &mut self.hosts[node];
        host.manifests.set(names);
        if let Some(job) = &mut host.job {
            job.moved = true;
        }
        self.ask_kubelet(node);
    }

    fn move_data(&mut self, node: usize, from: Place, to: Place) -> Done {
        let host = &mut self.hosts[node];
        let mut names = host.data.seen();
        let absent = self.planted == Some(Planted::ErrorTakenForAbsent);
        match (names.at(from), names.at(to)) {
            (Some(_), None) => {}
            // It was done before.
            (None, Some(_)) => return Done::Yes,
            // Going back, what never was moved stays.
            (None, None) if from == Place::Staged => return Done::Yes,
            (Some(_), Some(_)) if absent => {}
            _ => return Done::No,
        }
        // A member that runs holds the lock of its data.
        if host.etcd.is_some() && (from == Place::Live || to == Place::Live) {
            return Done::No;
        }
        names.0[to as usize] = names.at(from);
        names.0[from as usize] = None;
        host.data.set(names);
        if let Some(job) = &mut host.job {
            job.moved = true;
        }
        self.check_data(node);
        Done::Yes
    }

    fn delete(&mut self, node: usize, place: Place) {
        let names = self.hosts[node].data.seen();
        if let Some(data) = names.at(place) {
            let mut now = names;
            now.0[place as usize] = None;
            self.hosts[node].data.set(now);
            self.hosts[node].data.sync();
            let time = self.now;
            self.checker(node).deletes(time, Node(node as u8), data);
        }
    }

    /// The nodes with members of a cluster.
    pub fn members(&self, cluster: Data) -> NodeSet {
        match cluster {
            Data::Old => self.plan.all().without(self.plan.without_etcd()),
            Data::New | Data::Raised => self.plan.serving(),
        }
    }

    /// Members of a cluster that run and that a node's member can speak to, its own among them.
    pub fn members_up(&self, node: usize, cluster: Data) -> NodeSet {
        let members = self.members(cluster);
        let mut up = NodeSet::EMPTY;
        for member in members.iter() {
            let other = member.index();
            let speak = other == node || !(self.is_cut(node, other) || self.is_cut(other, node));
            if self.hosts[other].etcd == Some(cluster) && speak {
                up.insert(member);
            }
        }
        up
    }

    /// Whether a node's API server is ready.
    pub fn is_ready(&self, node: usize) -> bool {
        let host = &self.hosts[node];
        let ready = |data: &Data| self.now >= host.api_since.saturating_add(host.delays[*data as usize]);
        host.api && self.shown(node).iter().any(ready)
    }

    /// The clusters that a node's API server may show: that of the node's own member, or without one, that of any member.
    pub fn shown(&self, node: usize) -> Vec<Data> {
        let by = |member: usize| self.hosts[member].etcd.filter(|&data| self.serves(member, data));
        if !self.plan.is_without_etcd(Node(node as u8)) {
            return by(node).into_iter().collect();
        }
        let reached = |member: &usize| !(self.is_cut(node, *member) || self.is_cut(*member, node));
        let mut all: Vec<Data> = (0..self.hosts.len()).filter(reached).filter_map(by).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether a node's member serves a cluster.
    pub fn serves(&self, node: usize, cluster: Data) -> bool {
        let members = self.members(cluster).len();
        self.hosts[node].etcd == Some(cluster) && self.members_up(node, cluster).len() * 2 > members
    }
}
