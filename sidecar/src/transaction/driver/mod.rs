//! A participant's main process: it carries out what the [`Participant`] wants, tells it what happened, and decides nothing.
//!
//! It is a static pod, which needs no API server, is started again when it is killed, and is not taken for a stranger when the API server
//! serves another state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use etcd_transaction::{
    Answer, Effect, Ending, Entry as Fact, Fact as Seen, Input, Limits, Message, Millis, Node, NodeSet, Now, Outcome,
    Participant, Plan, PlanOptions, Run, RunId,
};
use etcd_wire::restore::{Control, Identity, Live, ParticipantState, RestorePlan};
use etcd_wire::{Failure, FailureCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use super::control::Answered;
use super::ground::Ground;
use super::journal::{Entry, Journal, Lines};
use super::layout::{Layout, STATE};
use super::network::{Heard, Network};
use super::state::State;
use super::steps::{Done, carry_out};
use super::work::{Cancel, Work, Writer, is_rechecked};
use super::{arm, control, identity, records, steps, words};
use crate::node::Place;

/// How often it is looked whether a file operation goes on for long.
const LOOK: Duration = Duration::from_millis(500);
/// What counts as long.
const LONG: Duration = Duration::from_secs(1);
/// How long a process whose manifest is gone waits for the kubelet to end it.
const PARTING: Duration = Duration::from_secs(60);

/// Takes part in a restore until it is over, or until the kubelet ends it.
pub(crate) async fn run(id: &str) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let (mut driver, mut sources) = Driver::open(&Place::new(STATE), id).await.map_err(shown)?;
    let ended = tokio::select! {
        ended = driver.drive(&mut sources) => Some(ended),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let Some(ended) = ended else { return Ok(()) };
    ended.map_err(shown)?;
    let layout = driver.work.layout.clone();
    let recorded = driver.participant.view().recorded();
    let (handed_over, given_up) = (recorded.handed_over(), recorded.ended() == Some(Ending::GivenUp));
    drop((driver, sources));
    let leave = move || match () {
        () if handed_over => arm::pass_on(&layout),
        () if given_up => {
            // Nothing has come of what was built, and it holds every Secret.
            let discarded = records::discard_data(&layout);
            arm::leave(&layout).and(discarded)
        }
        () => arm::leave(&layout),
    };
    tokio::task::spawn_blocking(leave).await.context("cannot leave")?.map_err(shown)?;
    // The kubelet ends the container because its manifest is gone; should it end by itself, it would be started again first.
    tokio::select! {
        _ = terminate.recv() => {}
        () = tokio::time::sleep(PARTING) => {}
    }
    Ok(())
}

fn shown(failure: Failure) -> anyhow::Error {
    failure
        .causes
        .iter()
        .rev()
        .fold(None, |inner: Option<anyhow::Error>, cause| {
            Some(inner.map_or_else(|| anyhow::anyhow!("{cause}"), |inner| inner.context(cause.clone())))
        })
        .map_or_else(|| anyhow::anyhow!("{failure}"), |inner| inner.context(failure.message.clone()))
}

/// What the participant needs to know of a plan.
///
/// # Errors
/// The plan is none.
pub(super) fn plan(plan: &RestorePlan, ground: &Ground) -> Result<Plan, Failure> {
    let left_out: Vec<bool> = plan.nodes.iter().map(|node| node.left_out).collect();
    let coordinator = plan.nodes.iter().position(|node| node.node == plan.coordinator).unwrap_or(usize::MAX);
    let coordinator = Node(u8::try_from(coordinator).unwrap_or(u8::MAX));
    let limits = Limits { start: Millis(u64::from(plan.start_timeout).saturating_mul(1000)) };
    let options = PlanOptions {
        keep_unready: plan.keep_unready,
        // The coordinator's manifest alone says so, because its turns are the orders'. Where only others check their data, they start at once: each
        // waits 7s at most for every other one that checks as well, and takes a member that does not answer for no error (etcd corrupt.go, InitialCheck).
        launch_in_turn: ground.checks_at_start && !is_rechecked(plan, ground),
        recheck: is_rechecked(plan, ground),
        returns: plan.way_back().is_some(),
    };
    let mut without_etcd = NodeSet::EMPTY;
    for (index, _) in plan.nodes.iter().enumerate().filter(|(_, node)| !node.has_etcd()) {
        without_etcd.insert(Node(u8::try_from(index).unwrap_or(u8::MAX)));
    }
    Plan::new(&left_out, coordinator, limits, options)
        .and_then(|plan| plan.with_nodes_without_etcd(without_etcd))
        .map_err(|error| Failure::new(FailureCode::BadRequest, "the plan is not in order").source(&error))
}

/// Where inputs come from.
struct Sources {
    inputs: mpsc::UnboundedReceiver<Input>,
    heard: mpsc::Receiver<Heard>,
    control: mpsc::Receiver<(Control, Answered)>,
    given: mpsc::UnboundedReceiver<Given>,
    broken: watch::Receiver<Option<Failure>>,
}

/// A certificate that was read for a session which waits for the answer.
struct Given {
    identity: Result<Option<Identity>, Failure>,
    answer: Answered,
}

/// Carries out what one participant wants.
struct Driver {
    participant: Participant,
    work: Arc<Work>,
    network: Network,
    gives: mpsc::UnboundedSender<Given>,
    clock: Instant,
    guard: watch::Sender<bool>,
    /// Steps that are being done, and by what they are cancelled.
    running: BTreeMap<RunId, watch::Sender<bool>>,
    /// Queries that wait for their answers.
    queries: BTreeMap<u32, oneshot::Sender<Answer>>,
    next_query: u32,
    blocked: bool,
    looked: Instant,
    left: bool,
}

impl Driver {
    async fn open(folder: &Place, id: &str) -> Result<(Driver, Sources), Failure> {
        let place = folder.join(id).join("journal");
        let (journal, lines) = Journal::open(&place)?;
        let state = State::of(Lines::Current(lines))?;
        let layout = Layout::at(state.plan.clone(), &state.node, &folder.path())?;
        let plan = Arc::new(plan(&state.plan, &state.ground)?);
        let own = Node(u8::try_from(layout.index()).unwrap_or(u8::MAX));
        let (facts, authorities) = (state.facts.clone(), state.authorities.clone());
        // Without an identity a node can still end what is decided.
        let known = identity::read(&layout).unwrap_or_else(|failure| {
            tracing::warn!(causes = ?failure.causes, "{failure}");
            None
        });
        let (inputs, received) = mpsc::unbounded_channel();
        let (break_off, broken) = watch::channel(None);
        let writer = Writer::start(journal, break_off.clone());
        let work = Arc::new(Work::new(layout.clone(), state, writer, inputs, break_off));
        let telling = Arc::clone(&work);
        let (network, heard) =
            Network::start(&layout, known.as_ref(), authorities, move |text| telling.note(text)).await?;
        let control = control::listen(&layout)?;
        let (gives, given) = mpsc::unbounded_channel();
        let (guard, on) = watch::channel(false);
        tokio::spawn(steps::guard(Arc::clone(&work), on));
        let telling = Arc::clone(&work);
        if let Err(failure) = work.blocking(move |_| steps::tell_again(&telling)).await {
            work.note(format!("whether manifests were written again before is not known: {failure}"));
        }
        let participant = Participant::new(plan, own, &facts, known.is_some(), Now(0));
        let now = Instant::now();
        let driver = Driver {
            participant,
            work,
            network,
            gives,
            clock: now,
            guard,
            running: BTreeMap::new(),
            queries: BTreeMap::new(),
            next_query: 0,
            blocked: false,
            looked: now,
            left: false,
        };
        Ok((driver, Sources { inputs: received, heard, control, given, broken }))
    }

    fn now(&self) -> Now {
        self.at(Instant::now())
    }

    fn at(&self, moment: Instant) -> Now {
        let since = moment.saturating_duration_since(self.clock);
        Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Goes on until the participant leaves.
    ///
    /// # Errors
    /// The journal cannot be written, or the participant contradicts itself: the process ends.
    async fn drive(&mut self, sources: &mut Sources) -> Result<(), Failure> {
        self.take(Input::Deadline)?;
        while !self.left {
            let deadline = self.participant.next_deadline().map(|at| self.clock + Duration::from_millis(at.0));
            let look = self.looked + LOOK;
            let until = tokio::time::Instant::from_std(deadline.map_or(look, |deadline| deadline.min(look)));
            // What has arrived is taken before a deadline: a process that was paused has heard what was sent meanwhile.
            tokio::select! {
                biased;
                broken = sources.broken.wait_for(Option::is_some) => return Err(failure_of(broken.ok().as_deref())),
                Some(input) = sources.inputs.recv() => self.take(input)?,
                Some(heard) = sources.heard.recv() => self.hear(heard)?,
                Some((control, answer)) = sources.control.recv() => self.control(control, answer)?,
                Some(given) = sources.given.recv() => self.take_identity(given)?,
                () = tokio::time::sleep_until(until) => self.pass()?,
            }
        }
        Ok(())
    }

    /// Time has passed.
    fn pass(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if now.duration_since(self.looked) >= LOOK {
            self.looked = now;
            let since = self.work.operating_since().filter(|since| since.elapsed() >= LONG);
            if let Some(since) = since {
                self.blocked = true;
                self.take(Input::Observed(Seen::Blocked { since: self.at(since) }))?;
            } else if self.blocked {
                self.blocked = false;
                self.take(Input::Observed(Seen::Unblocked))?;
            }
        }
        if self.participant.next_deadline().is_some_and(|deadline| deadline <= self.now()) {
            self.take(Input::Deadline)?;
        }
        Ok(())
    }

    fn hear(&mut self, heard: Heard) -> Result<(), Failure> {
        match heard {
            Heard::Message { from, message } => self.take(Input::Received { from, message }),
            Heard::Answered { from, answer } => self.take(Input::Answered { from, answer }),
            Heard::Queried { answer } => {
                let request = self.next_query;
                self.next_query = self.next_query.wrapping_add(1);
                self.queries.insert(request, answer);
                let taken = self.take(Input::Queried { request });
                // Whoever was not answered hears that the question was dropped.
                self.queries.remove(&request);
                taken
            }
        }
    }

    fn control(&mut self, control: Control, answer: Answered) -> Result<(), Failure> {
        let refusal = match control {
            Control::Look => None,
            Control::Operator { order } => {
                // What was not taken before cannot be told from what was.
                let refusal = self.participant.view().refusal(order);
                self.take(Input::Operator(order))?;
                refusal.map(|refusal| Failure::new(FailureCode::Refused, words::refusal(refusal)))
            }
            Control::Identity => {
                self.read_identity(answer);
                return Ok(());
            }
        };
        // Whoever asked may have gone away.
        let _gone = answer.send(refusal.map_or_else(|| Ok(self.standing()), Err));
        Ok(())
    }

    /// Reads the new certificate on a thread of its own: the disk may hang. Not by [`Work::blocking`], which is for the step that goes on meanwhile.
    fn read_identity(&self, answer: Answered) {
        let (layout, gives) = (self.work.layout.clone(), self.gives.clone());
        tokio::task::spawn_blocking(move || {
            // A participant that has left needs none.
            let _left = gives.send(Given { identity: identity::read(&layout), answer });
        });
    }

    fn take_identity(&mut self, Given { identity, answer }: Given) -> Result<(), Failure> {
        let missing = || Failure::new(FailureCode::Storage, "there is no certificate");
        let used = identity.and_then(|given| given.ok_or_else(missing)).and_then(|given| {
            self.network.set_identity(&given)?;
            Ok(given.ca)
        });
        let authority = match used {
            Ok(authority) => authority,
            Err(failure) => {
                self.work.note(format!("the new certificate cannot be used: {failure}"));
                let _gone = answer.send(Err(failure));
                return Ok(());
            }
        };
        let (tells, recorded) = tokio::sync::oneshot::channel();
        self.work.writer.write(Entry::Authority { authority }, move || {
            let _left = tells.send(());
        });
        self.take(Input::Certificate)?;
        let standing = self.standing();
        // Whoever asked hears of it once it is in the journal, on the disk.
        tokio::spawn(async move {
            if recorded.await.is_ok() {
                let _gone = answer.send(Ok(standing));
            }
        });
        Ok(())
    }

    fn standing(&self) -> ParticipantState {
        let view = self.participant.view();
        let live = Live {
            unheard: view.unheard().iter().map(|node| self.name(node)).collect(),
            oldest: view.oldest().0,
            unready: view.is_unready(),
            awaited: view.awaited().iter().map(|node| self.name(node)).collect(),
            turns: view.turns(),
            passed_preflight: view.has_passed_preflight(),
        };
        ParticipantState { live, decision: view.recorded().decision(), ended: view.recorded().ended() }
    }

    fn name(&self, node: Node) -> String {
        self.work.layout.plan().nodes.get(node.index()).map_or_else(|| "unknown".to_owned(), |node| node.node.clone())
    }

    /// Tells the participant something, and does what follows.
    fn take(&mut self, input: Input) -> Result<(), Failure> {
        let mut effects = Vec::new();
        tracing::trace!("{input:?}");
        self.participant.step(self.now(), input, &mut effects);
        let recorded = self.participant.view().recorded();
        self.work.set_recorded(recorded);
        // A journal that contradicts the protocol is told of, and the participant stays and does nothing.
        if !recorded.contradicts() {
            self.participant.view().check().map_err(|what| {
                Failure::new(FailureCode::Other, "the participant contradicts itself, and ends").cause(what)
            })?;
        }
        effects.into_iter().for_each(|effect| self.execute(effect));
        Ok(())
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { seq, entry } => {
                tracing::info!("{entry:?}");
                self.explain(entry);
                let work = Arc::clone(&self.work);
                self.work.writer.write(Entry::Protocol(entry), move || work.input(Input::Persisted(seq)));
            }
            Effect::Send { to, message } => self.send(to, message.into_message()),
            Effect::Ask { to } => self.network.ask(to),
            Effect::Answer { request, answer } => {
                if let Some(waiting) = self.queries.remove(&request) {
                    let _gone = waiting.send(answer);
                }
            }
            Effect::Run(run) => self.run(run),
            Effect::Cancel(run) => {
                if let Some(cancel) = self.running.remove(&run) {
                    cancel.send_replace(true);
                }
            }
            Effect::Guard { on } => {
                self.guard.send_replace(on);
            }
            Effect::Tell(notice) => {
                if let Some(text) = words::notice(notice, |node| self.name(node)) {
                    self.work.note(text);
                }
            }
            Effect::Leave => self.left = true,
        }
    }

    fn send(&self, to: Node, message: Message) {
        self.network.send(to, message);
    }

    /// Before a vote no: what the network knows of nodes that do not hear each other.
    fn explain(&self, entry: Fact) {
        if let Fact::Vote { yes: false, .. } = entry {
            for (node, trouble) in self.network.troubles() {
                self.work.note(format!("node {}: {trouble}", self.name(node)));
            }
        }
    }

    fn run(&mut self, run: Run) {
        let (cancel, wanted) = Cancel::new();
        self.running.retain(|_, cancel| !cancel.is_closed());
        self.running.insert(run.id(), cancel);
        let work = Arc::clone(&self.work);
        let (doing, cancelled) = (Arc::clone(&work), wanted.clone());
        let step = tokio::spawn(async move { carry_out(&doing, run, &cancelled).await });
        tokio::spawn(async move {
            tracing::info!("{:?}", run.step());
            let lost = |error| Err(Failure::new(FailureCode::Other, "the step was cut off").source(&error));
            let (outcome, failure) = match step.await.unwrap_or_else(lost) {
                Ok(Done::Proved) => (Outcome::Proved, None),
                Ok(Done::Unready(failure)) => (Outcome::Unready, Some(failure)),
                Err(failure) if wanted.is_cancelled() => (Outcome::Cancelled, Some(failure)),
                Err(failure) => (Outcome::Failed, Some(failure)),
            };
            if let Some(failure) = failure {
                let causes = failure.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
                match run.step() {
                    step if step.is_forth() && outcome == Outcome::Cancelled => {
                        tracing::info!("{step:?} was cancelled: {failure}{causes}");
                    }
                    _ if outcome == Outcome::Unready => {
                        work.note(format!("the API server was started and is not ready yet: {failure}{causes}"));
                    }
                    // It failed, or took too long.
                    step => work.note(format!("cannot {}: {failure}{causes}", words::step(step))),
                }
            }
            work.input(Input::Returned { run: run.id(), outcome });
        });
    }
}

fn failure_of(broken: Option<&Option<Failure>>) -> Failure {
    let unknown = || Failure::new(FailureCode::Storage, "the journal cannot be written");
    broken.cloned().flatten().unwrap_or_else(unknown)
}

#[cfg(test)]
mod tests;
