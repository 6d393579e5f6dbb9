//! What was reached: counted, so that nothing is held for tested that never happens.

use etcd_transaction::{Entry, Notice, Phase, Step};

use super::choices::{KINDS, Kind};

/// What a run can be remembered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// It ended with the new state.
    Committed,
    /// It ended with the old state.
    Aborted,
    /// Nothing special happened.
    Smooth,
    /// Another node than the coordinator decided, or the coordinator anew.
    Takeover,
    /// An operator brought new identities.
    Resume,
    /// An operator brought a decision that was found in journals.
    ResumeDecided,
    /// An operator let the rest decide.
    Without,
    /// An operator ended the waiting.
    Forget,
    /// Less than a quorum was gone for good.
    MinorityLost,
    /// A quorum was gone for good.
    MajorityLost,
    /// It said why it could not end.
    Blocked,
    /// A manifest that came back was moved aside.
    Intruder,
    /// A client wrote to new data that was not decided.
    IntruderWrote,
    /// A node lost its identity.
    IdentityLost,
    /// A node hung once.
    OneHang,
    /// A process was paused once.
    OnePause,
    /// No API server became ready: it went back by itself.
    TurnedBack,
    /// It did not go back in full: the new data stayed.
    TurnedInVain,
    /// An operator did not wait for an API server any longer.
    UnreadyForgotten,
    /// An operator let an API server start although etcd was not known to be back on all nodes.
    ApiServersForgotten,
}

const MARKS: usize = Mark::ApiServersForgotten as usize + 1;
const ALL: [Mark; MARKS] = [
    Mark::Committed,
    Mark::Aborted,
    Mark::Smooth,
    Mark::Takeover,
    Mark::Resume,
    Mark::ResumeDecided,
    Mark::Without,
    Mark::Forget,
    Mark::MinorityLost,
    Mark::MajorityLost,
    Mark::Blocked,
    Mark::Intruder,
    Mark::IntruderWrote,
    Mark::IdentityLost,
    Mark::OneHang,
    Mark::OnePause,
    Mark::TurnedBack,
    Mark::TurnedInVain,
    Mark::UnreadyForgotten,
    Mark::ApiServersForgotten,
];

/// How often each was reached: in how many runs, and how often in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    marks: [u64; MARKS],
    runs: [u64; MARKS],
    faults: [[u64; 8]; KINDS],
    phases: [[u64; 7]; 7],
    steps: [u64; 14],
    entries: [u64; 14],
    notices: [u64; 13],
}

impl Marks {
    /// It happened.
    pub fn add(&mut self, mark: Mark) {
        self.marks[mark as usize] += 1;
        self.runs[mark as usize] = 1;
    }

    /// A choice was special.
    pub fn fault(&mut self, kind: Kind, value: u32) {
        self.faults[kind as usize][value as usize] += 1;
    }

    /// A participant came from one phase to another.
    pub fn phase(&mut self, from: Phase, to: Phase) {
        self.phases[from as usize][to as usize] += 1;
    }

    /// A step was begun.
    pub fn run(&mut self, step: Step) {
        self.steps[step as usize] += 1;
    }

    /// An entry came to the disk.
    pub fn entry(&mut self, entry: &Entry) {
        let place = match entry {
            Entry::Armed => 0,
            Entry::Step { .. } => 1,
            Entry::Vote { .. } => 2,
            Entry::Promised { .. } => 3,
            Entry::Accepted { .. } => 4,
            Entry::Decided { .. } => 5,
            Entry::Intruded { .. } => 6,
            Entry::ServedAbove => 7,
            Entry::Excluded { .. } => 8,
            Entry::Ended { .. } => 9,
            Entry::AllEnded => 10,
            Entry::Forgotten => 11,
            Entry::Restaged { .. } => 12,
            Entry::Stays => 13,
        };
        self.entries[place] += 1;
    }

    /// A person was told something.
    pub fn notice(&mut self, notice: &Notice) {
        let place = match notice {
            Notice::Contradiction => 0,
            Notice::Asks => 1,
            Notice::InDoubt { .. } => 2,
            Notice::Unheard { .. } => 3,
            Notice::Hangs { .. } => 4,
            Notice::TriesAgain { .. } => 5,
            Notice::Unready => 6,
            Notice::Intruder { .. } => 7,
            Notice::WaitsFor { .. } => 8,
            Notice::TurnsBack => 9,
            Notice::OldDataDiffers => 10,
            Notice::Stays => 11,
            Notice::ApiWaits { .. } => 12,
        };
        self.notices[place] += 1;
    }

    /// Adds another run's, or those of many.
    pub fn join(&mut self, other: &Marks) {
        let add =
            |ours: &mut [u64], theirs: &[u64]| ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours += theirs);
        add(&mut self.marks, &other.marks);
        add(&mut self.runs, &other.runs);
        add(self.faults.as_flattened_mut(), other.faults.as_flattened());
        add(self.phases.as_flattened_mut(), other.phases.as_flattened());
        add(&mut self.steps, &other.steps);
        add(&mut self.entries, &other.entries);
        add(&mut self.notices, &other.notices);
    }

    /// In how many runs something happened.
    pub fn runs(&self, mark: Mark) -> u64 {
        self.runs[mark as usize]
    }

    /// What was never reached, by name.
    pub fn missing(&self, least: u64) -> Vec<String> {
        let mut missing = Vec::new();
        for mark in ALL {
            if self.runs(mark) < least {
                missing.push(format!("{mark:?}"));
            }
        }
        for kind in Kind::ALL {
            if self.faults[kind as usize][1] < least && !matches!(kind, Kind::Manifest | Kind::Operator | Kind::Begin) {
                missing.push(format!("{kind:?}"));
            }
        }
        let named = [("step", &self.steps[..]), ("entry", &self.entries[1..]), ("notice", &self.notices[1..])];
        for (name, counts) in named {
            missing.extend(
                counts.iter().enumerate().filter(|(_, count)| **count < least).map(|(at, _)| format!("{name} {at}")),
            );
        }
        missing
    }

    /// A table of how runs ended, as text.
    pub fn table(&self, runs: u64) -> String {
        let mut lines = String::new();
        for mark in ALL {
            let count = self.runs(mark);
            let per_mille = (count * 1000).checked_div(runs).unwrap_or(0);
            lines += &format!("{:<16} {count:>9} {:>3}.{} %\n", format!("{mark:?}"), per_mille / 10, per_mille % 10);
        }
        lines
    }
}
