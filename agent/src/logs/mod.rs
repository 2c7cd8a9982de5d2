//! Reads the logs that monitors write: the last lines, and what comes next, across rotation.
//!
//! A log is `PATH` with `PATH.1` (older), `PATH.2` and so on; each line is one JSON object, a [`LogLine`]. Lines that are
//! none (cut off by a full disk or a crash) are passed over, and what was logged in parts is one line again. Works for logs of
//! containers that are gone.
//! Deliberately absent: writing (the monitor's), a database, an index.

mod files;
mod follow;
mod join;
mod tail;

use serde::{Deserialize, Serialize};

pub use follow::Follow;
pub use tail::{begin, read_tail};

/// One line that a container has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When the monitor has read it: RFC 3339, UTC, microseconds.
    #[serde(rename = "t")]
    pub time: String,
    /// Standard output or standard error.
    #[serde(rename = "s")]
    pub stream: LogStream,
    /// The text, without its newline. Bytes that are no UTF-8 have become U+FFFD.
    #[serde(rename = "m")]
    pub message: String,
    /// The line goes on in the next one of this stream: for readers, because it is longer than 1 MiB; on disk, 16 KiB.
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A line is at most 16 KiB of text, six times as long when every byte of it is escaped, and some 80 bytes around it.
const LINE_MAX_BYTES: usize = 128 * 1024;

impl LogLine {
    /// `None` for a line that is not one.
    fn parse(line: &[u8]) -> Option<LogLine> {
        serde_json::from_slice(line).ok()
    }
}

#[cfg(test)]
mod tests;
