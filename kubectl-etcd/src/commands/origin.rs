//! Which cluster a file is of: the UID of the namespace kube-system stays the same as long as a cluster lives.

use etcd_snapshot::{Keep, LiveKeys};

use crate::connection::Connection;
use crate::contents::Contents;
use crate::kube_system;

/// What is kept of a key to know it.
pub(super) fn keep(key: &[u8]) -> Keep {
    if kube_system::is_key(key, None) { Keep::Value } else { Keep::Nothing }
}

/// The UID that a file has, or why it is not known. `keys` were read with [`keep`].
pub(super) fn of_file(contents: &Contents, keys: &LiveKeys) -> Result<String, String> {
    let key = kube_system::key(Some(contents.prefix.as_str())).into_bytes();
    let name = contents.name();
    let live = keys.get(&key).ok_or_else(|| format!("{name} has no namespace kube-system"))?;
    let cannot = |why: String| format!("namespace kube-system of {name} cannot be read: {why}");
    let entry = contents.entry(key, live.clone()).ok_or_else(|| cannot("it is no object".to_owned()))?;
    let object = entry.object.map_err(|why| cannot(why.to_string()))?;
    let uid = object.uid().filter(|uid| !uid.is_empty());
    uid.map(str::to_owned).ok_or_else(|| cannot("it has no UID".to_owned()))
}

/// The UID that the API server shows, or why it shows none.
pub(super) async fn of_cluster(connection: &Connection) -> Result<String, String> {
    let served = kube_system::served(connection).await;
    served.map(|served| served.uid).map_err(|failed| format!("{}: {}", connection.cluster, failed.one_line()))
}

/// What the UIDs of two sides say about them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// They are of the same cluster.
    Same,
    /// They are not.
    Other,
    /// Nobody can tell, for these reasons.
    Unknown(Vec<String>),
}

impl Origin {
    /// Compares the UIDs of two sides.
    pub(super) fn judge(one: Result<String, String>, other: Result<String, String>) -> Origin {
        match (one, other) {
            (Ok(one), Ok(other)) if one == other => Origin::Same,
            (Ok(_), Ok(_)) => Origin::Other,
            (one, other) => Origin::Unknown([one, other].into_iter().filter_map(Result::err).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_equal_uids_are_of_the_same_cluster() {
        let (uid, why) = (|uid: &str| Ok(uid.to_owned()), |why: &str| Err(why.to_owned()));
        assert_eq!(Origin::judge(uid("a"), uid("a")), Origin::Same);
        assert_eq!(Origin::judge(uid("a"), uid("b")), Origin::Other);
        assert_eq!(Origin::judge(why("x"), uid("b")), Origin::Unknown(vec!["x".into()]));
        assert_eq!(Origin::judge(why("x"), why("y")), Origin::Unknown(vec!["x".into(), "y".into()]));
        assert_eq!(keep(b"/registry/namespaces/kube-system"), Keep::Value);
        assert_eq!(keep(b"/registry/namespaces/kube-systems"), Keep::Nothing);
    }
}
