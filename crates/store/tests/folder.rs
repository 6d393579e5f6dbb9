//! A folder as a store, from outside: whatever goes wrong, there is a whole object under a name or none.

use std::io::Write;

use bytes::Bytes;
use etcd_store::layout::{Key, Part};
use etcd_store::{Environment, Store, StoreUrl, Trouble, UploadWriter};
use futures::TryStreamExt;

const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
const NAME: &str = "20261127T031500Z-48211-manual-k3f2x2ab";

fn store(folder: &tempfile::TempDir) -> Store {
    let deep = folder.path().join("deep");
    if !deep.exists() {
        std::fs::create_dir_all(deep.join("store")).unwrap();
    }
    let url: StoreUrl = format!("file://{}/deep/store", folder.path().display()).parse().unwrap();
    Store::open(&url, &Environment::default()).unwrap()
}

fn key(part: Part) -> Key {
    Key::new(&UID.parse().unwrap(), &NAME.parse().unwrap(), part)
}

fn data() -> Key {
    key(Part::Data { encrypted: true })
}

/// Writes so many bytes on a thread of its own, and ends the object where that is wanted.
async fn write(mut writer: UploadWriter, size: usize, end: bool) {
    let work = move || {
        let block: Vec<u8> = (0..=250).collect();
        let mut left = size;
        while left > 0 {
            let count = left.min(block.len());
            writer.write_all(&block[..count]).unwrap();
            left -= count;
        }
        if end {
            writer.end().unwrap();
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

fn files(folder: &tempfile::TempDir) -> usize {
    let mut todo = vec![folder.path().to_owned()];
    let mut count = 0;
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { count += 1 }
        }
    }
    count
}

#[tokio::test]
async fn what_is_written_is_listed_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    assert_eq!(store.list(None).await.unwrap().objects, []);
    let (writer, upload) = store.upload(&data());
    let size = 20 * 1024 * 1024 + 7;
    let (sent, ()) = tokio::join!(upload.finish(), write(writer, size, true));
    let sent = sent.unwrap();
    assert_eq!(sent.size, size as u64);
    store.create(&key(Part::Record), Bytes::from_static(b"{}")).await.unwrap();
    std::fs::write(folder.path().join("deep/store/v1/stranger"), "x").unwrap();

    let listed = store.list(Some(&UID.parse().unwrap())).await.unwrap();
    assert_eq!(listed.objects.iter().map(|object| object.size).collect::<Vec<_>>(), [size as u64, 2]);
    assert_eq!(store.list(None).await.unwrap().foreign, 1);
    assert_eq!(store.clusters().await.unwrap(), [UID.parse().unwrap()]);
    assert_eq!(store.size(&data()).await.unwrap(), size as u64);

    let chunks: Vec<Bytes> = store.download(&data()).await.unwrap().stream.try_collect().await.unwrap();
    let read = chunks.concat();
    let digest = ring::digest::digest(&ring::digest::SHA256, &read);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((read.len(), digest), (size, sent.sha256));

    assert_eq!(store.small(&key(Part::Record), 2).await.unwrap(), "{}");
    assert_eq!(store.small(&key(Part::Record), 1).await.unwrap_err().trouble(), &Trouble::Damaged);
    store.delete(&data()).await.unwrap();
    assert!(store.size(&data()).await.unwrap_err().is_not_found());
    assert!(store.small(&data(), 9).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn the_file_of_a_writer_that_was_killed_is_found_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    store.create(&data(), Bytes::from_static(b"whole")).await.unwrap();
    let path = folder.path().join("deep/store/v1").join(UID).join(".part-x");
    std::fs::write(&path, "half").unwrap();
    let [file] = &store.part_files(&UID.parse().unwrap()).await.unwrap()[..] else { panic!("one file") };
    assert_eq!((file.name(), file.size), (".part-x", 4));
    let later = |hours| file.modified + jiff::SignedDuration::from_hours(hours);
    assert!(!file.is_left_over(later(23)) && file.is_left_over(later(24)));
    store.delete_part_file(file).await.unwrap();
    assert!(!path.exists());
    assert_eq!(files(&folder), 1);
}

#[tokio::test]
async fn nothing_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    store.create(&data(), Bytes::from_static(b"first")).await.unwrap();
    let error = store.create(&data(), Bytes::from_static(b"second")).await.unwrap_err();
    assert!(error.is_exists(), "{error}");
    let (writer, upload) = store.upload(&data());
    let (sent, ()) = tokio::join!(upload.finish(), write(writer, 10, true));
    assert!(sent.unwrap_err().is_exists());
    assert_eq!(store.small(&data(), 100).await.unwrap(), "first");
    assert_eq!(files(&folder), 1);
}

#[tokio::test]
async fn an_upload_that_does_not_end_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    for size in [0, 10, 20 * 1024 * 1024] {
        // The writer fails.
        let (writer, upload) = store.upload(&data());
        let (sent, ()) = tokio::join!(upload.finish(), write(writer, size, false));
        let error = sent.unwrap_err();
        assert_eq!(error.trouble(), &Trouble::Abandoned, "{error}");
        assert_eq!(files(&folder), 0);
        // Its owner gives it up.
        let (writer, upload) = store.upload(&data());
        write(writer, size.min(10), true).await;
        assert_eq!(upload.abort().await, None);
        assert_eq!(files(&folder), 0);
    }
    // An owner that goes away ends the writer, too.
    let (mut writer, upload) = store.upload(&data());
    drop(upload);
    let ended = tokio::task::spawn_blocking(move || {
        let block = vec![7; 1024 * 1024];
        loop {
            if let Err(error) = writer.write_all(&block) {
                return error;
            }
        }
    });
    assert_eq!(ended.await.unwrap().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(files(&folder), 0);
}

#[tokio::test]
#[cfg(unix)]
async fn a_folder_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("deep"), "a file").unwrap();
    let store = store(&folder);
    let error = store.create(&data(), Bytes::new()).await.unwrap_err();
    assert_eq!(error.trouble(), &Trouble::NoFolder, "{error}");
    assert_eq!(std::fs::read(folder.path().join("deep")).unwrap(), b"a file");
}
