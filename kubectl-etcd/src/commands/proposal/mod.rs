//! A change of a whole control plane before it begins: what would become of the objects.

mod classes;
mod fields;
mod live_keys;
mod object_changes;
mod show;

pub(crate) use fields::Fields;
pub(crate) use live_keys::live_keys;
pub(crate) use object_changes::{Changes, Keys};

#[cfg(test)]
mod tests {
    use super::Keys;

    pub(super) fn keys(all: &[(&str, i64)]) -> Keys {
        all.iter().map(|(key, revision)| (key.as_bytes().to_vec(), *revision)).collect()
    }
}
