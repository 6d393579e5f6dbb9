//! Progress of long work: a bar on a terminal, a line every ten seconds elsewhere, nothing when quiet.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Printer, bytes, screen, visible};

const EVERY: Duration = Duration::from_secs(10);

/// How far a piece of work is, in bytes. Finished, or dropped, it leaves nothing on the terminal.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    lines: Option<(Printer, Mutex<Instant>)>,
    what: String,
}

impl Progress {
    /// Work of which `total` bytes are known, or 0 when they are not.
    pub(crate) fn new(printer: Printer, what: &str, total: u64) -> Progress {
        let what = visible::name(what).into_owned();
        if printer.quiet() {
            return Progress { bar: None, lines: None, what };
        }
        if !screen::is_drawn() {
            return Progress { bar: None, lines: Some((printer, Mutex::new(Instant::now()))), what };
        }
        screen::clear();
        Progress::drawn(screen::add(ProgressBar::new(total)), what, total)
    }

    /// Several pieces of work of the same size at the same time, a line each.
    pub(crate) fn several(printer: Printer, whats: &[String], total: u64) -> Vec<Progress> {
        whats.iter().map(|what| Progress::new(printer, what, total)).collect()
    }

    fn drawn(bar: ProgressBar, what: String, total: u64) -> Progress {
        let template = if total > 0 {
            "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} eta {eta}"
        } else {
            "{msg} {bytes} {bytes_per_sec}"
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what.clone());
        Progress { bar: Some(bar), lines: None, what }
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
            bar.set_length(total.max(done));
            bar.set_position(done);
        }
        if let Some((printer, last)) = &self.lines {
            let Ok(mut last) = last.lock() else { return };
            if last.elapsed() >= EVERY {
                *last = Instant::now();
                let of = if total > 0 { format!(" of {}", bytes(total)) } else { String::new() };
                printer.note(format!("{}: {}{of}", self.what, bytes(done)));
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
