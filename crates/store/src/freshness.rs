//! Whether a cluster has a backup that is young enough: pure functions of what a store lists, of records, and of a clock.
//!
//! A backup counts if it is committed, not from the future, as large as recorded, proved at least to the asked level, and signed by a trusted
//! key where keys are given. The newest that counts is what the answer is about. A backup that does not count hides none that does.

use jiff::{SignedDuration, Timestamp};

use crate::{Agreed, Backup, Backups, CLOCK_TOLERANCE, ClusterUid, Contradiction, Level, Listed, Name, Record, agree};

/// How many backups are read, the newest first, until one counts. Whoever may write into a store can plant any number.
pub const LOOKED_AT: usize = 50;

/// What a user calls fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The age from which on a backup is stale.
    pub max_age: SignedDuration,
    /// How much has to be proved. Never less than [`Level::Written`].
    pub level: Level,
}

/// Who has signed a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// No keys are given to check a signature with.
    Unchecked,
    /// A trusted key.
    By(String),
    /// Nobody who is trusted, and why.
    NotTrusted(String),
}

/// Why a backup does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Its record is not one.
    #[error("{0}")]
    Record(String),
    /// Its record is not signed as it has to be.
    #[error("{0}")]
    Signature(String),
    /// The record says something else of the backup than the store.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// The store has its record or its signature, and does not give it.
    #[error("{0}")]
    Unreadable(String),
    /// Too little is proved.
    #[error("its level is {0}, and {1} is asked for")]
    Level(Level, Level),
}

/// Compares a backup with its record: the backup with the objects that belong to it, and its level.
///
/// # Errors
/// The record is not one, is not signed as it has to be, or is of other objects.
pub fn matches(
    backup: &Backup,
    record: &Result<Record, Rejection>,
    signed: &Signed,
) -> Result<(Backup, Level), Rejection> {
    if let Signed::NotTrusted(why) = signed {
        return Err(Rejection::Signature(why.clone()));
    }
    let record = record.as_ref().map_err(Clone::clone)?;
    let Agreed { backup, .. } = agree(backup, record)?;
    let level = backup.level(record.level);
    Ok((backup, level))
}

/// Whether a backup counts: the same, where its level is high enough.
///
/// # Errors
/// Why it does not.
pub fn counts(
    backup: &Backup,
    record: &Result<Record, Rejection>,
    signed: &Signed,
    asked: Level,
) -> Result<(Backup, Level), Rejection> {
    let ((backup, level), asked) = (matches(backup, record, signed)?, asked.max(Level::Written));
    if level < asked { Err(Rejection::Level(level, asked)) } else { Ok((backup, level)) }
}

/// The backups that may count, the newest first; no more than are read.
pub fn candidates<'a>(backups: &'a Backups, cluster: &ClusterUid) -> Vec<&'a Backup> {
    let mut candidates = backups.newest_first(cluster);
    candidates.truncate(LOOKED_AT);
    candidates
}

/// What there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A backup counts and is young enough.
    Fresh,
    /// A backup counts and is too old.
    Stale,
    /// No backup counts.
    None,
    /// The store did not answer or does not give a record, or a clock is wrong.
    CannotTell,
}

impl State {
    /// The word in tables and JSON.
    pub fn word(self) -> &'static str {
        match self {
            State::Fresh => "fresh",
            State::Stale => "stale",
            State::None => "none",
            State::CannotTell => "unknown",
        }
    }
}

/// The newest backup that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The backup.
    pub backup: Backup,
    /// What was recorded of it.
    pub record: Record,
    /// How much of it is proved.
    pub level: Level,
    /// Who has signed it, if keys are given.
    pub signer: Option<String>,
    /// Its age.
    pub age: SignedDuration,
}

impl Newest {
    /// etcd's revision: that of the snapshot, or of the member when the backup began.
    pub fn revision(&self) -> i64 {
        self.record.snapshot.checked.as_ref().map_or(self.backup.name.revision(), |checked| checked.revision)
    }
}

/// The answer for one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// The answer.
    pub state: State,
    /// Why it is not `fresh`. Empty if it is.
    pub why: String,
    /// The newest backup that counts.
    pub newest: Option<Newest>,
    /// Newer backups that do not count, and why.
    pub passed_over: Vec<(Name, Rejection)>,
    /// How many backups are suspect.
    pub suspects: usize,
}

impl Freshness {
    /// The answer where the store did not answer.
    pub fn cannot_tell(why: String) -> Freshness {
        Freshness { state: State::CannotTell, why, newest: None, passed_over: Vec::new(), suspects: 0 }
    }

    /// The same answer, some time later: its backup has become older. That nobody can tell stays so.
    #[must_use]
    pub fn later(mut self, asked: &Asked, now: Timestamp) -> Freshness {
        let Some(newest) = &mut self.newest else { return self };
        newest.age = newest.backup.age(now);
        if self.state == State::Fresh && newest.age > asked.max_age {
            self.state = State::Stale;
            self.why = format!("the newest backup is {}", newest.backup.name);
        }
        self
    }

    /// What is known after a look that nobody could tell anything by: the backup that counted last may still be there, and becomes older.
    #[must_use]
    pub fn remembering(self, before: &Freshness) -> Freshness {
        match self.state {
            State::CannotTell => Freshness { newest: before.newest.clone(), ..self },
            _ => self,
        }
    }

    /// The answer about a cluster. `newest` is the first of [`candidates`] that [`counts`], and `passed_over` are those before it.
    pub fn of(
        backups: &Backups,
        cluster: &ClusterUid,
        newest: Option<(&Backup, Record, Level, &Signed)>,
        passed_over: Vec<(Name, Rejection)>,
        asked: &Asked,
        now: Timestamp,
    ) -> Freshness {
        let newest = newest.map(|(backup, record, level, signed)| Newest {
            backup: backup.clone(),
            record,
            level,
            signer: if let Signed::By(signer) = signed { Some(signer.clone()) } else { None },
            age: backup.age(now),
        });
        let suspects = backups.suspects.iter().filter(|suspect| suspect.cluster == *cluster).count();
        let unreadable = passed_over.iter().find(|(_, why)| matches!(why, Rejection::Unreadable(_)));
        let state = match &newest {
            Some(newest) if newest.age <= asked.max_age => State::Fresh,
            // It might be the one that is fresh.
            _ if unreadable.is_some() => State::CannotTell,
            Some(_) => State::Stale,
            None => State::None,
        };
        let why = match (&newest, unreadable.or(passed_over.first())) {
            _ if state == State::Fresh => String::new(),
            (_, Some((name, why))) if state == State::CannotTell => format!("of {name}: {why}"),
            (Some(newest), None) => format!("the newest backup is {}", newest.backup.name),
            (Some(newest), Some((name, why))) => {
                format!("the newest backup that counts is {}; of {name}: {why}", newest.backup.name)
            }
            (None, Some((name, why))) if passed_over.len() >= LOOKED_AT => {
                format!("none of the newest {LOOKED_AT} backups counts; of {name}: {why}")
            }
            (None, Some((name, why))) => format!("no backup counts; of {name}: {why}"),
            (None, None) if suspects > 0 => format!("there are only suspect backups ({suspects})"),
            (None, None) => "there is no backup".to_owned(),
        };
        Freshness { state, why, newest, passed_over, suspects }
    }
}

/// Why ages cannot be told: the store has written objects at a time that is still to come on this machine.
pub fn clock_trouble(listed: &Listed, now: Timestamp) -> Option<String> {
    let latest = listed.objects.iter().map(|object| object.modified).max()?;
    let ahead = latest.duration_since(now);
    (ahead > CLOCK_TOLERANCE).then(|| {
        format!("the store wrote an object at {latest}, and the clock of this machine says {now}: one of the clocks is wrong")
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::layout::Part;
    use crate::{
        API_VERSION, Class, Cluster, KIND, Key, Object, Program, RecoveryPlan, Snapshot, SourceMember, StoredObject,
    };

    pub(crate) const CLUSTER: &str = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
    const NOW: &str = "2026-11-27T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn asked(level: Level) -> Asked {
        Asked { max_age: SignedDuration::from_hours(3), level }
    }

    /// Objects of a backup that began so many minutes ago.
    fn objects(minutes: i64, proof: Option<Level>) -> Vec<Object> {
        let cluster = CLUSTER.parse().unwrap();
        let taken = now() - SignedDuration::from_mins(minutes);
        let name = Name::new(taken, 7, Class::Scheduled);
        let proof = proof.map(|level| Part::Proof { level, at: taken, random: "a".to_owned() });
        let parts = [Part::Data { encrypted: true }, Part::Record, Part::Signature].into_iter().chain(proof);
        parts.map(|part| Object { key: Key::new(&cluster, &name, part), size: 50, modified: taken }).collect()
    }

    /// A record that fits a backup whose snapshot has 50 bytes in the store.
    pub(crate) fn record(backup: &Backup, level: Level) -> Record {
        let text = String::new;
        Record {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: backup.name.to_string(),
            class: backup.name.class(),
            taken_at: backup.name.taken(),
            program: Program { name: text(), version: text() },
            level,
            cluster: Cluster {
                uid: CLUSTER.to_owned(),
                name: Some("prod".to_owned()),
                kubernetes_version: None,
                etcd_cluster_id: text(),
            },
            source: SourceMember { node: text(), name: text(), member_id: text(), role: text(), etcd_version: text() },
            snapshot: Snapshot { size: 200, sha256: text(), checked: None },
            recipients: Vec::new(),
            objects: vec![StoredObject {
                name: backup.data().file(),
                size: 50,
                sha256: text(),
                recipients: vec!["age1".to_owned()],
            }],
            recovery_plan: RecoveryPlan::default(),
        }
    }

    fn backups(of: impl IntoIterator<Item = Vec<Object>>) -> Backups {
        Backups::of(&Listed { objects: of.into_iter().flatten().collect(), foreign: 0 }, now())
    }

    #[test]
    fn a_backup_counts_if_all_is_as_recorded() {
        let backups = backups([objects(60, Some(Level::Read))]);
        let backup = &backups.committed[0];
        let good = record(backup, Level::Written);
        let asked = |record, signed, level| counts(backup, &record, &signed, level).map(|(_, level)| level);
        assert_eq!(asked(Ok(good.clone()), Signed::Unchecked, Level::Written), Ok(Level::Read));
        assert_eq!(asked(Ok(good.clone()), Signed::By("a".into()), Level::Read), Ok(Level::Read));
        assert_eq!(
            asked(Ok(good.clone()), Signed::Unchecked, Level::Opened),
            Err(Rejection::Level(Level::Read, Level::Opened))
        );
        // A digest never counts, whatever is asked for.
        let digest = Ok(record(backup, Level::Digest));
        assert_eq!(
            asked(digest, Signed::Unchecked, Level::Digest),
            Err(Rejection::Level(Level::Digest, Level::Written))
        );
        let unsigned = Signed::NotTrusted("no signature".into());
        assert_eq!(asked(Ok(good.clone()), unsigned, Level::Written), Err(Rejection::Signature("no signature".into())));
        let none = Rejection::Record("no JSON".into());
        assert_eq!(asked(Err(none.clone()), Signed::Unchecked, Level::Written), Err(none));
        let mut larger = good.clone();
        larger.objects[0].size = 51;
        let said = asked(Ok(larger), Signed::Unchecked, Level::Written);
        assert!(matches!(said, Err(Rejection::Contradiction(_))), "{said:?}");
    }

    #[test]
    fn a_record_that_cannot_be_read_may_be_that_of_a_fresh_backup() {
        let cluster: ClusterUid = CLUSTER.parse().unwrap();
        let answer = |minutes: &[i64], why: Rejection, counted: bool| {
            let backups = backups(minutes.iter().map(|minutes| objects(*minutes, None)));
            let candidates = candidates(&backups, &cluster);
            let passed = vec![(candidates[0].name.clone(), why)];
            let newest = candidates.get(1).filter(|_| counted);
            let newest = newest.map(|one| (*one, record(one, Level::Written), Level::Written, &Signed::Unchecked));
            Freshness::of(&backups, &cluster, newest, passed, &asked(Level::Written), now())
        };
        let unreadable = || Rejection::Unreadable("access denied".into());
        assert_eq!(answer(&[60, 120], unreadable(), true).state, State::Fresh);
        for (minutes, counted) in [(&[60, 200][..], true), (&[60, 200], false), (&[60], false)] {
            let told = answer(minutes, unreadable(), counted);
            assert_eq!(told.state, State::CannotTell);
            assert!(told.why.ends_with("access denied"), "{}", told.why);
        }
        assert_eq!(answer(&[60, 200], Rejection::Record("none".into()), true).state, State::Stale);
    }

    #[test]
    fn the_answer_is_about_the_newest_that_counts() {
        let cluster: ClusterUid = CLUSTER.parse().unwrap();
        let answer = |minutes: &[i64], rejected: usize| {
            let backups = backups(minutes.iter().map(|minutes| objects(*minutes, None)));
            let candidates = candidates(&backups, &cluster);
            let signed = Signed::By("us".into());
            let passed: Vec<_> = candidates
                .iter()
                .take(rejected)
                .map(|one| (one.name.clone(), Rejection::Level(Level::Digest, Level::Written)))
                .collect();
            let newest = candidates.get(rejected).map(|one| {
                let record = record(one, Level::Written);
                (*one, record, Level::Written, &signed)
            });
            Freshness::of(&backups, &cluster, newest, passed, &asked(Level::Written), now())
        };
        for (minutes, rejected, state, age) in [
            (&[][..], 0, State::None, None),
            (&[60], 0, State::Fresh, Some(60)),
            (&[180, 600], 0, State::Fresh, Some(180)),
            (&[181], 0, State::Stale, Some(181)),
            (&[60, 120], 1, State::Fresh, Some(120)),
            (&[60, 200], 1, State::Stale, Some(200)),
            (&[60, 120], 2, State::None, None),
            // Of tomorrow: suspect, and none that counts.
            (&[-1440], 0, State::None, None),
            (&[-1440, 90], 0, State::Fresh, Some(90)),
            // A clock that is a little ahead.
            (&[-10], 0, State::Fresh, Some(0)),
        ] {
            let told = answer(minutes, rejected);
            let told_age = told.newest.as_ref().map(|newest| newest.age.as_mins());
            assert_eq!((told.state, told_age), (state, age), "{minutes:?} {rejected}: {}", told.why);
            assert_eq!(told.why.is_empty(), state == State::Fresh, "{}", told.why);
            assert_eq!(told.passed_over.len(), rejected);
        }
        assert_eq!(answer(&[-1440], 0).why, "there are only suspect backups (1)");
    }

    #[test]
    fn a_store_that_is_ahead_makes_ages_worthless() {
        let listed = |minutes| Listed { objects: objects(minutes, None), foreign: 0 };
        assert_eq!(clock_trouble(&Listed::default(), now()), None);
        assert_eq!(clock_trouble(&listed(-15), now()), None);
        assert!(clock_trouble(&listed(-16), now()).is_some_and(|why| why.contains(NOW)));
    }
}
