//! What a disk shows, and what it keeps when the power fails.

use etcd_transaction::Entry;

/// Names of files, or what else changes by operations of which each is done as a whole: as seen, and as kept.
#[derive(Debug, Clone)]
pub struct Layered<T> {
    kept: T,
    /// After each operation that was not synced.
    later: Vec<T>,
}

impl<T: Copy + PartialEq> Layered<T> {
    /// All of it is kept.
    pub fn new(kept: T) -> Layered<T> {
        Layered { kept, later: Vec::new() }
    }

    /// As programs see it.
    pub fn seen(&self) -> T {
        self.later.last().copied().unwrap_or(self.kept)
    }

    /// As it would be after a power failure.
    pub fn kept(&self) -> T {
        self.kept
    }

    /// An operation.
    pub fn set(&mut self, now: T) {
        self.later.push(now);
    }

    /// What is seen is kept.
    pub fn sync(&mut self) {
        self.kept = self.seen();
        self.later.clear();
    }

    /// How many operations were not synced.
    pub fn unsynced(&self) -> usize {
        self.later.len()
    }

    /// The power fails: of what was not synced, the first operations are kept.
    pub fn fail(&mut self, operations: usize) {
        if let Some(kept) = operations.checked_sub(1).and_then(|last| self.later.get(last)) {
            self.kept = *kept;
        }
        self.later.clear();
    }
}

/// The journal's file.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    entries: Vec<Entry>,
    kept: usize,
}

impl Lines {
    /// What a program reads.
    pub fn seen(&self) -> &[Entry] {
        &self.entries
    }

    /// What survives a power failure.
    pub fn kept(&self) -> &[Entry] {
        &self.entries[..self.kept]
    }

    /// Adds a line, and returns how many there are.
    pub fn append(&mut self, entry: Entry) -> usize {
        self.entries.push(entry);
        self.entries.len()
    }

    /// The first lines are kept; returns those that were not before.
    pub fn sync(&mut self, lines: usize) -> std::ops::Range<usize> {
        let before = self.kept;
        self.kept = self.kept.max(lines.min(self.entries.len()));
        before..self.kept
    }

    /// How many lines were not synced.
    pub fn unsynced(&self) -> usize {
        self.entries.len() - self.kept
    }

    /// The power fails: some of the lines that were not synced are kept; one that is torn is cut by whoever reads it, and so is none.
    pub fn fail(&mut self, lines: usize) -> std::ops::Range<usize> {
        let before = self.kept;
        self.kept += lines;
        self.entries.truncate(self.kept);
        before..self.kept
    }
}

/// A member's data. It is moved, and never copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// Of the cluster that was there before.
    Old,
    /// Of the cluster that is restored.
    New,
    /// Of the cluster that is built of the old data, to go back by itself.
    Raised,
}

impl Data {
    /// What a transaction takes away: the first one the old data, the way back the new.
    pub fn old(turn: usize) -> Data {
        [Data::Old, Data::New][turn]
    }

    /// What a transaction brings.
    pub fn new(turn: usize) -> Data {
        [Data::New, Data::Raised][turn]
    }
}

/// Names of data directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Where etcd looks.
    Live,
    /// Where the new data waits.
    Staged,
    /// Where the old data is set aside.
    Aside,
    /// Where new data is set aside.
    KeptNew,
    /// Where the way back sets aside what was in place.
    AsideBack,
    /// Where the way back keeps what it had brought.
    KeptBack,
}

impl Place {
    /// Where a transaction sets aside what it takes away.
    pub fn aside(turn: usize) -> Place {
        [Place::Aside, Place::AsideBack][turn]
    }

    /// Where a transaction keeps what it had brought.
    pub fn kept(turn: usize) -> Place {
        [Place::KeptNew, Place::KeptBack][turn]
    }
}

/// What lies where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directories(pub [Option<Data>; 6]);

impl Directories {
    /// What a name names.
    pub fn at(self, place: Place) -> Option<Data> {
        self.0[place as usize]
    }

    /// Where data is.
    pub fn find(self, data: Data) -> impl Iterator<Item = usize> {
        (0..6).filter(move |&place| self.0[place] == Some(data))
    }
}

/// The bytes of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bytes {
    /// Put there by the participant, or never taken away.
    Own,
    /// The same bytes, put there by somebody else.
    Again,
    /// Other bytes, put there by somebody else.
    Other,
}

/// A component with a manifest. Controller manager and scheduler are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// etcd.
    Etcd,
    /// The API server.
    Api,
    /// Controller manager and scheduler.
    Controllers,
}

/// All of them.
pub const PARTS: [Part; 3] = [Part::Etcd, Part::Api, Part::Controllers];

/// Manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifests {
    /// In the kubelet's folder.
    pub there: [Option<Bytes>; 3],
    /// Held aside by the participant.
    pub held: [bool; 3],
    /// A manifest that came back lies aside under another name.
    pub moved: [bool; 3],
}
