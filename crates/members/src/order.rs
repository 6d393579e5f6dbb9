//! What etcd says to an order: whether it has refused it, or nobody knows.

/// What became of an order that was not answered with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was refused, or did not reach etcd.
    Refused,
    /// The revision of a compaction is compacted already.
    AlreadyCompacted,
    /// It may have been carried out.
    Unknown,
}

/// What etcd says when it refuses an order (etcd api/v3rpc/rpctypes/error.go, 3.4 to 3.7), and what `etcdctl` says when it has not sent it.
const REFUSALS: [&str; 16] = [
    "required revision is a future revision",
    "member not found",
    "can only promote a learner member",
    "not enough started members",
    "unhealthy cluster",
    "bad leader transferee",
    "not leader",
    "no leader endpoint given",
    "corrupt cluster",
    "no leader",
    "permission denied",
    "not capable",
    "connection refused",
    "bad certificate",
    "unknown authority",
    "no such file or directory",
];

/// Judges by what was said.
pub fn verdict(said: &str) -> Verdict {
    if said.contains("required revision has been compacted") {
        return Verdict::AlreadyCompacted;
    }
    // A request that broke off says so beside what came before.
    let broke_off = ["DeadlineExceeded", "deadline exceeded", "timed out", "leader changed"];
    let is_sent = broke_off.iter().any(|text| said.contains(text)) && !said.contains("connection refused");
    match REFUSALS.iter().any(|text| said.contains(text)) && !is_sent {
        true => Verdict::Refused,
        false => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_refuses_is_told_from_what_nobody_knows() {
        for said in [
            "Error: etcdserver: mvcc: required revision is a future revision",
            "etcdserver: can only promote a learner member which is in sync with leader",
            "no leader endpoint given at [https://127.0.0.1:2379]",
            "context deadline exceeded: dial tcp 127.0.0.1:2379: connect: connection refused",
        ] {
            assert_eq!(verdict(said), Verdict::Refused, "{said}");
        }
        assert_eq!(verdict("etcdserver: mvcc: required revision has been compacted"), Verdict::AlreadyCompacted);
        for said in ["", "Error: context deadline exceeded", "etcdserver: request timed out: no leader", "broke"] {
            assert_eq!(verdict(said), Verdict::Unknown, "{said}");
        }
    }
}
