//! What `doctor` tells, as data and as a table. Pure.

use etcd_doctor::{Finding, Severity, Summary};
use jiff::Timestamp;
use serde::Serialize;

use crate::output::{API_VERSION, Table, timestamp};

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: &'static str,
    kind: &'static str,
    /// What the cluster is called.
    cluster: String,
    /// When it was looked at.
    checked_at: String,
    /// The worst that any check came to; `unknown` only if some could not be made, and the others passed.
    verdict: Severity,
    pub(super) summary: Summary,
    /// Every check, in the order of `--explain`.
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn of(cluster: &str, now: Timestamp, checks: Vec<Finding>) -> Report {
        Report {
            api_version: API_VERSION,
            kind: "Doctor",
            cluster: cluster.to_owned(),
            checked_at: timestamp(now),
            verdict: checks.iter().map(|check| check.severity).max().unwrap_or(Severity::Unknown),
            summary: Summary::of(&checks),
            checks,
        }
    }

    /// A line a check, the worst first, what mends it below, and the verdict. The plain table has no checks that passed: with them it is longer
    /// than a screen.
    pub(super) fn table(&self, wide: bool) -> String {
        let mut shown: Vec<&Finding> = self.checks.iter().filter(|one| wide || one.severity != Severity::Ok).collect();
        shown.sort_by_key(|one| std::cmp::Reverse(one.severity));
        let mut out = String::new();
        if !shown.is_empty() {
            let mut table = Table::new(&["CHECK", "RESULT", "EVIDENCE"]).fitted(wide);
            for one in &shown {
                let cell = match wide {
                    true => one.evidence.join("; "),
                    false => first(&one.evidence),
                };
                table.row(vec![one.check.to_owned(), one.severity.word().to_owned(), cell]);
            }
            out.push_str(&table.to_string());
            out.push('\n');
        }
        for one in shown.iter().filter(|one| !one.mend.is_empty()) {
            out.push_str(&format!("{} ({})\n", one.check, one.severity.word()));
            one.evidence.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
            one.mend.iter().for_each(|line| out.push_str(&format!("  -> {line}\n")));
            out.push('\n');
        }
        if shown.iter().any(|one| one.severity != Severity::Ok) {
            out.push_str("More of a check: kubectl etcd doctor --explain CHECK\n");
        }
        out.push_str(&format!("{}\n", self.summary));
        out
    }
}

/// The first line of evidence, and how many more there are.
fn first(evidence: &[String]) -> String {
    match evidence {
        [] => String::new(),
        [only] => only.clone(),
        [first, more @ ..] => format!("({}) {first}", more.len() + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(check: &'static str, severity: Severity, evidence: &[&str]) -> Finding {
        let mends = matches!(severity, Severity::Warning | Severity::Error);
        Finding {
            check,
            severity,
            evidence: evidence.iter().map(|line| (*line).to_owned()).collect(),
            why: "it matters",
            mend: mends.then(|| "kubectl etcd defrag".to_owned()).into_iter().collect(),
        }
    }

    fn report() -> Report {
        let long = "cp1: a reason that is so long that it does not fit on the line of any terminal that there is";
        let checks = vec![
            finding("quorum", Severity::Ok, &["all 3 voting members answer"]),
            finding("backup", Severity::Unknown, &["no store is named"]),
            finding("database-size", Severity::Warning, &["cp1: 85%", "cp2: 84%"]),
            finding("certificates", Severity::Error, &[long]),
        ];
        Report::of("prod", Timestamp::UNIX_EPOCH, checks)
    }

    #[test]
    fn the_worst_comes_first_and_the_verdict_last() {
        let table = report().table(false);
        let lines: Vec<&str> = table.lines().collect();
        let starts = |index: usize, text: &str| assert!(lines[index].starts_with(text), "{table}");
        starts(0, "CHECK");
        starts(1, "certificates");
        starts(2, "database-size   warning   (2) cp1: 85%");
        starts(3, "backup");
        assert!(lines[..4].iter().all(|line| line.len() <= 80), "{table}");
        assert_eq!(lines.last(), Some(&"1 error, 1 warning, 1 not checked, 1 passed"));
        assert!(table.contains("of any terminal that there is\n  -> kubectl etcd defrag\n"), "{table}");
        assert!(!table.contains("voting members") && report().table(true).contains("all 3 voting members answer"));
    }

    #[test]
    fn where_all_pass_there_is_one_line() {
        let healthy = Report::of("prod", Timestamp::UNIX_EPOCH, vec![finding("quorum", Severity::Ok, &["all answer"])]);
        assert_eq!(healthy.table(false), "0 errors, 0 warnings, 0 not checked, 1 passed\n");
        assert!(healthy.table(true).starts_with("CHECK"));
    }

    #[test]
    fn data_has_every_check_and_what_all_come_to() {
        let json = serde_json::to_value(report()).expect("JSON");
        assert_eq!(
            (&json["kind"], &json["verdict"], &json["cluster"]),
            (&"Doctor".into(), &"error".into(), &"prod".into())
        );
        assert_eq!(json["checks"].as_array().map(Vec::len), Some(4));
        assert_eq!(json["checks"][1]["severity"], "unknown");
        assert_eq!(json["summary"], serde_json::json!({"errors": 1, "warnings": 1, "unknown": 1, "passed": 1}));
    }
}
