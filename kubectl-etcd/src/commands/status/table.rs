//! What `status` tells, for people.

use std::fmt::Write as _;

use super::full::next_steps;
use super::report::{Report, Row};
use crate::etcd_clusters::{EtcdCluster, EtcdClusters};
use crate::output::{Table, bytes, seconds};
use crate::sidecar::Via;

/// In a cell of which nothing is known, or that has no meaning in its row.
const NONE: &str = "-";

impl Report {
    /// The members, and the state of each cluster below them. The plain table stays below 80 columns, with names of 20 letters.
    pub(super) fn table(&self, wide: bool) -> String {
        let several = self.clusters.len() > 1;
        let mut headers = vec!["NAME", "ROLE", "VERSION", "SIZE", "LAG", "ALARMS", "CERTS"];
        match (several, wide) {
            (true, false) => headers[2] = "CONTENTS",
            (true, true) => drop(headers.splice(1..1, ["CLUSTER", "CONTENTS"])),
            _ => {}
        }
        if wide {
            headers.extend(["IN-USE", "QUOTA", "REVISION", "TERM", "INDEX", "ID", "NODE", "ENDPOINT", "VIA"]);
        }
        let mut table = Table::new(&headers);
        for row in &self.members {
            let mut cells = row.cells();
            let cluster = self.clusters.iter().find(|cluster| Some(&cluster.id) == row.cluster_id.as_ref());
            let contents = text(cluster.and_then(|cluster| cluster.contents.as_ref()));
            match (several, wide) {
                (true, false) => cells[2] = contents,
                (true, true) => drop(cells.splice(1..1, [text(row.cluster_id.as_ref()), contents])),
                _ => {}
            }
            if wide {
                cells.extend(row.wide_cells());
            }
            table.row(cells);
        }
        let mut all = table.to_string();
        for cluster in &self.clusters {
            let of = if several { format!("etcd cluster {}: ", cluster.id) } else { String::new() };
            let _infallible = write!(all, "\n{of}{}", cluster.summary);
        }
        if !self.clusters.is_empty() {
            all.push('\n');
        }
        all
    }

    pub(super) fn warnings(&self, clusters: &EtcdClusters<'_>) -> Vec<String> {
        let mut warnings = about_clusters(clusters);
        warnings.extend(clusters.all.iter().filter_map(next_steps).map(str::to_owned));
        for other in self.clusters.iter().flat_map(|cluster| &cluster.other_alarms) {
            warnings.push(format!(
                "member {} has raised the alarm {}, and does not answer or no longer exists: the alarm stays until it is disarmed",
                other.member_id, other.alarm
            ));
        }
        for row in &self.members {
            let mut about = format!("member {}", row.name);
            if let Some(node) = &row.node {
                let _infallible = write!(about, " on node {node}");
            }
            warnings.extend(row.error.iter().map(|error| format!("{about}: {error}")));
            warnings.extend(row.errors.iter().map(|error| format!("{about} reports: {error}")));
            warnings.extend(row.alarms.iter().map(|alarm| format!("{about} has raised the alarm {alarm}")));
            if row.learner == Some(true) {
                warnings.push(format!("{about} is a learner: it does not vote"));
            }
            if let (Some(used), Some(quota)) = (row.db_size, row.quota)
                && used > quota / 10 * 9
            {
                warnings
                    .push(format!("{about} uses more than 90% of its quota: at 100% the cluster takes no more writes"));
            }
            for certificate in row.certificates.iter().chain(&row.served_certificate) {
                if let Some(error) = &certificate.error {
                    warnings.push(format!("{about}: certificate {}: {error}", certificate.path));
                }
            }
            let which = row.first_to_expire.as_deref().unwrap_or_default();
            match row.first_expiry {
                Some(left) if left < 0 => warnings.push(format!("{about} has an expired certificate: {which}")),
                Some(left) if left < 30 * 86_400 => {
                    warnings.push(format!("{about} has a certificate that expires in {}: {which}", seconds(left)));
                }
                _ => {}
            }
        }
        warnings
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let expiry = |left: i64| if left < 0 { "EXPIRED".to_owned() } else { seconds(left) };
        vec![
            self.name.clone(),
            self.role.map_or_else(|| "<unknown>".to_owned(), str::to_owned),
            text(self.version.as_ref()),
            size(self.db_size),
            // Of a leader it is what it has just been given.
            if self.role == Some("leader") { NONE.to_owned() } else { text(self.lag) },
            self.alarms.join(","),
            self.first_expiry.map_or_else(|| NONE.to_owned(), expiry),
        ]
    }

    fn wide_cells(&self) -> [String; 9] {
        [
            size(self.db_size_in_use),
            size(self.quota),
            text(self.revision),
            text(self.raft_term),
            text(self.raft_index),
            text(self.id.as_ref()),
            self.node.clone().unwrap_or_default(),
            text(self.endpoint.as_ref()),
            text(self.via.map(Via::word)),
        ]
    }
}

/// A value, or [`NONE`].
fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

fn size(size: Option<i64>) -> String {
    text(size.map(|size| bytes(size.max(0).unsigned_abs())))
}

/// Which cluster the API server uses, where that is not plain, and whether each has a quorum.
fn about_clusters(clusters: &EtcdClusters<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let several = clusters.all.len() > 1;
    match clusters.used {
        Some(used) if several => {
            let count = clusters.all.len();
            warnings.push(format!("the members belong to {count} etcd clusters; the API server uses {used:x}"));
        }
        None if several => {
            let count = clusters.all.len();
            let message = "etcd clusters, and it cannot be told which one the API server uses";
            warnings.push(format!("the members belong to {count} {message}"));
            warnings.extend(clusters.all.iter().map(EtcdCluster::describe));
        }
        _ => {
            let foreign = clusters.all.iter().filter(|cluster| cluster.is_foreign());
            warnings.extend(
                foreign.map(|one| format!("this is not the etcd of the API server's objects: {}", one.describe())),
            );
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::KubeSystem;
    use jiff::Timestamp;

    use super::*;
    use crate::discovery::Unreadable;
    use crate::etcd_clusters::Evidence;
    use crate::etcd_clusters::samples::{answers, api_server, held, silent};
    use crate::kube_system::Served;
    use crate::output::Failed;
    use crate::sidecar::Surveyed;

    fn report(surveyed: &[Surveyed]) -> (Report, Vec<String>) {
        let api = [api_server("cp1", "https://127.0.0.1:2379", Some("https://127.0.0.1:2381"))];
        let served = Served { uid: "ours".into(), revision: None };
        let clusters = EtcdClusters::of(surveyed, &Evidence { api_servers: &api, served: Ok(&served) });
        let unreadable = Unreadable { pod: "etcd-x".into(), node: None, failed: Failed::plain("it has no node") };
        let report = Report::of(&clusters, &[unreadable], Timestamp::UNIX_EPOCH, false);
        let warnings = report.warnings(&clusters);
        (report, warnings)
    }

    #[test]
    fn clusters_are_shown_apart_and_never_compared() {
        let mut events = answers("cp1", 2381, 5, &["cp1"], KubeSystem::Absent);
        if let Ok(status) = &mut events.outcome {
            let status = status.etcd.as_mut().expect("it answers");
            (status.raft_index, status.raft_applied_index) = (9_000_000, 9_000_000);
        }
        let all = [events, answers("cp1", 2379, 9, &["cp1", "cp2"], held("ours")), silent("cp2", 2379)];
        let (report, warnings) = report(&all);
        let table = report.table(false);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("NAME") && lines[0].contains("CONTENTS"), "{table}");
        assert!(report.table(true).contains("CLUSTER"));
        assert!(lines[1].contains("cp1-2379") && lines[1].contains("cluster"), "{table}");
        assert!(lines[3].contains("cp1-2381") && lines[3].contains("events"), "{table}");
        assert!(lines[4].contains("etcd-x"), "{table}");
        let lag = |name: &str| report.members.iter().find(|row| row.name == name).and_then(|row| row.lag);
        assert_eq!((lag("cp1-2379"), lag("cp1-2381")), (Some(0), Some(0)));
        assert_eq!(report.cluster_id.as_deref(), Some("9"));
        assert_eq!(
            lines[5..],
            [
                "",
                "etcd cluster 9: 1 of 2 members answers; there is a leader: quorum holds",
                "etcd cluster 5: 1 of 1 members healthy; can lose none"
            ],
            "{table}"
        );
        for text in [
            "2 etcd clusters; the API server uses 9",
            "member cp2-2379 on node cp2: no answer",
            "member etcd-x: it has no node",
        ] {
            assert!(warnings.iter().any(|warning| warning.contains(text)), "{text:?} is not in {warnings:?}");
        }
    }

    #[test]
    fn the_plain_table_fits_a_terminal() {
        let mut all = [
            answers("a-node-name-20-long1", 2379, 9, &["a-node-name-20-long1"; 3], held("ours")),
            silent("a-node-name-20-long2", 2379),
            answers("cp1", 2379, 9, &["a-node-name-20-long1"; 3], held("ours")),
        ];
        for one in &mut all {
            one.member.name.clone_from(&one.member.node);
            if let Ok(status) = &mut one.outcome {
                let status = status.etcd.as_mut().expect("it answers");
                (status.version, status.leader_id) = ("3.6.14".into(), 0);
                (status.db_size, status.raft_applied_index) = (999_000_000, 2100);
                status.members.iter_mut().for_each(|member| member.name.truncate(20));
                status.alarms = vec![etcd_wire::message::Alarm { member_id: status.member_id, kind: "NOSPACE".into() }];
            }
        }
        let (report, _) = report(&all);
        let table = report.table(false);
        assert!(table.contains("999 MB   2900   NOSPACE   -"), "{table}");
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
        assert!(table.ends_with("\n\n2 of 3 members healthy; there is no leader\n"), "{table}");
        assert!(report.degraded);
    }

    #[test]
    fn an_alarm_of_a_member_that_is_gone_is_told() {
        let mut one = answers("cp1", 2379, 9, &["cp1"], held("ours"));
        let degraded = |one: &Surveyed| {
            let all = std::slice::from_ref(one);
            let clusters = EtcdClusters::of(all, &Evidence { api_servers: &[], served: Err("no right") });
            let report = Report::of(&clusters, &[], Timestamp::UNIX_EPOCH, false);
            let warnings = report.warnings(&clusters);
            (report.degraded, warnings)
        };
        assert!(!degraded(&one).0);
        if let Ok(status) = &mut one.outcome {
            let status = status.etcd.as_mut().expect("it answers");
            status.alarms = vec![etcd_wire::message::Alarm { member_id: 0xabc, kind: "NOSPACE".into() }];
        }
        let (is, warnings) = degraded(&one);
        assert!(
            is && warnings.iter().any(|one| one.starts_with("member abc has raised the alarm NOSPACE")),
            "{warnings:?}"
        );
    }

    /// A sidecar sees the files: the certificate for peers is among them, and clients never see that.
    #[test]
    fn the_certificate_that_expires_first_is_named() {
        let certificate = |path: &str, days: i64| etcd_wire::message::Certificate {
            path: path.into(),
            not_after: Some(days * 86_400),
            ..etcd_wire::message::Certificate::default()
        };
        let mut one = answers("cp1", 2379, 9, &["cp1"], held("ours"));
        one.served = Some(certificate("https://127.0.0.1:2379", 300));
        let told = |one: &Surveyed, text: &str| report(std::slice::from_ref(one)).1.iter().any(|it| it.contains(text));
        assert!(!told(&one, "certificate"));
        if let Ok(status) = &mut one.outcome {
            status.certificates = vec![certificate("/pki/server.crt", 200), certificate("/pki/peer.crt", 9)];
        }
        assert!(told(&one, "has a certificate that expires in 9d: /pki/peer.crt"));
        assert_eq!(report(std::slice::from_ref(&one)).0.members[0].cells()[6], "9d");
        if let Ok(status) = &mut one.outcome {
            status.certificates[1].not_after = Some(-1);
        }
        assert!(told(&one, "has an expired certificate: /pki/peer.crt"));
    }

    #[test]
    fn a_leader_shows_no_lag() {
        let mut leader = answers("cp1", 2379, 9, &["cp1"], held("ours"));
        if let Ok(status) = &mut leader.outcome {
            let status = status.etcd.as_mut().expect("it answers");
            (status.leader_id, status.raft_applied_index) = (status.member_id, 4990);
        }
        let (report, _) = report(&[leader]);
        let row = &report.members[0];
        assert_eq!((row.lag, row.cells()[1].as_str(), row.cells()[4].as_str()), (Some(10), "leader", "-"));
    }

    #[test]
    fn one_cluster_has_no_column_of_its_own() {
        let (plain, warnings) = report(&[answers("cp1", 2379, 9, &["cp1"], held("ours"))]);
        assert!(!plain.table(true).contains("CLUSTER"));
        assert_eq!(warnings, ["member etcd-x: it has no node"]);
        let (_, warnings) = report(&[answers("cp1", 2379, 9, &["cp1"], held("theirs"))]);
        assert!(
            warnings[0].starts_with("this is not the etcd of the API server's objects: etcd cluster 9"),
            "{warnings:?}"
        );
    }
}
