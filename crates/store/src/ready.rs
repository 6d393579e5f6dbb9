//! Whether a backup can be written to a store, asked before anything is done for it.

use crate::{Store, StoreError, observe};

/// A backup cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The store cannot be listed, or its folder does not exist.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name and the record of the backup would have a time at which nobody believes that it was taken: a backup from the future is
    /// suspect, and is never restored from.
    #[error("{0}")]
    Clock(String),
}

/// Asks a store for the names of its clusters, and compares its clock with that of this machine.
///
/// # Errors
/// See [`NotReady`].
pub async fn ready(store: &Store) -> Result<(), NotReady> {
    store.clusters().await?;
    match observe::clock_of(store) {
        None => Ok(()),
        Some(why) => Err(NotReady::Clock(why)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::backend::faulty::{Fails, Faulty, When};
    use crate::store::Backend;
    use crate::{ClockReading, Patience};

    #[tokio::test]
    async fn a_clock_that_is_off_is_told_before_anything_is_written() {
        let theirs: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        for (minutes, good) in [(0, true), (15, true), (-15, true), (16, false), (-16, false)] {
            let faulty = Faulty::new(Fails::Refused, When::From(usize::MAX), true);
            let store = Store::over(Arc::new(faulty), Patience::default());
            let Backend::Cloud(cloud) = &store.backend else { panic!("it is a cloud") };
            let ours = theirs + SignedDuration::from_mins(minutes);
            cloud.set_clock(ClockReading { theirs, ours });
            let told = ready(&store).await;
            assert_eq!(told.is_ok(), good, "{minutes}");
            if let Err(error) = told {
                let told = error.to_string();
                assert!(told.contains(&theirs.to_string()) && told.contains(&ours.to_string()), "{told}");
            }
        }
        let away = Faulty::new(Fails::Refused, When::From(1), true);
        let store = Store::over(Arc::new(away), Patience::default());
        assert!(matches!(ready(&store).await, Err(NotReady::Store(_))));
    }
}
