//! Nodes, time, and what is under way: one queue of events, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use etcd_transaction::{
    Answer, Effect, Entry, Fact, Input, Limits, Message, Millis, Node, NodeSet, Notice, Now, Operator, Outcome,
    Participant, Phase, Plan, PlanOptions, RunId, Seq, Step,
};

use super::checker::{Checker, Failure, Invariant};
use super::choices::{Choices, Draw, Kind, Source};
use super::disk::{Bytes, Data, Directories, Layered, Lines, Manifests, Part};
use super::marks::Marks;
use super::operations::Job;
use super::planted::Planted;

/// Most nodes that are simulated.
pub const MOST: usize = 8;

/// What happens at some time.
#[derive(Debug, Clone)]
pub enum Event {
    /// The order to begin.
    Begin,
    /// A message arrives.
    Deliver { to: usize, from: usize, authority: u8, turn: usize, message: Message },
    /// A query arrives.
    Query { to: usize, from: usize, turn: usize, incarnation: u32 },
    /// The answer to a query arrives.
    Answered { to: usize, from: usize, turn: usize, authorities: u32, answer: Answer, incarnation: u32 },
    /// A participant's deadline.
    Timer { node: usize, incarnation: u32 },
    /// Lines of a journal are on the disk.
    Written { node: usize, incarnation: u32, boot: u32, seq: Seq, lines: usize },
    /// The next operation of a step.
    Operation { node: usize, job: u32 },
    /// An operation has taken long: the driver says so.
    Blocked { node: usize, incarnation: u32, job: u32 },
    /// A kubelet looks at its folder.
    Kubelet { node: usize, boot: u32 },
    /// A guard looks at held manifests.
    Guard { node: usize, incarnation: u32 },
    /// A process starts.
    Start { node: usize, incarnation: u32 },
    /// A node has power again.
    PowerOn { node: usize, boot: u32 },
    /// A cut of the network heals.
    Mend { cut: u32 },
    /// An operator types `--resume`.
    Resume,
    /// A step has returned, once more.
    Again { node: usize, incarnation: u32, run: RunId, outcome: Outcome },
    /// A fault soon after a vote.
    Voted { value: u32 },
    /// An API server may be ready now.
    Ready,
    /// Faults that come once in a while.
    Weather,
    /// Faults end.
    Heal,
    /// The operator looks at what the nodes tell.
    Look,
    /// The others must not wait any longer for a node that hangs.
    Overdue { node: usize, since: u64, coordinator: bool },
    /// It should have ended.
    Bound,
}

#[derive(Debug, Clone)]
struct Timed {
    at: u64,
    serial: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Timed) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Timed) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Timed) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// The program on a node.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its part.
    pub participant: Participant,
    /// When its timer is set to go off.
    timer: Option<u64>,
    /// What it told since it began.
    pub notices: Vec<Notice>,
    /// It sees to it that held components do not run.
    pub guards: bool,
    /// It runs again from then on.
    pub paused_until: u64,
    /// With which identity it speaks; 0 for none.
    pub authority: u8,
    /// It looks at the API server all the time.
    pub watches: bool,
    /// It has seen that the API server is ready.
    pub saw_ready: bool,
    /// It did not look for too long.
    pub unsure: bool,
}

/// A node, and all that is on it.
#[derive(Debug, Clone)]
pub struct Host {
    /// Which transaction the program takes part in: 0 the restore, 1 the way back.
    pub turn: usize,
    /// The lines of the journal of that.
    pub journal: Lines,
    /// The journal of the way back, before that has begun.
    pub next: Lines,
    /// What is built of the node's old data.
    pub digest: u64,
    /// After how long an API server is ready on some data; never if that is the greatest number.
    pub delays: [u64; 3],
    /// Since when the API server has been running.
    pub api_since: u64,
    /// Since when it has been ready on the new data.
    pub ready_from: Option<u64>,
    /// It was ready on the new data for longer than can be overlooked.
    pub was_ready: bool,
    /// Where data lies.
    pub data: Layered<Directories>,
    /// Where manifests lie.
    pub manifests: Layered<Manifests>,
    /// Identities on the disk, as bits.
    pub identities: u32,
    /// Authorities in the journal, as bits.
    pub authorities: u32,
    /// Counts starts of the process.
    pub incarnation: u32,
    /// Counts power failures.
    pub boot: u32,
    /// Whether it has power.
    pub power: bool,
    /// It never comes back.
    pub gone: bool,
    /// The participant has left.
    pub left: bool,
    /// Eighths of a second that its clock counts in a second.
    pub rate: u64,
    /// The program, if it runs.
    pub process: Option<Process>,
    /// A process hangs in the kernel until then: no other one can begin.
    pub stuck_until: u64,
    /// What is being done.
    pub job: Option<Job>,
    /// On which data etcd runs.
    pub etcd: Option<Data>,
    /// Whether an API server runs.
    pub api: bool,
    /// The API server was started by a manifest that came back.
    pub intruder: bool,
    /// Whether controller manager and scheduler run.
    pub controllers: bool,
    /// The news of a write that came when the process had ended.
    pub stale: Option<Seq>,
    /// Somebody started something after the decision.
    pub theirs: bool,
    /// The kubelet will look at its folder.
    pub kubelet_at: Option<u64>,
}

/// A kind of seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// All faults, by rates.
    Swarm,
    /// One node hangs once: the others must not wait longer than a bound.
    OneHang,
    /// One process is paused once, for a time that all have patience for: the restore must commit.
    OnePause,
}

/// How API servers are on the new data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    /// Ready at once.
    Nowhere,
    /// None is ever ready.
    Everywhere,
    /// None is ever ready, on the old data neither.
    ForEver,
    /// One is ready.
    AllButOne,
    /// Ready about when that is waited for no longer, or never.
    Late,
}

/// What one run is of.
#[derive(Debug, Clone)]
pub struct Setting {
    /// How many nodes there are; nothing if the seed says.
    pub nodes: Option<usize>,
    /// Which seed.
    pub seed: u64,
    /// Special choices; nothing if the seed says.
    pub script: Option<std::collections::BTreeMap<super::choices::Key, u32>>,
    /// A rule that is broken.
    pub planted: Option<Planted>,
    /// Whether texts are made.
    pub trace: bool,
    /// Whether all choices are noted.
    pub asks: bool,
}

impl Setting {
    /// A seed, and nothing else.
    pub fn seed(seed: u64, nodes: Option<usize>) -> Setting {
        Setting { nodes, seed, script: None, planted: None, trace: false, asks: false }
    }
}

/// Everything there is.
pub struct World {
    pub plan: Arc<Plan>,
    pub hosts: Vec<Host>,
    pub choices: Choices,
    pub checkers: [Checker; 2],
    /// Of the way back.
    pub back: Arc<Plan>,
    /// How API servers are.
    pub unready: Unready,
    pub marks: Marks,
    pub planted: Option<Planted>,
    pub special: Special,
    pub now: u64,
    pub cuts: Vec<(u32, [u8; MOST])>,
    pub cut: [u8; MOST],
    pub events: u64,
    /// The newest authority of `--resume`.
    pub newest: u8,
    /// Any number of nodes may be gone, and not just less than a quorum.
    pub any_gone: bool,
    /// Revisions of the old and of the new cluster.
    pub revisions: [u64; 3],
    pub looks: u32,
    pub next_job: u32,
    pub next_cut: u32,
    queue: BinaryHeap<Reverse<Timed>>,
    serial: u64,
    effects: Vec<Effect>,
    pub digest: u64,
    trace: bool,
    pub lines: Vec<String>,
    heal_at: u64,
    /// Nothing special can happen.
    pub smooth: bool,
    /// Some node said why it could not end.
    pub blocked: bool,
    pub special_at: u64,
}

/// How long after the end of all faults everybody must have ended, or said what a person has to do.
const BOUND: u64 = 3_000_000;
/// The revisions that data begins with.
pub const BEGINS: [u64; 3] = [1_000, 1_000_000, 2_000_000];
/// How long an API server may have been ready before it is stopped for the way back: what is allowed, by clocks that go at different rates.
pub const OVERLOOKED: u64 = 11_000;
/// How many events a run may have.
const EVENTS: u64 = 200_000;

impl World {
    /// Nodes that are armed, with the old cluster running.
    pub fn new(setting: &Setting) -> World {
        let seed = setting.seed;
        let special = match seed % 16 {
            _ if setting.script.is_some() && setting.nodes.is_some() && setting.asks => Special::Swarm,
            3 => Special::OneHang,
            11 => Special::OnePause,
            _ => Special::Swarm,
        };
        let source = match (&setting.script, special) {
            (Some(script), _) => Source::Script(script.clone()),
            (None, Special::Swarm) => Source::Rates(Choices::rates(seed)),
            (None, _) => Source::Rates([0; super::choices::KINDS]),
        };
        let mut choices = Choices::new(seed, source);
        if setting.asks {
            choices.asked = Some(Vec::new());
        }
        let mut draw = |to: u64| choices.draw(Draw::Setting, 0, 0, to);
        let count = [1, 3, 3, 5, 3, 3, 2, 3, 3, 5][draw(9) as usize];
        let count = setting.nodes.unwrap_or(count);
        let mut left_out = vec![false; count];
        if count > 1 && draw(3) == 0 {
            left_out[draw(count as u64 - 2) as usize + 1] = true;
        }
        let coordinator = if draw(2) == 0 { 0 } else { draw(count as u64 - 1) as usize };
        let coordinator = if left_out[coordinator] { 0 } else { coordinator };
        let unready = match draw(15) {
            _ if special != Special::Swarm => Unready::Nowhere,
            0..=2 => Unready::Everywhere,
            3 => Unready::ForEver,
            4 => Unready::AllButOne,
            5..=7 => Unready::Late,
            _ => Unready::Nowhere,
        };
        let options = PlanOptions {
            keep_unready: draw(7) == 0,
            launch_in_turn: draw(3) == 0,
            recheck: draw(1) == 0,
            returns: unready != Unready::Nowhere || draw(1) == 0,
        };
        let start = if unready == Unready::Nowhere { 180_000 } else { 60_000 };
        let limits = Limits { start: Millis(start) };
        let coordinator = Node(coordinator as u8);
        let heal_at = [20_000, 60_000, 60_000, 120_000, 300_000][draw(4) as usize];
        let (any_gone, clocks) = (draw(3) == 0, draw(2) == 0);
        let mut without_etcd = NodeSet::EMPTY;
        if count > 1 && choices.draw(Draw::Setting, 6, 0, 3) == 0 {
            // At least one of the last nodes, and never all.
            let first = choices.draw(Draw::Setting, 6, 1, count as u64 - 1) as usize;
            let nodes = (first..count).filter(|&node| !left_out[node]).map(|node| Node(node as u8));
            nodes.filter(|&node| node != coordinator).for_each(|node| without_etcd.insert(node));
        }
        let plan = Plan::new(&left_out, coordinator, limits.clone(), options).expect("a plan");
        let plan = plan.with_nodes_without_etcd(without_etcd).expect("a plan");
        let back = PlanOptions { keep_unready: false, returns: false, ..options };
        let back = Plan::new(&vec![false; count], coordinator, limits, back).expect("a plan");
        let heal_at = if unready == Unready::Nowhere { heal_at } else { heal_at + 60_000 };
        let smooth = Choices::rates(seed).iter().all(|&rate| rate == 0);
        let clocks = clocks && special == Special::Swarm && !smooth && !setting.asks;
        let plan = Arc::new(plan);
        let hosts = (0..count).map(|node| {
            let rate = if clocks { choices.draw(Draw::Setting, node, 4, 16) } else { 8 };
            Host::new(rate, !plan.is_without_etcd(Node(node as u8)))
        });
        let mut hosts: Vec<Host> = hosts.collect();
        let ready = choices.draw(Draw::Ready, 0, 0, count as u64 - 1) as usize;
        let differs = choices.draw(Draw::Ready, 0, 0, 7) == 0;
        for (node, host) in hosts.iter_mut().enumerate() {
            const NEVER: u64 = u64::MAX;
            let late = |choices: &mut Choices| {
                // At the limit, by the node's own clock, or about then.
                let limit = start * 8 / host.rate;
                let about = choices.draw(Draw::Ready, node, 0, 8_000) + limit - 2_000;
                choices.one_of(Draw::Ready, node, &[limit, about, about, about])
            };
            let new = match unready {
                Unready::Nowhere => 0,
                Unready::Everywhere | Unready::ForEver => NEVER,
                Unready::AllButOne if node == ready => 0,
                Unready::AllButOne => NEVER,
                Unready::Late if node != ready && choices.draw(Draw::Ready, node, 0, 3) > 0 => NEVER,
                Unready::Late => late(&mut choices),
            };
            host.delays = [0, new, if unready == Unready::ForEver { NEVER } else { 0 }];
            host.digest = u64::from(differs && node == ready);
        }
        let special_at = choices.draw(Draw::Setting, 7, 2_000, 14_000);
        let mut world = World {
            checkers: [Checker::new(&plan, 0), Checker::new(&back, 1)],
            plan,
            back: Arc::new(back),
            unready,
            hosts,
            choices,
            marks: Marks::default(),
            planted: setting.planted,
            special,
            now: 0,
            cuts: Vec::new(),
            cut: [0; MOST],
            events: 0,
            newest: 1,
            any_gone,
            revisions: BEGINS,
            looks: 0,
            next_job: 0,
            next_cut: 0,
            queue: BinaryHeap::new(),
            serial: 0,
            effects: Vec::new(),
            digest: 0xcbf2_9ce4_8422_2325,
            trace: setting.trace,
            lines: Vec::new(),
            heal_at,
            smooth: special == Special::Swarm && (smooth || setting.asks),
            blocked: false,
            special_at,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.hosts.len() {
            let host = &mut self.hosts[node];
            let lines = host.journal.append(Entry::Armed);
            host.journal.sync(lines);
            self.push(0, Event::Start { node, incarnation: 0 });
        }
        let late = match self.choices.pick(Kind::Begin, 0, 0) {
            0 => Some(1_000),
            1 => Some(self.choices.draw(Draw::Fault, 0, 20_000, 130_000)),
            _ => None,
        };
        if let Some(late) = late {
            self.push(late, Event::Begin);
        }
        self.push(1_700, Event::Weather);
        self.push(self.heal_at, Event::Heal);
        self.components_changed();
    }

    /// Runs until everybody has left or a rule is broken.
    pub fn run(&mut self) {
        while !self.has_failed() && !self.is_over() {
            let Some(Reverse(next)) = self.queue.pop() else {
                self.fail(Invariant::ItEnds, "nothing happens any more");
                break;
            };
            self.now = next.at;
            self.events += 1;
            if self.events > EVENTS {
                self.fail(Invariant::ItEnds, "it does not come to rest");
            }
            self.happen(next.event);
        }
        if !self.has_failed() && !self.blocked {
            self.check_end();
        }
    }

    fn is_over(&self) -> bool {
        self.hosts.iter().all(|host| host.left || host.gone)
    }

    /// Notes a broken rule.
    pub fn fail(&mut self, invariant: Invariant, what: impl Into<String>) {
        let now = self.now;
        self.checkers[0].fail(now, invariant, what.into());
    }

    /// Whether a rule is broken.
    pub fn has_failed(&self) -> bool {
        self.checkers.iter().any(|checker| checker.failure.is_some())
    }

    /// The rule that was broken first.
    pub fn failure(&self) -> Option<Failure> {
        self.checkers.iter().filter_map(|checker| checker.failure.clone()).min_by_key(|failure| failure.at)
    }

    /// What is known of the transaction that a node takes part in.
    pub fn checker(&mut self, node: usize) -> &mut Checker {
        &mut self.checkers[self.hosts[node].turn]
    }

    /// Plans an event.
    pub fn push(&mut self, later: u64, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse(Timed { at: self.now + later, serial: self.serial, event }));
    }

    /// Notes what happened, for the digest and, if it is wanted, as a text.
    pub fn note(&mut self, node: usize, code: u64, text: impl FnOnce() -> String) {
        for part in [self.now, (node as u64) << 56 | code] {
            self.digest = (self.digest ^ part).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.trace {
            let (seconds, millis) = (self.now / 1_000, self.now % 1_000);
            self.lines.push(format!("{seconds:04}.{millis:03} #{:06} n{node} {}", self.events, text()));
        }
    }

    /// A node's clock.
    pub fn clock(&self, node: usize) -> Now {
        Now(self.now * self.hosts[node].rate / 8 + 1)
    }

    /// Nodes by a condition.
    pub fn nodes(&self, which: impl Fn(&Host) -> bool) -> NodeSet {
        let mut set = NodeSet::EMPTY;
        for (node, _) in self.hosts.iter().enumerate().filter(|(_, host)| which(host)) {
            set.insert(Node(node as u8));
        }
        set
    }

    /// Nodes that are gone for good.
    pub fn gone(&self) -> NodeSet {
        self.nodes(|host| host.gone)
    }

    fn is_current(&self, node: usize, incarnation: u32) -> bool {
        let host = &self.hosts[node];
        host.process.is_some() && host.incarnation == incarnation
    }

    /// When a paused process goes on, if it is paused.
    fn paused(&self, node: usize) -> Option<u64> {
        self.hosts[node].process.as_ref().map(|process| process.paused_until).filter(|&until| until > self.now)
    }

    /// Lets an event wait for the end of a pause. Deadlines come after what was received meanwhile.
    fn postponed(&mut self, event: &Event) -> bool {
        let (node, later) = match event {
            Event::Deliver { to, .. } | Event::Query { to, .. } | Event::Answered { to, .. } => (*to, 0),
            Event::Written { node, incarnation, .. } if self.is_current(*node, *incarnation) => (*node, 0),
            Event::Operation { node, .. } | Event::Guard { node, .. } | Event::Blocked { node, .. } => (*node, 0),
            Event::Timer { node, incarnation } if self.is_current(*node, *incarnation) => (*node, 1),
            _ => return false,
        };
        let Some(until) = self.paused(node) else { return false };
        if let Event::Timer { .. } = event
            && let Some(process) = &mut self.hosts[node].process
        {
            process.timer = Some(until + later);
        }
        self.push(until + later - self.now, event.clone());
        true
    }

    fn happen(&mut self, event: Event) {
        if self.postponed(&event) {
            return;
        }
        match event {
            Event::Begin => {
                let node = self.plan.coordinator().index();
                self.step(node, Input::Operator(Operator::Begin));
            }
            Event::Deliver { to, from, authority, turn, message } => {
                let trusts = self.hosts[to].process.as_ref().is_some_and(|process| process.authority == authority);
                let trusts = trusts && self.is_of(to, turn);
                if trusts && authority > 0 {
                    self.step(to, Input::Received { from: Node(from as u8), message });
                }
            }
            Event::Query { to, from, turn, incarnation } => {
                let host = &self.hosts[to];
                if self.is_of(to, turn) && host.process.is_some() && host.identities > 0 {
                    let request = (incarnation << 4) | from as u32;
                    self.step(to, Input::Queried { request });
                }
            }
            Event::Answered { to, from, turn, authorities, answer, incarnation } => {
                if self.is_of(to, turn)
                    && self.is_current(to, incarnation)
                    && self.hosts[to].authorities & authorities != 0
                {
                    self.step(to, Input::Answered { from: Node(from as u8), answer });
                }
            }
            Event::Timer { node, incarnation } => self.timer(node, incarnation),
            Event::Written { node, incarnation, boot, seq, lines } => self.written(node, incarnation, boot, seq, lines),
            Event::Operation { node, job } => self.operation(node, job),
            Event::Blocked { node, incarnation, job } => self.blocked(node, incarnation, job),
            Event::Kubelet { node, boot } => self.kubelet(node, boot),
            Event::Guard { node, incarnation } => {
                if self.is_current(node, incarnation) {
                    self.guard(node);
                }
            }
            Event::Start { node, incarnation } => self.start(node, incarnation),
            Event::PowerOn { node, boot } => self.power_on(node, boot),
            Event::Mend { cut } => self.mend(cut),
            Event::Again { node, incarnation, run, outcome } => {
                if self.is_current(node, incarnation) {
                    self.step(node, Input::Returned { run, outcome });
                }
            }
            Event::Resume => self.resume(),
            Event::Voted { value } => self.voted(value),
            Event::Ready => self.components_changed(),
            Event::Weather => self.weather(),
            Event::Heal => {
                self.heal();
                self.push(60_000, Event::Look);
                self.push(BOUND, Event::Bound);
            }
            Event::Look => self.look(),
            Event::Overdue { node, since, coordinator } => self.overdue(node, since, coordinator),
            Event::Bound => self.bound(),
        }
    }

    /// Whether a node's program is of a transaction.
    fn is_of(&self, node: usize, turn: usize) -> bool {
        self.hosts[node].turn == turn || self.planted == Some(Planted::OtherTransactionHeard)
    }

    fn timer(&mut self, node: usize, incarnation: u32) {
        if !self.is_current(node, incarnation) {
            return;
        }
        let clock = self.clock(node);
        let now = self.now;
        let Some(process) = &mut self.hosts[node].process else { return };
        if process.timer != Some(now) {
            return;
        }
        process.timer = None;
        match process.participant.next_deadline() {
            Some(due) if due <= clock => self.step(node, Input::Deadline),
            _ => self.set_timer(node),
        }
    }

    fn set_timer(&mut self, node: usize) {
        let now = self.now;
        let host = &mut self.hosts[node];
        let (rate, incarnation) = (host.rate, host.incarnation);
        let Some(process) = &mut host.process else { return };
        let Some(due) = process.participant.next_deadline() else { return };
        let at = (due.0.saturating_sub(1) * 8).div_ceil(rate).max(now + 1);
        if process.timer.is_none_or(|timer| timer > at) {
            process.timer = Some(at);
            self.push(at - now, Event::Timer { node, incarnation });
        }
    }

    /// A participant is told something, and what it wants is done.
    pub fn step(&mut self, node: usize, input: Input) {
        let clock = self.clock(node);
        let incarnation = self.hosts[node].incarnation;
        let Some(process) = &mut self.hosts[node].process else { return };
        let mut effects = std::mem::take(&mut self.effects);
        let before = process.participant.view().phase();
        let text = self.trace.then(|| format!("{input:?}"));
        let code = code_of(&input);
        process.participant.step(clock, input, &mut effects);
        let view = process.participant.view();
        let (phase, checked) = (view.phase(), view.check());
        let count = effects.len() as u64;
        self.note(node, (code << 16) | ((phase as u64) << 8) | count.min(255), || {
            format!("{} | {phase:?} | {effects:?}", text.unwrap_or_default())
        });
        self.marks.phase(before, phase);
        if let Err(rule) = checked {
            self.fail(Invariant::AgreesWithItself, rule);
        }
        let mut sends = 0;
        let mut effects_left = effects.drain(..);
        for effect in effects_left.by_ref() {
            let matters = match &effect {
                Effect::Send { .. } => {
                    sends += 1;
                    sends == 1
                }
                Effect::Persist { .. } | Effect::Run(_) | Effect::Cancel(_) | Effect::Leave => true,
                _ => false,
            };
            if matters && self.dies(node, 1) {
                break;
            }
            self.carry_out(node, effect);
            if !self.is_current(node, incarnation) || self.has_failed() {
                break;
            }
        }
        drop(effects_left);
        self.effects = effects;
        self.effects.clear();
        self.set_timer(node);
    }

    fn carry_out(&mut self, node: usize, effect: Effect) {
        let incarnation = self.hosts[node].incarnation;
        match effect {
            Effect::Persist { seq, entry } => {
                self.write(node, seq, entry);
                if self.hosts[node].process.is_some() {
                    self.dies(node, 8);
                }
            }
            Effect::Send { to, message } => {
                let now = self.now;
                self.checker(node).sends(now, Node(node as u8), message.message());
                self.send(node, to.index(), message.into_message());
            }
            Effect::Ask { to } => {
                if let Some(later) = self.travels(node, to.index()) {
                    let turn = self.hosts[node].turn;
                    self.push(later, Event::Query { to: to.index(), from: node, turn, incarnation });
                }
            }
            Effect::Answer { request, answer } => {
                let (to, incarnation) = ((request & 15) as usize, request >> 4);
                let now = self.now;
                self.checker(node).answers(now, Node(node as u8), answer);
                let authorities = self.hosts[node].identities;
                if let Some(later) = self.travels(node, to) {
                    let turn = self.hosts[node].turn;
                    self.push(later, Event::Answered { to, from: node, turn, authorities, answer, incarnation });
                }
            }
            Effect::Run(run) => self.run_step(node, run),
            Effect::Cancel(id) => self.cancel(node, id),
            Effect::Guard { on } => {
                if let Some(process) = &mut self.hosts[node].process {
                    process.guards = on;
                }
                if on {
                    self.push(200, Event::Guard { node, incarnation });
                }
            }
            Effect::Tell(notice) => {
                self.marks.notice(&notice);
                if let Some(process) = &mut self.hosts[node].process {
                    process.notices.push(notice);
                }
            }
            Effect::Leave => {
                let now = self.now;
                self.checker(node).leaves(now, Node(node as u8));
                let handed_over = self.hosts[node].process.as_ref();
                if handed_over.is_some_and(|process| process.participant.view().recorded().handed_over()) {
                    return self.turn(node);
                }
                let host = &mut self.hosts[node];
                host.left = true;
                host.process = None;
                host.identities = 0;
            }
        }
    }

    /// The manifest of the program is now that of the way back's.
    fn turn(&mut self, node: usize) {
        let later = self.choices.draw(Draw::Start, node, 300, 10_000);
        self.note(node, 21 << 40, || "    takes part in the way back".into());
        let host = &mut self.hosts[node];
        (host.process, host.stale) = (None, None);
        (host.turn, host.journal) = (1, std::mem::take(&mut host.next));
        host.incarnation += 1;
        let incarnation = host.incarnation;
        self.push(later, Event::Start { node, incarnation });
    }

    fn write(&mut self, node: usize, seq: Seq, entry: Entry) {
        let value = self.choices.pick(Kind::Write, node, 0);
        self.marks.fault(Kind::Write, value);
        let hang = match value {
            3 => Some(self.choices.draw(Draw::Fault, node, 1_000, 60_000)),
            4 => Some(self.choices.draw(Draw::Fault, node, 60_000, 200_000)),
            _ => self.special_hang(node),
        };
        if value == 1 {
            return self.kill(node);
        }
        let (incarnation, boot) = (self.hosts[node].incarnation, self.hosts[node].boot);
        let lines = self.hosts[node].journal.append(entry);
        if value == 2 {
            return self.kill(node);
        }
        let time = hang.unwrap_or(0) + self.choices.draw(Draw::Write, node, 1, 20);
        if hang.is_some() {
            self.hangs(node, time);
        }
        if self.planted == Some(Planted::PersistedBeforeSync) {
            self.push(0, Event::Written { node, incarnation, boot, seq, lines: 0 });
        }
        self.push(time, Event::Written { node, incarnation, boot, seq, lines });
    }

    fn written(&mut self, node: usize, incarnation: u32, boot: u32, seq: Seq, lines: usize) {
        let host = &mut self.hosts[node];
        if host.boot != boot {
            return;
        }
        let current = self.is_current(node, incarnation);
        let hung = self.hosts[node].stuck_until >= self.now;
        if current || hung {
            self.sync_journal(node, lines);
        }
        if !current {
            self.hosts[node].stale = Some(seq);
        }
        if current && !self.dies(node, 8) {
            self.step(node, Input::Persisted(seq));
        }
    }

    /// Lines of a journal are kept from now on.
    pub fn sync_journal(&mut self, node: usize, lines: usize) {
        let fresh = self.hosts[node].journal.sync(lines);
        self.kept(node, fresh);
    }

    /// The journal of the way back is kept from now on.
    pub fn sync_next(&mut self, node: usize) {
        let lines = self.hosts[node].next.seen().len();
        let fresh = self.hosts[node].next.sync(lines);
        self.kept_next(node, fresh);
    }

    /// Tells the checker of lines of the journal of the way back that are kept.
    pub fn kept_next(&mut self, node: usize, fresh: std::ops::Range<usize>) {
        for line in fresh {
            let entry = self.hosts[node].next.seen()[line];
            self.note(node, 7 << 40 | 1 << 32 | line as u64, || format!("    kept for the way back {entry:?}"));
            let (now, gone) = (self.now, self.gone());
            self.checkers[1].kept(now, gone, Node(node as u8), entry, false);
        }
    }

    /// Tells the checker of lines that are kept.
    pub fn kept(&mut self, node: usize, fresh: std::ops::Range<usize>) {
        for line in fresh {
            let entry = self.hosts[node].journal.seen()[line];
            self.note(node, 7 << 40 | line as u64, || format!("    kept {entry:?}"));
            self.marks.entry(&entry);
            if let Entry::Vote { yes: true, .. } | Entry::Accepted { .. } = entry {
                let accepted = usize::from(matches!(entry, Entry::Accepted { .. }));
                let value = self.choices.pick_more(Kind::Vote, node, accepted, 12);
                self.marks.fault(Kind::Vote, value);
                if value > 0 {
                    let later = self.choices.one_of(Draw::Fault, node, &[0, 20, 50, 100, 500, 3_000]);
                    self.push(later, Event::Voted { value });
                }
            }
            let gone = self.gone();
            let host = &self.hosts[node];
            let stopped = host.etcd.is_none() && !host.api;
            let now = self.now;
            if let Entry::Step { step: Step::HandOver, done: true } = entry
                && !host.next.kept().contains(&Entry::Armed)
            {
                self.fail(Invariant::WrittenBefore, format!("n{node} is not armed for the way back"));
            }
            self.checker(node).kept(now, gone, Node(node as u8), entry, stopped);
        }
    }

    fn start(&mut self, node: usize, incarnation: u32) {
        let now = self.now;
        let host = &mut self.hosts[node];
        if host.process.is_some() || !host.power || host.gone || host.left || host.incarnation != incarnation {
            return;
        }
        if host.stuck_until > now {
            let later = host.stuck_until + 1 - now;
            return self.push(later, Event::Start { node, incarnation });
        }
        // What was read is made sure of before it is believed.
        let lines = host.journal.seen().len();
        if self.planted != Some(Planted::JournalReadWithoutSync) {
            self.sync_journal(node, lines);
        }
        let clock = self.clock(node);
        let host = &mut self.hosts[node];
        let identity = host.identities > 0;
        let authority = host.identities.checked_ilog2().map_or(0, |highest| highest as u8);
        let entries = host.journal.seen().to_vec();
        let plan = Arc::clone(if host.turn == 0 { &self.plan } else { &self.back });
        let mut participant = Participant::new(plan, Node(node as u8), &entries, identity, clock);
        Planted::plant(self.planted, &mut participant);
        let process = Process {
            participant,
            timer: None,
            notices: Vec::new(),
            guards: false,
            paused_until: 0,
            authority,
            watches: false,
            saw_ready: false,
            unsure: false,
        };
        self.hosts[node].process = Some(process);
        self.step(node, Input::Deadline);
        if let Some(seq) = self.hosts[node].stale.take()
            && self.planted == Some(Planted::FormerWriteBelieved)
        {
            self.step(node, Input::Persisted(seq));
        }
        // Manifests that came back and lie aside were seen by a process that may not have come to write it down.
        if self.hosts[node].process.as_ref().is_some_and(|process| process.guards) {
            self.tell_of_moved(node);
        }
    }

    /// A process ends, and is started again. What hangs in the kernel stays.
    pub fn kill(&mut self, node: usize) {
        let now = self.now;
        self.note(node, 8 << 40, || "! killed".into());
        let later = self.choices.draw(Draw::Start, node, 300, 10_000);
        let host = &mut self.hosts[node];
        if host.process.take().is_none() {
            return;
        }
        host.incarnation += 1;
        let over = host.stuck_until <= now;
        let hangs = host.job.as_ref().is_some_and(|job| job.hangs);
        if hangs && over {
            // The kernel was done with it while the process was paused.
            self.apply(node);
        }
        let host = &mut self.hosts[node];
        if !hangs || over {
            host.job = None;
        }
        let rest = host.stuck_until.saturating_sub(now);
        let (later, incarnation) = (later.max(rest + 1), host.incarnation);
        // The kernel is done with it at its own time: it was a process that was paused.
        if let Some(job) = host.job.as_ref().map(|job| job.id) {
            self.push(rest, Event::Operation { node, job });
        }
        self.push(later, Event::Start { node, incarnation });
        // A person looks at just this moment.
        if self.hosts[node].journal.unsynced() > 0 && self.choices.pick_more(Kind::Operator, node, 1, 8) == 1 {
            self.push(1, Event::Resume);
        }
    }

    /// Whether a node's process is killed now, or its power fails.
    pub fn dies(&mut self, node: usize, times: u32) -> bool {
        let value = self.choices.pick_more(Kind::Kill, node, 0, times);
        self.marks.fault(Kind::Kill, value);
        match value {
            0 => return false,
            1 => self.kill(node),
            _ => {
                let time = self.choices.draw(Draw::Fault, node, 2_000, 60_000);
                self.power_off(node, Some(time));
            }
        }
        true
    }

    /// The phase of a node, if its process runs.
    pub fn phase(&self, node: usize) -> Option<Phase> {
        self.hosts[node].process.as_ref().map(|process| process.participant.view().phase())
    }

    /// A step has returned.
    pub fn returned(&mut self, node: usize, run: RunId, outcome: Outcome) {
        if self.hosts[node].process.is_some() && !self.dies(node, 1) {
            let again = self.choices.pick(Kind::Again, node, 0);
            self.marks.fault(Kind::Again, again);
            if again > 0 {
                let later = self.choices.draw(Draw::Fault, node, 1, 5_000);
                let incarnation = self.hosts[node].incarnation;
                self.push(later, Event::Again { node, incarnation, run, outcome });
            }
            self.step(node, Input::Returned { run, outcome });
        }
    }

    /// An operation has been going on since some time.
    pub fn tell_blocked(&mut self, node: usize, ago: u64) {
        let clock = self.clock(node);
        let ago = ago * self.hosts[node].rate / 8;
        self.step(node, Input::Observed(Fact::Blocked { since: clock.before(Millis(ago)) }));
    }
}

impl Host {
    fn new(rate: u64, has_etcd: bool) -> Host {
        let data = [Some(Data::Old), Some(Data::New)].map(|data| data.filter(|_| has_etcd));
        let data = Directories([data[0], data[1], None, None, None, None]);
        let mut there = [Some(Bytes::Own); 3];
        there[Part::Etcd as usize] = there[Part::Etcd as usize].filter(|_| has_etcd);
        let manifests = Manifests { there, held: [false; 3], moved: [false; 3] };
        Host {
            turn: 0,
            journal: Lines::default(),
            next: Lines::default(),
            digest: 0,
            delays: [0; 3],
            api_since: 0,
            ready_from: None,
            was_ready: false,
            data: Layered::new(data),
            manifests: Layered::new(manifests),
            identities: 1 << 1,
            authorities: 1 << 1,
            incarnation: 0,
            boot: 0,
            power: true,
            gone: false,
            left: false,
            rate,
            process: None,
            stuck_until: 0,
            job: None,
            etcd: has_etcd.then_some(Data::Old),
            api: true,
            intruder: false,
            controllers: true,
            stale: None,
            theirs: false,
            kubelet_at: None,
        }
    }
}

fn code_of(input: &Input) -> u64 {
    match input {
        Input::Persisted(seq) => 1 << 8 | (seq.0 & 0xff),
        Input::Received { from, message } => {
            let kind = match message {
                Message::State(_) => 0,
                Message::Order { step } => 16 + *step as u64,
                Message::Prepare { .. } => 1,
                Message::Promise { .. } => 2,
                Message::Accept { .. } => 3,
                Message::Decided { .. } => 4,
                Message::AllEnded => 5,
            };
            2 << 16 | u64::from(from.0) << 8 | kind
        }
        Input::Queried { .. } => 3,
        Input::Answered { .. } => 4,
        Input::Returned { outcome, .. } => 16 + *outcome as u64,
        Input::Observed(_) => 5,
        Input::Certificate => 6,
        Input::Operator(_) => 7,
        Input::Deadline => 8,
    }
}
