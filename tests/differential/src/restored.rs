//! Directories that were restored from a file, by the engine and by the vendor, and what members serve from them.

use std::path::Path;

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, CompactionOptions, Error, LeaseGrantOptions, PutOptions};
use etcd_client::{Txn, TxnOp};

use etcd_snapshot::DigestCheck;
use etcd_snapshot::restore::{Destination, NewCluster, RestoreOptions, restore};

use crate::etcd::TOKEN;
use crate::history::{READER, ROOT};
use crate::live::{Contents, Row};
use crate::{Case, Etcd, Live, Server, Setup, Stop};

/// A member that was started from a restored directory.
pub struct Restored {
    /// Its process.
    pub server: Server,
    /// A client that may do everything.
    pub live: Live,
    user: Option<(&'static str, &'static str)>,
}

impl Restored {
    /// Starts it. If auth was on in the snapshot it still is.
    pub async fn boot(setup: &Setup, auth_on: bool) -> Restored {
        let server = Server::start(setup);
        Self::of(server, auth_on).await
    }

    /// One that runs.
    pub async fn of(server: Server, auth_on: bool) -> Restored {
        let user = auth_on.then_some(ROOT);
        let live = Live::connect(&server.setup.client_url(), user).await;
        Restored { server, live, user }
    }

    /// Ends it and starts it again.
    pub async fn restart(&mut self, how: Stop) {
        self.server.restart(how);
        self.live = Live::connect(&self.server.setup.client_url(), self.user).await;
    }

    /// Ends all alarms of a kind, whichever member they are of; gives how many there were.
    pub async fn disarm(&mut self, kind: AlarmType) -> usize {
        let alarms = self.live.alarms().await;
        let ours = alarms.iter().filter(|(_, other)| *other == kind);
        let mut count = 0;
        for &(member, kind) in ours {
            let mut options = AlarmOptions::new();
            options.with_member(member);
            self.live.client.alarm(AlarmAction::Deactivate, kind, Some(options)).await.expect("an alarm ends");
            count += 1;
        }
        count
    }

    /// Writes of each kind, a compaction, a defragmentation and a restart; the same for whoever is asked.
    pub async fn go_on(&mut self) {
        let before = self.live.revision().await;
        let client = &mut self.live.client;
        let put = client.put("/after/put", "1", None).await.expect("a put");
        assert_eq!(put.header().expect("a header").revision(), before + 1, "the next write is one above");
        client.lease_grant(5000, Some(LeaseGrantOptions::new().with_id(4711))).await.expect("a lease");
        let leased = PutOptions::new().with_lease(4711);
        client.put("/after/lease", vec![b'l'; 10_000], Some(leased)).await.expect("a put");
        let operations: Vec<TxnOp> = (0..100).map(|number| TxnOp::put(format!("/after/{number}"), "t", None)).collect();
        client.txn(Txn::new().and_then(operations)).await.expect("a transaction");
        client.delete("/after/put", None).await.expect("a deletion");
        let now = self.live.revision().await;
        let physically = CompactionOptions::new().with_physical();
        self.live.client.compact(now - 1, Some(physically)).await.expect("a compaction");
        self.live.client.defragment().await.expect("a defragmentation");
        self.restart(Stop::Orderly).await;
        self.live.client.put("/after/restart", "2", None).await.expect("a put");
        assert_eq!(self.live.revision().await, now + 1);
    }

    /// Deletes all that there is, so that trees shrink to nothing.
    pub async fn delete_all(&mut self) {
        let everything = etcd_client::DeleteOptions::new().with_all_keys();
        self.live.client.delete([], Some(everything)).await.expect("a deletion");
        let now = self.live.revision().await;
        let physically = CompactionOptions::new().with_physical();
        self.live.client.compact(now, Some(physically)).await.expect("a compaction");
        self.live.client.put("/after/all", "3", None).await.expect("a put");
        self.live.client.defragment().await.expect("a defragmentation");
        self.restart(Stop::Orderly).await;
        assert_eq!(self.live.rows(0).await.expect("all keys").len(), 1);
    }

    /// Takes a snapshot, which the vendor's tool and the engine must find in order, and alike.
    pub async fn snapshot(&mut self, name: &str, path: &Path) -> Case {
        let etcd = self.server.setup.etcd;
        let case = Case::take(name, etcd, &mut self.live, path).await;
        case.verified();
        case
    }

    /// Asserts that users are asked who they are, and may what they might before.
    pub async fn assert_auth(&self) {
        let url = self.server.setup.client_url();
        let key = "/registry/pods/default/pod-00000";
        let mut anybody = Live::connect(&url, None).await.client;
        assert!(matches!(anybody.get(key, None).await, Err(Error::GRpcStatus(_))), "anybody may read");
        let mut reader = Live::connect(&url, Some(READER)).await.client;
        reader.get(key, None).await.expect("a user may read what it might");
        assert!(matches!(reader.get("another", None).await, Err(Error::GRpcStatus(_))), "a user may read anything");
        assert!(matches!(reader.put(key, "", None).await, Err(Error::GRpcStatus(_))), "a user may write");
    }
}

/// Asserts that two members serve the same: every key with value, version, revisions and lease, now and at older
/// revisions, and every lease with its granted time to live.
pub async fn same_contents(case: &Case, ours: &mut Live, theirs: &mut Live, revisions: &[i64]) -> Contents {
    let (mine, other) = (ours.contents(revisions).await, theirs.contents(revisions).await);
    case.same("current revision", &mine.revision, &other.revision);
    same_rows(case, mine.revision, &mine.rows, &other.rows);
    for ((revision, rows), (_, others)) in mine.older.iter().zip(&other.older) {
        same_rows(case, *revision, rows, others);
    }
    case.same("leases", &mine.leases, &other.leases);
    mine
}

fn same_rows(case: &Case, revision: i64, ours: &[Row], theirs: &[Row]) {
    for (mine, other) in ours.iter().zip(theirs) {
        if mine != other {
            let shown =
                |row: &Row| format!("{:?}", Row { value: row.value.iter().copied().take(40).collect(), ..row.clone() });
            case.fail(&format!("at revision {revision} ours has {}, theirs {}", shown(mine), shown(other)));
        }
    }
    case.same(&format!("number of keys at revision {revision}"), &ours.len(), &theirs.len());
}

/// Restores with the engine.
#[track_caller]
pub fn ours(case: &Case, setup: &Setup, bump: u64) -> etcd_snapshot::restore::Restored {
    let cluster = NewCluster {
        name: setup.name.clone(),
        initial_cluster: setup.initial_cluster.clone(),
        initial_cluster_token: TOKEN.to_owned(),
        initial_advertise_peer_urls: Some(setup.peer_url()),
    };
    let membership = cluster.validate().unwrap_or_else(|error| case.fail(&error.to_string()));
    let destination = Destination { data_dir: setup.data_dir.clone(), wal_dir: setup.wal_dir.clone() };
    let digest = if case.has_digest() { DigestCheck::Compute } else { DigestCheck::Skip };
    let etcd_version = Some(setup.etcd.version());
    let options = RestoreOptions { bump, digest, etcd_version, allow_older_etcd: false, cancel: None };
    match restore(&case.source(), &membership, &destination, &options, &|_| {}) {
        Ok(restored) => restored,
        Err(error) => case.fail(&format!("not restored: {error:?}")),
    }
}

/// Restores with the vendor's tool: that of the version that wrote the file, or the oldest that can raise the revision.
///
/// # Errors
/// What the tool said.
pub fn theirs(case: &Case, setup: &Setup, bump: u64) -> Result<(), String> {
    let mut more = vec![];
    if !case.has_digest() {
        more.push("--skip-hash-check");
    }
    let bump_text = bump.to_string();
    if bump > 0 {
        more.extend(["--bump-revision", &bump_text, "--mark-compacted"]);
    }
    let tool = if bump > 0 { Etcd::V3_5_16 } else { case.etcd };
    tool.restore(&case.path, setup, &more)
}
