//! How far a long command is, on stderr, and only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how many rows a phase is done with, its rate, and the time left once its end is known.
pub(crate) struct Progress {
    bar: ProgressBar,
}

const WITHOUT_END: &str = "{prefix}: {human_pos}, {per_sec:0}";
const WITH_END: &str = "{prefix}: {human_pos} of {human_len}, {per_sec:0}, {eta} left";

impl Progress {
    pub(crate) fn new(phase: &'static str, end: Option<u64>) -> Self {
        let progress = Self { bar: ProgressBar::no_length().with_prefix(phase) };
        progress.bar.set_style(style(WITHOUT_END));
        progress.expect(end);
        progress
    }

    /// Says how many rows there are, as far as that is known. The number may change.
    pub(crate) fn expect(&self, end: Option<u64>) {
        let Some(end) = end.filter(|end| self.bar.length() != Some(*end)) else { return };
        if self.bar.length().is_none() {
            self.bar.set_style(style(WITH_END));
        }
        self.bar.set_length(end);
    }

    pub(crate) fn done(&self, rows: u64) {
        self.bar.inc(rows);
    }

    /// Makes room on the terminal for what `print` prints.
    pub(crate) fn beside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
