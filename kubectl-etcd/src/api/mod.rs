//! Objects of any type in the running cluster, as the JSON that the API server sends.

mod requests;
mod served;

pub(crate) use requests::{Applied, apply, conflicts, get, is_stale, list, only_to};
pub(crate) use served::{Served, Serving};
