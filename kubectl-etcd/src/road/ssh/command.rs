//! The command line of the user's own ssh; on this machine, that of a shell. Pure.

use super::args::Host;

/// How long a connection to a node may take to come about, in seconds, unless `--ssh-command` says otherwise.
const CONNECT: &str = "ConnectTimeout=10";

/// The program, and its arguments. Options of the user's come first: of an option that is there twice, ssh takes the first. None of ours says
/// anything of host keys. Without a terminal ssh must not wait for an answer that nobody can give.
pub(super) fn words(ssh: &[String], user: Option<&str>, host: &Host, remote: &str, terminal: bool) -> Vec<String> {
    if host.is_local() {
        return ["/bin/sh", "-c", remote].map(str::to_owned).into();
    }
    let mut words = ssh.to_vec();
    let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    add(&["-T", "-o", CONNECT]);
    if !terminal {
        add(&["-o", "BatchMode=yes"]);
    }
    add(&["--", &destination(user, host), remote]);
    words
}

/// The same for a person who runs a command there; an empty one only looks.
pub(super) fn by_hand(ssh: &[String], user: Option<&str>, host: &Host, command: &str) -> String {
    if host.is_local() {
        return command.to_owned();
    }
    let destination = destination(user, host);
    let words = ssh.iter().map(String::as_str).chain([destination.as_str()]);
    let login = shlex::try_join(words).unwrap_or(destination.clone());
    if command.is_empty() { login } else { format!("{login} {command}") }
}

fn destination(user: Option<&str>, host: &Host) -> String {
    match user {
        Some(user) => format!("{user}@{}", host.address),
        None => host.address.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_options_come_first_and_host_keys_are_left_alone() {
        let host = Host { node: "cp1".into(), address: "10.0.0.11".into() };
        let ssh: Vec<String> = ["ssh", "-p", "2222", "-i", "my key"].map(str::to_owned).into();
        let words = words(&ssh, Some("core"), &host, "exec x", true);
        let expected = ["ssh", "-p", "2222", "-i", "my key", "-T", "-o", CONNECT, "--", "core@10.0.0.11", "exec x"];
        assert_eq!(words, expected);
        let silent = super::words(&ssh, None, &host, "exec x", false);
        assert!(silent.contains(&"BatchMode=yes".to_owned()) && silent[silent.len() - 2] == "10.0.0.11");
        assert!(!silent.iter().any(|word| word.contains("HostKey") || word.contains("KnownHosts")));
        assert_eq!(by_hand(&ssh, Some("core"), &host, ""), "ssh -p 2222 -i 'my key' core@10.0.0.11");
        assert_eq!(by_hand(&ssh, None, &host, "sudo -v"), "ssh -p 2222 -i 'my key' 10.0.0.11 sudo -v");
    }

    #[test]
    fn on_this_machine_there_is_no_ssh() {
        let host = Host { node: "cp1".into(), address: "local".into() };
        assert_eq!(words(&["ssh".to_owned()], Some("core"), &host, "exec x", false), ["/bin/sh", "-c", "exec x"]);
        assert_eq!(by_hand(&["ssh".to_owned()], Some("core"), &host, "sudo -v"), "sudo -v");
    }
}
