//! What people and scripts see: reports of failure, progress, tables, and the one place that writes to the terminal.

pub(crate) mod confirm;
mod failure;
mod format;
pub(crate) mod html;
pub(crate) mod passphrase;
mod printer;
mod progress;
mod screen;
mod table;
pub(crate) mod visible;

pub(crate) use failure::{Exit, Failed, Outcome, ResultExt, grouped};
pub(crate) use format::{Format, age, bytes, data_text, print_data, seconds, timestamp};
pub(crate) use printer::{Log, Printer};
pub(crate) use progress::Progress;
pub(crate) use table::Table;

/// `apiVersion` of everything that is printed or written as JSON or YAML; fields are only ever added.
pub(crate) const API_VERSION: &str = "kubectl-etcd/v1";
