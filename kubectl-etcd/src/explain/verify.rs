//! `verify`, by hand.

use super::facts::title;
use super::{Place, Script, Step, command, words};
use crate::output::visible::quoted;

/// How a file is checked without this plugin. No cluster is needed.
pub(crate) fn verify(file: &str) -> String {
    let quoted = quoted(file);
    let digest =
        Step::new(Place::Here, "a snapshot ends with the SHA-256 of all bytes before; the two lines must be equal")
            .beyond("a copy of member/snap/db, which has no digest, is recognised")
            .run(format!("head -c -32 {quoted} | sha256sum | cut -d ' ' -f 1"))
            .run(format!("tail -c 32 {quoted} | od -A n -t x1 | tr -d ' \\n'; echo"));
    let status = Step::new(
        Place::Here,
        "etcdutl walks the keys and shows hash, revision and number of keys (etcd 3.4: etcdctl)",
    )
    .beyond("both meta pages, every page that can be reached, the order of all keys and every record are checked")
    .beyond("HASHKV is computed, which etcdctl endpoint hashkv prints for a member")
    .run(command(&[words(&["etcdutl snapshot status"]), vec![quoted], words(&["-w table"])].concat()));
    Script { title: title(&["verify", file]), notes: vec!["No cluster is needed.".into()], steps: vec![digest, status] }
        .text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file() {
        assert_eq!(
            verify("my file.db"),
            "\
# kubectl etcd verify 'my file.db', by hand. Nothing was done.
# No cluster is needed.
# \"tool:\" is what kubectl etcd does beyond the commands.

# 1. on this machine
# why:  a snapshot ends with the SHA-256 of all bytes before; the two lines
#       must be equal
# tool: a copy of member/snap/db, which has no digest, is recognised
head -c -32 'my file.db' | sha256sum | cut -d ' ' -f 1
tail -c 32 'my file.db' | od -A n -t x1 | tr -d ' \\n'; echo

# 2. on this machine
# why:  etcdutl walks the keys and shows hash, revision and number of keys
#       (etcd 3.4: etcdctl)
# tool: both meta pages, every page that can be reached, the order of all keys
#       and every record are checked
# tool: HASHKV is computed, which etcdctl endpoint hashkv prints for a member
etcdutl snapshot status 'my file.db' -w table
"
        );
    }
}
