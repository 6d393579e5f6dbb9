//! The hash of a member's keys, and why there is none.

use etcd_wire::FailureCode;
use etcd_wire::message::{HashKvRequest, HashOutcome};
use serde_json::Value;

use crate::member::{Member, servers};
use crate::session::{Session, text};

/// What etcdctl says the member's keys hash to.
fn by_etcdctl(member: &Member) -> (u32, i64) {
    let said: Value = serde_json::from_str(&member.ctl(&["endpoint", "hashkv", "-w", "json"])).unwrap();
    let said = &said[0]["HashKV"];
    let number = |name: &str| said[name].as_i64().unwrap();
    (number("hash").try_into().unwrap(), number("compact_revision"))
}

#[tokio::test]
async fn it_is_the_one_that_etcdctl_prints() {
    for server in servers() {
        let member = Member::with(&server, &[]);
        let mut session = Session::open().await;
        let request = |revision| HashKvRequest { etcd: member.access(), revision };
        member.ctl(&["put", "a", "1"]);
        let (hash, compact_revision) = by_etcdctl(&member);
        let first = session.hash(request(0)).await.unwrap();
        assert_eq!((first.current_revision, &first.outcome), (2, &HashOutcome::Known { hash, compact_revision }));
        assert_ne!((first.member_id, hash), (0, 0));

        // The same revision later is the same hash.
        member.ctl(&["put", "a", "2"]);
        let again = session.hash(request(2)).await.unwrap();
        assert_eq!((again.current_revision, again.outcome), (3, first.outcome));
        // One that never was, and one that is no more.
        assert_eq!(session.hash(request(4)).await.unwrap().outcome, HashOutcome::Future);
        member.ctl(&["put", "a", "3"]);
        member.ctl(&["compact", "3"]);
        assert_eq!(session.hash(request(2)).await.unwrap().outcome, HashOutcome::Compacted);
        let (hash, compact_revision) = by_etcdctl(&member);
        assert_eq!(compact_revision, 3);
        let newest = session.hash(request(4)).await.unwrap();
        assert_eq!(newest.outcome, HashOutcome::Known { hash, compact_revision });
        assert!(session.close().await.success());
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_told() {
    let member = Member::start();
    let mut session = Session::open().await;
    let failure = session.hash(HashKvRequest { etcd: member.access(), revision: -1 }).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::BadRequest);
    // A learner hashes nothing, in any version.
    let learner = member.learner();
    let failure = session.hash(HashKvRequest { etcd: learner.access(), revision: 0 }).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Etcd, "{failure:?}");
    assert!(text(&failure).contains("ask a voting member"), "{failure:?}");
    // The session has outlived both.
    assert!(session.hash(HashKvRequest { etcd: member.access(), revision: 0 }).await.is_ok());
    assert!(session.close().await.success());
}
