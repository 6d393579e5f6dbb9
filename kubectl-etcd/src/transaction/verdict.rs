//! How a restore ended as a whole, out of what each node says: a pure function.

use etcd_recovery::{is_unready, names, step_labels};
use etcd_wire::restore::{Ending, Event, NodeRestore, RestoreKind, Step};
use jiff::Timestamp;
use serde::Serialize;

use super::standing::standing_of_ends;
use crate::output::{Exit, Failed, Outcome};

/// What is known of a node at the end.
#[derive(Debug)]
pub(crate) struct NodeEnd {
    pub(crate) node: String,
    /// What its journal says; `None` if the node has no journal of this restore, or could not be asked.
    pub(crate) restore: Option<NodeRestore>,
    /// Why it could not be asked.
    pub(crate) trouble: Option<String>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Verdict {
    /// Every node has the new state.
    Restored,
    /// Every node has the new state, and an API server has not become ready on it.
    Unready,
    /// No API server became ready on the new state, and every node has the old state again: the nodes rolled back by themselves.
    RolledBack,
    /// No API server became ready on the new state, and every node has it all the same: the nodes tried to roll back by themselves, and could not.
    RollbackFailed,
    /// Every node has the old state, some after they had been stopped.
    WentBack,
    /// It was given up before anything was stopped.
    GivenUp,
    /// It has not ended everywhere, or not in the same way, or nobody can tell.
    Unknown,
}

impl Verdict {
    pub(crate) fn of(ends: &[NodeEnd]) -> Verdict {
        let ending = |end: &NodeEnd| end.restore.as_ref().and_then(|restore| restore.ended);
        // A node that answers and has no journal has not taken part.
        let absent = |end: &NodeEnd| end.restore.is_none() && end.trouble.is_none();
        let all = |good: &dyn Fn(&NodeEnd) -> bool| !ends.is_empty() && ends.iter().all(good);
        let unready = |end: &NodeEnd| end.restore.as_ref().is_some_and(is_unready);
        let back = |end: &NodeEnd| end.restore.as_ref().is_some_and(|restore| restore.plan.rolls_back_from().is_some());
        if ends.iter().any(back) {
            // What has not begun to roll back has the new state.
            let has_new = |end: &NodeEnd| match back(end) {
                true => matches!(ending(end), Some(Ending::WentBack | Ending::GivenUp)),
                false => unready(end) || ending(end) == Some(Ending::Restored),
            };
            if all(&|end| back(end) && ending(end) == Some(Ending::Restored)) {
                Verdict::RolledBack
            } else if all(&has_new) {
                Verdict::RollbackFailed
            } else {
                Verdict::Unknown
            }
        } else if all(&|end| ending(end) == Some(Ending::Restored)) {
            Verdict::Restored
        } else if all(&|end| unready(end) || ending(end) == Some(Ending::Restored)) {
            Verdict::Unready
        } else if all(&|end| absent(end) || ending(end) == Some(Ending::GivenUp)) {
            Verdict::GivenUp
        } else if all(&|end| absent(end) || matches!(ending(end), Some(Ending::GivenUp | Ending::WentBack))) {
            Verdict::WentBack
        } else {
            Verdict::Unknown
        }
    }

    /// What the command ends with.
    ///
    /// # Errors
    /// Exit 1 if nothing was stopped on any node, with the reasons of the nodes; exit 5 if something was.
    pub(crate) fn outcome(self, id: &str, ends: &[NodeEnd]) -> Outcome {
        let what = named(ends);
        match self {
            Verdict::Restored => Ok(()),
            Verdict::RolledBack => Err(Failed::new(
                Exit::Changed,
                "no API server became ready on the new data, and all nodes rolled back to the old data by themselves",
            )
            .causes(reasons(ends))
            .effect(outage(ends))
            .hint("look at the log of the API server of that time on a node (/var/log/pods), and at the members\n  kubectl etcd status")),
            Verdict::RollbackFailed => Err(Failed::new(
                Exit::Changed,
                "no API server became ready on the new data, and the nodes could not roll back by themselves: the new data is in place on all nodes",
            )
            .causes(reasons(ends))
            .hint("look at the log of the API server on a node (crictl ps -a, crictl logs); to return to the old data\n  kubectl etcd rollback")),
            Verdict::WentBack => {
                Err(Failed::new(Exit::Changed, format!("the {what} failed, and all nodes rolled back to the old data"))
                    .causes(reasons(ends))
                    .effect(outage(ends))
                    .hint("look at the members\n  kubectl etcd status"))
            }
            Verdict::GivenUp => Err(Failed::plain(format!("the {what} was cancelled before anything was stopped"))
                .causes(reasons(ends))
                .unchanged()),
            Verdict::Unready => {
                let unready: Vec<&str> = ends
                    .iter()
                    .filter(|end| end.restore.as_ref().is_some_and(is_unready))
                    .map(|end| end.node.as_str())
                    .collect();
                let (nodes, limit) =
                    (names(&unready), ends.iter().find_map(|end| Some(end.restore.as_ref()?.plan.start_timeout)));
                Err(Failed::new(Exit::Changed, format!("the new data is in place on all nodes, but the API server is not ready on {nodes}"))
                    .cause(format!("it did not become ready within {}s; the nodes go on trying", limit.unwrap_or_default()))
                    .causes(reasons(ends))
                    .hint(format!("look at its log on the node (crictl ps -a, crictl logs), or end the waiting and return to the old data on all nodes\n  kubectl etcd restore --forget {id}\n  kubectl etcd rollback")))
            }
            Verdict::Unknown => {
                let failed =
                    Failed::new(Exit::Changed, format!("{what} {id} has not ended in the same way on all nodes"))
                        .causes(ends.iter().map(standing))
                        .causes(reasons(ends));
                let told = standing_of_ends(ends).map(|standing| standing.told(Timestamp::now())).unwrap_or_default();
                let failed = told.iter().fold(failed, |failed, row| failed.hint(row.lines()));
                Err(match told.is_empty() {
                    true => failed.hint("look again, and follow it to its end\n  kubectl etcd restore --status\n  kubectl etcd restore --follow"),
                    false => failed.hint("look again\n  kubectl etcd restore --status"),
                })
            }
        }
    }
}

/// A restore, or a rollback.
fn named(ends: &[NodeEnd]) -> &'static str {
    match ends.iter().find_map(|end| Some(&end.restore.as_ref()?.plan.kind)) {
        Some(RestoreKind::Aside { .. }) => "rollback",
        Some(RestoreKind::Snapshot { .. }) | None => "restore",
    }
}

/// How long the API was away on a node, in milliseconds by that node's own clock: from when its API server began to be stopped until it
/// was found to serve again. Clocks of different nodes are not compared.
pub(super) fn away(restore: &NodeRestore) -> Option<i64> {
    let begun = restore.events.iter().find(|event| event.step == Some(Step::StopApi) && !event.done)?.at;
    let back = |event: &&Event| event.done && matches!(event.step, Some(Step::StartApi | Step::UndoStart));
    let back = restore.events.iter().rfind(back)?.at;
    (back >= begun).then_some(back - begun)
}

/// How long the API was away where that was longest.
fn outage(ends: &[NodeEnd]) -> String {
    let times = ends.iter().filter_map(|end| Some((away(end.restore.as_ref()?)?, end.node.as_str())));
    match times.max() {
        Some((time, node)) => {
            format!("the API server was away for {}, longest on node {node}", seconds(time))
        }
        None => "etcd or the API server was stopped; no node says for how long".to_owned(),
    }
}

/// Milliseconds, for people.
pub(super) fn seconds(milliseconds: i64) -> String {
    format!("{:.1} s", milliseconds as f64 / 1000.0)
}

/// How a node is, in one line.
fn standing(end: &NodeEnd) -> String {
    let how = match (&end.restore, &end.trouble) {
        (Some(restore), _) => {
            match (restore.ended, restore.events.iter().rev().find_map(|event| Some((event.step?, event.done)))) {
                (Some(ending), _) => step_labels::ended(ending).to_owned(),
                (None, Some((step, true))) => step_labels::done(step).to_owned(),
                (None, Some((step, false))) => step_labels::doing(step).to_owned(),
                (None, None) => "has not begun".to_owned(),
            }
        }
        (None, Some(trouble)) => format!("cannot be asked: {trouble}"),
        (None, None) => "has no journal of this restore".to_owned(),
    };
    format!("node {}: {how}", end.node)
}

/// What the nodes noted, the first one first, without what several said. Clocks differ a little, and so may the order.
pub(crate) fn reasons(ends: &[NodeEnd]) -> Vec<String> {
    let restores = ends.iter().filter_map(|end| Some((end.node.as_str(), end.restore.as_ref()?)));
    let mut notes: Vec<(i64, &str, &str)> = restores
        .flat_map(|(node, restore)| restore.events.iter().map(move |event| (node, event)))
        .filter_map(|(node, event)| Some((event.at, node, event.note.as_deref()?)))
        .collect();
    notes.sort_by_key(|(at, ..)| *at);
    let mut told: Vec<&str> = Vec::new();
    notes.retain(|(.., note)| {
        let new = !told.contains(note);
        told.push(note);
        new
    });
    notes.into_iter().map(|(_, node, note)| format!("node {node}: {note}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use etcd_wire::restore::{Decision, Live};

    use super::super::samples::journal;
    use super::*;

    pub(crate) fn node(name: &str, ended: Option<Ending>) -> NodeEnd {
        let event = |at, step, done, note: Option<&str>| Event { at, step, done, note: note.map(str::to_owned) };
        let restore = NodeRestore {
            events: vec![
                event(5000, Some(Step::StopApi), false, None),
                event(6000, Some(Step::StopApi), true, None),
                event(9000, None, false, Some("node cp2 was lost")),
                event(17_000, Some(Step::StartApi), true, None),
            ],
            ended,
            aside: Some("/var/lib/etcd/.kubectl-etcd/id/old".into()),
            aside_bytes: 4096,
            participates: false,
            ..journal(name, 2)
        };
        NodeEnd { node: name.into(), restore: Some(restore), trouble: None }
    }

    fn silent(name: &str, trouble: Option<&str>) -> NodeEnd {
        NodeEnd { node: name.into(), restore: None, trouble: trouble.map(str::to_owned) }
    }

    /// Committed, and without an API server that is ready.
    fn unready(name: &str) -> NodeEnd {
        let mut end = node(name, None);
        let restore = end.restore.as_mut().expect("a journal");
        (restore.vote, restore.decision) = (Some(true), Some(Decision::Commit));
        restore.live = Some(Live { unready: true, ..Live::default() });
        end
    }

    #[test]
    fn the_way_back_is_told_where_api_servers_do_not_become_ready() {
        let ends = [node("cp1", Some(Ending::Restored)), unready("cp2")];
        let failed = Verdict::of(&ends).outcome("id", &ends).expect_err("not ready");
        assert_eq!(failed.message, "the new data is in place on all nodes, but the API server is not ready on cp2");
        assert!(failed.hints[0].ends_with("\n  kubectl etcd rollback"), "{failed}");
    }

    #[test]
    fn a_rollback_of_the_nodes_own_is_no_success() {
        use Ending::{GivenUp, Restored, WentBack};
        let back = |name: &str, ended: Option<Ending>| {
            let mut end = node(name, ended);
            let restore = end.restore.as_mut().expect("a journal");
            restore.plan = restore.plan.way_back().expect("a restore of all nodes");
            end
        };
        for (ends, verdict) in [
            (vec![back("cp1", Some(Restored)), back("cp2", Some(Restored))], Verdict::RolledBack),
            (vec![back("cp1", Some(WentBack)), back("cp2", Some(WentBack))], Verdict::RollbackFailed),
            (vec![back("cp1", Some(WentBack)), unready("cp2")], Verdict::RollbackFailed),
            (vec![back("cp1", Some(GivenUp)), node("cp2", Some(Restored))], Verdict::RollbackFailed),
            // Some nodes have the one data, others may have the other.
            (vec![back("cp1", Some(Restored)), node("cp2", Some(Restored))], Verdict::Unknown),
            (vec![back("cp1", Some(Restored)), back("cp2", Some(WentBack))], Verdict::Unknown),
            (vec![back("cp1", Some(Restored)), back("cp2", None)], Verdict::Unknown),
            (vec![back("cp1", Some(Restored)), silent("cp2", Some("no route"))], Verdict::Unknown),
            (vec![back("cp1", Some(WentBack)), node("cp2", None)], Verdict::Unknown),
        ] {
            assert_eq!(Verdict::of(&ends), verdict, "{ends:?}");
            let failed = verdict.outcome("id", &ends).expect_err("the restore failed");
            assert_eq!(failed.exit, Exit::Changed, "{ends:?}");
            assert!(failed.causes.iter().any(|cause| cause.contains("cp2 was lost")), "the nodes' reasons: {failed}");
        }
    }

    #[test]
    fn what_a_restore_waits_for_is_told_at_its_end() {
        let mut restored = node("cp1", Some(Ending::Restored));
        let restore = restored.restore.as_mut().expect("a journal");
        (restore.vote, restore.decision, restore.waits_for_others) = (Some(true), Some(Decision::Commit), true);
        let ends = [restored, silent("cp2", Some("no route"))];
        let failed = Verdict::of(&ends).outcome("id", &ends).expect_err("not confirmed");
        assert!(failed.hints[0].ends_with("\n  kubectl etcd restore --forget id"), "{failed}");
    }

    #[test]
    fn ends_and_what_the_command_ends_with() {
        use Ending::{GivenUp, Restored, WentBack};
        let both = |a, b| vec![node("cp1", a), node("cp2", b)];
        for (ends, verdict, exit) in [
            (both(Some(Restored), Some(Restored)), Verdict::Restored, None),
            (both(Some(WentBack), Some(WentBack)), Verdict::WentBack, Some(Exit::Changed)),
            (both(Some(WentBack), Some(GivenUp)), Verdict::WentBack, Some(Exit::Changed)),
            (both(Some(GivenUp), Some(GivenUp)), Verdict::GivenUp, Some(Exit::Failed)),
            (vec![node("cp1", Some(GivenUp)), silent("cp2", None)], Verdict::GivenUp, Some(Exit::Failed)),
            (vec![node("cp1", Some(WentBack)), silent("cp2", None)], Verdict::WentBack, Some(Exit::Changed)),
            (both(Some(Restored), Some(WentBack)), Verdict::Unknown, Some(Exit::Changed)),
            (both(Some(Restored), None), Verdict::Unknown, Some(Exit::Changed)),
            (vec![node("cp1", Some(Restored)), silent("cp2", None)], Verdict::Unknown, Some(Exit::Changed)),
            (vec![node("cp1", Some(WentBack)), silent("cp2", Some("gone"))], Verdict::Unknown, Some(Exit::Changed)),
            (vec![node("cp1", Some(Restored)), unready("cp2")], Verdict::Unready, Some(Exit::Changed)),
            (vec![silent("cp1", Some("gone")), unready("cp2")], Verdict::Unknown, Some(Exit::Changed)),
            (Vec::new(), Verdict::Unknown, Some(Exit::Changed)),
        ] {
            assert_eq!(Verdict::of(&ends), verdict, "{ends:?}");
            assert_eq!(verdict.outcome("id", &ends).err().map(|failed| failed.exit), exit, "{ends:?}");
        }
    }

    #[test]
    fn how_long_the_api_was_away_is_told_where_it_is_known() {
        let mut ends = [node("cp1", Some(Ending::WentBack)), node("cp2", Some(Ending::WentBack))];
        let of = |end: &mut NodeEnd, milliseconds: i64| {
            let restore = end.restore.as_mut().expect("a journal");
            restore.events[3] = Event { at: 5000 + milliseconds, step: Some(Step::UndoStart), done: true, note: None };
            restore.plan.kind = RestoreKind::Aside { of: "x".into(), raise: true, token: String::new() };
        };
        of(&mut ends[0], 31_400);
        of(&mut ends[1], 2000);
        let failed = Verdict::WentBack.outcome("id", &ends).expect_err("it went back");
        assert!(failed.message.starts_with("the rollback failed"), "{failed}");
        assert!(failed.effects.iter().any(|effect| effect.contains("31.4 s, longest on node cp1")), "{failed}");
        for end in &mut ends {
            end.restore.as_mut().expect("a journal").events.truncate(3);
        }
        let failed = Verdict::WentBack.outcome("id", &ends).expect_err("it went back");
        assert!(failed.effects.iter().any(|effect| effect.contains("no node says for how long")), "{failed}");
    }

    #[test]
    fn why_it_went_back_is_told_once() {
        let ends = [node("cp1", Some(Ending::WentBack)), node("cp2", Some(Ending::WentBack))];
        let failed = Verdict::WentBack.outcome("id", &ends).expect_err("it went back");
        let away = "the API server was away for 12.0 s, longest on node cp2";
        assert_eq!(
            (&failed.causes[..], &failed.effects[..]),
            (&["node cp1: node cp2 was lost".to_owned()][..], &[away.to_owned()][..])
        );
        let ends = [node("cp1", None), silent("cp2", Some("no route"))];
        let failed = Verdict::Unknown.outcome("id", &ends).expect_err("unknown");
        assert_eq!(failed.causes[..2], ["node cp1: the API server serves", "node cp2: cannot be asked: no route"]);
    }
}
