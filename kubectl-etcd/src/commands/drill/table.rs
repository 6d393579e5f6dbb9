//! What a drill came to, as a table for people.

use std::fmt::Write as _;

use etcd_drill::report::{ApiServer, Backup, Drill, Listing, Sampled, Verdict};

use crate::output::{Table, bytes, seconds};

/// For people.
pub(super) fn text(drill: &Drill) -> String {
    let mut text = String::new();
    let Backup { file, .. } = &drill.backup;
    let mut facts = Table::new(&["CHECK", "EXPECTED", "BY", "SERVED", "RESULT"]);
    for check in &drill.checks {
        facts.row(vec![
            check.name.to_string(),
            check.expected.clone().unwrap_or_default(),
            check.source.to_string(),
            check.served.clone().unwrap_or_default(),
            check.result.word().to_owned(),
        ]);
    }
    let count = |wanted: Sampled| drill.resources.iter().filter(|one| one.result == wanted).count();
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
    if !drill.resources.is_empty() {
        let _ = writeln!(text, "One object of each of {} resources: {}", drill.resources.len(), resources.join(", "));
    }
    for one in &drill.encryption {
        let _ = writeln!(text, "One value of encryption key {}: {}", one.key, one.result.word());
    }
    if let Some(server) = &drill.api_server {
        let _ = writeln!(text, "{}", listed(server));
    }
    let rpo = match drill.rpo.seconds {
        Some(age) => format!("RPO {}", seconds(age)),
        None => "RPO not known: the time of the backup was not recorded".to_owned(),
    };
    let phases: Vec<String> =
        drill.rto.phases.iter().map(|phase| format!("{} {:.3}s", phase.name, phase.seconds)).collect();
    let _ = writeln!(text, "{rpo}\nRTO {:.3}s ({})", drill.rto.seconds, phases.join(", "));
    let serves = match drill.verdict {
        Verdict::Passed => "serves",
        Verdict::Failed => "does not serve",
    };
    let node = drill.etcd.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
    let _ = writeln!(
        text,
        "\nDrill {}: etcd {serves} {file} as recorded (etcd {}{node}, {}, revision {})",
        drill.verdict.word(),
        drill.etcd.version,
        bytes(drill.backup.size),
        drill.backup.revision
    );
    text
}

/// What the API server has come to, in a line.
fn listed(server: &ApiServer) -> String {
    let version = &server.version;
    let ready = match server.ready_seconds {
        Some(seconds) => format!("ready after {seconds:.3}s"),
        None => "not ready".to_owned(),
    };
    let count = |wanted: Listing| server.resources.iter().filter(|one| one.result == wanted).count();
    let counts: Vec<String> = [Listing::Listed, Listing::NotProved, Listing::Failed]
        .into_iter()
        .filter(|wanted| count(*wanted) > 0)
        .map(|wanted| format!("{} {}", count(wanted), wanted.word()))
        .collect();
    let (resources, objects) = (server.resources.len(), server.objects);
    match resources {
        0 => format!("API server {version}: {ready}, {}", server.result.word()),
        _ => {
            format!("API server {version}: {ready}, {objects} objects of {resources} resources: {}", counts.join(", "))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use etcd_drill::checks::{self, Check};
    use etcd_drill::report::{By, Encryption, Etcd, Listed, Phase, Resource, Rpo, Rto};

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
        let equal = |name: &'static str, source: &'static str, value: &str| Check {
            name: name.into(),
            expected: Some(value.to_owned()),
            source: source.into(),
            served: Some(value.to_owned()),
            result: checks::Result::Equal,
            note: None,
        };
        let checks = vec![
            equal("revision", "record", "48211"),
            equal("hashKv", "file", "3735928559"),
            equal("keys", "file", "31"),
            equal("kubeSystemUid", "file", "5f0c"),
        ];
        let remarks =
            vec!["widgets.example.com: a <kind> that is not known".to_owned(), "kms:v2:vault: encrypted".to_owned()];
        Drill {
            api_version: crate::output::API_VERSION.into(),
            kind: "Drill".into(),
            verdict: Verdict::Passed,
            reasons: Vec::new(),
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
            etcd: Etcd {
                path: "/usr/bin/etcd".into(),
                version: "3.5.16".into(),
                image: Some("registry.k8s.io/etcd:3.5.16-0".into()),
                image_id: None,
                engine: None,
                node: Some("cp1".into()),
            },
            by: By {
                program: "kubectl-etcd".into(),
                version: "0.1.0".into(),
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
                    Phase { name: "open".into(), seconds: 0.5, counts: true },
                    Phase { name: "boot".into(), seconds: 2.75, counts: true },
                    Phase { name: "read".into(), seconds: 0.125, counts: false },
                ],
            },
            checks,
            resources,
            encryption,
            api_server: Some(ApiServer {
                version: "v1.36.2".into(),
                image: "registry.k8s.io/kube-apiserver:v1.36.2".into(),
                ready_seconds: Some(3.5),
                objects: 17,
                result: Listing::NotProved,
                reason: None,
                resources: vec![
                    Listed {
                        resource: "configmaps".into(),
                        version: Some("v1".into()),
                        objects: 16,
                        listed: Some(17),
                        result: Listing::Listed,
                        reason: None,
                    },
                    Listed {
                        resource: "widgets.example.com".into(),
                        version: None,
                        objects: 3,
                        listed: None,
                        result: Listing::NotProved,
                        reason: Some("the API server serves no <such> resource".into()),
                    },
                ],
            }),
        }
    }

    #[test]
    fn the_table_says_what_a_person_asks() {
        let text = text(&sample());
        for part in [
            "hashKv          3735928559   file     3735928559   equal",
            "One object of each of 2 resources: 1 read, 1 not proved",
            "One value of encryption key kms:v2:vault: not proved",
            "API server v1.36.2: ready after 3.500s, 17 objects of 2 resources: 1 listed, 1 not proved",
            "RPO 3h",
            "RTO 3.250s (open 0.500s, boot 2.750s, read 0.125s)",
            "Drill passed: etcd serves etcd-<prod>&\"1\".db as recorded (etcd 3.5.16 on node cp1, 21 kB, revision 48211)",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
