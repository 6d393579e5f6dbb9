//! `FILE.json`, what was recorded beside a backup of the place from which it was taken: the snapshot itself does not tell. It is believed only
//! of the file whose size and SHA-256 it records.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use etcd_snapshot::Report;
use serde_json::Value;

use crate::output::Printer;
use crate::snapshot_file::SnapshotFile;

/// A record is far smaller; what is larger is none.
const MOST_BYTES: u64 = 16 << 20;

/// What is known of a backup beside what is in it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Recorded {
    /// Version of the member.
    pub(crate) etcd_version: Option<String>,
    /// When the backup began.
    pub(crate) taken_at: Option<String>,
    /// Name of the cluster.
    pub(crate) cluster: Option<String>,
    /// UID of its namespace kube-system.
    pub(crate) kube_system_uid: Option<String>,
    /// etcd's revision, 0 in a store without a change; and the hash of all keys at that revision, which only the record of a store has.
    pub(crate) revision: Option<i64>,
    pub(crate) hash_kv: Option<u32>,
    /// Version of Kubernetes, and where the API was: a URL.
    pub(crate) kubernetes_version: Option<String>,
    pub(crate) server: Option<String>,
    /// The members of the cluster, if all of them are recorded with a name and peer URLs.
    pub(crate) members: Vec<RecordedMember>,
    /// The record's own path.
    pub(crate) path: Option<PathBuf>,
}

/// What a record says, of whichever file: for a look at a folder that hashes nothing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// Bytes of the file that is recorded.
    pub(crate) size: u64,
    pub(crate) cluster: Option<String>,
    pub(crate) kube_system_uid: Option<String>,
    pub(crate) taken_at: Option<String>,
    pub(crate) revision: Option<i64>,
    pub(crate) etcd_version: Option<String>,
}

impl Record {
    /// Reads `FILE.json`. `None` if there is none, or if it is no record of a backup.
    pub(crate) fn beside(path: &Path) -> Option<Record> {
        let record: Value = serde_json::from_slice(&read(&record_of(path)).ok()?).ok()?;
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Some(Record {
            size: record.pointer("/snapshot/size")?.as_u64()?,
            cluster: text("/cluster/name"),
            kube_system_uid: text("/cluster/kubeSystemUid"),
            taken_at: text("/takenAt"),
            revision: record.pointer("/snapshot/revision").and_then(Value::as_i64),
            etcd_version: text("/source/etcdVersion"),
        })
    }
}

/// A member as its manifest had it when the backup was taken.
#[derive(Debug, PartialEq)]
pub(crate) struct RecordedMember {
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
}

impl RecordedMember {
    fn read(record: &Value) -> Option<RecordedMember> {
        let urls = record["peerUrls"].as_array()?.iter().map(|url| url.as_str().map(str::to_owned));
        let (name, peer_urls) = (record["name"].as_str()?.to_owned(), urls.collect::<Option<Vec<_>>>()?);
        (!name.is_empty() && !peer_urls.is_empty()).then_some(RecordedMember { name, peer_urls })
    }
}

impl Recorded {
    /// Reads `FILE.json`; of a compressed file also the one that the snapshot had before it was compressed. `report` is of the whole check of
    /// the file, which has hashed it. A record that is of another file is told, and nothing of it is used.
    pub(crate) fn of(file: &SnapshotFile, report: &Report, printer: Printer) -> Recorded {
        if let Some(stored) = file.stored() {
            // That the snapshot is the recorded one was found out when it came.
            let sha256 = &stored.found.record.snapshot.sha256;
            let believed = believe(&stored.found.record_bytes, report.file_size, Some(sha256));
            return match believed {
                Ok(recorded) => Recorded { path: Some(PathBuf::from(stored.name())), ..recorded },
                Err(why) => {
                    printer.warn(format!("the record of {} {why}; nothing of it is used", stored.name()));
                    Recorded::default()
                }
            };
        }
        let mut told = Vec::new();
        for name in file.names() {
            match beside(&name, report) {
                None => {}
                Some(Ok(recorded)) => return Recorded { path: Some(record_of(&name)), ..recorded },
                Some(Err(why)) => told.push(format!("{}.json {why}; nothing of it is used", name.display())),
            }
        }
        told.into_iter().for_each(|why| printer.warn(why));
        Recorded::default()
    }
}

/// What is recorded beside a file, or why that is not believed. `None`: there is nothing.
fn beside(path: &Path, report: &Report) -> Option<Result<Recorded, String>> {
    match read(&record_of(path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(Err(format!("cannot be read: {error}"))),
        Ok(record) => Some(believe(&record, report.file_size, report.file_sha256.as_deref())),
    }
}

fn record_of(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".json");
    path.into()
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    match metadata.is_file() && metadata.len() <= MOST_BYTES {
        true => std::fs::read(path),
        false => Err(std::io::Error::new(ErrorKind::InvalidInput, "this is no record of a backup")),
    }
}

/// What a record says, if it is of the file of this size and SHA-256.
fn believe(record: &[u8], size: u64, sha256: Option<&str>) -> Result<Recorded, String> {
    let record: Value = serde_json::from_slice(record).map_err(|error| format!("is no JSON: {error}"))?;
    let snapshot = &record["snapshot"];
    let (Some(recorded_size), Some(recorded_sha256)) = (snapshot["size"].as_u64(), snapshot["sha256"].as_str()) else {
        return Err("does not say of which file it is".to_owned());
    };
    if recorded_size != size {
        return Err(format!("is of another file: it records {recorded_size} bytes, and this file has {size}"));
    }
    let Some(sha256) = sha256 else {
        return Err("may be of another file: this one was not hashed".to_owned());
    };
    if !recorded_sha256.eq_ignore_ascii_case(sha256) {
        return Err("is of another file: it records another SHA-256".to_owned());
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    // The record of a backup in a store has them by node.
    let nodes = record["recoveryPlan"]["nodes"].as_array().into_iter().flatten();
    let by_node = nodes.map(|node| &node["member"]).filter(|member| !member.is_null());
    let members = record["members"].as_array().into_iter().flatten().chain(by_node).map(RecordedMember::read);
    Ok(Recorded {
        etcd_version: text(&record["source"]["etcdVersion"]),
        taken_at: text(&record["takenAt"]),
        cluster: text(&record["cluster"]["name"]).filter(|name| !name.is_empty()),
        kube_system_uid: text(&record["cluster"]["kubeSystemUid"]).or_else(|| text(&record["cluster"]["uid"])),
        revision: snapshot["revision"].as_i64(),
        hash_kv: snapshot["hashKv"].as_u64().and_then(|hash| u32::try_from(hash).ok()),
        kubernetes_version: text(&record["cluster"]["kubernetesVersion"]),
        server: text(&record["cluster"]["server"])
            .or_else(|| text(&record["recoveryPlan"]["api"]["server"]))
            .filter(|server| !server.is_empty()),
        members: members.collect::<Option<_>>().unwrap_or_default(),
        path: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_read_if_all_of_them_are_known() {
        let member = |name: &str, urls: &[&str]| json!({"name": name, "peerUrls": urls});
        let one = || member("cp1", &["https://10.0.0.1:2380"]);
        for (members, names) in [
            (json!([one()]), &["cp1"][..]),
            (json!([one(), member("cp2", &["https://10.0.0.2:2380"])]), &["cp1", "cp2"]),
            (json!([one(), member("", &["https://10.0.0.2:2380"])]), &[]),
            (json!([one(), member("etcd-from-cp1", &[])]), &[]),
            (json!([one(), {"name": "cp2"}]), &[]),
            (json!([one(), {"name": "cp2", "peerUrls": [7]}]), &[]),
            (json!("none"), &[]),
        ] {
            let record = json!({"members": members, "snapshot": {"size": 64, "sha256": "ab"}});
            let recorded = believe(record.to_string().as_bytes(), 64, Some("ab")).expect("its own");
            let read: Vec<&str> = recorded.members.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(read, names, "{record}");
        }
    }

    #[test]
    fn a_record_is_believed_only_of_its_own_file() {
        let record = json!({
            "takenAt": "2026-11-21T06:16:40Z", "source": {"etcdVersion": "3.5.1"}, "cluster": {"name": "prod-eu", "kubernetesVersion": "v1.36.2"},
            "recoveryPlan": {"nodes": [], "api": {"server": "https://api:6443"}}, "snapshot": {"size": 64, "sha256": "AB12"},
        });
        let of = |size, sha256| believe(record.to_string().as_bytes(), size, sha256);
        let recorded = of(64, Some("ab12")).expect("its own");
        assert_eq!((recorded.etcd_version.as_deref(), recorded.taken_at.is_some()), (Some("3.5.1"), true));
        assert_eq!(recorded.kubernetes_version.as_deref(), Some("v1.36.2"));
        assert_eq!(recorded.server.as_deref(), Some("https://api:6443"));
        assert!(recorded.members.is_empty() && recorded.cluster.as_deref() == Some("prod-eu"));
        for (size, sha256, why) in [
            (64, Some("ab13"), "another SHA-256"),
            (65, Some("ab12"), "64 bytes, and this file has 65"),
            (65, None, "64 bytes, and this file has 65"),
            (64, None, "was not hashed"),
        ] {
            let told = of(size, sha256).expect_err(why);
            assert!(told.contains(why), "{told}");
        }
        for (record, why) in
            [("{", "no JSON"), ("{}", "of which file"), (r#"{"snapshot": {"size": 64}}"#, "of which file")]
        {
            let told = believe(record.as_bytes(), 64, Some("ab12")).expect_err(why);
            assert!(told.contains(why), "{told}");
        }
    }
}
