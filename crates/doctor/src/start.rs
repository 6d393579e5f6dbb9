//! How etcd is started on a node, and so where a setting of it is changed. Pure.

use std::fmt;

use etcd_wire::services::SettingsSource;

/// What starts etcd on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Start {
    /// The kubelet, by a manifest.
    StaticPod,
    /// A systemd unit, or something else outside of pods.
    Service(SettingsSource),
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Start {
    /// Where settings are changed, which are named as flags without dashes: where they count, and win.
    pub(crate) fn place(&self, names: &[&str]) -> Place<'_> {
        let source = match self {
            Start::StaticPod => return Place::Manifest,
            Start::Unknown => return Place::Unknown,
            Start::Service(source) => source,
        };
        let unit = source.unit.as_deref();
        if let Some(file) = &source.config_file {
            return Place::ConfigFile { file, restarted: unit.is_some() };
        }
        let on_command_line = source.flags.iter().any(|flag| names.contains(&flag.as_str()));
        match (source.environment_files.last(), unit) {
            (Some(file), _) if !on_command_line => Place::Variables { file, restarted: unit.is_some() },
            (_, Some(unit)) => Place::CommandLine { unit },
            (Some(file), None) => Place::Variables { file, restarted: false },
            (None, None) => Place::Unknown,
        }
    }

    /// Where etcd's own tool can be run.
    pub(crate) fn at_hand(&self) -> &'static str {
        match self {
            Start::StaticPod => "in its etcd pod",
            Start::Service(_) | Start::Unknown => "on its node",
        }
    }
}

/// Where settings of etcd are written. For people, with what makes them count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// The manifest of its static pod.
    Manifest,
    /// The command line in a systemd unit.
    CommandLine {
        /// Its file.
        unit: &'a str,
    },
    /// A file with variables.
    Variables {
        /// Its path.
        file: &'a str,
        /// Whether systemd restarts etcd.
        restarted: bool,
    },
    /// etcd's configuration file.
    ConfigFile {
        /// Its path.
        file: &'a str,
        /// Whether systemd restarts etcd.
        restarted: bool,
    },
    /// Nobody knows where.
    Unknown,
}

impl Place<'_> {
    /// A setting as it is written there.
    pub(crate) fn setting(self, name: &str, value: &str) -> String {
        match self {
            Place::Manifest | Place::CommandLine { .. } | Place::Unknown => format!("--{name}={value}"),
            Place::Variables { .. } => format!("ETCD_{}={value}", name.to_uppercase().replace('-', "_")),
            Place::ConfigFile { .. } => format!("{name}: {value}"),
        }
    }

    /// What stands between two settings.
    pub(crate) fn between(self) -> &'static str {
        match self {
            Place::Manifest | Place::CommandLine { .. } | Place::Unknown => " ",
            Place::Variables { .. } | Place::ConfigFile { .. } => " and ",
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Manifest => f.write_str("etcd.yaml"),
            Place::CommandLine { unit } => {
                write!(f, "the command line of the unit {unit}, then systemctl daemon-reload && systemctl restart etcd")
            }
            Place::Variables { file, restarted } => write!(f, "the variables in {file}{}", then(*restarted)),
            Place::ConfigFile { file, restarted } => write!(f, "the configuration file {file}{}", then(*restarted)),
            Place::Unknown => f.write_str("the command line"),
        }
    }
}

fn then(restarted: bool) -> &'static str {
    if restarted { ", then systemctl restart etcd" } else { ", then restart etcd" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{healthy, made};

    fn unit() -> SettingsSource {
        SettingsSource { unit: Some("/etc/systemd/system/etcd.service".to_owned()), ..SettingsSource::default() }
    }

    fn variables(flags: &[&str]) -> SettingsSource {
        SettingsSource {
            environment_files: vec!["/etc/default/etcd".to_owned(), "/etc/etcd.env".to_owned()],
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..unit()
        }
    }

    #[test]
    fn a_setting_is_changed_where_it_counts() {
        let told = |source: SettingsSource| {
            let start = Start::Service(source);
            let place = start.place(&["quota-backend-bytes"]);
            (place.setting("quota-backend-bytes", "1"), place.to_string())
        };
        let variable = "ETCD_QUOTA_BACKEND_BYTES=1";
        let flag = "--quota-backend-bytes=1";
        let command_line = "the command line of the unit /etc/systemd/system/etcd.service, then systemctl daemon-reload && systemctl restart etcd";
        let config =
            SettingsSource { config_file: Some("/etc/etcd/etcd.conf.yml".to_owned()), ..variables(&["config-file"]) };
        let no_unit = |environment_files| SettingsSource { environment_files, ..SettingsSource::default() };
        for (source, setting, place) in [
            (unit(), flag, command_line),
            // A file wins over one before it, and a flag over all of them.
            (variables(&["name"]), variable, "the variables in /etc/etcd.env, then systemctl restart etcd"),
            (variables(&["name", "quota-backend-bytes"]), flag, command_line),
            (
                config,
                "quota-backend-bytes: 1",
                "the configuration file /etc/etcd/etcd.conf.yml, then systemctl restart etcd",
            ),
            (no_unit(vec!["/etc/etcd.env".to_owned()]), variable, "the variables in /etc/etcd.env, then restart etcd"),
            (no_unit(Vec::new()), flag, "the command line"),
        ] {
            assert_eq!(told(source), (setting.to_owned(), place.to_owned()));
        }
        assert_eq!(Start::StaticPod.place(&[]).to_string(), "etcd.yaml");
        assert_eq!(Start::Unknown.place(&[]).setting("a-b", "c"), "--a-b=c");
    }

    #[test]
    fn what_mends_a_unit_does_not_speak_of_manifests_and_pods() {
        let mends = |start: Start| {
            let mut facts = healthy(3);
            facts.nodes[0].start = start;
            facts.nodes[0].flags = vec!["--name=cp1".to_owned()];
            for node in &mut facts.nodes {
                node.status.as_mut().unwrap().members[0].peer_urls = vec!["http://localhost:2380".to_owned()];
            }
            ["corruption-check", "initial-cluster", "peer-urls"].map(|check| made(check, &facts).mend.join("\n"))
        };
        let [check, joins, peers] = mends(Start::StaticPod);
        assert!(check.ends_with("(3.6: --feature-gates=InitialCorruptCheck=true) to etcd.yaml"), "{check}");
        assert!(joins.ends_with(" --initial-cluster-state=existing in etcd.yaml (on cp1)"), "{joins}");
        assert!(peers.ends_with("(in its etcd pod)"), "{peers}");
        let [check, joins, peers] = mends(Start::Service(variables(&[])));
        assert_eq!(
            check,
            "add ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=true (3.6: ETCD_FEATURE_GATES=InitialCorruptCheck=true) to the variables in \
             /etc/etcd.env, then systemctl restart etcd"
        );
        assert!(joins.starts_with("set ETCD_INITIAL_CLUSTER=cp1=http://localhost:2380,cp2="), "{joins}");
        assert!(
            joins.ends_with(
                " and ETCD_INITIAL_CLUSTER_STATE=existing in the variables in /etc/etcd.env, then systemctl restart etcd (on cp1)"
            ),
            "{joins}"
        );
        assert!(peers.ends_with("(on its node)"), "{peers}");
    }
}
