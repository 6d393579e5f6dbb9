//! Alerts for Prometheus.

use serde_json::{Value, json};

use super::cadence::short;
use super::objects::{BACKUP, DRILL, metadata};
use super::plan::Plan;

/// Days after which a key counts as not proven.
const PROVEN: u64 = 30;

fn alert(name: &str, expr: String, held: &str, severity: &str, summary: &str, description: String) -> Value {
    json!({
        "alert": name,
        "expr": expr,
        "for": held,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    })
}

/// The alerts that are asked for by a plan.
pub(super) fn rule(plan: &Plan) -> Value {
    let here = format!("{{namespace=\"{}\"}}", plan.namespace);
    let namespace = &plan.namespace;
    let max = plan.max_age.as_secs();
    let mut rules = vec![
        alert(
            "EtcdBackupStale",
            format!("kubectl_etcd_backup_age_seconds{here} > {max}"),
            "1m",
            "critical",
            "The newest backup of etcd is too old",
            format!(
                "The newest backup of cluster {{{{ $labels.cluster }}}} ({{{{ $labels.cluster_uid }}}}) that counts is \
                 {{{{ $value | humanizeDuration }}}} old; at most {} is asked for. See the Jobs of CronJob {BACKUP} in namespace {namespace}.",
                short(plan.max_age)
            ),
        ),
        alert(
            "EtcdBackupAbsent",
            format!(
                "kubectl_etcd_watch_clusters{here} == 0 or (kubectl_etcd_backup_fresh{here} == 0 unless kubectl_etcd_backup_age_seconds{here})"
            ),
            "15m",
            "critical",
            "There is no backup of etcd that counts",
            format!("The store has no backup that is complete, proved and trusted. See the Jobs of CronJob {BACKUP} in namespace {namespace}."),
        ),
        alert(
            "EtcdBackupUnknown",
            format!("kubectl_etcd_watch_success{here} == 0"),
            "30m",
            "warning",
            "The age of the backups of etcd cannot be told",
            format!("The store does not answer, or a clock is wrong. The log of Deployment etcd-backup-watch in namespace {namespace} says why."),
        ),
        alert(
            "EtcdBackupWatchAbsent",
            format!("absent(kubectl_etcd_watch_success{here})"),
            "15m",
            "critical",
            "Nothing watches the backups of etcd",
            format!("Prometheus has no metrics of Deployment etcd-backup-watch in namespace {namespace}."),
        ),
        alert(
            "EtcdBackupSuspect",
            format!("kubectl_etcd_backup_suspects{here} > 0"),
            "5m",
            "warning",
            "Something in the store of backups is suspect",
            "{{ $value }} backups are planted, from the future, backdated or incomplete: kubectl etcd list STORE names them.".to_owned(),
        ),
    ];
    if plan.encryption.is_on() {
        let opened = format!("kubectl_etcd_backup_opened_timestamp_seconds{here}");
        rules.push(alert(
            "EtcdBackupKeyNotProven",
            format!("time() - {opened} > {} or (kubectl_etcd_backup_fresh{here} unless {opened})", PROVEN * 24 * 3600),
            "1h",
            "warning",
            "No backup of etcd was decrypted and checked lately",
            format!(
                "No backup of the last {PROVEN} days was decrypted and checked: \
                 kubectl etcd verify STORE/latest --identity FILE --attest does that, and records it."
            ),
        ));
    }
    if let Some(drill) = &plan.drill {
        let booted = format!("kubectl_etcd_backup_booted_timestamp_seconds{here}");
        let most = drill.max_age.as_secs();
        rules.push(alert(
            "EtcdBackupNotDrilled",
            format!("time() - {booted} > {most} or (kubectl_etcd_backup_fresh{here} unless {booted})"),
            "1h",
            "warning",
            "No backup of etcd was restored and served by an etcd lately",
            format!(
                "The newest backup that passed a restore drill is older than {}, or there is none. See the Jobs of CronJob {DRILL} in namespace \
                 {namespace}.",
                short(drill.max_age)
            ),
        ));
    }
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata(plan, BACKUP),
        "spec": {"groups": [{"name": BACKUP, "rules": rules}]},
    })
}
