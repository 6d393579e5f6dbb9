//! Room in the database: what may be compacted, and when the alarm NOSPACE may be disarmed.

use super::{Refusal, Seen, View, best};

/// etcd's name of the alarm that stops writes.
pub const NO_SPACE: &str = "NOSPACE";

/// A compaction that may be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Every older version of a key goes that a newer one up to here has replaced.
    pub revision: i64,
    /// The newest revision of the cluster.
    pub current: i64,
    /// ID of the member that is asked.
    pub at: u64,
}

/// The member that an order of the whole cluster is given to: a healthy voter, rather a follower.
pub(crate) fn asked<'a>(view: &'a View, doing: &str) -> Result<&'a Seen, Refusal> {
    view.leader(doing)?;
    let fit = view.voters().filter_map(|one| Some((one, one.status.as_ref().filter(|_| view.is_healthy(one))?)));
    let chosen = best(fit.collect(), |(one, status)| (status, &one.name));
    chosen.map(|(one, _)| one).ok_or_else(|| {
        let refusal = Refusal::new(format!("refuse to {doing}: no voter is healthy"));
        view.troubles(view.voters()).into_iter().fold(refusal, Refusal::cause)
    })
}

/// A compaction at a revision, or at the newest one.
///
/// # Errors
/// The revision is in the future, there is no leader, or the data of a member cannot be trusted. Whether it is compacted already only etcd knows.
pub fn compaction(view: &View, revision: Option<i64>) -> Result<Compaction, Refusal> {
    const DOING: &str = "compact";
    view.is_sound(DOING)?;
    let at = asked(view, DOING)?.id;
    let current = view.revision();
    match revision {
        Some(wanted) if wanted > current => Err(Refusal::new(format!("revision {wanted} is in the future"))
            .cause(format!("the newest revision is {current}"))),
        wanted => Ok(Compaction { revision: wanted.unwrap_or(current), current, at }),
    }
}

/// What stands in the way of the alarm NOSPACE being disarmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// No alarm is raised.
    Silent,
    /// It is raised, and there is room again: a member that can be asked to disarm it.
    Room(u64),
    /// It is raised, and a member has no room: a line each.
    Full(Vec<String>),
}

/// Whether the alarm NOSPACE is raised, and may be disarmed.
///
/// # Errors
/// Another alarm is raised: etcdctl disarms all or none. There is no leader.
pub fn alarm(view: &View) -> Result<Alarm, Refusal> {
    const DOING: &str = "disarm the alarm";
    let known = view.statuses();
    let raised: Vec<u64> = known.iter().flat_map(|status| &status.alarms).map(|alarm| alarm.member_id).collect();
    if raised.is_empty() {
        return Ok(Alarm::Silent);
    }
    view.is_sound(DOING)?;
    let full = |one: &Seen| match &one.status {
        None if raised.contains(&one.id) => {
            Some(format!("member {} has raised the alarm and does not answer: its size is not known", one.title()))
        }
        Some(status) if one.quota > 0 && status.db_size >= one.quota => {
            let (size, quota) = (status.db_size, one.quota);
            Some(format!("the database of member {} has {size} bytes, and its quota is {quota}", one.title()))
        }
        _ => None,
    };
    let full: Vec<String> = view.members().iter().filter_map(full).collect();
    match full.is_empty() {
        true => Ok(Alarm::Room(asked(view, DOING)?.id)),
        false => Ok(Alarm::Full(full)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::samples::cluster;
    use super::*;

    #[test]
    fn a_compaction_is_asked_of_a_follower_and_never_ahead_of_the_cluster() {
        assert_eq!(compaction(&cluster(3), None), Ok(Compaction { revision: 500, current: 500, at: 2 }));
        assert_eq!(compaction(&cluster(1), Some(7)), Ok(Compaction { revision: 7, current: 500, at: 1 }));
        assert_eq!(compaction(&cluster(3).down(&[2]), None).map(|one| one.at), Ok(3));
        let future = compaction(&cluster(3), Some(501)).expect_err("in the future");
        assert_eq!(future.causes, ["the newest revision is 500"]);
        for bad in [cluster(3).alarm(1, "CORRUPT"), cluster(3).down(&[1, 3])] {
            assert!(compaction(&bad, None).is_err());
        }
        // A full etcd takes compactions.
        assert_eq!(compaction(&cluster(3).alarm(1, NO_SPACE), None).map(|one| one.revision), Ok(500));
    }

    #[test]
    fn the_alarm_goes_only_when_every_member_has_room() {
        assert_eq!(alarm(&cluster(3)), Ok(Alarm::Silent));
        let raised = cluster(3).alarm(3, NO_SPACE);
        assert_eq!(alarm(&raised), Ok(Alarm::Room(2)));
        let full = raised.with(|one| one.quota = if one.id == 2 { 1000 } else { 1001 });
        let Ok(Alarm::Full(why)) = alarm(&full) else { panic!("m2 is full") };
        assert_eq!(why, ["the database of member m2 has 1000 bytes, and its quota is 1000"]);
        assert_eq!(alarm(&raised.with(|one| one.quota = -1)), Ok(Alarm::Room(2)), "there is no limit");
        // Its own alarm, and nobody can tell.
        assert!(matches!(alarm(&raised.down(&[3])), Ok(Alarm::Full(why)) if why.len() == 1));
        assert_eq!(alarm(&raised.down(&[2])), Ok(Alarm::Room(3)), "another member is down");
        // That of a member that exists no more.
        assert_eq!(alarm(&cluster(3).alarm(9, NO_SPACE)), Ok(Alarm::Room(2)));
    }

    #[test]
    fn no_other_alarm_is_ever_disarmed() {
        for view in [cluster(3).alarm(2, "CORRUPT"), cluster(1).alarm(1, NO_SPACE).alarm(1, "CORRUPT")] {
            let refusal = alarm(&view).expect_err("corrupt");
            assert!(refusal.hint.is_some_and(|hint| hint.contains("restore")), "{:?}", refusal.causes);
        }
        assert!(alarm(&cluster(3).alarm(1, NO_SPACE).down(&[2, 3])).is_err(), "no leader");
    }
}
