//! The check of a snapshot's pages and records, and what is recorded of what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use etcd_objects::Neighbours;
use etcd_objects::key::{Key, Prefix};
use etcd_snapshot::{
    DigestCheck, Keep, LiveKeys, Options, Pick, Progress, Put, Report, Source, VerifyError, live_keys, tally,
};

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
    // Only what tells clusters apart is kept: keys may be many.
    let keep = |key: &[u8]| match key {
        key if is_kube_system(key) => Keep::Value,
        key if is_namespace(key) => Keep::Key,
        _ => Keep::Nothing,
    };
    let (report, mut keys) = live_keys(source, &options, &Pick::new(&keep), progress)?;
    let all = Prefix::detect_all(keys.keys().map(Vec::as_slice));
    let own = prefix.map(Prefix::new).or_else(|| all.first().cloned()).unwrap_or_default();
    let mut classes = Classes::new(Neighbours::new(own, all));
    let (_, counts) = tally(source, &options, &mut |put| classes.of(put), &|_| {})?;
    let checked = checked(&report, &classes, &counts);
    keys.retain(|key, _| is_kube_system(key));
    Ok(Pages { report, checked, kube_system: keys })
}

impl Pages {
    /// The UIDs of namespace kube-system: of all such objects that are not encrypted.
    pub fn uids(&self) -> BTreeSet<String> {
        self.kube_system.values().filter_map(|live| uid_of(live.value.as_deref()?)).collect()
    }
}

/// The UID of a namespace as the API server stored it; `None` if it is encrypted, or no object.
pub fn uid_of(stored: &[u8]) -> Option<String> {
    let object = etcd_objects::decode(stored).ok()?;
    object.uid().filter(|uid| !uid.is_empty()).map(str::to_owned)
}

/// Whether a key may be that of a namespace, by which the prefixes of API servers are found.
fn is_namespace(key: &[u8]) -> bool {
    let rest = key.rsplitn(2, |byte| *byte == b'/').nth(1);
    rest.is_some_and(|rest| rest.ends_with(b"/namespaces"))
}

/// What live keys are counted by: the resource of their object, and the key that its value is encrypted with. Each pair has a number.
struct Classes {
    neighbours: Neighbours,
    numbers: BTreeMap<(Option<String>, Option<String>), u32>,
}

impl Classes {
    fn new(neighbours: Neighbours) -> Classes {
        Classes { neighbours, numbers: BTreeMap::new() }
    }

    fn of(&mut self, put: &Put<'_>) -> u32 {
        let resource = match self.neighbours.parse(put.key) {
            Key::Object(place) => Some(place.resource_name()),
            _ => None,
        };
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry((resource, put.encrypted_by.map(ToString::to_string))).or_insert(next)
    }
}

/// What is recorded of a snapshot whose pages were checked and that has so many live keys of each class.
fn checked(report: &Report, classes: &Classes, counts: &BTreeMap<u32, u64>) -> Checked {
    let mut resources: BTreeMap<String, u64> = BTreeMap::new();
    let mut encryption_keys = BTreeSet::new();
    for ((resource, encrypted_by), number) in &classes.numbers {
        let Some(count) = counts.get(number) else { continue };
        encryption_keys.extend(encrypted_by.clone());
        if let Some(resource) = resource {
            *resources.entry(resource.clone()).or_default() += count;
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
        encryption_keys: encryption_keys.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use etcd_snapshot::{EncryptionKey, FileSource, verify};

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
        let encrypted = |name: &str| {
            let of = |text: &str| text.to_owned();
            EncryptionKey { provider: of("secretbox"), version: of("v1"), name: of(name) }
        };
        let keys = [
            ("/registry/namespaces/default", None),
            ("/registry/namespaces/kube-system", None),
            ("/registry/deployments/default/a", None),
            ("/registry/secrets/default/a", Some(encrypted("key2"))),
            ("/registry/secrets/default/b", Some(encrypted("key1"))),
            ("/registry/example.com/widgets/default/a", None),
            ("/tenant/namespaces/default", None),
            ("/tenant/secrets/default/a", None),
            ("compact_rev_key", None),
        ];
        let report = verify(&snapshot().as_slice(), &Options::default(), &|_| {}).unwrap();
        let of = |prefix: Option<&str>| {
            let namespaces = keys.iter().map(|(key, _)| key.as_bytes()).filter(|key| is_namespace(key));
            let all = Prefix::detect_all(namespaces);
            let own = prefix.map_or_else(|| all[0].clone(), Prefix::new);
            let mut classes = Classes::new(Neighbours::new(own, all));
            let mut counts = BTreeMap::new();
            for (key, by) in &keys {
                let put = Put { key: key.as_bytes(), encrypted_by: by.as_ref() };
                *counts.entry(classes.of(&put)).or_default() += 1;
            }
            // A revision that is no longer the newest of its key.
            classes.of(&Put { key: b"/registry/pods/default/gone", encrypted_by: Some(&encrypted("old")) });
            let checked = checked(&report, &classes, &counts);
            let counts: Vec<String> = checked.resources.iter().map(|(name, count)| format!("{name} {count}")).collect();
            (counts, checked.encryption_keys)
        };
        let both = vec!["secretbox:v1:key1".to_owned(), "secretbox:v1:key2".to_owned()];
        let ours = ["deployments.apps 1", "namespaces 2", "secrets 2", "widgets.example.com 1"];
        assert_eq!(of(None), (ours.map(str::to_owned).to_vec(), both.clone()));
        assert_eq!(of(Some("/registry")), of(None));
        assert_eq!(of(Some("/tenant")), (vec!["namespaces 1".to_owned(), "secrets 1".to_owned()], both));
    }

    #[test]
    fn what_is_counted_is_what_is_there() {
        let bytes = snapshot();
        let pages = check(&bytes, false).unwrap();
        let keep = |_: &[u8]| Keep::Key;
        let (_, keys) = live_keys(&bytes.as_slice(), &Options::default(), &Pick::new(&keep), &|_| {}).unwrap();
        let all = Prefix::detect_all(keys.keys().map(Vec::as_slice));
        let neighbours = Neighbours::new(all.first().cloned().unwrap_or_default(), all);
        let mut resources: BTreeMap<String, u64> = BTreeMap::new();
        for key in keys.keys() {
            if let Key::Object(place) = neighbours.parse(key) {
                *resources.entry(place.resource_name()).or_default() += 1;
            }
        }
        assert_eq!(pages.checked.resources, resources);
    }
}
