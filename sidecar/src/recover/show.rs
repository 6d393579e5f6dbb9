//! A survey for people.

use std::fmt::Write as _;

use etcd_wire::Failure;
use etcd_wire::survey::{EtcdState, EtcdSurvey, KeyInLog, NodeSurvey};

use crate::table::aligned;

/// Most keys that are shown; JSON has more.
const KEYS: usize = 20;

/// The survey as a table, and what has to be known about it below.
pub(super) fn table(survey: &NodeSurvey) -> String {
    let head =
        ["NODE", "DATA DIRECTORY", "ETCD", "TERM", "INDEX", "COMMIT", "REVISION", "APPLIED", "ONLY IN LOG", "FREE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(survey.etcd.iter().map(|etcd| row(&survey.node, etcd)));
    let mut out = aligned(&rows);
    for etcd in &survey.etcd {
        out.push_str(&details(etcd));
    }
    for failure in &survey.failures {
        out.push_str(&format!("\nnot looked at: {}\n", line(failure)));
    }
    out.truncate(out.trim_end().len());
    out
}

fn row(node: &str, etcd: &EtcdSurvey) -> Vec<String> {
    let unknown = || "<unknown>".to_owned();
    let log = |cell: &dyn Fn(&etcd_wire::survey::LogSurvey) -> String| etcd.log.as_ref().map_or_else(unknown, cell);
    let database = etcd.database.as_ref();
    let state = match etcd.state {
        EtcdState::Running => "running".to_owned(),
        EtcdState::Stopped => "stopped".to_owned(),
        EtcdState::Unknown => unknown(),
    };
    vec![
        node.to_owned(),
        etcd.data_dir.clone(),
        state,
        log(&|log| log.last.term.to_string()),
        log(&|log| log.last.index.to_string()),
        log(&|log| log.commit.to_string()),
        database.map_or_else(unknown, |database| database.revision.to_string()),
        database.and_then(|database| database.consistent_index).map_or_else(unknown, |index| index.to_string()),
        etcd.only_in_log.as_ref().map_or_else(unknown, |only| only.entries.to_string()),
        etcd.free_bytes.map_or_else(unknown, |bytes| format!("{} MiB", bytes >> 20)),
    ]
}

fn details(etcd: &EtcdSurvey) -> String {
    let mut out = format!("\n{}, found by {}\n", etcd.data_dir, etcd.found_by);
    let mut say = |text: String| {
        // Writing to a text does not fail.
        let _written = writeln!(out, "  {text}");
    };
    if let Some(log) = &etcd.log {
        say(format!("log of member {} of cluster {}", log.member_id, log.cluster_id));
        if let Some(torn) = &log.torn {
            say(format!(
                "the last write was cut off in {} at offset {}: {} ({} bytes are dropped)",
                torn.segment, torn.offset, torn.reason, torn.bytes
            ));
            if torn.records_follow {
                say("whole records follow the place: if the disk is damaged, writes are lost that were acknowledged"
                    .to_owned());
            }
        }
    }
    if let Some(database) = &etcd.database {
        match &database.kube_system_uid {
            Some(uid) => say(format!("namespace kube-system has the UID {uid}")),
            None => {
                say("the UID of namespace kube-system is not known: the namespace is encrypted, or is not there"
                    .to_owned())
            }
        }
        for alarm in &database.alarms {
            say(format!("alarm {alarm}"));
        }
        for member in &database.members {
            let name = if member.name.is_empty() { "without a name" } else { &member.name };
            let learner = if member.learner { ", a learner" } else { "" };
            say(format!("member {} {name} at {}{learner}", member.id, member.peer_urls.join(", ")));
        }
    }
    for index in &etcd.received_databases {
        say(format!("a leader has sent the database of index {index}, which may not be in place yet"));
    }
    if let Some(only) = &etcd.only_in_log {
        if only.database_is_ahead {
            say("the database has applied more than the log has: the log has lost its end".to_owned());
        }
        if let Some(index) = only.missing_from {
            say(format!("entries from index {index} on are neither in the database nor in the log"));
        }
        let counts = [
            ("are above the commit index", only.uncommitted),
            ("change the members", only.member_changes),
            ("change users or roles", only.auth_changes),
            ("cannot be looked into", only.unread),
        ];
        let some: Vec<_> =
            counts.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect();
        if !some.is_empty() {
            say(format!("of the entries that only the log has, {}", some.join(", ")));
        }
        for key in only.keys.iter().take(KEYS) {
            say(format!("only in the log: {}", change(key)));
        }
        let more = (only.keys.len().saturating_sub(KEYS) as u64).saturating_add(only.more_changes);
        if more > 0 {
            say(format!("and {more} more"));
        }
    }
    for failure in &etcd.failures {
        say(line(failure));
    }
    out
}

fn change(key: &KeyInLog) -> String {
    let what = match (key.puts > 0, key.deletes > 0) {
        (true, true) => "put and delete",
        (false, true) => "delete",
        _ => "put",
    };
    let range = key.range_end.as_ref().map(|end| format!(" up to {end}")).unwrap_or_default();
    let certain = if key.certain { "" } else { ", if a transaction's comparison says so" };
    format!("{what} {}{range}{certain}", key.key)
}

fn line(failure: &Failure) -> String {
    std::iter::once(&failure.message).chain(&failure.causes).map(String::as_str).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use etcd_wire::FailureCode;
    use etcd_wire::survey::{DatabaseSurvey, LogSurvey, OnlyInLog, RaftPosition, SurveyedMember, TornSurvey};

    use super::*;

    #[test]
    fn everything_that_is_known_is_shown() {
        let key = |key: &str, puts, deletes, certain| KeyInLog {
            key: key.to_owned(),
            range_end: (deletes > 1).then(|| format!("{key}~")),
            puts,
            deletes,
            certain,
        };
        let survey = NodeSurvey {
            node: "cp1".to_owned(),
            etcd: vec![
                EtcdSurvey {
                    found_by: "the manifest /m".to_owned(),
                    data_dir: "/var/lib/etcd".to_owned(),
                    state: EtcdState::Stopped,
                    log: Some(LogSurvey {
                        member_id: "a1".to_owned(),
                        cluster_id: "c1".to_owned(),
                        last: RaftPosition { term: 3, index: 1043 },
                        commit: 1041,
                        torn: Some(TornSurvey {
                            segment: "1.wal".to_owned(),
                            offset: 64,
                            reason: "cut".to_owned(),
                            bytes: 9,
                            records_follow: false,
                        }),
                        ..LogSurvey::default()
                    }),
                    database: Some(DatabaseSurvey {
                        revision: 980,
                        consistent_index: Some(1020),
                        members: vec![SurveyedMember {
                            id: "a1".to_owned(),
                            name: "cp1".to_owned(),
                            peer_urls: vec!["https://a:2380".to_owned()],
                            learner: true,
                        }],
                        ..DatabaseSurvey::default()
                    }),
                    only_in_log: Some(OnlyInLog {
                        entries: 23,
                        uncommitted: 2,
                        keys: vec![key("/a", 1, 0, true), key("/b", 0, 2, false)],
                        more_changes: 7,
                        ..OnlyInLog::default()
                    }),
                    free_bytes: Some(5 << 30),
                    ..EtcdSurvey::default()
                },
                EtcdSurvey {
                    data_dir: "/x".to_owned(),
                    found_by: "its usual place".to_owned(),
                    failures: vec![Failure::new(FailureCode::Storage, "cannot read /x").cause("no such file")],
                    ..EtcdSurvey::default()
                },
            ],
            failures: vec![Failure::new(FailureCode::Storage, "cannot read /m")],
        };
        let expected = "\
NODE   DATA DIRECTORY   ETCD        TERM        INDEX       COMMIT      REVISION    APPLIED     ONLY IN LOG   FREE
cp1    /var/lib/etcd    stopped     3           1043        1041        980         1020        23            5120 MiB
cp1    /x               <unknown>   <unknown>   <unknown>   <unknown>   <unknown>   <unknown>   <unknown>     <unknown>

/var/lib/etcd, found by the manifest /m
  log of member a1 of cluster c1
  the last write was cut off in 1.wal at offset 64: cut (9 bytes are dropped)
  the UID of namespace kube-system is not known: the namespace is encrypted, or is not there
  member a1 cp1 at https://a:2380, a learner
  of the entries that only the log has, 2 are above the commit index
  only in the log: put /a
  only in the log: delete /b up to /b~, if a transaction's comparison says so
  and 7 more

/x, found by its usual place
  cannot read /x: no such file

not looked at: cannot read /m";
        assert_eq!(table(&survey), expected);
    }
}
