//! What a drill will do. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::output::{API_VERSION, bytes};

/// What was found out before.
#[derive(Debug)]
pub(super) struct Facts {
    /// The backup, as it was typed.
    pub(super) file: String,
    /// Bytes of the snapshot, and whether there may be more: the file is compressed.
    pub(super) size: u64,
    pub(super) at_least: bool,
    /// The program and its version.
    pub(super) etcd: String,
    pub(super) etcd_version: String,
    /// Where the folder is made.
    pub(super) parent: String,
    /// Whether an encryption configuration is given.
    pub(super) decrypts: bool,
    /// Whether what was proved is written into the store.
    pub(super) attests: bool,
}

/// What will be done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    api_version: &'static str,
    kind: &'static str,
    file: String,
    etcd: String,
    etcd_version: String,
    /// The folder in which one is made for the drill.
    data_dir: String,
    /// Bytes that it takes there, at least.
    needs: u64,
    /// In their order.
    steps: Vec<String>,
}

impl Plan {
    /// By what is known.
    pub(super) fn of(facts: Facts) -> Plan {
        let needs = etcd_drill::needs(facts.size);
        let least = if facts.at_least { "at least " } else { "" };
        let mut steps = vec![
            format!("open and verify {}", facts.file),
            format!("restore it to a new folder in {}, which needs {least}{}", facts.parent, bytes(needs)),
            format!(
                "start {} (etcd {}) there, on sockets that only this command can use",
                facts.etcd, facts.etcd_version
            ),
            "compare revision, HashKV, number of keys and kube-system UID with the record".to_owned(),
            "read one object of every resource through etcd".to_owned(),
        ];
        if facts.decrypts {
            steps.push("decrypt one value of every encryption key".to_owned());
        }
        steps.push("stop etcd, and remove the folder".to_owned());
        if facts.attests {
            steps.push("write into the store that a real etcd has served the backup".to_owned());
        }
        Plan {
            api_version: API_VERSION,
            kind: "DrillPlan",
            file: facts.file,
            etcd: facts.etcd,
            etcd_version: facts.etcd_version,
            data_dir: facts.parent,
            needs,
            steps,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("Would do, and changes no cluster:\n");
        for (number, step) in (1..).zip(&self.steps) {
            let _ = writeln!(text, "  {number}. {step}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            file: "a.db".into(),
            size: 1_000_000,
            at_least: false,
            etcd: "/bin/etcd".into(),
            etcd_version: "3.5.16".into(),
            parent: "/tmp".into(),
            decrypts: false,
            attests: false,
        }
    }

    #[test]
    fn a_plan_says_what_is_done_and_only_that() {
        let plain = Plan::of(facts());
        assert_eq!(plain.steps.len(), 6);
        assert!(
            plain.text().contains("  2. restore it to a new folder in /tmp, which needs 129 MB\n"),
            "{}",
            plain.text()
        );
        assert!(plain.text().ends_with("  6. stop etcd, and remove the folder\n"), "{}", plain.text());
        let more = Plan::of(Facts { decrypts: true, attests: true, at_least: true, ..facts() });
        assert_eq!(more.steps.len(), 8);
        assert!(more.steps[1].contains("at least") && more.steps[7].contains("into the store"), "{more:?}");
    }
}
