//! From a run that failed to the few choices that it needs.

use std::collections::BTreeMap;

use super::choices::Key;
use super::world::Setting;
use super::{Report, run};

/// The smallest script found by which the same rule breaks.
pub fn shrink(setting: &Setting, report: &Report) -> (BTreeMap<Key, u32>, Report) {
    let broken = report.failure.as_ref().map(|failure| failure.invariant);
    let mut best: Vec<(Key, u32)> = report.taken.clone();
    let mut shown = report.clone();
    let mut size = best.len();
    let mut tries = 0;
    while size > 0 && tries < 2_000 {
        let mut from = 0;
        while from < best.len() && tries < 2_000 {
            tries += 1;
            let to = best.len().min(from + size);
            let less: Vec<(Key, u32)> = [&best[..from], &best[to..]].concat();
            let script = less.iter().copied().collect();
            let tried = run(&Setting { script: Some(script), trace: false, ..setting.clone() });
            if tried.failure.as_ref().map(|failure| failure.invariant) == broken {
                (best, shown) = (less, tried);
            } else {
                from = to;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2).min(best.len()) };
    }
    (best.into_iter().collect(), shown)
}
