//! What the small buckets say about the cluster that a file is of.

use crate::record;
use crate::report::{Alarm, Auth, Compaction, Member};
use crate::row::RowKey;
use crate::{Finding, FindingKind};

/// Longest value of a record here. etcd's are of some hundred bytes; a role with thousands of permissions is the longest.
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// Most bytes of records that are kept: members, of which there are a few, and the ids of those removed.
const MAX_KEPT: usize = 2 << 20;

/// The buckets whose records are looked at.
const KNOWN: [&[u8]; 9] =
    [b"alarm", b"auth", b"authRoles", b"authUsers", b"cluster", b"lease", b"meta", b"members", b"members_removed"];

/// The records of all buckets but `key`, as far as they mean something here.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) version: String,
    pub(crate) consistent_index: Option<u64>,
    pub(crate) term: Option<u64>,
    /// The IDs of raft's voters.
    voters: Option<Vec<u64>>,
    pub(crate) compaction: Compaction,
    pub(crate) cluster_version: Option<String>,
    /// The version that a downgrade is to lead to.
    pub(crate) downgrade: Option<String>,
    members: Vec<Member>,
    pub(crate) members_removed: Vec<String>,
    pub(crate) leases: u64,
    pub(crate) auth: Auth,
    pub(crate) alarms: Vec<Alarm>,
    kept: usize,
}

impl Settings {
    /// Takes a record; no `value` stands for one of more than [`MAX_BYTES`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take(&mut self, bucket: &[u8], key: &[u8], value: Option<&Vec<u8>>) -> Result<(), Finding> {
        let Some(value) = value else {
            let known = KNOWN.contains(&bucket);
            let message = format!("a record of more than {MAX_BYTES} bytes");
            return if known { Err(Finding::new(FindingKind::Record, message)) } else { Ok(()) };
        };
        if self.record(bucket, key, value).is_none() {
            return Err(Finding::new(FindingKind::Record, "not a record that etcd writes here"));
        }
        if self.kept > MAX_KEPT {
            return Err(Finding::new(FindingKind::Record, "more records than any cluster has"));
        }
        Ok(())
    }

    /// `None` if it is none.
    fn record(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) -> Option<()> {
        match (bucket, key) {
            (b"meta", b"consistent_index") => self.consistent_index = Some(record::number(value)?),
            (b"meta", b"term") => self.term = Some(record::number(value)?),
            (b"meta", b"confState") => self.voters = Some(record::voters(value)?),
            (b"meta", b"scheduledCompactRev") => self.compaction.scheduled = Some(mark(value)?),
            (b"meta", b"finishedCompactRev") => self.compaction.finished = Some(mark(value)?),
            (b"meta", b"storageVersion") => self.version = record::version(value)?,
            (b"cluster", b"clusterVersion") => self.cluster_version = Some(record::version(value)?),
            (b"cluster", b"downgrade") => self.downgrade = record::downgrade(value)?,
            (b"members", key) => {
                let member = record::member(key, value)?;
                self.keep(value.len(), |all| all.members.push(member));
            }
            (b"members_removed", key) => {
                let id = record::removed_member(key, value)?;
                self.keep(key.len(), |all| all.members_removed.push(id));
            }
            (b"alarm", key) => {
                let alarm = record::alarm(key, value)?;
                self.keep(key.len(), |all| all.alarms.push(alarm));
            }
            (b"lease", key) => {
                self.leases += 1;
                return record::is_lease(key, value).then_some(());
            }
            (b"auth", b"authEnabled") => match value {
                [enabled @ 0..=1] => self.auth.enabled = *enabled == 1,
                _ => return None,
            },
            (b"auth", b"authRevision") => return record::number(value).map(|_| ()),
            (b"authUsers", key) => {
                self.auth.users += 1;
                return record::is_user(key, value).then_some(());
            }
            (b"authRoles", key) => {
                self.auth.roles += 1;
                return record::is_role(key, value).then_some(());
            }
            _ => {}
        }
        Some(())
    }

    /// Keeps something that a file may have any number of, while there is room.
    fn keep(&mut self, bytes: usize, push: impl FnOnce(&mut Self)) {
        const EACH: usize = 128;
        self.kept = self.kept.saturating_add(bytes + EACH);
        if self.kept <= MAX_KEPT {
            push(self);
        }
    }

    /// The members. One that raft counts as a voter is no learner, whatever its own record says: etcd 3.5.1 to 3.5.19 do not write into it that a learner was
    /// promoted (<https://github.com/etcd-io/etcd/issues/19557>), and kubeadm lets members join as learners.
    pub(crate) fn members(&self) -> Vec<Member> {
        let own = |member: &Member| Member { is_learner: member.is_learner && !self.votes(member), ..member.clone() };
        self.members.iter().map(own).collect()
    }

    /// IDs of the members that raft counts as voters and whose own records say that they are learners.
    pub(crate) fn unrecorded_promotions(&self) -> Vec<String> {
        let unrecorded = self.members.iter().filter(|member| member.is_learner && self.votes(member));
        unrecorded.map(|member| member.id.clone()).collect()
    }

    fn votes(&self, member: &Member) -> bool {
        let voters = self.voters.as_deref().unwrap_or_default();
        voters.iter().any(|id| member.id == format!("{id:x}"))
    }

    /// The minor version of etcd that wrote the records.
    ///
    /// The storage version tells from 3.6 on, but a cluster records it only some seconds after it has started. Before
    /// that the cluster version does: it is that of the oldest member.
    pub(crate) fn writer(&self) -> (u32, u32) {
        let recorded = record::minor(&self.version).or_else(|| self.cluster_version.as_deref().and_then(record::minor));
        match recorded {
            Some(recorded) if recorded >= (3, 6) => recorded,
            _ if self.term.is_some() || self.voters.is_some() => (3, 5),
            _ => (3, 4),
        }
    }
}

/// The revision in a mark of a compaction, which has the form of a row's key.
pub(crate) fn mark(value: &[u8]) -> Option<i64> {
    RowKey::parse(value).filter(|row| !row.tombstone).map(|row| row.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_raft_counts_is_no_learner_whatever_its_own_record_says() {
        let read = |conf_state: Option<&str>| {
            let mut settings = Settings::default();
            for (id, learner) in [(253, ""), (254, r#","isLearner":true"#), (255, r#","isLearner":true"#)] {
                let value = format!(r#"{{"id":{id},"peerURLs":["http://a:2380"]{learner}}}"#).into_bytes();
                settings.take(b"members", format!("{id:x}").as_bytes(), Some(&value)).unwrap();
            }
            if let Some(state) = conf_state {
                settings.take(b"meta", b"confState", Some(&state.as_bytes().to_vec())).unwrap();
            }
            let learners = settings.members().into_iter().filter(|member| member.is_learner);
            (learners.map(|member| member.id).collect::<Vec<_>>(), settings.unrecorded_promotions())
        };
        let told = |learners: &[&str], unrecorded: &[&str]| {
            let owned = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
            (owned(learners), owned(unrecorded))
        };
        // As etcd 3.4 has it, which writes no state of raft.
        assert_eq!(read(None), told(&["fe", "ff"], &[]));
        // After one was promoted by etcd 3.5.1 to 3.5.19.
        assert_eq!(read(Some(r#"{"voters":[253,255],"learners":[254],"auto_leave":false}"#)), told(&["fe"], &["ff"]));
        // Of another cluster, as a restore by etcdutl leaves it.
        assert_eq!(read(Some(r#"{"voters":[1,2],"auto_leave":false}"#)), told(&["fe", "ff"], &[]));
    }
}
