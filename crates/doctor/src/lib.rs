//! What will make a restore fail, or lose a member of etcd: facts in, findings out. Pure functions, one a check.
//!
//! [`examine`] makes all checks. A check that cannot be made says so ([`Severity::Unknown`]) with the reason; that is never taken for a pass.
//! Times are seconds since 1970, sizes are bytes.

mod check;
mod checks;
mod facts;
mod judgement;
#[cfg(test)]
mod samples;

pub use check::{Check, Finding, Severity, Summary};
pub use facts::{BackupAge, Backups, Clock, Component, Facts, Kept, Known, Login, Node};

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
