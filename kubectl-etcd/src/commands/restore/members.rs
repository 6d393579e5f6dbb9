//! Who the members of a directory's cluster are, where the command line leaves it open: a pure function of what is recorded of the members.

use std::path::Path;

use etcd_snapshot::restore::NewCluster;

use super::offline::OfflineArgs;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome};

/// What etcdutl calls a member, and where it expects its peers, if nothing else is said.
const NAME: &str = "default";
const URL: &str = "http://localhost:2380";

/// A member of the cluster of which a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Empty for a member that has never started.
    pub(super) name: String,
    pub(super) peer_urls: Vec<String>,
}

/// What is known of a file's members.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) members: Vec<Known>,
    /// Where that is written, for people.
    pub(super) place: String,
    /// The version of the etcd that the file is from, as far as that is written.
    pub(super) etcd_version: String,
}

/// The cluster of the directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) cluster: NewCluster,
    /// Where names and peer URLs are from, for people.
    pub(super) from: String,
}

/// Whether what is recorded decides about the cluster.
pub(super) fn is_open(flags: &OfflineArgs) -> bool {
    flags.initial_cluster.is_none()
}

/// Completes the flags by what is recorded.
///
/// # Errors
/// Exit 2: the file is of several members, and no flag says for which of them the directory is; or the one that is named is not recorded.
pub(super) fn choose(flags: &OfflineArgs, recorded: &Recorded, file: &Path, data_dir: &Path) -> Outcome<Chosen> {
    let chosen = |name: &str, initial_cluster: String, from: String| Chosen {
        cluster: NewCluster {
            name: name.to_owned(),
            initial_advertise_peer_urls: flags.initial_advertise_peer_urls.clone(),
            initial_cluster,
            initial_cluster_token: flags.initial_cluster_token.clone(),
        },
        from,
    };
    let name = flags.name.as_deref();
    if let Some(cluster) = &flags.initial_cluster {
        return Ok(chosen(name.unwrap_or(NAME), cluster.clone(), "--initial-cluster".to_owned()));
    }
    // One that has never started has no name, and no data that could be missed.
    let members: Vec<&Known> =
        recorded.members.iter().filter(|one| !one.name.is_empty() && !one.peer_urls.is_empty()).collect();
    let all = || {
        let urls = members.iter().flat_map(|one| one.peer_urls.iter().map(move |url| format!("{}={url}", one.name)));
        urls.collect::<Vec<_>>().join(",")
    };
    let is_recorded = |name: &str| members.iter().any(|one| one.name == name);
    match (name, members.as_slice()) {
        (None, [only]) => Ok(chosen(&only.name, all(), recorded.place.clone())),
        (Some(name), _) if is_recorded(name) => Ok(chosen(name, all(), recorded.place.clone())),
        (_, []) => {
            let name = name.unwrap_or(NAME);
            Ok(chosen(name, format!("{name}={URL}"), "etcdutl's defaults, because no members are recorded".to_owned()))
        }
        // Whoever says so wants what etcdutl makes by itself.
        (Some(NAME), _) => Ok(chosen(NAME, format!("{NAME}={URL}"), "etcdutl's defaults".to_owned())),
        (Some(name), members) => {
            let failed = Failed::new(Exit::Usage, format!("{} records no member {name}", recorded.place));
            Err(told(failed, members, file, data_dir)
                .hint(format!("for a cluster of another member\n  --initial-cluster {}=URL", quoted(name))))
        }
        (None, members) => {
            let count = members.len();
            let failed =
                Failed::new(Exit::Usage, format!("--name must say for which of {count} members the directory is"));
            Err(told(failed, members, file, data_dir)
                .hint(format!("for a cluster of one, as etcdutl makes by itself\n  --name {NAME}")))
        }
    }
}

/// Adds the members, and the command for each.
fn told(failed: Failed, members: &[&Known], file: &Path, data_dir: &Path) -> Failed {
    let line = |one: &&Known| format!("member {} has peer URL {}", one.name, one.peer_urls.join(","));
    let command = |one: &&Known| {
        let file = quoted(&file.display().to_string());
        let folder = quoted(&format!("{}-{}", data_dir.display(), one.name));
        format!("\n  kubectl etcd restore {file} --data-dir {folder} --name {}", quoted(&one.name))
    };
    let commands: String = members.iter().map(command).collect();
    failed.causes(members.iter().map(line)).hint(format!("one directory a member, all from the same file{commands}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(name: Option<&str>, initial_cluster: Option<&str>) -> OfflineArgs {
        let [name, initial_cluster] = [name, initial_cluster].map(|text| text.map(str::to_owned));
        let mut flags = OfflineArgs::default();
        (flags.name, flags.initial_cluster, flags.initial_cluster_token) = (name, initial_cluster, "t".into());
        flags
    }

    fn recorded(names: &[&str]) -> Recorded {
        let known = |name: &&str| Known { name: (*name).to_owned(), peer_urls: vec![format!("https://{name}:2380")] };
        Recorded { members: names.iter().map(known).collect(), place: "a.db".into(), ..Recorded::default() }
    }

    fn chosen(name: Option<&str>, initial_cluster: Option<&str>, names: &[&str]) -> Outcome<(String, String, String)> {
        let flags = flags(name, initial_cluster);
        let chosen = choose(&flags, &recorded(names), Path::new("a.db"), Path::new("/new dir"))?;
        assert_eq!(chosen.cluster.initial_cluster_token, "t");
        Ok((chosen.cluster.name, chosen.cluster.initial_cluster, chosen.from))
    }

    #[test]
    fn what_is_recorded_fills_in_what_is_not_said() {
        let three = "cp1=https://cp1:2380,cp2=https://cp2:2380,cp3=https://cp3:2380";
        let defaults = "default=http://localhost:2380";
        for (name, cluster, names, expected) in [
            (None, None, &["cp1"][..], ("cp1", "cp1=https://cp1:2380", "a.db")),
            // A member that has not started yet has no name.
            (None, None, &["", "cp1"], ("cp1", "cp1=https://cp1:2380", "a.db")),
            (Some("cp2"), None, &["cp1", "cp2", "cp3"], ("cp2", three, "a.db")),
            (None, None, &[], ("default", defaults, "etcdutl's defaults, because no members are recorded")),
            (
                Some("x"),
                None,
                &[],
                ("x", "x=http://localhost:2380", "etcdutl's defaults, because no members are recorded"),
            ),
            (Some("default"), None, &["cp1", "cp2"], ("default", defaults, "etcdutl's defaults")),
            (Some("default"), None, &["default"], ("default", "default=https://default:2380", "a.db")),
            (None, Some(defaults), &["cp1", "cp2"], ("default", defaults, "--initial-cluster")),
            (Some("x"), Some("x=http://h:1"), &["cp1"], ("x", "x=http://h:1", "--initial-cluster")),
        ] {
            let found = chosen(name, cluster, names).expect("a cluster");
            assert_eq!((found.0.as_str(), found.1.as_str(), found.2.as_str()), expected);
        }
        let mut two = recorded(&["cp1"]);
        two.members[0].peer_urls.push("https://10.0.0.1:2380".into());
        let chosen = choose(&flags(None, None), &two, Path::new("a.db"), Path::new("d")).expect("a cluster");
        assert_eq!(chosen.cluster.initial_cluster, "cp1=https://cp1:2380,cp1=https://10.0.0.1:2380");
    }

    #[test]
    fn several_members_need_a_name_and_get_a_command_each() {
        for (name, text) in [(None, "which of 2 members"), (Some("cp9"), "a.db records no member cp9")] {
            let failed = chosen(name, None, &["cp1", "cp2"]).expect_err("nobody knows which");
            assert!(failed.exit == Exit::Usage && failed.message.contains(text), "{failed}");
            assert_eq!(
                failed.causes,
                ["cp1", "cp2"].map(|name| format!("member {name} has peer URL https://{name}:2380"))
            );
            let commands = ["cp1", "cp2"]
                .map(|name| format!("  kubectl etcd restore a.db --data-dir '/new dir-{name}' --name {name}"));
            assert!(failed.hints[0].lines().skip(1).eq(commands.iter()), "{failed}");
        }
    }
}
