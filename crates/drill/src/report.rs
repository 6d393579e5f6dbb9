//! What a drill came to, as data (docs/DRILL.md).

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::checks::{self, Check};
use crate::clock::Clock;

/// Of the documents of these programs.
pub(crate) const API_VERSION: &str = "kubectl-etcd/v1";

/// The whole document.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drill {
    /// `kubectl-etcd/v1`.
    pub api_version: Cow<'static, str>,
    /// `Drill`.
    pub kind: Cow<'static, str>,
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
    /// The cluster's own API server on that etcd, where one was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<ApiServer>,
}

/// Whether the backup can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Serialize, Deserialize)]
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
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Etcd {
    /// Where the program lies.
    pub path: String,
    /// Its version.
    pub version: String,
    /// The image that the program is of, where it ran in a pod or a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image by its content, where it ran in a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// What ran the container: `docker` or `podman`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The node of that pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Who has drilled, and where.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct By {
    /// The program.
    pub program: Cow<'static, str>,
    /// Its version.
    pub version: Cow<'static, str>,
    /// The user, by the environment.
    pub user: Option<String>,
    /// The name of the machine.
    pub host: Option<String>,
    /// Operating system and processor.
    pub platform: String,
}

impl By {
    /// This machine, and this user of it.
    #[must_use]
    pub fn here(program: &'static str, version: &'static str) -> By {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        By {
            program: program.into(),
            version: version.into(),
            user: ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()),
            host: host.or_else(|| std::env::var("HOSTNAME").ok()).map(|name| name.trim().to_owned()),
            platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// What would have been lost: the age of the backup when the drill began.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rpo {
    /// `None`: the time of the backup was not recorded.
    pub seconds: Option<i64>,
}

impl Rpo {
    pub(crate) fn of(taken_at: Option<&str>, begun: Timestamp) -> Rpo {
        let taken = taken_at.and_then(|at| at.parse::<Timestamp>().ok());
        Rpo { seconds: taken.map(|taken| begun.as_second() - taken.as_second()) }
    }
}

/// How long it took.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rto {
    /// From the beginning until etcd served the snapshot.
    pub seconds: f64,
    /// One after the other. The last ones come after etcd has served, and are not part of the sum.
    pub phases: Vec<Phase>,
}

impl Rto {
    pub(crate) fn of(phases: Vec<Phase>) -> Rto {
        let millis: f64 = phases.iter().filter(|phase| phase.counts).map(|phase| phase.seconds * 1000.0).sum();
        Rto { seconds: millis.round() / 1000.0, phases }
    }
}

/// A part of the drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Which.
    pub name: Cow<'static, str>,
    /// How long it took.
    pub seconds: f64,
    /// Whether it comes before etcd serves.
    pub counts: bool,
}

/// What became of one object of a resource.
#[derive(Debug, Serialize, Deserialize)]
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
#[derive(Debug, Serialize, Deserialize)]
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

/// An API server that was started on the etcd of the drill, and what it lists.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiServer {
    /// As it prints it: `v1.36.2`.
    pub version: String,
    /// The image that its program is of.
    pub image: String,
    /// From its start until it was ready; nothing if it was not.
    pub ready_seconds: Option<f64>,
    /// How many objects it has listed.
    pub objects: u64,
    /// The worst of the results of its resources, or what it means that it could not be asked.
    pub result: Listing,
    /// Why it could not be asked.
    pub reason: Option<String>,
    /// What became of every resource that it serves or that the file has.
    pub resources: Vec<Listed>,
}

/// What became of the list of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// As in `deployments.apps`.
    pub resource: String,
    /// In which version it was listed, as in `apps/v1`; nothing if it is not served.
    pub version: Option<String>,
    /// How many objects the file has of it.
    pub objects: u64,
    /// How many were listed; nothing if it could not be.
    pub listed: Option<u64>,
    /// What became of it.
    pub result: Listing,
    /// Why, or what is worth knowing of it.
    pub reason: Option<String>,
}

/// What became of a list. Later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Listing {
    /// The API server lists what etcd has.
    Listed,
    /// Nothing could have been listed, or compared, in a drill.
    NotProved,
    /// It cannot be listed, or is not what etcd has.
    Failed,
}

impl Listing {
    /// The word in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Listing::Listed => "listed",
            Listing::NotProved => "not proved",
            Listing::Failed => "failed",
        }
    }
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    api_server: Option<&ApiServer>,
) -> (Verdict, Vec<String>, Vec<String>) {
    let (mut reasons, mut remarks) = (Vec::new(), Vec::new());
    let shown = |text: &Option<String>| text.as_deref().unwrap_or("nothing").to_owned();
    for check in checks {
        let note = check.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        let (name, source) = (&check.name, &check.source);
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
    if let Some(server) = api_server {
        let whole = server.reason.iter().map(|why| (server.result, format!("API server: {why}")));
        let told = server.resources.iter().filter(|one| one.result != Listing::Listed);
        let each = told.map(|one| (one.result, format!("API server: {}: {}", one.resource, shown(&one.reason))));
        for (result, text) in whole.chain(each) {
            if result == Listing::Failed { reasons.push(text) } else { remarks.push(text) }
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
    /// The same drill as seen by the program that has ordered it elsewhere: `by` that program, `begun` when it began, by its own clock, and `clock` the phases
    /// until the other program began.
    #[must_use]
    pub fn ordered(self, by: By, begun: Timestamp, clock: Clock) -> Drill {
        let phases = clock.phases().into_iter().chain(self.rto.phases).collect();
        Drill {
            by,
            started_at: crate::moment(begun),
            ended_at: crate::moment(Timestamp::now()),
            rpo: Rpo::of(self.backup.taken_at.as_deref(), begun),
            rto: Rto::of(phases),
            ..self
        }
    }

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
    fn who_has_ordered_a_drill_tells_it_by_the_own_clock_and_adds_the_time_until_it_began() {
        let text = r#"{"apiVersion": "kubectl-etcd/v1", "kind": "Drill", "verdict": "passed", "reasons": [], "remarks": [],
            "backup": {"file": "a.db", "size": 5, "digest": true, "takenAt": "2026-11-21T06:16:40Z", "revision": 7, "leases": 0, "auth": false},
            "etcd": {"path": "/usr/local/bin/etcd", "version": "3.5.16"},
            "by": {"program": "etcd-sidecar", "version": "9", "user": null, "host": "pod", "platform": "linux/x86_64"},
            "startedAt": "1970-01-01T00:00:00Z", "endedAt": "1970-01-01T00:00:09Z", "rpo": {"seconds": -1},
            "rto": {"seconds": 2.5, "phases": [{"name": "boot", "seconds": 2.5, "counts": true}, {"name": "read", "seconds": 1.0, "counts": false}]},
            "checks": [], "resources": [], "encryption": []}"#;
        let drill: Drill = serde_json::from_str(text).unwrap();
        let begun: Timestamp = "2026-11-21T07:16:40Z".parse().unwrap();
        let mut clock = Clock::new();
        clock.lap("open", true);
        let drill = drill.ordered(By::here("kubectl-etcd", "1"), begun, clock);
        assert_eq!((drill.by.program.as_ref(), drill.started_at.as_str()), ("kubectl-etcd", "2026-11-21T07:16:40Z"));
        assert_eq!(drill.rpo.seconds, Some(3600));
        assert_eq!(
            drill.rto.phases.iter().map(|phase| phase.name.as_ref()).collect::<Vec<_>>(),
            ["open", "boot", "read"]
        );
        assert!((drill.rto.seconds - 2.5 - drill.rto.phases[0].seconds).abs() < 0.0015, "{:?}", drill.rto);
        let again: Drill = serde_json::from_slice(&drill.bytes().unwrap()).unwrap();
        assert_eq!(again.bytes().unwrap(), drill.bytes().unwrap());
    }

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
        let (verdict, reasons, remarks) = judge(&good, std::slice::from_ref(&widgets), &[kms], None);
        assert_eq!((verdict, reasons.len(), remarks.len()), (Verdict::Passed, 0, 2));
        let (verdict, reasons, _) = judge(&[checks::keys(3, 2)], &[], &[], None);
        assert_eq!((verdict, reasons), (Verdict::Failed, vec!["keys: the file has 3, and etcd serves 2".to_owned()]));
        let (verdict, reasons, _) = judge(&good, &[widgets, of("configmaps", Sampled::Failed, "gone")], &[], None);
        assert_eq!((verdict, reasons), (Verdict::Failed, vec!["configmaps: gone".to_owned()]));
    }

    #[test]
    fn what_an_api_server_cannot_list_fails_the_drill() {
        let of = |resource: &str, result, reason: &str| Listed {
            resource: resource.to_owned(),
            version: Some("v1".to_owned()),
            objects: 3,
            listed: None,
            result,
            reason: Some(reason.to_owned()),
        };
        let told = |resources: Vec<Listed>, result, reason: Option<&str>| {
            let (version, image, reason) = ("v1.36.2".to_owned(), "api:1".to_owned(), reason.map(str::to_owned));
            judge(
                &[],
                &[],
                &[],
                Some(&ApiServer { version, image, ready_seconds: None, objects: 0, result, reason, resources }),
            )
        };
        let (listed, secret) =
            (of("leases", Listing::Listed, "1 fewer"), of("secrets", Listing::NotProved, "encrypted"));
        let (verdict, reasons, remarks) = told(vec![listed.clone(), secret.clone()], Listing::NotProved, None);
        assert_eq!(
            (verdict, reasons, remarks),
            (Verdict::Passed, vec![], vec!["API server: secrets: encrypted".to_owned()])
        );
        let (verdict, reasons, _) =
            told(vec![listed, of("pods", Listing::Failed, "gone"), secret], Listing::Failed, None);
        assert_eq!((verdict, reasons), (Verdict::Failed, vec!["API server: pods: gone".to_owned()]));
        let (verdict, reasons, _) = told(vec![], Listing::Failed, Some("it has ended"));
        assert_eq!((verdict, reasons), (Verdict::Failed, vec!["API server: it has ended".to_owned()]));
        assert_eq!(told(vec![], Listing::NotProved, Some("it has ended")).0, Verdict::Passed);
    }
}
