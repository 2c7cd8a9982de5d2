//! Puts together again what a monitor has logged in parts because the line was long.

use super::{LogLine, LogStream};

/// A line that is longer stays in parts, of this size.
const JOINED_MAX_BYTES: usize = 1024 * 1024;

/// The beginnings of lines whose ends have not come yet: one per stream, because the two are mixed in a log.
#[derive(Debug, Default)]
pub(super) struct Join {
    out: Option<LogLine>,
    err: Option<LogLine>,
}

impl Join {
    /// Takes the next line of a log, and gives back one that is whole. It has the time of its beginning.
    pub(super) fn add(&mut self, line: LogLine) -> Option<LogLine> {
        let begun = match line.stream {
            LogStream::Out => &mut self.out,
            LogStream::Err => &mut self.err,
        };
        let joined = match begun.take() {
            None => line,
            Some(mut first) => {
                first.message.push_str(&line.message);
                first.partial = line.partial;
                first
            }
        };
        if joined.partial && joined.message.len() < JOINED_MAX_BYTES {
            *begun = Some(joined);
            return None;
        }
        Some(joined)
    }

    /// What has begun and not ended.
    pub(super) fn rest(self) -> impl Iterator<Item = LogLine> {
        self.out.into_iter().chain(self.err)
    }
}
