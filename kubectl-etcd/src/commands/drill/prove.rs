//! What is asked of the etcd that serves the snapshot, and what its answers come to.

use etcd_objects::encryption::DecryptError;
use etcd_snapshot::{HashKvAt, LiveKey, LiveKeys, Options, hash_kv};

use super::checks::{self, Check, Expected};
use super::client::{Etcd, Hashed};
use super::report::{Encryption, Resource, Sampled};
use super::samples::{Sample, Samples};
use crate::commands::verify::Recorded;
use crate::contents::{Contents, Undecodable};
use crate::context::Context;
use crate::kube_system;
use crate::output::{Outcome, ResultExt as _};

/// What was proved.
pub(super) struct Proved {
    pub(super) checks: Vec<Check>,
    pub(super) resources: Vec<Resource>,
    pub(super) encryption: Vec<Encryption>,
}

/// Compares the figures.
///
/// # Errors
/// etcd does not answer, or the file cannot be read again.
pub(super) async fn figures(
    etcd: &Etcd,
    contents: &Contents,
    keys: &LiveKeys,
    recorded: &Recorded,
    context: &Context,
) -> Outcome<Vec<Check>> {
    let report = &contents.report;
    let revision = report.hash_kv.revision;
    let served = etcd.hash_kv(revision).await?;
    let (file, comparable) = beside(contents, served, keys.len(), context).await?;
    // What is recorded is of the file's own compaction.
    let record = recorded.hash_kv.filter(|_| served.compact_revision == report.hash_kv.compact_revision);
    // Compactions and raised revisions let a store go on above its last change, which is what is recorded.
    let recorded_revision =
        recorded.revision.map(|last| if last == report.revision { report.current_revision } else { last });
    let (uid_of_file, uid_served) = cluster(etcd, contents, keys, revision).await?;
    let uid = Expected::of(recorded.kube_system_uid.clone().map(Some), uid_of_file);
    Ok(vec![
        checks::revision(&Expected::of(recorded_revision, report.current_revision), etcd.revision, report.leases),
        checks::hash_kv(&Expected::of(record, file), served.hash, comparable),
        checks::keys(keys.len() as u64, etcd.count(revision).await?),
        checks::cluster(&uid, uid_served),
    ])
}

/// The file's hash as of the compaction that etcd answers for, or why the two cannot be compared.
async fn beside(
    contents: &Contents,
    served: Hashed,
    keys: usize,
    context: &Context,
) -> Outcome<(u32, Result<(), String>)> {
    let ours = contents.report.hash_kv;
    if served.compact_revision < ours.compact_revision {
        let why = format!(
            "etcd answers as of a compaction to revision {}, and the file was compacted to {}",
            served.compact_revision, ours.compact_revision
        );
        // Of a key space without a key, 3.5.5 and later may answer what they remember of the compaction.
        return Ok((ours.hash, if keys == 0 { Err(why) } else { Ok(()) }));
    }
    if served.compact_revision == ours.compact_revision {
        return Ok((ours.hash, Ok(())));
    }
    let at = HashKvAt { revision: ours.revision, compact_revision: Some(served.compact_revision) };
    let (file, cancelled) = (contents.file().clone(), context.cancelled());
    let hashed = tokio::task::spawn_blocking(move || {
        hash_kv(file.source(), &Options { cancel: Some(&cancelled), ..Options::default() }, at, &|_| {})
    });
    let cannot = || format!("cannot hash the keys of {}", contents.name());
    Ok((hashed.await.or_fail(cannot)?.or_fail(cannot)?.hash, Ok(())))
}

/// UID of namespace kube-system in the file, and as etcd serves it.
async fn cluster(
    etcd: &Etcd,
    contents: &Contents,
    keys: &LiveKeys,
    revision: i64,
) -> Outcome<(Option<String>, Result<String, String>)> {
    let prefix = contents.prefix.as_str();
    let Some((key, live)) = keys.iter().find(|(key, _)| kube_system::is_key(key, Some(prefix))) else {
        return Ok((None, Err("the snapshot has no namespace kube-system".to_owned())));
    };
    let of_file = uid(contents, key, live.clone());
    let served = match etcd.get(key, revision).await? {
        None => Err("etcd does not serve namespace kube-system".to_owned()),
        Some(served) => uid(contents, key, living(served.value, served.mod_revision)),
    };
    Ok((of_file.ok(), served))
}

fn uid(contents: &Contents, key: &[u8], live: LiveKey) -> Result<String, String> {
    let entry = contents.entry(key.to_vec(), live).ok_or("it is no object")?;
    match &entry.object {
        Ok(object) => object
            .json
            .pointer("/metadata/uid")
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| "namespace kube-system has no UID".to_owned()),
        Err(why) => Err(format!("namespace kube-system cannot be read: {why}")),
    }
}

fn living(value: Vec<u8>, mod_revision: i64) -> LiveKey {
    LiveKey { mod_revision, versions: 1, value_bytes: value.len() as u64, encrypted_by: None, value: Some(value) }
}

/// Reads the samples through etcd.
///
/// # Errors
/// etcd does not answer.
pub(super) async fn objects(
    etcd: &Etcd,
    contents: &Contents,
    samples: &Samples,
) -> Outcome<(Vec<Resource>, Vec<Encryption>)> {
    let revision = contents.report.hash_kv.revision;
    let (mut resources, mut encryption) = (Vec::new(), Vec::new());
    for (resource, sample) in &samples.resources {
        let (result, reason) = read(etcd, contents, sample, revision).await?;
        resources.push(Resource { resource: resource.clone(), objects: sample.of, result, reason });
    }
    for (key, sample) in &samples.encryption {
        let (result, reason) = read(etcd, contents, sample, revision).await?;
        encryption.push(Encryption { key: key.clone(), objects: sample.of, result, reason });
    }
    Ok((resources, encryption))
}

async fn read(etcd: &Etcd, contents: &Contents, sample: &Sample, revision: i64) -> Outcome<(Sampled, Option<String>)> {
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
    let entry = contents.entry(sample.key.clone(), living(served.value, served.mod_revision));
    let Some(entry) = entry else { return Ok((Sampled::Failed, Some("it is no object".to_owned()))) };
    let title = entry.title();
    Ok(match entry.object {
        Ok(_) => (Sampled::Read, None),
        Err(why) => (grade(&why), Some(format!("{title}: {why}"))),
    })
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
