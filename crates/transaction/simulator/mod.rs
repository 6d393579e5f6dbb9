//! Restores in virtual time: nodes with their disks, kubelets, members, API servers, clients, an operator and a network, with faults, from one
//! seed. Included by the example `simulate` and by the tests, so that the library stays without any of it.

pub mod checker;
pub mod choices;
pub mod disk;
pub mod explore;
mod faults;
mod kubelet;
pub mod marks;
mod network;
mod operations;
mod operator;
pub mod planted;
pub mod shrink;
pub mod world;

use checker::Failure;
use choices::Key;
use marks::Marks;
use world::{Setting, World};

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Of which seed.
    pub seed: u64,
    /// How many events there were.
    pub events: u64,
    /// When it was over, in milliseconds.
    pub ended: u64,
    /// Of everything that happened.
    pub digest: u64,
    /// What broke.
    pub failure: Option<Failure>,
    /// What was special.
    pub taken: Vec<(Key, u32)>,
    /// All choices that were asked for, if they were to be noted.
    pub asked: Vec<(Key, u32)>,
    /// What was reached.
    pub marks: Marks,
    /// The trace, if it was wanted.
    pub lines: Vec<String>,
}

/// One run.
pub fn run(setting: &Setting) -> Report {
    let mut world = World::new(setting);
    world.run();
    Report {
        seed: setting.seed,
        events: world.events,
        ended: world.now,
        digest: world.digest,
        failure: world.failure(),
        taken: world.choices.taken,
        asked: world.choices.asked.unwrap_or_default(),
        marks: world.marks,
        lines: world.lines,
    }
}

/// What came of many runs.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How many.
    pub runs: u64,
    /// All events.
    pub events: u64,
    /// All digests, in order.
    pub digest: u64,
    /// What was reached.
    pub marks: Marks,
    /// Runs in which something broke.
    pub failures: Vec<Report>,
}

impl Summary {
    /// Adds a run; of those that failed, the first few are kept.
    pub fn add(&mut self, report: Report) {
        self.runs += 1;
        self.events += report.events;
        self.digest = choices::mix(self.digest ^ report.digest);
        self.marks.join(&report.marks);
        if report.failure.is_some() {
            self.failures.push(report);
        }
    }
}

/// Runs seeds on as many threads; what came of them is joined in the order of the seeds.
pub fn run_seeds(
    seeds: std::ops::Range<u64>,
    threads: usize,
    setting: impl Fn(u64) -> Setting + Sync,
    mut each: impl FnMut(&Report),
) -> Summary {
    const PART: u64 = 64;
    let mut summary = Summary::default();
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let (sender, receiver) = std::sync::mpsc::sync_channel::<(u64, Vec<Report>)>(64);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, setting) = (sender.clone(), &next, &setting);
            scope.spawn(move || {
                loop {
                    let from = next.fetch_add(PART, std::sync::atomic::Ordering::Relaxed);
                    if from >= seeds.end {
                        return;
                    }
                    let part = (from..seeds.end.min(from + PART)).map(|seed| run(&setting(seed))).collect();
                    if sender.send((from, part)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = std::collections::BTreeMap::new();
        let mut due = seeds.start;
        for (from, part) in receiver {
            waiting.insert(from, part);
            while let Some(part) = waiting.remove(&due) {
                due += PART;
                for report in part {
                    each(&report);
                    summary.add(report);
                }
            }
        }
    });
    summary
}
