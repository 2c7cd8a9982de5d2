//! The log file: appended to in blocks, rotated by size.
//!
//! A log that cannot be written (the disk is full) must not stop the container: its lines are counted and dropped, and
//! the next line that can be written says how many are missing. A file that somebody removed or renamed is made anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::clock;
use crate::json::{self, Stream};
use crate::sys;

/// Lines are gathered up to this before they are written.
const BUFFER_BYTES: usize = 8 * 1024;

/// See the module's description.
pub(crate) struct Log {
    path: PathBuf,
    max_bytes: u64,
    max_files: u32,
    file: Option<File>,
    size: u64,
    buffer: Box<[u8; BUFFER_BYTES]>,
    filled: usize,
    /// A line is being added, which begins at `line_start` of the file.
    in_line: bool,
    line_start: u64,
    /// The last end of a line in the file.
    boundary: u64,
    /// Lines in the buffer.
    pending: u64,
    /// Lines that could not be written since the last that could.
    lost: u64,
    failed: bool,
}

impl Log {
    /// Nothing is opened or made before the first line.
    pub(crate) fn new(path: PathBuf, max_bytes: u64, max_files: u32) -> Log {
        let buffer = sys::untouched_buffer();
        Log {
            path,
            max_bytes,
            max_files,
            file: None,
            size: 0,
            buffer,
            filled: 0,
            in_line: false,
            line_start: 0,
            boundary: 0,
            pending: 0,
            lost: 0,
            failed: false,
        }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, stream: Stream, message: &[u8], partial: bool) {
        let now = clock::now();
        let mut length = 0;
        json::line(&now, stream, message, partial, |bytes| length += bytes.len() as u64);
        self.make_room(length);
        if self.lost > 0 && !self.failed {
            self.tell_losses(&now);
        }
        self.line_start = self.size + self.filled as u64;
        self.in_line = true;
        json::line(&now, stream, message, partial, |bytes| self.add(bytes));
        self.in_line = false;
        self.pending += 1;
    }

    /// Writes what is gathered.
    pub(crate) fn flush(&mut self) {
        self.write_out();
        if self.failed {
            self.lost += self.pending;
        }
        self.pending = 0;
        self.failed = false;
    }

    fn tell_losses(&mut self, now: &[u8; clock::TIME_BYTES]) {
        let mut text = [0; 80];
        let mut rest = text.as_mut_slice();
        let length = rest.len();
        // A number and these words are shorter than the array.
        let _ = write!(rest, "coord: {} lines are missing here: the log could not be written", self.lost);
        let length = length - rest.len();
        json::line(now, Stream::Err, &text[..length], false, |bytes| self.add(bytes));
        self.lost = 0;
    }

    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == BUFFER_BYTES {
                self.write_out();
            }
            let count = bytes.len().min(BUFFER_BYTES - self.filled);
            self.buffer[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
        }
    }

    fn write_out(&mut self) {
        if self.filled == 0 {
            return;
        }
        let length = std::mem::take(&mut self.filled);
        if self.failed {
            return; // the beginning of this block is lost: the rest of it would be half a line
        }
        let result = self.open().and_then(|()| match &mut self.file {
            Some(file) => file.write_all(&self.buffer[..length]),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        match result {
            Ok(()) => {
                self.size += length as u64;
                self.boundary = if self.in_line { self.line_start } else { self.size };
                self.pending = 0;
            }
            Err(_) => self.fail(),
        }
    }

    /// Takes back what was half written, so that the file keeps whole lines.
    fn fail(&mut self) {
        self.failed = true;
        if let Some(file) = self.file.take() {
            let _ = file.set_len(self.boundary);
        }
    }

    /// Rotates when `length` more bytes would make the file too large, or when it is not at its place any more.
    fn make_room(&mut self, length: u64) {
        if self.size + self.filled as u64 + length <= self.max_bytes {
            return;
        }
        self.flush();
        if self.size > 0 && rotate(&self.path, self.max_files).is_ok() {
            self.file = None;
            self.size = 0;
        }
    }

    /// Makes sure that the file is open, and still the one at its place.
    fn open(&mut self) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|file| !is_at(file, &self.path)) {
            self.file = None;
        }
        if self.file.is_none() {
            let file = sys::open_log(&self.path)?;
            self.size = file.metadata()?.len();
            self.boundary = self.size;
            self.file = Some(file);
        }
        Ok(())
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
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
