//! The times of the protocol. None is needed for safety; the bounds that follow from them are in `docs/RESTORE.md`.

use crate::input::Millis;

/// How often a node tells its state, or asks without an identity.
pub const BEAT: Millis = Millis(2_000);
/// After how long without progress a node counts as lost.
pub const LOST: Millis = Millis(30_000);
/// After how long without progress of the coordinator a node that has not voted votes no.
pub const SELF: Millis = Millis(45_000);
/// How long an armed node waits for the first order.
pub const BEGIN: Millis = Millis(120_000);
/// How long the coordinator waits after the preflight before anything is stopped: an API server that is about to be stopped still carries the
/// message to the client that it begins.
pub const GRACE: Millis = Millis(500);
/// How long a node stays at least after its end, to be asked.
pub const LINGER: Millis = Millis(15_000);
/// How long a node stays at most after it has heard that all have ended.
pub const LEAVE: Millis = Millis(60_000);
/// How long a node that was armed for the way back stays at most to hear that all others were.
pub const PARTING: Millis = Millis(10_000);
/// For how long at most an API server may not have been looked at until its process has ended, for a node to be armed for the way back.
pub const SURE: Millis = Millis(5_000);
/// How long a step after the decision waits before it is tried again.
pub const RETRY: Millis = Millis(2_000);
/// How long a cancelled step may take to return before a person is told.
pub const HANGS: Millis = Millis(10_000);
/// A takeover, if all votes are known.
pub(crate) const TAKE: Millis = Millis(8_000);
/// A takeover, if some vote is not known.
pub(crate) const TAKE_UNKNOWN: Millis = Millis(34_000);
/// The first time after an own ballot that failed.
pub(crate) const TAKE_AGAIN: Millis = Millis(4_000);
/// The longest of these times.
pub(crate) const TAKE_MOST: Millis = Millis(64_000);
/// What a node waits longer for each one before it in the order of takeovers.
pub(crate) const RANK: u64 = 4_000;
