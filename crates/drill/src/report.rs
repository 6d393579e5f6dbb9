//! What a drill came to, as data (docs/DRILL.md).

use serde::Serialize;

use crate::checks::{self, Check};

/// Of the documents of these programs.
pub(crate) const API_VERSION: &str = "kubectl-etcd/v1";

/// The whole document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drill {
    /// `kubectl-etcd/v1`.
    pub api_version: &'static str,
    /// `Drill`.
    pub kind: &'static str,
    /// Whether the backup can be relied on.
    pub verdict: Verdict,
    /// Why it has failed, a sentence each.
    pub reasons: Vec<String>,
    /// What could not be proved, and what is worth knowing.
    pub remarks: Vec<String>,
    /// What was drilled.
    pub backup: Backup,
    /// What has served it.
    pub etcd: Etcd,
    /// Who has drilled.
    pub by: By,
    /// When it began, UTC.
    pub started_at: String,
    /// When it ended, UTC.
    pub ended_at: String,
    /// How old the backup was.
    pub rpo: Rpo,
    /// How long it took.
    pub rto: Rto,
    /// The comparisons.
    pub checks: Vec<Check>,
    /// One object of every resource.
    pub resources: Vec<Resource>,
    /// One value of every encryption key.
    pub encryption: Vec<Encryption>,
}

/// Whether the backup can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// etcd serves what was recorded.
    Passed,
    /// It does not.
    Failed,
}

impl Verdict {
    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
        }
    }
}

/// The backup that was drilled.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// The file, or the backup in its store.
    pub file: String,
    /// SHA-256 of the snapshot file, unpacked, as it was read.
    pub sha256: Option<String>,
    /// Bytes of it.
    pub size: u64,
    /// Whether etcd's own digest at the end of the file vouches for its bytes.
    pub digest: bool,
    /// Name of the cluster, as it was recorded.
    pub cluster: Option<String>,
    /// UID of namespace kube-system, as etcd serves it.
    pub kube_system_uid: Option<String>,
    /// When the backup began, as it was recorded.
    pub taken_at: Option<String>,
    /// Version of the member that it was taken from, as it was recorded.
    pub etcd_version: Option<String>,
    /// The lowest minor version of etcd that can read the file.
    pub etcd_minor: Option<String>,
    /// Revision of the snapshot.
    pub revision: i64,
    /// How many leases it has.
    pub leases: u64,
    /// Whether etcd asks who its clients are.
    pub auth: bool,
    /// Who has signed the record, if a trusted key has.
    pub signer: Option<String>,
}

/// The etcd that has served it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Etcd {
    /// Where the program lies.
    pub path: String,
    /// Its version.
    pub version: String,
}

/// Who has drilled, and where.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct By {
    /// The program.
    pub program: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The user, by the environment.
    pub user: Option<String>,
    /// The name of the machine.
    pub host: Option<String>,
    /// Operating system and processor.
    pub platform: String,
}

/// What would have been lost: the age of the backup when the drill began.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rpo {
    /// `None`: the time of the backup was not recorded.
    pub seconds: Option<i64>,
}

/// How long it took.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rto {
    /// From the beginning until etcd served the snapshot.
    pub seconds: f64,
    /// One after the other. The last ones come after etcd has served, and are not part of the sum.
    pub phases: Vec<Phase>,
}

/// A part of the drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Which.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// Whether it comes before etcd serves.
    pub counts: bool,
}

/// What became of one object of a resource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// As in `deployments.apps`.
    pub resource: String,
    /// How many objects the file has of it.
    pub objects: u64,
    /// What became of it.
    pub result: Sampled,
    /// Why it was not read whole.
    pub reason: Option<String>,
}

/// What became of one value of an encryption key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// As values begin with it: `secretbox:v1:key1`. Never the key.
    pub key: String,
    /// How many values the file has of it.
    pub objects: u64,
    /// What became of it.
    pub result: Sampled,
    /// Why it was not read whole.
    pub reason: Option<String>,
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Sampled {
    /// It was served by etcd and is an object.
    Read,
    /// It was served, and what it holds could not be proved: it is encrypted, or of a kind that is not known.
    NotProved,
    /// It was not served, or is no object.
    Failed,
}

impl Sampled {
    /// The word in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Sampled::Read => "read",
            Sampled::NotProved => "not proved",
            Sampled::Failed => "failed",
        }
    }
}

/// What the checks come to: why the drill has failed, and what was not proved.
pub(crate) fn judge(
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
pub(crate) fn rounded(duration: std::time::Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

impl Drill {
    /// As it is kept in a store.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_difference_fails_the_drill_and_what_is_not_proved_is_told() {
        let of = |resource: &str, result, reason: &str| Resource {
            resource: resource.to_owned(),
            objects: 3,
            result,
            reason: Some(reason.to_owned()),
        };
        let good = [checks::keys(31, 31)];
        let widgets = of("widgets.example.com", Sampled::NotProved, "a kind that is not known");
        let kms = Encryption { key: "kms:v2:vault".into(), objects: 9, result: Sampled::NotProved, reason: None };
        let (verdict, reasons, remarks) = judge(&good, std::slice::from_ref(&widgets), &[kms]);
        assert_eq!((verdict, reasons.len(), remarks.len()), (Verdict::Passed, 0, 2));
        let (verdict, reasons, _) = judge(&[checks::keys(3, 2)], &[], &[]);
        assert_eq!((verdict, reasons), (Verdict::Failed, vec!["keys: the file has 3, and etcd serves 2".to_owned()]));
        let (verdict, reasons, _) = judge(&good, &[widgets, of("configmaps", Sampled::Failed, "gone")], &[]);
        assert_eq!((verdict, reasons), (Verdict::Failed, vec!["configmaps: gone".to_owned()]));
    }
}
