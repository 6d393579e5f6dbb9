//! Which backup of which store, as a person types it: `S/latest`, `S/NAME`, `S/UID/latest`, `S/UID/NAME`.

use std::fmt;
use std::str::FromStr;

use crate::url::UrlError;
use crate::{ClusterUid, Name, StoreUrl};

/// One backup in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The store.
    pub store: StoreUrl,
    /// Whose backup it is, where that was said. Needed only in a store of several clusters.
    pub cluster: Option<ClusterUid>,
    /// Which of them.
    pub wanted: Wanted,
}

/// Which backup is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest that can be trusted.
    Latest,
    /// The one of this name.
    Backup(Name),
}

/// Why a text names no backup in a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The store is not one.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The URL ends with something else.
    #[error(
        "{0} names a store and no backup in it: add /latest or /NAME to its path; kubectl etcd list shows the names"
    )]
    NoBackup(StoreUrl),
}

/// A store, or one cluster in it, as a person types it: `S`, `S/UID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The store.
    pub store: StoreUrl,
    /// The cluster, where that was said.
    pub cluster: Option<ClusterUid>,
}

impl FromStr for Scope {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let store: StoreUrl = text.parse()?;
        if let Some((shorter, last)) = store.split_segments(1)
            && let [cluster] = last.as_slice()
            && let Ok(cluster) = cluster.parse()
        {
            return Ok(Scope { store: shorter, cluster: Some(cluster) });
        }
        Ok(Scope { store, cluster: None })
    }
}

const LATEST: &str = "latest";

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let url: StoreUrl = text.parse()?;
        let none = || ReferenceError::NoBackup(url.clone());
        let (store, last) = url.split_segments(1).ok_or_else(none)?;
        let wanted = match last.as_slice() {
            [name] if name == LATEST => Wanted::Latest,
            [name] => Wanted::Backup(name.parse().map_err(|_| none())?),
            _ => return Err(none()),
        };
        if let Some((shorter, last)) = store.split_segments(1)
            && let [cluster] = last.as_slice()
            && let Ok(cluster) = cluster.parse()
        {
            return Ok(Reference { store: shorter, cluster: Some(cluster), wanted });
        }
        Ok(Reference { store, cluster: None, wanted })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Latest => f.pad(LATEST),
            Wanted::Backup(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = self.store.to_string();
        let (path, query) = store.split_once('?').map_or((store.as_str(), None), |(path, query)| (path, Some(query)));
        f.write_str(path)?;
        if let Some(cluster) = &self.cluster {
            write!(f, "/{cluster}")?;
        }
        write!(f, "/{}", self.wanted)?;
        query.map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
    const NAME: &str = "20261127T031500Z-48211-manual-k3f2x2ab";

    #[test]
    fn a_backup_is_named_behind_its_store() {
        for (store, query) in [
            ("s3://b", ""),
            ("s3://b/p/q", "?region=x"),
            ("az://a/c", ""),
            ("gs://b/p", ""),
            ("file:///var/backups", ""),
        ] {
            for (cluster, middle) in [(None, String::new()), (Some(UID), format!("/{UID}"))] {
                for last in [LATEST, NAME] {
                    let text = format!("{store}{middle}/{last}{query}");
                    let reference: Reference = text.parse().unwrap();
                    assert_eq!(reference.store.to_string(), format!("{store}{query}"));
                    assert_eq!(reference.cluster.as_ref().map(ClusterUid::as_str), cluster);
                    assert_eq!(reference.wanted.to_string(), last);
                    assert_eq!(reference.to_string(), text);
                }
            }
        }
    }

    #[test]
    fn a_cluster_is_named_behind_its_store() {
        for (text, store, cluster) in [
            ("s3://b/p?region=x".to_owned(), "s3://b/p?region=x", None),
            (format!("s3://b/p/{UID}?region=x"), "s3://b/p?region=x", Some(UID)),
            (format!("file:///a/{UID}"), "file:///a", Some(UID)),
            ("file:///a/latest".to_owned(), "file:///a/latest", None),
        ] {
            let scope: Scope = text.parse().unwrap();
            assert_eq!(scope.store.to_string(), store);
            assert_eq!(scope.cluster.as_ref().map(ClusterUid::as_str), cluster);
        }
    }

    #[test]
    fn a_store_alone_names_no_backup() {
        for text in ["s3://b", "s3://b/p", "s3://latest", "file:///latest", "file:///a/b", &format!("s3://b/{UID}")] {
            assert!(matches!(text.parse::<Reference>(), Err(ReferenceError::NoBackup(_))), "{text}");
        }
        assert!(matches!("latest".parse::<Reference>(), Err(ReferenceError::Url(_))));
    }
}
