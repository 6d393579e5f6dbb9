//! What tests elsewhere write logs with.

pub(crate) use super::proto::Message;
pub(crate) use super::wal::Writer;

/// The log of a new member.
pub(crate) fn new_log(membership: &super::Membership) -> Vec<u8> {
    super::Wal::of(membership).encode()
}
