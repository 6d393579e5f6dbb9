//! Freshness as metrics, in Prometheus' text format 0.0.4.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::freshness::{Newest, State};
use crate::{ClusterUid, Freshness, Level};

/// One metric: its name, its help, and its value for a cluster, if there is one.
type Metric = (&'static str, &'static str, fn(&Freshness) -> Option<f64>);

const METRICS: [Metric; 8] = [
    (
        "kubectl_etcd_backup_check_success",
        "Whether the store could be asked, and clocks agree. While this is 0, nothing is known of backups.",
        |found| Some(f64::from(u8::from(found.state != State::CannotTell))),
    ),
    ("kubectl_etcd_backup_fresh", "Whether the newest backup that counts is young enough.", |found| {
        (found.state != State::CannotTell).then(|| f64::from(u8::from(found.state == State::Fresh)))
    }),
    ("kubectl_etcd_backup_age_seconds", "Age of the newest backup that counts.", |found| {
        of(found, |newest| newest.age.as_secs_f64())
    }),
    (
        "kubectl_etcd_backup_timestamp_seconds",
        "Time of the newest backup that counts, in seconds since 1970.",
        |found| of(found, |newest| newest.backup.time().as_second() as f64),
    ),
    ("kubectl_etcd_backup_size_bytes", "Size of the newest backup that counts, as it is stored.", |found| {
        of(found, |newest| newest.backup.size as f64)
    }),
    ("kubectl_etcd_backup_revision", "Revision of etcd in the newest backup that counts.", |found| {
        of(found, |newest| newest.revision() as f64)
    }),
    (
        "kubectl_etcd_backup_level",
        "How much of the newest backup that counts is proved: 1 written, 2 read, 3 opened, 4 booted.",
        |found| of(found, |newest| Level::ALL.iter().filter(|level| **level < newest.level).count() as f64),
    ),
    (
        "kubectl_etcd_backup_suspects",
        "Backups that are suspect: planted, from the future, backdated or incomplete.",
        |found| (found.state != State::CannotTell).then_some(found.suspects as f64),
    ),
];

fn of(found: &Freshness, value: impl Fn(&Newest) -> f64) -> Option<f64> {
    found.newest.as_ref().map(value)
}

/// The metrics of clusters, each with its name if that is known.
pub fn text<'a>(
    clusters: impl IntoIterator<Item = (&'a ClusterUid, Option<&'a str>, &'a Freshness)> + Clone,
) -> String {
    write(clusters.into_iter().map(|(uid, cluster, found)| (uid.as_str(), cluster, found)).collect::<Vec<_>>())
}

fn write<'a>(clusters: impl IntoIterator<Item = (&'a str, Option<&'a str>, &'a Freshness)> + Clone) -> String {
    let mut text = String::new();
    for (name, help, value) in METRICS {
        // Writing to a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (uid, cluster, found) in clusters.clone() {
            if let Some(value) = value(found) {
                let cluster = label(cluster.unwrap_or_default());
                let _ = writeln!(text, "{name}{{cluster_uid=\"{uid}\",cluster=\"{cluster}\"}} {value}");
            }
        }
    }
    text
}

/// When the newest backup was taken of which a good proof says that it was decrypted and checked, of clusters that have one: the rest of what
/// is known of them is [`text`].
pub fn opened<'a>(clusters: impl IntoIterator<Item = (&'a ClusterUid, Option<&'a str>, Timestamp)>) -> String {
    times("kubectl_etcd_backup_opened_timestamp_seconds", "was decrypted and checked", clusters)
}

/// The same of the newest backup that a real etcd has served.
pub fn booted<'a>(clusters: impl IntoIterator<Item = (&'a ClusterUid, Option<&'a str>, Timestamp)>) -> String {
    times("kubectl_etcd_backup_booted_timestamp_seconds", "a real etcd has served", clusters)
}

fn times<'a>(
    name: &str,
    what: &str,
    clusters: impl IntoIterator<Item = (&'a ClusterUid, Option<&'a str>, Timestamp)>,
) -> String {
    let help = format!("Time of the newest backup that {what}, in seconds since 1970.");
    let mut text = format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
    for (uid, cluster, time) in clusters {
        let cluster = label(cluster.unwrap_or_default());
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name}{{cluster_uid=\"{uid}\",cluster=\"{cluster}\"}} {}", time.as_second());
    }
    text
}

/// The metrics of a store of which no cluster is known: it could not be listed, or has none.
pub fn text_of_store(found: &Freshness) -> String {
    write([("", None, found)])
}

/// A label's value: what a record calls a cluster may have any characters.
fn label(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_has_no_value() {
        let uid: ClusterUid = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d".parse().unwrap();
        let found = Freshness::cannot_tell("no answer".to_owned());
        let text = text([(&uid, Some("a\"\\\n\u{7}b"), &found)]);
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let label = "cluster=\"a\\\"\\\\\\n\u{fffd}b\"";
        assert_eq!(values, [format!("kubectl_etcd_backup_check_success{{cluster_uid=\"{uid}\",{label}}} 0")]);
        assert_eq!(text.matches("# TYPE ").count(), METRICS.len());
        assert!(
            text_of_store(&found).contains("\nkubectl_etcd_backup_check_success{cluster_uid=\"\",cluster=\"\"} 0\n")
        );
        let none = Freshness { state: State::None, ..found };
        let text = self::text([(&uid, None, &none)]);
        assert!(
            text.contains(&format!("kubectl_etcd_backup_fresh{{cluster_uid=\"{uid}\",cluster=\"\"}} 0\n")),
            "{text}"
        );
    }
}
