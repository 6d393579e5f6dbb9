//! The check of a snapshot's pages and records, and what is recorded of what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use etcd_objects::Neighbours;
use etcd_objects::key::{Key, Prefix};
use etcd_snapshot::{DigestCheck, Keep, LiveKeys, Options, Pick, Progress, Report, Source, VerifyError, live_keys};

use crate::Checked;

/// How the key of namespace kube-system ends, whatever the API server's prefix.
const KUBE_SYSTEM: &str = "/namespaces/kube-system";

/// A snapshot whose pages and records were checked.
#[derive(Debug)]
pub struct Pages {
    /// What the check has found.
    pub report: Report,
    /// What is recorded of that.
    pub checked: Checked,
    /// What lies under the key of namespace kube-system, with the value: under all such keys, where the prefix of the API server is not
    /// known.
    pub kube_system: LiveKeys,
}

/// Checks all pages and records. `sha256` is that of the database without the digest at its end, which was compared as the bytes came;
/// `prefix` is `--etcd-prefix` of the API server, where that is known.
///
/// # Errors
/// The file is damaged, or cannot be read; or `cancel` was set.
pub fn check_pages(
    source: &dyn Source,
    sha256: [u8; 32],
    prefix: Option<&str>,
    cancel: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Pages, VerifyError> {
    let options = Options { digest: DigestCheck::Known(sha256), cancel: Some(cancel), ..Options::default() };
    let is_kube_system = |key: &[u8]| match prefix {
        Some(prefix) => key.strip_prefix(prefix.as_bytes()) == Some(KUBE_SYSTEM.as_bytes()),
        None => key.ends_with(KUBE_SYSTEM.as_bytes()),
    };
    let keep = |key: &[u8]| if is_kube_system(key) { Keep::Value } else { Keep::Key };
    let (report, mut keys) = live_keys(source, &options, &Pick::new(&keep), progress)?;
    let checked = checked(&report, &keys, prefix);
    keys.retain(|key, _| is_kube_system(key));
    Ok(Pages { report, checked, kube_system: keys })
}

/// What is recorded of a snapshot whose pages were checked and that has these keys.
fn checked(report: &Report, keys: &LiveKeys, prefix: Option<&str>) -> Checked {
    let all = Prefix::detect_all(keys.keys().map(Vec::as_slice));
    let own = prefix.map(Prefix::new).or_else(|| all.first().cloned()).unwrap_or_default();
    let neighbours = Neighbours::new(own, all);
    let mut resources: BTreeMap<String, u64> = BTreeMap::new();
    let mut encryption_keys = BTreeSet::new();
    for (key, live) in keys {
        encryption_keys.extend(live.encrypted_by.clone());
        if let Key::Object(place) = neighbours.parse(key) {
            *resources.entry(place.resource_name()).or_default() += 1;
        }
    }
    Checked {
        revision: report.revision,
        hash_kv: report.hash_kv.hash,
        hash: report.hash,
        total_key: report.total_key,
        total_size: report.total_size,
        version: report.version.clone(),
        resources,
        encryption_keys: encryption_keys.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use etcd_snapshot::{EncryptionKey, FileSource, LiveKey, verify};

    use super::*;

    fn snapshot() -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/etcd/etcd-3.6.14.db.zst");
        zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()
    }

    fn check(bytes: &[u8], cancel: bool) -> Result<Pages, VerifyError> {
        let database = bytes.len() - 32;
        let sha256 = ring::digest::digest(&ring::digest::SHA256, &bytes[..database]);
        let sha256 = sha256.as_ref().try_into().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        check_pages(&FileSource::new(file).unwrap(), sha256, None, &AtomicBool::new(cancel), &|_| {})
    }

    #[test]
    fn the_figures_are_those_of_verify() {
        let bytes = snapshot();
        let report = verify(&bytes.as_slice(), &Options::default(), &|_| {}).unwrap();
        let checked = check(&bytes, false).unwrap().checked;
        assert_eq!((checked.hash, checked.hash_kv), (report.hash, report.hash_kv.hash));
        assert_eq!((checked.revision, checked.total_key), (report.revision, report.total_key));
        assert_eq!((checked.total_size, checked.version), (report.total_size, report.version));
    }

    #[test]
    fn damage_is_found_and_a_wish_to_end_is_heard() {
        let mut bytes = snapshot();
        assert!(matches!(check(&bytes, true), Err(VerifyError::Cancelled)));
        // Both meta pages.
        bytes[..20].fill(0xff);
        bytes[4096..4116].fill(0xff);
        assert!(check(&bytes, false).is_err());
    }

    #[test]
    fn objects_are_counted_by_resource_and_those_of_others_are_not() {
        let live = |encrypted_by: Option<&str>| LiveKey {
            mod_revision: 1,
            versions: 1,
            value_bytes: 1,
            encrypted_by: encrypted_by.map(|name| {
                let of = |text: &str| text.to_owned();
                Arc::new(EncryptionKey { provider: of("secretbox"), version: of("v1"), name: of(name) })
            }),
            value: None,
        };
        let keys = [
            ("/registry/namespaces/default", None),
            ("/registry/namespaces/kube-system", None),
            ("/registry/deployments/default/a", None),
            ("/registry/secrets/default/a", Some("key2")),
            ("/registry/secrets/default/b", Some("key1")),
            ("/registry/example.com/widgets/default/a", None),
            ("/tenant/namespaces/default", None),
            ("/tenant/secrets/default/a", None),
            ("compact_rev_key", None),
        ];
        let keys: LiveKeys = keys.iter().map(|(key, by)| (key.as_bytes().to_vec(), live(*by))).collect();
        let report = verify(&snapshot().as_slice(), &Options::default(), &|_| {}).unwrap();
        let of = |prefix| {
            let checked = checked(&report, &keys, prefix);
            let counts: Vec<String> = checked.resources.iter().map(|(name, count)| format!("{name} {count}")).collect();
            (counts, checked.encryption_keys)
        };
        let both = vec!["secretbox:v1:key1".to_owned(), "secretbox:v1:key2".to_owned()];
        let ours = ["deployments.apps 1", "namespaces 2", "secrets 2", "widgets.example.com 1"];
        assert_eq!(of(None), (ours.map(str::to_owned).to_vec(), both.clone()));
        assert_eq!(of(Some("/registry")), of(None));
        assert_eq!(of(Some("/tenant")), (vec!["namespaces 1".to_owned(), "secrets 1".to_owned()], both));
    }
}
