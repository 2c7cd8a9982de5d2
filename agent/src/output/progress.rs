//! One line on stderr that counts and then vanishes. Only for a terminal: a log has no use for it.

use super::Output;
use coord_shared::text::printable;

/// A running line. Clears itself when dropped.
pub(crate) struct ProgressLine<'a> {
    output: &'a Output,
    is_shown: bool,
}

impl Output {
    /// Shows nothing yet.
    pub(crate) fn progress(&self) -> ProgressLine<'_> {
        ProgressLine { output: self, is_shown: false }
    }
}

impl ProgressLine<'_> {
    /// Replaces the line.
    pub(crate) fn show(&mut self, text: &str) {
        if !self.output.err_is_terminal {
            return;
        }
        let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col));
        let line: String = printable(text).chars().take(columns.saturating_sub(1)).collect();
        self.output.say(&format!("\r\x1b[K{line}"));
        self.is_shown = true;
    }
}

impl Drop for ProgressLine<'_> {
    fn drop(&mut self) {
        if self.is_shown {
            self.output.say("\r\x1b[K");
        }
    }
}
