//! Keys of other API servers and programs in the same etcd: how many were passed over.

use std::collections::BTreeMap;

/// Prefixes that are told apart.
const MOST: usize = 20;
/// What keys are counted as that have no prefix, or one of too many.
const REST: &str = "";

/// Keys of others, which were not looked at.
#[derive(Debug, Default)]
pub(crate) struct PassedOver(BTreeMap<String, u64>);

impl PassedOver {
    /// Counts a key of this prefix.
    pub(crate) fn add(&mut self, prefix: &str) {
        let known = self.0.len() < MOST || self.0.contains_key(prefix);
        let counted = if known { prefix } else { REST };
        match self.0.get_mut(counted) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(counted.to_owned(), 1)),
        }
    }

    /// The prefixes, each with its keys.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(prefix, count)| (prefix.as_str(), *count))
    }

    /// What was not looked at, in one line, with the flag that looks at it; `None` if that is nothing.
    pub(super) fn line(&self) -> Option<String> {
        let one = |(prefix, count): (&str, u64)| match prefix {
            REST => format!("{count} elsewhere"),
            prefix => format!("{count} under {prefix} (--prefix {prefix})"),
        };
        // Those that can be named first.
        let mut named: Vec<_> = self.counts().filter(|(prefix, _)| *prefix != REST).collect();
        named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rest = self.counts().filter(|(prefix, _)| *prefix == REST);
        let told: Vec<String> = named.into_iter().chain(rest).map(one).collect();
        (!told.is_empty()).then(|| format!("keys under other prefixes were not looked at: {}", told.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_is_told_with_the_flag_that_shows_it() {
        let mut passed = PassedOver::default();
        assert_eq!(passed.line(), None);
        for prefix in ["/b", "/calico", "", "/calico"] {
            passed.add(prefix);
        }
        let told = "2 under /calico (--prefix /calico), 1 under /b (--prefix /b), 1 elsewhere";
        assert_eq!(passed.line(), Some(format!("keys under other prefixes were not looked at: {told}")));
        (0..100).for_each(|n| passed.add(&format!("/{n}")));
        assert_eq!((passed.counts().count(), passed.counts().map(|(_, count)| count).sum()), (MOST, 104));
    }
}
