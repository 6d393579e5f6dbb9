//! The member's keys, without their values.

use etcd_wire::message::KeysRequest;
use etcd_wire::{CHUNK, Compression, FailureCode};

use crate::member::{Member, servers};
use crate::session::Session;

#[tokio::test]
async fn they_are_those_that_the_member_has() {
    for server in servers() {
        let member = Member::with(&server, &[]);
        let mut session = Session::open().await;
        let request = |compression| KeysRequest { etcd: member.access(), compression };
        let (none, done) = session.keys(request(Compression::None)).await.unwrap();
        assert_eq!((none, done.revision, done.count), (vec![], 1, 0));

        // More than one answer of the member, and more than one chunk.
        let name = "n".repeat(400);
        let keys: Vec<String> = (0..3000).map(|number| format!("/registry/{number:05}/{name}")).collect();
        member.put_all(&keys);
        member.ctl(&["put", &keys[7], "again"]);
        member.ctl(&["del", &keys[8]]);
        for compression in [Compression::None, Compression::Zstd] {
            let (found, done) = session.keys(request(compression)).await.unwrap();
            assert!(found.iter().map(|(_, key)| key.len() + 12).sum::<usize>() > CHUNK);
            // A hundred in each revision from 2 on, then the two changes.
            let mut expected: Vec<(i64, String)> =
                keys.iter().enumerate().map(|(index, key)| (2 + index as i64 / 100, key.clone())).collect();
            expected[7].0 = 32;
            expected.remove(8);
            assert!(found == expected, "{} keys", found.len());
            assert_eq!((done.revision, done.count), (33, 2999));
            assert_ne!(done.member_id, 0);
        }
        assert!(session.close().await.success());
    }
}

#[tokio::test]
async fn a_member_that_is_not_there_is_told() {
    let mut session = Session::open().await;
    let failure = session.keys(KeysRequest::default()).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::BadRequest);
    assert!(session.close().await.success());
}
