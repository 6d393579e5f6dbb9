//! Whether there is something to restore from.

use crate::check::Check;
use crate::facts::Facts;
use crate::judgement::{Judgement, span};

pub(super) const AGE: Check = Check {
    name: "backup",
    title: "the newest verified backup is young enough",
    looks_at: "With --store: the newest backup of this cluster that is complete and was verified when it was written, as kubectl etcd freshness finds it, and --max-age. None is an error, and so is one
that is too old.",
    why: "All that was written since the newest backup is lost in a restore. A schedule that stopped a month ago says nothing by itself.",
    by_hand: "Take one now:
    kubectl etcd backup --store STORE
kubectl etcd schedule renders a CronJob, with a check of its own. kubectl etcd freshness STORE says more of what is there.",
    judge: age,
};

fn age(facts: &Facts) -> Judgement {
    let backups = match &facts.backups {
        Ok(backups) => backups,
        Err(why) => return Judgement::unknown(why),
    };
    let mend = format!("kubectl etcd backup --store {} --recipient age1...", backups.store);
    let mut judgement = Judgement::default();
    match &backups.newest {
        None => judgement.error(format!("no backup in {} counts: {}", backups.store, backups.why), mend),
        Some(newest) if newest.age > backups.max_age => judgement.error(
            format!("{} is {} old; {} is asked for", newest.name, span(newest.age), span(backups.max_age)),
            mend,
        ),
        Some(newest) => judgement.passed = format!("{} is {} old", newest.name, span(newest.age)),
    }
    judgement
}

pub(super) const NODE_FILES: Check = Check {
    name: "node-files",
    title: "certificates and keys are in the backup",
    looks_at: "With --store: whether the newest backup has the files of a control-plane node (backup --node-files): the authorities, the keys of service accounts, the encryption
configuration. Without them it is a warning, and an error if the API servers encrypt.",
    why: "etcd's data alone does not make a cluster again on new machines: with another authority no kubelet is trusted, with other keys every token of a service account is refused,
and without the encryption key no Secret can be read, ever.",
    by_hand: "Store them, encrypted, with each backup:
    kubectl etcd backup --store STORE --node-files --recipient age1...
Or keep /etc/kubernetes/pki and the encryption configuration of one control-plane node somewhere else that is safe.",
    judge: node_files,
};

fn node_files(facts: &Facts) -> Judgement {
    let newest = match &facts.backups {
        Ok(backups) => backups.newest.as_ref(),
        Err(why) => return Judgement::unknown(why),
    };
    let Some(newest) = newest else { return Judgement::unknown("there is no backup that counts") };
    let mut judgement = Judgement::pass(format!("{} has the files of a node", newest.name));
    if newest.has_node_files {
        return judgement;
    }
    let keys = facts
        .nodes
        .iter()
        .any(|node| matches!(node.encryption(), Ok(etcd_wire::facts::Encryption::Keys { keys }) if !keys.is_empty()));
    const MEND: &str = "kubectl etcd backup --store STORE --node-files --recipient age1...";
    match keys {
        true => {
            judgement.error(format!("{} has no files of a node: the encryption keys are not in it", newest.name), MEND)
        }
        false => {
            judgement.warning(format!("{} has no files of a node: the authorities are not in it", newest.name), MEND)
        }
    }
    judgement
}

#[cfg(test)]
mod tests {
    use etcd_wire::facts::{Encryption, EncryptionKey};

    use crate::check::Severity;
    use crate::samples::{assert_finds, assert_passes, healthy, made};

    #[test]
    fn no_backup_and_an_old_one_are_errors() {
        assert_passes("backup");
        let mut facts = healthy(3);
        facts.backups.as_mut().unwrap().newest.as_mut().unwrap().age = 90_000;
        assert_finds("backup", &facts, Severity::Error, "etcd-1 is 25 hours old; 6 hours is asked for");
        let backups = facts.backups.as_mut().unwrap();
        (backups.newest, backups.why) = (None, "there is no backup".to_owned());
        assert_finds("backup", &facts, Severity::Error, "no backup in file:///b counts: there is no backup");
        assert_finds("node-files", &facts, Severity::Unknown, "there is no backup that counts");
        facts.backups = Err("no store is named (--store)".to_owned());
        for name in ["backup", "node-files"] {
            assert_finds(name, &facts, Severity::Unknown, "no store is named");
        }
    }

    #[test]
    fn keys_that_are_in_no_backup_are_told() {
        assert_passes("node-files");
        let mut facts = healthy(3);
        facts.backups.as_mut().unwrap().newest.as_mut().unwrap().has_node_files = false;
        assert_finds("node-files", &facts, Severity::Warning, "the authorities are not in it");
        let key = EncryptionKey::default();
        facts.nodes[1].disk.as_mut().unwrap().encryption = Encryption::Keys { keys: vec![key] };
        assert_finds("node-files", &facts, Severity::Error, "the encryption keys are not in it");
        assert_eq!(made("node-files", &facts).mend.len(), 1);
    }
}
