//! How a restore is on this node: what its journal adds up to.

use std::collections::BTreeMap;

use etcd_transaction::{Decision, Ending, Entry as Fact, How, Node, Phase, Recorded, Why};
use etcd_wire::restore::{Event, Kept, Live, NodeRestore, RestoreNode, RestorePlan, Staged, Step};
use etcd_wire::{Failure, FailureCode};

use super::former;
use super::ground::Ground;
use super::journal::{Entry, FORMAT, Line, Lines, PROTOCOL};
use super::words;

/// Most events that are told.
const EVENTS: usize = 5000;

/// The sum of a journal's entries.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) plan: RestorePlan,
    pub(super) node: String,
    pub(super) ground: Ground,
    pub(super) begun_at: i64,
    pub(super) format: u32,
    pub(super) staged: Option<Staged>,
    pub(super) armed: bool,
    /// The authorities of this restore's identities, the first one first. PEM.
    pub(super) authorities: Vec<String>,
    /// The highest revision that the new data is known to have had.
    pub(super) served: Option<i64>,
    /// Paths of what was kept, and why.
    pub(super) kept: BTreeMap<String, String>,
    /// The facts of the protocol.
    pub(super) facts: Vec<Fact>,
    /// What they add up to.
    pub(super) recorded: Recorded,
    /// What a journal of version 0.1 says of the end.
    former: (Option<Decision>, Option<Ending>),
    events: Vec<Event>,
}

impl State {
    /// Adds up a journal.
    ///
    /// # Errors
    /// It does not begin as journals do, or is of a format or protocol that this version does not know.
    pub(super) fn of(lines: Lines) -> Result<State, Failure> {
        match lines {
            Lines::Current(lines) => State::of_current(lines),
            Lines::Former(lines) => State::of_former(lines),
        }
    }

    fn of_current(lines: Vec<Line>) -> Result<State, Failure> {
        let mut lines = lines.into_iter();
        let Some(Line { at, entry: Entry::Transaction { format, protocol, plan, node, ground } }) = lines.next() else {
            return Err(Failure::new(FailureCode::Storage, "the journal has no beginning"));
        };
        if (format, protocol) != (FORMAT, PROTOCOL) {
            let message = format!("the journal of restore {} has format {format}, protocol {protocol}", plan.id);
            return Err(Failure::new(FailureCode::Storage, message)
                .cause(format!("this version knows format {FORMAT}, protocol {PROTOCOL}"))
                .hint("use the version that wrote it"));
        }
        let mut state = State::begun(at, format, *plan, node, *ground);
        lines.for_each(|line| state.add(line));
        state.recorded = Recorded::of(&state.facts);
        Ok(state)
    }

    fn begun(at: i64, format: u32, plan: RestorePlan, node: String, ground: Ground) -> State {
        State {
            plan,
            node,
            ground,
            begun_at: at,
            format,
            staged: None,
            armed: false,
            authorities: Vec::new(),
            served: None,
            kept: BTreeMap::new(),
            facts: Vec::new(),
            recorded: Recorded::default(),
            former: (None, None),
            events: Vec::new(),
        }
    }

    fn add(&mut self, line: Line) {
        let at = line.at;
        match line.entry {
            Entry::Transaction { .. } => {}
            Entry::Staged { staged } => self.staged = Some(staged),
            Entry::Authority { authority } => self.authorities.push(authority),
            Entry::Served { revision } => self.served = self.served.max(Some(revision)),
            Entry::Kept { path, why } => {
                self.tell(at, format!("{path} is kept: {why}"));
                self.kept.insert(path, why);
            }
            Entry::Note { text } => self.tell(at, text),
            Entry::Protocol(fact) => {
                self.tell_fact(at, fact);
                self.facts.push(fact);
            }
        }
    }

    fn tell(&mut self, at: i64, text: String) {
        self.events.push(Event { at, step: None, done: false, note: Some(text) });
    }

    fn tell_fact(&mut self, at: i64, fact: Fact) {
        let step = |step, done| Event { at, step: Some(step), done, note: None };
        match fact {
            Fact::Armed => self.armed = true,
            Fact::Step { step: one, done } => self.events.push(step(one, done)),
            Fact::Vote { yes: true, .. } => {
                if self.serves() {
                    self.events.push(step(Step::StartEtcd, true));
                }
            }
            Fact::Vote { yes: false, why } => {
                let why = why.map_or_else(String::new, |why| format!(": {}", self.reason(why)));
                self.tell(at, format!("votes no{why}"));
            }
            Fact::Decided { decision: Decision::Commit, .. } => {
                self.tell(at, "decided: the new data stays".to_owned());
            }
            Fact::Decided { decision: Decision::Abort, how } => {
                let how = match how {
                    How::VoteNo { node } => format!(": node {} has voted no", self.name(node)),
                    How::Told { node } => format!(": node {} knows the decision", self.name(node)),
                    How::Operator => ": told by an operator".to_owned(),
                    How::Ballot { .. } => String::new(),
                };
                self.tell(at, format!("decided: roll back to the old data{how}"));
            }
            Fact::Intruded { component } => {
                let what = words::component(component);
                self.tell(at, format!("{what} ran on the new data before the decision"));
            }
            Fact::Excluded { nodes, .. } => {
                let names: Vec<&str> = nodes.iter().map(|node| self.name(node)).collect();
                let text = format!("the other nodes decide without {}, by an operator's order", names.join(", "));
                self.tell(at, text);
            }
            Fact::Restaged { .. } => self.events.push(step(Step::Restage, true)),
            Fact::Stays
            | Fact::Promised { .. }
            | Fact::Accepted { .. }
            | Fact::ServedAbove
            | Fact::Ended { .. }
            | Fact::AllEnded => {}
            Fact::Forgotten => self.tell(at, "an operator has ended the waiting for the other nodes".to_owned()),
        }
    }

    fn reason(&self, why: Why) -> String {
        words::why(why, |node| self.name(node).to_owned(), self.plan.peer_port)
    }

    fn name(&self, node: Node) -> &str {
        self.plan.nodes.get(node.index()).map_or("unknown", |node| node.node.as_str())
    }

    fn of_former(lines: Vec<former::Line>) -> Result<State, Failure> {
        let mut lines = lines.into_iter();
        let Some(former::Line { at, entry: former::Entry::Begun { plan, node, ground } }) = lines.next() else {
            return Err(Failure::new(FailureCode::Storage, "the journal has no beginning"));
        };
        let mut state = State::begun(at, 1, *plan, node, *ground);
        for former::Line { at, entry } in lines {
            match entry {
                former::Entry::Begun { .. } | former::Entry::Everywhere { .. } => {}
                former::Entry::Staged { staged } => state.staged = Some(staged),
                former::Entry::Armed => state.armed = true,
                former::Entry::Served { revision } => state.served = state.served.max(Some(revision)),
                former::Entry::Step { step, done } => {
                    state.events.push(Event { at, step: Some(step), done, note: None });
                }
                former::Entry::Decided { decision, why } => {
                    state.former.0.get_or_insert(decision);
                    state.tell(at, format!("decided: {}", words::decision(decision, &why)));
                }
                former::Entry::Ended { ending } => state.former.1 = Some(ending),
                former::Entry::Note { text } => state.tell(at, text),
            }
        }
        Ok(state)
    }

    /// What was told, in order.
    pub(super) fn notes(&self) -> Vec<String> {
        self.events.iter().filter_map(|event| event.note.clone()).collect()
    }

    fn serves(&self) -> bool {
        self.plan.serving().any(|node| node.node == self.node)
    }

    /// What is decided, as far as this node knows.
    pub(super) fn decision(&self) -> Option<Decision> {
        self.recorded.decision().or(self.former.0)
    }

    /// How it ended here.
    pub(super) fn ended(&self) -> Option<Ending> {
        self.recorded.ended().or(self.former.1)
    }

    /// Whether no step was begun yet.
    pub(super) fn untouched(&self) -> bool {
        self.recorded.begun().is_empty() && self.recorded.phase() == Phase::Armed && self.former == (None, None)
    }

    /// Whether something of it is still to be done, here or as far as this node waits for others.
    pub(super) fn is_unfinished(&self) -> bool {
        self.armed && (self.ended().is_none() || self.waits_for_others())
    }

    /// Whether it has ended here, and this node has not heard that it has everywhere. What was given up before anybody could have voted concerns
    /// nobody else; and whoever has begun a rollback of the nodes' own knows that all have committed.
    pub(super) fn waits_for_others(&self) -> bool {
        let recorded = &self.recorded;
        let last = if self.serves() { Step::LaunchEtcd } else { Step::StopEtcd };
        let bound = recorded.done().contains(last);
        recorded.ended().is_some() && bound && !recorded.all_ended() && !recorded.forgotten() && !recorded.handed_over()
    }

    /// Whether a node without etcd may wait to hear from the participant here that etcd has gone back: its API server starts only then. A participant that has
    /// left by itself has heard that there is none.
    pub(super) fn is_awaited(&self) -> bool {
        let recorded = &self.recorded;
        let waits = |node: &RestoreNode| !node.has_etcd() && node.node != self.node;
        let went_back = recorded.ended().is_some() && recorded.begun().contains(Step::StopApi);
        went_back && !recorded.all_ended() && !recorded.forgotten() && self.plan.nodes.iter().any(waits)
    }

    /// For the plugin. `aside` is what is kept, and its bytes.
    pub(super) fn told(self, standing: Standing) -> NodeRestore {
        // The last ones tell how it is; all of them are in the journal.
        let events = self.events[self.events.len().saturating_sub(EVENTS)..].to_vec();
        let (aside, aside_bytes) = standing.aside.map_or((None, 0), |(path, bytes)| (Some(path), bytes));
        let (excluded, epoch) = self.recorded.excluded();
        NodeRestore {
            waits_for_others: self.waits_for_others() || self.is_awaited() && standing.participates,
            decision: self.decision(),
            ended: self.ended(),
            vote: self.recorded.vote(),
            accepted: self.recorded.accepted(),
            excluded: excluded.iter().map(|node| self.name(node).to_owned()).collect(),
            epoch,
            intruded: self.recorded.intruded(),
            participates: standing.participates,
            live: standing.live,
            kept: standing.kept,
            format: self.format,
            plan: self.plan,
            node: self.node,
            begun_at: self.begun_at,
            staged: self.staged,
            armed: self.armed,
            has_identity: standing.has_identity,
            events,
            aside,
            aside_bytes,
        }
    }
}

/// What a node tells of a restore that is not in its journal.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) has_identity: bool,
    pub(super) participates: bool,
    pub(super) live: Option<Live>,
    /// The old data that is kept, and its bytes.
    pub(super) aside: Option<(String, u64)>,
    /// What else is still there of what was kept.
    pub(super) kept: Vec<Kept>,
}
