//! What comes next in a log. Looks a few times a second, which costs nothing worth mentioning and only while somebody
//! follows, and has no watch to lose when the log is rotated.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LINE_MAX_BYTES, LogLine};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Read at once; what is more comes with the next call.
const BLOCK_BYTES: u64 = 256 * 1024;

/// A position in a log that moves on with it.
pub struct Follow {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end has not been written yet.
    rest: Vec<u8>,
}

impl Follow {
    /// Begins at the end of the log at `path`, which need not exist yet.
    pub fn from_end(path: &Path) -> io::Result<Follow> {
        use std::io::Seek;
        let file = match File::open(path) {
            Ok(mut file) => {
                file.seek(io::SeekFrom::End(0))?;
                Some(file)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Follow { path: path.to_owned(), file, rest: Vec::new() })
    }

    /// Waits for lines and returns them: at least one. May be dropped while it waits; nothing is lost.
    pub async fn next(&mut self) -> io::Result<Vec<LogLine>> {
        loop {
            let lines = self.read()?;
            if !lines.is_empty() {
                return Ok(lines);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The lines that are there by now.
    pub fn read(&mut self) -> io::Result<Vec<LogLine>> {
        // Looked at before the last read of the old file: when it was renamed, nothing more is added to it.
        let moved_on = self.moved_on()?;
        let mut lines = Vec::new();
        let read = self.read_block(&mut lines)?;
        if moved_on && !read {
            self.file = self.reopen()?;
            self.rest.clear();
            self.read_block(&mut lines)?;
        }
        Ok(lines)
    }

    fn read_block(&mut self, lines: &mut Vec<LogLine>) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let read = file.take(BLOCK_BYTES).read_to_end(&mut self.rest)?;
        if let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') {
            lines.extend(self.rest[..end].split(|&byte| byte == b'\n').filter_map(LogLine::parse));
            self.rest.drain(..=end);
        }
        if self.rest.len() > LINE_MAX_BYTES {
            self.rest.clear(); // no line of ours is that long
        }
        Ok(read > 0)
    }

    /// Whether another file has this name now. When rotation was faster than we, one file may be skipped.
    fn moved_on(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        match std::fs::metadata(&self.path) {
            Ok(named) => {
                let open = file.metadata()?;
                Ok((open.dev(), open.ino()) != (named.dev(), named.ino()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn reopen(&self) -> io::Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
