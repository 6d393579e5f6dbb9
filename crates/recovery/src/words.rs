//! Words for people.

use etcd_wire::restore::Decision;

/// Where the steps by hand are.
pub(crate) const BY_HAND: &str =
    "https://github.com/kubectl-etcd/kubectl-etcd/blob/main/docs/RESTORE.md#when-a-node-cannot-roll-back";

/// What to do when only a person at the node can help, as a hint.
pub fn by_hand() -> String {
    format!("see what to do on the node, by hand\n  {BY_HAND}")
}

/// What a decision means.
pub fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Commit => "the new data stays",
        Decision::Abort => "all nodes roll back",
    }
}

/// Names for a sentence: `cp1`, `cp1 and cp2`, `cp1, cp2 and cp3`.
pub fn names(all: &[&str]) -> String {
    match all {
        [] => "no node".to_owned(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// A word for a shell, in a command that can be pasted.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A time span in seconds as kubectl prints it: `45s`, `12m`, `5h`, `3d`, `2y`.
pub fn span(seconds: i64) -> String {
    let (sign, span) = if seconds < 0 { ("-", seconds.saturating_neg()) } else { ("", seconds) };
    let text = match span {
        0..120 => format!("{span}s"),
        120..7200 => format!("{}m", span / 60),
        7200..172_800 => format!("{}h", span / 3600),
        172_800..63_072_000 => format!("{}d", span / 86_400),
        _ => format!("{}y", span / 31_536_000),
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_kubectl_prints_them() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (172_800, "2d"),
            (-90, "-90s"),
            (31_536_000 * 2, "2y"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
