//! What will make a restore fail, or lose a member of etcd: facts in, findings out. Pure functions, one a check.
//!
//! [`examine`] makes all checks. A check that cannot be made says so ([`Severity::Unknown`]) with the reason; that is never taken for a pass.
//! Times are seconds since 1970, sizes are bytes.

mod check;
mod checks;
mod facts;
mod judgement;
mod left_overs;
#[cfg(test)]
mod samples;
mod start;

pub use check::{Check, Finding, Severity, Summary};
pub use facts::{BackupAge, Backups, Change, Clock, Component, Facts, Kept, Known, Login, Node};
pub use left_overs::{
    ApiServer, ApiServerLease, CameBack, Claim, ClaimRef, Kubelet, LeftOvers, Look, NodeLeft, NodeObject, RunningPod,
    Token, Volume,
};
pub use start::Start;

/// All checks, in the order in which they are told.
pub const CHECKS: &[Check] = checks::ALL;

/// A check by its name.
pub fn find(name: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.name == name)
}

/// Makes all checks. One finding a check, in the order of [`CHECKS`].
pub fn examine(facts: &Facts) -> Vec<Finding> {
    CHECKS.iter().map(|check| check.make(facts)).collect()
}

/// Makes the checks of what a restore may have left over, and no other. One finding a check, in the order of [`CHECKS`].
pub fn examine_left_overs(facts: &LeftOvers) -> Vec<Finding> {
    checks::left_overs::ALL.iter().map(|(check, judge)| check.finding(judge(facts))).collect()
}
