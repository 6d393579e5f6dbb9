//! What runs on the node: two shell scripts, as text, and what they say. Pure.
//!
//! The scripts have no single quote and no backslash, so that every login shell takes them between single quotes as they are. Values come as
//! arguments and over stdin, never as a part of a script.

/// How the user becomes root on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Sudo {
    /// With sudo, with a password only where sudo wants one; without sudo where the user is root
    #[default]
    Auto,
    /// With sudo, which may ask for the password
    Ask,
    /// Not at all
    No,
}

impl Sudo {
    fn word(self) -> &'static str {
        match self {
            Sudo::Auto => "auto",
            Sudo::Ask => "ask",
            Sudo::No => "no",
        }
    }
}

/// As the user: becomes root, and runs the second script. The prompt is how this side hears that sudo wants a password.
const LOGIN: &str = r#"
s="$1"; n="$2"; k="$3"; m="$4"
if [ "$m" = no ] || [ "$(id -u)" = 0 ]; then exec /bin/sh -c "$s" kubectl-etcd "$n" "$k"; fi
command -v sudo >/dev/null 2>&1 || { echo "$n failed nosudo"; exit 1; }
if [ "$m" = auto ] && sudo -n true 2>/dev/null; then exec sudo -n /bin/sh -c "$s" kubectl-etcd "$n" "$k"; fi
exec sudo -S -p "$n password" /bin/sh -c "$s" kubectl-etcd "$n" "$k"
"#;

/// As root: puts the sidecar into the first folder that has room and lets programs run, runs it, and takes it away however it ends. A folder
/// is tried by running a file in it.
const SERVE: &str = r#"
n="$1"; need="$2"; d=; made=
umask 077
clean() {
  if [ -n "$d" ]; then rm -f "$d/etcd-sidecar"; rmdir "$d"; fi
  if [ -n "$made" ]; then rmdir $made 2>/dev/null; fi
  d=; made=
}
trap clean EXIT
trap "exit 129" HUP
trap "exit 130" INT
trap "exit 141" PIPE
trap "exit 143" TERM
make() { [ -d "$1" ] || { mkdir "$1" 2>/dev/null && made="$1 $made"; }; }
try() {
  [ -d "$1" ] || return 1
  free=$(df -Pk "$1" 2>/dev/null | tail -n 1 | { read -r a b c free e; echo "$free"; })
  if [ -n "$free" ] && [ "$free" -lt "$need" ]; then return 1; fi
  d=$(mktemp -d "$1/etcd-sidecar.XXXXXXXX" 2>/dev/null) || { d=; return 1; }
  if echo : 2>/dev/null >"$d/etcd-sidecar" && chmod 700 "$d/etcd-sidecar" && "$d/etcd-sidecar" 2>/dev/null; then return 0; fi
  rm -f "$d/etcd-sidecar"; rmdir "$d"; d=
  return 1
}
make /var/lib/kubectl-etcd && make /var/lib/kubectl-etcd/bin
try /var/lib/kubectl-etcd/bin || try /run || try /dev/shm || { echo "$n failed folder"; exit 1; }
echo "$n ready $(uname -m)"
read -r size sum || exit 1
head -c "$size" >"$d/etcd-sidecar" || { echo "$n failed room"; exit 1; }
[ "$(sha256sum <"$d/etcd-sidecar" | cut -c 1-64)" = "$sum" ] || { echo "$n failed sum"; exit 1; }
echo "$n run"
"$d/etcd-sidecar" serve
exit $?
"#;

/// The folders that are tried, for people.
pub(super) const FOLDERS: &str = "/var/lib/kubectl-etcd/bin, /run and /dev/shm";

/// The command that the node's login shell is given. `nonce` is what the scripts say before everything that is meant for this side; `bytes`
/// is the size of the largest sidecar that may be sent.
pub(super) fn command(nonce: &str, bytes: u64, sudo: Sudo) -> String {
    let need = bytes.div_ceil(1024).saturating_add(1024).to_string();
    let words = ["exec", "/bin/sh", "-c", LOGIN, "kubectl-etcd", SERVE, nonce, &need, sudo.word()];
    let quote = |word: &&str| match word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte)) {
        true => (*word).to_owned(),
        // One line, for shells that end a quotation with the line.
        false => format!("'{}'", one_line(word)),
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// A script without its line ends.
fn one_line(script: &str) -> String {
    let mut all = String::new();
    for line in script.trim().lines().map(str::trim) {
        all.push_str(line);
        // A line that something is open in goes on.
        all.push_str(if line.ends_with('{') || line.ends_with(';') { " " } else { "; " });
    }
    all.trim_end_matches("; ").to_owned()
}

/// What a script says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// It waits for the sidecar, for a machine of this name (`uname -m`).
    Ready(String),
    /// The sidecar is there whole: what follows is its own.
    Run,
    /// It goes no further.
    Failed(Obstacle),
}

/// Why a script goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The node has no sudo.
    NoSudo,
    /// No folder takes a program and lets it run.
    Folder,
    /// The sidecar was not written whole.
    Room,
    /// What arrived is not what was sent.
    Sum,
}

/// Reads a line; `None` for one that is not meant for this side, as of a login shell that greets.
pub(super) fn read(line: &str, nonce: &str) -> Option<Said> {
    let mut words = line.trim_end().strip_prefix(nonce)?.strip_prefix(' ')?.split(' ');
    match (words.next()?, words.next(), words.next()) {
        ("ready", Some(machine), None) => Some(Said::Ready(machine.to_owned())),
        ("run", None, None) => Some(Said::Run),
        ("failed", Some(word), None) => Some(Said::Failed(match word {
            "nosudo" => Obstacle::NoSudo,
            "folder" => Obstacle::Folder,
            "room" => Obstacle::Room,
            "sum" => Obstacle::Sum,
            _ => return None,
        })),
        _ => None,
    }
}

/// What sudo says when it wants the password.
pub(super) fn prompt(nonce: &str) -> String {
    format!("{nonce} password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_login_shell_reads_the_same_words() {
        let command = command("n0nce", 5000, Sudo::Auto);
        assert!(!command.contains(['\n', '\\']), "{command}");
        let words = shlex::split(&command).expect("a command line");
        assert_eq!(words.len(), 9);
        assert_eq!((words[0].as_str(), words[1].as_str(), words[2].as_str()), ("exec", "/bin/sh", "-c"));
        assert_eq!(words[6..], ["n0nce", "1029", "auto"]);
        for script in [LOGIN, SERVE] {
            assert!(!script.contains(['\'', '\\', '!', '#', '`']), "{script}");
            // A shell takes the one line for what it takes the many for.
            let parsed = std::process::Command::new("/bin/sh").args(["-n", "-c", &one_line(script)]).status();
            assert!(parsed.expect("a shell").success(), "{}", one_line(script));
        }
    }

    #[test]
    fn only_lines_that_are_meant_for_this_side_are_read() {
        let read = |line: &str| read(line, "n");
        assert_eq!(read("n ready x86_64\n"), Some(Said::Ready("x86_64".to_owned())));
        assert_eq!(read("n run"), Some(Said::Run));
        assert_eq!(read("n failed sum\r\n"), Some(Said::Failed(Obstacle::Sum)));
        for other in ["", "n", "n ", "nn run", "Welcome to n run", "n run now", "n failed", "n failed oddly", "n ready"]
        {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
