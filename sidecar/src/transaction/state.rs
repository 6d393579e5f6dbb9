//! How a restore is on this node: what its journal adds up to.

use std::collections::{BTreeMap, BTreeSet};

use etcd_wire::restore::{Decision, Ending, Event, Kept, NodeRestore, RestorePlan, Staged, Step};
use etcd_wire::{Failure, FailureCode};

use super::coordinator;
use super::ground::Ground;
use super::journal::{Entry, Line};

/// Most events that are told.
const EVENTS: usize = 5000;
/// How many revisions the new data may have gained while it was served, where it could not be asked any more.
const UNKNOWN: i64 = 20_000;
/// How many it may have gained after this node looked, by API servers of others that were still being stopped.
const LATE: i64 = 2_000;

/// The sum of a journal's entries.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) plan: RestorePlan,
    pub(super) node: String,
    pub(super) ground: Ground,
    pub(super) begun_at: i64,
    pub(super) staged: Option<Staged>,
    pub(super) armed: bool,
    /// The highest revision that the new data is known to have had.
    pub(super) served: Option<i64>,
    /// Steps that were begun.
    pub(super) begun: BTreeSet<Step>,
    /// Steps that are done and proved.
    pub(super) done: BTreeSet<Step>,
    /// On the coordinator: steps that all nodes have done.
    pub(super) everywhere: BTreeSet<Step>,
    pub(super) decision: Option<Decision>,
    pub(super) ended: Option<Ending>,
    /// Paths of what was kept, and why.
    pub(super) kept: BTreeMap<String, String>,
    events: Vec<Event>,
}

impl State {
    /// Adds up a journal.
    ///
    /// # Errors
    /// It does not begin as journals do.
    pub(super) fn of(lines: Vec<Line>) -> Result<State, Failure> {
        let mut lines = lines.into_iter();
        let Some(Line { at, entry: Entry::Begun { plan, node, ground } }) = lines.next() else {
            return Err(Failure::new(FailureCode::Storage, "the journal has no beginning"));
        };
        let mut state = State {
            plan: *plan,
            node,
            ground: *ground,
            begun_at: at,
            staged: None,
            armed: false,
            served: None,
            begun: BTreeSet::new(),
            done: BTreeSet::new(),
            everywhere: BTreeSet::new(),
            decision: None,
            ended: None,
            kept: BTreeMap::new(),
            events: Vec::new(),
        };
        lines.for_each(|line| state.add(&line));
        Ok(state)
    }

    pub(super) fn add(&mut self, line: &Line) {
        let mut event = Event { at: line.at, step: None, done: false, note: None };
        match &line.entry {
            Entry::Begun { .. } => {}
            Entry::Staged { staged } => self.staged = Some(staged.clone()),
            Entry::Armed => self.armed = true,
            Entry::Served { revision } => self.served = self.served.max(Some(*revision)),
            Entry::Step { step, done } => {
                let set = if *done { &mut self.done } else { &mut self.begun };
                set.insert(*step);
                (event.step, event.done) = (Some(*step), *done);
                self.events.push(event);
            }
            Entry::Everywhere { step } => {
                self.everywhere.insert(*step);
            }
            Entry::Decided { decision, why } => {
                self.decision.get_or_insert(*decision);
                event.note = Some(match decision {
                    Decision::Commit => "decided: the new data stays".to_owned(),
                    Decision::Abort => format!("decided: roll back to the old data: {why}"),
                });
                self.events.push(event);
            }
            Entry::Kept { path, why } => {
                self.kept.insert(path.clone(), why.clone());
                event.note = Some(format!("{path} is kept: {why}"));
                self.events.push(event);
            }
            Entry::Ended { ending } => self.ended = Some(*ending),
            Entry::Note { text } => {
                event.note = Some(text.clone());
                self.events.push(event);
            }
        }
    }

    /// Whether the node has promised to stay with whatever is decided: the coordinator may count on it, so it must not go
    /// back by itself any more.
    pub(super) fn voted(&self) -> bool {
        self.done.contains(&Step::StartApi)
    }

    /// The revision that clients may have seen of the new state: `None` if no API server has served it. None does before the members do.
    pub(super) fn seen(&self) -> Option<i64> {
        let staged = self.staged.as_ref().filter(|_| self.done.contains(&Step::StartEtcd))?;
        Some(self.served.map_or(staged.revision.saturating_add(UNKNOWN), |served| served.saturating_add(LATE)))
    }

    /// Whether etcd may have run on the new data. It is not deleted then: whatever was written to it may have been acknowledged.
    pub(super) fn ran_on_new(&self) -> bool {
        self.begun.contains(&Step::LaunchEtcd)
    }

    /// Whether no step was begun yet.
    pub(super) fn untouched(&self) -> bool {
        self.begun.is_empty()
    }

    /// For the plugin. `aside` is where the old data is, and its bytes; `kept` what else is still there.
    pub(super) fn told(self, has_identity: bool, aside: Option<(String, u64)>, kept: Vec<Kept>) -> NodeRestore {
        // The last ones tell how it is; all of them are in the journal.
        let events = self.events[self.events.len().saturating_sub(EVENTS)..].to_vec();
        let waits_for_others = coordinator::concerns(&self);
        let (aside, aside_bytes) = aside.map_or((None, 0), |(path, bytes)| (Some(path), bytes));
        NodeRestore {
            plan: self.plan,
            node: self.node,
            begun_at: self.begun_at,
            staged: self.staged,
            armed: self.armed,
            has_identity,
            events,
            decision: self.decision,
            ended: self.ended,
            waits_for_others,
            vote: None,
            accepted: None,
            excluded: Vec::new(),
            epoch: 0,
            intruded: false,
            participates: false,
            live: None,
            kept,
            format: 1,
            aside,
            aside_bytes,
        }
    }
}
