//! What a live member says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Client, ConnectOptions, Error, EventType, GetOptions, LeaseTimeToLiveOptions, WatchOptions,
};

/// Keys per page of a listing; one of them may have 1.5 MB.
const PAGE_KEYS: i64 = 50;

/// A client of one member.
#[derive(Clone)]
pub struct Live {
    /// The client itself.
    pub client: Client,
}

/// A hash of the key space, as a member answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKv {
    /// The hash.
    pub hash: u32,
    /// What the member has compacted up to; -1 if never.
    pub compact_revision: i64,
    /// The member's current revision.
    pub current: i64,
}

/// A key with all that etcd knows about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// When it came about.
    pub create_revision: i64,
    /// When it was written last.
    pub mod_revision: i64,
    /// How often it was written since it came about.
    pub version: i64,
    /// The lease it is attached to, or 0.
    pub lease: i64,
}

/// All that a member serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its current revision.
    pub revision: i64,
    /// All keys, now.
    pub rows: Vec<Row>,
    /// All keys at older revisions.
    pub older: Vec<(i64, Vec<Row>)>,
    /// All leases.
    pub leases: Leases,
}

/// A lease: the seconds that it was granted and its keys.
pub type Leases = BTreeMap<i64, (i64, Vec<Vec<u8>>)>;

impl Live {
    /// A client, of a user if there is one.
    pub async fn connect(url: &str, user: Option<(&str, &str)>) -> Live {
        let mut options = ConnectOptions::new().with_timeout(Duration::from_secs(60));
        if let Some((name, password)) = user {
            options = options.with_user(name, password);
        }
        Live { client: Client::connect([url], Some(options)).await.expect("etcd can be reached") }
    }

    /// The member's current revision; also waits until the member has applied all that the cluster has agreed on.
    pub async fn revision(&mut self) -> i64 {
        loop {
            match self.client.get("revision", Some(GetOptions::new().with_keys_only())).await {
                Ok(answer) => return answer.header().expect("a header").revision(),
                // The read waited for a leader that is none any more; the next one waits for the new one.
                Err(Error::GRpcStatus(status)) if status.message().contains("leader changed") => {}
                Err(error) => panic!("a read: {error}"),
            }
        }
    }

    /// HashKV at a revision, 0 for the current one.
    pub async fn hash_kv(&mut self, revision: i64) -> Result<HashKv, Error> {
        let answer = self.client.hash_kv(revision).await?;
        let current = answer.header().expect("a header").revision();
        Ok(HashKv { hash: answer.hash(), compact_revision: answer.compact_version(), current })
    }

    /// HashKV at some revisions that can be compared, of which the last is the current one. At the revision of a
    /// compaction no answer can: some versions refuse, others tell what they remember of that compaction.
    pub async fn hashes(&mut self) -> Vec<(i64, HashKv)> {
        let now = self.hash_kv(0).await.expect("HashKV");
        let first = now.compact_revision.max(1) + 1;
        let mut hashes = Vec::new();
        let span = now.current - first;
        let mut revisions: Vec<i64> = [0, span / 3, span / 2, span - 1].map(|distance| first + distance).to_vec();
        revisions.retain(|revision| (first..now.current).contains(revision));
        revisions.dedup();
        for revision in revisions {
            let hash = self.hash_kv(revision).await.expect("HashKV");
            assert_eq!(
                (hash.compact_revision, hash.current),
                (now.compact_revision, now.current),
                "nobody else writes"
            );
            hashes.push((revision, hash));
        }
        hashes.push((now.current, now));
        hashes
    }

    /// Writes a snapshot, with its digest.
    pub async fn snapshot(&mut self, path: &Path) {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).expect("a new file");
        let mut stream = self.client.snapshot().await.expect("a snapshot");
        while let Some(message) = stream.message().await.expect("the rest of the snapshot") {
            file.write_all(message.blob()).expect("room on the disk");
        }
        let size = file.metadata().expect("metadata").len();
        assert_eq!(size % 512, 32, "the snapshot ends with its digest");
    }

    /// Everything there is at a revision, 0 for the current one.
    pub async fn rows(&mut self, revision: i64) -> Result<Vec<Row>, Error> {
        let mut kv = self.client.kv_client().max_decoding_message_size(usize::MAX);
        let mut rows: Vec<Row> = Vec::new();
        let mut from = vec![0];
        let mut revision = revision;
        loop {
            let options = GetOptions::new().with_from_key().with_limit(PAGE_KEYS).with_revision(revision);
            let answer = kv.get(from, Some(options)).await?;
            if revision == 0 {
                revision = answer.header().expect("a header").revision();
            }
            rows.extend(answer.kvs().iter().map(|kv| Row {
                key: kv.key().to_vec(),
                value: kv.value().to_vec(),
                create_revision: kv.create_revision(),
                mod_revision: kv.mod_revision(),
                version: kv.version(),
                lease: kv.lease(),
            }));
            match rows.last() {
                Some(last) if answer.more() => from = [last.key.as_slice(), &[0]].concat(),
                _ => return Ok(rows),
            }
        }
    }

    /// All that there is, now and at older revisions.
    pub async fn contents(&mut self, revisions: &[i64]) -> Contents {
        let revision = self.revision().await;
        let rows = self.rows(0).await.expect("all keys");
        let mut older = Vec::new();
        for &revision in revisions {
            older.push((revision, self.rows(revision).await.expect("all keys of an older revision")));
        }
        Contents { revision, rows, older, leases: self.leases().await }
    }

    /// All leases.
    pub async fn leases(&mut self) -> Leases {
        let ids: Vec<i64> =
            self.client.leases().await.expect("leases").leases().iter().map(|lease| lease.id()).collect();
        let mut leases = Leases::new();
        for id in ids {
            let options = LeaseTimeToLiveOptions::new().with_keys();
            let lease = self.client.lease_time_to_live(id, Some(options)).await.expect("a lease");
            let mut keys: Vec<Vec<u8>> = lease.keys().to_vec();
            keys.sort();
            leases.insert(id, (lease.granted_ttl(), keys));
        }
        leases
    }

    /// All alarms: member and kind.
    pub async fn alarms(&mut self) -> Vec<(u64, AlarmType)> {
        let answer = self.client.alarm(AlarmAction::Get, AlarmType::None, None).await.expect("alarms");
        answer.alarms().iter().map(|alarm| (alarm.member_id(), alarm.alarm())).collect()
    }

    /// The revision up to which the member says that history is compacted, to one who watches from `revision`; else the
    /// revisions of the first events that come.
    pub async fn watch_from(&mut self, revision: i64) -> Result<Vec<i64>, i64> {
        let options = WatchOptions::new().with_from_key().with_start_revision(revision);
        let mut stream = self.client.watch([0], Some(options)).await.expect("a watch");
        loop {
            let answer = stream.message().await.expect("an answer").expect("an answer");
            if answer.compact_revision() > 0 {
                return Err(answer.compact_revision());
            }
            assert!(!answer.canceled(), "{}", answer.cancel_reason());
            if !answer.events().is_empty() {
                let puts = answer.events().iter().map(|event| {
                    assert!(matches!(event.event_type(), EventType::Put | EventType::Delete));
                    event.kv().expect("a key").mod_revision()
                });
                return Ok(puts.collect());
            }
        }
    }
}
