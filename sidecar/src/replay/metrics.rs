//! The figures that etcd tells of itself, as Prometheus reads them.

/// The index of the last entry that was applied (server/etcdserver/metrics.go; a gauge in spite of its name, and set with every batch of entries).
pub(super) const APPLIED: &str = "etcd_server_proposals_applied_total";
/// The revision that etcd has in memory (server/storage/mvcc/metrics.go).
pub(super) const REVISION: &str = "etcd_debugging_mvcc_current_revision";

/// A figure without labels that is a whole number, as Go prints a float: `1.234567e+06` from a million on. `None` if it is not told.
pub(super) fn figure(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    let value: f64 = line.trim().parse().ok()?;
    // Above, a float does not hold every whole number.
    let whole = value >= 0.0 && value.fract() == 0.0 && value <= 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number that a float holds exactly"
    )]
    whole.then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_go_prints_them() {
        let text = "# HELP etcd_server_proposals_applied_total The total\n# TYPE etcd_server_proposals_applied_total gauge\n\
                    etcd_server_proposals_applied_total 1.234567e+06\netcd_debugging_mvcc_current_revision 42\n\
                    etcd_server_proposals_applied_total_other 7\nhalf 0.5\nnegative -1\nwords NaN\nhuge 1e+300\n";
        assert_eq!(figure(text, APPLIED), Some(1_234_567));
        assert_eq!(figure(text, REVISION), Some(42));
        for name in ["half", "negative", "words", "huge", "absent", ""] {
            assert_eq!(figure(text, name), None, "{name}");
        }
    }
}
