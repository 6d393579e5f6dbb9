//! A change of a whole control plane: its plan, what would become of the objects, the confirmation, and the result.

mod api_servers;
mod classes;
mod fields;
mod live_keys;
mod object_changes;
mod outage;
mod propose;
mod show;

pub(crate) use api_servers::{ApiServerLeases, Named};
pub(crate) use fields::Fields;
pub(crate) use live_keys::{kept_keys, live_keys};
pub(crate) use object_changes::{Changes, Keys};
pub(crate) use outage::Outage;
pub(crate) use propose::{First, Means, Proposal, early_consent, propose, tell};

#[cfg(test)]
mod tests {
    use super::Keys;

    pub(super) fn keys(all: &[(&str, i64)]) -> Keys {
        all.iter().map(|(key, revision)| (key.as_bytes().to_vec(), *revision)).collect()
    }
}
