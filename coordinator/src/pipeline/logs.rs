//! The log of a run as it is kept: the lines of its builders, one after the other, and a line for what was left out.

use super::files::RunFiles;
use super::uploads::LOG_MAX_BYTES;
use bytes::Bytes;
use coord_shared::names::RunId;
use coord_shared::quantity::ByteSize;
use coord_shared::wire::RunLogLine;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// What was left out of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dropped {
    pub(super) bytes: u64,
    pub(super) lines: u64,
}

impl Dropped {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("dropped-new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(&self)?)?;
        fs::rename(beside, path)
    }

    pub(super) fn add(&mut self, rest: &[u8]) {
        self.bytes = self.bytes.saturating_add(rest.len() as u64);
        self.lines = self.lines.saturating_add(rest.iter().filter(|b| **b == b'\n').count() as u64);
    }
}

/// One builder's part of a run's log.
#[derive(Debug)]
pub struct KeptLog {
    /// Whole lines.
    pub lines: Bytes,
}

impl RunFiles {
    /// What the `attempt`th builder of a run sent, with a last line about what was left out, if anything was.
    pub fn kept_log(&self, run: &RunId, attempt: u32, at: Timestamp) -> io::Result<KeptLog> {
        let mut lines = match fs::read(self.log(run, attempt)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        // A line that was cut by the end of a process is sent again by its builder, or will never be whole.
        let whole = lines.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        lines.truncate(whole);
        let dropped = Dropped::read(&self.dropped(run, attempt))?;
        if dropped.bytes > 0 {
            let limit = ByteSize(LOG_MAX_BYTES).human();
            let text = format!(
                "{} more lines ({}) are left out: the log of a run ends at {limit}",
                dropped.lines,
                ByteSize(dropped.bytes).human()
            );
            lines.extend_from_slice(&own_line(at, &text));
        }
        Ok(KeptLog { lines: Bytes::from(lines) })
    }
}

/// A line of the coordinator's own.
pub(crate) fn own_line(at: Timestamp, text: &str) -> Bytes {
    let line = RunLogLine { time: at, step: "run".to_owned(), stream: "coord".to_owned(), line: text.to_owned() };
    // Strings only: JSON can always hold those.
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    Bytes::from(bytes)
}
