//! What is known to bite who writes etcd's files, each shown on real servers.

use std::path::Path;

use differential::restored::{Restored, ours, same_contents};
use differential::{Case, Etcd, Live, Server, Setup, Stop};
use etcd_client::{CompactionOptions, MemberAddOptions};
use etcd_snapshot::{DigestState, FindingKind, Options, VerifyError, verify};

/// Rows of which a leaf page takes only one.
const ROW_BYTES: usize = 3500;
/// Branch elements of a row key that fit into a page.
const CHILDREN: usize = 123;

/// A page of branches with a single child passes bbolt's check and panics etcd when a compaction shrinks the child.
#[tokio::test]
async fn branch_pages_have_two_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&Setup::alone(Etcd::V3_4_23, folder.path()));
    let mut live = server.client().await;
    let full = CHILDREN * 9 / 10;
    // One leaf, and pages of branches that are just full, one more and two more, at 90 and at 100 per cent.
    let counts = [1, 2, full, full + 1, full + 2, CHILDREN, CHILDREN + 1, CHILDREN + 2, 2 * CHILDREN + 1];
    let mut rows = 0;
    for (count, etcd) in counts.into_iter().zip(Etcd::ALL.into_iter().cycle()) {
        while rows < count {
            live.client.put(format!("{rows}"), vec![b'r'; ROW_BYTES], None).await.expect("a put");
            rows += 1;
        }
        let folder = folder.path().join(format!("{count}"));
        std::fs::create_dir(&folder).expect("a folder");
        let name = format!("{count} leaves, served by {etcd:?}");
        let case = Case::take(name, Etcd::V3_4_23, &mut live, &folder.join("taken.db")).await;
        let setup = Setup::alone(etcd, &folder);
        ours(&case, &setup, 0);
        let mut restored = Restored::boot(&setup, false).await;
        restored.delete_all().await;
        restored.snapshot("emptied", &folder.join("emptied.db")).await;
    }
}

/// Pages of data have no checksum: only the digest tells that a value was changed, and the vendor's status ignores it.
#[tokio::test]
async fn a_flipped_value_is_found() {
    for etcd in Etcd::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let case = small(etcd, folder.path()).await;
        let mut bytes = std::fs::read(&case.path).expect("the snapshot");
        let at = bytes.windows(6).rposition(|window| window == b"value7").expect("a value");
        bytes[at] ^= 1;
        std::fs::write(&case.path, &bytes).expect("room on the disk");
        let theirs = etcd.status(&case.path).expect("the vendor's tool sees nothing");
        let Err(VerifyError::Damaged(damage)) = verify(&bytes, &Options::default(), &|_| {}) else {
            case.fail("the flipped value is not found");
        };
        assert_eq!(damage.findings.len(), 1);
        assert_eq!(damage.findings[0].kind, FindingKind::DigestMismatch);
        let report = damage.report.expect("the pages are in order");
        assert_eq!(differential::case::status(&report), theirs);
    }
}

/// A consistent index above the new log's last entry makes etcd drop what it should apply, one below makes it panic.
/// Members in their bucket that are not the new ones keep 3.6 and later from serving.
#[tokio::test]
async fn the_consistent_index_and_the_members_are_those_of_the_new_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let case = small(Etcd::V3_5_1, folder.path()).await;
    let setups = Setup::cluster::<3>(Etcd::V3_5_1, folder.path());
    let mut recorded = Vec::new();
    for setup in &setups {
        ours(&case, setup, 0);
        let report = case_at(&case, setup.database()).verified();
        assert_eq!(report.digest, DigestState::Absent);
        assert_eq!(report.consistent_index, Some(3));
        let mut names: Vec<&str> = report.members.iter().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["m1", "m2", "m3"]);
        assert!(report.members.iter().all(|member| !member.is_learner));
        recorded = report.members;
    }
    let servers = Server::start_all(&setups);
    let mut live = servers[0].client().await;
    live.client.put("at", "once", None).await.expect("what is written is applied");
    for member in live.client.member_list().await.expect("members").members() {
        let id = format!("{:x}", member.id());
        let recorded = recorded.iter().find(|recorded| recorded.id == id).expect("the id that etcd computes");
        assert_eq!((recorded.name.as_str(), &recorded.peer_urls[..]), (member.name(), member.peer_urls()));
    }
}

/// Without a raft snapshot in the directory, a member that joins later gets an empty key space from 3.4 and 3.5.
#[tokio::test]
async fn a_member_that_joins_later_gets_everything() {
    for etcd in Etcd::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let case = small(etcd, folder.path()).await;
        let setup = Setup::alone(etcd, folder.path()).with(&["--strict-reconfig-check=false"]);
        let setup = Setup { data_dir: folder.path().join("restored.etcd"), ..setup };
        ours(&case, &setup, 0);
        let mut first = Restored::boot(&setup, false).await;
        let joining = Setup::joining(&setup, folder.path());
        let mut second = Server::spawn(&joining);
        first.live.client.member_add([joining.peer_url()], None::<MemberAddOptions>).await.expect("a member more");
        second.wait_ready().unwrap_or_else(|log| case.fail(&log));
        let mut second = Restored::of(second, false).await;
        same_contents(&case, &mut second.live, &mut first.live, &[]).await;
        let hash = second.live.hash_kv(0).await.expect("HashKV");
        case.same("HashKV of a member that joined", &hash, &first.live.hash_kv(0).await.expect("HashKV"));
    }
}

/// At the revision of a compaction, 3.5.16 answers what it remembers of that compaction: another hash, of another state.
/// Where compact revisions are equal, hashes are; else there is nothing to compare.
#[tokio::test]
async fn hash_kv_at_a_compaction_cannot_be_compared() {
    for etcd in Etcd::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(&Setup::alone(etcd, folder.path()));
        let mut live = server.client().await;
        let at = fill(&mut live).await;
        live.client.compact(at, Some(CompactionOptions::new().with_physical())).await.expect("a compaction");
        live.client.put("later", "", None).await.expect("a put");
        match live.hash_kv(at).await {
            Ok(hash) => {
                assert!(etcd.remembers_hashes(), "{etcd:?} answers {hash:?}");
                assert_eq!(hash.compact_revision, -1);
            }
            Err(error) => assert!(!etcd.remembers_hashes(), "{error}"),
        }
        assert_eq!(live.hash_kv(0).await.expect("HashKV").compact_revision, at);
        Case::take(format!("{etcd:?}, compacted"), etcd, &mut live, &folder.path().join("taken.db")).await.verified();
    }
}

/// What a raised revision leaves in the key space is a row without a value, which a snapshot of the restored member has too.
#[tokio::test]
async fn a_row_without_a_value_is_read() {
    for etcd in Etcd::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let case = small(etcd, folder.path()).await;
        let setup = Setup { data_dir: folder.path().join("restored.etcd"), ..Setup::alone(etcd, folder.path()) };
        ours(&case, &setup, 1000);
        let mut restored = Restored::boot(&setup, false).await;
        let raised = restored.snapshot("raised", &folder.path().join("raised.db")).await;
        let report = raised.verified();
        assert_eq!(report.revision, case.revision() + 1000);
        assert_eq!(report.live_keys, restored.live.rows(0).await.expect("all keys").len() as u64 + 1);
    }
}

/// A snapshot of a small history.
async fn small(etcd: Etcd, folder: &Path) -> Case {
    let server = Server::start(&Setup::alone(etcd, folder));
    let mut live = server.client().await;
    fill(&mut live).await;
    let case = Case::take(format!("{etcd:?}, small"), etcd, &mut live, &folder.join("small.db")).await;
    server.stop(Stop::Kill);
    std::fs::remove_dir_all(folder.join("m1.etcd")).expect("the first member's directory");
    case
}

async fn fill(live: &mut Live) -> i64 {
    for round in 0..3 {
        for number in 0..10 {
            live.client.put(format!("key{number}"), format!("value{number}{round}"), None).await.expect("a put");
        }
    }
    live.client.delete("key3", None).await.expect("a deletion");
    live.revision().await
}

/// The same case with another file.
fn case_at(case: &Case, path: std::path::PathBuf) -> Case {
    Case { name: case.name.clone(), path, etcd: case.etcd, hashes: case.hashes.clone() }
}
