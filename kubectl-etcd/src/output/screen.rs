//! The one screen that all progress is drawn on, so that nothing else is written into the middle of it.

use std::io::IsTerminal;
use std::sync::{LazyLock, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Bars, and the line that does not stay, on stderr. Nothing is drawn where that is no terminal.
static SCREEN: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));
/// The line that does not stay, while there is one.
static TRANSIENT: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether anything is drawn.
pub(super) fn is_drawn() -> bool {
    std::io::stderr().is_terminal()
}

/// Adds a bar below those that are there.
pub(super) fn add(bar: ProgressBar) -> ProgressBar {
    SCREEN.add(bar)
}

/// Shows a line until something else is written, or another one takes its place. It is cut off at the width of the terminal.
pub(super) fn transient(text: &str) {
    if !is_drawn() {
        return;
    }
    let mut line = TRANSIENT.lock().unwrap_or_else(PoisonError::into_inner);
    let line = line.get_or_insert_with(|| {
        let bar = SCREEN.add(ProgressBar::new_spinner());
        let style = ProgressStyle::with_template("{wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar
    });
    line.set_message(text.to_owned());
    line.tick();
}

/// Takes the line away that does not stay.
pub(super) fn clear() {
    if let Some(line) = TRANSIENT.lock().unwrap_or_else(PoisonError::into_inner).take() {
        line.finish_and_clear();
        SCREEN.remove(&line);
    }
}

/// Writes something that stays, above what is drawn.
pub(super) fn beside<T>(write: impl FnOnce() -> T) -> T {
    clear();
    if is_drawn() { SCREEN.suspend(write) } else { write() }
}
