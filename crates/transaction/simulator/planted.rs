//! Rules that are broken on purpose.

use etcd_transaction::Participant;

/// A rule of the participant, or of what carries out its effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// In the participant.
    #[cfg(feature = "planted")]
    Core(etcd_transaction::planted::Planted),
    /// An entry is said to be on the disk before it is synced.
    PersistedBeforeSync,
    /// What a journal shows is believed, and was never synced.
    JournalReadWithoutSync,
    /// The news of a write by a former process is believed.
    FormerWriteBelieved,
    /// What was moved before is not synced again.
    DoneWithoutSync,
    /// What cannot be looked at counts as absent.
    ErrorTakenForAbsent,
    /// A manifest is moved over another one.
    ManifestMovedOver,
    /// A file operation that hangs is not told.
    HangNotTold,
    /// Decisions are brought from journals that were not synced.
    OperatorReadsWithoutSync,
    /// An API server that is ready is stopped for the way back.
    ReadinessNotLookedAt,
    /// An API server that was not ready counts as such for ever.
    OldLookBelieved,
    /// A node counts as armed for the way back before that is synced.
    ArmedWithoutSync,
    /// What was said for another transaction is believed.
    OtherTransactionHeard,
}

impl Planted {
    /// Those that are not in the participant.
    pub const DRIVER: [Planted; 12] = [
        Planted::PersistedBeforeSync,
        Planted::JournalReadWithoutSync,
        Planted::FormerWriteBelieved,
        Planted::DoneWithoutSync,
        Planted::ErrorTakenForAbsent,
        Planted::ManifestMovedOver,
        Planted::HangNotTold,
        Planted::OperatorReadsWithoutSync,
        Planted::ReadinessNotLookedAt,
        Planted::OldLookBelieved,
        Planted::ArmedWithoutSync,
        Planted::OtherTransactionHeard,
    ];

    /// All that this build has.
    pub fn all() -> Vec<Planted> {
        #[allow(unused_mut, reason = "without the feature there are no others")]
        let mut all = Planted::DRIVER.to_vec();
        #[cfg(feature = "planted")]
        all.extend(etcd_transaction::planted::ALL.map(Planted::Core));
        all
    }

    /// Its name.
    pub fn name(self) -> String {
        match self {
            #[cfg(feature = "planted")]
            Planted::Core(planted) => format!("{planted:?}"),
            other => format!("{other:?}"),
        }
    }

    /// Breaks a rule of a participant, if it is one of those.
    #[cfg_attr(not(feature = "planted"), allow(unused_variables, reason = "without the feature there are none"))]
    pub fn plant(planted: Option<Planted>, participant: &mut Participant) {
        #[cfg(feature = "planted")]
        if let Some(Planted::Core(planted)) = planted {
            participant.plant(planted);
        }
    }
}
