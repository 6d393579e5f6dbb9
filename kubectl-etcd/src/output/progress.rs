//! Progress of long work: a bar on a terminal, a line every ten seconds elsewhere, nothing when quiet.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Printer, bytes, screen, seconds, visible};

const EVERY: Duration = Duration::from_secs(10);
/// Of work whose size is known: it fills the line, whatever the terminal's width.
const SIZED: &str = "{msg} [{wide_bar}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
const UNSIZED: &str = "{msg} {decimal_bytes}, {decimal_bytes_per_sec}";

/// How far a piece of work is, in bytes. Finished, or dropped, it leaves nothing on the terminal.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    lines: Option<(Printer, Mutex<Instant>)>,
    what: String,
    begun: Instant,
    /// Whether the bar shows how much there is in all.
    sized: AtomicBool,
}

impl Progress {
    /// Work of which `total` bytes are known, or 0 when they are not.
    pub(crate) fn new(printer: Printer, what: &str, total: u64) -> Progress {
        let what = visible::name(what).into_owned();
        if printer.quiet() {
            return Progress::of(None, None, what);
        }
        if !screen::is_drawn() {
            return Progress::of(None, Some((printer, Mutex::new(Instant::now()))), what);
        }
        screen::clear();
        Progress::drawn(screen::add(ProgressBar::new(total)), what, total)
    }

    /// Several pieces of work of the same size at the same time, a line each.
    pub(crate) fn several(printer: Printer, whats: &[String], total: u64) -> Vec<Progress> {
        whats.iter().map(|what| Progress::new(printer, what, total)).collect()
    }

    fn of(bar: Option<ProgressBar>, lines: Option<(Printer, Mutex<Instant>)>, what: String) -> Progress {
        Progress { bar, lines, what, begun: Instant::now(), sized: AtomicBool::new(false) }
    }

    fn drawn(bar: ProgressBar, what: String, total: u64) -> Progress {
        bar.set_style(style(UNSIZED));
        bar.set_message(what.clone());
        let progress = Progress::of(Some(bar), None, what);
        if total > 0 {
            progress.update(0, total);
        }
        progress
    }

    /// Tells what is done from now on, of which nobody knows how long it takes.
    pub(crate) fn turn(&self, to: &str) {
        let to = visible::name(to);
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {to}", self.what));
        }
        if let Some((printer, _)) = &self.lines {
            printer.note(format!("{}: {to}", self.what));
        }
    }

    /// Tells the bytes that are done, and how many there are in all (0: unknown).
    pub(crate) fn update(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            if total > 0 && !self.sized.swap(true, Relaxed) {
                bar.set_style(style(SIZED));
            }
            bar.set_length(total.max(done));
            bar.set_position(done);
        }
        if let Some((printer, last)) = &self.lines {
            let Ok(mut last) = last.lock() else { return };
            if last.elapsed() >= EVERY {
                *last = Instant::now();
                let of = if total > 0 { format!(" of {}", bytes(total)) } else { String::new() };
                let left = left(self.begun.elapsed(), done, total);
                let left = left.map(|left| format!(", {} left", seconds(left))).unwrap_or_default();
                printer.note(format!("{}: {}{of}{left}", self.what, bytes(done)));
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// How many seconds the rest takes, if it goes on as it went so far.
fn left(elapsed: Duration, done: u64, total: u64) -> Option<i64> {
    let rest = total.checked_sub(done).filter(|_| done > 0)?;
    Some((elapsed.as_secs_f64() * rest as f64 / done as f64).ceil() as i64)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_was_done() {
        let ten = Duration::from_secs(10);
        assert_eq!(
            (left(ten, 1, 4), left(ten, 4, 4), left(ten, 0, 4), left(ten, 5, 0)),
            (Some(30), Some(0), None, None)
        );
        for template in [SIZED, UNSIZED] {
            ProgressStyle::with_template(template).expect("a template");
        }
    }
}
