//! What comes next in a log. Looks a few times a second, which costs nothing worth mentioning and only while somebody
//! follows, and has no watch to lose when the log is rotated.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::join::Join;
use super::{LINE_MAX_BYTES, LogLine, files};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Read at once; what is more comes with the next call.
const BLOCK_BYTES: usize = 256 * 1024;

/// A position in a log that moves on with it.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of the first line that was not read. What a monitor takes back was never read.
    offset: u64,
    join: Join,
}

impl Follow {
    /// Begins behind the last whole line of the log at `path`, which need not exist yet.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn from_end(path: &Path) -> io::Result<Follow> {
        let mut follow = Follow { path: path.to_owned(), file: files::current(path)?, offset: 0, join: Join::default() };
        if let Some(file) = &follow.file {
            follow.offset = last_end(file)?;
        } else if let Some(file) = files::oldest(path)? {
            // Between two steps of a rotation.
            follow.offset = last_end(&file)?;
            follow.file = Some(file);
            while follow.move_on()? {}
        }
        Ok(follow)
    }

    /// Begins with the oldest line of the log at `path`, which need not exist yet.
    pub fn from_start(path: &Path) -> Follow {
        Follow { path: path.to_owned(), file: None, offset: 0, join: Join::default() }
    }

    /// Waits for lines and returns them: at least one. May be dropped while it waits; nothing is lost.
    ///
    /// # Errors
    /// When the log cannot be read.
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
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<LogLine>> {
        loop {
            // Looked for before the last read of a file: when there is a newer one, nothing more is added to this.
            let newer = match &self.file {
                Some(file) => files::newer(&self.path, file)?,
                None => files::oldest(&self.path)?,
            };
            let (lines, read) = self.read_block()?;
            if !lines.is_empty() {
                return Ok(lines);
            }
            // Parts of a line, or what is none, may have been passed over.
            if read {
                continue;
            }
            match newer {
                Some(newer) => {
                    self.file = Some(newer);
                    self.offset = 0;
                }
                None => return Ok(lines),
            }
        }
    }

    /// The open file, and the end of what was read of it.
    pub(super) fn place(&self) -> Option<(&File, u64)> {
        self.file.as_ref().map(|file| (file, self.offset))
    }

    /// To the end of the next file, if there is one.
    fn move_on(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let Some(newer) = files::newer(&self.path, file)? else { return Ok(false) };
        self.offset = last_end(&newer)?;
        self.file = Some(newer);
        Ok(true)
    }

    /// Reads whole lines. Returns also whether there were any bytes to be passed.
    fn read_block(&mut self) -> io::Result<(Vec<LogLine>, bool)> {
        let Some(file) = &self.file else { return Ok((Vec::new(), false)) };
        if file.metadata()?.len() <= self.offset {
            return Ok((Vec::new(), false));
        }
        let mut block = vec![0; BLOCK_BYTES];
        let read = file.read_at(&mut block, self.offset)?;
        block.truncate(read);
        let passed = match block.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => end + 1,
            // No line of ours is that long.
            None if read > LINE_MAX_BYTES => read,
            None => 0,
        };
        self.offset += passed as u64;
        let lines = block[..passed].split(|&byte| byte == b'\n').filter_map(LogLine::parse);
        Ok((lines.filter_map(|line| self.join.add(line)).collect(), passed > 0))
    }
}

/// Behind the last whole line.
fn last_end(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(LINE_MAX_BYTES as u64);
    let mut block = vec![0; usize::try_from(length - start).unwrap_or_default()];
    let read = file.read_at(&mut block, start)?;
    Ok(block[..read].iter().rposition(|&byte| byte == b'\n').map_or(start, |end| start + end as u64 + 1))
}
