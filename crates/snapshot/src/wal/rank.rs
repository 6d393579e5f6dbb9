//! Which of several members has the most, by their logs.
//!
//! Raft elects no leader whose log is behind that of a voter: the last entry with the higher term wins, and of one term the longer log. An entry that a
//! client was told of is in the logs of a majority; so, of all survivors, the first by this order has every such entry that any of them has. The
//! revision of a database says nothing about that.

use std::collections::BTreeMap;

use super::Position;

/// A member whose log was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it is called.
    pub name: String,
    /// The cluster that its log is of.
    pub cluster_id: u64,
    /// Its last entry.
    pub last: Position,
}

/// Members in the order in which raft would choose them, by cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranking {
    /// By the ID of the cluster; in each, the member with the most first.
    pub clusters: BTreeMap<u64, Vec<Place>>,
}

/// A member's place among those of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The member.
    pub name: String,
    /// Its last entry.
    pub last: Position,
    /// How it compares with the first.
    pub standing: Standing,
}

/// How the log of a member compares with that of the first of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the first, or as far as the first.
    First,
    /// Its last entry is of the same term: it lacks so many entries, and has none that the first lacks.
    Behind {
        /// How many entries would be lost with it.
        entries: u64,
    },
    /// Its last entry is of an earlier term. It lacks at least so many entries; where the logs part is not known by this.
    EarlierTerm {
        /// At least so many entries would be lost with it; 0 where its log is longer, but of a leader that was succeeded.
        at_least: u64,
    },
}

/// Ranks members. Those of different clusters are never compared.
pub fn rank(candidates: &[Candidate]) -> Ranking {
    let mut clusters: BTreeMap<u64, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        clusters.entry(candidate.cluster_id).or_default().push(candidate);
    }
    let placed = |mut members: Vec<&Candidate>| {
        members.sort_by(|one, other| other.last.cmp(&one.last).then_with(|| one.name.cmp(&other.name)));
        let first = members.first().map(|first| first.last).unwrap_or_default();
        let place = |member: &Candidate| Place {
            name: member.name.clone(),
            last: member.last,
            standing: standing(member.last, first),
        };
        members.into_iter().map(place).collect()
    };
    Ranking { clusters: clusters.into_iter().map(|(id, members)| (id, placed(members))).collect() }
}

fn standing(last: Position, first: Position) -> Standing {
    let entries = first.index.saturating_sub(last.index);
    match last.term == first.term {
        true if entries == 0 => Standing::First,
        true => Standing::Behind { entries },
        false => Standing::EarlierTerm { at_least: entries },
    }
}

impl Ranking {
    /// The members of the only cluster that are as far as any; `None` if there is no member, or if there are several clusters: which of them is
    /// meant is for a person to say.
    pub fn best(&self) -> Option<Vec<&str>> {
        let mut clusters = self.clusters.values();
        let (Some(members), None) = (clusters.next(), clusters.next()) else { return None };
        let first = members.iter().filter(|place| place.standing == Standing::First);
        Some(first.map(|place| place.name.as_str()).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(name: &str, cluster_id: u64, term: u64, index: u64) -> Candidate {
        Candidate { name: name.to_owned(), cluster_id, last: Position { term, index } }
    }

    #[test]
    fn the_term_counts_before_the_index() {
        let ranking = rank(&[
            candidate("cp1", 7, 2, 900),
            candidate("cp2", 7, 3, 850),
            candidate("cp3", 7, 3, 840),
            candidate("cp4", 7, 3, 850),
            candidate("cp5", 7, 1, 10),
        ]);
        assert_eq!(ranking.best(), Some(vec!["cp2", "cp4"]));
        let places: Vec<_> = ranking.clusters[&7].iter().map(|place| (place.name.as_str(), place.standing)).collect();
        assert_eq!(
            places,
            [
                ("cp2", Standing::First),
                ("cp4", Standing::First),
                ("cp3", Standing::Behind { entries: 10 }),
                ("cp1", Standing::EarlierTerm { at_least: 0 }),
                ("cp5", Standing::EarlierTerm { at_least: 840 }),
            ]
        );
    }

    #[test]
    fn clusters_are_shown_and_none_is_chosen() {
        let ranking = rank(&[candidate("cp1", 7, 2, 900), candidate("cp2", 8, 3, 5)]);
        assert_eq!(ranking.best(), None);
        assert_eq!(ranking.clusters.len(), 2);
        assert_eq!(rank(&[]).best(), None);
    }

    proptest! {
        #[test]
        fn no_member_is_before_one_with_more(positions in prop::collection::vec((0..4_u64, 0..6_u64), 1..6)) {
            let all: Vec<_> = (0..).zip(&positions).map(|(n, &(term, index))| candidate(&n.to_string(), 1, term, index)).collect();
            let ranking = rank(&all);
            let places = &ranking.clusters[&1];
            prop_assert_eq!(places.len(), all.len());
            prop_assert!(places.windows(2).all(|pair| pair[0].last >= pair[1].last));
            let most = all.iter().map(|one| one.last).max();
            prop_assert!(places.iter().all(|place| (Some(place.last) == most) == (place.standing == Standing::First)));
        }
    }
}
