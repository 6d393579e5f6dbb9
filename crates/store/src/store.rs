//! A store that is open: what can be done with its objects.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

use crate::backend::ClockReading;
use crate::backend::folder::blocking;
use crate::backend::{Cloud, Failure, Folder};
use crate::download::Download;
use crate::layout::{self, Key};
use crate::trouble::{PartsLeft, StoreError, Task, Trouble};
use crate::upload::{Upload, UploadWriter};
use crate::url::Place;
use crate::{ClusterUid, Environment, Listed, Object, PartFile, Patience, StoreUrl};

/// A store. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Store {
    url: StoreUrl,
    pub(crate) backend: Backend,
}

#[derive(Debug, Clone)]
pub(crate) enum Backend {
    Cloud(Cloud),
    Folder(Folder),
}

impl Store {
    /// Opens a store. No request is made: an error is one of the URL, the environment or the certificate file.
    ///
    /// # Errors
    ///
    /// No credential, half of one, or one of a kind that is not supported; a certificate file that cannot be read.
    pub fn open(url: &StoreUrl, environment: &Environment) -> Result<Store, StoreError> {
        Store::open_with(url, environment, Patience::default())
    }

    /// The same with another patience.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_with(url: &StoreUrl, environment: &Environment, patience: Patience) -> Result<Store, StoreError> {
        let backend = match &url.place {
            Place::Folder(folder) => Backend::Folder(Folder::open(folder)),
            _ => Backend::Cloud(
                Cloud::open(url, environment, patience).map_err(|failure| told(url, Task::Open, None, failure))?,
            ),
        };
        Ok(Store { url: url.clone(), backend })
    }

    /// Any other store, for tests; it is told to be in a bucket.
    #[cfg(test)]
    pub(crate) fn over(store: std::sync::Arc<dyn object_store::ObjectStore>, patience: Patience) -> Store {
        let url: StoreUrl = "s3://bucket".parse().expect("it is a URL");
        Store { url, backend: Backend::Cloud(Cloud::over(store, patience)) }
    }

    /// Where it is.
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    /// The objects of all backups, or of one cluster's.
    ///
    /// # Errors
    ///
    /// The store cannot be listed, or its folder does not exist. A store without backups is no error.
    pub async fn list(&self, cluster: Option<&ClusterUid>) -> Result<Listed, StoreError> {
        let folder = cluster.map_or_else(|| layout::VERSION.to_owned(), layout::folder);
        let (entries, strange) = self.entries(&folder).await?;
        let mut listed = Listed { objects: Vec::new(), foreign: strange };
        for entry in entries {
            match Key::parse(&entry.path) {
                Some(key) => listed.objects.push(Object { key, size: entry.size, modified: entry.modified }),
                None => listed.foreign += 1,
            }
        }
        listed.objects.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(listed)
    }

    pub(crate) async fn entries(&self, folder: &str) -> Result<(Vec<crate::backend::Entry>, u64), StoreError> {
        let listed = match &self.backend {
            Backend::Cloud(cloud) => cloud.list(folder).await,
            Backend::Folder(store) => {
                let (store, folder) = (store.clone(), folder.to_owned());
                blocking(move || store.list(&folder)).await
            }
        };
        listed.map_err(|failure| told(&self.url, Task::List, None, failure))
    }

    /// Files of objects of a cluster that are not whole: of writers that are at work or were killed. Clouds have none.
    ///
    /// # Errors
    ///
    /// The store cannot be listed.
    pub async fn part_files(&self, cluster: &ClusterUid) -> Result<Vec<PartFile>, StoreError> {
        match self.backend {
            Backend::Cloud(_) => Ok(Vec::new()),
            Backend::Folder(_) => {
                let (entries, _) = self.entries(&layout::folder(cluster)).await?;
                Ok(entries.into_iter().filter_map(PartFile::of).collect())
            }
        }
    }

    /// Deletes such a file.
    ///
    /// # Errors
    ///
    /// It cannot be deleted.
    pub async fn delete_part_file(&self, file: &PartFile) -> Result<(), StoreError> {
        self.remove(file.path()).await
    }

    /// The clusters that have a folder in the store.
    ///
    /// # Errors
    ///
    /// The store cannot be listed.
    pub async fn clusters(&self) -> Result<Vec<ClusterUid>, StoreError> {
        let folders = match &self.backend {
            Backend::Cloud(cloud) => cloud.folders(layout::VERSION).await,
            Backend::Folder(store) => {
                let store = store.clone();
                blocking(move || store.folders(layout::VERSION)).await
            }
        };
        let folders = folders.map_err(|failure| told(&self.url, Task::List, None, failure))?;
        let mut clusters: Vec<ClusterUid> = folders.iter().filter_map(|name| name.parse().ok()).collect();
        clusters.sort();
        Ok(clusters)
    }

    /// A small object, whole: a record, a signature, a proof. `limit` is in bytes.
    ///
    /// # Errors
    ///
    /// There is no such object, it is larger than the limit, or it cannot be read.
    pub async fn small(&self, key: &Key, limit: usize) -> Result<Bytes, StoreError> {
        let Download { size, mut stream, .. } = self.download(key).await?;
        let too_large = || {
            let detail = format!("it has {size} bytes, and at most {limit} are expected");
            StoreError::new(Task::Read, &self.url, Trouble::Damaged, detail).of(key)
        };
        if usize::try_from(size).map_or(true, |size| size > limit) {
            return Err(too_large());
        }
        let mut read = BytesMut::new();
        while let Some(chunk) = stream.try_next().await? {
            read.extend_from_slice(&chunk);
            if read.len() > limit {
                return Err(too_large());
            }
        }
        Ok(read.freeze())
    }

    /// An object as a stream.
    ///
    /// # Errors
    ///
    /// There is no such object, or it cannot be read.
    pub async fn download(&self, key: &Key) -> Result<Download, StoreError> {
        self.read(&key.to_string(), None).await
    }

    /// The bytes of an object, or a part of them.
    pub(crate) async fn read(&self, path: &str, range: Option<std::ops::Range<u64>>) -> Result<Download, StoreError> {
        let expected = range.as_ref().map(|range| range.end.saturating_sub(range.start));
        let got = match &self.backend {
            Backend::Cloud(cloud) => cloud.get(path, range).await,
            Backend::Folder(store) => {
                let (store, path) = (store.clone(), path.to_owned());
                blocking(move || store.get(&path, range)).await
            }
        };
        let url = self.url.clone();
        let object = path.to_owned();
        let error = move |failure| told(&url, Task::Read, Some(&object), failure);
        let (size, stream) = got.map_err(&error)?;
        Ok(Download::new(size, expected.unwrap_or(size), stream, error))
    }

    /// The size of an object, in bytes, without reading it.
    ///
    /// # Errors
    ///
    /// There is no such object, or the store does not tell.
    pub async fn size(&self, key: &Key) -> Result<u64, StoreError> {
        let path = key.to_string();
        let size = match &self.backend {
            Backend::Cloud(cloud) => cloud.size(&path).await,
            Backend::Folder(store) => {
                let (store, path) = (store.clone(), path.clone());
                blocking(move || store.size(&path)).await
            }
        };
        size.map_err(|failure| told(&self.url, Task::Read, Some(&path), failure))
    }

    /// The store's clock and ours, when its last answer came. Nothing before the first answer, and for a folder.
    pub fn clock(&self) -> Option<ClockReading> {
        match &self.backend {
            Backend::Cloud(cloud) => cloud.clock(),
            Backend::Folder(_) => None,
        }
    }

    /// Creates a small object, in one request, if there is none of its name.
    ///
    /// Where an answer of the store gets lost, the object that is then there is compared: with these bytes it is the one that was written.
    ///
    /// # Errors
    ///
    /// There is such an object ([`StoreError::is_exists`]), or it cannot be written. [`StoreError::is_outcome_unknown`] says whether it may
    /// have been written all the same.
    pub async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError> {
        self.put(&key.to_string(), bytes).await
    }

    pub(crate) async fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let done = match &self.backend {
            Backend::Cloud(cloud) => cloud.create(path, bytes).await,
            Backend::Folder(store) => {
                let (store, path) = (store.clone(), path.to_owned());
                blocking(move || store.create(&path, &bytes)).await
            }
        };
        done.map_err(|failure| told(&self.url, Task::Write, Some(path), failure))
    }

    /// Begins an object of any size. What is written to the writer, on a thread that may block, is sent in parts; the object has its name
    /// only after [`Upload::finish`]. Must be called in a tokio runtime.
    pub fn upload(&self, key: &Key) -> (UploadWriter, Upload) {
        self.upload_to(key.to_string())
    }

    pub(crate) fn upload_to(&self, path: String) -> (UploadWriter, Upload) {
        crate::upload::begin(self.backend.clone(), self.url.clone(), path)
    }

    /// Deletes an object.
    ///
    /// # Errors
    ///
    /// It cannot be deleted. Clouds do not say whether there was such an object.
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.remove(&key.to_string()).await
    }

    pub(crate) async fn remove(&self, path: &str) -> Result<(), StoreError> {
        let done = match &self.backend {
            Backend::Cloud(cloud) => cloud.delete(path).await,
            Backend::Folder(store) => {
                let (store, path) = (store.clone(), path.to_owned());
                blocking(move || store.delete(&path)).await
            }
        };
        done.map_err(|failure| told(&self.url, Task::Delete, Some(path), failure))
    }

    /// Removes a folder in which nothing is any more. Only a store in a folder has any.
    pub(crate) async fn remove_folder(&self, path: &str) -> Result<(), StoreError> {
        let Backend::Folder(store) = &self.backend else { return Ok(()) };
        let (store, below) = (store.clone(), path.to_owned());
        let done = blocking(move || store.delete_folder(&below)).await;
        done.map_err(|failure| told(&self.url, Task::Delete, Some(path), failure))
    }
}

/// A failure of a backend, told of a store and an object.
pub(crate) fn told(url: &StoreUrl, task: Task, object: Option<&str>, failure: Failure) -> StoreError {
    // A store without a bucket says so of every object in it.
    let object = object.filter(|_| !matches!(failure.trouble, Trouble::NoBucket | Trouble::NoFolder));
    let unknown = failure.unknown && task == Task::Write;
    let error = StoreError::new(task, url, failure.trouble, failure.detail);
    let error = object.map_or_else(|| error.clone(), |object| error.clone().of(object));
    let error = match (failure.parts, object) {
        (Some(why), Some(object)) => error.leaving(PartsLeft { object: object.to_owned(), why }),
        _ => error,
    };
    if unknown { error.unknown() } else { error }
}
