//! A restore drill in the cluster: a CronJob whose pod has etcd's own image, and runs a copy of the sidecar there. Pure.
//!
//! etcd's image has no shell and no cp, so the sidecar goes to etcd, and not etcd to the sidecar: an init container of the sidecar's image copies
//! itself to a volume of the pod.

use std::time::Duration;

use serde_json::{Value, json};

use super::cadence::short;
use super::objects::{DRILL, Pod, Tick, confined, cron_job};
use super::plan::{Plan, image, own, quantity, usage};
use crate::connection::parse_age;
use crate::output::Outcome;

/// Flags of the drill.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Restore drill")]
pub(crate) struct DrillArgs {
    /// Also prove regularly, in the cluster, that a real etcd serves the newest backup: weekly, daily, or a schedule of cron ("0 3 * * 6")
    #[arg(long, value_name = "WHEN", requires = "drill_etcd_image")]
    drill: Option<String>,
    /// Image of the cluster's etcd, which serves the backup in the drill, as its static pod names it: registry.k8s.io/etcd:VERSION
    #[arg(long, value_name = "REF", requires = "drill")]
    drill_etcd_image: Option<String>,
    /// Secret whose key "identity" is the age identity that decrypts the backups: the private key is in the cluster then
    #[arg(long, value_name = "NAME", requires = "drill")]
    drill_identity_secret: Option<String>,
    /// Age from which on the newest backup that was drilled is too old: 36h, 15d [default: twice the period]
    #[arg(long, value_name = "DURATION", value_parser = parse_age, requires = "drill")]
    drill_max_age: Option<Duration>,
    /// Room for a drill on the disk of its node: twice the size of the snapshot and 128 MB
    #[arg(long, value_name = "QUANTITY", default_value = "20Gi")]
    drill_size: String,
}

impl DrillArgs {
    /// Whether there is a drill.
    pub(crate) fn is_on(&self) -> bool {
        self.drill.is_some()
    }
}

/// When a drill is made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum When {
    /// Once in so many days, at a time that is the same for the same store and namespace.
    Days(u64),
    /// As cron says.
    Cron(String),
}

/// A drill that is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drill {
    when: When,
    etcd_image: String,
    /// Secret of the identity; none: backups are not encrypted.
    pub(super) identity: Option<String>,
    /// Age from which on the newest drilled backup is too old.
    pub(super) max_age: Duration,
    size: String,
}

const DAY: u64 = 24 * 3600;

impl Drill {
    /// Checks arguments; nothing without `--drill`. `encrypts`: whether backups are encrypted; `signs` and `trusts`: whether they are signed, and
    /// whether there is a key to check that with.
    ///
    /// # Errors
    /// Exit 2: a value that no cluster would take, or a drill that could not read or prove a backup.
    pub(super) fn of(args: &DrillArgs, encrypts: bool, signs: bool, trusts: bool) -> Outcome<Option<Drill>> {
        let (Some(text), Some(etcd_image)) = (&args.drill, &args.drill_etcd_image) else { return Ok(None) };
        let when = when(text)?;
        let max_age = match (&when, args.drill_max_age) {
            (_, Some(age)) => age,
            (When::Days(days), None) => Duration::from_secs(2 * days * DAY),
            (When::Cron(_), None) => {
                return Err(usage(
                    "--drill is a schedule of cron: say from which age on the newest drilled backup is too old",
                )
                .hint("twice the time between two drills, such as\n  --drill-max-age 336h"));
            }
        };
        if let When::Days(days) = when
            && max_age.as_secs() <= days * DAY
        {
            return Err(usage(format!(
                "--drill-max-age {}: every drill would be too old before the next one",
                short(max_age)
            )));
        }
        let identity = match (encrypts, &args.drill_identity_secret) {
            (true, Some(name)) => Some(own("--drill-identity-secret", name)?),
            (false, None) => None,
            (true, None) => {
                return Err(usage("the backups are encrypted, and a drill in the cluster has no identity to decrypt them")
                    .cause("with one, whoever can read Secrets there can read all backups")
                    .hint("name a Secret, or leave --drill out and run kubectl etcd drill elsewhere\n  --drill-identity-secret NAME"));
            }
            (false, Some(_)) => {
                return Err(usage("--drill-identity-secret has no effect: the backups are not encrypted"));
            }
        };
        if signs && !trusts {
            return Err(usage("backups are signed, and the drill is given no key to check the signatures with")
                .hint("name the public key of the Secret\n  --trust-key FILE"));
        }
        let (etcd_image, size) =
            (image("--drill-etcd-image", etcd_image)?, quantity("--drill-size", &args.drill_size)?);
        Ok(Some(Drill { when, etcd_image, identity, max_age, size }))
    }

    fn cron(&self, number: u32) -> String {
        // Neither at the time of a backup, nor of a deletion.
        let number = number.rotate_left(8);
        let (minute, hour, day) = (number % 60, number / 60 % 24, number / 1440 % 7);
        match &self.when {
            When::Days(1) => format!("{minute} {hour} * * *"),
            When::Days(_) => format!("{minute} {hour} * * {day}"),
            When::Cron(text) => text.clone(),
        }
    }
}

fn when(text: &str) -> Outcome<When> {
    match text {
        "daily" => return Ok(When::Days(1)),
        "weekly" => return Ok(When::Days(7)),
        _ => {}
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
    let good = fields.len() == bounds.len() && fields.iter().zip(bounds).all(|(field, bounds)| is_field(field, bounds));
    match good {
        true => Ok(When::Cron(fields.join(" "))),
        false => Err(usage(format!(
            "--drill {text:?}: expected weekly, daily, or the five fields of cron in figures, as in \"0 3 * * 6\""
        ))),
    }
}

/// A field of cron: `*`, `7`, `1-5`, each with `/STEP`, or several with commas.
fn is_field(field: &str, (least, most): (u32, u32)) -> bool {
    let number = |text: &str| {
        let plain = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &u32| plain && (least..=most).contains(number))
    };
    field.split(',').all(|part| {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step_is_good = step.is_none_or(|step| step.parse().is_ok_and(|step: u32| (1..=most).contains(&step)));
        let range_is_good = match range.split_once('-') {
            _ if range == "*" => true,
            None => number(range).is_some(),
            Some((from, to)) => number(from).zip(number(to)).is_some_and(|(from, to)| from <= to),
        };
        step_is_good && range_is_good
    })
}

/// Where the copy of the sidecar is, in both containers.
const PROGRAM: &str = "/program";
/// Where the drill is.
const DATA: &str = "/drill";
const IDENTITY: &str = "/etc/kubectl-etcd/identity";
const SIGN: &str = "/etc/kubectl-etcd/sign";

/// The CronJob. Nothing of a node is seen by its pod, and nobody reaches the etcd in it: that listens on no port.
pub(super) fn cron(plan: &Plan, drill: &Drill) -> Value {
    let mut pod = Pod::new(plan, "drill");
    if let Some(cluster) = &plan.cluster {
        pod.arg("cluster-uid", cluster);
    }
    // Only this container has the volume, and its user is not the owner of the files.
    if let Some(secret) = &drill.identity {
        pod.arg("identity", format!("{IDENTITY}/identity"));
        pod.secret("identity", secret, IDENTITY, 0o444);
    }
    pod.trust(plan);
    pod.arg("etcd", "/usr/local/bin/etcd");
    pod.arg("data-dir", DATA);
    pod.empty("data", DATA, &drill.size);
    pod.flag("attest");
    if let Some(secret) = &plan.sign_key {
        pod.arg("sign-key", format!("{SIGN}/key"));
        pod.secret("sign", secret, SIGN, 0o444);
    }
    pod.read_only("program", PROGRAM, json!({"emptyDir": {"sizeLimit": "256Mi"}}));
    let resources = json!({"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "4Gi"}});
    let mut spec = pod.spec(plan, plan.credential.as_deref(), confined(), resources);
    let container = &mut spec["containers"][0];
    container["name"] = json!("drill");
    container["image"] = json!(drill.etcd_image);
    container["imagePullPolicy"] = json!("IfNotPresent");
    container["command"] = json!([format!("{PROGRAM}/etcd-sidecar")]);
    spec["initContainers"] = json!([{
        "name": "etcd-sidecar",
        "image": plan.image,
        "imagePullPolicy": plan.pull_policy,
        "args": ["install", PROGRAM],
        "securityContext": confined(),
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [{"name": "program", "mountPath": PROGRAM}],
    }]);
    let late = 6 * 3600;
    cron_job(plan, &Tick { name: DRILL, schedule: drill.cron(plan.number()), late, longest: 6 * 3600 }, spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_a_word_or_five_fields() {
        assert_eq!(when("weekly").unwrap(), When::Days(7));
        assert_eq!(when("daily").unwrap(), When::Days(1));
        for good in ["0 3 * * 6", "*/15 0-6/2 1,15 * 1-5", "59 23 31 12 7"] {
            assert_eq!(when(good).unwrap(), When::Cron(good.to_owned()));
        }
        for wrong in [
            "",
            "monthly",
            "@weekly",
            "0 3 * *",
            "0 3 * * * *",
            "60 3 * * *",
            "0 24 * * *",
            "0 3 0 * *",
            "0 3 * * 8",
            "5-1 3 * * *",
            "*/0 3 * * *",
            "0 3 * * sun",
            "-1 3 * * *",
            "1- 3 * * *",
            "+1 3 * * *",
            "1,,2 3 * * *",
            "* * * * *\n- x",
        ] {
            let said = when(wrong).unwrap_err();
            assert!(said.message.contains("expected weekly, daily"), "{wrong:?}");
        }
    }

    #[test]
    fn a_time_is_the_same_for_the_same_number() {
        let drill = |when| Drill {
            when,
            etcd_image: "e".to_owned(),
            identity: None,
            max_age: Duration::from_secs(1),
            size: "1Gi".to_owned(),
        };
        for number in [0, 7, 123_456, u32::MAX] {
            for days in [1, 7] {
                let cron = drill(When::Days(days)).cron(number);
                assert!(when(&cron).is_ok(), "{cron}");
                assert_eq!(cron.ends_with("* * *"), days == 1, "{cron}");
            }
        }
        assert_eq!(drill(When::Cron("0 3 * * 6".to_owned())).cron(7), "0 3 * * 6");
    }
}
