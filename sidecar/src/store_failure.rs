//! Failures of a store, as this program tells failures.

use etcd_store::{Leftovers, NotCommitted, NotReady, StoreError, Why};
use etcd_wire::{Failure, FailureCode};

/// What went wrong with a store.
pub(crate) fn failed(error: &StoreError) -> Failure {
    let failure = Failure::new(FailureCode::Other, error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// A store that no backup can be written to.
pub(crate) fn not_ready(error: &NotReady) -> Failure {
    match error {
        NotReady::Store(error) => failed(error),
        NotReady::Clock(why) => {
            Failure::new(FailureCode::Refused, "the clock of this node differs too much from the clock of the store")
                .cause(why)
                .cause("no backup was added to the store")
                .hint("set the clock of this node")
        }
    }
}

/// A backup that is not in the store.
pub(crate) fn not_committed(error: NotCommitted) -> Failure {
    let NotCommitted { why, left } = error;
    let unknown = matches!(why, Why::Unknown(_));
    let failure = match &why {
        Why::Store(error) => failed(error),
        Why::Unknown(error) => failed(error).cause("whether the backup is in the store is not known"),
        why => Failure::new(FailureCode::Other, "cannot write the backup to the store").source(why),
    };
    left_behind(failure, &left, unknown)
}

/// Tells what is in the store of a backup that was given up.
pub(crate) fn left_behind(failure: Failure, left: &Leftovers, may_be_there: bool) -> Failure {
    let failure = match (left.has_record(), may_be_there) {
        (_, true) => failure,
        (true, false) => failure.cause("the backup in the store is not complete: do not use it"),
        (false, false) => failure.cause("no backup was added to the store"),
    };
    left.stay.iter().fold(failure, |failure, one| failure.cause(one))
}

/// A wrong word on the command line.
pub(crate) fn usage(message: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureCode::BadRequest, message).source(error)
}
