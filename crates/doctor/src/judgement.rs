//! What a check's function says, before it becomes a finding.

use crate::check::Severity;
use crate::facts::{Known, Node};

/// Something that is wrong.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) severity: Severity,
    pub(crate) evidence: String,
    pub(crate) mend: String,
}

/// What is wrong, what is not known, and what is said if neither is anything.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) found: Vec<Wrong>,
    pub(crate) unknown: Vec<String>,
    pub(crate) passed: String,
}

impl Judgement {
    /// Nothing is wrong, until something is.
    pub(crate) fn pass(passed: impl Into<String>) -> Judgement {
        Judgement { passed: passed.into(), ..Judgement::default() }
    }

    /// The check cannot be made.
    pub(crate) fn unknown(why: impl Into<String>) -> Judgement {
        Judgement { unknown: vec![why.into()], ..Judgement::default() }
    }

    pub(crate) fn error(&mut self, evidence: impl Into<String>, mend: impl Into<String>) {
        self.found.push(Wrong { severity: Severity::Error, evidence: evidence.into(), mend: mend.into() });
    }

    pub(crate) fn warning(&mut self, evidence: impl Into<String>, mend: impl Into<String>) {
        self.found.push(Wrong { severity: Severity::Warning, evidence: evidence.into(), mend: mend.into() });
    }

    /// Part of the check cannot be made.
    pub(crate) fn lacks(&mut self, why: impl Into<String>) {
        self.unknown.push(why.into());
    }

    /// Judges what is known of every node; where it is not known, the reason is told, once for all nodes that have the same one.
    pub(crate) fn each<'a, T: ?Sized + 'a>(
        nodes: &'a [Node],
        passed: impl Into<String>,
        of: impl Fn(&'a Node) -> Known<&'a T>,
        mut judge: impl FnMut(&'a Node, &'a T, &mut Judgement),
    ) -> Judgement {
        let mut judgement = Judgement::pass(passed);
        let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
        for node in nodes {
            match of(node) {
                Ok(known) => judge(node, known, &mut judgement),
                Err(why) => match reasons.iter_mut().find(|(reason, _)| *reason == why) {
                    Some((_, nodes)) => nodes.push(&node.node),
                    None => reasons.push((why, vec![&node.node])),
                },
            }
        }
        judgement.unknown.extend(reasons.into_iter().map(|(why, nodes)| format!("{}: {why}", nodes.join(", "))));
        if nodes.is_empty() {
            judgement.lacks("no member of etcd was found");
        }
        judgement
    }
}

/// A size with decimal units, as etcd's own tools print it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// A time, in days, hours or minutes.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.abs();
    let (count, unit) = match seconds {
        172_800.. => (seconds / 86_400, "day"),
        7200.. => (seconds / 3600, "hour"),
        120.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}
