//! Looks after an API server that was started on new data: whether it was ever ready. Only where it is certain that it was not do the nodes roll back
//! by themselves, because a client may have been told that a write had succeeded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use etcd_transaction::timers;

use super::api_server::{self, Look};
use super::ground::Ground;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(300);
/// For how long at most nothing may be known of it.
pub(super) const SURE: Duration = Duration::from_millis(timers::SURE.0);

/// What was seen of an API server since it was first started.
#[derive(Debug, Default)]
pub(super) struct ApiWatch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// When it was certain last that it was not ready. `None` before it was started.
    last: Option<Instant>,
    /// It was ready, or nobody knows.
    ready: bool,
    /// Why it was not ready when that was seen last.
    why: String,
}

impl Seen {
    /// Takes what was seen. `begun` is when it was begun to look.
    fn add(&mut self, begun: Instant, look: Look) {
        let Some(last) = &mut self.last else { return };
        match look {
            Look::Ready => self.ready = true,
            Look::NotReady(why) => {
                self.ready |= begun.saturating_duration_since(*last) > SURE;
                *last = begun.max(*last);
                self.why = why;
            }
            Look::Unknown => {}
        }
    }

    fn was_never_ready(&self, now: Instant) -> bool {
        !self.ready && self.last.is_some_and(|last| now.saturating_duration_since(last) <= SURE)
    }
}

impl ApiWatch {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is certain, until now, that it was never ready.
    pub(super) fn was_never_ready(&self) -> bool {
        self.seen().was_never_ready(Instant::now())
    }

    /// Takes what was seen. `begun` is when it was begun to look.
    pub(super) fn add(&self, begun: Instant, look: Look) {
        self.seen().add(begun, look);
    }

    /// Why it was not ready when that was seen last.
    pub(super) fn why(&self) -> String {
        self.seen().why.clone()
    }
}

/// Begins to look, once: before the API server is started.
pub(super) fn start(watch: &Arc<ApiWatch>, ground: &Ground) {
    // None of it is on this node, and the nodes do not roll back by themselves.
    let Some(api) = ground.api.clone() else { return };
    {
        let mut seen = watch.seen();
        if seen.last.is_some() {
            return;
        }
        seen.last = Some(Instant::now());
    }
    let (watch, open) = (Arc::downgrade(watch), ground.api_is_open);
    tokio::spawn(async move {
        loop {
            let begun = Instant::now();
            let look = api_server::look(&api, open).await;
            let Some(watch) = watch.upgrade() else { return };
            watch.add(begun, look);
            if watch.seen().ready {
                return;
            }
            drop(watch);
            tokio::time::sleep(LOOK).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_all_the_time_is_certain() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let not = || Look::NotReady("refused".to_owned());
        let seen = |looks: Vec<(u64, Look)>| {
            let mut seen = Seen { last: Some(begun), ..Seen::default() };
            looks.into_iter().for_each(|(second, look)| seen.add(at(second), look));
            seen
        };
        assert!(!Seen::default().was_never_ready(begun), "it was not started");
        for (looks, now, never) in [
            (vec![], 5, true),
            (vec![], 6, false),
            (vec![(5, not())], 10, true),
            (vec![(5, not())], 11, false),
            (vec![(6, not())], 6, false),
            (vec![(3, Look::Unknown), (5, not())], 5, true),
            (vec![(3, Look::Unknown), (6, not()), (7, not())], 7, false),
            (vec![(1, not()), (2, Look::Ready), (3, not())], 3, false),
            // What ends late does not take back what is known.
            (vec![(5, not()), (4, not())], 10, true),
        ] {
            let shown = format!("{looks:?} {now}");
            assert_eq!(seen(looks).was_never_ready(at(now)), never, "{shown}");
        }
        let mut never = Seen::default();
        never.add(begun, not());
        assert!(!never.was_never_ready(begun));
    }
}
