//! What is asked of the etcd that serves the snapshot, and what its answers come to.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use etcd_objects::encryption::DecryptError;
use etcd_objects::key::{Key, Place};
use etcd_objects::{ReadValue, Undecodable, read_value};
use etcd_snapshot::{HashKvAt, Options, hash_kv};

use crate::checks::{self, Check, Expected};
use crate::client::{Etcd, Hashed};
use crate::report::{ApiServer, Encryption, Resource, Sampled};
use crate::samples::{Sample, Samples};
use crate::{Outcome, Recorded, Subject, Trouble};

/// What lies under the key of namespace kube-system, below the prefix of an API server.
const KUBE_SYSTEM: &str = "/namespaces/kube-system";

/// What was proved.
#[derive(Debug)]
pub struct Proved {
    /// Version of the etcd that has answered.
    pub(crate) version: String,
    pub(crate) checks: Vec<Check>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) encryption: Vec<Encryption>,
    pub(crate) api_server: Option<ApiServer>,
}

/// Compares the figures.
///
/// # Errors
/// etcd does not answer, or the file cannot be read again.
pub(crate) async fn figures(
    etcd: &Etcd,
    subject: &Subject<'_>,
    recorded: &Recorded,
    cancel: &Arc<AtomicBool>,
) -> Outcome<Vec<Check>> {
    let (report, keys) = (subject.report, subject.keys);
    let revision = report.hash_kv.revision;
    let served = etcd.hash_kv(revision).await?;
    let (file, comparable) = beside(subject, served, cancel).await?;
    // What is recorded is of the file's own compaction.
    let record = recorded.hash_kv.filter(|_| served.compact_revision == report.hash_kv.compact_revision);
    // Compactions and raised revisions let a store go on above its last change, which is what is recorded.
    let recorded_revision =
        recorded.revision.map(|last| if last == report.revision { report.current_revision } else { last });
    let (uid_of_file, uid_served) = cluster(etcd, subject, revision).await?;
    let uid = Expected::of(recorded.kube_system_uid.clone().map(Some), uid_of_file);
    Ok(vec![
        checks::revision(&Expected::of(recorded_revision, report.current_revision), etcd.revision, report.leases),
        checks::hash_kv(&Expected::of(record, file), served.hash, comparable),
        checks::keys(keys.len() as u64, etcd.count(revision).await?),
        checks::cluster(&uid, uid_served),
    ])
}

/// The file's hash as of the compaction that etcd answers for, or why the two cannot be compared.
async fn beside(subject: &Subject<'_>, served: Hashed, cancel: &Arc<AtomicBool>) -> Outcome<(u32, Result<(), String>)> {
    let ours = subject.report.hash_kv;
    if served.compact_revision < ours.compact_revision {
        let why = format!(
            "etcd answers as of a compaction to revision {}, and the file was compacted to {}",
            served.compact_revision, ours.compact_revision
        );
        // Of a key space without a key, 3.5.5 and later may answer what they remember of the compaction.
        return Ok((ours.hash, if subject.keys.is_empty() { Err(why) } else { Ok(()) }));
    }
    if served.compact_revision == ours.compact_revision {
        return Ok((ours.hash, Ok(())));
    }
    let at = HashKvAt { revision: ours.revision, compact_revision: Some(served.compact_revision) };
    let (source, cancel) = (Arc::clone(&subject.source), Arc::clone(cancel));
    let hashed = tokio::task::spawn_blocking(move || {
        hash_kv(&*source, &Options { cancel: Some(&cancel), ..Options::default() }, at, &|_| {})
    });
    let cannot = || Trouble::plain(format!("cannot hash the keys of {}", subject.name));
    let hashed = hashed.await.map_err(|error| cannot().source(&error))?;
    Ok((hashed.map_err(|error| cannot().source(&error))?.hash, Ok(())))
}

/// UID of namespace kube-system in the file, and as etcd serves it.
async fn cluster(
    etcd: &Etcd,
    subject: &Subject<'_>,
    revision: i64,
) -> Outcome<(Option<String>, Result<String, String>)> {
    let key = format!("{}{KUBE_SYSTEM}", subject.prefix.as_str()).into_bytes();
    let Some(live) = subject.keys.get(&key) else {
        return Ok((None, Err("the snapshot has no namespace kube-system".to_owned())));
    };
    let of_file = uid(subject, &key, live.value.clone().unwrap_or_default(), live.mod_revision);
    let served = match etcd.get(&key, revision).await? {
        None => Err("etcd does not serve namespace kube-system".to_owned()),
        Some(served) => uid(subject, &key, served.value, served.mod_revision),
    };
    Ok((of_file.ok(), served))
}

fn uid(subject: &Subject<'_>, key: &[u8], value: Vec<u8>, mod_revision: i64) -> Result<String, String> {
    let Key::Object(place) = subject.neighbours.parse(key) else { return Err("it is no object".to_owned()) };
    match read_value(key, &place, value, mod_revision, subject.keyring).object {
        Ok(object) => object.uid().map(str::to_owned).ok_or_else(|| "namespace kube-system has no UID".to_owned()),
        Err(why) => Err(format!("namespace kube-system cannot be read: {why}")),
    }
}

/// Reads the samples through etcd.
///
/// # Errors
/// etcd does not answer.
pub(crate) async fn objects(
    etcd: &Etcd,
    subject: &Subject<'_>,
    samples: &Samples,
) -> Outcome<(Vec<Resource>, Vec<Encryption>)> {
    let revision = subject.report.hash_kv.revision;
    let (mut resources, mut encryption) = (Vec::new(), Vec::new());
    for (resource, sample) in &samples.resources {
        let (result, reason) = read(etcd, subject, sample, revision).await?;
        resources.push(Resource { resource: resource.clone(), objects: sample.of, result, reason });
    }
    for (key, sample) in &samples.encryption {
        let (result, reason) = read(etcd, subject, sample, revision).await?;
        encryption.push(Encryption { key: key.clone(), objects: sample.of, result, reason });
    }
    Ok((resources, encryption))
}

async fn read(
    etcd: &Etcd,
    subject: &Subject<'_>,
    sample: &Sample,
    revision: i64,
) -> Outcome<(Sampled, Option<String>)> {
    let Some(served) = etcd.get(&sample.key, revision).await? else {
        return Ok((Sampled::Failed, Some("etcd does not serve an object that the file has".to_owned())));
    };
    if served.mod_revision != sample.mod_revision {
        let why = format!(
            "the file has an object of revision {}, and etcd serves it of {}",
            sample.mod_revision, served.mod_revision
        );
        return Ok((Sampled::Failed, Some(why)));
    }
    let Key::Object(place) = subject.neighbours.parse(&sample.key) else {
        return Ok((Sampled::Failed, Some("it is no object".to_owned())));
    };
    let ReadValue { object, .. } = read_value(&sample.key, &place, served.value, served.mod_revision, subject.keyring);
    Ok(match object {
        Ok(_) => (Sampled::Read, None),
        Err(why) => (grade(&why), Some(format!("{}: {why}", title(&place)))),
    })
}

/// `deployments.apps/web in namespace shop`. What a terminal would obey is shown instead.
fn title(place: &Place) -> String {
    let name = format!("{}/{}", place.resource_name(), place.name);
    match &place.namespace {
        Some(namespace) => format!("{} in namespace {}", name.escape_debug(), namespace.escape_debug()),
        None => name.escape_debug().to_string(),
    }
}

/// What it means that a value cannot be read: what the configuration should decrypt and does not, no API server with it would.
fn grade(why: &Undecodable) -> Sampled {
    match why {
        Undecodable::Encrypted(_) | Undecodable::Partly(..) => Sampled::NotProved,
        Undecodable::Decrypt(DecryptError::Kms(_) | DecryptError::UnknownProvider(_)) => Sampled::NotProved,
        Undecodable::Decrypt(_) | Undecodable::Decode(_) => Sampled::Failed,
    }
}

#[cfg(test)]
mod tests {
    use etcd_objects::value::EncryptionKey;

    use super::*;

    #[test]
    fn a_value_that_the_configuration_does_not_decrypt_fails_the_drill() {
        let key = || EncryptionKey { provider: "aescbc".into(), version: "v1".into(), name: "key1".into() };
        for (why, read) in [
            (Undecodable::Encrypted(key()), Sampled::NotProved),
            (Undecodable::Decrypt(DecryptError::Kms(key())), Sampled::NotProved),
            (Undecodable::Decrypt(DecryptError::UnknownProvider(key())), Sampled::NotProved),
            (Undecodable::Decrypt(DecryptError::NoKey(key())), Sampled::Failed),
            (Undecodable::Decrypt(DecryptError::WrongKey(key())), Sampled::Failed),
        ] {
            assert_eq!(grade(&why), read, "{why}");
        }
    }
}
