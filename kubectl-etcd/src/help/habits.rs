//! What people type who come from etcdctl, etcdutl, kubectl, velero or restic, and which command does that here.

use Does::{Here, InThePod, Otherwise};

use crate::typed::quoted;

/// Flags of etcdctl that say how a member is reached, or how its answer is written. Each takes a value.
pub(super) const ETCDCTL: [&str; 14] = [
    "--endpoints",
    "--cacert",
    "--cert",
    "--key",
    "--write-out",
    "-w",
    "--command-timeout",
    "--dial-timeout",
    "--keepalive-time",
    "--keepalive-timeout",
    "--user",
    "--password",
    "--discovery-srv",
    "--auth-jwt-token",
];

/// Who does it.
enum Does {
    /// Commands of ours, each with what it does where there are several. `FILE` is the argument that was typed, or stays as it
    /// is; `[FILE]` is that argument, or nothing; `...` are all arguments and flags that were typed.
    Here(&'static [(&'static str, &'static str)]),
    /// etcdctl, in the pod of a member.
    InThePod,
    /// Another program, with a note.
    Otherwise(&'static str),
}

const STATUS: Does = Here(&[("status", "")]);
const BACKUP: Does = Here(&[("backup [FILE]", "")]);
const SHOW: Does =
    Here(&[("inspect FILE", "what is in a snapshot"), ("get FILE TYPE/NAME -o yaml", "one object of it")]);
const OBJECTS: Does = Here(&[("apply FILE TYPE/NAME", "put objects of a snapshot into the cluster")]);

/// By the first words that were typed; a longer row stands before a shorter one.
const HABITS: &[(&[&str], Does)] = &[
    (&["snapshot save", "snapshot create", "snapshot take", "backup-etcd", "save", "dump", "export"], BACKUP),
    (
        &["snapshot status", "snapshot verify", "snapshot check", "hashkv", "validate", "info"],
        Here(&[("verify FILE", "")]),
    ),
    (&["snapshot restore"], RESTORE),
    (&["snapshot list", "snapshots", "ls"], Here(&[("list", "")])),
    (
        &["snapshot", "snap"],
        Here(&[
            ("backup [FILE]", "take a snapshot"),
            ("verify FILE", "check one, and show its revision and size"),
            ("restore FILE", "restore the cluster from one"),
        ]),
    ),
    (&["members"], Here(&[("member list", "")])),
    (&["move-leader"], Here(&[("member move-leader", "")])),
    (&["endpoint hashkv"], InThePod),
    (
        &[
            "endpoint status",
            "endpoint health",
            "endpoint",
            "endpoints",
            "health",
            "healthz",
            "top",
            "ps",
            "leader",
            "quorum",
        ],
        STATUS,
    ),
    (&["alarm disarm"], Here(&[("alarms disarm", "")])),
    (&["alarm list", "alarm"], Here(&[("alarms", "")])),
    (&["defragment"], Here(&[("defrag", "")])),
    (&["compaction"], Here(&[("compact", "")])),
    (&["check perf", "check datascale"], InThePod),
    (&["put", "del", "watch", "lease", "txn", "role", "auth", "lock", "elect", "make-mirror", "downgrade"], InThePod),
    (&["check"], Here(&[("verify FILE", "check a snapshot"), ("status", "check the members of the cluster")])),
    (
        &["create", "add"],
        Here(&[("backup [FILE]", "take a snapshot"), ("apply FILE TYPE/NAME", "create objects from a snapshot")]),
    ),
    (&["import", "replace", "patch", "put-back"], OBJECTS),
    (&["describe", "show", "objects", "keys", "cat", "search", "find"], SHOW),
    (&["undo", "revert", "rollout"], Here(&[("rollback", "")])),
    (&["clean", "clear", "gc", "delete"], Here(&[("cleanup", "")])),
    (&["forget", "retention"], Here(&[("prune STORE", "")])),
    (&["compare"], Here(&[("diff FILE --live", "a snapshot with the cluster"), ("diff FILE FILE", "two snapshots")])),
    (&["logs", "log"], Otherwise("the log of a member is that of its pod\n  kubectl logs -n kube-system etcd-NODE")),
    (
        &["exec", "shell", "sh", "etcdctl"],
        Otherwise("etcdctl runs in the pod of a member\n  kubectl exec -n kube-system etcd-NODE -- etcdctl version"),
    ),
    (&["events"], Otherwise("kubectl get events -A; those of a snapshot\n  kubectl etcd get FILE events -A")),
];

const RESTORE: Does = Here(&[
    ("restore FILE", "restore the running control plane"),
    ("restore FILE --data-dir DIR", "build a data directory, as etcdutl does"),
]);

/// What does what was typed: `words` are the words of the command line, `rest` gives what follows the first of them, flags
/// included. With the words that were recognised.
pub(super) fn answer(words: &[String], rest: impl Fn(usize) -> Vec<String>) -> Option<(String, String)> {
    let (typed, does) = HABITS.iter().find_map(|(rows, does)| {
        let typed = rows.iter().find(|row| {
            let row = row.split(' ');
            row.clone().count() <= words.len() && row.zip(words).all(|(row, word)| row == word)
        });
        Some((*typed?, does))
    })?;
    let count = typed.split(' ').count();
    let file = words.get(count).map(|file| quoted(file));
    let all = rest(count);
    let hint = match does {
        // The flags of etcdutl's own command are those of ours.
        Here(_) if typed == "snapshot restore" && all.iter().any(|word| word.starts_with("--data-dir")) => {
            command(&["restore".to_owned(), joined(&all)])
        }
        Here([(one, _)]) => filled(one, file.as_deref()),
        Here(several) => {
            let lines = several.iter().map(|(one, what)| format!("  {}\n    {what}", filled(one, file.as_deref())));
            format!("one of\n{}", lines.collect::<Vec<_>>().join("\n"))
        }
        InThePod => in_the_pod(&[typed.to_owned(), joined(&all)]),
        Otherwise(text) => (*text).to_owned(),
    };
    Some((typed.to_owned(), hint))
}

/// A command of ours with the file that was typed.
fn filled(one: &str, file: Option<&str>) -> String {
    let words = one.split(' ').filter_map(|word| match word {
        "FILE" => Some(file.unwrap_or("FILE").to_owned()),
        "[FILE]" => file.map(str::to_owned),
        word => Some(word.to_owned()),
    });
    command(&words.collect::<Vec<_>>())
}

fn command(words: &[String]) -> String {
    format!("kubectl etcd {}", joined_raw(words))
}

/// etcdctl with kubeadm's paths: a command line that is wrong asks no cluster for its own.
fn in_the_pod(words: &[String]) -> String {
    let words = joined_raw(words);
    format!(
        "this is etcdctl's, in the pod of a member; with the paths of kubeadm\n  \
         kubectl exec -n kube-system etcd-NODE -- etcdctl \\\n    \
         --cacert /etc/kubernetes/pki/etcd/ca.crt \\\n    \
         --cert /etc/kubernetes/pki/etcd/server.crt \\\n    \
         --key /etc/kubernetes/pki/etcd/server.key {words}"
    )
}

fn joined(words: &[String]) -> String {
    joined_raw(&words.iter().map(|word| quoted(word)).collect::<Vec<_>>())
}

fn joined_raw(words: &[String]) -> String {
    words.iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn answered(line: &str) -> (String, String) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        answer(&words, |count| words[count..].to_vec()).expect(line)
    }

    #[test]
    fn what_was_typed_is_done_by() {
        for (line, typed, hint) in [
            ("snapshot save a.db", "snapshot save", "kubectl etcd backup a.db"),
            ("snapshot save", "snapshot save", "kubectl etcd backup"),
            ("save /b/my file.db", "save", "kubectl etcd backup /b/my"),
            ("snapshot status a.db", "snapshot status", "kubectl etcd verify a.db"),
            ("snapshot restore a.db --data-dir=/d", "snapshot restore", "kubectl etcd restore a.db --data-dir=/d"),
            ("members", "members", "kubectl etcd member list"),
            ("endpoint health", "endpoint health", "kubectl etcd status"),
            ("alarm list", "alarm list", "kubectl etcd alarms"),
            ("alarm disarm", "alarm disarm", "kubectl etcd alarms disarm"),
            ("undo", "undo", "kubectl etcd rollback"),
        ] {
            assert_eq!(answered(line), (typed.to_owned(), hint.to_owned()), "{line}");
        }
        for (line, typed, parts) in [
            ("snapshot restore a.db", "snapshot restore", &["restore a.db\n", "restore a.db --data-dir DIR\n"][..]),
            ("snapshot", "snapshot", &["backup\n", "verify FILE\n", "restore FILE\n"]),
            ("create", "create", &["backup\n", "apply FILE TYPE/NAME\n"]),
            (
                "endpoint hashkv --cluster",
                "endpoint hashkv",
                &["kubectl exec -n kube-system etcd-NODE -- etcdctl", "server.key endpoint hashkv --cluster"],
            ),
            ("lease list", "lease", &["server.key lease list"]),
            ("logs", "logs", &["kubectl logs -n kube-system etcd-NODE"]),
        ] {
            let (is, hint) = answered(line);
            assert_eq!(is, typed);
            for part in parts {
                assert!(hint.contains(part), "{line}: {hint}");
            }
        }
        assert!(!answered("create").1.contains("restore"));
        assert_eq!(answer(&["frobnicate".to_owned()], |_| Vec::new()), None);
    }

    #[test]
    fn every_command_that_is_named_is_one_of_ours() {
        for (_, does) in HABITS {
            let Here(several) = does else { continue };
            for (one, _) in *several {
                let line = filled(one, Some("a.db"));
                let words = line.split(' ').skip(1).map(|word| word.replace("TYPE/NAME", "cm/a").into()).collect();
                let parsed = cli::parse(&mut cli::command("kubectl-etcd"), words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
            }
        }
    }

    #[test]
    fn no_habit_hides_a_command_and_none_is_hidden_by_another() {
        let root = cli::command("kubectl-etcd");
        let rows: Vec<&str> = HABITS.iter().flat_map(|(rows, _)| rows.iter().copied()).collect();
        for (number, row) in rows.iter().enumerate() {
            assert!(root.find_subcommand(row).is_none(), "{row} is a command");
            let before = rows[..number].iter().find(|before| row.starts_with(&format!("{before} ")) || *before == row);
            assert_eq!(before, None, "{row}");
        }
    }
}
