//! Which backups of a cluster are deleted: a pure function. [`Keep`] decides as restic does, each class by itself; above that are rules that
//! no flag can lift.
//!
//! # Invariants
//!
//! * Nothing is deleted that is not in [`Fact`] as genuine: committed, not suspect, of this cluster, as large as recorded, and signed by a trusted
//!   key where keys are given. What is not genuine takes no slot of a genuine one, either.
//! * The newest [`VERIFIED`] backups of level `written` or more stay, whatever their class.
//! * What is younger than [`YOUNG`], by either of its times, stays.
//! * While the newest backup is stale, everything stays.

mod carry_out;
mod keep;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

use crate::layout::Part;
use crate::{Backup, Class, ClusterUid, Freshness, Key, LeftOver, Level, Name, Object, freshness::State};
pub use carry_out::{Deleted, carry_out, hint};
pub use keep::{Keep, Rule, Within, WithinError};

/// How many verified backups always stay.
pub const VERIFIED: usize = 3;
/// How old a backup is before it may be deleted.
pub const YOUNG: SignedDuration = SignedDuration::from_hours(24);
/// How long nothing has been written to objects without a record before they count as left over.
pub const LEFT_OVER_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A backup that is committed and not suspect, with what its record and signature say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The backup.
    pub backup: Backup,
    /// Its level, or why it is not genuine.
    pub genuine: Result<Level, String>,
}

/// Why a backup stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// By a rule of the user's.
    Rule(Rule),
    /// It is among the newest that are verified.
    Verified,
    /// It is younger than a day.
    Young,
    /// The newest backup is stale.
    Stale,
}

impl Why {
    /// The word in the plan.
    pub fn word(self) -> &'static str {
        match self {
            Why::Rule(rule) => rule.word(),
            Why::Verified => "newest-verified",
            Why::Young => "younger-than-a-day",
            Why::Stale => "newest-is-stale",
        }
    }
}

/// A genuine backup, and whether it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The backup.
    pub backup: Backup,
    /// How much of it is proved.
    pub level: Level,
    /// Why it stays; empty if it is to be deleted.
    pub kept: Vec<Why>,
}

/// What is done to the backups of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The genuine ones, the newest first.
    pub decided: Vec<Decided>,
    /// Those that are not genuine, and why: neither kept for nor deleted.
    pub passed_over: Vec<(Name, String)>,
    /// Why nothing is deleted, if that is so.
    pub held: Option<String>,
}

impl Plan {
    /// What is to be deleted, the oldest first: what is interrupted has taken the oldest.
    pub fn deleted(&self) -> impl Iterator<Item = &Decided> {
        self.decided.iter().rev().filter(|one| one.kept.is_empty())
    }
}

/// Decides about the backups of a cluster. `newest` is the answer about its newest backup.
pub fn plan(cluster: &ClusterUid, facts: &[Fact], newest: &Freshness, keep: &Keep, now: Timestamp) -> Plan {
    let (mut decided, mut passed_over) = (Vec::new(), Vec::new());
    for Fact { backup, genuine } in facts.iter().filter(|fact| fact.backup.cluster == *cluster) {
        match genuine {
            Ok(level) => decided.push(Decided { backup: backup.clone(), level: *level, kept: Vec::new() }),
            Err(why) => passed_over.push((backup.name.clone(), why.clone())),
        }
    }
    decided.sort_by(|one: &Decided, other| {
        (other.backup.time(), &other.backup.name).cmp(&(one.backup.time(), &one.backup.name))
    });
    for class in Class::ALL {
        let mut of_class: Vec<&mut Decided> =
            decided.iter_mut().filter(|one| one.backup.name.class() == class).collect();
        let times: Vec<Timestamp> = of_class.iter().map(|one| one.backup.time()).collect();
        for (one, rules) in of_class.iter_mut().zip(keep.rules(&times)) {
            one.kept.extend(rules.into_iter().map(Why::Rule));
        }
    }
    for one in decided.iter_mut().filter(|one| one.level >= Level::Written).take(VERIFIED) {
        one.kept.push(Why::Verified);
    }
    let held = held(newest, keep);
    for one in &mut decided {
        let youngest = one.backup.name.taken().max(one.backup.modified);
        if now.duration_since(youngest) < YOUNG {
            one.kept.push(Why::Young);
        }
        if held.is_some() {
            one.kept.push(Why::Stale);
        }
    }
    Plan { decided, passed_over, held }
}

fn held(newest: &Freshness, keep: &Keep) -> Option<String> {
    match newest.state {
        // Whoever forgets all rules does not want all backups deleted.
        _ if keep.is_empty() => Some("no rule says what is kept".to_owned()),
        State::Fresh => None,
        State::Stale => Some(format!("the newest backup is stale: {}", newest.why)),
        State::None => Some(newest.why.clone()),
        State::CannotTell => Some(format!("nobody can tell whether the newest backup is fresh: {}", newest.why)),
    }
}

/// Objects without a record that have been there for long enough, unless nothing is to be deleted.
pub fn left_overs<'a>(
    left_overs: &'a [LeftOver],
    cluster: &'a ClusterUid,
    now: Timestamp,
) -> impl Iterator<Item = &'a LeftOver> {
    left_overs.iter().filter(move |left| left.cluster == *cluster && left.age(now) >= LEFT_OVER_AFTER)
}

/// The keys of a backup in the order in which they are deleted: the record, its signature, proofs and reports, then the data. A deletion that is cut
/// off leaves objects without a record, and never a record without data.
pub fn deletion_order(objects: &[Object]) -> Vec<Key> {
    let rank = |part: &Part| match part {
        Part::Record => 0,
        Part::Signature => 1,
        Part::Proof { .. } | Part::ProofSignature { .. } | Part::Report { .. } | Part::ReportSignature { .. } => 2,
        Part::NodeFiles => 3,
        Part::Data { .. } => 4,
    };
    let mut keys: Vec<Key> = objects.iter().map(|object| object.key.clone()).collect();
    keys.sort_by(|one, other| (rank(&one.part), one).cmp(&(rank(&other.part), other)));
    keys
}
