//! What the API server lists, beside what etcd has at the same revision and what the file has. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::stored::Stored;
use crate::report::{Listed, Listing};

/// What API servers answer where objects lie in another version than they are asked for, and only a program of the cluster could tell them in this one.
const CONVERSION: &str = "conversion webhook";

/// What was asked of one resource.
#[derive(Debug)]
pub(crate) struct Asked {
    /// As in `apps/v1`.
    pub(crate) version: String,
    /// What came of it, or the reason in the words of the API server.
    pub(crate) counted: Result<Counted, String>,
}

/// The objects of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    /// All.
    pub(crate) items: u64,
    /// Objects that were not written after etcd began to serve the file.
    pub(crate) unchanged: u64,
    /// How many etcd has at the revision of the list; `None` where their keys are not known.
    pub(crate) stored: Option<u64>,
}

/// Which resource of the file a resource of the API is: keys of a newer Kubernetes do not say their group.
pub(crate) fn in_file<'a>(name: &str, file: &'a BTreeMap<String, Stored>) -> Option<(&'a str, &'a Stored)> {
    if let Some((name, stored)) = file.get_key_value(name) {
        return Some((name, stored));
    }
    let plural = name.split('.').next().unwrap_or_default();
    let mut all = file.iter();
    all.find(|(_, stored)| stored.without_group.as_deref() == Some(plural))
        .map(|(name, stored)| (name.as_str(), stored))
}

/// Every resource of the API and of the file. `unreadable` are the encryption keys that nothing decrypts.
pub(crate) fn judge(
    asked: &BTreeMap<String, Asked>,
    file: &BTreeMap<String, Stored>,
    unreadable: &BTreeSet<String>,
) -> Vec<Listed> {
    let mut found = BTreeSet::new();
    let mut all: Vec<Listed> = Vec::new();
    for (name, asked) in asked {
        let stored = in_file(name, file);
        found.extend(stored.map(|(name, _)| name));
        all.push(of_api(name, asked, stored.map(|(_, stored)| stored), unreadable));
    }
    let missing = file.iter().filter(|(name, _)| !found.contains(name.as_str()));
    all.extend(missing.map(|(name, stored)| of_file(name, stored)));
    all.sort_by(|a, b| a.resource.cmp(&b.resource));
    all
}

fn of_api(name: &str, asked: &Asked, stored: Option<&Stored>, unreadable: &BTreeSet<String>) -> Listed {
    let (result, reason) = match (&asked.counted, stored) {
        (Err(why), _) => {
            let by = stored.and_then(|stored| stored.encrypted_by.intersection(unreadable).next());
            match by {
                Some(by) => (
                    Listing::NotProved,
                    Some(format!("values are encrypted by {by}, and nothing decrypts them: {why}")),
                ),
                None if why.contains(CONVERSION) => {
                    (Listing::NotProved, Some(format!("a drill asks no webhook to convert objects: {why}")))
                }
                None => (Listing::Failed, Some(why.clone())),
            }
        }
        (Ok(Counted { unchanged: 0, .. }), None) => (Listing::Listed, None),
        (Ok(Counted { unchanged, .. }), None) => {
            let why = format!("{unchanged} objects are not known by keys of the file, and were counted only");
            (Listing::NotProved, Some(why))
        }
        (Ok(Counted { stored: None, .. }), Some(_)) => {
            let why = "its keys have several beginnings, so that etcd cannot count them".to_owned();
            (Listing::NotProved, Some(why))
        }
        (Ok(Counted { items, stored: Some(etcd), .. }), Some(_)) if items != etcd => (
            Listing::Failed,
            Some(format!("etcd has {etcd} objects at the same revision, and the API server lists {items}")),
        ),
        (Ok(Counted { items, .. }), Some(stored)) if *items < stored.objects => {
            let fewer = stored.objects - items;
            let why = format!(
                "{fewer} fewer than in the file, as in etcd: leases have run out, or this API server has tidied up"
            );
            (Listing::Listed, Some(why))
        }
        (Ok(_), Some(_)) => (Listing::Listed, None),
    };
    Listed {
        resource: name.to_owned(),
        version: Some(asked.version.clone()),
        objects: stored.map_or(0, |stored| stored.objects),
        listed: asked.counted.as_ref().ok().map(|counted| counted.items),
        result,
        reason,
    }
}

/// A resource that the API server does not serve.
fn of_file(name: &str, stored: &Stored) -> Listed {
    let (result, reason) = match stored.custom {
        true => (Listing::Failed, "the file has its CustomResourceDefinition, and the API server does not serve it"),
        false => (Listing::NotProved, "the API server serves no such resource"),
    };
    Listed {
        resource: name.to_owned(),
        version: None,
        objects: stored.objects,
        listed: None,
        result,
        reason: Some(reason.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(objects: u64) -> Stored {
        Stored { objects, prefixes: [b"/registry/x/".to_vec()].into(), ..Stored::default() }
    }

    fn counted(items: u64, unchanged: u64, stored: Option<u64>) -> Asked {
        Asked { version: "v1".into(), counted: Ok(Counted { items, unchanged, stored }) }
    }

    fn refused(why: &str) -> Asked {
        Asked { version: "v1".into(), counted: Err(why.to_owned()) }
    }

    /// Result and reason of one resource.
    fn one(asked: Option<Asked>, file: Option<Stored>, unreadable: &[&str]) -> (Listing, String) {
        let name = || "widgets.example.com".to_owned();
        let asked = asked.into_iter().map(|asked| (name(), asked)).collect();
        let file = file.into_iter().map(|stored| (name(), stored)).collect();
        let unreadable = unreadable.iter().map(|key| (*key).to_owned()).collect();
        let all = judge(&asked, &file, &unreadable);
        let [one] = &all[..] else { panic!("{all:?}") };
        (one.result, one.reason.clone().unwrap_or_default())
    }

    #[test]
    fn what_is_listed_is_what_etcd_has_at_that_revision() {
        assert_eq!(one(Some(counted(4, 4, Some(4))), Some(stored(4)), &[]), (Listing::Listed, String::new()));
        // It may have made some itself, and taken some away.
        assert_eq!(one(Some(counted(5, 4, Some(5))), Some(stored(4)), &[]), (Listing::Listed, String::new()));
        let (result, why) = one(Some(counted(3, 1, Some(3))), Some(stored(4)), &[]);
        assert!(result == Listing::Listed && why.starts_with("1 fewer"), "{why}");
        let (result, why) = one(Some(counted(3, 3, Some(4))), Some(stored(4)), &[]);
        assert!(result == Listing::Failed && why.contains("etcd has 4"), "{why}");
        assert_eq!(one(Some(counted(3, 3, None)), Some(stored(3)), &[]).0, Listing::NotProved);
        // The file has none: what there is was made by this API server, or is of keys that are not known.
        assert_eq!(one(Some(counted(2, 0, None)), None, &[]), (Listing::Listed, String::new()));
        let (result, why) = one(Some(counted(2, 1, None)), None, &[]);
        assert!(result == Listing::NotProved && why.starts_with("1 objects"), "{why}");
    }

    #[test]
    fn what_cannot_be_listed_fails_unless_nothing_could_read_it() {
        let encrypted = || Stored { encrypted_by: ["aescbc:v1:k".to_owned()].into(), ..stored(2) };
        let why = "Internal error occurred: unable to transform key";
        assert_eq!(one(Some(refused(why)), Some(stored(2)), &["aescbc:v1:k"]), (Listing::Failed, why.to_owned()));
        assert_eq!(one(Some(refused(why)), Some(encrypted()), &[]), (Listing::Failed, why.to_owned()));
        let (result, told) = one(Some(refused(why)), Some(encrypted()), &["aescbc:v1:k"]);
        assert!(result == Listing::NotProved && told.contains("aescbc:v1:k") && told.contains(why), "{told}");
        assert_eq!(one(Some(refused(why)), None, &[]).0, Listing::Failed);
        let webhook = "conversion webhook for example.com/v1, Kind=Widget failed: Post";
        assert_eq!(one(Some(refused(webhook)), Some(stored(2)), &[]).0, Listing::NotProved);
    }

    #[test]
    fn what_is_not_served_fails_if_the_file_defines_it() {
        assert_eq!(one(None, Some(stored(2)), &[]).0, Listing::NotProved);
        assert_eq!(one(None, Some(Stored { custom: true, ..stored(2) }), &[]).0, Listing::Failed);
    }

    #[test]
    fn keys_that_do_not_say_their_group_are_found_by_their_plural() {
        let new = Stored { without_group: Some("news".into()), ..stored(2) };
        let file = [("news".to_owned(), new), ("pods".to_owned(), stored(1))].into();
        assert_eq!(in_file("news.new.k8s.io", &file).map(|(name, _)| name), Some("news"));
        assert_eq!(in_file("pods.metrics.k8s.io", &file), None);
        let asked =
            [("news.new.k8s.io".to_owned(), counted(2, 2, Some(2))), ("pods".to_owned(), counted(1, 1, Some(1)))];
        let all = judge(&asked.into(), &file, &BTreeSet::new());
        assert_eq!(
            all.iter().map(|one| (one.resource.as_str(), one.objects)).collect::<Vec<_>>(),
            [("news.new.k8s.io", 2), ("pods", 1)]
        );
    }
}
