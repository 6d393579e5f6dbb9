//! What a check comes to, in a line: whole or not, of which cluster, taken when, how much.

use jiff::Timestamp;
use serde::Serialize;

use super::check::Checked;
use etcd_snapshot::DigestState;

/// Whether a file can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    /// Its digest, pages and records are right.
    Whole,
    /// Its pages and records are right, and it has no digest that proves its bytes.
    Unproven,
    /// Something is wrong with it.
    Damaged,
}

/// What a check comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    pub(crate) state: State,
    /// Name of the cluster, as it was recorded beside the file.
    pub(crate) cluster: Option<String>,
    /// UID of namespace kube-system in the file, which a cluster keeps for life.
    pub(crate) kube_system_uid: Option<String>,
    /// When the backup began, as it was recorded beside the file.
    pub(crate) taken_at: Option<String>,
    pub(crate) revision: Option<i64>,
    /// Keys that are not deleted.
    pub(crate) keys: Option<u64>,
}

impl Verdict {
    /// Of a file in which no damage was found.
    pub(crate) fn of(checked: &Checked) -> Verdict {
        let report = &checked.report;
        Verdict {
            state: if report.digest == DigestState::Matches { State::Whole } else { State::Unproven },
            cluster: checked.recorded.cluster.clone(),
            kube_system_uid: checked.kube_system_uid.clone(),
            taken_at: checked.recorded.taken_at.clone(),
            revision: Some(report.revision),
            keys: Some(report.live_keys),
        }
    }

    /// Of a file that is damaged: nothing else of it is vouched for.
    pub(crate) fn damaged() -> Verdict {
        Verdict {
            state: State::Damaged,
            cluster: None,
            kube_system_uid: None,
            taken_at: None,
            revision: None,
            keys: None,
        }
    }

    /// For people: a line, or several where one is too long for a terminal.
    pub(super) fn line(&self, file: &str) -> String {
        const WIDTH: usize = 80;
        let state = match self.state {
            State::Whole => "is whole",
            State::Unproven => "has no digest; its pages and records are whole",
            State::Damaged => return format!("{file} is damaged"),
        };
        let mut facts = vec![match (&self.cluster, &self.kube_system_uid) {
            (Some(cluster), _) => format!("cluster {cluster}"),
            (None, Some(uid)) => format!("cluster with kube-system UID {uid}"),
            (None, None) => "cluster not recorded".to_owned(),
        }];
        facts.push(match &self.taken_at {
            Some(taken) => format!("taken {}", moment(taken)),
            None => "time not recorded".to_owned(),
        });
        facts.extend(self.revision.map(|revision| format!("revision {revision}")));
        facts.extend(self.keys.map(|keys| format!("{keys} keys")));
        let line = format!("{file} {state}: {}", facts.join(", "));
        if line.len() <= WIDTH {
            return line;
        }
        let mut lines = vec![format!("{file} {state}:")];
        let mut last = String::new();
        for (place, fact) in facts.iter().enumerate() {
            let fact = if place + 1 < facts.len() { format!("{fact},") } else { fact.clone() };
            if !last.is_empty() && last.len() + 1 + fact.len() > WIDTH {
                lines.push(std::mem::take(&mut last));
            }
            last = if last.is_empty() { format!("  {fact}") } else { format!("{last} {fact}") };
        }
        lines.push(last);
        lines.join("\n")
    }
}

/// `2026-11-21 06:16:40 UTC`
fn moment(taken: &str) -> String {
    match taken.parse::<Timestamp>() {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => taken.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_whole_or_not_of_what_and_when() {
        let whole = Verdict {
            state: State::Whole,
            cluster: Some("prod-eu".to_owned()),
            kube_system_uid: Some("6f1c".to_owned()),
            taken_at: Some("2026-11-21T06:16:40Z".to_owned()),
            revision: Some(41873),
            keys: Some(1234),
        };
        let facts = "cluster prod-eu, taken 2026-11-21 06:16:40 UTC, revision 41873, 1234 keys";
        assert_eq!(whole.line("a.db"), format!("a.db is whole:\n  {facts}"));
        let uid = Some("053b9456-aef2-49f1-a67a-8c9c317a8398".to_owned());
        let bare = Verdict { cluster: None, taken_at: None, kube_system_uid: uid, ..whole.clone() };
        let facts = "cluster with kube-system UID 053b9456-aef2-49f1-a67a-8c9c317a8398,\n  time not recorded, revision 41873, 1234 keys";
        assert_eq!(bare.line("a.db"), format!("a.db is whole:\n  {facts}"));
        let copied = Verdict { state: State::Unproven, kube_system_uid: None, ..bare };
        assert!(
            copied
                .line("a.db")
                .starts_with("a.db has no digest; its pages and records are whole:\n  cluster not recorded")
        );
        assert_eq!(Verdict::damaged().line("a.db"), "a.db is damaged");
        let short = Verdict { revision: None, keys: None, ..whole };
        assert_eq!(short.line("a.db"), "a.db is whole: cluster prod-eu, taken 2026-11-21 06:16:40 UTC");
    }
}
