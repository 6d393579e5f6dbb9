//! Tries a store: writes test objects to a folder of their own, reads them, and takes away what it may.

use std::io::{Read, Write};

use bytes::Bytes;
use futures::TryStreamExt;
use rand::Rng;

use crate::check::{Again, Facts, settings};
use crate::layout::VERSION;
use crate::trouble::{StoreError, Trouble};
use crate::{Encryption, Identities, Sealer, Store, open_sealed};

/// More than one part of an upload.
const LARGE: usize = 9 * 1024 * 1024;
const SECOND: &[u8] = b"a second object of the same name";

/// Tries everything there is to try. What fails is a fact, not an error.
///
/// The test object is sealed with `encryption` as a backup is, and opened with `identities`, where there are any.
pub async fn probe(store: &Store, encryption: &Encryption, identities: Option<&Identities>) -> Facts {
    let folder = format!("{VERSION}/check-{:016x}", rand::rng().random::<u64>());
    let plain = store.url().to_string().contains("endpoint=http://");
    let asked_encryption = store.url().options.sse.clone();
    let mut facts = Facts { folder: folder.clone(), plain, asked_encryption, ..Facts::default() };
    let (small, large) = (format!("{folder}/small"), format!("{folder}/large"));
    let clear = content(64 * 1024);
    let sealed = match seal(&clear, encryption) {
        Ok(sealed) => Bytes::from(sealed),
        Err(error) => {
            facts.create = Some(Err(error.to_string()));
            return facts;
        }
    };
    let created = store.put(&small, sealed.clone()).await;
    facts.create = Some(said(&created));
    facts.ahead = store.clock().map(|clock| clock.theirs.duration_since(clock.ours).as_secs());
    if created.is_err() {
        return facts;
    }
    facts.settings = Some(settings::settings(store).await);
    let again = store.put(&small, Bytes::from_static(SECOND)).await;
    let read = whole(store, &small, None).await;
    facts.again = Some(match (&again, &read) {
        (Ok(()), _) => Again::Overwritten,
        (Err(error), Ok(bytes)) if error.is_exists() && *bytes == sealed[..] => Again::Refused,
        (Err(error), Ok(bytes)) if error.is_exists() && bytes == SECOND => Again::Overwritten,
        (Err(error), _) => Again::Failed(error.to_string()),
    });
    // Where the second object has replaced the first, this is not what reading failed of.
    facts.read = Some(match &read {
        Ok(bytes) if *bytes == sealed[..] || (again.is_ok() && bytes == SECOND) => Ok(()),
        Ok(_) => Err("the object was read otherwise than it was written".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    if let (Some(identities), Ok(bytes)) = (identities, &read)
        && again.is_err()
    {
        facts.opened = Some(open(bytes, encryption.is_on(), identities, &clear));
    }
    let big = content(LARGE);
    facts.parts = Some(parts(store, &large, &big).await);
    let range = whole(store, &large, Some(1_000..3_000)).await;
    facts.range = Some(match &range {
        Ok(bytes) if Some(bytes.as_slice()) == big.get(1_000..3_000) => Ok(()),
        Ok(_) => Err("another part of the object was read than was asked for".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    let listed = store.entries(&folder).await;
    facts.list = Some(match &listed {
        Ok((entries, _)) if entries.len() == 2 => Ok(()),
        Ok((entries, _)) => Err(format!("2 objects were written, and the listing shows {}", entries.len())),
        Err(error) => Err(error.to_string()),
    });
    clean(store, &mut facts, &[small, large]).await;
    if facts.left.is_empty() && store.remove_folder(&folder).await.is_err() {
        facts.left.push(folder);
    }
    facts
}

async fn clean(store: &Store, facts: &mut Facts, paths: &[String]) {
    for path in paths {
        let removed = store.remove(path).await;
        if let Err(error) = &removed {
            facts.delete_denied |= error.trouble() == &Trouble::AccessDenied;
            if !error.is_not_found() {
                facts.left.push(path.clone());
            }
        }
        // The first one's answer counts; the second is the same credential's.
        facts.delete.get_or_insert(said(&removed));
        if removed.is_ok() {
            let gone = whole(store, path, None).await.is_err_and(|error| error.is_not_found());
            facts.gone = Some(facts.gone.unwrap_or(true) && gone);
            if !gone {
                facts.left.push(path.clone());
            }
        }
    }
}

fn said<T>(result: &Result<T, StoreError>) -> Result<(), String> {
    result.as_ref().map(|_| ()).map_err(ToString::to_string)
}

/// Bytes that do not repeat.
fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    rand::rng().fill(bytes.as_mut_slice());
    bytes
}

async fn whole(store: &Store, path: &str, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, StoreError> {
    let chunks: Vec<Bytes> = store.read(path, range).await?.stream.try_collect().await?;
    Ok(chunks.concat())
}

async fn parts(store: &Store, path: &str, bytes: &[u8]) -> Result<(), String> {
    let (mut writer, upload) = store.upload_to(path.to_owned());
    let copy = bytes.to_vec();
    let writing = tokio::task::spawn_blocking(move || writer.write_all(&copy).and_then(|()| writer.end()));
    let sent = upload.finish().await.map_err(|error| error.to_string())?;
    writing.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let read = whole(store, path, None).await.map_err(|error| error.to_string())?;
    if read == bytes && sent.size == bytes.len() as u64 {
        Ok(())
    } else {
        Err("an object of several parts was read otherwise than it was written".to_owned())
    }
}

fn seal(clear: &[u8], encryption: &Encryption) -> std::io::Result<Vec<u8>> {
    let mut sealer = Sealer::new(Vec::new(), encryption)?;
    sealer.write_all(clear)?;
    sealer.finish()
}

fn open(sealed: &[u8], encrypted: bool, identities: &Identities, clear: &[u8]) -> Result<(), String> {
    let mut read = Vec::new();
    let opened = open_sealed(sealed, encrypted, identities).and_then(|mut opened| opened.read_to_end(&mut read));
    match opened {
        Ok(_) if read == clear => Ok(()),
        Ok(_) => Err("what was opened is not what was sealed".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;

    #[tokio::test]
    async fn a_store_in_a_folder_is_left_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let url = format!("file://{}", root.path().display()).parse().unwrap();
        let store = Store::open(&url, &Environment::of_process()).unwrap();
        let facts = probe(&store, &Encryption::Off, None).await;
        assert_eq!((facts.create, facts.parts, facts.list), (Some(Ok(())), Some(Ok(())), Some(Ok(()))));
        assert_eq!((facts.gone, facts.left.len()), (Some(true), 0));
        assert_eq!(std::fs::read_dir(root.path().join(VERSION)).unwrap().count(), 0);
        // A file system that is not mounted is no store.
        root.close().unwrap();
        let facts = probe(&store, &Encryption::Off, None).await;
        assert!(matches!(facts.create, Some(Err(_))));
    }
}
