//! Progress on stderr for whatever takes longer than a second.
//!
//! On a terminal one line that counts and then vanishes; elsewhere (a pipeline's log) one line each time the words change, and not
//! too often. A quick command never shows any of it.

use super::{Output, printable};
use crate::clock;
use std::io::Write;
use std::time::Duration;
use tokio::time::Instant;

/// What takes less is not worth a word.
const PATIENCE: Duration = Duration::from_secs(1);
/// Shortest time between two lines where lines pile up.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// One running progress line. Clears itself when dropped.
pub(crate) struct Progress<'a> {
    output: &'a Output,
    started: Instant,
    shown: Option<(Instant, String)>,
}

impl Output {
    /// Starts the clock; shows nothing yet.
    pub(crate) fn progress(&self) -> Progress<'_> {
        Progress { output: self, started: clock::instant(), shown: None }
    }

    /// Runs `work`, and says what is waited for once it takes longer than a second.
    pub(crate) async fn waiting<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        self.watching(|| what.to_owned(), work).await
    }

    /// The same, with words that change meanwhile.
    pub(crate) async fn watching<T>(&self, words: impl Fn() -> String, work: impl Future<Output = T>) -> T {
        let mut progress = self.progress();
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(PATIENCE, &mut work).await {
                Ok(result) => return result,
                Err(_) => progress.show(&words()),
            }
        }
    }
}

impl Progress<'_> {
    /// Says what is waited for now.
    pub(crate) fn show(&mut self, what: &str) {
        let elapsed = self.started.elapsed();
        if elapsed < PATIENCE {
            return;
        }
        let what = printable(what);
        if self.output.err_is_terminal {
            let room = terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
            let line: String = format!("{what} ({}s)", elapsed.as_secs()).chars().take(room.saturating_sub(1)).collect();
            self.output.say(&format!("\r\x1b[K{line}"));
        } else {
            let due = self.shown.as_ref().is_none_or(|(at, before)| *before != what && at.elapsed() >= LINE_INTERVAL);
            if !due {
                return;
            }
            self.output.say(&format!("{what}\n"));
        }
        self.shown = Some((clock::instant(), what));
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.shown.is_some() && self.output.err_is_terminal {
            self.output.say("\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }
}
