//! Namespace kube-system, whose UID a cluster keeps for life: what tells the etcd, or the file, of one cluster from that of another.

use etcd_wire::message::{KUBE_SYSTEM, KubeSystem};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;

use crate::connection::Connection;
use crate::output::{Failed, Outcome};

/// The API server's prefix where its own flags cannot be seen: what it is without a flag.
const USUAL_PREFIX: &str = "/registry";

/// The namespace as the API serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) uid: String,
    /// The revision of etcd that last changed it.
    pub(crate) revision: Option<i64>,
}

/// What a member or a file has, beside what the API serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Match {
    /// The same namespace.
    Same,
    /// That of another cluster.
    Other {
        /// UID of what the API serves.
        served: String,
        /// UID of what was found.
        found: String,
    },
    /// None.
    Absent,
    /// It cannot be told; why.
    Unknown(String),
}

impl Match {
    /// Compares the namespace that the API serves, or why that is not known, with the value that was found under the key, and the
    /// revision that last changed it.
    pub(crate) fn of(served: Result<&Served, &str>, found: Option<(&[u8], i64)>) -> Match {
        let Some((value, revision)) = found else { return Match::Absent };
        let served = match served {
            Ok(served) => served,
            Err(why) => return Match::Unknown(why.to_owned()),
        };
        match uid(value) {
            Some(uid) if uid == served.uid => Match::Same,
            Some(uid) => Match::Other { served: served.uid.clone(), found: uid },
            // The API server may have encrypted it. The revision of the last change is not encrypted.
            None if served.revision == Some(revision) => Match::Same,
            None => Match::Unknown("namespace kube-system is stored in a form that cannot be read here".to_owned()),
        }
    }

    /// As [`Match::of`], of what a member said. `prefix` is the API server's, where it is known.
    pub(crate) fn of_member(served: Result<&Served, &str>, said: Option<&KubeSystem>, prefix: Option<&str>) -> Match {
        match said {
            Some(KubeSystem::Held { mod_revision, value }) => Match::of(served, Some((value, *mod_revision))),
            Some(KubeSystem::Absent) if prefix.is_some() => Match::Absent,
            Some(KubeSystem::Absent) => {
                Match::Unknown(format!("it has no {}, and the API server's --etcd-prefix is not known", key(None)))
            }
            Some(KubeSystem::Unread { why }) => {
                Match::Unknown(format!("the member does not report namespace kube-system: {why}"))
            }
            Some(KubeSystem::Unknown) | None => {
                Match::Unknown("its sidecar cannot read namespace kube-system".to_owned())
            }
        }
    }

    /// Of several, that which says most.
    pub(crate) fn best(all: impl IntoIterator<Item = Match>) -> Option<Match> {
        all.into_iter().min_by_key(|one| match one {
            Match::Same => 0,
            Match::Other { .. } => 1,
            Match::Absent => 2,
            Match::Unknown(_) => 3,
        })
    }
}

/// Asks the API server.
///
/// # Errors
/// The user may not read the namespace, or the API server does not answer.
pub(crate) async fn served(connection: &Connection) -> Outcome<Served> {
    let namespaces: Api<Namespace> = Api::all(connection.client.clone());
    let failed = || Failed::plain("cannot read namespace kube-system");
    let metadata = namespaces.get("kube-system").await.map_err(|error| failed().source(&error))?.metadata;
    let revision = metadata.resource_version.and_then(|version| version.parse().ok());
    let uid = metadata.uid.filter(|uid| !uid.is_empty()).ok_or_else(|| failed().cause("it has no UID"))?;
    Ok(Served { uid, revision })
}

/// Its key, by the API server's prefix where that is known.
pub(crate) fn key(prefix: Option<&str>) -> String {
    format!("{}{KUBE_SYSTEM}", prefix.unwrap_or(USUAL_PREFIX))
}

/// Whether this is its key. Where the prefix is not known, any will do.
pub(crate) fn is_key(key: &[u8], prefix: Option<&str>) -> bool {
    match prefix {
        Some(prefix) => key.strip_prefix(prefix.as_bytes()) == Some(KUBE_SYSTEM.as_bytes()),
        None => key.ends_with(KUBE_SYSTEM.as_bytes()),
    }
}

/// The UID of an object as the API server stored it; `None` if it is encrypted, or no object.
pub(crate) fn uid(stored: &[u8]) -> Option<String> {
    etcd_store::uid_of(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(uid: &str) -> Vec<u8> {
        let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": uid}});
        serde_json::to_vec(&namespace).expect("JSON")
    }

    #[test]
    fn a_cluster_is_told_by_the_uid_or_else_by_the_revision() {
        let served = Served { uid: "a".into(), revision: Some(7) };
        let of = |value: &[u8], revision| Match::of(Ok(&served), Some((value, revision)));
        assert_eq!(of(&stored("a"), 3), Match::Same);
        assert_eq!(of(&stored("b"), 7), Match::Other { served: "a".into(), found: "b".into() });
        assert_eq!(of(b"k8s:enc:aescbc:v1:k:x", 7), Match::Same);
        assert!(matches!(of(b"k8s:enc:aescbc:v1:k:x", 8), Match::Unknown(_)));
        assert_eq!(Match::of(Ok(&served), None), Match::Absent);
        // A user who may not read the namespace: nothing is known, but that there is none.
        assert_eq!(Match::of(Err("no right"), Some((&stored("a"), 7))), Match::Unknown("no right".into()));
        assert_eq!(Match::of(Err("no right"), None), Match::Absent);
    }

    #[test]
    fn a_key_is_looked_for_under_the_prefix_that_is_known() {
        let served = Served { uid: "a".into(), revision: None };
        assert_eq!(key(Some("/tenant")), "/tenant/namespaces/kube-system");
        assert!(is_key(b"/tenant/namespaces/kube-system", Some("/tenant")));
        assert!(is_key(b"/tenant/namespaces/kube-system", None));
        assert!(!is_key(b"/tenant/namespaces/kube-system", Some("/registry")));
        let absent = |prefix| Match::of_member(Ok(&served), Some(&KubeSystem::Absent), prefix);
        assert_eq!(absent(Some("/registry")), Match::Absent);
        assert!(matches!(absent(None), Match::Unknown(_)));
        let held = KubeSystem::Held { mod_revision: 1, value: stored("a") };
        assert_eq!(Match::of_member(Ok(&served), Some(&held), None), Match::Same);
        assert!(matches!(Match::of_member(Ok(&served), None, None), Match::Unknown(_)));
    }
}
