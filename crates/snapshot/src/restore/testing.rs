//! What tests elsewhere write logs with.

pub(crate) use super::proto::Message;
pub(crate) use super::wal::Writer;
