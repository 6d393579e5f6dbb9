//! What ssh says when it fails, and what to do then. Pure.

/// The exit code of ssh for failures of its own (ssh(1), EXIT STATUS).
pub(super) const OWN: i32 = 255;

/// Why ssh did not come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SshTrouble {
    /// The node shows another key than the one that is known.
    KeyChanged,
    /// The node's key is not known, or was not confirmed.
    KeyUnknown,
    /// The node does not take this user, or none of the keys.
    Denied,
    /// Nothing answers there.
    Unreachable,
    /// The address has no host.
    NoHost,
    /// ssh does not take its own options.
    Options,
}

/// By what ssh writes to stderr: openssh-portable sshconnect.c, sshconnect2.c, misc.c, readconf.c @ V_9_2 to V_10_0.
pub(super) fn recognise(said: &str) -> Option<SshTrouble> {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "HOST KEY FOR", "REVOKED HOST KEY"]) {
        Some(SshTrouble::KeyChanged)
    } else if has(&["Host key verification failed", "No matching host key fingerprint", "host key is known for"]) {
        Some(SshTrouble::KeyUnknown)
    } else if has(&["Permission denied", "Too many authentication failures", "Authentication failed"]) {
        Some(SshTrouble::Denied)
    } else if has(&["Could not resolve hostname", "Name or service not known"]) {
        Some(SshTrouble::NoHost)
    } else if has(&[
        "Bad configuration option",
        "unknown option",
        "illegal option",
        "usage: ssh",
        "Bad owner or permissions",
    ]) {
        Some(SshTrouble::Options)
    } else if has(&[
        "Connection refused",
        "Connection timed out",
        "Operation timed out",
        "No route to host",
        "Network is unreachable",
        "Host is down",
        "Connection closed by",
        "Connection reset by",
        "timeout, server",
        "kex_exchange_identification",
    ]) {
        Some(SshTrouble::Unreachable)
    } else {
        None
    }
}

impl SshTrouble {
    /// What to do. `by_hand` is the ssh command line of a person who looks.
    pub(super) fn hint(self, by_hand: &str, host: &str) -> String {
        match self {
            SshTrouble::KeyChanged => format!(
                "if the machine was installed anew, ask its administrator for the fingerprint, remove the old key, and connect once by hand; \
                 otherwise somebody else may answer there\n  ssh-keygen -R {host}\n  {by_hand}"
            ),
            SshTrouble::KeyUnknown => {
                format!("connect once by hand, and compare the fingerprint before you confirm\n  {by_hand}")
            }
            SshTrouble::Denied => format!(
                "name the user with --ssh=USER@, and a key with --ssh-command 'ssh -i FILE'; see how ssh logs in\n  {by_hand}"
            ),
            SshTrouble::Unreachable | SshTrouble::NoHost => {
                format!("check the address in --nodes or in the plan, and the port in --ssh-command\n  {by_hand}")
            }
            SshTrouble::Options => "check --ssh-command and the configuration of ssh (~/.ssh/config)".to_owned(),
        }
    }
}

/// The lines in which ssh says what is wrong, without the frames that it draws around some of them.
pub(super) fn own_words(said: &str) -> Vec<String> {
    let lines = said.lines().map(str::trim).filter(|line| line.chars().any(|one| one.is_alphanumeric()));
    lines.map(|line| line.trim_matches('@').trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n\
                           @@@@@@@@@@@@@@@@@@@@@@@@@@@\r\nIT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r\n\
                           Host key for 10.0.0.11 has changed and you have requested strict checking.\r\nHost key verification failed.\r\n";

    #[test]
    fn what_ssh_says_is_recognised() {
        for (said, trouble) in [
            (CHANGED, SshTrouble::KeyChanged),
            (
                "No ED25519 host key is known for 10.0.0.11 and you have requested strict checking.\r\nHost key verification failed.\r\n",
                SshTrouble::KeyUnknown,
            ),
            ("nobody@10.0.0.11: Permission denied (publickey).\r\n", SshTrouble::Denied),
            ("ssh: connect to host 10.0.0.11 port 22: Connection refused\r\n", SshTrouble::Unreachable),
            ("ssh: connect to host 10.0.0.11 port 22: Connection timed out\r\n", SshTrouble::Unreachable),
            ("kex_exchange_identification: Connection closed by remote host\r\n", SshTrouble::Unreachable),
            ("ssh: Could not resolve hostname cp1: Name or service not known\r\n", SshTrouble::NoHost),
            ("command-line: line 0: Bad configuration option: foo\r\n", SshTrouble::Options),
        ] {
            assert_eq!(recognise(said), Some(trouble), "{said}");
            let hint = trouble.hint("ssh 10.0.0.11", "10.0.0.11");
            assert!(!hint.is_empty() && !hint.contains("StrictHostKeyChecking"), "{hint}");
        }
        assert_eq!(recognise("bash: line 1: /bin/sh: No such file or directory"), None);
    }

    #[test]
    fn frames_are_not_words() {
        let words = own_words(CHANGED);
        assert_eq!(words[0], "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!");
        assert_eq!(words.len(), 4, "{words:?}");
    }
}
