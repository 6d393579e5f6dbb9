//! What a drill came to, as data (docs/DRILL.md) and as a table.

use std::fmt::Write as _;

use serde::Serialize;

use super::checks::{self, Check};
use crate::output::{Table, bytes, seconds};

/// The whole document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Drill {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) verdict: Verdict,
    /// Why it has failed, a sentence each.
    pub(super) reasons: Vec<String>,
    /// What could not be proved, and what is worth knowing.
    pub(super) remarks: Vec<String>,
    pub(super) backup: Backup,
    pub(super) etcd: Etcd,
    pub(super) by: By,
    pub(super) started_at: String,
    pub(super) ended_at: String,
    pub(super) rpo: Rpo,
    pub(super) rto: Rto,
    pub(super) checks: Vec<Check>,
    pub(super) resources: Vec<Resource>,
    pub(super) encryption: Vec<Encryption>,
}

/// Whether the backup can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    /// etcd serves what was recorded.
    Passed,
    /// It does not.
    Failed,
}

impl Verdict {
    /// The word for people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
        }
    }
}

/// The backup that was drilled.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Backup {
    /// The file, or the backup in its store.
    pub(super) file: String,
    /// SHA-256 of the snapshot file, unpacked, as it was read.
    pub(super) sha256: Option<String>,
    /// Bytes of it.
    pub(super) size: u64,
    /// Whether etcd's own digest at the end of the file vouches for its bytes.
    pub(super) digest: bool,
    /// Name of the cluster, as it was recorded.
    pub(super) cluster: Option<String>,
    pub(super) kube_system_uid: Option<String>,
    /// When the backup began, as it was recorded.
    pub(super) taken_at: Option<String>,
    /// Version of the member that it was taken from, as it was recorded.
    pub(super) etcd_version: Option<String>,
    /// The lowest minor version of etcd that can read the file.
    pub(super) etcd_minor: Option<String>,
    pub(super) revision: i64,
    pub(super) leases: u64,
    /// Whether etcd asks who its clients are.
    pub(super) auth: bool,
    /// Who has signed the record, if a trusted key has.
    pub(super) signer: Option<String>,
}

/// The etcd that has served it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Etcd {
    pub(super) path: String,
    pub(super) version: String,
}

/// Who has drilled, and where.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct By {
    pub(super) program: &'static str,
    pub(super) version: &'static str,
    pub(super) user: Option<String>,
    pub(super) host: Option<String>,
    pub(super) platform: String,
}

/// What would have been lost: the age of the backup when the drill began.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rpo {
    /// `None`: the time of the backup was not recorded.
    pub(super) seconds: Option<i64>,
}

/// How long it took.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rto {
    /// From the beginning until etcd served the snapshot.
    pub(super) seconds: f64,
    /// One after the other. The last ones come after etcd has served, and are not part of the sum.
    pub(super) phases: Vec<Phase>,
}

/// A part of the drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) seconds: f64,
    /// Whether it comes before etcd serves.
    pub(super) counts: bool,
}

/// What became of one object of a resource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource {
    pub(super) resource: String,
    /// How many objects the file has of it.
    pub(super) objects: u64,
    pub(super) result: Sampled,
    /// Why it was not read whole.
    pub(super) reason: Option<String>,
}

/// What became of one value of an encryption key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Encryption {
    /// As values begin with it: `secretbox:v1:key1`. Never the key.
    pub(super) key: String,
    /// How many values the file has of it.
    pub(super) objects: u64,
    pub(super) result: Sampled,
    pub(super) reason: Option<String>,
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Sampled {
    /// It was served by etcd and is an object.
    Read,
    /// It was served, and what it holds could not be proved: it is encrypted, or of a kind that is not known.
    NotProved,
    /// It was not served, or is no object.
    Failed,
}

impl Sampled {
    /// The word in tables.
    pub(super) fn word(self) -> &'static str {
        match self {
            Sampled::Read => "read",
            Sampled::NotProved => "not proved",
            Sampled::Failed => "failed",
        }
    }
}

/// What the checks come to: why the drill has failed, and what was not proved.
pub(super) fn judge(
    checks: &[Check],
    resources: &[Resource],
    encryption: &[Encryption],
) -> (Verdict, Vec<String>, Vec<String>) {
    let (mut reasons, mut remarks) = (Vec::new(), Vec::new());
    let shown = |text: &Option<String>| text.as_deref().unwrap_or("nothing").to_owned();
    for check in checks {
        let note = check.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        let (name, source) = (check.name, check.source);
        match check.result {
            checks::Result::Different => reasons.push(format!(
                "{name}: the {source} has {}, and etcd serves {}{note}",
                shown(&check.expected),
                shown(&check.served)
            )),
            checks::Result::NotProved => remarks.push(format!("{name} is not proved{note}")),
            checks::Result::Equal => {}
        }
    }
    let resources = resources.iter().map(|one| (&one.resource, one.result, &one.reason));
    let encryption = encryption.iter().map(|one| (&one.key, one.result, &one.reason));
    for (name, result, reason) in resources.chain(encryption) {
        match result {
            Sampled::Failed => reasons.push(format!("{name}: {}", shown(reason))),
            Sampled::NotProved => remarks.push(format!("{name}: {}", shown(reason))),
            Sampled::Read => {}
        }
    }
    let verdict = if reasons.is_empty() { Verdict::Passed } else { Verdict::Failed };
    (verdict, reasons, remarks)
}

/// Seconds with three digits behind the point.
pub(super) fn rounded(duration: std::time::Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

impl Drill {
    /// As it is kept in a store.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub(super) fn bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let Backup { file, .. } = &self.backup;
        let mut facts = Table::new(&["CHECK", "EXPECTED", "BY", "SERVED", "RESULT"]);
        for check in &self.checks {
            facts.row(vec![
                check.name.to_owned(),
                check.expected.clone().unwrap_or_default(),
                check.source.to_owned(),
                check.served.clone().unwrap_or_default(),
                check.result.word().to_owned(),
            ]);
        }
        let count = |wanted: Sampled| self.resources.iter().filter(|one| one.result == wanted).count();
        let of_resources = |word: &str, count: usize| match count {
            0 => String::new(),
            count => format!("{count} {word}"),
        };
        let resources: Vec<String> = [Sampled::Read, Sampled::NotProved, Sampled::Failed]
            .into_iter()
            .map(|wanted| of_resources(wanted.word(), count(wanted)))
            .filter(|text| !text.is_empty())
            .collect();
        let _ = writeln!(text, "{facts}");
        if !self.resources.is_empty() {
            let _ =
                writeln!(text, "One object of each of {} resources: {}", self.resources.len(), resources.join(", "));
        }
        for one in &self.encryption {
            let _ = writeln!(text, "One value of encryption key {}: {}", one.key, one.result.word());
        }
        let rpo = match self.rpo.seconds {
            Some(age) => format!("RPO {}", seconds(age)),
            None => "RPO not known: the time of the backup was not recorded".to_owned(),
        };
        let phases: Vec<String> =
            self.rto.phases.iter().map(|phase| format!("{} {:.3}s", phase.name, phase.seconds)).collect();
        let _ = writeln!(text, "{rpo}\nRTO {:.3}s ({})", self.rto.seconds, phases.join(", "));
        let serves = match self.verdict {
            Verdict::Passed => "serves",
            Verdict::Failed => "does not serve",
        };
        let _ = writeln!(
            text,
            "\nDrill {}: etcd {serves} {file} as recorded (etcd {}, {}, revision {})",
            self.verdict.word(),
            self.etcd.version,
            bytes(self.backup.size),
            self.backup.revision
        );
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A drill with something of everything.
    pub(crate) fn sample() -> Drill {
        let read = |resource: &str, objects, result, reason: Option<&str>| Resource {
            resource: resource.to_owned(),
            objects,
            result,
            reason: reason.map(str::to_owned),
        };
        let resources = vec![
            read("configmaps", 12, Sampled::Read, None),
            read("widgets.example.com", 3, Sampled::NotProved, Some("a <kind> that is not known")),
        ];
        let encryption = vec![
            Encryption { key: "aescbc:v1:key1".into(), objects: 4, result: Sampled::Read, reason: None },
            Encryption {
                key: "kms:v2:vault".into(),
                objects: 9,
                result: Sampled::NotProved,
                reason: Some("encrypted by kms:v2:vault: only that KMS can decrypt it".into()),
            },
        ];
        let checks = vec![
            checks::revision(&checks::Expected::of(Some(48211), 1), 48211, 0),
            checks::hash_kv(&checks::Expected::of(None, 3735928559), 3735928559, Ok(())),
            checks::keys(31, 31),
            checks::cluster(&checks::Expected::of(None, Some("5f0c".into())), Ok("5f0c".into())),
        ];
        let (verdict, reasons, remarks) = judge(&checks, &resources, &encryption);
        Drill {
            api_version: crate::output::API_VERSION,
            kind: "Drill",
            verdict,
            reasons,
            remarks,
            backup: Backup {
                file: "etcd-<prod>&\"1\".db".into(),
                sha256: Some("ab12".into()),
                size: 20_512,
                digest: true,
                cluster: Some("prod-eu".into()),
                kube_system_uid: Some("5f0c".into()),
                taken_at: Some("2026-11-27T03:15:00Z".into()),
                etcd_version: Some("3.5.16".into()),
                etcd_minor: Some("3.5".into()),
                revision: 48211,
                leases: 2,
                auth: false,
                signer: None,
            },
            etcd: Etcd { path: "/usr/bin/etcd".into(), version: "3.5.16".into() },
            by: By {
                program: "kubectl-etcd",
                version: "0.1.0",
                user: Some("admin".into()),
                host: Some("bastion".into()),
                platform: "linux/x86_64".into(),
            },
            started_at: "2026-11-27T06:15:00Z".into(),
            ended_at: "2026-11-27T06:15:04Z".into(),
            rpo: Rpo { seconds: Some(10_800) },
            rto: Rto {
                seconds: 3.25,
                phases: vec![
                    Phase { name: "open", seconds: 0.5, counts: true },
                    Phase { name: "boot", seconds: 2.75, counts: true },
                    Phase { name: "read", seconds: 0.125, counts: false },
                ],
            },
            checks,
            resources,
            encryption,
        }
    }

    #[test]
    fn one_difference_fails_the_drill_and_what_is_not_proved_is_told() {
        let mut drill = sample();
        assert_eq!((drill.verdict, drill.reasons.len(), drill.remarks.len()), (Verdict::Passed, 0, 2));
        drill.checks.push(checks::keys(3, 2));
        let (verdict, reasons, _) = judge(&drill.checks, &drill.resources, &drill.encryption);
        assert_eq!((verdict, reasons), (Verdict::Failed, vec!["keys: the file has 3, and etcd serves 2".to_owned()]));
        drill.checks.pop();
        drill.resources[0] =
            Resource { result: Sampled::Failed, reason: Some("gone".into()), ..drill.resources.remove(0) };
        let (verdict, reasons, _) = judge(&drill.checks, &drill.resources, &drill.encryption);
        assert_eq!((verdict, reasons), (Verdict::Failed, vec!["configmaps: gone".to_owned()]));
    }

    #[test]
    fn the_table_says_what_a_person_asks() {
        let text = sample().text();
        for part in [
            "hashKv          3735928559   file     3735928559   equal",
            "One object of each of 2 resources: 1 read, 1 not proved",
            "One value of encryption key kms:v2:vault: not proved",
            "RPO 3h",
            "RTO 3.250s (open 0.500s, boot 2.750s, read 0.125s)",
            "Drill passed: etcd serves etcd-<prod>&\"1\".db as recorded (etcd 3.5.16, 21 kB, revision 48211)",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
