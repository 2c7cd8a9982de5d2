//! The log file: appended to in blocks, rotated by size.
//!
//! A log that cannot be written (the disk is full) must not stop the container: its lines are counted and dropped, and
//! the next line that can be written says how many are missing. So are those of a container that writes more than it may.
//! A file that somebody removed or renamed is made anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::arguments::Arguments;
use crate::clock;
use crate::journal::Journal;
use crate::json::{self, Stream};
use crate::kept::Block;
use crate::rate::Rate;
use crate::sys;

/// Lines are gathered up to this before they are written.
const GATHERED_BYTES: usize = 8 * 1024;

/// Whom the lines are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// The file.
    File,
    /// The file and the host's journal.
    Journal,
    /// Nobody.
    Nobody,
}

/// What was not logged and has not been told of.
pub(crate) struct Missing {
    /// Lines that could not be written.
    pub(crate) lost_lines: &'static AtomicU64,
    /// Lines that were too many, and their bytes.
    pub(crate) skipped_lines: &'static AtomicU64,
    pub(crate) skipped_bytes: &'static AtomicU64,
}

/// See the module's description.
pub(crate) struct Log {
    path: PathBuf,
    max_bytes: u64,
    max_files: u32,
    to_file: bool,
    journal: Option<Journal>,
    rate: Option<Rate>,
    file: Option<File>,
    /// Of the file.
    size: u64,
    /// Lines for the file.
    block: &'static mut Block,
    missing: Missing,
}

impl Log {
    /// Nothing is opened or made before the first line. `block` may hold lines of the monitor before this one.
    pub(crate) fn new(arguments: &Arguments, block: &'static mut Block, missing: Missing) -> Log {
        Log {
            path: arguments.log.clone(),
            max_bytes: arguments.log_max_bytes,
            max_files: arguments.log_max_files,
            to_file: arguments.driver != Driver::Nobody,
            journal: (arguments.driver == Driver::Journal).then(|| Journal::new(arguments)).flatten(),
            rate: arguments.rate_bytes_per_s.map(Rate::new),
            file: None,
            size: 0,
            block,
            missing,
        }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, stream: Stream, message: &[u8], partial: bool) {
        if !self.to_file {
            return;
        }
        if let Some(rate) = &mut self.rate
            && !rate.allows(message.len() as u64, clock::since_boot())
        {
            self.missing.skipped_lines.fetch_add(1, SeqCst);
            self.missing.skipped_bytes.fetch_add(message.len() as u64, SeqCst);
            return;
        }
        self.tell_skipped();
        if let Some(journal) = &mut self.journal
            && !journal.send(stream, message, partial)
        {
            self.write_line(Stream::Err, b"coord: the host's journal cannot be reached: lines are in this file only", false);
        }
        self.write_line(stream, message, partial);
    }

    /// Says how much was left out here, if anything was.
    pub(crate) fn tell_skipped(&mut self) {
        let skipped = self.missing.skipped_lines.load(SeqCst);
        if skipped > 0 {
            let bytes = self.missing.skipped_bytes.load(SeqCst);
            self.missing.skipped_lines.store(0, SeqCst);
            self.missing.skipped_bytes.store(0, SeqCst);
            let rate = self.rate.as_ref().map_or(0, Rate::bytes_per_s);
            let text = Text::of(format_args!(
                "coord: {skipped} lines ({bytes} bytes) are left out here: more than {rate} bytes in a second"
            ));
            self.write_line(Stream::Err, text.bytes(), false);
        }
    }

    /// Whether lines were left out that nothing has been said of.
    pub(crate) fn has_skipped(&self) -> bool {
        self.missing.skipped_lines.load(SeqCst) > 0
    }

    /// How many lines could not be written since the last that could.
    pub(crate) fn lost_lines(&self) -> u64 {
        self.missing.lost_lines.load(SeqCst)
    }

    fn write_line(&mut self, stream: Stream, message: &[u8], partial: bool) {
        let now = clock::now();
        let mut length = 0;
        json::line(&now, stream, message, partial, |bytes| length += bytes.len());
        self.make_room(length);
        self.block.add(length, |place| {
            let mut rest = place;
            json::line(&now, stream, message, partial, |bytes| {
                // As long as was measured.
                let _ = rest.write_all(bytes);
            });
        });
    }

    /// Writes what is gathered, or counts it as lost.
    pub(crate) fn flush(&mut self) {
        if self.block.bytes().is_empty() {
            return;
        }
        if self.append().is_err() {
            self.missing.lost_lines.fetch_add(self.block.lines(), SeqCst);
        }
        self.block.clear();
    }

    fn append(&mut self) -> io::Result<()> {
        let inode = self.open()?;
        let mut written = self.block.announce(inode, self.size);
        let before = self.size - written as u64;
        if written == 0 && self.lost_lines() > 0 {
            self.block.withdraw();
            self.append_losses()?;
            written = self.block.announce(inode, self.size);
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        append(file, &self.block.bytes()[written..], before, &mut self.size).inspect_err(|_| self.file = None)
    }

    /// Not by way of the block: it would be counted among the lost when it is, too.
    fn append_losses(&mut self) -> io::Result<()> {
        let text = Text::of(format_args!("coord: {} lines are missing here: the log could not be written", self.lost_lines()));
        let (mut line, mut length) = ([0; 256], 0);
        json::line(&clock::now(), Stream::Err, text.bytes(), false, |bytes| {
            if let Some(place) = line.get_mut(length..length + bytes.len()) {
                place.copy_from_slice(bytes);
                length += bytes.len();
            }
        });
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let before = self.size;
        append(file, &line[..length], before, &mut self.size).inspect_err(|_| self.file = None)?;
        self.missing.lost_lines.store(0, SeqCst);
        Ok(())
    }

    /// Rotates when `length` more bytes would make the file too large.
    fn make_room(&mut self, length: usize) {
        // Before a line is added, not after: from there to its removal from the input no system call may come, in which a monitor is
        // most likely to be killed.
        if self.block.bytes().len() + length > GATHERED_BYTES {
            self.flush();
        }
        let filled = self.block.bytes().len();
        if self.size + (filled + length) as u64 <= self.max_bytes {
            return;
        }
        self.flush();
        if self.size > 0 && rotate(&self.path, self.max_files).is_ok() {
            self.file = None;
            self.size = 0;
        }
    }

    /// Makes sure that the file is open, and still the one at its place. Returns its inode's number.
    fn open(&mut self) -> io::Result<u64> {
        if self.file.as_ref().is_some_and(|file| !is_at(file, &self.path)) {
            self.file = None;
        }
        let file = match self.file.take() {
            Some(file) => self.file.insert(file),
            None => self.file.insert(sys::open_log(&self.path)?),
        };
        let metadata = file.metadata()?;
        self.size = metadata.len();
        Ok(metadata.ino())
    }
}

/// Appends whole lines to a file of this size, or leaves it as it was at size `before`.
fn append(file: &mut File, bytes: &[u8], before: u64, size: &mut u64) -> io::Result<()> {
    match file.write_all(bytes) {
        Ok(()) => {
            *size += bytes.len() as u64;
            Ok(())
        }
        Err(error) => {
            let _ = file.set_len(before);
            Err(error)
        }
    }
}

/// Words and numbers, without any memory but its own.
struct Text {
    bytes: [u8; 128],
    length: usize,
}

impl Text {
    /// What does not fit is cut.
    fn of(text: std::fmt::Arguments<'_>) -> Text {
        let mut bytes = [0; 128];
        let mut rest = bytes.as_mut_slice();
        let _ = rest.write_fmt(text);
        let left = rest.len();
        Text { length: bytes.len() - left, bytes }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// `LOG.1` becomes `LOG.2` and so on, `LOG` becomes `LOG.1`; the last one goes.
fn rotate(path: &Path, max_files: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if max_files <= 1 {
        return fs::remove_file(path);
    }
    for number in (1..max_files - 1).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
