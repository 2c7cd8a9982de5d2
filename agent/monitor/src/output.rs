//! One of the container's two streams: bytes from a FIFO, cut into lines.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::json::Stream;
use crate::kept::Input;
use crate::log::Log;
use crate::sys;

/// See the module's description.
pub(crate) struct Output {
    fifo: File,
    stream: Stream,
    /// The bytes of a line whose end has not come yet.
    input: &'static mut Input,
    /// So many of them hold no end of a line.
    searched: usize,
    /// A line was logged in parts, and its end has not come.
    in_parts: bool,
}

impl Output {
    /// Opens the FIFO for reading and writing, so that it never reports its end while the container has it closed. `input` may
    /// hold what the monitor before this one has read.
    pub(crate) fn open(path: &Path, stream: Stream, input: &'static mut Input) -> io::Result<Output> {
        Ok(Output { fifo: sys::open_fifo(path)?, stream, input, searched: 0, in_parts: false })
    }

    /// For waiting until there is something to read.
    pub(crate) fn file(&self) -> &File {
        &self.fifo
    }

    /// Copies what one read gives to the log. Returns whether there was anything.
    pub(crate) fn copy(&mut self, log: &mut Log) -> io::Result<bool> {
        let available = sys::available(&self.fifo)?;
        let fifo = &mut self.fifo;
        let read = match self.input.fill(available, |place| fifo.read(place)) {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        self.log_lines(log);
        Ok(read > 0)
    }

    /// Logs what is whole.
    pub(crate) fn log_lines(&mut self, log: &mut Log) {
        while let Some(newline) = self.input.bytes()[self.searched..].iter().position(|&byte| byte == b'\n') {
            let end = self.searched + newline;
            log.line(self.stream, &self.input.bytes()[..end], false);
            self.input.consume(end + 1);
            self.searched = 0;
            self.in_parts = false;
        }
        if self.input.is_full() {
            let cut = character_boundary(self.input.bytes());
            log.line(self.stream, &self.input.bytes()[..cut], true);
            self.input.consume(cut);
            self.in_parts = true;
        }
        self.searched = self.input.bytes().len();
    }

    /// Logs what is left when nothing more will come: a last line without its end. One in parts gets an end, or the next
    /// container's first line would be taken for it.
    pub(crate) fn finish(&mut self, log: &mut Log) {
        let left = self.input.bytes().len();
        if left > 0 || self.in_parts {
            log.line(self.stream, self.input.bytes(), false);
            self.input.consume(left);
        }
    }
}

/// The end of the last whole UTF-8 character; the whole length when the end is no UTF-8 at all.
fn character_boundary(bytes: &[u8]) -> usize {
    let continued = bytes.iter().rev().take(4).take_while(|&&byte| byte & 0xC0 == 0x80).count();
    let Some(lead) = bytes.len().checked_sub(continued + 1) else {
        return bytes.len();
    };
    let wanted = match bytes[lead] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    if wanted > continued + 1 { lead } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::character_boundary;

    #[test]
    fn characters_are_not_cut() {
        let check = |bytes: &[u8], expect: usize| assert_eq!(character_boundary(bytes), expect, "{bytes:x?}");
        check(b"abc", 3);
        check("ab\u{e9}".as_bytes(), 4);
        check(b"ab\xc3", 2);
        check(b"ab\xe2\x9c", 2);
        check(b"ab\xf0\x9f\x98", 2);
        check("\u{1f600}".as_bytes(), 4);
        check(b"\x80\x80\x80\x80\x80", 5);
        check(b"a\xff", 2);
    }
}
