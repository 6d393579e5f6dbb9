//! A backup is written to a store that fails or lies at each request in turn: what is in the store afterwards.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::RngCore;

use super::*;
use crate::backend::faulty::{Fails, Faulty, When};
use crate::{Class, Encryption, Intake, Level, Patience, Program, RecoveryPlan, Snapshot, SourceMember, Spool, Taken};

const CLUSTER: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
const DATA: Part = Part::Data { encrypted: false };

fn signing_key() -> SigningKey {
    SigningKey::read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/sign.key")).unwrap()
}

fn record(name: &Name, objects: Vec<StoredObject>) -> Record {
    Record {
        api_version: crate::API_VERSION.to_owned(),
        kind: crate::KIND.to_owned(),
        name: name.to_string(),
        class: name.class(),
        taken_at: name.taken(),
        program: Program { name: "test".to_owned(), version: "0".to_owned() },
        level: Level::Digest,
        cluster: crate::Cluster {
            uid: CLUSTER.to_owned(),
            name: None,
            kubernetes_version: None,
            etcd_cluster_id: "1".to_owned(),
        },
        source: SourceMember {
            node: "cp1".to_owned(),
            name: "cp1".to_owned(),
            member_id: "1".to_owned(),
            role: "leader".to_owned(),
            etcd_version: "3.6.0".to_owned(),
        },
        snapshot: Snapshot { size: 1, sha256: "00".to_owned(), checked: None },
        recipients: Vec::new(),
        objects,
        recovery_plan: RecoveryPlan::default(),
    }
}

fn patience() -> Patience {
    Patience { retries: 2, first_wait: std::time::Duration::ZERO, longest_wait: std::time::Duration::ZERO }
}

/// Writes a backup; once its bytes were handed over, as the command does.
async fn write(store: &Store, name: &Name, bytes: &[u8], key: Option<&SigningKey>) -> Result<Committed, NotCommitted> {
    let cluster = CLUSTER.parse().unwrap();
    let mut pending = Pending::new(store, &cluster, name);
    let (writer, upload) = pending.upload(DATA);
    let bytes = bytes.to_vec();
    let sent = tokio::task::spawn_blocking(move || {
        let mut intake = Intake::new(writer, &Encryption::Off, Spool::in_folders(&[]))?;
        intake.write_all(&bytes)?;
        let Taken { output, .. } = intake.finish()?;
        output.end()
    });
    // What has failed is told by the upload.
    let _told_below = sent.await.unwrap();
    let uploads = Uploads { data: Sealed { part: DATA, upload, recipients: Vec::new() }, node_files: None };
    pending.commit(uploads, |objects| record(name, objects), key).await
}

/// Everything in the store, by path.
async fn all(store: &Faulty) -> Vec<(String, Bytes)> {
    let mut found = Vec::new();
    for meta in store.inner.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let bytes = store.inner.get(&meta.location).await.unwrap().bytes().await.unwrap();
        found.push((meta.location.to_string(), bytes));
    }
    found.sort();
    found
}

/// One backup with one fault; whether the fault was reached.
async fn one(bytes: &[u8], fails: Fails, when: When, may_delete: bool) -> bool {
    let told = format!("{fails:?} {when:?} {may_delete}");
    let faulty = Faulty::new(fails, when, may_delete);
    let store = Store::over(Arc::new(faulty.share()), patience());
    let name = Name::new("2026-11-27T03:15:00Z".parse().unwrap(), 7, Class::Manual);
    let key = signing_key();
    let ended = write(&store, &name, bytes, Some(&key)).await;
    let (has_failed, found) = (faulty.has_failed(), all(&faulty).await);
    let path = |part| Key::new(&CLUSTER.parse().unwrap(), &name, part).to_string();
    let get = |part| {
        let path = path(part);
        found.iter().find(|(at, _)| *at == path).map(|(_, bytes)| bytes)
    };
    match ended {
        Ok(committed) => {
            // Everything is there, and is what it should be.
            assert_eq!(found.len(), 3, "{told}");
            assert_eq!(zstd::decode_all(&get(DATA).unwrap()[..]).unwrap(), bytes, "{told}");
            let written = get(Part::Record).unwrap();
            let read = Record::read(written, &CLUSTER.parse().unwrap(), &name).unwrap();
            assert_eq!(read, committed.record, "{told}");
            assert_eq!(read.objects[0].size, get(DATA).unwrap().len() as u64, "{told}");
            assert_eq!(get(Part::Signature).unwrap(), key.sign(written).unwrap().as_bytes(), "{told}");
            assert_eq!(
                committed.stored_bytes,
                found.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>(),
                "{told}"
            );
        }
        Err(NotCommitted { why, left }) => {
            let told = format!("{told}: {why}: {left:?}");
            // Of a store that lies about everything, nobody can know what it has.
            if fails == Fails::Lies && matches!(when, When::From(_)) {
                return has_failed;
            }
            // What is there is told, each object; what is told to be there is.
            for (at, _) in &found {
                assert!(left.stay.iter().any(|one| one.key.to_string() == *at), "{told}: {at}");
            }
            for one in left.stay.iter().filter(|one| one.is_listed) {
                assert!(found.iter().any(|(at, _)| *at == one.key.to_string()), "{told}");
            }
            // A record is there only where that is said, and then nothing below it was taken away.
            if get(Part::Record).is_some() {
                assert!(matches!(why, Why::Unknown(_)) || left.has_record(), "{told}");
            }
            if matches!(why, Why::Unknown(_)) {
                assert!(get(DATA).is_some() && get(Part::Signature).is_some(), "{told}");
            }
            // Nothing is left behind a fault that passes, where the credential may delete.
            if may_delete && matches!(when, When::Once(_)) && !matches!(why, Why::Unknown(_)) {
                assert!(found.is_empty(), "{told}");
            }
        }
    }
    has_failed
}

async fn every_request(bytes: &[u8], most: usize) {
    for fails in [Fails::Refused, Fails::Before, Fails::After, Fails::Lies] {
        for may_delete in [true, false] {
            for when in [When::Once as fn(usize) -> When, When::From] {
                let mut reached = 0;
                for number in 1..=most {
                    reached += usize::from(one(bytes, fails, when(number), may_delete).await);
                }
                assert!((4..most).contains(&reached), "{reached}");
            }
        }
    }
}

#[tokio::test]
async fn a_small_backup_is_whole_or_none_whichever_request_fails() {
    every_request(b"a small snapshot", 12).await;
}

#[tokio::test]
async fn a_backup_in_parts_is_whole_or_none_whichever_request_fails() {
    let mut bytes = vec![0; 9 << 20];
    rand::rng().fill_bytes(&mut bytes);
    every_request(&bytes, 14).await;
}

#[tokio::test]
async fn without_a_fault_it_is_a_backup() {
    let store = Faulty::new(Fails::Refused, When::From(usize::MAX), false);
    let name = Name::new("2026-11-27T03:15:00Z".parse().unwrap(), 7, Class::Manual);
    let committed = write(&Store::over(Arc::new(store.share()), patience()), &name, b"x", None).await.unwrap();
    assert!(committed.not_compared.is_none());
    let paths: Vec<String> = all(&store).await.into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, [format!("v1/{CLUSTER}/{name}.db.zst"), format!("v1/{CLUSTER}/{name}.json")]);
}

#[tokio::test]
async fn another_record_of_the_same_name_is_left_alone() {
    let faulty = Faulty::new(Fails::Refused, When::From(usize::MAX), true);
    let store = Store::over(Arc::new(faulty.share()), patience());
    let name = Name::new("2026-11-27T03:15:00Z".parse().unwrap(), 7, Class::Manual);
    for theirs in ["theirs".to_owned(), "t".repeat(100_000)] {
        let key = Key::new(&CLUSTER.parse().unwrap(), &name, Part::Record);
        store.create(&key, Bytes::from(theirs.clone())).await.unwrap();
        let error = write(&store, &name, b"x", None).await.unwrap_err();
        assert!(matches!(error.why, Why::Taken(_)), "{error:?}");
        assert_eq!(error.left.stay.len(), 2, "{error:?}");
        assert_eq!(store.small(&key, 200_000).await.unwrap(), theirs);
        store.delete(&key).await.unwrap();
        store.delete(&Key::new(&CLUSTER.parse().unwrap(), &name, DATA)).await.unwrap();
    }
}

#[tokio::test]
async fn another_snapshot_of_the_same_name_is_left_alone() {
    let mut large = vec![0; 9 << 20];
    rand::rng().fill_bytes(&mut large);
    let faulty = Faulty::new(Fails::Refused, When::From(usize::MAX), true);
    let store = Store::over(Arc::new(faulty.share()), patience());
    let name = Name::new("2026-11-27T03:15:00Z".parse().unwrap(), 7, Class::Manual);
    let key = Key::new(&CLUSTER.parse().unwrap(), &name, DATA);
    store.create(&key, Bytes::from_static(b"theirs")).await.unwrap();
    let theirs = all(&faulty).await;
    let error = write(&store, &name, b"x", None).await.unwrap_err();
    assert!(matches!(&error.why, Why::Taken(taken) if *taken == key), "{error:?}");
    assert_eq!(error.left, Leftovers::default());
    assert_eq!(all(&faulty).await, theirs);
    // Given up before it was finished: what lies under the name is not its own.
    let mut pending = Pending::new(&store, &CLUSTER.parse().unwrap(), &name);
    let (writer, upload) = pending.upload(DATA);
    assert_eq!(upload.abort().await, None);
    drop(writer);
    assert_eq!(pending.abandon().await, Leftovers::default());
    assert_eq!(all(&faulty).await, theirs);
}

#[tokio::test]
async fn a_listing_that_comes_late_takes_no_backup_away() {
    // The requests of a small backup: data, signature, record, and the listing.
    let name = Name::new("2026-11-27T03:15:00Z".parse().unwrap(), 7, Class::Manual);
    let late = Faulty::new(Fails::Lies, When::Once(4), true);
    let store = Store::over(Arc::new(late.share()), patience());
    let committed = write(&store, &name, b"x", Some(&signing_key())).await.unwrap();
    assert!(committed.not_compared.is_none() && late.has_failed());
    assert_eq!(all(&late).await.len(), 3);
    // What the listing hides and nobody can ask for is not compared, and stays.
    let refused = Faulty::new(Fails::Lies, When::Once(4), true);
    let store = Store::over(Arc::new(refused.share().refusing_reads()), patience());
    let committed = write(&store, &name, b"x", Some(&signing_key())).await.unwrap();
    assert!(committed.not_compared.is_some());
    assert_eq!(all(&refused).await.len(), 3);
}

#[tokio::test]
async fn what_is_given_up_leaves_nothing() {
    let faulty = Faulty::new(Fails::Refused, When::From(usize::MAX), true);
    let store = Store::over(Arc::new(faulty.share()), patience());
    let name = Name::new("2026-11-27T03:15:00Z".parse().unwrap(), 7, Class::Manual);
    let mut pending = Pending::new(&store, &CLUSTER.parse().unwrap(), &name);
    let (mut writer, upload) = pending.upload(DATA);
    let written = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; 20 << 20];
        rand::rng().fill_bytes(&mut bytes);
        writer.write_all(&bytes).map(|()| writer)
    });
    let writer = written.await.unwrap().unwrap();
    assert_eq!(upload.abort().await, None);
    drop(writer);
    assert_eq!(pending.abandon().await, Leftovers::default());
    assert_eq!(all(&faulty).await, []);
}
