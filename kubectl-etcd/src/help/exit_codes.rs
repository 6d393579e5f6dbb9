//! Exit codes: which of them a command can end with, and what they mean.

/// Of all commands: `kubectl etcd help exit-codes`.
pub(super) const ALL: &str = "\
Exit codes. A code that is not here means failure.

  0    done
  1    failed; nothing was changed
  2    usage: the command line is wrong
  3    the snapshot is damaged, cannot be restored, or is not of this cluster
  4    refused by a check, or not confirmed; nothing was changed
  5    failed after something was changed; the message says how to go on.
       Of restore and rollback: something was stopped, and is as it was before
  6    of status --exit-code: etcd is degraded. A member does not answer, knows
       no leader or has raised an alarm, or a certificate has expired
  130  interrupted; pods of this run were deleted

Of diff, as of diff(1) and kubectl diff:

  0    no differences
  1    there are differences
  2    failed, or usage
  3    a snapshot is damaged
  130  interrupted

Of freshness:

  0    there is a fresh backup
  1    the newest backup is stale, or there is none
  2    usage
  4    nobody can tell: the store does not answer, or a clock is wrong
  130  interrupted

Of doctor --exit-code:

  0    no check has found a warning or an error
  1    a check has found a warning
  2    a check has found an error; or usage
  4    no check could be made: no member of etcd was found, no API server
  130  interrupted

kubectl on Windows turns every other code into 1. kubectl-etcd, called by its
own name, does not.
";

/// Codes of commands that read files.
const FILES: [u8; 4] = [1, 2, 3, 130];
/// Codes of drill.
const DRILL: [u8; 6] = [1, 2, 3, 4, 5, 130];
/// Codes of commands that run pods, or change something.
const CLUSTER: [u8; 5] = [1, 2, 4, 5, 130];
/// Codes of schedule.
const RENDERS: [u8; 4] = [1, 2, 4, 130];
/// Codes of status.
const STATUS: [u8; 6] = [1, 2, 4, 5, 6, 130];
/// Codes of commands that do both.
const BOTH: [u8; 6] = [1, 2, 3, 4, 5, 130];

/// The codes of one command, in few words. `None`: of a command that prints a text.
pub(super) fn of(command: &str, name: &str) -> Option<String> {
    let codes: &[u8] = match command {
        "backup" | "verify" | "restore" | "apply" => &BOTH,
        "rollback" | "cleanup" | "prune" | "alarms" | "compact" | "defrag" | "member" => &CLUSTER,
        "status" => &STATUS,
        "schedule" => &RENDERS,
        "inspect" | "get" | "list" => &FILES,
        "drill" => &DRILL,
        "diff" => {
            return Some(
                "Exit codes: 0 no differences, 1 differences, 2 failed, 3 a snapshot is damaged,\n130 interrupted."
                    .to_owned(),
            );
        }
        "freshness" => {
            return Some(wrapped(
                "Exit codes: 0 fresh, 1 stale or no backup, 2 usage, 4 nobody can tell, 130 interrupted.",
            ));
        }
        "doctor" => {
            return Some(wrapped(
                "Exit codes: 0 done, 1 failed, 2 usage, 4 refused, 130 interrupted; with --exit-code 1 a warning, 2 an error, 4 no check could be made.",
            ));
        }
        _ => return None,
    };
    let words = codes.iter().map(|code| format!("{code} {}", meaning(*code)));
    let words: Vec<String> = std::iter::once("0 done".to_owned()).chain(words).collect();
    Some(wrapped(&format!("Exit codes: {}. See \"{name} help exit-codes\".", words.join(", "))))
}

fn meaning(code: u8) -> &'static str {
    match code {
        1 => "failed",
        2 => "usage",
        3 => "snapshot damaged",
        4 => "refused",
        5 => "failed after a change",
        6 => "degraded (--exit-code)",
        _ => "interrupted",
    }
}

/// Breaks a text into lines at its spaces.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let full = lines.last().is_some_and(|line| !line.is_empty() && line.len() + 1 + word.len() > super::WIDTH);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
