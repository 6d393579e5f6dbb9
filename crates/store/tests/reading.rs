//! A backup is found, checked and opened; nothing that was changed, planted or cut off is.

mod common;

use std::ops::ControlFlow;

use bytes::Bytes;
use common::*;
use etcd_store::copy::{CopyError, Done, copy, items};
use etcd_store::fetch::{ChooseError, FindError, Found, TransferError};
use etcd_store::proof::Proof;
use etcd_store::*;
use jiff::{SignedDuration, Timestamp};

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

async fn latest(place: &Place, trusted: Option<&TrustedKeys>) -> Result<Found, FindError> {
    Found::find(&place.store, None, &Wanted::Latest, trusted, Timestamp::now()).await
}

async fn open(found: &Found, place: &Place) -> Result<Vec<u8>, TransferError> {
    found.open(Some(&place.identities()), Vec::new(), go_on).await
}

#[tokio::test]
async fn the_newest_backup_is_found_and_opened() {
    let place = Place::new();
    let older = Made { taken: Timestamp::now() - SignedDuration::from_hours(3), ..Made::default() };
    let (_, old) = place.backup(&older).await;
    let made = Made { snapshot: b"the newest".repeat(100_000), ..Made::default() };
    let (cluster, new) = place.backup(&made).await;
    let found = latest(&place, Some(&trusted())).await.unwrap();
    assert_eq!(found.backup.name, new);
    assert_eq!(found.signer.as_ref().unwrap().name, "test@kubectl-etcd");
    assert_eq!(open(&found, &place).await.unwrap(), made.snapshot);
    // By its name, with and without its cluster.
    for of in [None, Some(&cluster)] {
        let by_name =
            Found::find(&place.store, of, &Wanted::Backup(old.clone()), None, Timestamp::now()).await.unwrap();
        assert_eq!((by_name.backup.name.clone(), by_name.signer.is_none()), (old.clone(), true));
        assert_eq!(open(&by_name, &place).await.unwrap(), older.snapshot);
    }
    let node_files = found.recorded(&found.backup.key(Part::NodeFiles)).unwrap();
    found.open_node_files(node_files, &place.identities(), go_on).await.unwrap();
}

#[tokio::test]
async fn a_backup_in_clear_needs_no_identity() {
    let place = Place::new();
    let made = Made { encrypted: false, node_files: false, ..Made::default() };
    place.backup(&made).await;
    let found = latest(&place, None).await.unwrap();
    assert_eq!(found.open(None, Vec::new(), go_on).await.unwrap(), made.snapshot);
}

#[tokio::test]
async fn several_clusters_are_told_apart() {
    let place = Place::new();
    assert!(matches!(latest(&place, None).await, Err(FindError::Choose(ChooseError::Empty))));
    place.backup(&Made::default()).await;
    let (other, name) = place.backup(&Made { cluster: OTHER_CLUSTER, ..Made::default() }).await;
    let error = latest(&place, None).await.unwrap_err();
    let FindError::Choose(ChooseError::Several(newest)) = error else { panic!("{error}") };
    let told: Vec<String> = newest.iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with(&format!("{OTHER_CLUSTER} (prod-eu), newest backup {name}")), "{told:?}");
    assert_eq!(newest.len(), 2);
    let found = Found::find(&place.store, Some(&other), &Wanted::Latest, None, Timestamp::now()).await.unwrap();
    assert_eq!(found.backup.name, name);
    // A name is that of one backup.
    let found = Found::find(&place.store, None, &Wanted::Backup(name), None, Timestamp::now()).await.unwrap();
    assert_eq!(found.backup.cluster, other);
    let missing: Name = "20261127T031500Z-48211-manual-k3f2x2ab".parse().unwrap();
    let error = Found::find(&place.store, None, &Wanted::Backup(missing.clone()), None, Timestamp::now()).await;
    assert!(matches!(error, Err(FindError::Choose(ChooseError::Missing(name))) if name == missing));
}

#[tokio::test]
async fn what_has_no_record_is_no_backup() {
    let place = Place::new();
    let (cluster, name) = place.backup(&Made::default()).await;
    std::fs::remove_file(place.object(&Key::new(&cluster, &name, Part::Record))).unwrap();
    assert!(matches!(latest(&place, None).await, Err(FindError::Choose(ChooseError::NoneOf(_)))));
    let error = Found::find(&place.store, None, &Wanted::Backup(name), None, Timestamp::now()).await;
    assert!(matches!(error, Err(FindError::Choose(ChooseError::Unfinished(_)))));
}

#[tokio::test]
async fn only_what_a_trusted_key_has_signed_counts() {
    let place = Place::new();
    let (cluster, name) = place.backup(&Made::default()).await;
    let signature = Key::new(&cluster, &name, Part::Signature);
    let good = std::fs::read(place.object(&signature)).unwrap();
    // Of other bytes.
    std::fs::write(place.object(&signature), signing_key().sign(b"other").unwrap()).unwrap();
    let error = latest(&place, Some(&trusted())).await.unwrap_err();
    assert!(matches!(error, FindError::Signature { why: SignatureError::Wrong(_), .. }), "{error}");
    // No signature at all, though one was asked for; without trusted keys nothing is asked.
    std::fs::remove_file(place.object(&signature)).unwrap();
    assert!(matches!(latest(&place, Some(&trusted())).await, Err(FindError::Unsigned(_))));
    assert!(latest(&place, None).await.unwrap().signer.is_none());
    // A record that was changed after it was signed.
    std::fs::write(place.object(&signature), good).unwrap();
    let record = place.object(&Key::new(&cluster, &name, Part::Record));
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("prod-eu", "prod-us")).unwrap();
    let error = latest(&place, Some(&trusted())).await.unwrap_err();
    assert!(matches!(error, FindError::Signature { why: SignatureError::Wrong(_), .. }), "{error}");
    // Somebody else's key.
    let file = place.path("other.pub");
    std::fs::write(&file, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti").unwrap();
    std::fs::write(&record, text).unwrap();
    let error = latest(&place, Some(&TrustedKeys::read(&[file]).unwrap())).await.unwrap_err();
    assert!(matches!(error, FindError::Signature { why: SignatureError::Untrusted(_), .. }), "{error}");
}

#[tokio::test]
async fn what_is_planted_beside_a_backup_is_neither_used_nor_in_its_way() {
    let place = Place::new();
    let made = Made { node_files: false, ..Made::default() };
    let (cluster, name) = place.backup(&made).await;
    let plant = async |part: Part| {
        let key = Key::new(&cluster, &name, part);
        place.store.create(&key, Bytes::from_static(b"planted")).await.unwrap();
        key
    };
    let planted = [plant(Part::Data { encrypted: false }).await, plant(Part::NodeFiles).await];
    let found = latest(&place, Some(&trusted())).await.unwrap();
    let foreign: Vec<&Key> = found.backup.foreign.iter().map(|object| &object.key).collect();
    assert_eq!(foreign, planted.iter().collect::<Vec<_>>());
    assert_eq!((found.backup.name.clone(), found.backup.node_files), (name, None));
    assert_eq!(open(&found, &place).await.unwrap(), made.snapshot);
    assert!(items(&found).iter().all(|item| !planted.contains(&item.key)));
}

#[tokio::test]
async fn what_no_trusted_key_has_signed_does_not_hide_what_one_has() {
    let place = Place::new();
    let at = |hours| Timestamp::now() - SignedDuration::from_hours(hours);
    let (_, good) = place.backup(&Made { taken: at(5), ..Made::default() }).await;
    let (cluster, unsigned) = place.backup(&Made { taken: at(3), signed: false, ..Made::default() }).await;
    let (_, damaged) = place.backup(&Made { taken: at(1), ..Made::default() }).await;
    std::fs::write(place.object(&Key::new(&cluster, &damaged, Part::Record)), "{}").unwrap();
    let found = latest(&place, Some(&trusted())).await.unwrap();
    assert_eq!(found.backup.name, good);
    let [first, second] = &found.passed_over[..] else { panic!("{:?}", found.passed_over) };
    assert!(first.contains(&damaged.to_string()) && first.contains("signature"), "{first}");
    assert!(second.contains(&unsigned.to_string()) && second.contains("is not signed"), "{second}");
    // Without a key nothing tells them apart, and a name means one backup.
    assert!(matches!(latest(&place, None).await, Err(FindError::Record { .. })));
    let named = Wanted::Backup(unsigned.clone());
    let error = Found::find(&place.store, None, &named, Some(&trusted()), Timestamp::now()).await.unwrap_err();
    assert!(matches!(error, FindError::Unsigned(name) if name == unsigned));
}

#[tokio::test]
async fn a_planted_record_is_not_believed() {
    let place = Place::new();
    let (cluster, name) = place.backup(&Made::default()).await;
    let path = place.object(&Key::new(&cluster, &name, Part::Record));
    let good = std::fs::read_to_string(&path).unwrap();
    let record: Record = serde_json::from_str(&good).unwrap();
    let plant = |change: &dyn Fn(&mut Record)| {
        let mut planted = record.clone();
        change(&mut planted);
        std::fs::write(&path, planted.to_json().unwrap()).unwrap();
    };
    let data = Key::new(&cluster, &name, Part::Data { encrypted: true }).file();
    for (what, change) in [
        ("its cluster", &(|record: &mut Record| record.cluster.uid = OTHER_CLUSTER.to_owned()) as &dyn Fn(&mut Record)),
        ("its name", &|record| record.name = "20261127T031500Z-48211-manual-k3f2x2ab".to_owned()),
        ("bytes, and 1 are recorded", &|record| record.objects[0].size = 1),
        ("no snapshot is recorded", &|record| drop(record.objects.remove(0))),
        ("is recorded twice", &|record| record.objects.push(record.objects[0].clone())),
        ("is recorded, and is not there", &|record| record.objects[0].name = "../../etc/passwd".to_owned()),
        ("no recipient is recorded", &|record| record.objects[0].recipients.clear()),
        ("a StoredBackup of v9", &|record| record.api_version = "v9".to_owned()),
    ] {
        plant(change);
        let error = latest(&place, None).await.unwrap_err();
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(latest(&place, None).await, Err(FindError::Record { .. })));
    // What the record says of the snapshot is compared with what comes out.
    for (what, change) in [
        ("bytes that are recorded", &(|record: &mut Record| record.snapshot.size -= 1) as &dyn Fn(&mut Record)),
        ("bytes, and", &|record| record.snapshot.size += 1),
        ("its SHA-256 is", &|record| record.snapshot.sha256 = "00".repeat(32)),
    ] {
        plant(change);
        let error = open(&latest(&place, None).await.unwrap(), &place).await.unwrap_err();
        assert!(
            matches!(&error, TransferError::OtherContent { object, why } if *object == data && why.contains(what)),
            "{error}"
        );
    }
    // The stored bytes are hashed, also where they open well.
    plant(&|record| record.objects[0].sha256 = "00".repeat(32));
    let error = open(&latest(&place, None).await.unwrap(), &place).await.unwrap_err();
    assert!(matches!(error, TransferError::Changed { .. }), "{error}");
}

#[tokio::test]
async fn a_changed_object_is_told_from_one_that_was_damaged_before() {
    let place = Place::new();
    let (cluster, name) = place.backup(&Made::default()).await;
    let path = place.object(&Key::new(&cluster, &name, Part::Data { encrypted: true }));
    let good = std::fs::read(&path).unwrap();
    for at in [0, 30, 200, good.len() / 2, good.len() - 1] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let error = open(&latest(&place, None).await.unwrap(), &place).await.unwrap_err();
        assert!(matches!(error, TransferError::Changed { .. }), "byte {at}: {error}");
        // Somebody who also changes what is recorded: it cannot be opened.
        let record_path = place.object(&Key::new(&cluster, &name, Part::Record));
        let record = std::fs::read_to_string(&record_path).unwrap();
        std::fs::write(&record_path, record.replace(&sha256(&good), &sha256(&changed))).unwrap();
        let error = open(&latest(&place, None).await.unwrap(), &place).await.unwrap_err();
        assert!(matches!(error, TransferError::Unreadable { .. }), "byte {at}: {error}");
        std::fs::write(&record_path, record).unwrap();
    }
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(matches!(latest(&place, None).await, Err(FindError::Contradicts { .. })));
    std::fs::write(&path, &good).unwrap();
    // Between the listing and the reading.
    let found = latest(&place, None).await.unwrap();
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(matches!(open(&found, &place).await, Err(TransferError::Changed { .. })));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(&found, &place).await, Err(TransferError::Store(error)) if error.is_not_found()));
}

#[tokio::test]
async fn an_identity_that_does_not_fit_is_refused_before_anything_is_read() {
    let place = Place::new();
    let (cluster, name) = place.backup(&Made::default()).await;
    let found = latest(&place, None).await.unwrap();
    std::fs::remove_file(place.object(&Key::new(&cluster, &name, Part::Data { encrypted: true }))).unwrap();
    let other = Identities::generate();
    for (identities, said) in [(None, "no identity is given".to_owned()), (Some(&other), other.recipients().concat())] {
        let error = found.open(identities, Vec::new(), go_on).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(RECIPIENT) && text.contains(&said), "{text}");
    }
}

#[tokio::test]
async fn a_transfer_ends_when_its_watcher_says_so_or_its_target_is_full() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let place = Place::new();
    place
        .backup(&Made {
            snapshot: (0..2_000_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect(),
            ..Made::default()
        })
        .await;
    let found = latest(&place, None).await.unwrap();
    let identities = place.identities();
    let stopped = found.open(Some(&identities), Vec::new(), |_| ControlFlow::Break(())).await;
    assert!(matches!(stopped, Err(TransferError::Ended)));
    let full = found.open(Some(&identities), Full, go_on).await.err().unwrap();
    assert!(matches!(full, TransferError::Write(error) if error.kind() == std::io::ErrorKind::StorageFull));
    // A future that is dropped ends its thread, which gives the target up.
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    struct Held(Vec<u8>, #[expect(dead_code, reason = "it is dropped")] tokio::sync::oneshot::Sender<()>);
    impl std::io::Write for Held {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (began, begun) = tokio::sync::oneshot::channel();
    let mut began = Some(began);
    let watch = move |_| {
        began.take().map(|began| began.send(()));
        ControlFlow::Continue(())
    };
    let transfer = found.open(Some(&identities), Held(Vec::new(), sender), watch);
    tokio::select! {
        done = transfer => assert!(done.is_ok()),
        _ = begun => {}
    }
    assert!(receiver.await.is_err());
}

#[tokio::test]
async fn a_backup_is_copied_as_it_is_and_a_copy_goes_on_where_it_stopped() {
    let place = Place::new();
    let (cluster, name) = place.backup(&Made::default()).await;
    let found = latest(&place, Some(&trusted())).await.unwrap();
    let by = Program { name: "test".to_owned(), version: "1".to_owned() };
    let report = Some(Bytes::from_static(b"{}\n"));
    Proof::write(&found, Level::Read, by, Timestamp::now(), Some(&signing_key()), report).await.unwrap();
    let found = latest(&place, Some(&trusted())).await.unwrap();
    let kinds: Vec<_> = items(&found).into_iter().map(|item| item.key.part).collect();
    assert!(
        matches!(
            kinds[..],
            [
                Part::Data { .. },
                Part::NodeFiles,
                Part::ReportSignature { .. },
                Part::Report { .. },
                Part::ProofSignature { .. },
                Part::Proof { .. },
                Part::Signature,
                Part::Record
            ]
        ),
        "{kinds:?}"
    );
    // A planted object of the size of a disk is in nobody's way.
    let part = Part::Proof { level: Level::Opened, at: Timestamp::UNIX_EPOCH, random: "a".to_owned() };
    let planted = Key::new(&cluster, &name, part);
    place.store.create(&planted, Bytes::from(vec![0; 1 << 20])).await.unwrap();
    let found = latest(&place, Some(&trusted())).await.unwrap();
    assert!(items(&found).len() == 8 && items(&found).iter().all(|item| item.key != planted));
    let second = Place::new();
    let run = async |found: &Found| -> Result<Vec<Done>, CopyError> {
        let there = second.store.list(None).await.unwrap();
        let mut done = Vec::new();
        for item in items(found) {
            done.push(copy(found, &item, &second.store, &there, go_on).await?);
        }
        Ok(done)
    };
    // The data is there in part only: another content under the name is left alone, and no record comes.
    let data = Key::new(&cluster, &name, Part::Data { encrypted: true });
    second.store.create(&data, Bytes::from_static(b"other")).await.unwrap();
    assert!(matches!(run(&found).await, Err(CopyError::Taken(key)) if key == data));
    assert_eq!(second.store.list(None).await.unwrap().objects.len(), 1);
    std::fs::remove_file(second.object(&data)).unwrap();
    // The data is there already.
    second.store.create(&data, Bytes::from(std::fs::read(place.object(&data)).unwrap())).await.unwrap();
    assert_eq!(run(&found).await.unwrap()[..2], [Done::Kept, Done::Copied]);
    assert_eq!(run(&found).await.unwrap(), [Done::Kept; 8]);
    for item in items(&found) {
        assert_eq!(std::fs::read(place.object(&item.key)).unwrap(), std::fs::read(second.object(&item.key)).unwrap());
    }
    let copied = latest(&second, Some(&trusted())).await.unwrap();
    assert_eq!(open(&copied, &second).await.unwrap(), Made::default().snapshot);
    // What is damaged where it comes from is not copied.
    let third = Place::new();
    let mut bytes = std::fs::read(place.object(&data)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(place.object(&data), bytes).unwrap();
    let item = items(&found).remove(0);
    let error = copy(&found, &item, &third.store, &Listed::default(), go_on).await.unwrap_err();
    assert!(matches!(error, CopyError::Transfer(TransferError::Changed { .. })), "{error}");
    assert_eq!(third.store.list(None).await.unwrap(), Listed::default());
}

#[tokio::test]
async fn a_proof_says_what_was_proved_of_which_record() {
    let place = Place::new();
    let (cluster, name) = place.backup(&Made::default()).await;
    let found = latest(&place, None).await.unwrap();
    let by = Program { name: "kubectl-etcd".to_owned(), version: "1".to_owned() };
    let key =
        Proof::write(&found, Level::Opened, by.clone(), Timestamp::now(), Some(&signing_key()), None).await.unwrap();
    let bytes = std::fs::read(place.object(&key)).unwrap();
    let proof: Proof = serde_json::from_slice(&bytes).unwrap();
    let record = std::fs::read(place.object(&Key::new(&cluster, &name, Part::Record))).unwrap();
    assert_eq!((proof.level, proof.by, proof.record_sha256), (Level::Opened, by.clone(), sha256(&record)));
    let signature = Key { part: key.part.signature().unwrap(), ..key };
    trusted().verify(&bytes, &std::fs::read(place.object(&signature)).unwrap()).unwrap();
    assert_eq!(latest(&place, None).await.unwrap().backup.proof, Some(Level::Opened));
    let unsigned = Proof::write(&found, Level::Read, by, Timestamp::now(), None, None).await.unwrap();
    assert!(!place.object(&Key { part: unsigned.part.signature().unwrap(), ..unsigned }).exists());
}
