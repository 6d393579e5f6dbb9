//! A store whose backups are older than they are: for its readers as if the clock had moved.

use std::collections::BTreeMap;
use std::path::Path;

use etcd_store::{ClusterUid, Name, Record, SigningKey};
use jiff::SignedDuration;

/// Makes the backups of a cluster, whose objects are files in a folder, older by so much: their names, their records with new signatures, and
/// the times of the files.
pub(crate) fn age(folder: &Path, cluster: &ClusterUid, key: &SigningKey, by: SignedDuration) {
    let names: Vec<String> = e2e::names(folder);
    let split = |file: &String| {
        let (name, suffix) = file.split_once('.').expect("a name and a suffix");
        (name.parse::<Name>().expect("a name of a backup"), suffix.to_owned())
    };
    let mut backups: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    for (name, suffix) in names.iter().map(split) {
        backups.entry(name).or_default().push(suffix);
    }
    for (old, suffixes) in backups {
        let new = Name::new(old.taken() - by, old.revision(), old.class());
        let place = |name: &Name, suffix: &str| folder.join(format!("{name}.{suffix}"));
        for suffix in &suffixes {
            let modified = place(&old, suffix).metadata().unwrap().modified().unwrap();
            std::fs::rename(place(&old, suffix), place(&new, suffix)).unwrap();
            if suffix == "json.sig" {
                // A record comes before its signature in the order of their names.
                let record = std::fs::read(place(&new, "json")).unwrap();
                std::fs::write(place(&new, suffix), key.sign(&record).unwrap()).unwrap();
            } else if suffix == "json" {
                let mut record = Record::read(&std::fs::read(place(&new, suffix)).unwrap(), cluster, &old).unwrap();
                record.name = new.to_string();
                record.taken_at = new.taken();
                for object in &mut record.objects {
                    object.name = object.name.replace(&old.to_string(), &new.to_string());
                }
                std::fs::write(place(&new, suffix), record.to_json().unwrap()).unwrap();
            }
            let file = std::fs::File::options().append(true).open(place(&new, suffix)).unwrap();
            file.set_modified(modified - by.unsigned_abs()).unwrap();
        }
    }
}
